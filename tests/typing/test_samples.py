"""Both type checkers, at their strictest, agree with what users write; and what they believe of it is so.

`samples/of_*.py` is users' code full of `assert_type`, which also runs, as the examples do. In `samples/wrong.py`
every line that must be refused says so and by which rule, and a comment too many is an error.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import msglog

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SAMPLES = sorted(HERE.glob("samples/of_*.py"))
FILES = [*SAMPLES, HERE / "samples/wrong.py", *ROOT.glob("examples/*.py")]
BIN = Path(sys.executable).parent


def names_of(sample):
    return [line.split("(")[0].removeprefix("def ") for line in sample.read_text().splitlines() if "def use_" in line]


CALLS = [(sample, name) for sample in SAMPLES for name in names_of(sample)]


def test_mypy_agrees():
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--python-version=3.11", *FILES]
    finished = subprocess.run(
        [*command, f"--cache-dir={ROOT / '.mypy_cache' / 'samples'}"],
        cwd=HERE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.stdout.splitlines()[-1:] == [f"Success: no issues found in {len(FILES)} source files"], (
        finished.stdout + finished.stderr
    )


def test_pyright_agrees():
    command = [BIN / "basedpyright", "--project", "pyrightconfig.json", "--pythonpath", sys.executable, "--outputjson"]
    finished = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    report = json.loads(finished.stdout)
    found = [f"{Path(one['file']).name}:{one['range']['start']['line'] + 1} {one['message']}"
             for one in report["generalDiagnostics"]]  # fmt: skip
    assert found == []
    assert report["summary"]["filesAnalyzed"] == len(FILES)


def test_nothing_that_is_public_has_an_unknown_type():
    """Whatever a strict user touches is known: pyright finds no name that it could not tell the type of."""
    environment = {**os.environ, "VIRTUAL_ENV": str(BIN.parent), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    command = [BIN / "basedpyright", "--verifytypes", "msglog", "--ignoreexternal", "--outputjson"]
    finished = subprocess.run(command, env=environment, cwd=HERE, capture_output=True, text=True, check=False)
    completeness = json.loads(finished.stdout)["typeCompleteness"]
    assert completeness["exportedSymbolCounts"]["withUnknownType"] == 0
    assert completeness["exportedSymbolCounts"]["withKnownType"] > 1000


@pytest.mark.parametrize(("sample", "name"), CALLS, ids=lambda given: getattr(given, "stem", given))
def test_what_the_samples_say_is_so(sample, name):
    spec = importlib.util.spec_from_file_location(sample.stem, sample)
    module = importlib.util.module_from_spec(spec)
    sys.modules[sample.stem] = module  # dataclasses look there for their annotations
    try:
        spec.loader.exec_module(module)
        with msglog.Store(":memory:") as store:
            getattr(module, name)(store)
    finally:
        del sys.modules[sample.stem]

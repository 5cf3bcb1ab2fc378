"""Searches for inputs that a target does not take: `python -m support.fuzzing [targets] [--seconds 60] [--seed 1]`.

Findings are made small, printed, and with `--save` kept in the corpus, where the tests replay them. With `--atheris`
one target is fuzzed guided by coverage, for as long as libFuzzer's own options (behind `--`) say; that takes the
package `atheris`, which is not installed with the others.
"""

import argparse
import importlib
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from types import FunctionType
from typing import Any

from support.fuzzing.corpus import CORPUS, save
from support.fuzzing.search import Finding, look, mutations, smaller
from support.fuzzing.targets import TARGETS, one


def _tell(*words: object) -> None:
    print(*words, flush=True)  # noqa: T201 it is a program


def _report(finding: Finding, *, keep: bool) -> None:
    # An archive is compressed: its pieces mean nothing.
    small = finding if TARGETS[finding.target].weight == 1 else smaller(finding)
    _tell(f"{finding.target}: {small.place}\n{small.data[:200]!r}\n{small.text}")
    if keep:
        _tell("kept as", save(small.target, "", small.data))


def search(targets: list[str], seconds: float, seed: str, *, keep: bool) -> int:
    """Look in turn at each target for a while; return the number of findings."""
    found: dict[str, Finding] = {}
    for target in targets:
        until = time.monotonic() + seconds / len(targets)
        tried = 0
        for data in mutations(target, seed):
            tried += 1
            finding = look(target, data)
            if finding is not None and f"{target} {finding.place}" not in found:
                found[f"{target} {finding.place}"] = finding
                _report(finding, keep=keep)
            if time.monotonic() > until:
                break
        _tell(f"{target}: {tried} inputs")
    _tell(f"{len(found)} findings, seed {seed}")
    return len(found)


def _functions() -> Iterator[FunctionType]:
    """Yield the functions of the package, which are imported already."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "msglog":
            for found in list(vars(module).values()):
                if getattr(found, "__module__", "") == name:
                    members = [found, *getattr(found, "__dict__", {}).values()]
                    yield from (each for each in members if isinstance(each, FunctionType))


def guided(target: str, options: list[str]) -> None:
    """Let atheris search; it ends the process."""
    atheris: Any = importlib.import_module("atheris")
    form = TARGETS[target].form

    def run(data: bytes) -> None:
        one(target, data)

    def mutate(data: bytes, largest: int, seed: int) -> bytes:
        if seed % 2:
            return bytes(atheris.Mutate(data, largest))
        return form.mutate(bytes(data), random.Random(seed))[:largest]

    for function in _functions():
        atheris.instrument_func(function)
    folder = CORPUS / ("store" if TARGETS[target].weight == 1 else target)
    scratch = tempfile.mkdtemp(prefix="fuzzing-")  # libFuzzer keeps what it finds new in the first folder
    _tell("inputs that reach something new are kept in", scratch)
    atheris.Setup([sys.argv[0], *options, scratch, str(folder)], run, custom_mutator=mutate)
    atheris.Fuzz()


def main() -> int:
    """Parse the arguments and search."""
    parser = argparse.ArgumentParser(prog="python -m support.fuzzing", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], help=f"of {', '.join(TARGETS)}; all of them")
    parser.add_argument("--seconds", type=float, default=60.0, help="over all targets")
    parser.add_argument("--seed", default=str(time.time_ns()), help="the same one tries the same inputs")
    parser.add_argument("--save", action="store_true", help="keep findings in the corpus")
    parser.add_argument("--atheris", nargs="*", metavar="OPTION", help="guided by coverage, with libFuzzer's options")
    given = parser.parse_args()
    if given.atheris is not None:
        guided(given.targets[0] if given.targets else "frames", given.atheris)
        return 0
    return min(1, search(given.targets or list(TARGETS), given.seconds, given.seed, keep=given.save))


if __name__ == "__main__":
    sys.exit(main())

"""Mutants of the sources in C: one library has all of a list, and the environment chooses one as it is loaded.

So they are compiled once. A mutation is a piece of the source, which stands there once, and what stands in its place:
a statement, a condition, one side of `&&` or `||`, or any other expression.
"""

import os
import shutil
from collections.abc import Iterable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from unittest import mock

from support.building import compile_quickly

_NUMBER = "MSGLOG_TEST_MUTANT"
Mutation = tuple[str, str]


def compile_mutants(path: Path, mutations: Iterable[Mutation], folder: Path) -> Path:
    """Compile a source and return the library, which is the source as it is where number -1 is loaded."""
    source = path.read_text()
    for header in path.parent.glob("*.h"):  # there may be mutations in it
        source = source.replace(f'#include "{header.name}"', header.read_text())
    for number, (old, new) in enumerate(mutations):
        assert source.count(old) == 1, old
        source = source.replace(old, _either(number, old, new))
    begin = f"PyMODINIT_FUNC PyInit_{path.stem}(void) {{"
    assert source.count(begin) == 1
    source = source.replace(begin, f'{begin} mutant = atoi(getenv("{_NUMBER}"));')
    copy = folder / path.name
    copy.write_text(f"static int mutant;\n{source}")
    return compile_quickly(copy)


def load_mutant(library: Path, number: int, package: str, folder: Path) -> Any:
    """Return one of the mutants; `folder` is where it lies, of which there has to be one for each."""
    name = library.name.partition(".")[0]
    spec = spec_from_file_location(f"msglog.{package}.{name}", shutil.copy(library, folder))
    assert spec is not None
    assert spec.loader is not None
    with mock.patch.dict(os.environ, {_NUMBER: str(number)}):
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def _either(number: int, old: str, new: str) -> str:
    """Return what stands for a piece of a source: itself, unless this mutant was chosen."""
    for begin in ("if (", "else if ("):
        if old.startswith(begin) and old.endswith(")"):
            one, other = (text.removeprefix(begin).removesuffix(")") for text in (old, new))
            return f"{begin}mutant == {number} ? ({other}) : ({one}))"
    if old.endswith(";"):
        return f"if (mutant == {number}) {{ {new} }} else {{ {old} }}"
    if old.endswith(" || "):
        return f"(mutant != {number} && {old.removesuffix(' || ')}) || "
    if old.startswith(" && "):
        return f" && (mutant == {number} || {old.removeprefix(' && ')})"
    return f"(mutant == {number} ? ({new}) : ({old}))"

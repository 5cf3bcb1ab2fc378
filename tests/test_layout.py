"""Style as a test: what a linter does not check about how the code is laid out."""

import ast
import importlib
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {path.relative_to(ROOT): path.read_text() for path in sorted(ROOT.glob("msglog/**/*.py"))}
TREES = {path: ast.parse(text) for path, text in MODULES.items()}

MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 70

PUBLIC_MODULES = [
    name
    for name in ("msglog", "msglog.aio", "msglog.prometheus", "msglog.testing")
    if (spec := importlib.util.find_spec(name)) and spec.origin  # a folder left empty has none
]

TEXT_FOLDERS = ("msglog", "tests", "docs", "examples", "demo", "benchmarks")
TEXT_SUFFIXES = {".json", ".md", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml"}
# Paths of one machine and talk about how a change was made mean nothing to a reader. Spelled apart, since
# this file is read too.
WORKPLACE = re.compile(r"(?<![\w.~])/{}/|{}".format("work", "sub" + "agent"), re.IGNORECASE)


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count a function's lines, decorators and docstring left out."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


def sort_key(name: str) -> tuple[bool, bool, str]:
    """Order as ruff's RUF022 does: constants, then classes, then the rest."""
    return not name.isupper(), not name[0].isupper(), name


def text_files() -> list[Path]:
    files = [path for folder in TEXT_FOLDERS for path in (ROOT / folder).rglob("*")]
    return [path for path in (*files, *ROOT.glob("*.md")) if path.suffix in TEXT_SUFFIXES and path.is_file()]


def test_the_modules_are_found():
    assert Path("msglog/errors.py") in MODULES


def test_every_module_has_a_docstring():
    assert [path for path, tree in TREES.items() if not ast.get_docstring(tree)] == []


def test_files_are_short():
    lengths = {path: len(text.splitlines()) for path, text in MODULES.items()}
    assert {path: length for path, length in lengths.items() if length > MAX_FILE_LINES} == {}


def test_functions_fit_on_a_screen():
    lengths = {
        f"{path}:{node.lineno} {node.name}": code_lines(node)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {where: length for where, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_public_names_are_sorted_and_resolve(name):
    module = importlib.import_module(name)
    assert list(module.__all__) == sorted(set(module.__all__), key=sort_key)
    assert [public for public in module.__all__ if not hasattr(module, public)] == []


def test_the_text_speaks_of_the_project_only():
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in text_files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if WORKPLACE.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("line", "matches"),
    [
        ("see /{}/notes".format("work"), True),
        ("/{}/notes".format("work"), True),
        ("a {} wrote this".format("Sub" + "agent"), True),
        ("~/{}/notes, https://example.org/{}/".format("work", "work"), False),
        ("at work on it", False),
    ],
)
def test_the_workplace_pattern(line, matches):
    assert (WORKPLACE.search(line) is not None) == matches

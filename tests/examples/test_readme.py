"""Every block of code in the README and the documentation runs, and prints what the page says.

The blocks of one page run in sequence, as a reader would type them, in an empty directory. A `text` block right after a
Python block is what that block prints. A `console` block is a session of a shell: lines that begin with `$ ` are typed,
those below are what comes of it, where `...` stands for anything, and columns are then as wide as they are. A page is
found by being there. A failure names the line of the page.
"""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
# By `tests/cli/test_how_to.py`, in one process instead of one for each command.
RUN_ELSEWHERE = {ROOT / "docs" / "how-to" / "command-line.md"}
BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```$(?:\n\n```text\n(?P<output>.*?)^```$)?|^```console\n(?P<session>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
TYPED = re.compile(r"^\$ (?P<command>.*)\n(?P<output>(?:(?!\$ ).*\n)*)", re.MULTILINE)
FENCE = re.compile(r"^(?P<indent>\s*)(?:```|~~~)[ \t]*(?P<kind>\S+)", re.MULTILINE)
KINDS = {"python", "text", "console"}
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def blocks(page):
    """Yield each block that runs: its code or session, the line it begins at, and its output."""
    text = page.read_text()
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start()) + 1
        yield (
            ("session", block["session"], line, None)
            if block["code"] is None
            else (
                "code",
                block["code"],
                line,
                block["output"],
            )
        )


def python_blocks(page):
    """Yield each Python block's code, below empty lines so that its line numbers are the page's, and its output."""
    for kind, code, line, output in blocks(page):
        if kind == "code":
            yield "\n" * line + code, output


def run_session(session, where):
    """Type the commands of a session and compare what comes of them."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    commands = list(TYPED.finditer(session))
    assert "".join(command[0] for command in commands) == session, f"{where}: a session begins with a command"
    for command in commands:
        finished = subprocess.run(
            ["bash", "-c", command["command"]],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            text=True,
            check=False,
        )
        expected = ".*".join(map(re.escape, command["output"].split("...")))
        if "..." in command["output"]:
            expected = re.sub(r"(\\ )+", " +", expected)
        if not re.fullmatch(expected, finished.stdout):
            assert finished.stdout == command["output"], f"{where}: $ {command['command']}"


@pytest.fixture
def _logging_as_before():
    """Undo what a page configures: its handlers write to what is the standard output for this page only."""
    yield
    for name in ["msglog", *(name for name in logging.root.manager.loggerDict if name.startswith("msglog."))]:
        logger = logging.getLogger(name)
        logger.handlers = [handler for handler in logger.handlers if isinstance(handler, logging.NullHandler)]
        logger.setLevel(logging.NOTSET)
        logger.propagate, logger.disabled = True, False


@pytest.mark.usefixtures("_logging_as_before")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page not in RUN_ELSEWHERE], ids=lambda page: str(page.relative_to(ROOT))
)
def test_the_code_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for kind, code, line, output in blocks(page):
        if kind == "session":
            run_session(code, f"{page.relative_to(ROOT)}:{line}")
            continue
        exec(compile("\n" * line + code, page, "exec"), names)
        printed = capsys.readouterr().out
        if output is not None:
            assert printed == output


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_block_of_code_is_left_out(page):
    text = page.read_text()
    fences = [(fence["indent"].strip("\n"), fence["kind"]) for fence in FENCE.finditer(text)]
    assert {kind for _, kind in fences} <= KINDS
    assert [indent for indent, _ in fences if indent] == []
    assert len(list(blocks(page))) == sum(kind != "text" for _, kind in fences)


def test_a_session_of_a_shell_is_typed_and_compared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_session("$ echo one; echo two >&2\none\ntwo\n$ true\n$ python -c 'print(3)'\n3\n", "here")
    run_session("$ echo one two\n... two\n", "here")
    with pytest.raises(AssertionError, match=r"here: \$ echo one"):
        run_session("$ echo one two\n... three\n", "here")
    with pytest.raises(AssertionError, match=r"here: \$ echo one"):
        run_session("$ echo one\ntwo\n", "here")
    with pytest.raises(AssertionError, match="begins with a command"):
        run_session("one\n$ echo two\ntwo\n", "here")


HOW_TOS = sorted(page for page in ROOT.glob("docs/how-to/*.md") if page.stem != "index")


@pytest.mark.parametrize("page", HOW_TOS, ids=lambda page: page.stem)
def test_a_how_to_shows_what_its_code_prints(page):
    text = page.read_text()
    outputs = [output for _, _, _, output in blocks(page) if output is not None]
    sessions = [code for kind, code, _, _ in blocks(page) if kind == "session"]
    assert outputs or sessions
    assert len(outputs) == text.count("```text")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()] == []


def test_every_how_to_is_in_the_list():
    listed = LINK.findall((ROOT / "docs/how-to/index.md").read_text())
    assert sorted(link for link in listed if "/" not in link) == [page.name for page in HOW_TOS]


def test_the_architecture_is_short_and_shows_every_module():
    text = (ROOT / "docs/internals/ARCHITECTURE.md").read_text()
    assert len(text.splitlines()) < 200
    names = [
        path.name for path in (ROOT / "msglog").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    ]
    missing = [name for name in names if not name.startswith("_") and name not in text]
    assert missing == []


def test_the_quickstarts_are_short():
    blocks = list(python_blocks(ROOT / "README.md"))
    assert len(blocks) == 2
    for code, output in blocks:
        assert 0 < len(code.strip().splitlines()) <= 15
        assert output

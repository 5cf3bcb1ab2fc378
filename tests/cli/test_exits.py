"""How commands end: exit codes, one line of error, and nothing made at a wrong path."""

import subprocess
import sys

import pytest

import msglog
from msglog.cli import exits
from msglog.cli.main import main, program
from support.children import child_environment

NAMES = sorted(program().commands)
# What each command needs beside the store.
MORE = {
    "append": ("t", "x"),
    "backup": ("copy",),
    "bind": ("q", "x"),
    "create-topic": ("t",),
    "declare-exchange": ("x",),
    "declare-queue": ("q",),
    "delete-queue": ("q", "-y"),
    "delete-topic": ("t", "-y"),
    "dump": ("t",),
    "export": ("t",),
    "import": ("t",),
    "peek": ("q",),
    "publish": ("q", "x"),
    "purge": ("q", "-y"),
    "reset-offsets": ("g", "t", "--to", "latest", "--execute"),
    "salvage": ("copy",),
    "tail": ("t",),
}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "init"])
def test_a_wrong_path_is_an_error_and_nothing_is_made(run, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "other" / "segments").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    for path in ("typo", "empty", "file", "file/below", "other", ":memory:", ""):
        result = run(name, path, *MORE.get(name, ()), code=3)
        assert result.out == ""
        assert result.err.startswith("msglog: ")
        assert result.err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", NAMES)
def test_each_command_has_help_with_examples_that_parse(run, name):
    result = run(name, "--help")
    assert f"msglog {name} ./" in result.out or "| msglog import" in result.out
    assert run(name, code=2).err.count("\n") == 1
    assert run(name, "s", "--bogus", code=2).err.count("\n") == 1


def test_the_program_without_arguments_shows_its_help_once(run):
    result = run(code=2)
    assert result.out.count("Usage:") == 1
    assert "Usage:" in run("--help").out
    for code in exits.MEANINGS:
        assert f" {code} " in result.out


def test_the_version_is_told(run):
    assert run("--version").out == f"msglog {msglog.__version__}\n"


def test_a_command_that_is_none_is_told_in_one_line(run):
    assert "tail" in run("tial", code=2).err
    assert run("tial", code=2).err.count("\n") == 1


def test_every_error_of_the_library_has_a_code():
    def kinds(kind):
        yield kind
        for below in kind.__subclasses__():
            yield from kinds(below)

    found = {kind.__name__: exits.code_of(kind("x")) for kind in kinds(msglog.MsglogError)}
    assert set(found.values()) <= set(exits.MEANINGS)
    assert found["StoreLockedError"] == exits.NOT_OPENED
    assert found["InvalidTypeError"] == exits.USAGE
    assert found["TopicNotFoundError"] == exits.REFUSED
    assert exits.code_of(KeyError("a bug")) is None


def test_a_bug_is_not_hidden(run, store, monkeypatch):
    monkeypatch.setattr("msglog.cli.commands.looking.store_row", lambda _store: {}["bug"])
    with pytest.raises(KeyError, match="bug"):
        run("info", store)


def test_without_its_extra_the_program_says_how_to_get_it():
    script = """
import importlib.util, sys
real = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name in ("typer", "rich") else real(name)
from msglog.__main__ import main
sys.exit(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=child_environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "msglog: the command line needs typer and rich: pip install 'msglog[cli]'\n"


def test_looking_needs_no_console_until_something_is_shown():
    script = (
        "import sys; from msglog.cli.main import main; main(['topics', 'nope']); print('rich.console' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=child_environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "False\n"


def test_shells_complete_the_names_of_commands(capsys, monkeypatch):
    for name, value in (("_MSGLOG_COMPLETE", "complete_bash"), ("COMP_WORDS", "msglog to"), ("COMP_CWORD", "1")):
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        main([])
    assert capsys.readouterr().out.split() == ["topics", "top"]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_speaks_json(name):
    options = {option for parameter in program().commands[name].params for option in parameter.opts}
    assert "--json" in options

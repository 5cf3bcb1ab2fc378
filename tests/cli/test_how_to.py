"""The how-to of the command line: each command runs, and writes what the page says; `...` there stands for anything."""

import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

from msglog.cli.exits import MEANINGS
from msglog.cli.main import main
from support.children import child_environment

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "command-line.md"
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHELL = f'msglog() {{ "{sys.executable}" -m msglog "$@"; }}; '


def sessions(block):
    """Yield each command of a block with what it writes."""
    for part in block.split("$ ")[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def output_of(command, capsys):
    if "|" in command:
        done = subprocess.run(
            ["bash", "-c", SHELL + command], env=child_environment(), capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr
    capsys.readouterr()
    program, *arguments = shlex.split(command)
    assert program == "msglog"
    main(arguments)
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_each_command_writes_what_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    commands = 0
    for language, block in BLOCK.findall(PAGE.read_text()):
        if language == "python":
            exec(block, {})
            continue
        for command, output in sessions(block):
            found = output_of(command, capsys)
            pattern = ".*".join(map(re.escape, output.split("...")))
            # What the columns are as wide as may itself be different from time to time.
            assert re.fullmatch(re.sub(r"(\\ )+", " +", pattern), found), f"{command}\n{found}"
            commands += 1
    assert commands > 20


def test_the_page_has_the_exit_codes():
    text = PAGE.read_text()
    rows = re.findall(r"^\| \d+ \|.*$", text, re.MULTILINE)
    assert rows == [f"| {code} | {meaning} |" for code, meaning in MEANINGS.items()]

"""Running commands in this process, as the program would."""

import io
import json
import sys
from dataclasses import dataclass

import pytest

from msglog.cli.main import main
from support import shop


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def json_lines(self):
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def lines(self):
        return self.out.splitlines()


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command: its exit code and what it wrote. Nothing but an error may write to standard error."""

    def running(*arguments, stdin=b"", code=0):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        found = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        result = Result(found, captured.out, captured.err)
        assert result.code == code, result
        assert "Traceback" not in result.err
        return result

    return running


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "shop"
    shop.fill(path)
    return path

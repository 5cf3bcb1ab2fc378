"""Running the application: from arguments to an exit code. Imported by `msglog.__main__`."""

import io
import os
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import typer

from msglog.cli.application import application, fail
from msglog.cli.exits import FAILED, INTERRUPTED, NOBODY_READS, OK, USAGE, NobodyReadsError

# In the order in which the help shows them.
_COMMANDS: Final = (
    "looking",
    "watching",
    "drawing",
    "dumping",
    "tailing",
    "appending",
    "publishing",
    "defining",
    "offsets",
    "keeping",
    "moving",
)
_USAGE_ERROR: Final[Any] = typer.BadParameter.__mro__[1]  # typer keeps the name to itself
_COMMAND_ERROR: Final[Any] = typer.BadParameter.__mro__[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors are one line of standard error."""
    try:
        _open_what_is_closed()
        _prepare_output()
        code = _run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except (BrokenPipeError, NobodyReadsError):
        _give_up_output()
        return NOBODY_READS
    except OSError:  # a full disk, which the command has told of already
        _give_up_output()
        return FAILED
    return code


def _open_what_is_closed() -> None:
    """Give the process standard streams where whoever started it has closed them, as some supervisors do."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # what stands in for it is kept open to the end, as the stream would be
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


def _prepare_output() -> None:
    """Let any text be written: in UTF-8, as JSON has to be; a terminal shows a number for what it lacks."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        if sys.stdout.isatty():
            sys.stdout.reconfigure(errors="backslashreplace")
        else:
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")


def _give_up_output() -> None:
    """Let what could not be written go: the interpreter tries once more at its end, and would complain."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())


@cache
def program() -> Any:
    """Return the program with all its commands, as typer has it."""
    for name in _COMMANDS:
        import_module(f"msglog.cli.commands.{name}")
    return typer.main.get_command(application)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        result = program().main(args=arguments, prog_name="msglog", standalone_mode=False)
    except _USAGE_ERROR as error:
        return _refuse(error)
    except _COMMAND_ERROR as error:
        fail(error.format_message())
        return int(error.exit_code)
    except typer.Abort:  # Ctrl-C, or the end of the input, where a question was asked: its line is not ended
        sys.stderr.write("\n")
        return INTERRUPTED
    return result if isinstance(result, int) else OK


def _refuse(error: Any) -> int:
    context = error.ctx
    command = context.command_path if context is not None else "msglog"
    if type(error).__name__ == "NoArgsIsHelpError":
        return USAGE  # making the error has shown the help
    message = " ".join(error.format_message().split())
    fail(f"{message.rstrip('.')}; see {command} --help")
    return USAGE

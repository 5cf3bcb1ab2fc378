"""The application that commands add themselves to, and how each of them ends.

Invariant: whatever happens in a command, nobody sees a traceback but for a bug: known errors become one line of
standard error and an exit code. Imported by the commands and by `main`.
"""

import functools
import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, ParamSpec

import typer

from msglog.cli.exits import INTERRUPTED, MEANINGS, NobodyReadsError, code_of
from msglog.cli.output import terminal

P = ParamSpec("P")

application = typer.Typer(
    name="msglog",
    help="Look into, write, and look after a msglog store: topics and queues in one directory.\n\n"
    "STORE is the directory. What only looks never changes it, never makes one, and works while another process "
    "writes it. Times are UTC.",
    epilog="Exit codes:\n" + "\n".join(f"{code:>5}  {meaning}" for code, meaning in MEANINGS.items()),
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:  # noqa: FBT001 as typer calls it
    if asked:
        terminal.line(f"msglog {import_module('msglog').__version__}")
        raise typer.Exit


@application.callback()
def msglog(
    *,
    _version: Annotated[
        bool, typer.Option("--version", "-V", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options that go before a command."""


def command(name: str, *, panel: str, examples: tuple[str, ...]) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Make a function the command `name`; its docstring is the help, its parameters are the options."""

    def add(function: Callable[P, None]) -> Callable[P, None]:
        epilog = "\n".join(("Examples:", *(f"  msglog {example}" for example in examples)))
        paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
        text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
        application.command(name, help=text, rich_help_panel=panel, epilog=epilog)(_ending_well(function))
        return function

    return add


def fail(text: str) -> None:
    """Write the one line that says what went wrong."""
    terminal.note(f"msglog: {text}")


def _ending_well(function: Callable[P, None]) -> Callable[P, None]:
    @functools.wraps(function)
    def run(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            function(*arguments, **options)
            terminal.flush()
        except BrokenPipeError:
            raise NobodyReadsError from None  # as it is, typer would end the process by its own rules
        except KeyboardInterrupt:
            if sys.stderr.isatty():
                sys.stderr.write("\n")
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            code = code_of(error)
            if code is None:
                raise
            fail(told(error))
            raise typer.Exit(code) from error

    return run


def told(error: BaseException) -> str:
    """Return what an error says in one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__

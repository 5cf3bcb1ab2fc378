"""Where output goes: consoles for standard output and errors, and single lines.

On a terminal with colours and as wide as it is; elsewhere plain and as wide as need be, so that pipes never get cut or
coloured text (NO_COLOR and TERM=dumb are respected, too). rich is imported when something is shown. Imported by the
commands and the rest of `output`.
"""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from msglog.cli.output.text import safe

if TYPE_CHECKING:
    from rich.console import Console

_WIDE: Final = 100_000
_BY_SIGNAL: Final = 128


def console(*, errors: bool = False) -> "Console":
    """Return a console for standard output or for errors."""
    from rich.console import Console  # noqa: PLC0415 half of a start is spared where nothing is shown

    stream = sys.stderr if errors else sys.stdout
    return Console(
        file=stream,
        width=None if stream.isatty() else _WIDE,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=False,
    )


def on_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def can_redraw() -> bool:
    """Whether standard output is a terminal on which something can be drawn over: not a dumb one."""
    return on_terminal() and not console().is_dumb_terminal


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Let a request to end be an exit like others, after which the screen is as before."""

    def end(number: int, _frame: object) -> None:
        sys.exit(_BY_SIGNAL + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def line(text: str = "") -> None:
    """Write a line of standard output, which must be safe already."""
    sys.stdout.write(f"{text}\n")


def json_line(item: Any) -> None:
    """Write an object as one line of JSON."""
    line(json.dumps(item, ensure_ascii=False, separators=(",", ":")))


def json_document(item: Any) -> None:
    """Write an object or a list as JSON for reading."""
    line(json.dumps(item, ensure_ascii=False, indent=2))


def done(text: str, row: dict[str, Any], *, as_json: bool) -> None:
    """Say what a command has done: in words, which must be safe already, or as JSON."""
    if as_json:
        json_document(row)
    else:
        line(text)


def flush() -> None:
    """Have everything that was written seen now."""
    sys.stdout.flush()


def note(text: str) -> None:
    """Write a line for the person, beside the output."""
    sys.stdout.flush()
    sys.stderr.write(f"{safe(text)}\n")
    sys.stderr.flush()

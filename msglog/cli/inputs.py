"""What is to be appended or published: an argument, a file, or the lines of standard input.

Imported by the commands.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from msglog.cli.exits import CommandError, code_of
from msglog.cli.options import usage
from msglog.cli.output import terminal
from msglog.cli.output.units import counted
from msglog.errors import MsglogError

_CHUNK_BYTES: Final = 1 << 20


def whole_input(name: str, argument: str | None, file: str | None) -> bytes | None:
    """Return the one value that was given as an argument or as a file; None when lines are to be read."""
    if argument is not None and file is not None:
        raise usage(f"{name} and --file exclude each other")
    if file is not None:
        return Path(file).read_bytes()
    return None if argument is None else argument.encode(errors="surrogateescape")


@contextmanager
def telling_how_many(done: int, what: str) -> Iterator[None]:
    """Have an error say how many of the lines before it are in the store, and stay there."""
    try:
        yield
    except MsglogError as error:
        code = code_of(error)
        if code is None or not done:
            raise
        raise CommandError(f"{error}; {counted(done, what)} before that stayed", code) from error


def batches_of_lines(name: str) -> Iterator[list[bytes]]:
    """Yield lines of standard input without their ends, as many at a time as are there already."""
    source: BinaryIO = sys.stdin.buffer
    if sys.stdin.isatty():
        terminal.note(f"each line is a {name}; Ctrl-D ends")
    rest = b""
    while chunk := source.read1(_CHUNK_BYTES):  # type: ignore[attr-defined]  # standard input is buffered
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            yield lines
    if rest:
        yield [rest]

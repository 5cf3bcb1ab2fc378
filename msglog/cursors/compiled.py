"""`Cursor.settle` in C, in front of the Python method, where it could be compiled; see `msglog.compiled`.

Imported by the package.
"""

from inspect import unwrap
from pathlib import Path
from typing import Any

from msglog.compiled import is_made_of, is_wanted
from msglog.cursors.cursor import Cursor
from msglog.cursors.ranges import OffsetRanges

try:
    from msglog.cursors import _compiled
except ImportError:
    _compiled = None  # type: ignore[assignment]

SOURCE = Path(__file__).with_name("_compiled.c")
NAME = "settle"


def is_compiled() -> bool:
    """Return whether the compiled method is there, and not left over from another version of its source."""
    return _compiled is not None and is_made_of(_compiled, SOURCE)


def put_in_front() -> None:
    """Let calls of the method go to the compiled one first, where that is there and wanted."""
    if is_compiled() and is_wanted():
        setattr(Cursor, NAME, short_way(_compiled))


def short_way(module: Any) -> Any:
    """Return the method of a compiled module that goes in front of that of Python."""
    return module.before_settle(unwrap(Cursor.settle), Cursor, OffsetRanges)

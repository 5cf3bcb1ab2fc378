"""`Cursor.settle` in C, in front of the Python method, where it could be compiled; see `msglog.compiled`.

Imported by the package.
"""

import os

from msglog.compiled import is_made_of, is_wanted
from msglog.cursors.cursor import Cursor
from msglog.cursors.ranges import OffsetRanges

try:
    from msglog.cursors import _compiled
except ImportError:
    _compiled = None  # type: ignore[assignment]

SOURCE = os.path.join(os.path.dirname(__file__), "_compiled.c")
NAME = "settle"


def is_compiled() -> bool:
    """Return whether the compiled method is there, and not left over from another version of its source."""
    return _compiled is not None and is_made_of(_compiled, SOURCE)


def put_in_front() -> None:
    """Let calls of the method go to the compiled one first, where that is there and wanted."""
    if is_compiled() and is_wanted():
        setattr(Cursor, NAME, _compiled.before_settle(Cursor.settle, Cursor, OffsetRanges))


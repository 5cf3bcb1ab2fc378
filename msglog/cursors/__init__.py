"""Cursors: how far a stream was delivered and settled, with the exceptions. For queues and for share groups.

Stands between the store and the two models above it: the broker's queues and the log's share groups settle by the same
arithmetic, and siblings do not import each other. Importing it makes its model known to the store.
"""

from msglog.cursors.checking import CursorCheck, wrong_cursor
from msglog.cursors.compiled import put_in_front
from msglog.cursors.cursor import Cursor
from msglog.cursors.model import CursorModel
from msglog.cursors.ranges import OffsetRanges
from msglog.store import register_check, register_model

__all__ = ["Cursor", "CursorModel", "OffsetRanges", "wrong_cursor"]

register_model(CursorModel)
register_check(CursorCheck)
put_in_front()

"""The cursors of a store in memory: a pure function of a snapshot and the events after it.

    event                                       effect
    "open"     cursor id, start                 a cursor is there
    "close"    cursor id                        it is gone
    "settle"   cursor id, first, end, next      `[first, end)` is settled, delivery has come to `next`
    "deliver"  cursor id, offset, times, next   an offset was handed out so many times

"settle" comes with every acknowledgement, so it has a short form in the state stream (`msglog.storage.state`).
Invariants: changes only in `load` and `apply`, under the store lock, but for what a cursor's owner does with deliveries
in hand; applying an event twice in a row does what once does. Imported by the models above.
"""

from collections.abc import Callable
from typing import Any, Final

from msglog.checks import MAX_INT64
from msglog.cursors.cursor import Cursor
from msglog.storage import CURSORS, Engine

# Ids travel as 32 bits in the short form of "settle".
_MOST_ID: Final = (1 << 32) - 1


class CursorModel:
    """The section "cursors" of a store's state. `cursors` has all of them by id, and stays the same object."""

    section = CURSORS

    def __init__(self, _engine: Engine) -> None:
        self.cursors: dict[int, Cursor[Any]] = {}
        self.next_id = 1
        self._appliers: dict[str, Callable[..., None]] = {
            "settle": self._settle,
            "deliver": self._deliver,
            "open": self._open,
            "close": self._close,
        }

    def load(self, snapshot: Any) -> None:
        """Take over a snapshot, None for a new store."""
        self.cursors.clear()
        if snapshot is None:
            return
        self.next_id = snapshot["next_id"]
        for packed in snapshot["cursors"]:
            if not 0 <= packed[0] <= _MOST_ID or packed[0] in self.cursors:
                raise ValueError("a cursor of no possible id, or of one that another has")
            self.cursors[packed[0]] = Cursor.unpack(packed)

    def apply(self, event: list[Any]) -> None:
        """Apply one event."""
        self._appliers[event[0]](*event[1:])

    def snapshot(self) -> Any:
        """Return the whole state."""
        return {"next_id": self.next_id, "cursors": [cursor.pack() for cursor in self.cursors.values()]}

    def _open(self, cursor_id: int, start: int) -> None:
        if not (0 <= cursor_id <= _MOST_ID and 0 <= start <= MAX_INT64):
            raise ValueError("a cursor of no possible id or position")
        self.next_id = max(self.next_id, cursor_id + 1)
        if cursor_id not in self.cursors:
            self.cursors[cursor_id] = Cursor(cursor_id, start)

    def _close(self, cursor_id: int) -> None:
        self.cursors.pop(cursor_id, None)

    def _settle(self, cursor_id: int, first: int, end: int, next_offset: int) -> None:
        cursor = self.cursors.get(cursor_id)
        if cursor is not None:
            cursor.settle(first, end, next_offset)

    def _deliver(self, cursor_id: int, offset: int, times: int, next_offset: int) -> None:
        cursor = self.cursors.get(cursor_id)
        if cursor is not None:
            cursor.count_delivery(offset, times, next_offset)

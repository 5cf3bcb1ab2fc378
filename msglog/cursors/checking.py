"""What must hold in every cursor, for those who own some, and what must hold for all of them.

Which stream a cursor is of only its owner knows, and only under the owner's lock it is at rest: so each owner looks at
its own. Imported by the models above.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, cast

from msglog.cursors.cursor import Cursor
from msglog.cursors.model import CursorModel
from msglog.storage import Engine
from msglog.storage.layout import SEGMENTS
from msglog.store import Claim, Service
from msglog.types import Problem


def wrong_cursor(cursor: Cursor[Any], end: int) -> Iterator[str]:
    """Yield what is wrong with a cursor of a stream that ends at `end`."""
    settled, following = cursor.settled, cursor.next
    if not 0 <= settled <= following:
        yield f"all below {settled} is settled, but delivery came to {following}"
    if following > end:
        yield f"delivery came to {following}, but the stream ends at {end}"
    if cursor.noted_next > following:
        yield f"delivery was noted to have come to {cursor.noted_next}, but it came to {following}"
    yield from _wrong_exceptions(cursor)
    for offset, times in list(cursor.deliveries.items()):
        if times < 1 or offset >= max(following, end):
            yield f"offset {offset} was delivered {times} times, beyond the end at {end}"


def _wrong_exceptions(cursor: Cursor[Any]) -> Iterator[str]:
    settled, following = cursor.settled, cursor.next
    # What an interrupt leaves below `settled` is dropped with the next settlement.
    done = [(first, stop) for first, stop in cursor.done if stop > settled]
    for first, stop in done:
        if not settled < first < stop <= following:
            yield f"{first} to {stop} are settled out of order, outside of {settled} to {following}"
    if any(before[1] >= after[0] for before, after in pairwise(done)):
        yield "what is settled out of order is not in order"
    for offset in list(cursor.unsettled):
        if not settled <= offset < following or offset in cursor.done:
            yield f"offset {offset} is in somebody's hand, but settled or never delivered"


class CursorCheck:
    """What holds for all cursors, whoever owns them."""

    lock = None

    def __init__(self, engine: Engine, _services: Mapping[str, Service]) -> None:
        self._model = cast(CursorModel, engine.models[CursorModel.section])
        self._path = engine.path(SEGMENTS)

    def claims(self) -> Iterator[Claim]:
        """Claim nothing: cursors belong to queues and share groups."""
        return iter(())

    def wards(self) -> Iterable[tuple[str, int]]:
        """Return all cursors: each must belong to something."""
        return [("cursor", cursor_id) for cursor_id in self._model.cursors]

    def pieces(self) -> Iterable[Any]:
        """Return the ids of all cursors."""
        return list(self._model.cursors)

    def look(self, piece: Any) -> Iterator[Problem]:
        """Look at a cursor's id."""
        cursor = self._model.cursors.get(piece)
        if cursor is not None and (cursor.id != piece or piece >= self._model.next_id):
            what = f"cursor {cursor.id} is known as {piece}; the next one will be {self._model.next_id}"
            yield Problem("cursor", self._path, 0, what)

"""Takes the next records from the partitions of a consumer, each of them in its turn.

A partition has the turn for about `TURN_RECORDS` records, or until it has no more, so that one with a long
backlog does not keep the others from being read. Never waits and holds no lock; one thread at a time.
Imported by the consumer.
"""

from collections import deque
from collections.abc import Collection, Iterator
from itertools import islice

from msglog.errors import MsglogError
from msglog.log.positions import PartitionCursor
from msglog.types import Record, TopicPartition
from msglog.waiting import Wakeable

TURN_RECORDS = 500


class Fetcher:
    """Reads from cursors in turn. The same cursor object must not be given to two fetchers."""

    __slots__ = ("_ring", "_run", "_taken", "_turn")

    def __init__(self) -> None:
        self._ring: deque[PartitionCursor] = deque()
        self._turn = TURN_RECORDS
        self._taken: dict[PartitionCursor, int] = {}
        self._run: PartitionCursor | None = None

    def set_cursors(self, cursors: Collection[PartitionCursor]) -> None:
        """Read these from now on; those that were there before keep their places in the order of turns."""
        kept = [cursor for cursor in self._ring if cursor in cursors]
        self._ring = deque(kept + [cursor for cursor in cursors if cursor not in kept])

    def take(self, limit: int) -> list[Record]:
        """Return up to `limit` records and move the positions beyond them.

        What is damaged or out of range is reported by the call that comes to it first, so that no record is
        lost to an error; the call after that goes on with the other partitions.
        """
        records: list[Record] = []
        self._run = None
        try:
            while len(records) < limit and (cursor := self._next_ready()) is not None:
                self._taken.setdefault(cursor, cursor.settled_position())
                count = len(records)
                records += islice(cursor.left, limit - count)
                self._turn -= len(records) - count
        except MsglogError:
            if not records:
                self._next_turn()
                raise
        return records

    def take_latest(self) -> list[Record] | None:
        """Return what `take` does, after a wait and where it is one record that was just appended; None elsewhere."""
        if len(self._ring) != 1:
            return None
        cursor = self._ring[0]
        offset = cursor.hold_latest()
        if offset is None:
            return None
        self._run = None
        self._taken[cursor] = offset
        return list(cursor.left)

    def take_back(self) -> None:
        """Go back to where the positions were before the last `take`: its records have not reached anybody."""
        for cursor, position in self._taken.items():
            cursor.seek(position)
        self._taken.clear()

    def run(self) -> Iterator[Record] | None:
        """Return the records to hand out next, at least one, all of one partition; None if there are none.

        Each record taken from the iterator moves the position beyond it. The iterator ends early when the
        records in it are taken by somebody else, or no longer to be handed out.
        """
        if self._ring:
            cursor = self._ring[0]
            if cursor.in_hand():
                self._run = cursor
                return cursor.left
        try:
            ready = self._next_ready()
        except BaseException:
            self._next_turn()
            raise
        if ready is None:
            return None
        self._turn -= ready.remaining
        self._run = ready
        return ready.left

    def run_latest(self) -> Iterator[Record] | None:
        """Return what `run` does, after a wait and where it is one record that was just appended; None elsewhere."""
        if len(self._ring) != 1 or self._ring[0].hold_latest() is None:
            return None
        cursor = self._run = self._ring[0]
        return cursor.left

    def finish_hand(self) -> None:
        """Note that the records handed out last are done with: somebody asks for more."""
        self._run = None
        self._taken.clear()

    def before_hand(self) -> dict[TopicPartition, int]:
        """Return the positions before the records in hand: the last `take`, or the last one of a run."""
        if self._run is None:
            return {cursor.partition: position for cursor, position in self._taken.items()}
        offset = self._run.last_offset
        return {} if offset is None else {self._run.partition: offset}

    def has_more(self) -> bool:
        """Whether there is something to take."""
        return any(cursor.has_more() for cursor in self._ring)

    def watch(self, waiter: Wakeable) -> None:
        """Wake `waiter` when a partition that is not paused gets records."""
        for cursor in self._ring:
            if not cursor.paused:
                cursor.stream.waiters.add(waiter)

    def unwatch(self, waiter: Wakeable) -> None:
        """Undo `watch`."""
        for cursor in self._ring:
            cursor.stream.waiters.discard(waiter)

    def _next_ready(self) -> PartitionCursor | None:
        """Return the cursor whose turn it is and that has a record, None when no cursor has."""
        if self._turn <= 0:
            self._next_turn()
        for _ in range(len(self._ring)):
            cursor = self._ring[0]
            if cursor.ready():
                return cursor
            self._ring.rotate(-1)
            self._turn = TURN_RECORDS
        return None

    def _next_turn(self) -> None:
        self._ring.rotate(-1)
        self._turn = TURN_RECORDS

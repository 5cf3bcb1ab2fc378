"""A cursor: a position in a stream plus exceptions.

A queue is a cursor on a stream of messages; a share group has one on each partition of a topic.

    0          settled                    next                 end of the stream
    | all gone | settled, unsettled, or returned | never delivered |

Pure: no I/O, clock or threads; whoever changes it holds the lock of its owner. Invariants: each offset of
`[settled, next)` is in `done` (settled out of order), in `unsettled` (delivered, in somebody's hand), or else
*returned*: to be delivered again, before `next`. `done` never holds `settled` itself. Memory follows the
deliveries in hand and the ranges of what was settled out of order, never the backlog. What survives the process is
`settled`, `done`, `next` and `deliveries`: after a crash everything below `next` that is not settled is returned.
"""

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from msglog.checks import MAX_INT64
from msglog.cursors.ranges import OffsetRanges

Holder = TypeVar("Holder")


class Cursor(Generic[Holder]):
    """`unsettled` maps each offset in somebody's hand to what the owner keeps of it."""

    __slots__ = ("_returned", "counted", "deliveries", "done", "id", "next", "noted_next", "settled", "unsettled")

    def __init__(self, cursor_id: int, start: int = 0) -> None:
        self.id = cursor_id
        self.settled = self.next = start
        # The highest `next` that was written down.
        self.noted_next = start
        self.done = OffsetRanges()
        self.unsettled: dict[int, Holder] = {}
        # How often an offset was handed out so far, where somebody wants to know. Not for each offset.
        self.deliveries: dict[int, int] = {}
        # Whether events tell of deliveries; elsewhere they are counted for as long as the process lives.
        self.counted = False
        # None: to be found out from the others, as after a start.
        self._returned: OffsetRanges | None = None

    @property
    def returned(self) -> OffsetRanges:
        """What is to be delivered again before `next`."""
        returned = self._returned
        if returned is None:
            returned = OffsetRanges(self.done.gaps(self.settled, self.next))
            for offset in self.unsettled:
                returned.remove(offset, offset + 1)
            self._returned = returned  # last: an interrupt must not leave what is in somebody's hand among them
        return returned

    def ready(self, end: int) -> int:
        """Return how many offsets below `end` wait to be delivered."""
        return end - self.settled - self.done.count - len(self.unsettled)

    def peek(self, end: int) -> int | None:
        """Return the offset that is delivered next, None when none below `end` waits."""
        if self.settled < self.next and (offset := self.returned.first()) is not None:
            return offset if offset < end else None
        return self.next if self.next < end else None

    def take(self, offset: int, holder: Holder) -> None:
        """Hand out the offset that `peek` returned."""
        try:
            if offset == self.next:
                self.next = offset + 1
            else:
                self.returned.remove(offset, offset + 1)
            self.unsettled[offset] = holder
        except BaseException:  # an interrupt: nobody has it
            self.unsettled.pop(offset, None)
            self.look_again()
            raise

    def give_back(self, offset: int) -> None:
        """Return an offset that is in somebody's hand; nothing happens if it is not."""
        if self.unsettled.pop(offset, None) is not None:
            self.returned.add(offset, offset + 1)

    def look_again(self) -> None:
        """Have it found out anew what is returned: an exception may have struck in the middle of a change."""
        self._returned = None

    def settle(self, first: int, end: int, next_offset: int = 0) -> None:
        """Note that `[first, end)` is done with, whatever state it was in; `next_offset`: how far delivery had come.

        Doing it twice does what once does.
        """
        settled, done = self.settled, self.done
        if (
            end == first + 1
            and first == settled
            and (not next_offset or next_offset == self.next)
            and not (done.spans[2] or self.deliveries)
            and self.unsettled.pop(first, None) is not None
        ):
            # As in most calls: the oldest delivery is settled, and nothing was out of order.
            self.settled = end
            self.noted_next = self.next
            return
        if next_offset > self.next:
            # Only at replay: what was handed out and not settled comes back.
            self.next = next_offset
            self._returned = None
        # The event says how far delivery had come, for a living cursor as it is now.
        self.noted_next = max(self.noted_next, next_offset or self.next, end if first < end else 0)
        done.remove(0, settled)  # left there by an interrupt between the last two steps
        first = max(first, settled)
        if first >= end:
            return
        if end > self.next:
            if first > self.next:
                self.returned.add(self.next, first)
            self.next = end
        self._forget(first, end)
        if first > settled:
            done.add(first, end)
            return
        self.settled = end = done.end_from(end)
        done.remove(0, end)

    def _forget(self, first: int, end: int) -> None:
        unsettled = self.unsettled
        if end - first == 1:
            if unsettled.pop(first, None) is None and self._returned:
                self._returned.remove(first, end)
            if self.deliveries:
                self.deliveries.pop(first, None)
            return
        for known in (unsettled, self.deliveries):
            offsets: Iterable[int] = range(first, end)
            if len(known) < end - first:
                offsets = [offset for offset in known if first <= offset < end]
            for offset in offsets:
                known.pop(offset, None)
        if self._returned:
            self._returned.remove(first, end)
        # Of what is settled in between, nothing stands alone any more.
        self.done.remove(first, end)

    def count_delivery(self, offset: int, deliveries: int, next_offset: int = 0) -> None:
        """Note that an offset has been handed out so many times."""
        if next_offset > self.next:
            self.next = next_offset
            self._returned = None
        self.noted_next = max(self.noted_next, next_offset or self.next)
        self.counted = True
        if offset >= self.settled and offset not in self.done:
            self.deliveries[offset] = deliveries

    def unsettled_ranges(self, end: int) -> list[tuple[int, int]]:
        """Return what is not settled below `end`, in order: what a stream must keep."""
        return self.done.gaps(self.settled, end)

    def pack(self) -> list[Any]:
        """Return what survives the process: what events say, and nothing that is known only by chance."""
        deliveries = list(self.deliveries.items()) if self.counted else []
        return [self.id, self.settled, self.noted_next, [list(one) for one in self.done], deliveries]

    @classmethod
    def unpack(cls, packed: list[Any]) -> "Cursor[Holder]":
        """Return the cursor that `pack` wrote down. Raises ValueError or TypeError for anything else."""
        if set(map(type, packed[:3])) != {int}:
            raise TypeError("a cursor whose id and positions are no numbers")
        if not 0 <= packed[1] <= packed[2] <= MAX_INT64:
            raise ValueError("a cursor that settled more than it delivered")
        if not all(0 <= first < end <= packed[2] for first, end in packed[3]):
            raise ValueError("a cursor that settled what it never delivered")
        cursor = cls(packed[0], packed[1])
        cursor.next = cursor.noted_next = packed[2]
        cursor.done = OffsetRanges((first, end) for first, end in packed[3])
        cursor.deliveries = dict(packed[4])
        cursor.counted = bool(packed[4])
        return cursor

    def __repr__(self) -> str:
        return f"<Cursor {self.id} settled={self.settled} next={self.next} unsettled={len(self.unsettled)}>"

"""One partition of a share group: its cursor, and reading what is to be handed out next.

Offsets without a record, where compaction has been, and records below the start of the stream, which retention or
`delete_records` removed, are settled as they are met. Used under the lock of `sharing`, but for `wake`. Memory is
bounded by two frames. Imported by `group` and `sharing`.
"""

from bisect import bisect_left
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from msglog.cursors import Cursor, OffsetRanges
from msglog.log.records import iterate_records
from msglog.log.topic import Topic
from msglog.storage import Frame, Stream
from msglog.types import Record, TopicPartition

if TYPE_CHECKING:
    from msglog.log.share.group import Batch


class Taken(NamedTuple):
    """A record that is handed out, for the `times`-th time."""

    partition: "SharePartition"
    record: Record
    times: int


class Haul:
    """What one poll has come to: records, and the events to write before anybody sees them.

    `given_up`: what was handed out too often, and is settled by these events.
    """

    __slots__ = ("batch", "events", "given_up", "limit", "taken")

    def __init__(self, batch: "Batch", limit: int) -> None:
        self.batch = batch
        self.limit = limit
        self.taken: list[Taken] = []
        self.events: list[list[Any]] = []
        self.given_up: list[tuple[SharePartition, int]] = []

    @property
    def room(self) -> int:
        """How many more records are wanted."""
        return self.limit - len(self.taken)


class SharePartition:
    """A partition as a group sees it. Wakes its group when the stream has grown."""

    __slots__ = ("_again", "_ahead", "_group_has_news", "cursor", "name", "stream", "topic")

    def __init__(
        self, topic: Topic, number: int, cursor: "Cursor[Batch]", group_has_news: Callable[["SharePartition"], None]
    ) -> None:
        self.topic = topic
        self.name = TopicPartition(topic.name, number)
        self.stream: Stream = topic.partitions[number]
        self.cursor = cursor
        self._group_has_news = group_has_news
        # What was never handed out is read in order; what comes back lies anywhere before.
        self._ahead = _Window(self.stream)
        self._again = _Window(self.stream)

    def wake(self) -> None:
        """Note that there are more records. Takes no lock: the stream calls it under the store lock."""
        self._group_has_news(self)

    def times(self, offset: int) -> int:
        """Return how often a record was handed out so far."""
        return self.cursor.deliveries.get(offset, 1 if offset < self.cursor.next else 0)

    def take(self, haul: Haul) -> None:
        """Hand out what waits, lowest offsets first, until the haul is full; its events are to be written then.

        Records that were handed out as often as the member allows are settled instead, unless it gives them up itself.
        Raises `CorruptionError`; what came before it is in the haul.
        """
        cursor, stream = self.cursor, self.stream
        settled: list[tuple[int, int]] = []
        again: list[tuple[int, int]] = []
        try:
            if cursor.settled < stream.start:
                settled += self._settle_removed()
            end = stream.end
            while haul.room and (first := cursor.peek(end)) is not None:
                stop = end
                if first < cursor.next:
                    stop = min(end, cursor.returned.end_from(first))
                if not self._take_run(haul, first, stop, settled, again):
                    break
        finally:
            haul.events += self._events(settled, again)

    def _take_run(
        self, haul: Haul, first: int, stop: int, settled: list[tuple[int, int]], again: list[tuple[int, int]]
    ) -> bool:
        """Hand out records of one frame with offsets from `first` to before `stop`, all of which wait.

        Returns False when nothing can be read there yet.
        """
        cursor, batch = self.cursor, haul.batch
        window = self._ahead if first >= cursor.next else self._again
        frame = window.frame_at(first)
        if frame is None:
            if not window.passed(stop):
                return False
            settled.append(self._leave_out(first, stop))
            return True
        offsets = frame.offsets
        place = bisect_left(offsets, first)
        last = min(place + haul.room, len(offsets))
        reached = min(stop, frame.next_offset)
        if last < len(offsets):
            reached = min(reached, offsets[last])
        for record in iterate_records(frame, *self.name, first, reached):
            offset = record.offset
            if offset > first:
                settled.append(self._leave_out(first, offset))
            first = offset + 1
            times = self.times(offset)
            if times >= batch.member.delivery_limit and not batch.member.givers_up:
                settled.append(self._leave_out(offset, first))
                haul.given_up.append((self, offset))
                continue
            fresh = offset == cursor.next
            batch.hold(self, offset)
            cursor.take(offset, batch)
            haul.taken.append(Taken(self, record, times + 1))
            if not fresh:
                cursor.deliveries[offset] = times + 1
                again.append((offset, times + 1))
        if first < reached:
            settled.append(self._leave_out(first, reached))
        if reached >= frame.next_offset:
            window.clear()
        return True

    def _leave_out(self, first: int, end: int) -> tuple[int, int]:
        self.cursor.settle(first, end)
        return first, end

    def _settle_removed(self) -> list[tuple[int, int]]:
        """Settle what is no longer there; what somebody has in hand stays with them."""
        cursor, start = self.cursor, self.stream.start
        removed = OffsetRanges(cursor.unsettled_ranges(start))
        for offset in cursor.unsettled:
            removed.remove(offset, offset + 1)
        return [self._leave_out(first, end) for first, end in removed]

    def _events(self, settled: list[tuple[int, int]], again: list[tuple[int, int]]) -> list[list[Any]]:
        """Return what is to be written: an offset below the cursor's next one was handed out once, unless told."""
        cursor = self.cursor
        following = cursor.next
        events: list[list[Any]] = [["settle", cursor.id, first, end, following] for first, end in settled]
        events += [["deliver", cursor.id, offset, times, following] for offset, times in again]
        if not events and following > cursor.noted_next:
            events.append(["settle", cursor.id, following, following, following])
        return events

    def __repr__(self) -> str:
        return f"<SharePartition {self.name} {self.cursor!r}>"


class _Window:
    """A reader and the frame that it has read last, as long as the stream has the same segments."""

    __slots__ = ("_frame", "_parts", "_reader", "_stream")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._reader = stream.reader(0)
        self._frame: Frame | None = None
        self._parts = stream.parts

    def frame_at(self, offset: int) -> Frame | None:
        """Return the frame that holds `offset`, or the next one behind it; None at the end."""
        frame, parts = self._frame, self._stream.parts
        if frame is not None and parts is self._parts and frame.base_offset <= offset < frame.next_offset:
            return frame
        if self._reader.offset != offset:
            self._reader.seek(offset)
        self._parts = parts
        self._frame = frame = self._reader.read()
        return frame

    def passed(self, offset: int) -> bool:
        """Whether a read that found nothing has seen all records before `offset`."""
        return self._reader.offset >= offset

    def clear(self) -> None:
        """Let go of the frame: it is used up."""
        self._frame = None

"""Where a consumer stands in each of its partitions.

A position is one past the last record handed out. It is not stored: the records of a frame are made one at a
time, as they are taken from one iterator, which counts down beside them how many are left, and that tells
the position. So handing out a record costs nothing for the position, iteration and `poll` share positions by
sharing the iterator, and what was read ahead never counts. Invariant: what ends an iterator early (seek,
pause, revocation) also sets its count to nothing left, so that a loop that still holds it goes on with
nothing stale. Imported by the fetcher and the consumer.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterator
from itertools import compress, repeat
from operator import length_hint
from typing import Literal

from msglog.errors import GroupError, OffsetOutOfRangeError
from msglog.log.model import LogModel
from msglog.log.records import iterate_records
from msglog.storage import Frame, Stream
from msglog.types import Record, TopicPartition

Start = Literal["earliest", "latest", "error"]

_NONE: Iterator[Record] = iter(())
_new_record = tuple.__new__
NO_OFFSET = -1
"""What an `OffsetOutOfRangeError` tells as the offset when there is none at all (Kafka's "no offset")."""


class PartitionCursor:
    """One partition that is being consumed: its position, and the records read ahead of it.

    `start` says where to go when there is no committed offset, or when the position is out of the
    partition's range. An interrupt finds the cursor either as it was or as it shall be (`_hold`).
    """

    __slots__ = (
        "_asked",
        "_first",
        "_frame",
        "_next_read",
        "_position",
        "_reader",
        "_size",
        "_stop",
        "_uncounted",
        "left",
        "partition",
        "paused",
        "start",
        "stream",
    )

    def __init__(self, partition: TopicPartition, stream: Stream, start: Start, committed: int | None) -> None:
        self.partition = partition
        self.stream = stream
        self.start = start
        self.paused = False
        self.left: Iterator[Record] = iter(())
        self._reader = stream.reader(0)
        # The frame in hand: `_size` of its records, from number `_first` on, are those with offsets from
        # `_position` to before `_stop`. What `_uncounted` still has to give is not handed out yet. Without a frame but
        # with a size it is the one record that was appended last.
        self._frame: Frame | None = None
        self._first = self._size = self._stop = 0
        self._uncounted = repeat(1, 0)
        self._position: int | None = None
        self._next_read = 0
        self._asked: int | None = None
        self.rewind(committed)

    @property
    def remaining(self) -> int:
        """How many records of the frame in hand are left to hand out."""
        return length_hint(self._uncounted)

    @property
    def last_offset(self) -> int | None:
        """The offset of the record handed out last from the frame in hand, None if it was none yet."""
        taken = self._size - length_hint(self._uncounted)
        if not taken:
            return None
        if self._frame is None:
            return self._stop - 1
        return self._frame.offsets[self._first + taken - 1]

    @property
    def position(self) -> int | None:
        """The next offset to hand out; None while `start="error"` leaves it open."""
        last_offset = self.last_offset
        return self._position if last_offset is None else last_offset + 1

    def lag(self) -> int:
        """Return how far the position is behind the end; 0 while it is open."""
        position = self.position
        return 0 if position is None else max(0, self.stream.end - position)

    def settled_position(self) -> int:
        """Return the position. Raises `OffsetOutOfRangeError` while `start="error"` leaves it open."""
        position = self._position
        if length_hint(self._uncounted) != self._size:
            position = self.position
        return self._locate(self._asked) if position is None else position

    def rewind(self, committed: int | None) -> None:
        """Go to a committed offset, or to where `start` says when there is none or it is out of range."""
        self._asked = committed
        self._hold(None, None, 0, 0)
        try:
            self._locate(committed)
        except OffsetOutOfRangeError:
            pass  # said again to whoever asks for a record or the position, which a seek may prevent

    def seek(self, offset: int) -> None:
        """Go to `offset` and forget what was read ahead."""
        self._hold(None, offset, offset, offset)

    def detach(self) -> None:
        """End the runs of all who hold `left`; what was read ahead stays for later."""
        if self._frame is None and self.remaining:
            self.seek(self._stop - 1)
        else:
            self._hold(self._frame if self.remaining else None, self.position, self._stop, self._next_read)

    def in_hand(self) -> bool:
        """Whether records read ahead can be handed out: not when paused, nor when they were removed meanwhile."""
        if self.paused or not self.remaining:
            return False
        position = self.position
        if position is not None and position < self.stream.start:
            self.seek(position)
            return False
        return True

    def ready(self) -> bool:
        """Read ahead if need be; return whether there is a record to hand out.

        Raises `CorruptionError`, again each time until a seek beyond the damage, and `OffsetOutOfRangeError`.
        """
        if self.paused:
            return False
        if length_hint(self._uncounted):
            return self.in_hand() or self._read()
        if self._next_read >= self.stream.end and self._position is not None:
            return False  # as after each last record
        return self._read()

    def hold_latest(self) -> int | None:
        """Have in hand what was appended last, if it is the next record and there is no other; return its offset.

        What `ready` and a reader do, for who has waited for that record: it comes from whoever appended it, and what
        stands between the wake and the record is this.
        """
        stream, offset = self.stream, self._next_read
        latest = stream.latest
        if (
            latest is None
            or latest[0] != offset
            or self.paused
            or self._position is None
            or length_hint(self._uncounted)
            or offset < stream.start
            or not self._reader.passes(latest)
        ):
            return None
        topic, number = self.partition
        record = _new_record(Record, (topic, number, offset, latest[1], latest[2], latest[3], ()))
        uncounted = repeat(1, 1)
        left = compress((record,), uncounted)
        # Stores alone, as in `_hold`; whoever still iterates has come to the end.
        self._frame = None
        self._first = 0
        self._size = 1
        self._stop = self._next_read = offset + 1
        self._uncounted = uncounted
        self.left = left
        self._position = offset
        return offset

    def has_more(self) -> bool:
        """Whether `ready` has something to do: a record, or an error to raise."""
        return not self.paused and (self.remaining > 0 or self._position is None or self._next_read < self.stream.end)

    def _read(self) -> bool:
        stream, reader = self.stream, self._reader
        # Nothing that could be handed out lies between the position and where reading goes on.
        position = self.settled_position() if self._position is None else self._next_read
        if self._next_read >= stream.end:
            return False
        if self._next_read < stream.start:
            position = self._locate(self._next_read)
        if reader.offset != self._next_read:
            reader.seek(self._next_read)
        while (frame := reader.read()) is not None:
            stop = min(frame.next_offset, stream.end)
            self._hold(frame, max(position, stream.start), stop, stop)
            if self.remaining:
                return True
        return False

    def _hold(self, frame: Frame | None, position: int | None, stop: int, next_read: int) -> None:
        """Have a frame's records from `position` to before `stop` in hand, and go on reading at `next_read`."""
        first = size = 0
        records: Iterator[Record] = _NONE
        if frame is not None and position is not None:
            size = frame.count
            if position > frame.base_offset or stop < frame.next_offset:
                first = bisect_left(frame.offsets, position)
                size = max(0, bisect_left(frame.offsets, stop) - first)
            records = iterate_records(frame, *self.partition, position, stop)
        uncounted = repeat(1, size)
        left = compress(records, uncounted)
        former = self._uncounted
        # Stores alone, without a call among them: no signal is handled in between.
        self._frame = frame
        self._first = first
        self._size = size
        self._stop = stop
        self._uncounted = uncounted
        self.left = left
        self._position = position
        self._next_read = next_read
        for _ in former:
            pass  # whoever still iterates finds nothing more

    def _locate(self, asked: int | None) -> int:
        """Go to `asked`, or to where `start` says if that is not in the partition."""
        first, end = self.stream.start, self.stream.end
        if asked is None or not first <= asked <= end:
            if self.start == "error":
                raise self._refusal(asked, first, end)
            asked = end if self.start == "latest" else first
        self.seek(asked)
        return asked

    def _refusal(self, asked: int | None, first: int, end: int) -> OffsetOutOfRangeError:
        topic, number = self.partition
        what = "has no committed offset" if asked is None else f"is to be read from offset {asked}"
        return OffsetOutOfRangeError(
            f"partition {number} of topic {topic!r} {what}, its offsets are {first} to {end}, "
            'and start="error" forbids to choose another one',
            topic=topic,
            partition=number,
            offset=NO_OFFSET if asked is None else asked,
            start_offset=first,
            end_offset=end,
        )


class Positions:
    """The cursors of a consumer's assignment, by partition."""

    def __init__(self, log: LogModel, start: Start) -> None:
        self._log = log
        self._start = start
        self.cursors: dict[TopicPartition, PartitionCursor] = {}

    def add(self, partition: TopicPartition, committed: int | None) -> PartitionCursor:
        """Begin with a partition. Raises `TopicNotFoundError`, `PartitionNotFoundError`."""
        stream = self.stream_of(partition)
        cursor = self.cursors[partition] = PartitionCursor(partition, stream, self._start, committed)
        return cursor

    def remove(self, partition: TopicPartition) -> None:
        """End with a partition; one that is not there is ignored."""
        cursor = self.cursors.pop(partition, None)
        if cursor is not None:
            cursor.seek(0)

    def stream_of(self, partition: TopicPartition) -> Stream:
        """Return a partition's stream. Raises `TopicNotFoundError`, `PartitionNotFoundError`."""
        return self._log.topic(partition.topic).partition(partition.partition)

    def exists(self, partition: TopicPartition) -> bool:
        """Whether there is such a partition now."""
        topic = self._log.topics.get(partition.topic)
        return topic is not None and partition.partition < len(topic.partitions)

    def is_current(self, cursor: PartitionCursor) -> bool:
        """Whether a cursor's topic is still there: not deleted, nor made anew under its name."""
        return self.exists(cursor.partition) and self.stream_of(cursor.partition) is cursor.stream

    def cursor(self, partition: TopicPartition) -> PartitionCursor:
        """Return the cursor of an assigned partition.

        Raises `GroupError` when it is not assigned, and `TopicNotFoundError` or `PartitionNotFoundError`
        when there is no such partition.
        """
        cursor = self.cursors.get(partition)
        if cursor is None:
            self.stream_of(partition)
            raise GroupError(f"partition {partition.partition} of topic {partition.topic!r} is not assigned here")
        return cursor

    def chosen(self, partitions: Collection[TopicPartition]) -> list[PartitionCursor]:
        """Return the cursors of `partitions`, all of them when none are named. Raises as `cursor` does."""
        if not partitions:
            return list(self.cursors.values())
        return [self.cursor(partition) for partition in partitions]

    def known(self) -> dict[TopicPartition, int]:
        """Return the position in each partition that still exists and whose position is settled."""
        return {
            partition: position
            for partition, cursor in self.cursors.items()
            if (position := cursor.position) is not None and self.is_current(cursor)
        }

"""Where a consumer stands in each of its partitions.

A position is one past the last record handed out. It is not stored: a partition's records are handed out
through one list iterator, and what is left in that tells the position. So handing out a record costs no more
than taking it from the list, iteration and `poll` share positions by sharing the iterator, and what was read
ahead never counts. Invariant: whatever takes records away (seek, pause, revocation) first exhausts the
iterator, so that a loop that still holds it goes on with nothing stale. Imported by the fetcher and the
consumer.
"""

from collections.abc import Collection, Iterator
from operator import length_hint
from typing import Literal

from msglog.errors import GroupError, OffsetOutOfRangeError
from msglog.log.model import LogModel
from msglog.log.records import records_of
from msglog.storage import Stream
from msglog.types import Record, TopicPartition

Start = Literal["earliest", "latest", "error"]

NO_OFFSET = -1
"""What an `OffsetOutOfRangeError` tells as the offset when there is none at all (Kafka's "no offset")."""


class PartitionCursor:
    """One partition that is being consumed: its position, and the records read ahead of it.

    `start` says where to go when there is no committed offset, or when the position is out of the
    partition's range.
    """

    __slots__ = (
        "_asked",
        "_position",
        "_reader",
        "_records",
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
        self._records: list[Record] = []
        self._reader = stream.reader(0)
        self._asked: int | None = None
        self._position: int | None = None
        self.rewind(committed)

    @property
    def position(self) -> int | None:
        """The next offset to hand out; None while `start="error"` leaves it open."""
        taken = len(self._records) - length_hint(self.left)
        return self._records[taken - 1].offset + 1 if taken else self._position

    @property
    def last_record(self) -> Record | None:
        """The record handed out last from the frame in hand."""
        taken = len(self._records) - length_hint(self.left)
        return self._records[taken - 1] if taken else None

    def settled_position(self) -> int:
        """Return the position. Raises `OffsetOutOfRangeError` while `start="error"` leaves it open."""
        position = self.position
        return self._locate(self._asked) if position is None else position

    def rewind(self, committed: int | None) -> None:
        """Go to a committed offset, or to where `start` says when there is none or it is out of range."""
        self.seek(0)
        self._position, self._asked = None, committed
        try:
            self._locate(committed)
        except OffsetOutOfRangeError:
            pass  # said again to whoever asks for a record or the position, which a seek may prevent

    def seek(self, offset: int) -> None:
        """Go to `offset` and forget what was read ahead."""
        self._drop()
        self._position = offset
        self._reader.seek(offset)

    def detach(self) -> None:
        """End the runs of all who hold `left`; what was read ahead stays for later."""
        position = self.position
        self._records = list(self.left)
        self.left = iter(self._records)
        self._position = position

    def in_hand(self) -> bool:
        """Whether records read ahead can be handed out: not when paused, nor when they were removed meanwhile."""
        if self.paused or not length_hint(self.left):
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
        return self.in_hand() or (not self.paused and self._read())

    def has_more(self) -> bool:
        """Whether `ready` has something to do: a record, or an error to raise."""
        return not self.paused and (
            length_hint(self.left) > 0 or self._position is None or self._reader.offset < self.stream.end
        )

    def _read(self) -> bool:
        stream, reader = self.stream, self._reader
        if self._position is None:
            self._locate(self._asked)
        if reader.offset >= stream.end:
            return False
        if reader.offset < stream.start:
            self._locate(reader.offset)
        while (frame := reader.read()) is not None:
            end = stream.end
            position = self.settled_position()
            records = records_of(frame, *self.partition, max(position, stream.start), end)
            if frame.next_offset > end:
                reader.seek(end)
            if records:
                self._position = position
                self._records = records
                self.left = iter(records)
                return True
        return False

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

    def _drop(self) -> None:
        list(self.left)
        self._records = []
        self.left = iter(())


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

"""The part of `Log` that reads without a group: by offset, by time, by key. Imported by `log`."""

from collections.abc import Iterator
from itertools import islice

from msglog.checks import check_integer, wrong_payload
from msglog.errors import OffsetOutOfRangeError
from msglog.log.arguments import check_partition, only_partition
from msglog.log.handle import LogHandle
from msglog.log.records import iterate_records, records_of
from msglog.log.rules.key_rows import digest_of
from msglog.log.rules.partitioning import partition_for_key
from msglog.log.topic import Topic
from msglog.storage import Engine, Frame, Stream
from msglog.types import Record


class Reading(LogHandle):
    """`read`, `read_key`, `last_record`, `start_offset`, `end_offset`, `offset_at`."""

    def read(
        self,
        topic: str,
        partition: int | None = None,
        *,
        start: int | None = None,
        stop: int | None = None,
        max_records: int | None = None,
    ) -> Iterator[Record]:
        """Return the records of a partition up to its end now, in offset order; never waits for more.

        Arguments:
            topic: the name of a topic that exists.
            partition: may be left out when the topic has only one.
            start: the first offset, None for the start offset. Offsets may have gaps: the first record can be
                later.
            stop: the offset to end before, None for the end.
            max_records: the most records to return, 0 or more.

        Arguments are checked and the end is taken at the call, not at the first record. Raises
        `TopicNotFoundError`, `PartitionNotFoundError`, `InvalidOptionError`, `OffsetOutOfRangeError` when
        `start` is below the start offset or beyond the end, `ClosedError`; the iterator raises
        `CorruptionError` where data is damaged and `ClosedError` when the store is closed meanwhile. Records
        that retention removes meanwhile are left out.
        """
        found = self._topic_to_read(topic)
        number = only_partition(found, partition)
        stream = found.partitions[number]
        end = stream.end
        first = stream.start if start is None else check_integer("start", start, 0)
        if not stream.start <= first <= end:
            raise _out_of_range(found, number, first, stream)
        last = end if stop is None else min(end, check_integer("stop", stop, 0))
        limit = None if max_records is None else check_integer("max_records", max_records, 0)
        records = _records(self._engine, stream, found.name, number, start=first, stop=last)
        return records if limit is None else islice(records, limit)

    def read_key(
        self, topic: str, key: bytes, *, partition: int | None = None, start: int | None = None
    ) -> Iterator[Record]:
        """Return the records of one key up to the partition's end now, in offset order; never waits for more.

        Arguments:
            topic: the name of a topic that exists.
            key: the key; records of others are not read.
            partition: the partition, None for the one that `partition_for` gives. Records that were appended to
                another one, by number or before partitions were added, are found there only.
            start: the first offset, None for the start offset.

        Arguments are checked and the end is taken at the call. Raises what `read` raises, and `InvalidTypeError` for
        a key that is not bytes. The first use for a partition in a process looks for its index on the disk; what that
        does not cover is read once, and noted. Cost then grows with the records of the key, not with the others.
        Safe for any number of threads.
        """
        found, number, stream = self._find_key(topic, key, partition)
        end = stream.end
        first = stream.start if start is None else check_integer("start", start, 0)
        if not stream.start <= first <= end:
            raise _out_of_range(found, number, first, stream)
        index = found.indexes.get(stream)
        index.catch_up()
        offsets = index.offsets(digest_of(key), first, end)
        return _records_at(self._engine, stream, found.name, number, key, offsets)

    def last_record(self, topic: str, key: bytes, *, partition: int | None = None) -> Record | None:
        """Return the newest record of a key, perhaps a tombstone, None when there is none.

        Arguments, errors and cost as of `read_key`.
        """
        found, number, stream = self._find_key(topic, key, partition)
        index = found.indexes.get(stream)
        index.catch_up()
        offsets = index.offsets_backwards(digest_of(key), stream.end)
        return next(_records_at(self._engine, stream, found.name, number, key, offsets), None)

    def _find_key(self, topic: str, key: bytes, partition: int | None) -> tuple[Topic, int, Stream]:
        found = self._topic_to_read(topic)
        if not isinstance(key, bytes):
            raise wrong_payload("key", key, "bytes")
        if partition is None:
            partition = partition_for_key(key, len(found.partitions))
        number = check_partition(found, partition)
        return found, number, found.partitions[number]

    def start_offset(self, topic: str, partition: int | None = None) -> int:
        """Return the first offset that can be read; `partition` may be left out when the topic has only one.

        Raises `TopicNotFoundError`, `PartitionNotFoundError`, `InvalidOptionError`, `ClosedError`.
        """
        found = self._topic_to_read(topic)
        return found.partitions[only_partition(found, partition)].start

    def end_offset(self, topic: str, partition: int | None = None) -> int:
        """Return the offset after the last readable record.

        `partition` may be left out when the topic has only one. Raises as `start_offset` does.
        """
        found = self._topic_to_read(topic)
        return found.partitions[only_partition(found, partition)].end

    def offset_at(self, topic: str, timestamp_ms: int, *, partition: int | None = None) -> int:
        """Return the earliest offset with a timestamp of `timestamp_ms` or later; without one, the end.

        Timestamps may go back from one record to the next: it is the first such record in offset order, as in
        Kafka. Raises as `start_offset` does, and `InvalidTypeError`.
        """
        found = self._topic_to_read(topic)
        stream = found.partitions[only_partition(found, partition)]
        end = stream.end
        offset = stream.offset_at(check_integer("timestamp_ms", timestamp_ms, 0))
        return end if offset is None else offset


def _records(engine: Engine, stream: Stream, topic: str, partition: int, *, start: int, stop: int) -> Iterator[Record]:
    reader = stream.reader(start)
    while reader.offset < stop:
        engine.check_open()
        frame = reader.read()
        if frame is None or frame.base_offset >= stop:
            return
        yield from iterate_records(frame, topic, partition, max(start, stream.start), stop)


def _records_at(
    engine: Engine, stream: Stream, topic: str, partition: int, key: bytes, offsets: Iterator[int]
) -> Iterator[Record]:
    """Yield the records of a key at some offsets, without those that were removed."""
    reader = stream.reader(0)
    frame: Frame | None = None
    for offset in offsets:
        if offset < stream.start:
            continue
        engine.check_open()
        if frame is None or not frame.base_offset <= offset < frame.next_offset:
            reader.seek(offset)
            frame = reader.read()
            if frame is None:
                return
        yield from (r for r in records_of(frame, topic, partition, offset, offset + 1) if r.key == key)


def _out_of_range(topic: Topic, partition: int, offset: int, stream: Stream) -> OffsetOutOfRangeError:
    start_offset, end_offset = stream.start, stream.end
    return OffsetOutOfRangeError(
        f"topic {topic.name!r} partition {partition} has offsets {start_offset} to {end_offset}, not {offset}",
        topic=topic.name,
        partition=partition,
        offset=offset,
        start_offset=start_offset,
        end_offset=end_offset,
    )

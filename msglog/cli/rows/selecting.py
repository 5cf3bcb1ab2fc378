"""Choosing records: where reading begins in each partition, and which of those read are meant. Imported by commands."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from msglog.errors import OffsetOutOfRangeError
from msglog.log import Log
from msglog.types import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which records of a topic: `start` below 0 counts from the end; None is no limit."""

    partition: int | None = None
    start: int | None = None
    stop: int | None = None
    since_ms: int | None = None
    before_ms: int | None = None
    key: bytes | None = None
    count: int | None = None

    def partitions(self, log: Log, topic: str) -> list[int]:
        """Return the partitions to read."""
        known = [one.partition for one in log.describe_topic(topic).partitions]
        return known if self.partition is None else [self.partition]

    def first_offset(self, log: Log, topic: str, partition: int) -> int:
        """Return where reading of a partition begins. Raises `OffsetOutOfRangeError`, `PartitionNotFoundError`."""
        start, end = log.start_offset(topic, partition), log.end_offset(topic, partition)
        first = start
        if self.start is not None:
            first = max(start, end + self.start) if self.start < 0 else self.start
        if not start <= first <= end:
            raise OffsetOutOfRangeError(
                f"partition {partition} of topic {topic!r} has offsets {start} to before {end}; {first} is not there",
                topic=topic,
                partition=partition,
                offset=first,
                start_offset=start,
                end_offset=end,
            )
        if self.since_ms is not None:
            first = max(first, log.offset_at(topic, self.since_ms, partition=partition))
        return first

    def means(self, record: Record) -> bool:
        """Whether a record is among them, wherever it lies."""
        return (
            (self.key is None or record.key == self.key)
            and (self.since_ms is None or record.timestamp_ms >= self.since_ms)
            and (self.before_ms is None or record.timestamp_ms < self.before_ms)
        )


def selected(log: Log, topic: str, selection: Selection) -> Iterator[Record]:
    """Yield the records that are meant: one partition after the other, in offset order, up to the ends as of now."""
    sources = [
        (partition, selection.first_offset(log, topic, partition), log.end_offset(topic, partition))
        for partition in selection.partitions(log, topic)
    ]
    found = (
        record
        for partition, first, end in sources
        for record in log.read(topic, partition, start=first, stop=_stop(first, end, selection.stop))
        if selection.means(record)
    )
    return islice(found, selection.count)


def last_records(log: Log, topic: str, partition: int, end: int, count: int) -> list[Record]:
    """Return the last records before an offset; what compaction has removed does not count."""
    start = log.start_offset(topic, partition)
    span = count
    while True:
        first = max(start, end - span)
        found = deque(log.read(topic, partition, start=first, stop=max(first, end)), maxlen=count)
        if len(found) == count or first == start:
            return list(found)
        span *= 4


def _stop(first: int, end: int, stop: int | None) -> int:
    return end if stop is None else max(first, min(stop, end))

"""What is new in a topic or a queue since the last look. Imported by the command `tail`.

Followers look again and again, from offsets that they keep: so a writer that ends, comes back or removes old records
changes nothing for them but what there is to see.
"""

from collections import deque
from collections.abc import Iterator
from operator import attrgetter

from msglog.broker.lane import Lane, Stored, read_range
from msglog.broker.queue import Queue
from msglog.cli.rows.brokers import virtual_host
from msglog.cli.rows.selecting import last_records
from msglog.store import Store
from msglog.types import Record


class TopicFollower:
    """New records of a topic, or of one partition."""

    def __init__(self, store: Store, topic: str, partition: int | None) -> None:
        self._log = store.log
        self._topic = topic
        self._only = partition
        self._next = {number: self._log.end_offset(topic, number) for number in self._partitions()}

    def _partitions(self) -> list[int]:
        known = [one.partition for one in self._log.describe_topic(self._topic).partitions]
        return known if self._only is None else [self._only]

    def last(self, count: int) -> list[Record]:
        """Return the last records before the first look: of several partitions the latest, by time."""
        found = [
            record
            for partition, end in self._next.items()
            for record in last_records(self._log, self._topic, partition, end, count)
        ]
        found.sort(key=attrgetter("timestamp_ms"))
        return found[max(0, len(found) - count) :]

    def news(self) -> Iterator[Record]:
        """Yield what was appended since."""
        for partition in self._partitions():
            end = self._log.end_offset(self._topic, partition)
            first = max(self._next.get(partition, 0), self._log.start_offset(self._topic, partition))
            if end <= first:
                self._next[partition] = min(first, end)  # a topic of this name that was made anew begins anew
                continue
            self._next[partition] = end
            yield from self._log.read(self._topic, partition, start=first, stop=end)


class QueueFollower:
    """New messages of a queue, in whichever of its priorities."""

    def __init__(self, store: Store, queue: str) -> None:
        self._store = store
        self._name = queue
        self._next = {lane.stream.id: lane.stream.end for lane in self._queue().lanes}

    def _queue(self) -> Queue:
        return find_queue(self._store, self._name)

    def last(self, count: int) -> list[Stored]:
        """Return the messages published last that are not settled: of several priorities the latest, by time."""
        found = [stored for lane in self._queue().lanes for stored in _last_messages(lane, count)]
        found.sort(key=attrgetter("timestamp_ms"))
        return found[max(0, len(found) - count) :]

    def news(self) -> Iterator[Stored]:
        """Yield what was published since."""
        for lane in self._queue().lanes:
            stream = lane.stream
            end = stream.end
            first = max(self._next.get(stream.id, 0), stream.start)
            self._next[stream.id] = end
            yield from read_range(stream, first, end)


def _last_messages(lane: Lane, count: int) -> list[Stored]:
    """Return the last messages of a lane that are not settled, reading no more of it than need be."""
    stream, cursor = lane.stream, lane.cursor
    span = count
    while True:
        first = max(cursor.settled, stream.start, stream.end - span)
        messages = (stored for stored in read_range(stream, first, stream.end) if stored.offset not in cursor.done)
        found = deque(messages, maxlen=count)
        if len(found) == count or first <= max(cursor.settled, stream.start):
            return list(found)
        span *= 4


def find_queue(store: Store, name: str) -> Queue:
    """Return a queue as it is now. Raises `QueueNotFoundError`."""
    return virtual_host(store).queue(name, None)


def waiting(store: Store, name: str) -> Iterator[Stored]:
    """Yield the messages of a queue that are not settled, in the order of delivery."""
    for lane in find_queue(store, name).lanes:
        yield from lane.waiting()

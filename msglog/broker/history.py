"""Reading settled messages that a queue still keeps.

Imported by `consuming`. Reads without the broker's lock: what is settled never changes.
"""

import heapq
from collections.abc import Iterator

from msglog.broker.lane import Lane, Stored, read_range
from msglog.broker.queue import Queue
from msglog.broker.vhost import VirtualHost


def settled_messages(vhost: VirtualHost, queue: Queue, since_ms: int, until_ms: int) -> Iterator[Stored]:
    """Yield what was settled when this was called and enqueued in `[since_ms, until_ms)`, oldest first."""
    with vhost.lock:
        ranges = [(lane, _settled_ranges(lane)) for lane in queue.lanes]
    lanes = [_read(lane, found, since_ms, until_ms) for lane, found in ranges]
    return heapq.merge(*lanes, key=lambda stored: stored.timestamp_ms)


def _settled_ranges(lane: Lane) -> list[tuple[int, int]]:
    cursor = lane.cursor
    return [(lane.stream.start, cursor.settled), *cursor.done]


def _read(lane: Lane, ranges: list[tuple[int, int]], since_ms: int, until_ms: int) -> Iterator[Stored]:
    for first, end in ranges:
        for stored in read_range(lane.stream, max(first, lane.stream.start), end):
            if since_ms <= stored.timestamp_ms < until_ms:
                yield stored

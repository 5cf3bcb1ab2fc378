"""The broker's part of `Store.metrics`: queues, and how much else there is. Registered by the package.

All of it follows from offsets and cursors, so nothing is counted anywhere for it. The broker's lock is taken for one
queue at a time. Imported by the package and by `tables`.
"""

from typing import Any

from msglog.broker.queue import Queue
from msglog.broker.vhost import VirtualHost
from msglog.store import StoreCore


def measure_broker(core: StoreCore) -> dict[str, Any]:
    """Return "queues", and the numbers of exchanges, bindings, policies and delayed messages."""
    vhost = VirtualHost.of(core)
    with vhost.lock:
        queues = sorted(vhost.queues.items())
        exchanges = len(vhost.model.exchanges)
        bindings = len(vhost.model.topology.bindings())
        policies = len(vhost.model.policies)
        delayed = vhost.delayed()
    return {
        "exchanges": exchanges,
        "bindings": bindings,
        "policies": policies,
        "delayed": delayed,
        "queues": {name: measure_queue(vhost, queue) for name, queue in queues if not queue.deleted},
    }


def measure_queue(vhost: VirtualHost, queue: Queue) -> dict[str, int]:
    """Return what there is to tell of a queue.

    `published`, `delivered` and `settled` count since the queue was declared: messages that came, that were handed out
    for the first time, and that are done with, whatever way.
    """
    with vhost.lock:
        lanes = [(lane.stream, lane.cursor) for lane in queue.lanes]
        return {
            "ready": queue.ready(),
            "unsettled": queue.unsettled(),
            "consumers": len(queue.consumers),
            "bytes_stored": sum(stream.size_bytes for stream, _ in lanes),
            "published": sum(stream.next_offset for stream, _ in lanes),
            "delivered": sum(cursor.next for _, cursor in lanes),
            "settled": sum(cursor.settled + cursor.done.count for _, cursor in lanes),
        }

"""Everything that an open store holds, as plain values to compare: so a test sees whatever a call left behind."""

import copy
from collections import Counter
from typing import Any

import msglog
from msglog.broker.vhost import VirtualHost
from msglog.log.share.sharing import Sharing
from support.history import read_entries


def dump(store: msglog.Store) -> dict[str, Any]:
    """Return what all models know, all records of all streams, and who has what in hand."""
    engine = store.core.engine
    with engine.lock:
        models = {section: copy.deepcopy(model.snapshot()) for section, model in engine.models.items()}
    streams = {
        number: (stream.slug, stream.start, stream.next_offset, stream.end, tuple(read_entries(stream)))
        for number, stream in engine.streams.items()
        if number
    }
    return {"models": models, "streams": streams, "queues": _queues(store), "shares": _shares(store)}


def difference(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Name what differs between two dumps."""
    return [
        f"{part} {key}: {before[part].get(key)!r} became {after[part].get(key)!r}"
        for part in before
        for key in before[part].keys() | after[part].keys()
        if before[part].get(key) != after[part].get(key)
    ]


def check_counts(store: msglog.Store) -> None:
    """Every consumer counts what it has in hand, or knows that it must; a queue with a limit counts waiting bytes."""
    broker = store.broker
    for queue in VirtualHost.of(store.core).queues.values():
        holders: Counter[Any] = Counter()
        for lane in queue.lanes:
            holders.update(lane.cursor.unsettled.values())
        for holder in {*holders, *queue.consumers}:
            told = f"{queue}: {holder.unsettled} counted, {holders[holder]} in hand"
            assert holder.unsettled == holders[holder] or holder.miscounted, told
        if queue.effective.max_length_bytes is None:
            continue  # nobody counts bytes, and to ask for them would begin it
        waiting = sum(len(message.body) for message in broker.peek(queue.name, 1 << 20))
        assert queue.ready_bytes() == waiting, f"{queue} counts {queue.ready_bytes()} bytes, {waiting} wait"


def unsettled(store: msglog.Store) -> int:
    """Return how many deliveries of all queues are in somebody's hand."""
    queues = VirtualHost.of(store.core).queues.values()
    return sum(len(lane.cursor.unsettled) for queue in queues for lane in queue.lanes)


def _queues(store: msglog.Store) -> dict[str, Any]:
    return {
        queue.name: (
            queue.ready(),
            [[(offset, id(holder)) for offset, holder in lane.cursor.unsettled.items()] for lane in queue.lanes],
            [(id(holder), holder.unsettled) for holder in queue.consumers],
        )
        for queue in VirtualHost.of(store.core).queues.values()
    }


def _shares(store: msglog.Store) -> dict[str, Any]:
    return {
        name: [
            (partition.name, {offset: id(batch) for offset, batch in partition.cursor.unsettled.items()})
            for partition in group.partitions.values()
        ]
        for name, group in Sharing.of(store.core).groups.items()
    }

"""What is left to be done in a store: messages that wait, deliveries in hand, groups that lag.

Imported by `recording`. Takes the broker's lock and the store lock for a moment, one after the other.
"""

from typing import cast

from msglog.broker.vhost import VirtualHost
from msglog.log.groups import GroupsModel
from msglog.log.model import LogModel
from msglog.store import StoreCore


def what_is_left(core: StoreCore) -> list[str]:
    """Return a line for each queue with messages and for each partition where a group lags, none when all is done."""
    return [*_queues(core), *_groups(core)]


def _queues(core: StoreCore) -> list[str]:
    vhost = VirtualHost.of(core)
    with vhost.lock:
        counts = [(queue.name, queue.ready(), queue.unsettled()) for queue in vhost.queues.values()]
    return [
        f"queue {name!r}: {ready} wait, {unsettled} in hand or held back"
        for name, ready, unsettled in sorted(counts)
        if ready or unsettled
    ]


def _groups(core: StoreCore) -> list[str]:
    log = cast(LogModel, core.engine.models[LogModel.section])
    groups = cast(GroupsModel, core.engine.models[GroupsModel.section])
    lines: list[str] = []
    with core.engine.lock:
        for group in sorted(groups.offsets):
            for topic_id, committed in groups.offsets[group].items():
                topic = log.topic_ids.get(topic_id)
                for number, stream in enumerate(topic.partitions if topic is not None else ()):
                    lag = stream.end - max(stream.start, committed.get(number, 0))
                    if topic is not None and lag > 0:
                        lines.append(f"group {group!r}: topic {topic.name!r} partition {number} lags by {lag}")
    return lines

"""What is left to be done in a store: messages that wait, deliveries in hand, groups that are behind.

Imported by `recording`. Takes the broker's lock and the store lock for a moment, one after the other.
"""

from typing import cast

from msglog.broker.vhost import VirtualHost
from msglog.cursors import CursorModel
from msglog.log.groups import GroupsModel
from msglog.log.model import LogModel
from msglog.log.share.model import ShareModel
from msglog.store import StoreCore


def what_is_left(core: StoreCore) -> list[str]:
    """Return a line for each queue with messages, each partition where a group has work left, and delayed messages."""
    return [*_queues(core), *_groups(core), *_share_groups(core)]


def _queues(core: StoreCore) -> list[str]:
    vhost = VirtualHost.of(core)
    with vhost.lock:
        counts = [(queue.name, queue.ready(), queue.unsettled()) for queue in vhost.queues.values()]
        delayed = vhost.delayed()
    lines = [
        f"queue {name!r}: {ready} wait, {unsettled} in hand or held back"
        for name, ready, unsettled in sorted(counts)
        if ready or unsettled
    ]
    return [*lines, f"delayed messages: {delayed} wait until they are due"] if delayed else lines


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


def _share_groups(core: StoreCore) -> list[str]:
    log = cast(LogModel, core.engine.models[LogModel.section])
    cursors = cast(CursorModel, core.engine.models[CursorModel.section]).cursors
    lines: list[str] = []
    with core.engine.lock:
        for group, ids in sorted(ShareModel.of(core.engine).groups.items()):
            for (topic_id, number), cursor_id in ids.items():
                topic, cursor = log.topic_ids.get(topic_id), cursors[cursor_id]
                if topic is None:
                    continue
                stream = topic.partitions[number]
                left = stream.end - max(cursor.settled, stream.start) - cursor.done.count
                if left > 0:
                    lines.append(f"share group {group!r}: topic {topic.name!r} partition {number} has {left} unsettled")
    return lines

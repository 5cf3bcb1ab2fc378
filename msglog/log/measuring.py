"""The log's part of `Store.metrics`: topics, consumer groups and share groups. Registered by the package.

All of it follows from offsets, so nothing is counted anywhere for it. One group at a time is looked at under the store
lock. Imported by the package and by `tables`.
"""

from typing import Any, cast

from msglog.cursors import CursorModel
from msglog.errors import GroupError, TopicNotFoundError
from msglog.log.group_admin import GroupAdmin
from msglog.log.model import LogModel
from msglog.log.share.model import ShareModel
from msglog.storage import Stream
from msglog.store import StoreCore
from msglog.types import GroupDescription


def measure_log(core: StoreCore) -> dict[str, Any]:
    """Return "topics", "groups" and "share_groups"."""
    shares = ShareModel.of(core.engine)
    admin = GroupAdmin(core)
    groups: dict[str, dict[str, Any]] = {}
    share_groups: dict[str, dict[str, Any]] = {}
    for name in admin.groups():
        shared = name in shares.groups
        try:
            found = admin.describe(name)
        except (GroupError, TopicNotFoundError):  # deleted meanwhile, or just being loaded anew by a reader
            continue
        if shared:
            share_groups[name] = measure_group(found) | {"unsettled": _unsettled(core, shares, name)}
        else:
            groups[name] = measure_group(found)
    return {"topics": measure_topics(core), "groups": groups, "share_groups": share_groups}


def measure_topics(core: StoreCore) -> dict[str, Any]:
    """Return what there is to tell of each topic by name, sorted."""
    model = cast(LogModel, core.engine.models[LogModel.section])
    return {
        name: _sum([_measure_partition(number, stream) for number, stream in enumerate(topic.partitions)])
        for name, topic in sorted(model.topics.copy().items())
    }


def _measure_partition(number: int, stream: Stream) -> dict[str, int]:
    start, end = stream.start, stream.end
    return {
        "partition": number,
        "start_offset": start,
        "end_offset": end,
        "records": max(0, end - start),
        "bytes_stored": stream.size_bytes,
        "segments": len(stream.parts),
    }


def _sum(partitions: list[dict[str, int]]) -> dict[str, Any]:
    return {
        "records": sum(one["records"] for one in partitions),
        "bytes_stored": sum(one["bytes_stored"] for one in partitions),
        "partitions": partitions,
    }


def measure_group(group: GroupDescription) -> dict[str, Any]:
    """Return what there is to tell of a group."""
    return {
        "state": group.state,
        "generation": group.generation,
        "members": len(group.members),
        "lag": sum(lag or 0 for lag in group.lag.values()),
        "partitions": [
            {"topic": tp.topic, "partition": tp.partition, "offset": group.offsets.get(tp), "lag": lag}
            for tp, lag in group.lag.items()
        ],
    }


def _unsettled(core: StoreCore, shares: ShareModel, group: str) -> int:
    cursors = cast(CursorModel, core.engine.models[CursorModel.section]).cursors
    with core.engine.lock:
        found = [cursors.get(cursor_id) for cursor_id in shares.groups.get(group, {}).values()]
        return sum(len(cursor.unsettled) for cursor in found if cursor is not None)

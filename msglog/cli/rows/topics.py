"""Rows of topics, their partitions, groups and lag. Imported by the commands."""

from collections.abc import Iterator
from typing import Any

from msglog.log import Log
from msglog.log.share.model import ShareModel
from msglog.types import GroupDescription, TopicDescription, TopicPartition


def topic_rows(log: Log) -> Iterator[dict[str, Any]]:
    """Yield a row for each topic."""
    for name in log.topics():
        found = log.describe_topic(name)
        yield {
            "topic": name,
            "partitions": len(found.partitions),
            "records": sum(one.end_offset - one.start_offset for one in found.partitions),
            "bytes": sum(one.size_bytes for one in found.partitions),
            "segments": sum(one.segments for one in found.partitions),
            "cleanup_policy": found.config["cleanup_policy"],
            "retention_ms": found.config["retention_ms"],
            "retention_bytes": found.config["retention_bytes"],
            "config": found.config,
        }


def partition_rows(topic: TopicDescription) -> Iterator[dict[str, Any]]:
    """Yield a row for each partition of a topic."""
    for one in topic.partitions:
        yield {
            "topic": topic.name,
            "partition": one.partition,
            "start_offset": one.start_offset,
            "end_offset": one.end_offset,
            "records": one.end_offset - one.start_offset,
            "bytes": one.size_bytes,
            "segments": one.segments,
        }


def group_rows(log: Log) -> Iterator[dict[str, Any]]:
    """Yield a row for each group."""
    shares = ShareModel.of(log.store.core.engine).groups
    for name in log.groups():
        found = log.describe_group(name)
        yield {
            "group": name,
            "kind": "share" if name in shares else "consumer",
            "topics": sorted({tp.topic for tp in found.lag}),
            "partitions": len(found.lag),
            "lag": total_lag(found),
        }


def lag_rows(log: Log, group: str) -> Iterator[dict[str, Any]]:
    """Yield a row for each partition that a group has committed."""
    found = log.describe_group(group)
    for tp, lag in sorted(found.lag.items()):
        yield {
            "group": group,
            "topic": tp.topic,
            "partition": tp.partition,
            "current_offset": found.offsets.get(tp),
            "end_offset": log.end_offset(tp.topic, tp.partition),
            "lag": lag,
        }


def total_lag(group: GroupDescription) -> int:
    """Return the lag of all partitions together; one without a commit does not count."""
    return sum(lag or 0 for lag in group.lag.values())


def reset_rows(log: Log, group: str, topic: str, targets: dict[int, int]) -> Iterator[dict[str, Any]]:
    """Yield a row for each partition whose offset is to be moved."""
    now = log.describe_group(group).offsets if group in log.groups() else {}
    for partition, offset in sorted(targets.items()):
        end = log.end_offset(topic, partition)
        yield {
            "group": group,
            "topic": topic,
            "partition": partition,
            "current_offset": now.get(TopicPartition(topic, partition)),
            "new_offset": offset,
            "new_lag": end - offset,
        }

"""What a notebook shows of a log: topics, and groups with their lag. Imported by the log's face and the package."""

from collections.abc import Mapping
from typing import Any

from msglog.log.measuring import measure_log
from msglog.showing import Size, table
from msglog.store import StoreCore

_MOST_PARTITIONS = 4


def log_tables(core: StoreCore) -> list[str]:
    """Return tables of topics and groups, as they are now."""
    measures = measure_log(core)
    topics = [
        (name, len(topic["partitions"]), topic["records"], Size(topic["bytes_stored"]), _offsets(topic["partitions"]))
        for name, topic in measures["topics"].items()
    ]
    groups = [*_rows(measures["groups"], "consumer"), *_rows(measures["share_groups"], "share")]
    return [
        table("Topics", ("topic", "partitions", "records", "size", "offsets"), topics, rank=2, empty="No topics."),
        table("Groups", ("group", "kind", "state", "members", "topics", "lag"), sorted(groups), rank=5),
    ]


def _offsets(partitions: list[dict[str, int]]) -> str:
    shown = [f"{one['start_offset']:,} to {one['end_offset']:,}" for one in partitions[:_MOST_PARTITIONS]]
    return "; ".join(shown) + ("; …" if len(partitions) > _MOST_PARTITIONS else "")


def _rows(groups: Mapping[str, Mapping[str, Any]], kind: str) -> list[tuple[str, str, str, int, str, int]]:
    return [
        (
            name,
            kind,
            group["state"],
            group["members"],
            ", ".join(dict.fromkeys(one["topic"] for one in group["partitions"])),
            group["lag"],
        )
        for name, group in groups.items()
    ]

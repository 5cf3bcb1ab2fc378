"""How much of a partition's front retention removes: whole segments, by size and by age.

Imported by the log's cleaning run.
"""

from collections.abc import Sequence
from typing import NamedTuple

from msglog.log.rules.segments import SegmentFacts


class RetentionPlan(NamedTuple):
    """What to remove: the first `drop_count` segments, so the log starts at `start_offset`.

    With `roll_active` the active segment is among them and must be rolled first.
    """

    drop_count: int
    start_offset: int
    roll_active: bool


def plan_retention(
    segments: Sequence[SegmentFacts],
    *,
    now_ms: int,
    retention_ms: int | None,
    retention_bytes: int | None,
) -> RetentionPlan:
    """Choose how many of `segments` go, as Kafka's log does: by size first, then by age of what is left.

    `segments` are one partition's, in order, at least one, the last of them active. `None` means no limit. By
    size a segment goes while at least `retention_bytes` remain without it; by age while its largest timestamp
    lies more than `retention_ms` before `now_ms`. Each stops at the first segment that stays. An empty active
    segment stays.
    """
    drop_count = 0
    if retention_bytes is not None:
        drop_count = _count_oversize(segments, retention_bytes)
    if retention_ms is not None:
        drop_count += _count_aged(segments[drop_count:], now_ms - retention_ms)
    active = segments[-1]
    roll_active = drop_count == len(segments)
    if roll_active and active.base_offset == active.end_offset:
        drop_count -= 1
        roll_active = False
    start_offset = active.end_offset if roll_active else segments[drop_count].base_offset
    return RetentionPlan(drop_count, start_offset, roll_active)


def _count_oversize(segments: Sequence[SegmentFacts], retention_bytes: int) -> int:
    remaining = sum(segment.size_bytes for segment in segments)
    for count, segment in enumerate(segments):
        remaining -= segment.size_bytes
        if remaining < retention_bytes:
            return count
    return len(segments)


def _count_aged(segments: Sequence[SegmentFacts], oldest_kept_ms: int) -> int:
    for count, segment in enumerate(segments):
        # Without records there is no timestamp to keep the segment for.
        if segment.base_offset < segment.end_offset and segment.max_timestamp_ms >= oldest_kept_ms:
            return count
    return len(segments)

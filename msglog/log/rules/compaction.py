"""When a compacted partition is cleaned, and which of its records survive.

Imported by the log's cleaning run. A clean reads the dirty section for the last offset of each key, then
rewrites every sealed segment up to the end of that section with the records that survive. Remaining records
keep their offsets. The storage keeps each segment's base and end offset whatever is removed, so that a log
whose last records vanish still continues at the same offset.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from msglog.log.rules.segments import SegmentFacts


class CompactionPlan(NamedTuple):
    """The section to clean, offsets from `dirty_start` to before `dirty_end`, and whether it is worth it now.

    `dirty_ratio` is the share of the bytes below `dirty_end` that was never cleaned, 0.0 to 1.0.
    """

    eligible: bool
    dirty_start: int
    dirty_end: int
    dirty_ratio: float


def plan_compaction(
    segments: Sequence[SegmentFacts],
    *,
    first_dirty_offset: int,
    oldest_dirty_timestamp_ms: int | None,
    now_ms: int,
    min_cleanable_dirty_ratio: float,
    min_compaction_lag_ms: int,
    max_compaction_lag_ms: int | None,
) -> CompactionPlan:
    """Decide whether to clean a partition, as Kafka's log cleaner chooses its logs.

    `segments` are the partition's, in order, at least one, the last of them active: it is never cleaned.
    Segments that end at or below `first_dirty_offset` were cleaned before. Dirty segments from the first with
    a timestamp within `min_compaction_lag_ms` are left alone. Eligible is a dirty ratio above
    `min_cleanable_dirty_ratio`, so that 1.0 leaves all to the lag, or a dirty segment that begins, at
    `oldest_dirty_timestamp_ms`, more than `max_compaction_lag_ms` ago; never a section without bytes.
    """
    start_offset = segments[0].base_offset
    dirty_start = max(first_dirty_offset, start_offset)
    clean_bytes = dirty_bytes = 0
    dirty_end = dirty_start
    for segment in segments[:-1]:
        if segment.end_offset <= dirty_start:
            clean_bytes += segment.size_bytes
        elif min_compaction_lag_ms > 0 and segment.max_timestamp_ms > now_ms - min_compaction_lag_ms:
            break
        else:
            dirty_bytes += segment.size_bytes
            dirty_end = segment.end_offset
    ratio = dirty_bytes / (clean_bytes + dirty_bytes) if dirty_bytes else 0.0
    overdue = (
        max_compaction_lag_ms is not None
        and oldest_dirty_timestamp_ms is not None
        and now_ms - oldest_dirty_timestamp_ms > max_compaction_lag_ms
    )
    eligible = dirty_bytes > 0 and (overdue or ratio > min_cleanable_dirty_ratio)
    return CompactionPlan(eligible, dirty_start, dirty_end, ratio)


def last_offsets(records: Iterable[tuple[int, bytes | None]]) -> dict[bytes, int]:
    """Return the last offset of each key among the (offset, key) pairs of the dirty section, in offset order.

    Memory grows with the number of different keys.
    """
    return {key: offset for offset, key in records if key is not None}


def survives(
    offset: int,
    key: bytes | None,
    *,
    tombstone: bool,
    latest: Mapping[bytes, int],
    delete_horizon_ms: int | None,
    now_ms: int,
) -> bool:
    """Tell whether a record stays through a clean at `now_ms` (the retention rule of Kafka's cleaner).

    `latest` comes from `last_offsets`. Only the last record of a key stays, a tombstone only until the
    `delete_horizon_ms` of its frame, None on the first clean that sees it. A record without a key, left from
    before the topic was compacted, goes.
    """
    if key is None or offset < latest.get(key, offset):
        return False
    return not tombstone or delete_horizon_ms is None or now_ms < delete_horizon_ms


def next_delete_horizon(
    delete_horizon_ms: int | None, *, has_tombstone: bool, now_ms: int, delete_retention_ms: int
) -> int | None:
    """Return the delete horizon to write with a frame that is being cleaned at `now_ms` (KIP-534).

    The first clean that leaves a tombstone in the frame (`has_tombstone`) sets it to `delete_retention_ms`
    from now; from then on it stays. A clean at or after the horizon removes the frame's tombstones.
    """
    if delete_horizon_ms is None and has_tombstone:
        return now_ms + delete_retention_ms
    return delete_horizon_ms

"""Retention against a naive model that removes one segment at a time."""

from hypothesis import given
from hypothesis import strategies as st

from msglog.log.rules.retention import RetentionPlan, plan_retention
from msglog.log.rules.segments import SegmentFacts

NOW_MS = 10_000


def segments_of(*facts: tuple[int, int, int]) -> list[SegmentFacts]:
    """Make consecutive segments of (records, size, largest timestamp)."""
    made: list[SegmentFacts] = []
    offset = 100
    for records, size, timestamp in facts:
        made.append(SegmentFacts(offset, offset + records, size, timestamp))
        offset += records
    return made


def naive(segments, retention_ms, retention_bytes):
    """Remove from the front while the rule says so: by size, then by age."""
    left = list(segments)
    while left and retention_bytes is not None:
        if sum(s.size_bytes for s in left) - left[0].size_bytes < retention_bytes:
            break
        left.pop(0)
    while left and retention_ms is not None:
        empty = left[0].base_offset == left[0].end_offset
        if not empty and NOW_MS - left[0].max_timestamp_ms <= retention_ms:
            break
        left.pop(0)
    last = segments[-1]
    if not left and last.base_offset == last.end_offset:
        left = [last]
    start = left[0].base_offset if left else last.end_offset
    return RetentionPlan(len(segments) - len(left), start, roll_active=not left)


facts = st.tuples(st.integers(0, 3), st.integers(0, 100), st.integers(0, 2 * NOW_MS))
limit = st.none() | st.integers(0, 300)


@given(st.lists(facts, min_size=1, max_size=8), st.none() | st.integers(0, NOW_MS), limit)
def test_the_plan_is_the_naive_ones(made, retention_ms, retention_bytes):
    segments = segments_of(*made)
    plan = plan_retention(segments, now_ms=NOW_MS, retention_ms=retention_ms, retention_bytes=retention_bytes)
    assert plan == naive(segments, retention_ms, retention_bytes)


def plan(segments, *, retention_ms=None, retention_bytes=None):
    return plan_retention(segments, now_ms=NOW_MS, retention_ms=retention_ms, retention_bytes=retention_bytes)


def test_without_limits_all_stays():
    assert plan(segments_of((5, 10, 0), (5, 10, 0))) == RetentionPlan(0, 100, roll_active=False)


def test_age_goes_by_the_largest_timestamp_and_keeps_exactly_retention_ms():
    segments = segments_of((5, 10, 8_999), (5, 10, 9_000), (5, 10, 0), (5, 10, 9_999))
    assert plan(segments, retention_ms=1000) == RetentionPlan(1, 105, roll_active=False)


def test_an_aged_active_segment_is_to_be_rolled():
    assert plan(segments_of((5, 10, 0), (5, 10, 0)), retention_ms=1000) == RetentionPlan(2, 110, roll_active=True)


def test_an_empty_active_segment_stays():
    assert plan(segments_of((5, 10, 0), (0, 0, 0)), retention_ms=1000) == RetentionPlan(1, 105, roll_active=False)


def test_size_leaves_at_least_the_limit():
    segments = segments_of((1, 40, 0), (1, 40, 0), (1, 40, 0))
    assert plan(segments, retention_bytes=80).drop_count == 1
    assert plan(segments, retention_bytes=81).drop_count == 0


def test_age_continues_behind_what_went_by_size():
    segments = segments_of((1, 40, NOW_MS), (1, 40, 0), (1, 40, NOW_MS))
    assert plan(segments, retention_bytes=80, retention_ms=10).drop_count == 2

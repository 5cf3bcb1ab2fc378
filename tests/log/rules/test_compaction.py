"""Compaction: what may be cleaned, and that cleaning never changes what a reader of last values sees."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msglog.log.rules.compaction import last_offsets, next_delete_horizon, plan_compaction, survives
from msglog.log.rules.segments import SegmentFacts

NOW_MS = 100_000


def plan(segments, **changes):
    options = {
        "first_dirty_offset": 0,
        "oldest_dirty_timestamp_ms": 0,
        "now_ms": NOW_MS,
        "min_cleanable_dirty_ratio": 0.5,
        "min_compaction_lag_ms": 0,
        "max_compaction_lag_ms": None,
    }
    return plan_compaction(segments, **(options | changes))


CLEAN = SegmentFacts(0, 10, 100, 1_000)
DIRTY = SegmentFacts(10, 20, 100, 90_000)
YOUNG = SegmentFacts(20, 30, 100, 99_000)
ACTIVE = SegmentFacts(30, 40, 1_000_000, 0)


@pytest.mark.parametrize(
    ("segments", "changes", "expected"),
    [
        ([ACTIVE], {}, (False, 30, 30, 0.0)),
        ([CLEAN, DIRTY, YOUNG, ACTIVE], {}, (True, 0, 30, 1.0)),
        ([CLEAN, DIRTY, YOUNG, ACTIVE], {"first_dirty_offset": 20}, (False, 20, 30, pytest.approx(1 / 3))),
        ([CLEAN, DIRTY, ACTIVE], {"first_dirty_offset": 10}, (False, 10, 20, 0.5)),
        ([CLEAN, DIRTY, ACTIVE], {"first_dirty_offset": 10, "min_cleanable_dirty_ratio": 0.49}, (True, 10, 20, 0.5)),
        ([CLEAN, DIRTY, ACTIVE], {"min_cleanable_dirty_ratio": 1.0}, (False, 0, 20, 1.0)),
        ([CLEAN, DIRTY, ACTIVE], {"first_dirty_offset": 20}, (False, 20, 20, 0.0)),
        (
            [CLEAN, DIRTY, ACTIVE],
            {"first_dirty_offset": 20, "min_cleanable_dirty_ratio": 0.0},
            (False, 20, 20, 0.0),
        ),
        ([CLEAN, DIRTY, YOUNG, ACTIVE], {"min_compaction_lag_ms": 5_000}, (True, 0, 20, 1.0)),
        ([CLEAN, DIRTY, YOUNG, ACTIVE], {"min_compaction_lag_ms": 99_001}, (False, 0, 0, 0.0)),
        (
            [CLEAN, DIRTY, YOUNG, ACTIVE],
            {"first_dirty_offset": 20, "oldest_dirty_timestamp_ms": 95_000, "max_compaction_lag_ms": 4_999},
            (True, 20, 30, pytest.approx(1 / 3)),
        ),
        (
            [CLEAN, DIRTY, YOUNG, ACTIVE],
            {"first_dirty_offset": 20, "oldest_dirty_timestamp_ms": 95_000, "max_compaction_lag_ms": 5_000},
            (False, 20, 30, pytest.approx(1 / 3)),
        ),
        ([ACTIVE], {"max_compaction_lag_ms": 1, "oldest_dirty_timestamp_ms": None}, (False, 30, 30, 0.0)),
        ([DIRTY, ACTIVE], {"first_dirty_offset": 3}, (True, 10, 20, 1.0)),
    ],
)
def test_eligibility(segments, changes, expected):
    assert tuple(plan(segments, **changes)) == expected


def test_the_first_clean_that_sees_a_tombstone_sets_the_horizon_for_good():
    first = next_delete_horizon(None, has_tombstone=True, now_ms=1000, delete_retention_ms=500)
    assert first == 1500
    assert next_delete_horizon(first, has_tombstone=True, now_ms=9000, delete_retention_ms=500) == 1500
    assert next_delete_horizon(None, has_tombstone=False, now_ms=1000, delete_retention_ms=500) is None


@pytest.mark.parametrize(
    ("horizon", "now_ms", "stays"), [(None, 10**15, True), (1500, 1499, True), (1500, 1500, False)]
)
def test_a_last_tombstone_stays_until_its_horizon(horizon, now_ms, stays):
    kept = survives(3, b"k", tombstone=True, latest={b"k": 3}, delete_horizon_ms=horizon, now_ms=now_ms)
    assert kept is stays


def test_a_key_that_is_not_in_the_dirty_section_stays_and_a_missing_key_goes():
    assert survives(3, b"k", tombstone=False, latest={}, delete_horizon_ms=None, now_ms=0)
    assert not survives(3, None, tombstone=False, latest={}, delete_horizon_ms=None, now_ms=0)


class CompactedLog:
    """A log of frames with a delete horizon each, cleaned by the rules; the last frame is active."""

    def __init__(self) -> None:
        self.frames: list[tuple[int | None, list[tuple[int, bytes, int | None]]]] = []
        self.first_dirty = 0
        self.end = 0

    def append(self, records: list[tuple[bytes, int | None]]) -> None:
        frame = [(self.end + index, key, value) for index, (key, value) in enumerate(records)]
        self.frames.append((None, frame))
        self.end += len(records)

    def clean(self, now_ms: int, delete_retention_ms: int) -> None:
        sealed = self.frames[:-1]
        dirty = [(offset, key) for _, frame in sealed for offset, key, _ in frame if offset >= self.first_dirty]
        latest = last_offsets(dirty)
        cleaned = []
        for horizon, frame in sealed:
            kept = [
                (offset, key, value)
                for offset, key, value in frame
                if survives(
                    offset,
                    key,
                    tombstone=value is None,
                    latest=latest,
                    delete_horizon_ms=horizon,
                    now_ms=now_ms,
                )
            ]
            has_tombstone = any(value is None for _, _, value in kept)
            next_horizon = next_delete_horizon(
                horizon, has_tombstone=has_tombstone, now_ms=now_ms, delete_retention_ms=delete_retention_ms
            )
            cleaned.append((next_horizon, kept))
        self.frames[:-1] = cleaned
        self.first_dirty = max((offset + 1 for offset, _ in dirty), default=self.first_dirty)

    def records(self) -> list[tuple[int, bytes, int | None]]:
        return [record for _, frame in self.frames for record in frame]

    def table(self) -> dict[bytes, int]:
        table = {key: value for _, key, value in self.records()}
        return {key: value for key, value in table.items() if value is not None}


batch = st.lists(
    st.tuples(st.sampled_from([b"", b"a", b"b", b"c"]), st.none() | st.integers(0, 9)),
    min_size=1,
    max_size=6,
)


@given(st.lists(st.tuples(batch, st.booleans(), st.integers(0, 300)), max_size=12))
def test_cleaning_keeps_the_last_value_of_every_key_and_all_offsets(steps):
    log, model, now_ms = CompactedLog(), {}, 0
    for records, clean, elapsed_ms in steps:
        log.append(records)
        model.update(records)
        before = log.records()
        now_ms += elapsed_ms
        if clean:
            log.clean(now_ms, delete_retention_ms=200)
        assert log.table() == {key: value for key, value in model.items() if value is not None}
        assert [r for r in before if r in log.records()] == log.records()


@given(st.lists(batch, min_size=1, max_size=6))
def test_two_cleans_past_the_retention_leave_one_record_per_live_key(batches):
    log = CompactedLog()
    for records in batches:
        log.append(records)
    log.append([(b"active", 1)])
    log.clean(0, delete_retention_ms=100)
    once = log.records()
    assert len({key for _, key, _ in once}) == len(once)
    log.clean(99, delete_retention_ms=100)
    assert log.records() == once
    log.clean(100, delete_retention_ms=100)
    assert log.records() == [record for record in once if record[2] is not None]

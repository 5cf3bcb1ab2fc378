"""Compaction: the last record of each key, tombstones, offsets that stay."""

import pytest

from msglog import Log
from msglog.log.background import CHECK_INTERVAL_MS
from msglog.log.topic import PartitionCleaning
from msglog.testing import ManualClock

DAY_MS = 86_400_000


def contents(log, topic="t"):
    return [(record.offset, record.key, record.value) for record in log.read(topic)]


def put(log, *pairs, topic="t"):
    for key, value in pairs:
        log.append(topic, value, key=key)


@pytest.fixture
def compacted(log):
    log.create_topic("t", cleanup_policy="compact")
    return log


def test_the_last_record_of_each_key_stays_in_place(compacted):
    put(compacted, (b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"", b"4"), (b"a", b"5"))
    report = compacted.clean()
    assert contents(compacted) == [(1, b"b", b"2"), (3, b"", b"4"), (4, b"a", b"5")]
    assert report.records_removed == 2
    assert (compacted.start_offset("t"), compacted.end_offset("t")) == (0, 5)


def test_reading_from_a_gap(compacted):
    put(compacted, (b"a", b"1"), (b"b", b"2"), (b"a", b"3"))
    compacted.clean()
    assert [record.offset for record in compacted.read("t", start=0)] == [1, 2]
    assert [record.offset for record in compacted.read("t", start=0, stop=2)] == [1]
    assert [record.offset for record in compacted.read("t", start=2)] == [2]


def test_appending_goes_on_after_a_clean(compacted):
    put(compacted, (b"a", b"1"), (b"a", b"2"))
    compacted.clean()
    assert compacted.append("t", b"3", key=b"a").offset == 2
    compacted.clean()
    assert contents(compacted) == [(2, b"a", b"3")]


def test_a_second_clean_finds_nothing(compacted):
    put(compacted, (b"a", b"1"), (b"a", b"2"))
    compacted.clean()
    report = compacted.clean()
    assert (report.records_removed, report.partitions) == (0, ())
    assert contents(compacted) == [(1, b"a", b"2")]


def test_all_columns_survive(compacted):
    compacted.append("t", b"old", key=b"a")
    compacted.append("t", b"new", key=b"a", headers={"h": None}, timestamp_ms=77)
    compacted.append_many("t", [b"1", b"2"], keys=[b"b", b"c"], timestamps_ms=[5, 6])
    compacted.clean()
    records = list(compacted.read("t"))
    assert [record.timestamp_ms for record in records] == [77, 5, 6]
    assert records[0].headers == (("h", None),)


def test_tombstones_live_for_a_day_after_the_first_clean(compacted, clock):
    put(compacted, (b"a", b"1"), (b"a", None), (b"b", b"2"))
    compacted.clean()
    assert contents(compacted) == [(1, b"a", None), (2, b"b", b"2")]
    clock.advance(ms=DAY_MS - 1)
    compacted.clean()
    assert contents(compacted) == [(1, b"a", None), (2, b"b", b"2")]
    clock.advance(ms=1)
    assert compacted.clean().records_removed == 1
    assert contents(compacted) == [(2, b"b", b"2")]
    assert compacted.end_offset("t") == 3


def test_each_tombstone_has_its_own_day(compacted, clock):
    put(compacted, (b"a", None))
    compacted.clean()
    clock.advance(ms=DAY_MS // 2)
    put(compacted, (b"b", None))
    compacted.clean()
    clock.advance(ms=DAY_MS // 2)
    compacted.clean()
    assert contents(compacted) == [(1, b"b", None)]
    clock.advance(ms=DAY_MS // 2)
    compacted.clean()
    assert contents(compacted) == []


def test_delete_retention_is_an_option(log):
    log.create_topic("t", cleanup_policy="compact", delete_retention_ms=0)
    put(log, (b"a", b"1"), (b"a", None))
    log.clean()
    log.clean()
    assert contents(log) == []


def test_horizons_survive_reopening(tmp_path):
    clock = ManualClock()
    with Log(tmp_path / "s", clock=clock) as log:
        log.create_topic("t", cleanup_policy="compact")
        put(log, (b"a", b"1"), (b"a", None))
        log.clean()
    clock.advance(ms=DAY_MS)
    with Log(tmp_path / "s", clock=clock) as log:
        assert contents(log) == [(1, b"a", None)]
        log.clean()
        assert contents(log) == []
    with Log(tmp_path / "s", clock=clock) as log:
        assert contents(log) == []
        assert log.append("t", b"x", key=b"k").offset == 2


def test_min_compaction_lag_holds_back(log, clock):
    log.create_topic("t", cleanup_policy="compact", min_compaction_lag_ms=1000)
    put(log, (b"a", b"1"), (b"a", b"2"))
    log.clean()
    assert len(contents(log)) == 2
    clock.advance(ms=1000)
    log.clean()
    assert contents(log) == [(1, b"a", b"2")]


def test_partitions_are_compacted_one_by_one(log):
    log.create_topic("t", partitions=3, cleanup_policy="compact")
    keys = [b"%d" % (number % 9) for number in range(90)]
    log.append_many("t", [b"%d" % number for number in range(90)], keys=keys)
    assert log.clean("t").records_removed == 81
    found = {record.key: record.value for part in range(3) for record in log.read("t", part)}
    assert found == {b"%d" % number: b"%d" % (81 + number) for number in range(9)}


def test_keyless_records_from_before_go(log):
    log.create_topic("t")
    log.append("t", b"keyless")
    log.append("t", b"x", key=b"k")
    log.alter_topic("t", cleanup_policy="compact")
    log.clean()
    assert contents(log) == [(1, b"k", b"x")]


def test_many_segments_become_few(tmp_path):
    with Log(tmp_path / "s", sync="none") as log:
        log.create_topic("t", cleanup_policy="compact", segment_bytes=8192)
        for number in range(100):
            log.append_many("t", [b"%d" % number * 100] * 10, keys=[b"%d" % key for key in range(10)])
        before = log.describe_topic("t").partitions[0]
        report = log.clean()
        log.append("t", b"x", key=b"0")
        log.clean()  # neighbours are joined by the size they had before
        after = log.describe_topic("t").partitions[0]
        expected = contents(log)
        assert report.records_removed == 990
        assert report.bytes_removed > 0
        assert after.segments < before.segments / 4
        assert [value for _, _, value in expected] == [b"99" * 100] * 9 + [b"x"]
    with Log(tmp_path / "s") as log:
        assert contents(log) == expected


def test_the_background_waits_for_half_to_be_dirty(log, clock):
    log.create_topic("t", cleanup_policy="compact", segment_bytes=1024)
    for number in range(30):
        log.append_many("t", [b"%d" % number * 400], key=b"k")
    clock.advance(ms=CHECK_INTERVAL_MS)
    found = contents(log)
    assert len(found) < 5
    assert found[-1] == (29, b"k", b"29" * 400)


def test_with_a_dirty_ratio_of_one_the_background_leaves_all_to_the_lag(log, clock):
    log.create_topic("t", cleanup_policy="compact", segment_bytes=1024, min_cleanable_dirty_ratio=1.0)
    for _ in range(4):
        log.append("t", bytes(1000), key=b"k")
    clock.advance(ms=CHECK_INTERVAL_MS)
    assert [offset for offset, _, _ in contents(log)] == [0, 1, 2, 3]
    log.alter_topic("t", max_compaction_lag_ms=CHECK_INTERVAL_MS)
    clock.advance(ms=CHECK_INTERVAL_MS)
    assert [offset for offset, _, _ in contents(log)] == [2, 3]


@pytest.mark.parametrize("old", range(4))
def test_any_dirty_segment_that_is_too_old_has_the_background_compact_them_all(log, clock, old):
    hour_ms = 60 * 60 * 1000
    limits = {"min_cleanable_dirty_ratio": 1.0, "max_compaction_lag_ms": hour_ms}
    log.create_topic("t", cleanup_policy="compact", segment_bytes=1024, **limits)
    for place in range(4):
        log.append("t", bytes(1000), key=b"k", timestamp_ms=clock.now_ms() - 2 * hour_ms * (place == old))
    clock.advance(ms=CHECK_INTERVAL_MS)
    active = old == 3
    assert [offset for offset, _, _ in contents(log)] == ([0, 1, 2, 3] if active else [2, 3])


def test_the_background_never_touches_the_active_segment(log, clock):
    log.create_topic("t", cleanup_policy="compact")
    put(log, (b"a", b"1"), (b"a", b"2"))
    clock.advance(ms=CHECK_INTERVAL_MS)
    assert len(contents(log)) == 2


def test_marks_are_bounded_and_never_shorten_a_tombstones_life():
    cleaning = PartitionCleaning()
    for number in range(1, 200):
        cleaning.note(number, 1000 + number)
    assert len(cleaning.horizons) <= 64
    assert cleaning.horizon_of(198) == 1199
    assert cleaning.horizon_of(0) >= 1001
    assert cleaning.horizon_of(199) is None


def test_a_mark_noted_twice_is_one():
    cleaning = PartitionCleaning()
    cleaning.note(5, 10)
    cleaning.note(5, 20)
    assert cleaning.horizons == [[5, 10]]
    cleaning.forget_expired(10)
    assert cleaning.horizons == []
    assert cleaning.horizon_of(0) == 0

"""Retention on demand and in the background, by time and by size."""

import pytest

from msglog import InvalidTypeError, Log, TopicNotFoundError, TopicPartition
from msglog.log.background import CHECK_INTERVAL_MS, FIRST_CHECK_MS
from msglog.testing import ManualClock

SECOND_MS = 1000
VALUE = b"x" * 1000


def offsets(log, topic="t"):
    return [record.offset for record in log.read(topic)]


def fill(log, count, topic="t", *, clock=None):
    """Append records of which one fills a segment of 1024 bytes."""
    for _ in range(count):
        log.append_many(topic, [VALUE])
        if clock is not None:
            clock.advance(seconds=1)


def test_nothing_goes_without_limits(log, clock):
    log.create_topic("t", segment_bytes=1024)
    fill(log, 5)
    clock.advance(seconds=10**8)
    report = log.clean()
    assert (report.records_removed, report.bytes_removed, report.segments_removed) == (0, 0, 0)
    assert report.partitions == ()
    assert len(offsets(log)) == 5


def test_by_time(log, clock):
    log.create_topic("t", segment_bytes=1024, retention_ms=10 * SECOND_MS)
    fill(log, 10, clock=clock)
    clock.advance(ms=5500)
    report = log.clean("t")
    assert offsets(log) == [6, 7, 8, 9]
    assert log.start_offset("t") == 6
    assert (report.records_removed, report.segments_removed) == (6, 6)
    assert report.bytes_removed > 6000
    assert report.partitions == (TopicPartition("t", 0),)


def test_by_time_the_active_segment_goes_too(log, clock):
    log.create_topic("t", retention_ms=SECOND_MS)
    fill(log, 3)
    clock.advance(ms=1001)
    assert log.clean().records_removed == 3
    assert offsets(log) == []
    assert (log.start_offset("t"), log.end_offset("t")) == (3, 3)
    assert log.append("t", b"new").offset == 3
    assert log.clean().records_removed == 0
    assert offsets(log) == [3]


def test_a_segment_stays_for_its_youngest_record(log, clock):
    log.create_topic("t", segment_bytes=4096, retention_ms=10 * SECOND_MS)
    log.append_many("t", [VALUE] * 3, timestamps_ms=[0, clock.now_ms(), 1])
    clock.advance(seconds=9)
    assert log.clean().records_removed == 0
    clock.advance(seconds=2)
    assert log.clean().records_removed == 3


def test_by_size(log):
    log.create_topic("t", segment_bytes=1024, retention_bytes=3500)
    fill(log, 10)
    log.clean()
    description = log.describe_topic("t").partitions[0]
    assert 3500 <= description.size_bytes < 3500 + 1100
    assert offsets(log) == [6, 7, 8, 9]


def test_by_size_is_per_partition(log):
    log.create_topic("t", partitions=2, segment_bytes=1024, retention_bytes=0)
    log.append_many("t", [VALUE], partition=0)
    log.append_many("t", [VALUE], partition=1)
    assert log.clean().partitions == (TopicPartition("t", 0), TopicPartition("t", 1))


def test_only_the_topic_asked_for(log, clock):
    for name in ("a", "b"):
        log.create_topic(name, retention_ms=0)
        log.append(name, b"x")
    clock.advance(ms=1)
    log.clean("a")
    assert (offsets(log, "a"), offsets(log, "b")) == ([], [0])
    log.clean()
    assert offsets(log, "b") == []


def test_compacted_topics_keep_what_is_old(log, clock):
    log.create_topic("c", cleanup_policy="compact", retention_ms=1)
    log.create_topic("cd", cleanup_policy="compact,delete", retention_ms=1)
    for name in ("c", "cd"):
        log.append(name, b"x", key=b"k")
    clock.advance(seconds=1)
    log.clean()
    assert (offsets(log, "c"), offsets(log, "cd")) == ([0], [])


def test_the_background_cleans_when_time_has_come(log, clock):
    log.create_topic("t", retention_ms=60 * SECOND_MS)
    fill(log, 3)
    clock.advance(ms=CHECK_INTERVAL_MS - 1)
    assert len(offsets(log)) == 3
    clock.advance(ms=1)
    assert offsets(log) == []
    fill(log, 1)
    clock.advance(ms=CHECK_INTERVAL_MS)
    assert offsets(log) == []


def test_the_first_check_comes_early(log, clock):
    log.create_topic("t", retention_ms=SECOND_MS)
    fill(log, 1)
    clock.advance(ms=FIRST_CHECK_MS)
    assert offsets(log) == []


def test_nothing_is_scheduled_without_need(log, clock):
    log.create_topic("t")
    assert log._core.timers.next_due_ms() is None
    log.alter_topic("t", retention_ms=SECOND_MS)
    assert log._core.timers.next_due_ms() == clock.now_ms() + FIRST_CHECK_MS
    log.alter_topic("t", retention_ms=None)
    clock.advance(ms=CHECK_INTERVAL_MS)
    assert log._core.timers.next_due_ms() is None


def test_the_background_starts_with_the_store(tmp_path):
    clock = ManualClock()
    with Log(tmp_path / "s", clock=clock) as log:
        log.create_topic("t", retention_ms=SECOND_MS)
        log.append("t", b"x")
    with Log(tmp_path / "s", clock=clock) as log:
        clock.advance(ms=FIRST_CHECK_MS)
        assert offsets(log) == []
    clock.advance(ms=CHECK_INTERVAL_MS)


class Jumping(ManualClock):
    """A wall clock that somebody sets while the monotonic one goes on."""

    skew_ms = 0

    def now_ms(self):
        return self._now_ms + self.skew_ms


def test_a_clock_that_jumps_removes_nothing_at_once():
    clock = Jumping()
    with Log(":memory:", clock=clock) as log:
        log.create_topic("t", retention_ms=3_600_000)
        log.append("t", b"x")
        clock.skew_ms = 10**9
        clock.advance(ms=FIRST_CHECK_MS)
        assert offsets(log) == [0]
        clock.skew_ms = 0
        clock.advance(ms=CHECK_INTERVAL_MS)
        assert offsets(log) == [0]
        clock.skew_ms = 10**9
        clock.advance(ms=2 * CHECK_INTERVAL_MS)
        assert offsets(log) == []


def test_what_was_removed_stays_removed(tmp_path):
    clock = ManualClock()
    with Log(tmp_path / "s", clock=clock) as log:
        log.create_topic("t", segment_bytes=1024, retention_ms=SECOND_MS)
        fill(log, 5)
        clock.advance(seconds=2)
        log.append_many("t", [VALUE])
        log.clean()
    with Log(tmp_path / "s", clock=clock) as log:
        assert offsets(log) == [5]
        assert log.start_offset("t") == 5


def test_clean_checks_its_topic(log):
    with pytest.raises(TopicNotFoundError):
        log.clean("missing")
    with pytest.raises(InvalidTypeError):
        log.clean(5)


def test_a_clean_takes_space_back(tmp_path):
    clock = ManualClock()
    with Log(tmp_path / "s", sync="none", clock=clock) as log:
        log.create_topic("t", segment_bytes=65536, retention_ms=SECOND_MS)
        fill(log, 500)
        log.store.flush()
        before = sum(path.stat().st_size for path in (tmp_path / "s" / "segments").iterdir())
        clock.advance(seconds=2)
        log.clean()
        log.append("t", b"x")
        log.clean()
        log.store.flush()
        after = sum(path.stat().st_size for path in (tmp_path / "s" / "segments").iterdir())
    assert after < before / 3


def test_a_segment_of_which_all_records_were_deleted_gives_its_space_back(log):
    log.create_topic("emptied")
    log.append_many("emptied", [b"v" * 100] * 1000)
    log.delete_records("emptied", 0, -1)
    report = log.clean("emptied")
    assert (report.records_removed, report.segments_removed) == (0, 1)
    assert report.bytes_removed > 100_000
    assert log.describe_topic("emptied").partitions[0].size_bytes == 0
    assert log.clean("emptied").segments_removed == 0
    assert log.append("emptied", b"next").offset == 1000

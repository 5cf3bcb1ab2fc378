"""Create time and append time."""

import pytest

from msglog import InvalidOptionError, InvalidTypeError, Log
from msglog.testing import ManualClock

HOUR_MS = 3_600_000


def stamps(log, topic="t"):
    return [record.timestamp_ms for record in log.read(topic)]


class Backwards(ManualClock):
    """A clock somebody may put back."""

    def put_back(self, ms):
        self._now_ms -= ms


def test_create_time_is_now_unless_given(log, clock):
    log.create_topic("t")
    log.append("t", b"x")
    clock.advance(ms=7)
    log.append("t", b"x", headers={"h": b""})
    log.append_many("t", [b"x"])
    log.append("t", b"x", timestamp_ms=0)
    now = clock.now_ms()
    assert stamps(log) == [now - 7, now, now, 0]


def test_create_time_may_go_back(log):
    log.create_topic("t")
    log.append_many("t", [b"x"] * 3, timestamps_ms=[30, 10, 20])
    assert stamps(log) == [30, 10, 20]


def test_append_time_overwrites(log, clock):
    log.create_topic("t", timestamp_type="append")
    metadata = log.append("t", b"x", timestamp_ms=5)
    log.append("t", b"x", key=b"k")
    log.append_many("t", [b"x"] * 2, timestamps_ms=[1, 2])
    assert metadata.timestamp_ms == clock.now_ms()
    assert stamps(log) == [clock.now_ms()] * 4


def test_append_time_never_goes_back(tmp_path):
    clock = Backwards()
    start = clock.now_ms()
    with Log(tmp_path / "s", clock=clock) as log:
        log.create_topic("t", partitions=2, timestamp_type="append")
        log.append("t", b"x", partition=0)
        clock.put_back(1000)
        assert log.append("t", b"x", partition=0).timestamp_ms == start
        assert log.append("t", b"x", partition=1).timestamp_ms == start - 1000
        log.append_many("t", [b"x"] * 2, partition=0)
        assert [record.timestamp_ms for record in log.read("t", 0)] == [start] * 4
    clock.put_back(1000)
    with Log(tmp_path / "s", clock=clock) as log:
        assert log.append("t", b"x", partition=0).timestamp_ms == start
        assert log.append("t", b"x", partition=1).timestamp_ms == start - 1000


def test_append_time_after_create_time_forgets_the_future(log, clock):
    log.create_topic("t")
    log.append("t", b"x", timestamp_ms=clock.now_ms() + HOUR_MS)
    log.alter_topic("t", timestamp_type="append")
    assert log.append("t", b"x").timestamp_ms == clock.now_ms()
    log.alter_topic("t", timestamp_type="create")
    assert log.append("t", b"x", timestamp_ms=5).timestamp_ms == 5


def test_the_future_is_refused_beyond_an_hour(log, clock):
    log.create_topic("t")
    now = clock.now_ms()
    log.append("t", b"x", timestamp_ms=now + HOUR_MS)
    with pytest.raises(InvalidOptionError, match="timestamp_ms") as caught:
        log.append("t", b"x", timestamp_ms=now + HOUR_MS + 1)
    assert caught.value.option == "timestamp_ms"
    with pytest.raises(InvalidOptionError, match="timestamps_ms"):
        log.append_many("t", [b"x"] * 2, timestamps_ms=[now, now + HOUR_MS + 1])
    assert log.end_offset("t") == 1


def test_bounds_are_options(log, clock):
    now = clock.now_ms()
    log.create_topic("t", message_timestamp_before_max_ms=100, message_timestamp_after_max_ms=None)
    log.append("t", b"x", timestamp_ms=(1 << 63) - 1)
    log.append("t", b"x", timestamp_ms=now - 100)
    with pytest.raises(InvalidOptionError):
        log.append("t", b"x", timestamp_ms=now - 101)


def test_bounds_do_not_matter_with_append_time(log, clock):
    log.create_topic("t", timestamp_type="append", message_timestamp_after_max_ms=0)
    assert log.append("t", b"x", timestamp_ms=1 << 60).timestamp_ms == clock.now_ms()


@pytest.mark.parametrize("wrong", [-1, True, 1.0, "1", 1 << 63, b"1"])
@pytest.mark.parametrize("timestamp_type", ["create", "append"])
def test_timestamps_are_milliseconds(log, wrong, timestamp_type):
    log.create_topic("t", timestamp_type=timestamp_type, message_timestamp_after_max_ms=None)
    with pytest.raises(InvalidOptionError, match="timestamp_ms"):
        log.append("t", b"x", timestamp_ms=wrong)
    with pytest.raises(InvalidOptionError, match="timestamps_ms"):
        log.append_many("t", [b"x"], timestamps_ms=[wrong])
    assert log.end_offset("t") == 0


@pytest.mark.parametrize("wrong", [5, "5", b"5"])
def test_many_timestamps_are_an_iterable(log, wrong):
    log.create_topic("t")
    with pytest.raises(InvalidTypeError, match="timestamps_ms"):
        log.append_many("t", [b"x"], timestamps_ms=wrong)

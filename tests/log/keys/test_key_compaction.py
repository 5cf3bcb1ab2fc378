"""The index by key of topics from which compaction removes records."""

import pytest

from msglog import Log
from msglog.testing import ManualClock
from support.keyed import check_decisions, check_keys, counting_reads, last_offset, small_runs

KEYS = [b"a", b"b", b"c", b"d"]


@pytest.fixture(params=["memory", "disk"])
def store(request, tmp_path):
    return ":memory:" if request.param == "memory" else tmp_path / "s"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def log(store, clock):
    with small_runs(rows=6, block=2), Log(store, sync="none", clock=clock) as opened:
        opened.create_topic("t", cleanup_policy="compact", segment_bytes=1024, delete_retention_ms=1000)
        yield opened


def fill(log, rounds=10):
    for _ in range(rounds):
        for key in KEYS:
            log.append("t", b"x" * 30, key=key)


def test_records_that_were_removed_are_left_out(log):
    fill(log)
    assert len(list(log.read_key("t", b"b"))) == 10
    assert log.clean("t").records_removed > 20
    assert [record.offset for record in log.read_key("t", b"b")] == [37]
    assert log.last_record("t", b"b").offset == 37
    check_keys(log, "t", KEYS)
    check_decisions(log, "t", KEYS)
    fill(log, 3)
    log.clean("t")
    check_keys(log, "t", KEYS)
    check_decisions(log, "t", KEYS)


def test_a_tombstone_is_a_record_until_it_goes(log, clock):
    fill(log)
    stone = log.append("t", None, key=b"b", expected_key_offset=37).offset
    assert log.last_record("t", b"b").value is None
    assert last_offset(log, "t", b"b") == stone
    log.clean("t")
    assert last_offset(log, "t", b"b") == stone
    clock.advance(seconds=10)
    log.append("t", b"", key=b"a")
    log.clean("t")
    assert list(log.read_key("t", b"b")) == []
    assert log.last_record("t", b"b") is None
    assert last_offset(log, "t", b"b") == -1
    check_keys(log, "t", KEYS)
    check_decisions(log, "t", KEYS)
    log.append("t", b"again", key=b"b", expected_key_offset=-1)


def test_a_topic_that_is_no_longer_compacted(log, clock):
    fill(log)
    log.append("t", None, key=b"b")
    clock.advance(seconds=1)
    log.clean("t")
    clock.advance(seconds=10)
    log.append("t", b"", key=b"a")
    log.clean("t")
    log.alter_topic("t", cleanup_policy="delete")
    assert last_offset(log, "t", b"b") == -1
    fill(log)
    check_keys(log, "t", KEYS)
    check_decisions(log, "t", KEYS)


def test_a_sight_before_a_clean_is_not_decided_upon(log, clock, monkeypatch):
    """A tombstone that goes between the look and the decision is seen to be gone."""
    fill(log)
    log.append("t", None, key=b"b")
    clock.advance(seconds=1)
    log.clean("t")
    clock.advance(seconds=10)
    log.append("t", b"", key=b"a")
    assert last_offset(log, "t", b"b") == 40
    index = log._model.indexes.find(log._model.topic("t").partitions[0])
    look = type(index).look
    looks = []

    def look_and_clean(self, digest):
        sight = look(self, digest)
        looks.append(sight.last)
        if len(looks) == 1:
            log.clean("t")
        return sight

    monkeypatch.setattr(type(index), "look", look_and_clean)
    assert log.append("t", b"", key=b"b", expected_key_offset=-1).offset == 42
    assert looks == [40, -1]


def test_compacted_records_are_known_after_reopening(tmp_path, clock):
    with small_runs(rows=6, block=2):
        with Log(tmp_path / "s", sync="none", clock=clock) as log:
            log.create_topic("t", cleanup_policy="compact", segment_bytes=1024)
            fill(log)
            check_keys(log, "t", KEYS)
            log.clean("t")
            fill(log, 2)
            check_decisions(log, "t", KEYS)
        with Log(tmp_path / "s", sync="none", clock=clock) as log, counting_reads() as reads:
            check_keys(log, "t", KEYS)
            check_decisions(log, "t", KEYS)
            assert sum(reads) < 6

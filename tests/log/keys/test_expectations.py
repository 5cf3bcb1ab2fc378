"""Appends that expect the last record of their key."""

import pytest

from msglog import InvalidOptionError, InvalidTypeError, Log, OffsetConflictError, PartitionNotFoundError
from msglog.errors import ClosedError, CorruptionError, TopicNotFoundError
from support.keyed import BEYOND, check_decisions, fill, last_offset


@pytest.fixture
def topic(log):
    log.create_topic("t")
    return log


def test_no_record_is_minus_one(topic):
    assert topic.append("t", b"1", key=b"a", expected_key_offset=-1).offset == 0
    with pytest.raises(OffsetConflictError) as caught:
        topic.append("t", b"2", key=b"a", expected_key_offset=-1)
    error = caught.value
    assert (error.topic, error.partition, error.expected, error.actual) == ("t", 0, -1, 0)
    assert error.outcome == "not_applied"
    assert [record.value for record in topic.read("t")] == [b"1"]


def test_unrelated_keys_never_conflict(topic):
    last = {}
    for step in range(200):
        key = b"%d" % (step % 7)
        last[key] = topic.append("t", b"", key=key, expected_key_offset=last.get(key, -1)).offset
        topic.append("t", b"", key=b"other")
        topic.append("t", b"")
    check_decisions(topic, "t", [b"none"])


def test_records_from_before_the_first_expectation_count(topic):
    fill(topic, "t", 20)
    topic.append_many("t", [b""] * 3, keys=[b"k1", None, b"x"])
    check_decisions(topic, "t", [b"none"])
    assert topic.append("t", b"", key=b"k1", expected_key_offset=20).offset == 23


@pytest.mark.parametrize("way", ["headers", "timestamp", "append time", "compression", "compact"])
def test_every_way_to_append(log, way):
    options = {"append time": {"timestamp_type": "append"}, "compression": {"compression": "zlib"}}
    log.create_topic("t", **options.get(way, {"cleanup_policy": "compact"} if way == "compact" else {}))
    more = {"headers": {"headers": {"h": b"1"}}, "timestamp": {"timestamp_ms": 5}}.get(way, {})
    for step in range(5):
        assert log.append("t", b"", key=b"a", expected_key_offset=step - 1, **more).offset == step
        assert last_offset(log, "t", b"a") == step


def test_several_events_are_appended_together_or_not_at_all(topic):
    placed = topic.append_many("t", [b"1", b"2", b"3"], key=b"a", expected_key_offset=-1)
    assert placed == {0: range(3)}
    with pytest.raises(OffsetConflictError) as caught:
        topic.append_many("t", [b"4", b"5"], key=b"a", expected_key_offset=1)
    assert (caught.value.expected, caught.value.actual) == (1, 2)
    assert topic.end_offset("t") == 3
    assert topic.append_many("t", [b"4", b"5"], key=b"a", expected_key_offset=2) == {0: range(3, 5)}
    assert last_offset(topic, "t", b"a") == 4


def test_more_events_than_a_frame_holds(topic):
    topic.append("t", b"", key=b"b", expected_key_offset=-1)
    placed = topic.append_many("t", [b""] * 25_000, key=b"a", expected_key_offset=-1)
    assert placed == {0: range(1, 25_001)}
    assert last_offset(topic, "t", b"a") == 25_000
    assert last_offset(topic, "t", b"b") == 0
    assert len(list(topic.read_key("t", b"a", start=24_990))) == 11


def test_nothing_to_append_expects_nothing(topic):
    topic.append("t", b"", key=b"a")
    assert topic.append_many("t", [], key=b"a", expected_key_offset=5) == {}


def test_both_expectations_hold_or_nothing_is_appended(topic):
    topic.append("t", b"", key=b"a")
    topic.append("t", b"", key=b"b")
    for expected_offset, expected_key_offset in ((1, 0), (2, 1), (3, -1)):
        with pytest.raises(OffsetConflictError):
            topic.append("t", b"", key=b"a", expected_offset=expected_offset, expected_key_offset=expected_key_offset)
    assert topic.append("t", b"", key=b"a", expected_offset=2, expected_key_offset=0).offset == 2


def test_partitions_have_their_own_last_records(log):
    log.create_topic("t", partitions=3)
    home = log.partition_for("t", b"a")
    other = (home + 1) % 3
    log.append("t", b"", key=b"a", expected_key_offset=-1)
    log.append("t", b"", key=b"a", partition=other, expected_key_offset=-1)
    log.append("t", b"", key=b"a", partition=other, expected_key_offset=0)
    assert last_offset(log, "t", b"a") == 0
    assert last_offset(log, "t", b"a", home) == 0
    assert last_offset(log, "t", b"a", other) == 1
    assert [record.offset for record in log.read_key("t", b"a", partition=other)] == [0, 1]
    assert [record.partition for record in log.read_key("t", b"a")] == [home]


def test_added_partitions_change_where_a_key_is(log):
    log.create_topic("t", partitions=1)
    for number in range(30):
        log.append("t", b"", key=b"%d" % number, expected_key_offset=-1)
    log.add_partitions("t", 4)
    moved = next(b"%d" % number for number in range(30) if log.partition_for("t", b"%d" % number) != 0)
    stayed = next(b"%d" % number for number in range(30) if log.partition_for("t", b"%d" % number) == 0)
    assert log.append("t", b"", key=moved, expected_key_offset=-1).offset == 0
    assert last_offset(log, "t", moved, 0) == int(moved)
    assert log.append("t", b"", key=stayed, expected_key_offset=int(stayed)).offset == 30
    assert log.append("t", b"", key=stayed).partition == 0
    assert last_offset(log, "t", stayed) == 31


def test_producers_expect_too(topic):
    with topic.producer("p") as producer:
        assert producer.append("t", b"", key=b"a", expected_key_offset=-1, sequence=0).offset == 0
        assert producer.append("t", b"", key=b"a", expected_key_offset=-1, sequence=0).duplicate
        with pytest.raises(OffsetConflictError) as caught:
            producer.append("t", b"", key=b"a", expected_key_offset=-1)
        assert (caught.value.expected, caught.value.actual) == (-1, 0)
        assert producer.last_sequence == 0
        assert producer.append_many("t", [b"", b""], key=b"a", expected_key_offset=0) == {0: range(1, 3)}
        assert producer.append_many("t", [b"", b""], key=b"a", expected_key_offset=0, first_sequence=1) == {
            0: range(1, 3)
        }
    assert last_offset(topic, "t", b"a") == 2
    topic.append("t", b"", key=b"a", expected_key_offset=2)


@pytest.mark.parametrize(
    ("options", "error", "option"),
    [
        ({"expected_key_offset": 0}, InvalidOptionError, "key"),
        ({"key": b"a", "expected_key_offset": -2}, InvalidOptionError, "expected_key_offset"),
        ({"key": b"a", "expected_key_offset": 1 << 63}, InvalidOptionError, "expected_key_offset"),
        ({"key": b"a", "expected_key_offset": "0"}, InvalidTypeError, "expected_key_offset"),
        ({"key": b"a", "expected_key_offset": True}, InvalidTypeError, "expected_key_offset"),
        ({"key": b"a", "expected_key_offset": 1.0}, InvalidTypeError, "expected_key_offset"),
        ({"key": "a", "expected_key_offset": 0}, InvalidTypeError, "key"),
    ],
)
def test_what_is_refused(topic, options, error, option):
    for append in (
        lambda: topic.append("t", b"", **options),
        lambda: topic.append_many("t", [b""], **options),
        lambda: topic.append_many("t", [], **options),
    ):
        with pytest.raises(error) as caught:
            append()
        assert caught.value.option == option
    assert topic.end_offset("t") == 0


def test_keys_of_their_own_have_no_common_expectation(topic):
    with pytest.raises(InvalidOptionError) as caught:
        topic.append_many("t", [b""], keys=[b"a"], expected_key_offset=-1)
    assert caught.value.option == "key"
    with pytest.raises(PartitionNotFoundError):
        topic.append("t", b"", key=b"a", partition=1, expected_key_offset=-1)
    with pytest.raises(TopicNotFoundError):
        topic.append("u", b"", key=b"a", expected_key_offset=-1)
    topic.close()
    with pytest.raises(ClosedError):
        topic.append("t", b"", key=b"a", expected_key_offset=-1)


def test_no_key_stands_in_an_error(topic):
    with pytest.raises(OffsetConflictError) as caught:
        topic.append("t", b"a secret", key=b"a secret", expected_key_offset=BEYOND)
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(caught.value)


def test_records_that_were_removed_do_not_count(topic):
    fill(topic, "t", 10)
    assert last_offset(topic, "t", b"k1") == 6
    topic.delete_records("t", 0, 7)
    assert last_offset(topic, "t", b"k1") == -1
    assert last_offset(topic, "t", b"k2") == 7
    topic.append("t", b"", key=b"k1", expected_key_offset=-1)
    topic.delete_records("t", 0, -1)
    check_decisions(topic, "t", [b"k1", b"k2"])


def test_what_cannot_be_read_cannot_be_decided(tmp_path):
    with Log(tmp_path / "s", sync="none") as log:
        log.create_topic("t")
        fill(log, "t", 3)
        log.append("t", b"a value", key=b"k")
    (segment,) = (tmp_path / "s").glob("segments/*-t.*.?")
    segment.write_bytes(segment.read_bytes().replace(b"a value", b"A value"))
    with Log(tmp_path / "s", sync="none") as log:
        with pytest.raises(CorruptionError):
            log.append("t", b"", key=b"a", expected_key_offset=-1)
        with pytest.raises(CorruptionError):
            log.read_key("t", b"a")
        assert log.end_offset("t") == 4
        log.append("t", b"", key=b"a")
        log.delete_records("t", 0, 4)
        assert last_offset(log, "t", b"a") == 4


def test_appends_stay_short_where_nothing_is_expected(topic):
    topic.create_topic("u")
    fill(topic, "u", 3)
    list(topic.read_key("u", b"k1"))
    topic.append("t", b"", key=b"a", expected_key_offset=-1)
    topics = topic._model.topics
    assert topics["t"].keyed_limit == topics["t"].plain_limit == -1
    assert topics["u"].keyed_limit == topics["u"].plain_limit == topics["u"].limit
    topic.alter_topic("t", retention_ms=1000)
    assert topics["t"].keyed_limit == -1

"""Reading the records of one key."""

import pytest

from msglog import InvalidTypeError, OffsetOutOfRangeError, PartitionNotFoundError
from msglog.errors import ClosedError, TopicNotFoundError
from support.keyed import check_keys, fill


@pytest.fixture
def topic(log):
    log.create_topic("t")
    return log


def offsets(records):
    return [record.offset for record in records]


def test_records_come_in_order_and_no_others(topic):
    fill(topic, "t", 23)
    topic.append("t", b"no key")
    topic.append("t", None, key=b"k3", headers={"h": b"1"}, timestamp_ms=7)
    assert offsets(topic.read_key("t", b"k3")) == [3, 8, 13, 18, 24]
    last = list(topic.read_key("t", b"k3"))[-1]
    assert (last.value, last.headers, last.timestamp_ms, last.key) == (None, (("h", b"1"),), 7, b"k3")
    assert topic.last_record("t", b"k3") == last
    check_keys(topic, "t", [b"none", b""])


def test_the_end_is_taken_at_the_call(topic):
    fill(topic, "t", 10)
    records = topic.read_key("t", b"k1")
    fill(topic, "t", 10)
    assert offsets(records) == [1, 6]
    assert offsets(topic.read_key("t", b"k1")) == [1, 6, 11, 16]


def test_start_is_an_offset(topic):
    fill(topic, "t", 20)
    topic.delete_records("t", 0, 3)
    assert offsets(topic.read_key("t", b"k1", start=6)) == [6, 11, 16]
    assert offsets(topic.read_key("t", b"k1", start=7)) == [11, 16]
    assert offsets(topic.read_key("t", b"k1", start=20)) == []
    for start in (2, 21):
        with pytest.raises(OffsetOutOfRangeError) as caught:
            topic.read_key("t", b"k1", start=start)
        assert (caught.value.offset, caught.value.start_offset, caught.value.end_offset) == (start, 3, 20)


def test_the_partition_is_that_of_the_key(log):
    log.create_topic("t", partitions=4)
    for number in range(40):
        log.append("t", b"", key=b"%d" % (number % 10))
    for number in range(10):
        key = b"%d" % number
        assert {record.partition for record in log.read_key("t", key)} == {log.partition_for("t", key)}
        assert len(list(log.read_key("t", key))) == 4
    for partition in range(4):
        check_keys(log, "t", [b"%d" % number for number in range(10)], partition)


def test_an_empty_key_is_a_key(topic):
    topic.append("t", b"1", key=b"")
    topic.append("t", b"2")
    assert offsets(topic.read_key("t", b"")) == [0]
    assert topic.last_record("t", b"").value == b"1"


def test_no_record_is_none(topic):
    assert topic.last_record("t", b"a") is None
    topic.append("t", b"", key=b"a")
    topic.delete_records("t", 0, -1)
    assert topic.last_record("t", b"a") is None
    assert list(topic.read_key("t", b"a")) == []


def test_batches_and_single_records(topic):
    topic.append_many("t", [b"%d" % n for n in range(3000)], keys=[b"%d" % (n % 900) for n in range(3000)])
    fill(topic, "t", 50)
    topic.append_many("t", [b"x"] * 5, key=b"899")
    assert offsets(topic.read_key("t", b"899")) == [899, 1799, 2699, *range(3050, 3055)]
    assert offsets(topic.read_key("t", b"k4")) == list(range(3004, 3050, 5))


def test_records_that_go_meanwhile_are_left_out(topic):
    fill(topic, "t", 30)
    records = topic.read_key("t", b"k1")
    assert next(records).offset == 1
    topic.delete_records("t", 0, 15)
    assert offsets(records) == [16, 21, 26]


@pytest.mark.parametrize("call", ["read_key", "last_record"])
def test_what_is_refused(topic, call):
    ask = getattr(topic, call)
    with pytest.raises(InvalidTypeError) as caught:
        ask("t", "a")
    assert caught.value.option == "key"
    with pytest.raises(InvalidTypeError):
        ask("t", None)
    with pytest.raises(InvalidTypeError):
        ask("t", b"a", partition="0")
    with pytest.raises(PartitionNotFoundError):
        ask("t", b"a", partition=1)
    with pytest.raises(TopicNotFoundError):
        ask("u", b"a")
    topic.close()
    with pytest.raises(ClosedError):
        ask("t", b"a")


def test_an_iterator_ends_with_its_store(topic):
    fill(topic, "t", 10)
    records = topic.read_key("t", b"k1")
    next(records)
    topic.close()
    with pytest.raises(ClosedError):
        next(records)

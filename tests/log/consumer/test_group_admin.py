"""Looking at groups, resetting their offsets, deleting them."""

import pytest

from msglog import (
    GroupError,
    InvalidNameError,
    InvalidOptionError,
    InvalidTypeError,
    Log,
    OffsetOutOfRangeError,
    PartitionNotFoundError,
    ReadOnlyError,
    TopicNotFoundError,
    TopicPartition,
)

TWO_0, TWO_1 = TopicPartition("two", 0), TopicPartition("two", 1)


@pytest.fixture(autouse=True)
def backlog(log):
    for number in range(10):
        log.append("two", b"%d" % number, partition=0, timestamp_ms=1000 + number)


def test_groups_are_those_with_members_or_offsets(log):
    assert log.groups() == []
    with log.consumer("two", group="b") as b, log.consumer("two", group="a"):
        b.commit()
        assert log.groups() == ["a", "b"]
    assert log.groups() == ["b"]


def test_describe_a_group_with_members(log):
    with log.consumer("two", group="g", instance_id="i") as a, log.consumer("one", group="g") as b:
        assert log.describe_group("g").state == "PreparingRebalance"
        for consumer in (a, b, a):
            consumer.poll(0, max_records=4)
        a.commit()
        found = log.describe_group("g")
    assert (found.group, found.state, found.assignor) == ("g", "Stable", "range")
    assert found.offsets == {TWO_0: 8, TWO_1: 0}
    assert found.lag == {TopicPartition("one", 0): None, TWO_0: 2, TWO_1: 0}
    assert [(m.instance_id, m.topics, m.assignment) for m in found.members] == [
        ("i", {"two"}, {TWO_0, TWO_1}),
        (None, {"one"}, {TopicPartition("one", 0)}),
    ]
    assert found.generation >= 2


def test_describe_a_group_without_members(log):
    log.reset_offsets("g", "two", to={0: 3})
    found = log.describe_group("g")
    assert (found.state, found.members, found.assignor) == ("Empty", (), None)
    assert found.offsets == {TWO_0: 3}
    assert found.lag == {TWO_0: 7}


def test_describe_what_is_not_there(log):
    with pytest.raises(GroupError):
        log.describe_group("g")
    with pytest.raises(GroupError):
        log.delete_group("g")
    with pytest.raises(InvalidNameError):
        log.describe_group("")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {TWO_0: 0, TWO_1: 0}),
        ({"to": "earliest"}, {TWO_0: 0, TWO_1: 0}),
        ({"to": "latest"}, {TWO_0: 10, TWO_1: 0}),
        ({"to": {0: 7}}, {TWO_0: 7, TWO_1: 0}),
        ({"to": {0: 10, 1: 0}}, {TWO_0: 10, TWO_1: 0}),
        ({"to_timestamp_ms": 1004}, {TWO_0: 4, TWO_1: 0}),
        ({"to_timestamp_ms": 5000}, {TWO_0: 10, TWO_1: 0}),
    ],
)
def test_reset(log, options, expected):
    with log.consumer("two", group="g") as consumer:
        consumer.poll(0, max_records=2)
        consumer.commit()
    log.reset_offsets("g", "two", **options)
    assert log.describe_group("g").offsets == expected
    with log.consumer("two", group="g") as consumer:
        assert consumer.position(TWO_0) == expected[TWO_0]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"to": "middle"}, InvalidOptionError),
        ({"to": None}, InvalidTypeError),
        ({"to": {}}, InvalidOptionError),
        ({"to": {2: 0}}, PartitionNotFoundError),
        ({"to": {0: 11}}, OffsetOutOfRangeError),
        ({"to": {0: -1}}, InvalidOptionError),
        ({"to": {"0": 1}}, InvalidTypeError),
        ({"to": {0: None}}, InvalidTypeError),
        ({"to": "latest", "to_timestamp_ms": 5}, InvalidOptionError),
        ({"to_timestamp_ms": -1}, InvalidOptionError),
        ({"to_timestamp_ms": "now"}, InvalidTypeError),
    ],
)
def test_bad_resets_change_nothing(log, options, error):
    with pytest.raises(error):
        log.reset_offsets("g", "two", **options)
    assert log.groups() == []


def test_bad_names(log):
    with pytest.raises(TopicNotFoundError):
        log.reset_offsets("g", "nope")
    for group in ("", 5, "a\0b"):
        for call in (lambda g: log.reset_offsets(g, "two"), log.delete_group, log.describe_group):
            with pytest.raises(InvalidNameError):
                call(group)


def test_active_groups_are_left_alone(log):
    with log.consumer("two", group="g") as consumer:
        consumer.commit()
        with pytest.raises(GroupError):
            log.reset_offsets("g", "two")
        with pytest.raises(GroupError):
            log.delete_group("g")
    log.reset_offsets("g", "two")
    log.delete_group("g")
    assert log.groups() == []
    with log.consumer("two", group="g") as consumer:
        assert consumer.committed(TWO_0) is None


def test_a_static_member_that_is_away_keeps_its_group_active(log, clock):
    with log.consumer("two", group="g", instance_id="i") as consumer:
        consumer.commit()
    with pytest.raises(GroupError):
        log.delete_group("g")
    clock.advance(seconds=45)
    log.delete_group("g")


def test_an_evicted_member_does_not_keep_its_group_active(log, clock):
    with log.consumer("two", group="g") as consumer:
        consumer.commit()
        clock.advance(seconds=300)
        log.delete_group("g")


def test_readonly(tmp_path):
    with Log(tmp_path / "store") as log:
        log.create_topic("t")
        log.reset_offsets("g", "t")
    with Log(tmp_path / "store", readonly=True) as log:
        assert log.groups() == ["g"]
        assert log.describe_group("g").offsets == {TopicPartition("t", 0): 0}
        with pytest.raises(ReadOnlyError):
            log.reset_offsets("g", "t")
        with pytest.raises(ReadOnlyError):
            log.delete_group("g")

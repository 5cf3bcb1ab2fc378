"""Looking at share groups, resetting and deleting them."""

import pytest

from msglog import (
    GroupError,
    InvalidOptionError,
    OffsetOutOfRangeError,
    PartitionNotFoundError,
    TopicNotFoundError,
    TopicPartition,
)
from support.shares import counts, fill, lag, offsets

T_0, T_1 = TopicPartition("t", 0), TopicPartition("t", 1)


@pytest.fixture(autouse=True)
def backlog(log):
    for number in range(10):
        log.append("t", b"%d" % number, timestamp_ms=1000 + number)
    log.add_partitions("t", 2)


def test_share_groups_are_listed_with_the_others(log):
    log.reset_offsets("b", "t")
    log.share_consumer("t", group="a").close()
    with log.share_consumer("t", group="c"):
        assert log.groups() == ["a", "b", "c"]


def test_describe_a_group_with_members(log):
    with log.share_consumer("t", group="g") as a, log.share_consumer("t", group="g"):
        records = a.poll(0)
        for place in (0, 1, 5):
            records[place].ack()
        found = log.describe_group("g")
    assert (found.group, found.state, found.assignor) == ("g", "Stable", None)
    assert found.offsets == {T_0: 2, T_1: 0}
    assert found.lag == {T_0: 7, T_1: 0}
    assert [(m.instance_id, m.topics, m.assignment) for m in found.members] == [(None, {"t"}, {T_0, T_1})] * 2
    assert len({member.member_id for member in found.members}) == 2
    assert found.generation == 2


def test_describe_a_group_without_members(log):
    log.share_consumer("t", group="g").close()
    found = log.describe_group("g")
    assert (found.state, found.members, found.generation) == ("Empty", (), 0)
    assert found.lag == {T_0: 10, T_1: 0}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {T_0: 0, T_1: 0}),
        ({"to": "latest"}, {T_0: 10, T_1: 0}),
        ({"to": {0: 7}}, {T_0: 7, T_1: 0}),
        ({"to_timestamp_ms": 1004}, {T_0: 4, T_1: 0}),
    ],
)
def test_reset(log, options, expected):
    with log.share_consumer("t", group="g") as worker:
        for record in worker.poll(0)[::2]:
            record.ack()
    log.reset_offsets("g", "t", **options)
    assert log.describe_group("g").offsets == expected
    with log.share_consumer("t", group="g") as worker:
        assert counts(worker.poll(0)) == dict.fromkeys(range(expected[T_0], 10), 1)


def test_a_reset_survives(disk, again):
    fill(disk.log, 5)
    with disk.log.share_consumer("t", group="g") as worker:
        for record in worker.poll(0):
            record.ack()
    disk.log.reset_offsets("g", "t", to={0: 3})
    with again().share_consumer("t", group="g") as worker:
        assert counts(worker.poll(0)) == {3: 1, 4: 1}


def test_a_reset_takes_up_a_topic(log):
    log.create_topic("u")
    fill(log, 4, topic="u")
    log.share_consumer("t", group="g").close()
    log.reset_offsets("g", "u", to={0: 1})
    with log.share_consumer("u", group="g") as worker:
        assert offsets(worker.poll(0)) == [1, 2, 3]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"to": "middle"}, InvalidOptionError),
        ({"to": {2: 0}}, PartitionNotFoundError),
        ({"to": {0: 11}}, OffsetOutOfRangeError),
        ({"to": {0: -1}}, InvalidOptionError),
    ],
)
def test_bad_resets_change_nothing(log, options, error):
    log.share_consumer("t", group="g").close()
    with pytest.raises(error):
        log.reset_offsets("g", "t", **options)
    with pytest.raises(TopicNotFoundError):
        log.reset_offsets("g", "nope")
    assert lag(log) == 10


def test_active_groups_are_left_alone(log):
    with log.share_consumer("t", group="g"):
        for call in (lambda: log.reset_offsets("g", "t"), lambda: log.delete_group("g")):
            with pytest.raises(GroupError, match="1 members"):
                call()
    log.reset_offsets("g", "t")
    log.delete_group("g")


def test_a_deleted_group_is_forgotten(log):
    with log.share_consumer("t", group="g") as worker:
        for record in worker.poll(0):
            record.ack()
    log.delete_group("g")
    assert log.groups() == []
    assert log.store.core.engine.models["cursors"].cursors == {}
    for call in (log.describe_group, log.delete_group):
        with pytest.raises(GroupError):
            call("g")
    with log.share_consumer("t", group="g") as worker:
        assert counts(worker.poll(0)) == dict.fromkeys(range(10), 1)


def test_the_name_of_a_deleted_group_is_free(log):
    log.share_consumer("t", group="g").close()
    log.delete_group("g")
    with log.consumer("t", group="g") as consumer:
        consumer.commit()
    assert log.describe_group("g").offsets == {T_0: 0, T_1: 0}

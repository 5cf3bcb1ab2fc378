"""Committing: what is committed when, by whom, and what is refused."""

import pytest

from msglog import (
    FencedError,
    GroupError,
    InvalidOptionError,
    InvalidTypeError,
    Log,
    OffsetOutOfRangeError,
    PartitionNotFoundError,
    ReadOnlyError,
    RebalanceError,
    TopicNotFoundError,
    TopicPartition,
)

ONE = TopicPartition("one", 0)
TWO_0, TWO_1 = TopicPartition("two", 0), TopicPartition("two", 1)


@pytest.fixture(autouse=True)
def backlog(log):
    log.append_many("one", [b"%d" % number for number in range(10)])


def test_commit_covers_the_record_in_hand_and_no_more(log):
    with log.consumer("one", group="g") as consumer:
        assert consumer.committed(ONE) is None
        for record in consumer.iter(0):
            consumer.commit()
            assert consumer.committed(ONE) == record.offset + 1


def test_commit_after_a_poll_covers_its_batch(log):
    with log.consumer("one", group="g") as consumer:
        consumer.poll(0, max_records=4)
        consumer.commit()
        assert consumer.committed(ONE) == 4
    with log.consumer("one", group="g") as consumer:
        assert consumer.position(ONE) == 4


def test_commit_up_to_a_record(log):
    with log.consumer("one", group="g") as consumer:
        records = consumer.poll(0)
        consumer.commit(records[3])
        assert consumer.committed(ONE) == 4
        consumer.commit(records[1])
        assert consumer.committed(ONE) == 2
        assert consumer.position(ONE) == 10


def test_commit_of_given_offsets(log):
    with log.consumer("one", "two", group="g") as consumer:
        consumer.commit({ONE: 10, ("two", 1): 0})
        assert [consumer.committed(tp) for tp in (ONE, TWO_0, TWO_1)] == [10, None, 0]
        consumer.commit({})
        consumer.seek_to_committed()
        assert consumer.position(ONE) == 10


def test_commit_includes_positions_nothing_was_read_from(log):
    with log.consumer("one", group="g", start="latest") as consumer:
        consumer.commit()
        assert consumer.committed(ONE) == 10


def test_seek_to_committed_goes_back(log):
    with log.consumer("one", group="g") as consumer:
        consumer.poll(0, max_records=3)
        consumer.seek_to_committed()
        assert consumer.position(ONE) == 0
        consumer.poll(0, max_records=3)
        consumer.commit()
        assert len(consumer.poll(0)) == 7
        consumer.seek_to_committed()
        assert consumer.position(ONE) == 3


@pytest.mark.parametrize(
    ("upto", "error"),
    [
        ({ONE: 11}, OffsetOutOfRangeError),
        ({ONE: -1}, InvalidOptionError),
        ({ONE: "1"}, InvalidTypeError),
        ({ONE: True}, InvalidTypeError),
        ({"one": 1}, InvalidTypeError),
        ({TWO_0: 0}, FencedError),
        (5, InvalidTypeError),
        ([ONE], InvalidTypeError),
        (ONE, InvalidTypeError),
    ],
)
def test_bad_commits_change_nothing(log, upto, error):
    with log.consumer("one", group="g") as consumer:
        with pytest.raises(error):
            consumer.commit(upto)
        assert consumer.committed(ONE) is None
    assert log.groups() == []


def test_committed_asks_for_any_partition(log):
    with log.consumer("one", group="g") as consumer:
        assert consumer.committed(TWO_0) is None
        for partition, error in [
            (TopicPartition("nope", 0), TopicNotFoundError),
            (TopicPartition("one", 1), PartitionNotFoundError),
            ("one", InvalidTypeError),
        ]:
            with pytest.raises(error):
                consumer.committed(partition)


def test_a_committed_offset_that_retention_overtook(log):
    with log.consumer("one", group="g") as consumer:
        consumer.commit({ONE: 2})
    log.delete_records("one", 0, 5)
    with log.consumer("one", group="g") as consumer:
        assert consumer.position(ONE) == 5
    with log.consumer("one", group="g", start="latest") as consumer:
        assert consumer.position(ONE) == 10
    with log.consumer("one", group="g", start="error") as consumer:
        with pytest.raises(OffsetOutOfRangeError) as caught:
            consumer.poll(0)
        assert caught.value.offset == 2


def test_offsets_of_a_deleted_topic_vanish(log):
    with log.consumer("one", group="g") as consumer:
        consumer.commit({ONE: 2})
    assert log.groups() == ["g"]
    log.delete_topic("one")
    assert log.groups() == []
    log.create_topic("one")
    with log.consumer("one", group="g") as consumer:
        assert consumer.committed(ONE) is None


def test_a_commit_while_consuming_a_topic_that_was_deleted(log):
    with log.consumer("one", "two", group="g", auto_commit=True) as consumer:
        consumer.poll(0)
        log.delete_topic("one")
        consumer.commit()
        with pytest.raises(TopicNotFoundError):
            consumer.commit({ONE: 1})
        assert consumer.poll(0) == []
        assert consumer.committed(TWO_0) == 0


@pytest.mark.parametrize("sync", ["commit", "interval", "none"])
def test_offsets_survive_reopening(tmp_path, sync):
    with Log(tmp_path / "store", sync=sync) as log:
        log.create_topic("t", partitions=2)
        log.create_topic("gone")
        log.append_many("t", [b"x"] * 5, partition=1)
        with log.consumer("t", "gone", group="g") as consumer:
            consumer.commit({TopicPartition("t", 1): 3, TopicPartition("gone", 0): 0})
        with log.consumer("t", group="deleted") as consumer:
            consumer.commit()
        log.delete_topic("gone")
        log.delete_group("deleted")
    for _ in range(2):
        with Log(tmp_path / "store", sync=sync) as log:
            assert log.groups() == ["g"]
            assert log.describe_group("g").offsets == {TopicPartition("t", 1): 3}
            with log.consumer("t", group="g") as consumer:
                assert consumer.position(TopicPartition("t", 1)) == 3


def test_readonly_stores_have_no_members(tmp_path):
    with Log(tmp_path / "store") as log:
        log.create_topic("t")
        log.append("t", b"x")
    with Log(tmp_path / "store", readonly=True) as log:
        with pytest.raises(ReadOnlyError):
            log.consumer("t", group="g")
        with log.consumer("t") as consumer:
            assert len(consumer.poll(0)) == 1
            assert consumer.poll(0.03) == []


# Auto-commit


def test_auto_commit_runs_at_the_next_poll(log):
    with log.consumer("one", group="g", auto_commit=True) as consumer:
        consumer.poll(0, max_records=3)
        assert consumer.committed(ONE) is None
        consumer.poll(0, max_records=3)
        assert consumer.committed(ONE) == 3
        consumer.poll(0, max_records=100)
        assert consumer.poll(0) == []
        assert consumer.committed(ONE) == 10


def test_auto_commit_runs_at_the_next_step_of_an_iteration(log):
    with log.consumer("one", group="g", auto_commit=True) as consumer:
        for record in consumer.iter(0):
            assert (consumer.committed(ONE) or 0) == record.offset
        assert consumer.committed(ONE) == 10


def test_auto_commit_in_a_long_iteration_does_not_commit_each_record(real_log):
    real_log.append_many("one", [b"x"] * 20_000)
    with real_log.consumer("one", group="g", auto_commit=True) as consumer:
        before = real_log.store.metrics()["commits"]
        assert sum(1 for _ in consumer.iter(0)) == 20_000
        assert real_log.store.metrics()["commits"] - before < 10_000
        assert consumer.committed(ONE) == 20_000


def test_auto_commit_does_without_reading_nothing(log):
    with log.consumer("one", group="g", auto_commit=True) as consumer:
        consumer.seek(ONE, 0)
        assert consumer.position(ONE) == 0
    assert log.groups() == []


@pytest.mark.parametrize("polls", [0, 1])
def test_auto_commit_covers_where_reading_began_at_the_end_so_that_the_next_one_skips_nothing(log, polls):
    with log.consumer("one", group="g", start="latest", auto_commit=True) as consumer:
        assert [consumer.poll(0) for _ in range(polls)] == [[]] * polls
    log.append("one", b"in between")
    with log.consumer("one", group="g", start="latest", auto_commit=True) as consumer:
        assert [record.value for record in consumer.poll(0)] == [b"in between"]


def test_auto_commit_at_the_end_is_made_by_the_poll_that_brings_the_partitions(log):
    log.append_many("two", [b"x"] * 3, partition=1)
    first = log.consumer("two", group="g", start="latest")
    with first, log.consumer("two", group="g", start="latest", auto_commit=True) as second:
        first.poll(0)
        assert log.groups() == ["g"]
        assert log.describe_group("g").offsets == {}
        second.poll(0)
        assert log.describe_group("g").offsets == {TWO_1: 3}


def test_auto_commit_at_the_end_covers_where_a_callback_sought(log):
    def seek(consumer, _partitions):
        consumer.seek(ONE, 4)

    with log.consumer("one", group="g", start="latest", auto_commit=True, on_assign=seek) as consumer:
        consumer.poll(0, max_records=1)
        assert consumer.committed(ONE) == 4


def test_auto_commit_at_the_end_replaces_a_commit_that_is_out_of_range(log):
    log.reset_offsets("g", "one", to={0: 2})
    log.delete_records("one", 0, 5)
    with log.consumer("one", group="g", start="latest", auto_commit=True) as consumer:
        assert consumer.poll(0) == []
        assert consumer.committed(ONE) == 10


def test_auto_commit_at_the_end_happens_once(log):
    with log.consumer("one", group="g", start="latest", auto_commit=True) as consumer:
        consumer.poll(0)
        before = log.store.metrics()["commits"]
        for _ in range(3):
            consumer.poll(0)
        assert log.store.metrics()["commits"] == before


def test_auto_commit_runs_at_close(log):
    with log.consumer("one", group="g", auto_commit=True) as consumer:
        consumer.poll(0, max_records=3)
    assert log.describe_group("g").offsets == {ONE: 3}
    with log.consumer("one", group="g", auto_commit=True) as consumer:
        assert [next(iter(consumer)).offset, next(iter(consumer)).offset] == [3, 4]
    assert log.describe_group("g").offsets == {ONE: 5}


def fail_inside(log, work):
    """Let a `with` block end by an exception."""
    with log.consumer("one", group="g", auto_commit=True) as consumer:
        work(consumer)
        raise ZeroDivisionError


def test_auto_commit_leaves_out_the_batch_that_was_in_hand_at_an_exception(log):
    def work(consumer):
        consumer.poll(0, max_records=3)
        consumer.poll(0, max_records=3)

    with pytest.raises(ZeroDivisionError):
        fail_inside(log, work)
    assert log.describe_group("g").offsets == {ONE: 3}


def test_auto_commit_leaves_out_the_record_that_was_in_hand_at_an_exception(log):
    def work(consumer):
        for record in consumer:
            if record.offset == 6:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside(log, work)
    assert log.describe_group("g").offsets == {ONE: 6}


def test_auto_commit_covers_the_end_of_a_stopped_loop(log):
    def work(consumer):
        for record in consumer:
            if record.offset == 4:
                consumer.stop()

    with pytest.raises(ZeroDivisionError):
        fail_inside(log, work)
    assert log.describe_group("g").offsets == {ONE: 5}


def test_without_auto_commit_nothing_is_committed(log):
    with log.consumer("one", group="g") as consumer:
        list(consumer.iter(0))
    assert log.groups() == []


# Partitions assigned by hand


def test_auto_commit_covers_what_was_handed_out_of_partitions_that_are_not_assigned_any_more(log):
    log.append_many("two", [b"x"] * 3, partition=0)
    with log.consumer(group="g", auto_commit=True) as consumer:
        consumer.assign([ONE, TWO_0])
        assert len(consumer.poll(0, max_records=100)) == 13
        with pytest.raises(PartitionNotFoundError):
            consumer.assign([TopicPartition("two", 2)])
        assert log.groups() == []
        consumer.assign([TWO_0, TWO_1])
        assert log.describe_group("g").offsets == {ONE: 10}
    assert log.describe_group("g").offsets == {ONE: 10, TWO_0: 3}


def test_a_standalone_group_commits(log):
    with log.consumer(group="g", auto_commit=True) as consumer:
        consumer.assign([ONE])
        consumer.poll(0, max_records=2)
        consumer.commit()
        assert consumer.committed(ONE) == 2
        consumer.poll(0, max_records=2)
    assert log.describe_group("g").offsets == {ONE: 4}
    with log.consumer(group="g") as consumer:
        consumer.assign([ONE])
        assert consumer.position(ONE) == 4


def test_a_standalone_commit_is_refused_while_the_group_has_members(log):
    with log.consumer(group="g") as alone, log.consumer("one", group="g"):
        alone.assign([ONE])
        with pytest.raises(FencedError):
            alone.commit({ONE: 1})


# In a rebalance


def test_commits_in_a_rebalance(log):
    first = log.consumer("two", group="g")
    first.poll(0)
    with log.consumer("two", group="g") as second:
        first.commit({TWO_0: 0, TWO_1: 0})  # still its own
        with pytest.raises((FencedError, RebalanceError)):
            second.commit({TWO_1: 0})
        first.poll(0)
        second.poll(0)
        first.poll(0)
        assert second.assignment() == {TWO_1}
        second.commit({TWO_1: 0})
        with pytest.raises(FencedError):
            first.commit({TWO_1: 0})
        with pytest.raises(GroupError):
            first.commit({TWO_0: 0, TWO_1: 0})
    first.close()

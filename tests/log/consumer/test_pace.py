"""Polls for few records at a time: how often they look around, and that nothing is missed in between.

On the machine's clock, since with a manual one every poll looks around; but time stands still.
"""

from unittest import mock

import pytest

from msglog import TopicPartition
from msglog.log import consumer, pace
from msglog.log.consumer import Consumer
from msglog.log.coordination import Coordination

ONE = TopicPartition("one", 0)
COUNT = 400
BURST = 100
"""So many looks are taken before time has to pass."""


@pytest.fixture(autouse=True)
def time(monkeypatch):
    """The time, in a list."""
    now = [1000.0]
    for module in (consumer, pace):
        monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def looks(monkeypatch):
    """One item for each look around."""
    looks = []
    look = Consumer._look_around

    def note(self):
        looks.append(self)
        look(self)

    monkeypatch.setattr(Consumer, "_look_around", note)
    return looks


@pytest.fixture
def log(real_log):
    real_log.append_many("one", [b"%d" % number for number in range(COUNT)])
    return real_log


def take_one(consumer):
    (record,) = consumer.poll(0, max_records=1)
    return record.offset


@pytest.mark.parametrize("group", [None, "g"])
def test_looks_are_few(log, looks, group):
    with log.consumer("one", group=group) as consumer:
        assert [take_one(consumer) for _ in range(COUNT)] == list(range(COUNT))
        assert len(looks) <= BURST
        before = len(looks)
        assert consumer.poll(0) == []
        assert len(looks) == before + 1, "nothing was in hand"


def test_time_that_passes_brings_looks(log, looks, time):
    with log.consumer("one", group="g") as consumer:
        for _ in range(BURST):
            take_one(consumer)
        for _ in range(10):
            time[0] += 0.0015
            before = len(looks)
            take_one(consumer)
            assert len(looks) == before + 1


def test_each_poll_commits_what_came_before_it(log):
    with log.consumer("one", group="g", auto_commit=True) as consumer:
        for offset in range(COUNT):
            assert take_one(consumer) == offset
            assert consumer.committed(ONE) == (offset or None)


def test_a_rebalance_is_met_by_the_next_poll(log):
    log.add_partitions("one", 2)
    told = []
    with log.consumer("one", group="g", on_revoke=lambda _, partitions: told.append(partitions)) as consumer:
        for _ in range(BURST + 10):
            take_one(consumer)
        with log.consumer("one", group="g") as other:
            assert told == []
            consumer.poll(0, max_records=1)
            assert told == [{ONE, TopicPartition("one", 1)}]
            other.poll(0)


def test_stop_is_met_by_the_next_poll(log):
    with log.consumer("one", group="g") as consumer:
        take_one(consumer)
        consumer.stop()
        assert consumer.poll(0, max_records=1) == []


def test_a_topic_that_goes_is_met_by_the_next_poll(log):
    with log.consumer("one") as consumer:
        take_one(consumer)
        log.delete_topic("one")
        assert consumer.poll(0, max_records=1) == []


def test_a_look_that_was_interrupted_is_taken_again(log, monkeypatch):
    log.add_partitions("one", 2)
    with log.consumer("one", group="g") as consumer:
        for _ in range(BURST + 10):
            take_one(consumer)
        with log.consumer("one", group="g") as other:
            with monkeypatch.context() as interrupted:
                interrupted.setattr(Coordination, "sync", mock.Mock(side_effect=KeyboardInterrupt))
                with pytest.raises(KeyboardInterrupt):
                    consumer.poll(0)
            consumer.poll(0, max_records=1)
            other.poll(0)
            consumer.poll(0, max_records=1)
            assert len(consumer.assignment()) == len(other.assignment()) == 1

"""Ctrl-C anywhere inside a poll or an iteration: the group stays sound and no record is lost."""

import itertools

import pytest

from msglog import TopicPartition
from msglog.log.fetcher import Fetcher
from support.opcodes import Striker, Struck

FOLDER = "msglog/log/"
RECORDS = 20
STEP = 19


def drain(handed, consumers):
    for _ in range(30):
        for consumer in consumers:
            handed.update((record.partition, record.offset) for record in consumer.poll(0, max_records=5))


def poll(consumer):
    return consumer.poll(0, max_records=5)


def iterate(consumer):
    return itertools.islice(consumer.iter(0), 5)


def attempt(log, group, consume, assignor, strike_at):
    """Interrupt a poll in which partitions are revoked and assigned, and see that all goes on."""
    handed = set()
    striker = Striker(FOLDER, strike_at)
    options = {"group": group, "assignor": assignor, "auto_commit": True}
    with log.consumer("two", **options) as a:
        handed.update((record.partition, record.offset) for record in a.poll(0, max_records=5))
        with log.consumer("two", **options) as b:
            b.poll(0)
            try:
                with striker.striking():
                    for consumer in (a, b, a):
                        for record in consume(consumer):
                            handed.add((record.partition, record.offset))
            except Struck:
                assert not log.store.core.engine.lock.locked(), striker.place
            drain(handed, [a, b])
            shares = [a.assignment(), b.assignment()]
            assert sorted(map(len, shares)) == [1, 1], striker.place
            assert shares[0] | shares[1] == {TopicPartition("two", 0), TopicPartition("two", 1)}
    assert handed == {(partition, offset) for partition in (0, 1) for offset in range(RECORDS)}, striker.place
    return striker


@pytest.mark.parametrize("assignor", ["range", "cooperative-sticky"])
@pytest.mark.parametrize("consume", [poll, iterate])
def test_an_interrupt_anywhere(log, consume, assignor):
    for partition in (0, 1):
        log.append_many("two", [b"x"] * RECORDS, partition=partition)
    opcodes = attempt(log, "all", consume, assignor, Striker.NEVER).seen
    for at in range(0, opcodes, STEP):
        attempt(log, f"g{at}", consume, assignor, at)


def test_what_was_handed_out_does_not_come_again_after_an_interrupt_of_the_next_poll(log, monkeypatch):
    log.append_many("two", [b"x"] * 3, partition=0)

    def strike(_):
        raise Struck

    with log.consumer("two", group="g") as consumer:
        assert len(consumer.poll(0)) == 3
        with monkeypatch.context() as patch:
            patch.setattr(Fetcher, "finish_hand", strike)
            with pytest.raises(Struck):
                consumer.poll(0)
        assert consumer.poll(0) == []

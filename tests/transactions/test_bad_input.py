"""What no method takes: a typed error at once, nothing of the call is kept, and the transaction goes on."""

import pytest

import msglog
from msglog import (
    ClosedError,
    ExchangeNotFoundError,
    GroupError,
    InvalidNameError,
    InvalidOptionError,
    InvalidTypeError,
    PartitionNotFoundError,
    PreconditionFailedError,
    QueueNotFoundError,
    RecordTooLargeError,
    SettlementError,
    TopicNotFoundError,
    TopicPartition,
)
from support.brokers import take
from support.dumps import difference, dump

PARTITION = TopicPartition("t", 0)


class Kit:
    """A store, another one, and what belongs to each."""

    def __init__(self, store, other):
        self.store, self.other = store, other
        for one in (store, other):
            one.log.create_topic("t", partitions=2)
            one.log.append("t", b"1", partition=0)
            one.broker.declare_queue("q")
            one.broker.send("q", b"1")
        self.delivery, self.foreign_delivery = store.broker.get("q"), other.broker.get("q")
        self.sharing = [one.log.share_consumer("t", group="share") for one in (store, other)]
        (self.record,), (self.foreign_record,) = [one.poll(0) for one in self.sharing]
        self.member, self.foreign_member = [one.log.consumer("t", group="g") for one in (store, other)]
        self.closed_member = store.log.consumer("t", group="closed")
        self.closed_member.close()
        self.reader = store.log.consumer("t")
        worker = store.broker.consume("q")
        store.broker.send("q", b"2")
        (self.peeked,) = store.broker.peek("q")
        self.returned = worker.get(0)
        worker.close()
        closed_sharing = store.log.share_consumer("t", group="closed-share")
        (self.returned_record,) = closed_sharing.poll(0)
        closed_sharing.close()
        store.broker.declare_queue("gone")
        store.broker.send("gone", b"3")
        self.gone = store.broker.get("gone")
        store.broker.delete_queue("gone")

    def close(self):
        for one in (*self.sharing, self.member, self.foreign_member, self.reader):
            one.close()


@pytest.fixture(scope="module")
def kit():
    with msglog.Store(":memory:", max_record_bytes=1000) as store, msglog.Store(":memory:") as other:
        kit = Kit(store, other)
        yield kit
        kit.close()


def _many(*items):
    yield from items
    raise ZeroDivisionError


CALLS = {
    "topic's type": (lambda tx, _: tx.append(1, b""), (InvalidTypeError, InvalidNameError)),
    "topic that is not there": (lambda tx, _: tx.append("none", b""), TopicNotFoundError),
    "value's type": (lambda tx, _: tx.append("t", "text"), InvalidTypeError),
    "key's type": (lambda tx, _: tx.append("t", b"", key="text"), InvalidTypeError),
    "headers' type": (lambda tx, _: tx.append("t", b"", headers=[("a", 1)]), InvalidTypeError),
    "partition's type": (lambda tx, _: tx.append("t", b"", partition="0"), InvalidTypeError),
    "partition that is not there": (lambda tx, _: tx.append("t", b"", partition=2), PartitionNotFoundError),
    "negative timestamp": (lambda tx, _: tx.append("t", b"", timestamp_ms=-1), InvalidOptionError),
    "timestamp's type": (lambda tx, _: tx.append("t", b"", timestamp_ms=1.5), InvalidTypeError),
    "expected offset of no partition": (lambda tx, _: tx.append("t", b"", expected_offset=0), InvalidOptionError),
    "expected offset's type": (lambda tx, _: tx.append("t", b"", partition=0, expected_offset="0"), InvalidTypeError),
    "expected key offset without a key": (
        lambda tx, _: tx.append("t", b"", expected_key_offset=-1),
        InvalidOptionError,
    ),
    "record that is too large": (lambda tx, _: tx.append("t", b"v" * 2000), RecordTooLargeError),
    "sequence without a producer": (lambda tx, _: tx.append("t", b"", sequence=0), InvalidOptionError),
    "sequence's type": (lambda tx, _: tx.append("t", b"", sequence="0"), InvalidTypeError),
    "negative sequence": (lambda tx, _: tx.append("t", b"", sequence=-1), InvalidOptionError),
    "values' type": (lambda tx, _: tx.append_many("t", 1), InvalidTypeError),
    "one value that is none": (lambda tx, _: tx.append_many("t", [b"1", "2"]), InvalidTypeError),
    "values that fail": (lambda tx, _: tx.append_many("t", _many(b"1", b"2")), ZeroDivisionError),
    "keys of another number": (lambda tx, _: tx.append_many("t", [b"1", b"2"], keys=[b"k"]), InvalidOptionError),
    "first sequence without a producer": (
        lambda tx, _: tx.append_many("t", [b"1"], first_sequence=0),
        InvalidOptionError,
    ),
    "exchange that is not there": (lambda tx, _: tx.publish("none", "", b""), ExchangeNotFoundError),
    "exchange's type": (lambda tx, _: tx.publish(1, "", b""), InvalidTypeError),
    "routing key's type": (lambda tx, _: tx.publish("", 1, b""), InvalidTypeError),
    "routing key that is too long": (lambda tx, _: tx.publish("", "k" * 256, b""), InvalidOptionError),
    "body's type": (lambda tx, _: tx.publish("", "q", "text"), InvalidTypeError),
    "body that is too large": (lambda tx, _: tx.publish("", "q", b"v" * 2000), RecordTooLargeError),
    "message's headers": (lambda tx, _: tx.publish("", "q", b"", headers={"a": object()}), InvalidOptionError),
    "copies that are no list": (lambda tx, _: tx.publish("", "q", b"", headers={"CC": 1}), PreconditionFailedError),
    "priority": (lambda tx, _: tx.publish("", "q", b"", priority=256), InvalidOptionError),
    "expiration": (lambda tx, _: tx.publish("", "q", b"", expiration_ms=-1), InvalidOptionError),
    "negative delay of a message": (lambda tx, _: tx.publish("", "q", b"", delay_ms=-1), InvalidOptionError),
    "delay's type": (lambda tx, _: tx.publish("", "q", b"", delay_ms="1"), InvalidTypeError),
    "mandatory's type": (lambda tx, _: tx.publish("", "q", b"", mandatory=1), InvalidTypeError),
    "persistent's type": (lambda tx, _: tx.publish("", "q", b"", persistent="no"), InvalidTypeError),
    "properties' type": (lambda tx, _: tx.publish("", "q", b"", properties={}), InvalidTypeError),
    "queue that is not there": (lambda tx, _: tx.send("none", b""), QueueNotFoundError),
    "queue's type": (lambda tx, _: tx.send(1, b""), InvalidTypeError),
    "sent body's type": (lambda tx, _: tx.send("q", None), InvalidTypeError),
    "negative delay of what is sent": (lambda tx, _: tx.send("q", b"", delay_ms=-1), InvalidOptionError),
    "messages' type": (lambda tx, _: tx.publish_many("", 1), InvalidTypeError),
    "one message that is none": (lambda tx, _: tx.publish_many("", [("q", b"1"), b"2"]), InvalidTypeError),
    "one body among many": (lambda tx, _: tx.publish_many("", [("q", b"1"), ("q", "2")]), InvalidTypeError),
    "messages that fail": (lambda tx, _: tx.publish_many("", _many(("q", b"1"))), ZeroDivisionError),
    "one of many that is too large": (
        lambda tx, _: tx.publish_many("", [("q", b"1"), ("q", b"v" * 2000)]),
        RecordTooLargeError,
    ),
    "many to no exchange": (lambda tx, _: tx.publish_many("none", [("q", b"1")]), ExchangeNotFoundError),
    "delivery's type": (lambda tx, _: tx.ack(b"1"), InvalidTypeError),
    "no delivery": (lambda tx, _: tx.nack(None), InvalidTypeError),
    "a plain record": (lambda tx, kit: tx.ack(next(iter(kit.store.log.read("t", 0)))), InvalidTypeError),
    "a message that was peeked at": (lambda tx, kit: tx.reject(kit.peeked), InvalidTypeError),
    "delivery of another store": (lambda tx, kit: tx.ack(kit.foreign_delivery), SettlementError),
    "reject of another store's delivery": (lambda tx, kit: tx.reject(kit.foreign_delivery), SettlementError),
    "record of another store": (lambda tx, kit: tx.ack(kit.foreign_record), SettlementError),
    "release of another store's record": (lambda tx, kit: tx.nack(kit.foreign_record), SettlementError),
    "delivery of a deleted queue": (lambda tx, kit: tx.ack(kit.gone), SettlementError),
    "negative delay of a nack": (lambda tx, kit: tx.nack(kit.delivery, delay_ms=-1), InvalidOptionError),
    "delay of a nack": (lambda tx, kit: tx.nack(kit.delivery, delay_ms=None), InvalidTypeError),
    "endless delay": (lambda tx, kit: tx.nack(kit.delivery, delay_ms=1 << 60), InvalidOptionError),
    "requeue's type": (lambda tx, kit: tx.nack(kit.delivery, requeue=1), InvalidTypeError),
    "requeue's type for a record": (lambda tx, kit: tx.nack(kit.record, requeue=None), InvalidTypeError),
    "a record's negative delay": (lambda tx, kit: tx.nack(kit.record, delay_ms=-1), InvalidOptionError),
    "a record's delay's type": (lambda tx, kit: tx.nack(kit.record, delay_ms="soon"), InvalidTypeError),
    "closed consumer": (lambda tx, kit: tx.commit_offsets(kit.closed_member), ClosedError),
    "consumer without a group": (lambda tx, kit: tx.commit_offsets(kit.reader), GroupError),
    "consumer of another store": (lambda tx, kit: tx.commit_offsets(kit.foreign_member), InvalidOptionError),
    "share consumer": (lambda tx, kit: tx.commit_offsets(kit.sharing[0]), (InvalidTypeError, InvalidNameError)),
    "group's type": (lambda tx, _: tx.commit_offsets(5, {PARTITION: 0}), (InvalidTypeError, InvalidNameError)),
    "group's name": (lambda tx, _: tx.commit_offsets("", {PARTITION: 0}), InvalidNameError),
    "group without offsets": (lambda tx, _: tx.commit_offsets("h"), InvalidOptionError),
    "offsets' type": (lambda tx, _: tx.commit_offsets("h", [0]), InvalidTypeError),
    "negative offset": (lambda tx, _: tx.commit_offsets("h", {PARTITION: -1}), InvalidOptionError),
    "offset's type": (lambda tx, _: tx.commit_offsets("h", {PARTITION: b"0"}), InvalidTypeError),
    "partition of offsets": (lambda tx, _: tx.commit_offsets("h", {"t": 0}), (InvalidTypeError, InvalidOptionError)),
    "a consumer's offsets": (lambda tx, kit: tx.commit_offsets(kit.member, {PARTITION: -1}), InvalidOptionError),
    "a consumer's record": (lambda tx, kit: tx.commit_offsets(kit.member, b"record"), InvalidTypeError),
}


@pytest.mark.parametrize("name", CALLS)
def test_it_is_refused_and_nothing_of_it_is_kept(kit, name):
    call, error = CALLS[name]
    store = kit.store
    before = dump(store)
    with store.transaction() as tx:
        with pytest.raises(error) as caught:
            call(tx, kit)
        assert isinstance(caught.value, msglog.MsglogError | ZeroDivisionError)
        assert not difference(before, dump(store))
    assert tx.metadata == []
    assert not difference(before, dump(store))
    assert not kit.delivery.settled
    assert not kit.record.settled


@pytest.mark.parametrize("name", CALLS)
def test_the_transaction_goes_on(kit, name):
    call, error = CALLS[name]
    store = kit.store
    end = store.log.end_offset("t", 1)
    before = take(store.broker, "q")
    with store.transaction() as tx:
        tx.append("t", b"before", partition=1)
        tx.send("q", b"before")
        with pytest.raises(error):
            call(tx, kit)
        tx.append("t", b"after", partition=1)
        tx.send("q", b"after")
    assert [(one.partition, one.offset) for one in tx.metadata] == [(1, end), (1, end + 1)]
    assert take(store.broker, "q") == [b"before", b"after"]
    store.broker.publish_many("", [("q", body) for body in before])


def test_what_went_back_is_refused_when_it_is_left(kit):
    """It may have gone back at any moment, so that is told at the end."""
    for thing in (kit.returned, kit.returned_record):
        with pytest.raises(SettlementError), kit.store.transaction() as tx:
            tx.ack(thing)
        assert not thing.settled


def test_producers_that_it_does_not_take(kit):
    log = kit.store.log
    with kit.other.log.producer("p") as foreign, pytest.raises(InvalidOptionError, match="same store"):
        kit.store.transaction(producer=foreign)
    for wrong in ("p", 1, log):
        with pytest.raises(InvalidOptionError):
            kit.store.transaction(producer=wrong)
    closed = log.producer("closed")
    closed.close()
    with pytest.raises(ClosedError):
        kit.store.transaction(producer=closed)
    with log.producer("fenced") as old, log.producer("fenced"), pytest.raises(msglog.FencedError):
        kit.store.transaction(producer=old)


def test_errors_show_no_payloads(kit):
    with kit.store.transaction() as tx:
        for call in (
            lambda: tx.append("t", b"secret" * 300),
            lambda: tx.append("t", "secret"),
            lambda: tx.append("t", b"", key="secret"),
            lambda: tx.send("q", b"secret" * 300),
            lambda: tx.send("q", "secret"),
            lambda: tx.ack(b"secret"),
            lambda: tx.publish_many("", [b"secret"]),
        ):
            with pytest.raises(msglog.MsglogError) as caught:
                call()
            assert "secret" not in str(caught.value)
        assert "secret" not in repr(tx)

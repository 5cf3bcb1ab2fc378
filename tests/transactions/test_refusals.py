"""Every reason for which leaving a transaction is refused: a typed error, nothing left of it, and all goes on."""

import pytest

import msglog
from msglog import TopicPartition
from msglog.storage import planning
from support.brokers import take
from support.dumps import check_counts, difference, dump

# It is leaving the block that must raise, with all that is in it; and all cases have the same arguments.
# ruff: noqa: ARG001, PT012

PARTITION = TopicPartition("t", 0)


class Kit:
    """A store with something of every kind, and what a transaction could be made of in hand."""

    def __init__(self, store, clock):
        self.store, self.clock = store, clock
        self.log, self.broker = store.log, store.broker
        self.log.create_topic("t", partitions=2)
        self.log.create_topic("u")
        self.log.append_many("t", [b"0", b"1", b"2"], partition=0)
        self.log.append("u", b"0", key=b"k")
        for name in ("q", "dlq", "empty", "gone"):
            self.broker.declare_queue(name)
        self.broker.declare_queue("work", dead_letter_exchange="", dead_letter_routing_key="dlq")
        self.broker.declare_queue("full", max_length=1, overflow="reject-publish")
        self.broker.declare_exchange("e", "fanout")
        self.broker.bind("q", "e")
        self.broker.bind("gone", "e")
        self.broker.publish_many("", [("work", b"%d" % number) for number in range(4)])
        self.broker.send("gone", b"gone")
        self.broker.send("dlq", b"later", delay_ms=1_000_000)
        self.worker = self.broker.consume("work")
        self.deliveries = [self.worker.get(0) for _ in range(3)]
        self.other_worker = self.broker.consume("gone")
        self.gone = self.other_worker.get(0)
        self.member = self.log.consumer("t", group="g")
        assert len(self.member.poll(0)) == 3
        self.sharing = self.log.share_consumer("t", group="share")
        self.shared = self.sharing.poll(0, max_records=2)
        self.producer = self.log.producer("p")
        self.producer.append("u", b"p")
        self.others = []

    def stage(self, tx):
        """Put something of every kind into a transaction."""
        tx.append("t", b"a", partition=0)
        tx.append_many("u", [b"b", b"c"])
        tx.publish("e", "", b"d")
        tx.send("q", b"e")
        tx.send("dlq", b"f", delay_ms=1_000_001)
        tx.publish_many("", [("empty", b"g"), ("full", b"h")])
        first, second, third = self.deliveries
        tx.ack(first)
        tx.reject(second)
        tx.nack(third, delay_ms=5)
        one, other = self.shared
        tx.ack(one)
        tx.nack(other)
        tx.commit_offsets(self.member)

    def close(self):
        for one in (self.worker, self.other_worker, self.member, self.sharing, self.producer, *self.others):
            one.close()


@pytest.fixture
def kit(any_store, clock):
    kit = Kit(any_store, clock)
    yield kit
    kit.close()


def _offset_taken(kit, tx):
    tx.append("u", b"x", expected_offset=4)
    kit.log.append("u", b"first")


def _offset_never_there(kit, tx):
    tx.append("t", b"x", partition=1, expected_offset=9)


def _key_taken(kit, tx):
    tx.append("u", b"x", key=b"k", expected_key_offset=0)
    kit.log.append("u", b"first", key=b"k")


def _topic_deleted(kit, tx):
    tx.append("u", b"x")
    kit.log.delete_topic("u")


def _topic_deleted_and_made_anew(kit, tx):
    tx.append("u", b"x")
    kit.log.delete_topic("u")
    kit.log.create_topic("u")


def _topic_of_offsets_deleted(kit, tx):
    tx.commit_offsets("other", {TopicPartition("u", 0): 1})
    kit.log.delete_topic("u")


def _partition_never_there(kit, tx):
    tx.commit_offsets("other", {TopicPartition("t", 2): 0})


def _offset_beyond_the_end(kit, tx):
    tx.commit_offsets("other", {PARTITION: 4})


def _exchange_deleted(kit, tx):
    tx.publish("e", "x", b"x")
    kit.broker.delete_exchange("e")


def _exchange_of_a_delayed_message_deleted(kit, tx):
    kit.broker.declare_exchange("f", "fanout")
    kit.broker.bind("q", "f")
    tx.publish("f", "x", b"x", delay_ms=1_000_000)
    kit.broker.delete_exchange("f")


def _queue_deleted(kit, tx):
    tx.send("gone", b"x")
    kit.broker.delete_queue("gone")


def _unroutable(kit, tx):
    tx.publish("amq.direct", "nowhere", b"x", mandatory=True)


def _unroutable_later(kit, tx):
    kit.broker.bind("q", "amq.direct", "key")
    tx.publish("amq.direct", "key", b"x", mandatory=True, delay_ms=1_000_000)
    kit.broker.unbind("q", "amq.direct", "key")


def _unroutable_among_many(kit, tx):
    tx.publish_many("amq.topic", [("a", b"x"), ("b", b"y")], mandatory=True)


def _queue_full(kit, tx):
    kit.broker.send("full", b"first")


def _queue_full_by_the_transaction(kit, tx):
    tx.send("full", b"x")


def _consumer_closed(kit, tx):
    tx.ack(kit.gone)
    kit.other_worker.close()


def _consumer_closed_before_a_nack(kit, tx):
    tx.nack(kit.gone)
    kit.other_worker.close()


def _queue_of_a_delivery_deleted(kit, tx):
    tx.reject(kit.gone)
    kit.broker.delete_queue("gone")


def _taken_over(kit, tx):
    tx.ack(kit.gone)
    kit.other_worker.close()
    kit.kept = kit.broker.get("gone")
    assert kit.kept.redelivered


def _lock_expired(kit, tx):
    kit.clock.advance(ms=30_000)


def _share_consumer_closed(kit, tx):
    kit.sharing.close()


def _topic_of_a_share_record_deleted(kit, tx):
    kit.log.append("u", b"s")
    kit.other_sharing = kit.log.share_consumer("u", group="other-share")
    (record, *_) = kit.other_sharing.poll(0)
    tx.ack(record)
    kit.log.delete_topic("u")
    kit.other_sharing.close()


def _member_timed_out(kit, tx):
    silent = kit.log.consumer("u", group="h", max_poll_interval_ms=1000)
    kit.others.append(silent)
    assert len(silent.poll(0)) == 2
    tx.commit_offsets(silent)
    kit.clock.advance(ms=1000)


def _partitions_went_to_another_member(kit, tx):
    another = kit.log.consumer("t", group="g")
    kit.others.append(another)
    for consumer in (another, kit.member, another, kit.member):
        consumer.poll(0)
    assert another.assignment() == {TopicPartition("t", 1)}


def _stranger(kit, tx):
    kit.others.append(kit.log.consumer("t", group="g"))
    tx.commit_offsets(kit.others[0], {PARTITION: 1})


def _group_has_members(kit, tx):
    tx.commit_offsets("g", {PARTITION: 1})


def _group_of_share_consumers(kit, tx):
    tx.commit_offsets("share", {PARTITION: 1})


def _commit_too_large(kit, tx):
    kit.monkeypatch.setattr(planning, "MAX_COMMIT_BYTES", 1000)
    tx.publish("e", "", b"x" * 600)
    tx.publish("e", "", b"y" * 600)


CASES = [
    (_offset_taken, msglog.OffsetConflictError),
    (_offset_never_there, msglog.OffsetConflictError),
    (_key_taken, msglog.OffsetConflictError),
    (_topic_deleted, msglog.TopicNotFoundError),
    (_topic_deleted_and_made_anew, msglog.TopicNotFoundError),
    (_topic_of_offsets_deleted, msglog.TopicNotFoundError),
    (_partition_never_there, msglog.PartitionNotFoundError),
    (_offset_beyond_the_end, msglog.OffsetOutOfRangeError),
    (_exchange_deleted, msglog.ExchangeNotFoundError),
    (_exchange_of_a_delayed_message_deleted, msglog.ExchangeNotFoundError),
    (_queue_deleted, msglog.QueueNotFoundError),
    (_unroutable, msglog.UnroutableError),
    (_unroutable_later, msglog.UnroutableError),
    (_unroutable_among_many, msglog.UnroutableError),
    (_queue_full, msglog.PublishRejectedError),
    (_queue_full_by_the_transaction, msglog.PublishRejectedError),
    (_consumer_closed, msglog.SettlementError),
    (_consumer_closed_before_a_nack, msglog.SettlementError),
    (_queue_of_a_delivery_deleted, msglog.SettlementError),
    (_taken_over, msglog.SettlementError),
    (_lock_expired, msglog.SettlementError),
    (_share_consumer_closed, msglog.SettlementError),
    (_topic_of_a_share_record_deleted, (msglog.SettlementError, msglog.TopicNotFoundError)),
    (_member_timed_out, msglog.FencedError),
    (_partitions_went_to_another_member, msglog.FencedError),
    (_stranger, (msglog.FencedError, msglog.RebalanceError)),
    (_group_has_members, msglog.FencedError),
    (_group_of_share_consumers, msglog.GroupError),
    (_commit_too_large, msglog.TransactionTooLargeError),
]


@pytest.mark.parametrize(("spoil", "error"), CASES, ids=[spoil.__name__[1:] for spoil, _ in CASES])
def test_nothing_is_left_of_it(kit, monkeypatch, spoil, error):
    kit.monkeypatch = monkeypatch
    before = None
    tx = kit.store.transaction()
    with pytest.raises(error) as caught, tx:
        kit.stage(tx)
        spoil(kit, tx)
        before = dump(kit.store)
    monkeypatch.undo()
    assert not difference(before, dump(kit.store))
    assert caught.value.outcome == "not_applied"
    with pytest.raises(msglog.TransactionError):
        tx.metadata  # noqa: B018 it raises
    check_counts(kit.store)
    _everything_settles_as_if_nothing_had_been(kit)


def _everything_settles_as_if_nothing_had_been(kit):
    first, second, third = kit.deliveries
    assert not any(delivery.settled for delivery in kit.deliveries)
    with kit.store.transaction() as tx:
        tx.append("t", b"again", partition=0)
        tx.send("q", b"again")
        tx.ack(first)
    assert kit.log.read("t", 0, start=tx.metadata[0].offset).__next__().value == b"again"
    assert take(kit.broker, "q") == [b"again"]
    second.reject()
    assert [message.body for message in kit.broker.peek("dlq")] == [b"1"]
    third.nack()
    assert kit.worker.get(0).body == b"2"
    check_counts(kit.store)


def test_the_same_transaction_without_an_obstacle_is_done(kit):
    with pytest.raises(msglog.OffsetConflictError), kit.store.transaction() as tx:
        kit.stage(tx)
        tx.append("t", b"x", partition=0, expected_offset=3)  # the transaction itself has offset 3
    before = kit.store.core.engine.commit_number
    with kit.store.transaction() as tx:
        kit.stage(tx)
        tx.append("t", b"x", partition=0, expected_offset=4)
    assert kit.store.core.engine.commit_number == before + 1
    assert [(one.topic, one.offset) for one in tx.metadata] == [("t", 3), ("u", 2), ("u", 3), ("t", 4)]
    assert take(kit.broker, "q") == [b"d", b"e"]
    assert take(kit.broker, "empty") == [b"g"]
    assert take(kit.broker, "full") == [b"h"]
    assert take(kit.broker, "dlq") == [b"1"]
    assert kit.log.describe_group("g").offsets[PARTITION] == 3
    assert kit.log.describe_group("share").offsets == {PARTITION: 1, TopicPartition("t", 1): 0}
    again = kit.sharing.poll(0)
    assert [(record.offset, record.delivery_count) for record in again] == [(1, 2), (2, 1), (3, 1), (4, 1)]
    assert kit.worker.get(0).body == b"3"
    kit.clock.advance(ms=5)
    assert kit.worker.get(0).body == b"2"
    kit.clock.advance(ms=1_000_000)
    assert take(kit.broker, "dlq") == [b"later", b"f"]
    check_counts(kit.store)


@pytest.mark.parametrize("fence", ["holder", "gap"])
def test_a_producer_that_may_not(kit, fence):
    store, producer = kit.store, kit.producer
    error = msglog.FencedError if fence == "holder" else msglog.GroupError
    with pytest.raises(error), store.transaction(producer=producer) as tx:
        kit.stage(tx)
        if fence == "holder":
            kit.log.producer("p").close()
        else:
            tx.append("u", b"x", sequence=100)
        before = dump(store)
    assert not difference(before, dump(store))
    if fence == "holder":
        with pytest.raises(msglog.FencedError):
            store.transaction(producer=producer)
    else:
        with store.transaction(producer=producer) as tx:
            kit.stage(tx)
        assert producer.last_sequence == 3
    _everything_settles_as_if_nothing_had_been(kit) if fence == "holder" else check_counts(store)


def test_a_fenced_producer_may_not_commit_even_what_needs_no_number(kit):
    with pytest.raises(msglog.FencedError), kit.store.transaction(producer=kit.producer) as tx:
        tx.send("q", b"x")
        tx.ack(kit.deliveries[0])
        kit.log.producer("p").close()
        before = dump(kit.store)
    assert not difference(before, dump(kit.store))
    kit.deliveries[0].ack()


def test_a_purge_in_between_leaves_what_is_in_hand(kit):
    with kit.store.transaction() as tx:
        tx.ack(kit.deliveries[0])
        assert kit.broker.purge_queue("work") == 1
    assert kit.deliveries[0].settled
    check_counts(kit.store)
    kit.worker.close()
    assert take(kit.broker, "work") == [b"1", b"2"]


def test_the_first_refusal_is_told(kit):
    """Settlements come before publications, the broker before the log."""
    with pytest.raises(msglog.SettlementError), kit.store.transaction() as tx:
        tx.append("t", b"x", partition=0, expected_offset=0)
        tx.publish("amq.direct", "nowhere", b"x", mandatory=True)
        tx.ack(kit.gone)
        kit.other_worker.close()


def test_refusals_say_what_stood_in_the_way(kit):
    with pytest.raises(msglog.OffsetConflictError) as caught, kit.store.transaction() as tx:
        tx.append("t", b"secret", partition=0, expected_offset=1)
    error = caught.value
    assert (error.topic, error.partition, error.expected, error.actual) == ("t", 0, 1, 3)
    with pytest.raises(msglog.PublishRejectedError) as rejected, kit.store.transaction() as tx:
        tx.send("full", b"secret")
        tx.send("full", b"secret")
    assert rejected.value.queues == ("full",)
    with pytest.raises(msglog.UnroutableError) as unroutable, kit.store.transaction() as tx:
        tx.publish("amq.direct", "nowhere", b"secret", mandatory=True)
    assert (unroutable.value.exchange, unroutable.value.routing_key) == ("amq.direct", "nowhere")
    for one in (error, rejected.value, unroutable.value):
        assert "secret" not in str(one)

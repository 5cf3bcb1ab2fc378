"""The broker's rules inside of a transaction: they are those outside of it."""

# It is leaving the block that must raise, with all that is in it.
# ruff: noqa: PT012

import pytest

import msglog
from msglog import Message, Properties
from support.brokers import DEAD_LETTERED, ready, take, take_deliveries, take_one
from support.dumps import check_counts


@pytest.fixture
def b(any_store):
    """A broker with queues `q`, `dlq` and `dying`, whose dead letters go to `dlq`."""
    broker = any_store.broker
    broker.declare_queue("q")
    broker.declare_queue("dlq")
    broker.declare_queue("dying", **DEAD_LETTERED)
    yield broker
    check_counts(any_store)


def _deaths(delivery):
    return [(death["queue"], death["reason"], death["count"]) for death in delivery.headers["x-death"]]


def test_a_queues_time_to_live_counts_from_the_commit(any_store, b, clock):
    b.declare_queue("brief", message_ttl_ms=50, **DEAD_LETTERED)
    with any_store.transaction() as tx:
        tx.send("brief", b"1")
        clock.advance(ms=49)
    clock.advance(ms=49)
    assert ready(b, "brief") == 1
    clock.advance(ms=1)
    assert ready(b, "brief") == 0
    assert _deaths(take_one(b, "dlq")) == [("brief", "expired", 1)]


def test_a_messages_time_to_live(any_store, b, clock):
    with any_store.transaction() as tx:
        tx.send("dying", b"1", expiration_ms=20)
        tx.publish("", "dying", b"2", properties=Properties(expiration="10"))
        tx.publish_many("", [Message(b"3", routing_key="dying", properties=Properties(expiration="500"))])
    clock.advance(ms=20)
    assert [message.body for message in b.peek("dlq")] == [b"1", b"2"]
    clock.advance(ms=480)
    assert take(b, "dlq") == [b"1", b"2", b"3"]


def test_one_without_time_to_live_is_dead_lettered_in_the_same_commit(any_store, b):
    before = any_store.core.engine.commit_number
    with any_store.transaction() as tx:
        tx.send("dying", b"1", expiration_ms=0)
    assert any_store.core.engine.commit_number == before + 1
    assert _deaths(take_one(b, "dlq")) == [("dying", "expired", 1)]


def test_priorities(any_store, b):
    b.declare_queue("ranked", max_priority=5)
    with any_store.transaction() as tx:
        for priority in (1, 5, 0, 9, None, 3):
            tx.send("ranked", b"%r" % priority if priority is None else b"%d" % priority, priority=priority)
    assert take(b, "ranked") == [b"5", b"9", b"3", b"1", b"0", b"None"]


def test_delays_count_from_the_commit(any_store, b, clock):
    with any_store.transaction() as tx:
        tx.send("q", b"2", delay_ms=20)
        tx.publish("", "q", b"1", delay_ms=10)
        tx.send("q", b"0")
        clock.advance(ms=100)
    assert take(b, "q") == [b"0"]
    clock.advance(ms=9)
    assert take(b, "q") == []
    clock.advance(ms=11)
    assert take(b, "q") == [b"1", b"2"]


def test_a_reject_goes_to_the_dead_letter_queue_in_the_same_commit(any_store, b):
    b.send("dying", b"1", headers={"a": 1})
    delivery = b.get("dying")
    before = any_store.core.engine.commit_number
    with any_store.transaction() as tx:
        tx.reject(delivery)
    assert any_store.core.engine.commit_number == before + 1
    dead = take_one(b, "dlq")
    assert (dead.body, dead.headers["a"], _deaths(dead)) == (b"1", 1, [("dying", "rejected", 1)])
    assert ready(b, "dying") == 0


def test_a_nack_without_requeue_is_a_reject(any_store, b):
    b.send("dying", b"1")
    delivery = b.get("dying")
    with any_store.transaction() as tx:
        tx.nack(delivery, requeue=False)
    assert delivery.settled
    assert _deaths(take_one(b, "dlq")) == [("dying", "rejected", 1)]


def test_a_dead_letter_that_comes_back_counts_its_deaths(any_store, b):
    """Out to a queue with a time to live, and back: twice."""
    b.declare_queue("there", dead_letter_exchange="", dead_letter_routing_key="back")
    b.declare_queue("back", dead_letter_exchange="", dead_letter_routing_key="there")
    b.send("there", b"1")
    for queue in ("there", "back", "there", "back"):
        delivery = b.get(queue)
        with any_store.transaction() as tx:
            tx.reject(delivery)
    there = take_one(b, "there")
    assert sorted(_deaths(there)) == [("back", "rejected", 2), ("there", "rejected", 2)]


def test_a_dead_letter_queue_that_is_full_loses_it(any_store, b):
    b.declare_queue("tiny", max_length=1, overflow="reject-publish")
    b.declare_queue("mine", dead_letter_exchange="", dead_letter_routing_key="tiny")
    for body in (b"1", b"2"):
        b.send("mine", body)
    deliveries = [b.get("mine"), b.get("mine")]
    with any_store.transaction() as tx:
        for delivery in deliveries:
            tx.reject(delivery)
    assert take(b, "tiny") == [b"1"]
    assert take(b, "mine") == []


def test_a_delivery_limit_counts_what_is_given_back(any_store, b):
    b.declare_queue("poison", delivery_limit=2, **DEAD_LETTERED)
    b.send("poison", b"1")
    for earlier in (0, 1, 2):
        delivery = b.get("poison")
        assert delivery.delivery_count == earlier
        with any_store.transaction() as tx:
            tx.nack(delivery)
        assert delivery.settled
    assert b.get("poison") is None
    assert _deaths(take_one(b, "dlq")) == [("poison", "delivery_limit", 1)]


def test_what_is_given_back_has_its_place_again(any_store, b):
    for body in (b"1", b"2", b"3"):
        b.send("q", body)
    deliveries = [b.get("q"), b.get("q")]
    with any_store.transaction() as tx:
        tx.nack(deliveries[1])
        tx.nack(deliveries[0])
        tx.send("q", b"4")
    found = take_deliveries(b, "q")
    assert [(one.body, one.redelivered) for one in found] == [(b"1", True), (b"2", True), (b"3", False), (b"4", False)]


def test_a_delayed_nack_comes_back_later(any_store, b, clock):
    b.send("q", b"1")
    delivery = b.get("q")
    with any_store.transaction() as tx:
        tx.nack(delivery, delay_ms=10)
        clock.advance(ms=50)
    assert delivery.settled
    clock.advance(ms=9)
    assert b.get("q") is None
    clock.advance(ms=1)
    assert take(b, "q") == [b"1"]


def test_carbon_copies(any_store, b):
    for name in ("to", "cc", "bcc"):
        b.declare_queue(name)
    with any_store.transaction() as tx:
        tx.publish("", "to", b"1", headers={"CC": ["cc"], "BCC": ["bcc"]})
    for name in ("to", "cc", "bcc"):
        copy = take_one(b, name)
        assert (copy.body, copy.headers) == (b"1", {"CC": ["cc"]})


def test_an_alternate_exchange(any_store, b):
    b.declare_exchange("rest", "fanout")
    b.declare_exchange("first", "direct", alternate_exchange="rest")
    b.bind("q", "rest")
    with any_store.transaction() as tx:
        tx.publish("first", "nowhere", b"1", mandatory=True)
    assert take(b, "q") == [b"1"]


def test_a_headers_exchange(any_store, b):
    b.bind("q", "amq.headers", arguments={"x-match": "any", "kind": "a", "size": 2})
    with any_store.transaction() as tx:
        tx.publish("amq.headers", "", b"1", headers={"kind": "a"})
        tx.publish("amq.headers", "", b"2", headers={"kind": "b"})
        tx.publish_many("amq.headers", [Message(b"3", headers={"size": 2})])
    assert take(b, "q") == [b"1", b"3"]


def test_exchanges_bound_to_exchanges(any_store, b):
    b.declare_exchange("source", "topic")
    b.declare_exchange("destination", "fanout")
    b.bind_exchange("destination", "source", "a.*")
    b.bind("q", "destination")
    b.bind("q", "source", "#")
    with any_store.transaction() as tx:
        tx.publish("source", "a.b", b"1")
        tx.publish("source", "b", b"2")
    assert take(b, "q") == [b"1", b"2"]


def test_routing_is_decided_when_it_is_left(any_store, b):
    with any_store.transaction() as tx:
        tx.publish("amq.direct", "key", b"1", mandatory=True)
        b.bind("q", "amq.direct", "key")
        b.bind("dlq", "amq.direct", "key")
        tx.publish("amq.direct", "key", b"2")
        b.unbind("dlq", "amq.direct", "key")
    assert take(b, "q") == [b"1", b"2"]
    assert take(b, "dlq") == []


def test_an_internal_exchange_takes_nothing(any_store, b):
    b.declare_exchange("inside", "fanout", internal=True)
    b.bind("q", "inside")
    with any_store.transaction() as tx:
        with pytest.raises(msglog.AccessRefusedError):
            tx.publish("inside", "", b"1")
        tx.send("q", b"2")
    assert take(b, "q") == [b"2"]


def test_the_longest_that_a_queue_may_get_drops_from_its_head(any_store, b):
    b.declare_queue("short", max_length=2, **DEAD_LETTERED)
    b.send("short", b"0")
    with any_store.transaction() as tx:
        for body in (b"1", b"2", b"3"):
            tx.send("short", body)
    assert take(b, "dlq") == [b"0", b"1"]
    assert take(b, "short") == [b"2", b"3"]


def test_a_limit_in_bytes_refuses(any_store, b):
    b.declare_queue("short", max_length_bytes=10, overflow="reject-publish")
    with any_store.transaction() as tx:
        tx.send("short", b"12345")
        tx.send("short", b"12345")
    with pytest.raises(msglog.PublishRejectedError), any_store.transaction() as tx:
        tx.send("short", b"1")
    assert take(b, "short") == [b"12345", b"12345"]


def test_what_a_transaction_settles_makes_no_room_for_what_it_sends(any_store, b):
    """As outside of it: messages in somebody's hand do not count for a queue's length."""
    b.declare_queue("one", max_length=1, overflow="reject-publish")
    b.send("one", b"1")
    delivery = b.get("one")
    with any_store.transaction() as tx:
        tx.ack(delivery)
        tx.send("one", b"2")
    assert take(b, "one") == [b"2"]


def test_a_refused_message_may_be_dead_lettered_only_with_the_rest(any_store, b):
    b.declare_queue("full", max_length=1, overflow="reject-publish-dlx", **DEAD_LETTERED)
    b.send("full", b"1")
    with pytest.raises(msglog.PublishRejectedError), any_store.transaction() as tx:
        tx.send("q", b"2")
        tx.send("full", b"3")
    assert [take(b, name) for name in ("full", "q", "dlq")] == [[b"1"], [], []]


def test_a_single_active_consumer(any_store, b):
    b.declare_queue("single", single_active_consumer=True)
    with b.consume("single", prefetch_count=1) as active, b.consume("single") as spare:
        with any_store.transaction() as tx:
            tx.publish_many("", [("single", b"1"), ("single", b"2")])
        first = active.get(0)
        assert spare.get(0) is None
        with any_store.transaction() as tx:
            tx.ack(first)
        assert active.get(0).body == b"2"
        assert spare.get(0) is None
        active.close()
        assert spare.get(0).redelivered


def test_transient_messages_and_queues(any_store, b):
    b.declare_queue("transient", durable=False)
    with any_store.transaction() as tx:
        tx.send("transient", b"1")
        tx.send("q", b"2", persistent=False)
        tx.publish("", "transient", b"3", persistent=False)
    delivery = b.get("transient")
    with any_store.transaction() as tx:
        tx.ack(delivery)
        tx.send("transient", b"4")
    assert (take(b, "transient"), take(b, "q")) == ([b"3", b"4"], [b"2"])


def test_several_deliveries_of_several_queues_and_consumers(any_store, b):
    for name in ("q", "dlq"):
        b.publish_many("", [(name, b"%d" % number) for number in range(5)])
    with b.consume("q") as one, b.consume("q") as other:
        mine = [one.get(0), one.get(0), other.get(0), other.get(0), b.get("dlq"), b.get("dlq")]
        with any_store.transaction() as tx:
            for delivery in (mine[3], mine[0], mine[5]):
                tx.ack(delivery)
        assert [delivery.settled for delivery in mine] == [True, False, False, True, False, True]
        mine[1].nack()
        mine[2].ack()
        mine[4].ack()
    assert take(b, "q") == [b"1", b"4"]
    assert take(b, "dlq") == [b"2", b"3", b"4"]


class TestShareGroups:
    @pytest.fixture
    def records(self, any_store):
        any_store.log.create_topic("t")
        any_store.log.append_many("t", [b"%d" % number for number in range(6)])
        with any_store.log.share_consumer("t", group="g", delivery_limit=2) as consumer:
            self.consumer = consumer
            yield consumer.poll(0, max_records=4)

    def test_each_way_to_settle(self, any_store, records):
        with any_store.transaction() as tx:
            tx.ack(records[1])
            tx.reject(records[3])
            tx.nack(records[0])
            tx.nack(records[2], requeue=False)
        assert all(record.settled for record in records)
        again = self.consumer.poll(0)
        assert [(record.offset, record.delivery_count) for record in again] == [(0, 2), (4, 1), (5, 1)]

    def test_the_last_delivery_is_settled_instead_of_released(self, any_store, records):
        with any_store.transaction() as tx:
            tx.nack(records[0])
        (again,) = self.consumer.poll(0, max_records=1)
        assert (again.offset, again.delivery_count) == (0, 2)
        with any_store.transaction() as tx:
            tx.nack(again)
        assert [record.offset for record in self.consumer.poll(0)] == [4, 5]

    def test_a_chain_of_two_topics(self, any_store, records):
        any_store.log.create_topic("out")
        for record in records:
            with any_store.transaction() as tx:
                tx.append("out", record.value * 2)
                tx.ack(record)
        assert [record.value for record in any_store.log.read("out")] == [b"00", b"11", b"22", b"33"]
        assert any_store.log.describe_group("g").lag == {msglog.TopicPartition("t", 0): 2}

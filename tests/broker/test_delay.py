"""Messages that are published now and come later."""

import pytest

from msglog import QueueNotFoundError, UnroutableError
from support.brokers import Call, queue_names, ready, send_all, take, take_one


def test_a_delayed_message_comes_when_it_is_due(broker, clock, q):
    assert broker.publish("", q, b"x", headers={"h": 1}, delay_ms=1000) == 1
    clock.advance(ms=999)
    assert ready(broker, q) == 0
    assert broker.get(q) is None
    clock.advance(ms=1)
    assert ready(broker, q) == 1
    delivery = take_one(broker, q)
    assert (delivery.body, delivery.headers, delivery.redelivered) == (b"x", {"h": 1}, False)
    assert delivery.timestamp_ms == clock.now_ms()


def test_no_delay_is_none(broker, q):
    broker.send(q, b"x", delay_ms=0)
    assert take(broker, q) == [b"x"]


def test_delayed_messages_come_in_the_order_in_which_they_are_due(any_broker, clock):
    any_broker.declare_queue("q")
    for body, delay_ms in (
        ("c", 3000),
        ("a", 1000),
        ("d", 3600_000),
        ("b", 2000),
        ("b again", 2000),
        ("e", 90_000_000),
    ):
        any_broker.send("q", body.encode(), delay_ms=delay_ms)
    clock.advance(seconds=2)
    assert take(any_broker, "q") == [b"a", b"b", b"b again"]
    clock.advance(seconds=1_000_000)
    assert take(any_broker, "q") == [b"c", b"d", b"e"]


def test_what_comes_later_stands_behind_what_is_there(broker, clock, q):
    broker.send(q, b"delayed", delay_ms=1000)
    broker.send(q, b"at once")
    clock.advance(seconds=1)
    broker.send(q, b"after")
    assert take(broker, q) == [b"at once", b"delayed", b"after"]


def test_many_delayed_messages(any_broker, clock):
    any_broker.declare_queue("q")
    delays = [number * 7919 % 1000 for number in range(400)]
    for number, delay_ms in enumerate(delays):
        any_broker.send("q", b"%d" % number, delay_ms=delay_ms)
    expected = sorted(range(400), key=lambda number: (delays[number], number))
    clock.advance(ms=499)
    early = [number for number in expected if delays[number] <= 499]
    late = [number for number in expected if delays[number] > 499]
    assert take(any_broker, "q") == [b"%d" % number for number in early]
    clock.advance(ms=501)
    assert take(any_broker, "q") == [b"%d" % number for number in late]


def test_the_way_is_chosen_at_publishing(broker, clock, q):
    broker.declare_queue("other")
    broker.declare_exchange("x", "fanout")
    broker.bind(q, "x")
    assert broker.publish("x", "k", b"x", delay_ms=1000) == 1
    broker.bind("other", "x")
    broker.unbind(q, "x")
    broker.delete_exchange("x")
    clock.advance(seconds=1)
    assert ready(broker, "other") == 0
    delivery = take_one(broker, q)
    assert (delivery.exchange, delivery.routing_key) == ("x", "k")


def test_a_delayed_message_goes_to_all_queues_it_is_routed_to(broker, clock):
    for queue in "abc":
        broker.declare_queue(queue)
        broker.bind(queue, "amq.fanout")
    assert broker.publish("amq.fanout", "", b"x", delay_ms=1000) == 3
    clock.advance(seconds=1)
    assert [take(broker, queue) for queue in "abc"] == [[b"x"]] * 3


def test_a_delayed_message_must_have_somewhere_to_go(broker, clock):
    assert broker.publish("", "missing", b"x", delay_ms=1000) == 0
    with pytest.raises(UnroutableError):
        broker.publish("", "missing", b"x", delay_ms=1000, mandatory=True)
    with pytest.raises(QueueNotFoundError):
        broker.send("missing", b"x", delay_ms=1000)
    broker.declare_queue("missing")
    clock.advance(seconds=1)
    assert ready(broker, "missing") == 0


def test_a_delayed_message_goes_with_its_queue(broker, clock, q):
    broker.declare_queue("other")
    for queue in (q, "other"):
        broker.bind(queue, "amq.fanout")
    broker.publish("amq.fanout", "", b"x", delay_ms=1000)
    broker.delete_queue(q)
    broker.declare_queue(q)
    clock.advance(seconds=1)
    assert ready(broker, q) == 0
    assert take(broker, "other") == [b"x"]


def test_a_delayed_message_wakes_who_waits(broker, clock, q):
    broker.send(q, b"x", delay_ms=60_000)
    with broker.consume(q) as consumer:
        call = Call(consumer.get).until_asleep()
        clock.advance(seconds=60)
        with call.result() as delivery:
            assert delivery.body == b"x"


def test_purging_leaves_what_is_not_there_yet(broker, clock, q):
    broker.send(q, b"later", delay_ms=1000)
    broker.send(q, b"now")
    assert broker.purge_queue(q) == 1
    clock.advance(seconds=1)
    assert take(broker, q) == [b"later"]


def test_a_message_returned_with_delay_is_not_lost_with_its_consumer(broker, clock, q):
    send_all(broker, q, b"1", b"2")
    with broker.consume(q) as consumer:
        consumer.get(0).nack(delay_ms=1000)
    assert ready(broker, q) == 1
    clock.advance(seconds=1)
    assert take(broker, q) == [b"1", b"2"]


def test_delays_of_a_deleted_queue_end_in_silence(broker, clock, q):
    broker.send(q, b"1")
    broker.get(q).nack(delay_ms=1000)
    broker.send(q, b"2", delay_ms=1000)
    broker.delete_queue(q)
    clock.advance(seconds=2)
    assert queue_names(broker) == set()
    broker.declare_queue(q)
    assert take(broker, q) == []

"""Taking single messages: get, its waiting, peek."""

import pytest

from msglog import Broker, ConsumerCancelledError, InvalidOptionError, InvalidTypeError, Message, QueueNotFoundError
from support.brokers import Call, info, ready, send_all, take


def test_nothing_to_get(broker, q):
    assert broker.get(q) is None
    assert broker.get(q, timeout=0) is None
    assert broker.get(q, timeout=0.01) is None


def test_get_leaves_the_message_unsettled(any_broker):
    any_broker.declare_queue("q")
    any_broker.send("q", b"x")
    delivery = any_broker.get("q")
    assert not delivery.settled
    assert (any_broker.get("q"), ready(any_broker, "q")) == (None, 0)
    delivery.ack()
    assert delivery.settled
    assert any_broker.get("q") is None


def test_get_waits_for_a_message(broker, q):
    call = Call(lambda: broker.get(q, timeout=10)).until_asleep()
    broker.send(q, b"x")
    delivery = call.result()
    assert delivery.body == b"x"
    delivery.ack()


def test_get_waits_for_ever_if_so_wished(broker, q):
    call = Call(lambda: broker.get(q, timeout=None, no_ack=True)).until_asleep()
    broker.send(q, b"x")
    assert call.result().body == b"x"


def test_get_waits_for_what_is_returned(broker, q):
    broker.send(q, b"x")
    held = broker.get(q)
    call = Call(lambda: broker.get(q, timeout=10, no_ack=True)).until_asleep()
    held.nack()
    assert call.result().redelivered


def test_get_waits_for_what_becomes_due(broker, clock, q):
    broker.send(q, b"x", delay_ms=1000)
    call = Call(lambda: broker.get(q, timeout=10, no_ack=True)).until_asleep()
    clock.advance(seconds=1)
    assert call.result().body == b"x"


def test_each_of_those_who_wait_gets_one(broker, q):
    calls = [Call(lambda: broker.get(q, timeout=10, no_ack=True)) for _ in range(4)]
    for call in calls:
        call.until_asleep()
    broker.publish_many("", [(q, b"%d" % number) for number in range(4)])
    assert sorted(call.result().body for call in calls) == [b"0", b"1", b"2", b"3"]


def test_deleting_the_queue_ends_the_wait(broker, q):
    call = Call(lambda: broker.get(q, timeout=10)).until_asleep()
    broker.delete_queue(q)
    with pytest.raises((QueueNotFoundError, ConsumerCancelledError)):
        call.result()


def test_what_is_taken_without_ack_is_gone(store):
    with Broker(store) as one:
        one.declare_queue("q")
        send_all(one, "q", b"1", b"2")
        assert one.get("q", no_ack=True).settled
        assert ready(one, "q") == 1
    assert take(store.broker, "q") == [b"2"]


def test_get_is_no_consumer(broker, q):
    broker.send(q, b"x")
    held = broker.get(q)
    assert info(broker, q).consumer_count == 0
    held.ack()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"timeout": -1}, InvalidOptionError),
        ({"timeout": float("nan")}, InvalidOptionError),
        ({"timeout": "1"}, InvalidTypeError),
        ({"timeout": True}, InvalidTypeError),
        ({"no_ack": 1}, InvalidTypeError),
        ({"queue": None}, InvalidTypeError),
        ({"queue": b"q"}, InvalidTypeError),
    ],
)
def test_bad_arguments_of_get(broker, q, options, error):
    broker.send(q, b"x")
    with pytest.raises(error):
        broker.get(**{"queue": q} | options)
    assert take(broker, q) == [b"x"]


# Peek


def test_peek_takes_nothing(any_broker):
    any_broker.declare_queue("q")
    send_all(any_broker, "q", *(b"%d" % number for number in range(20)), headers={"h": 1})
    messages = any_broker.peek("q")
    assert [message.body for message in messages] == [b"%d" % number for number in range(10)]
    assert all(isinstance(message, Message) and message.headers == {"h": 1} for message in messages)
    assert len(any_broker.peek("q", 3)) == 3
    assert len(any_broker.peek("q", limit=100)) == 20
    assert ready(any_broker, "q") == 20
    delivery = any_broker.get("q")
    assert (delivery.body, delivery.redelivered, delivery.delivery_count) == (b"0", False, 0)
    delivery.ack()


def test_peek_shows_what_get_would_give(broker, q):
    send_all(broker, q, b"1", b"2", b"3", b"4")
    held = [broker.get(q) for _ in range(3)]
    assert [message.body for message in broker.peek(q)] == [b"4"]
    held[1].nack()
    assert [message.body for message in broker.peek(q)] == [b"2", b"4"]
    held[0].nack()
    held[2].ack()
    assert [message.body for message in broker.peek(q)] == [b"1", b"2", b"4"]
    assert take(broker, q) == [b"1", b"2", b"4"]
    assert broker.peek(q) == []


def test_peek_shows_higher_priorities_first(broker):
    broker.declare_queue("q", max_priority=5)
    for priority in (1, 5, 0, 3, 5):
        broker.send("q", b"%d" % priority, priority=priority)
    assert [message.body for message in broker.peek("q", 4)] == [b"5", b"5", b"3", b"1"]
    assert take(broker, "q") == [b"5", b"5", b"3", b"1", b"0"]


def test_peek_shows_nothing_that_is_delayed(broker, clock, q):
    broker.send(q, b"later", delay_ms=1000)
    assert broker.peek(q) == []
    clock.advance(seconds=1)
    assert [message.body for message in broker.peek(q)] == [b"later"]


@pytest.mark.parametrize(
    ("limit", "error"), [(-1, InvalidOptionError), ("1", InvalidTypeError), (None, InvalidTypeError)]
)
def test_bad_limits_of_peek(broker, q, limit, error):
    with pytest.raises(error):
        broker.peek(q, limit)


def test_a_wait_does_not_keep_others_from_working(broker, q):
    call = Call(lambda: broker.get(q, timeout=10, no_ack=True)).until_asleep()
    broker.declare_queue("other")
    broker.send("other", b"y")
    assert take(broker, "other") == [b"y"]
    broker.send(q, b"x")
    assert call.result().body == b"x"

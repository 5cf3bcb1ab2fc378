"""Queues that are full. Rows 6, 25 to 29, and the detail on maximum lengths."""

import pytest

from msglog import PublishRejectedError
from support.brokers import DEAD_LETTERED, Call, hold, ready, send_all, take, take_deliveries, take_one


def deaths(broker):
    """Return (body, reason) of all dead letters."""
    return [(d.body, d.headers["x-death"][0]["reason"]) for d in take_deliveries(broker, "dlq")]


@pytest.fixture
def any_broker_with_dlq(any_broker):
    any_broker.declare_queue("dlq")
    return any_broker


def test_a_full_queue_drops_its_oldest(any_broker_with_dlq):
    broker = any_broker_with_dlq
    broker.declare_queue("q", max_length=2, **DEAD_LETTERED)
    send_all(broker, "q", b"1", b"2", b"3", b"4")
    assert deaths(broker) == [(b"1", "maxlen"), (b"2", "maxlen")]
    assert take(broker, "q") == [b"3", b"4"]


def test_only_what_is_ready_counts(broker, dlq):
    broker.declare_queue("q", max_length=2, **DEAD_LETTERED)
    send_all(broker, "q", b"0", b"1")
    held = hold(broker, "q", 2)
    send_all(broker, "q", b"2", b"3", b"4")
    assert (ready(broker, "q"), take(broker, dlq)) == (2, [b"2"])
    for delivery in held:
        delivery.nack()
    assert (ready(broker, "q"), take(broker, dlq)) == (2, [b"0", b"1"])
    assert take(broker, "q") == [b"3", b"4"]


def test_a_full_queue_may_refuse(any_broker):
    any_broker.declare_queue("q", max_length=2, overflow="reject-publish")
    send_all(any_broker, "q", b"1", b"2")
    for publish in (lambda: any_broker.send("q", b"3"), lambda: any_broker.publish("", "q", b"3")):
        with pytest.raises(PublishRejectedError) as caught:
            publish()
        assert "'q'" in str(caught.value)
    held = any_broker.get("q")
    any_broker.send("q", b"4")
    held.ack()
    assert take(any_broker, "q") == [b"2", b"4"]


def test_what_a_full_queue_refuses_may_be_a_dead_letter(broker, dlq):
    broker.declare_queue("q", max_length=1, overflow="reject-publish-dlx", **DEAD_LETTERED)
    broker.send("q", b"1")
    with pytest.raises(PublishRejectedError):
        broker.send("q", b"2")
    assert ready(broker, dlq) == 1
    assert deaths(broker) == [(b"2", "maxlen")]
    assert take(broker, "q") == [b"1"]


def test_a_refusal_alone_makes_no_dead_letter(broker, dlq):
    broker.declare_queue("q", max_length=1, overflow="reject-publish", **DEAD_LETTERED)
    broker.send("q", b"1")
    with pytest.raises(PublishRejectedError):
        broker.send("q", b"2")
    assert ready(broker, dlq) == 0


def test_a_queue_that_refuses_takes_back_what_it_gave(broker):
    broker.declare_queue("q", max_length=1, overflow="reject-publish")
    broker.send("q", b"1")
    held = broker.get("q")
    broker.send("q", b"2")
    held.nack()
    assert take(broker, "q") == [b"1", b"2"]


def test_no_room_at_all_drops_what_nobody_waits_for(broker, dlq):
    broker.declare_queue("q", max_length=0, **DEAD_LETTERED)
    broker.send("q", b"x")
    assert (ready(broker, "q"), take(broker, dlq)) == (0, [b"x"])


def test_no_room_at_all_is_enough_for_a_consumer_that_waits(broker):
    broker.declare_queue("q", max_length=0)
    with broker.consume("q") as consumer:
        call = Call(consumer.get).until_asleep()
        broker.send("q", b"x")
        delivery = call.result()
        assert delivery.body == b"x"
        delivery.ack()


def test_bytes_are_those_of_bodies(broker):
    broker.declare_queue("q", max_length_bytes=100)
    for number in range(4):
        broker.send("q", b"%d" % number * 40, headers={"h": "x" * 500})
    assert [body[:1] for body in take(broker, "q")] == [b"2", b"3"]


def test_bytes_may_be_used_up_exactly(broker):
    broker.declare_queue("q", max_length_bytes=100)
    send_all(broker, "q", b"a" * 60, b"b" * 40)
    assert ready(broker, "q") == 2
    broker.send("q", b"c")
    assert [body[:1] for body in take(broker, "q")] == [b"b", b"c"]


def test_a_body_larger_than_the_queue_goes_at_once(broker, dlq):
    broker.declare_queue("q", max_length_bytes=100, **DEAD_LETTERED)
    send_all(broker, "q", b"a", b"b" * 101)
    assert ready(broker, "q") == 0
    assert [len(body) for body in take(broker, dlq)] == [1, 101]


def test_bytes_in_hand_do_not_count(broker):
    broker.declare_queue("q", max_length_bytes=100)
    send_all(broker, "q", b"a" * 60)
    held = broker.get("q")
    send_all(broker, "q", b"b" * 60)
    assert ready(broker, "q") == 1
    held.nack()
    assert [body[:1] for body in take(broker, "q")] == [b"b"]


def test_both_limits_count(broker):
    broker.declare_queue("q", max_length=3, max_length_bytes=100)
    send_all(broker, "q", *(b"%d" % number for number in range(5)))
    assert ready(broker, "q") == 3
    broker.send("q", b"x" * 99)
    assert [body[:1] for body in take(broker, "q")] == [b"4", b"x"]


def test_bytes_may_be_refused(broker):
    broker.declare_queue("q", max_length_bytes=100, overflow="reject-publish")
    broker.send("q", b"a" * 100)
    with pytest.raises(PublishRejectedError):
        broker.send("q", b"b")
    assert take(broker, "q") == [b"a" * 100]


def test_a_body_that_would_be_too_many_bytes_is_refused(any_broker_with_dlq):
    broker = any_broker_with_dlq
    broker.declare_queue("q", max_length_bytes=10, overflow="reject-publish-dlx", **DEAD_LETTERED)
    broker.send("q", b"123456")
    with pytest.raises(PublishRejectedError):
        broker.send("q", b"12345")
    send_all(broker, "q", b"1234", b"")
    with pytest.raises(PublishRejectedError):
        broker.send("q", b"1")
    assert take(broker, "q") == [b"123456", b"1234", b""]
    assert deaths(broker) == [(b"12345", "maxlen"), (b"1", "maxlen")]


def test_what_one_commit_adds_counts_where_bytes_are_refused(broker):
    broker.declare_queue("q", max_length_bytes=10, overflow="reject-publish")
    with pytest.raises(PublishRejectedError):
        broker.publish_many("", [("q", body) for body in (b"123456", b"12345", b"1234")])
    assert take(broker, "q") == [b"123456", b"1234"]


def test_a_message_that_comes_back_to_a_full_queue_is_dropped_although_a_consumer_waits(any_broker_with_dlq):
    broker = any_broker_with_dlq
    broker.declare_queue("q", max_length=2, **DEAD_LETTERED)
    with broker.channel() as channel:
        channel.basic_qos(prefetch_count=1)
        channel.basic_consume("q")
        send_all(broker, "q", b"0", b"1", b"2")
        (delivery,) = channel.poll()
        channel.basic_nack(delivery.delivery_tag)
        assert [(event.body, event.redelivered) for event in channel.poll()] == [(b"1", False)]
        assert deaths(broker) == [(b"0", "maxlen")]


def test_a_full_queue_that_would_get_its_own_dead_letters_drops_them(broker):
    broker.declare_queue("q", max_length=2, dead_letter_exchange="")
    send_all(broker, "q", b"1", b"2", b"3", b"4")
    assert take(broker, "q") == [b"3", b"4"]


def test_many_at_once_leave_the_newest(any_broker_with_dlq):
    broker = any_broker_with_dlq
    broker.declare_queue("q", max_length=10, **DEAD_LETTERED)
    bodies = [b"%d" % number for number in range(500)]
    broker.publish_many("", [("q", body) for body in bodies])
    assert take(broker, "q") == bodies[-10:]
    assert take(broker, "dlq") == bodies[:-10]


def test_a_delayed_message_takes_room_when_it_is_due(broker, clock):
    broker.declare_queue("q", max_length=1)
    broker.send("q", b"later", delay_ms=1000)
    broker.send("q", b"now")
    assert ready(broker, "q") == 1
    clock.advance(seconds=1)
    assert take(broker, "q") == [b"later"]


def test_dropped_messages_keep_their_place_among_dead_letters(broker, dlq):
    broker.declare_queue("q", max_length=1, **DEAD_LETTERED)
    broker.send("q", b"1", headers={"h": 1})
    broker.send("q", b"2")
    letter = take_one(broker, dlq)
    assert (letter.body, letter.headers["h"], letter.routing_key, letter.redelivered) == (b"1", 1, dlq, False)

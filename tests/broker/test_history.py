"""Queues that remember what was acknowledged, and play it again."""

import pytest

from msglog import Broker, InvalidOptionError, InvalidTypeError, Message, Properties, QueueNotFoundError
from support.brokers import hold, ready, send_all, take, take_deliveries, take_one


@pytest.fixture
def remembering(broker):
    return broker.declare_queue("q", history_ms=3_600_000).name


def remembered(broker, queue="q", **options):
    return [message.body for message in broker.history(queue, **options)]


def test_what_was_acknowledged_is_remembered(any_broker):
    any_broker.declare_queue("q", history_ms=3_600_000)
    any_broker.send("q", b"x", headers={"h": 1}, properties=Properties(message_id="m"))
    (delivery,) = hold(any_broker, "q", 1)
    assert remembered(any_broker) == []
    delivery.ack()
    assert ready(any_broker, "q") == 0
    (message,) = any_broker.history("q")
    assert isinstance(message, Message)
    assert (message.body, message.headers, message.properties.message_id) == (b"x", {"h": 1}, "m")
    assert (message.exchange, message.routing_key, message.timestamp_ms) == ("", "q", delivery.timestamp_ms)


def test_history_is_in_the_order_of_the_queue(broker, remembering):
    send_all(broker, remembering, b"1", b"2", b"3", b"4", b"5")
    deliveries = hold(broker, remembering, 4)
    for place in (2, 0, 3):
        deliveries[place].ack()
    assert remembered(broker) == [b"1", b"3", b"4"]
    deliveries[1].ack()
    assert remembered(broker) == [b"1", b"2", b"3", b"4"]
    assert take(broker, remembering) == [b"5"]


def test_history_is_read_as_often_as_one_likes(broker, remembering):
    send_all(broker, remembering, b"1", b"2")
    take(broker, remembering)
    assert remembered(broker) == remembered(broker) == [b"1", b"2"]


def test_history_since_a_time(broker, clock, remembering):
    start_ms = clock.now_ms()
    for number in range(5):
        broker.send(remembering, b"%d" % number)
        clock.advance(ms=100)
    take(broker, remembering)
    assert remembered(broker, since_ms=start_ms) == [b"0", b"1", b"2", b"3", b"4"]
    assert remembered(broker, since_ms=start_ms + 200) == [b"2", b"3", b"4"]
    assert remembered(broker, since_ms=start_ms + 201) == [b"3", b"4"]
    assert remembered(broker, since_ms=start_ms + 401) == []


def test_history_up_to_a_number(broker, remembering):
    send_all(broker, remembering, *(b"%d" % number for number in range(5)))
    take(broker, remembering)
    assert remembered(broker, limit=2) == [b"0", b"1"]
    assert remembered(broker, limit=100) == [b"0", b"1", b"2", b"3", b"4"]


def test_history_is_forgotten_in_time(clock, tmp_path):
    with Broker(tmp_path / "s", sync="none", clock=clock, segment_bytes=1024) as broker:
        broker.declare_queue("q", history_ms=60_000)
        old = [b"old %d" % number for number in range(2000)]
        new = [b"new %d" % number for number in range(2000)]
        broker.publish_many("", [("q", body) for body in old])
        assert take(broker, "q") == old
        clock.advance(ms=59_999)
        assert remembered(broker) == old
        clock.advance(seconds=60)
        for body in new:
            broker.send("q", body)
        assert take(broker, "q") == new
        clock.advance(ms=59_999)
        assert remembered(broker)[-2000:] == new
        clock.advance(seconds=60)
        assert not set(old) & set(remembered(broker))


def test_messages_are_played_again(any_broker):
    any_broker.declare_queue("q", history_ms=3_600_000)
    for number in range(5):
        any_broker.send("q", b"%d" % number, headers={"number": number})
    deliveries = hold(any_broker, "q", 3)
    for delivery in deliveries:
        delivery.ack()
    assert any_broker.replay("q") == 3
    again = take_deliveries(any_broker, "q")
    assert [delivery.body for delivery in again] == [b"3", b"4", b"0", b"1", b"2"]
    assert [delivery.headers["number"] for delivery in again] == [3, 4, 0, 1, 2]


def test_a_part_is_played_again(broker, clock, remembering):
    start_ms = clock.now_ms()
    for number in range(5):
        broker.send(remembering, b"%d" % number)
        clock.advance(ms=100)
    take(broker, remembering)
    assert broker.replay(remembering, since_ms=start_ms + 100, until_ms=start_ms + 300) == 2
    assert take(broker, remembering) == [b"1", b"2"]
    assert broker.replay(remembering, since_ms=clock.now_ms() + 1) == 0
    assert ready(broker, remembering) == 0


def test_messages_are_played_to_another_queue(broker, remembering):
    broker.declare_queue("copy")
    broker.bind(remembering, "amq.topic", "#")
    broker.publish("amq.topic", "a.b", b"x", headers={"h": 1}, properties=Properties(message_id="m"))
    take(broker, remembering)
    assert broker.replay(remembering, to="copy") == 1
    assert ready(broker, remembering) == 0
    copy = take_one(broker, "copy")
    assert (copy.body, copy.headers, copy.properties.message_id, copy.queue) == (b"x", {"h": 1}, "m", "copy")
    assert remembered(broker) == [b"x"]


def test_nothing_is_played_to_a_queue_that_is_missing(broker, remembering):
    broker.send(remembering, b"x")
    take(broker, remembering)
    with pytest.raises(QueueNotFoundError) as caught:
        broker.replay(remembering, to="missing")
    assert caught.value.queue == "missing"
    assert ready(broker, remembering) == 0


def test_playing_again_is_one_after_the_other(broker, remembering):
    broker.publish_many("", [(remembering, b"%d" % number) for number in range(1500)])
    take(broker, remembering)
    assert broker.replay(remembering) == 1500
    assert take(broker, remembering) == [b"%d" % number for number in range(1500)]


def test_a_queue_that_keeps_no_history_says_so(broker, q):
    broker.send(q, b"x")
    take(broker, q)
    for look in (lambda: list(broker.history(q)), lambda: broker.replay(q)):
        with pytest.raises(InvalidOptionError, match="history"):
            look()


def test_history_goes_with_its_queue(broker, remembering):
    broker.send(remembering, b"x")
    take(broker, remembering)
    broker.delete_queue(remembering)
    broker.declare_queue(remembering, history_ms=1000)
    assert remembered(broker) == []


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda broker: list(broker.history("q", since_ms=-1)), InvalidOptionError),
        (lambda broker: list(broker.history("q", since_ms="0")), InvalidTypeError),
        (lambda broker: list(broker.history("q", limit=-1)), InvalidOptionError),
        (lambda broker: list(broker.history("q", limit=1.5)), InvalidTypeError),
        (lambda broker: list(broker.history(None)), InvalidTypeError),
        (lambda broker: broker.replay("q", since_ms=-1), InvalidOptionError),
        (lambda broker: broker.replay("q", until_ms="0"), InvalidTypeError),
        (lambda broker: broker.replay("q", to=5), InvalidTypeError),
        (lambda broker: broker.replay(b"q"), InvalidTypeError),
    ],
)
def test_bad_arguments(broker, remembering, call, error):
    broker.send(remembering, b"x")
    take(broker, remembering)
    with pytest.raises(error):
        call(broker)
    assert ready(broker, remembering) == 0

"""Consumers of a channel: pushing, taking turns, ending. Rows 22, 53, 58, 59, 62, 64 and 65."""

import re

import pytest

import msglog
from msglog import Cancelled, Deliver, Properties
from support.brokers import info, queue_names, ready, take
from support.channels import bodies, closing, deliveries, publish_all


@pytest.fixture
def q(ch):
    return ch.queue_declare("q").name


def test_messages_are_handed_out_before_anybody_polls(broker, ch, q):
    ch.basic_consume(q)
    publish_all(ch, q, b"1", b"2")
    assert ready(broker, q) == 0
    assert bodies(ch) == [b"1", b"2"]


def test_what_waits_is_handed_out_at_once(broker, ch, q):
    publish_all(ch, q, b"1", b"2")
    ch.basic_consume(q)
    assert ready(broker, q) == 0
    assert bodies(ch) == [b"1", b"2"]


def test_a_delivery_tells_all(ch, q):
    tag = ch.basic_consume(q, "mine")
    properties = Properties(message_id="m", headers={"a": 1})
    ch.basic_publish("", q, b"x", properties)
    assert ch.poll() == [Deliver("mine", 1, False, "", "q", properties, b"x", 0)]
    assert tag == "mine"


def test_a_repr_does_not_show_contents(ch, q):
    ch.basic_consume(q)
    ch.basic_publish("", q, b"secret", Properties(headers={"h": "secret"}))
    ch.basic_publish("", "nowhere", b"secret", mandatory=True)
    assert "secret" not in repr(ch.poll())
    ch.basic_recover()
    ch.basic_cancel(ch.consumer_tags[0])
    ch.basic_recover()
    assert "secret" not in repr(ch.basic_get(q))


def test_a_nameless_consumer_gets_a_tag(ch, q):
    first, second = ch.basic_consume(q), ch.basic_consume(q)
    assert re.fullmatch(r"amq\.ctag-[A-Za-z0-9_-]{22}", first)
    assert ch.consumer_tags == [first, second]


def test_a_tag_in_use_closes_the_connection(ch, other, q):
    ch.basic_consume(q, "t")
    other.basic_consume(q, "t")  # tags are the channel's
    with closing(ch, 530, "NOT_ALLOWED - attempt to reuse consumer tag 't'"):
        ch.basic_consume(q, "t")
    assert not other.is_open


def test_consumers_are_served_in_turn(ch, other, q):
    ch.basic_consume(q, "a", no_ack=True)
    other.basic_consume(q, "b", no_ack=True)
    ch.basic_consume(q, "c", no_ack=True)
    publish_all(ch, q, *(b"%d" % number for number in range(7)))
    assert [(event.consumer_tag, event.body) for event in ch.poll()] == [
        ("a", b"0"), ("c", b"2"), ("a", b"3"), ("c", b"5"), ("a", b"6"),
    ]  # fmt: skip
    assert bodies(other) == [b"1", b"4"]


def test_who_has_a_higher_priority_is_filled_first(ch, other, q):
    for channel in (ch, other):
        channel.basic_qos(prefetch_count=2)
    ch.basic_consume(q, arguments={"x-priority": -1})
    other.basic_consume(q, arguments={"x-priority": 1})
    publish_all(ch, q, *(b"%d" % number for number in range(5)))
    assert bodies(other) == [b"0", b"1"]
    assert bodies(ch) == [b"2", b"3"]
    other.basic_ack(1)
    assert bodies(other) == [b"4"]


@pytest.mark.parametrize(("priority", "kind"), [("1", "longstr"), (True, "bool"), (None, "void")])
def test_a_priority_must_be_a_number(ch, q, priority, kind):
    text = f"invalid arg 'x-priority' for queue 'q' in vhost '/': \"expected integer, got {kind}\""
    with closing(ch, 406, f"PRECONDITION_FAILED - {text}"):
        ch.basic_consume(q, arguments={"x-priority": priority})


def test_messages_handed_out_are_not_overtaken(ch):
    ch.queue_declare("q", arguments={"x-max-priority": 5})
    ch.basic_qos(prefetch_count=2)
    publish_all(ch, "q", b"low0", b"low1", b"low2")
    ch.basic_consume("q")
    ch.basic_publish("", "q", b"HIGH", Properties(priority=5))
    got = []
    while events := ch.poll(max_events=1):
        got.append(events[0].body)
        ch.basic_ack(events[0].delivery_tag)
    assert got == [b"low0", b"low1", b"HIGH", b"low2"]


def test_messages_without_ack_are_settled_when_they_are_handed_out(broker, ch, q):
    ch.basic_consume(q, no_ack=True)
    ch.basic_publish("", q, b"x")
    (event,) = ch.poll()
    with closing(ch, 406, f"PRECONDITION_FAILED - unknown delivery tag {event.delivery_tag}"):
        ch.basic_ack(event.delivery_tag)
    assert ready(broker, q) == 0


def test_after_cancel_nothing_more_comes_and_what_came_can_be_settled(broker, ch, q):
    tag = ch.basic_consume(q)
    publish_all(ch, q, b"1", b"2")
    (first,) = ch.poll(max_events=1)
    ch.basic_cancel(tag)
    ch.basic_publish("", q, b"3")
    assert (ready(broker, q), info(broker, q).consumer_count) == (1, 0)
    (second,) = ch.poll()
    assert (first.body, second.body) == (b"1", b"2")
    ch.basic_ack(first.delivery_tag)
    ch.basic_nack(second.delivery_tag)
    assert take(broker, q) == [b"2", b"3"]


def test_cancelling_an_unknown_tag_is_no_error(ch):
    ch.basic_cancel("unknown")
    assert ch.is_open


def test_a_cancelled_tag_can_be_used_again(ch, q):
    ch.basic_consume(q, "t")
    ch.basic_cancel("t")
    assert ch.basic_consume(q, "t") == "t"


@pytest.mark.parametrize("by", ["the channel", "another channel", "the broker"])
def test_deleting_the_queue_cancels_its_consumers(broker, ch, other, q, by):
    ch.basic_consume(q, "t")
    ch.basic_publish("", q, b"x")
    (event,) = ch.poll()
    {"the channel": ch.queue_delete, "another channel": other.queue_delete, "the broker": broker.delete_queue}[by](q)
    assert ch.poll() == [Cancelled("t")]
    assert ch.consumer_tags == []
    ch.basic_ack(event.delivery_tag)  # gone with its queue, which is no error
    assert ch.is_open


def test_what_became_of_messages_of_a_deleted_queue_is_no_error(ch, q):
    ch.basic_consume(q)
    publish_all(ch, q, b"1", b"2", b"3", b"4")
    ch.queue_delete(q)
    ch.basic_nack(1)
    ch.basic_reject(2, requeue=False)
    ch.basic_ack(3, multiple=True)
    ch.basic_recover()
    ch.queue_declare(q)
    assert ch.basic_get(q) is None


def test_an_exclusive_consumer_is_alone(ch, other, broker, q):
    tag = ch.basic_consume(q, exclusive=True)
    text = "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use"
    with closing(other, 403, text):
        other.basic_consume(q)
    ch.basic_cancel(tag)
    with broker.channel() as third:
        assert third.basic_consume(q)
        with closing(ch, 403, text):
            ch.basic_consume(q, exclusive=True)


def test_an_exclusive_consumer_does_not_keep_others_from_get(ch, broker, q):
    ch.basic_qos(prefetch_count=1)
    ch.basic_consume(q, exclusive=True)
    publish_all(ch, q, b"1", b"2", b"3")
    with broker.channel() as third:
        assert third.basic_get(q, no_ack=True).body == b"2"
    assert broker.get(q, no_ack=True).body == b"3"
    assert bodies(ch) == [b"1"]


def test_of_those_who_wait_for_their_turn_the_highest_priority_takes_over(ch, other, broker):
    ch.queue_declare("s", arguments={"x-single-active-consumer": True})
    tag = ch.basic_consume("s")
    other.basic_consume("s")
    with broker.channel() as third, broker.channel() as fourth:
        third.basic_consume("s", arguments={"x-priority": 10})
        fourth.basic_consume("s", arguments={"x-priority": 10})
        ch.basic_cancel(tag)
        publish_all(ch, "s", b"1", b"2")
        assert (bodies(other), bodies(third), bodies(fourth)) == ([], [b"1", b"2"], [])


def test_nobody_is_exclusive_where_one_consumer_is_active_at_a_time(ch):
    ch.queue_declare("s", arguments={"x-single-active-consumer": True})
    with closing(ch, 403, "ACCESS_REFUSED - queue 's' in vhost '/' in exclusive use"):
        ch.basic_consume("s", exclusive=True)


def test_a_single_active_consumer_gets_all_until_it_is_cancelled(ch, other):
    ch.queue_declare("s", arguments={"x-single-active-consumer": True})
    tag = ch.basic_consume("s")
    other.basic_consume("s", arguments={"x-priority": 10})
    publish_all(ch, "s", b"1", b"2")
    assert (bodies(ch), bodies(other)) == ([b"1", b"2"], [])
    ch.basic_cancel(tag)
    ch.basic_publish("", "s", b"3")
    assert (bodies(ch), bodies(other)) == ([], [b"3"])


def test_a_full_single_active_consumer_does_not_give_its_turn_away(ch, other):
    ch.queue_declare("s", arguments={"x-single-active-consumer": True})
    ch.basic_qos(prefetch_count=1)
    ch.basic_consume("s")
    other.basic_consume("s")
    publish_all(ch, "s", b"1", b"2")
    assert (bodies(ch), bodies(other)) == ([b"1"], [])
    ch.basic_ack(1)
    assert (bodies(ch), bodies(other)) == ([b"2"], [])
    ch.close()
    assert bodies(other) == [b"2"]


def test_no_local_is_ignored(ch, q):
    ch.basic_consume(q, no_local=True)
    ch.basic_publish("", q, b"x")
    assert bodies(ch) == [b"x"]


def test_a_channel_and_a_consumer_of_the_broker_share_a_queue(broker, ch, q):
    with broker.consume(q) as consumer:
        ch.basic_qos(prefetch_count=1)
        ch.basic_consume(q)
        publish_all(ch, q, b"1", b"2")
        (event,) = ch.poll()
        assert event.body == b"1"
        with consumer.get(0) as delivery:
            assert delivery.body == b"2"


def test_an_idle_channel_is_not_served_ahead_without_end(broker, ch, q):
    """A consumer without a limit is served ahead of `poll` by 1000 messages, and goes on when they are polled."""
    broker.publish_many("", [(q, b"%d" % number) for number in range(2500)])
    ch.basic_consume(q, no_ack=True)
    assert ready(broker, q) == 1500
    got = []
    while events := ch.poll(max_events=700):
        got += [int(event.body) for event in events]
    assert got == list(range(2500))
    assert ready(broker, q) == 0


def test_large_messages_are_counted_by_their_bytes(broker, ch, q):
    for _ in range(5):
        broker.send(q, bytes(3 << 20))
    ch.basic_consume(q)
    assert ready(broker, q) == 2
    assert [len(events) for events in iter(ch.poll, [])] == [3, 2]


def test_a_prefetch_is_kept_even_when_it_is_large(broker, ch, q):
    broker.publish_many("", [(q, b"") for _ in range(2500)])
    ch.basic_qos(prefetch_count=2000)
    ch.basic_consume(q)
    assert ready(broker, q) == 500


def test_consumers_count_for_their_queue(broker, ch, other, q):
    ch.basic_consume(q)
    other.basic_consume(q)
    assert info(broker, q).consumer_count == 2
    other.close()
    assert info(broker, q).consumer_count == 1


def test_expired_messages_are_not_handed_out(broker, clock, ch):
    ch.queue_declare("q", arguments={"x-message-ttl": 100})
    ch.basic_publish("", "q", b"old")
    clock.advance(ms=100)
    ch.basic_publish("", "q", b"new")
    ch.basic_consume("q")
    assert bodies(ch) == [b"new"]
    assert queue_names(broker) == {"q"}


def test_delayed_messages_are_pushed_when_they_are_due(broker, clock, ch, q):
    ch.basic_consume(q)
    broker.send(q, b"later", delay_ms=100)
    assert bodies(ch) == []
    clock.advance(ms=100)
    assert bodies(ch) == [b"later"]


def test_dead_letters_are_pushed(ch, other):
    ch.queue_declare("dlq")
    ch.queue_declare("q", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dlq"})
    other.basic_consume("dlq")
    ch.basic_publish("", "q", b"x")
    ch.basic_reject(ch.basic_get("q").delivery_tag, requeue=False)
    (event,) = deliveries(other)
    assert event.properties.headers["x-death"][0]["reason"] == "rejected"


def test_channels_have_numbers(store):
    with msglog.Broker(store) as broker, msglog.Broker(store) as another:
        channels = [broker.channel() for _ in range(5)]
        assert [channel.number for channel in channels] == [1, 2, 3, 4, 5]
        channels[1].close()
        channels += [broker.channel(), broker.channel(), another.channel()]
        assert [channel.number for channel in channels[5:]] == [2, 6, 1]

"""What channels once did wrong: events nobody heard of, consumers that were forgotten, ends that were interrupted."""

import pytest

import msglog
from msglog import ClosedError, Confirmed, Deliver, InvalidTypeError, Properties, Returned
from msglog.broker.channel import acknowledging
from msglog.broker.channel.inbox import MOST_AHEAD
from msglog.broker.settling import Settlement

REFUSING = {"x-max-length": 1, "x-overflow": "reject-publish"}


def _interrupted(call):
    """Return a function that does what `call` does, and is struck by Ctrl-C at its end the first time."""
    calls = []

    def struck(*arguments):
        result = call(*arguments)
        calls.append(arguments)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return result

    return struck


def test_poll_returns_all_there_is_when_several_refusals_came_together(ch):
    ch.queue_declare("full", arguments=REFUSING)
    ch.confirm_select()
    for _ in range(4):
        ch.basic_publish("", "full", b"x")
    ch.basic_publish("", "nowhere", b"y", mandatory=True)
    events = ch.poll()
    assert [event.ack for event in events if isinstance(event, Confirmed)] == [True, False, False, False, True]
    assert isinstance(events[4], Returned)
    assert ch.poll() == []


def test_a_confirm_that_waits_for_its_sync_is_announced_again_after_other_events_were_polled(tmp_path):
    with msglog.Broker(tmp_path / "store") as broker, broker.channel() as channel:
        calls = []
        channel.on_event = lambda: calls.append(None)
        channel.queue_declare("q", durable=True)
        channel.confirm_select()
        channel.basic_publish("", "nowhere", b"", mandatory=True)
        channel.basic_publish("", "q", b"x", Properties(delivery_mode=2))
        events = []
        while calls:  # one poll for each call
            calls.clear()
            events += channel.poll()
        assert [event.delivery_tag for event in events if isinstance(event, Confirmed)] == [1, 2]


def test_a_consumer_held_up_by_a_full_inbox_goes_on_when_that_was_emptied_by_rejecting(broker, ch):
    for name in ("many", "few"):
        broker.declare_queue(name)
    broker.publish_many("", [("many", b"x")] * MOST_AHEAD)
    ch.basic_consume("many")
    ch.basic_consume("few", no_ack=True)
    broker.send("few", b"waits")
    ch.basic_nack(0, multiple=True, requeue=False)
    assert [event.body for event in ch.poll()] == [b"waits"]


def test_what_came_before_the_error_that_closed_a_channel_can_still_be_polled(broker, ch):
    for name in ("q", "settled"):
        broker.declare_queue(name)
    ch.confirm_select()
    ch.basic_consume("settled", no_ack=True)
    ch.basic_consume("q")
    ch.basic_publish("", "settled", b"gone from its queue")
    ch.basic_publish("", "q", b"goes back")
    ch.basic_publish("", "nowhere", b"", mandatory=True)
    with pytest.raises(msglog.ExchangeNotFoundError):
        ch.basic_publish("missing", "q", b"")
    events = ch.poll()
    assert [event.body for event in events if isinstance(event, Deliver)] == [b"gone from its queue"]
    assert {type(event) for event in events} == {Deliver, Returned, Confirmed}
    with pytest.raises(ClosedError, match="no exchange 'missing'"):
        ch.poll()
    assert broker.get("q").body == b"goes back"


@pytest.mark.parametrize("exchange", ["", "amq.topic", "amq.direct", "amq.fanout"])
@pytest.mark.parametrize("key", [5, None, True, b"q", ["q"]])
def test_a_routing_key_of_another_type_is_refused_by_every_type_of_exchange(ch, exchange, key):
    with pytest.raises(InvalidTypeError, match="routing_key must be a str"):
        ch.basic_publish(exchange, key, b"x")
    assert ch.is_open


def test_closing_that_is_interrupted_leaves_nothing_in_hand_and_nobody_at_the_queues(broker, monkeypatch):
    for name in ("q", "r"):
        broker.declare_queue(name)
    broker.publish_many("", [("q", b"1"), ("q", b"2"), ("r", b"3")])
    channel = broker.channel()
    channel.basic_consume("q", exclusive=True)
    channel.basic_get("r")
    vhost = channel._vhost
    monkeypatch.setattr(vhost, "give_back", _interrupted(vhost.give_back))
    with pytest.raises(KeyboardInterrupt):
        channel.close()
    assert [(one.message_count, one.consumer_count) for one in broker.queues()] == [(2, 0), (1, 0)]
    assert [broker.get("q").body, broker.get("q").body, broker.get("r").body] == [b"1", b"2", b"3"]


def test_a_message_that_was_taken_when_its_get_was_interrupted_comes_back_with_the_close(broker, ch, monkeypatch):
    broker.declare_queue("q")
    broker.send("q", b"x")
    vhost = ch._vhost
    monkeypatch.setattr(vhost, "take", _interrupted(vhost.take))
    with pytest.raises(KeyboardInterrupt):
        ch.basic_get("q")
    ch.close()
    assert broker.get("q").body == b"x"


@pytest.mark.parametrize("transactional", [False, True])
def test_deliveries_that_were_taken_out_when_settling_was_interrupted_stay_with_the_channel(
    broker, ch, monkeypatch, transactional
):
    broker.declare_queue("q")
    broker.publish_many("", [("q", b"1"), ("q", b"2")])
    if transactional:
        ch.tx_select()
    for _ in range(2):
        ch.basic_get("q")

    def struck(subscriber, taken, outcome):
        if taken.stored.body == b"2":
            raise KeyboardInterrupt
        return Settlement(subscriber, taken, outcome)

    monkeypatch.setattr(acknowledging, "Settlement", struck)
    with pytest.raises(KeyboardInterrupt):
        ch.basic_ack(2, multiple=True)
    ch.close()
    assert [broker.get("q").body, broker.get("q").body] == [b"1", b"2"]

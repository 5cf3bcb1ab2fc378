"""An exception wherever a signal handler may raise one in a call of a channel: nobody sleeps on, nothing is held."""

from contextlib import suppress

import pytest

from msglog import Broker, Confirmed, Deliver
from support.opcodes import TELLS_RETURNS, Striker, Struck
from support.telling import tell

pytestmark = pytest.mark.skipif(not TELLS_RETURNS, reason="where handlers run is known of these versions")

BODIES = (b"1", b"2", b"3", b"4")


WORKS = {
    "ack": lambda channel: channel.basic_ack(1),
    "ack several": lambda channel: channel.basic_ack(2, multiple=True),
    "nack": lambda channel: channel.basic_nack(1),
    "reject": lambda channel: channel.basic_reject(1, requeue=False),
    "recover": lambda channel: channel.basic_recover(),
    "cancel": lambda channel: channel.basic_cancel("own"),
    "qos": lambda channel: channel.basic_qos(prefetch_count=4, global_qos=True),
    "commit": lambda channel: channel.tx_commit(),
    "rollback": lambda channel: channel.tx_rollback(),
    "get": lambda channel: channel.basic_get("q"),
    "consume": lambda channel: channel.basic_consume("q", "late"),
    "publish": lambda channel: channel.basic_publish("", "q", b"5"),
    "poll": lambda channel: channel.poll(),
    "poll one": lambda channel: channel.poll(max_events=1),
    "poll three": lambda channel: channel.poll(max_events=3),
    "close": lambda channel: channel.close(),
}


def tags(events):
    """Return the tags of deliveries, and what was confirmed."""
    found = set()
    for event in events if isinstance(events, list) else ():
        if isinstance(event, Deliver):
            found.add(event.delivery_tag)
        elif isinstance(event, Confirmed):
            found |= {
                f"confirm {tag}" for tag in range(1 if event.multiple else event.delivery_tag, event.delivery_tag + 1)
            }
    return found


def _interrupted(broker, name, at):
    """Interrupt a call, and see that whoever may have a message has it, as soon as those look who were woken."""
    broker.declare_queue("q")
    queue = broker._vhost.queues["q"]
    own, other = broker.channel(), broker.channel()
    own.basic_qos(prefetch_count=2, global_qos=name in ("qos", "ack", "commit"))
    own.basic_consume("q", "own")
    other.basic_qos(prefetch_count=1)
    for body in BODIES:
        broker.publish("", "q", body)
    seen = tags(own.poll())
    if name in ("commit", "rollback"):
        own.tx_select()
        own.basic_ack(1)
    other.basic_consume("q", "other")
    other.poll()
    if name.startswith("poll"):
        own.confirm_select()
        own.basic_ack(2, multiple=True)
        broker.publish("", "q", b"4")
        own.queue_declare("full", arguments={"x-max-length": 0, "x-overflow": "reject-publish"})
        for queue_name in ("q", "full", "q"):
            own.basic_publish("", queue_name, b"confirmed")
    striker = Striker("msglog/", at)
    with suppress(Struck), striker.striking():
        seen |= tags(WORKS[name](own))
    seen |= _look_at(own, other)
    for channel in (own, other):
        for consumer in channel._session.consumers.values():
            assert not (queue.ready() and consumer.may_take()), f"{consumer.tag} sleeps: {striker.place}"
    assert name == "get" or not own.is_open or seen >= own._session.unsettled.keys(), f"never seen: {striker.place}"
    if name.startswith("poll"):
        own.basic_publish("", "q", b"confirmed")
        seen |= tags(own.poll())
        assert seen >= {f"confirm {tag}" for tag in range(1, 5)}, striker.place
    _settle_all(own, other)
    assert queue.unsettled() == 0, f"held by nobody: {striker.place}"
    own.close()
    other.close()
    assert not queue.consumers, striker.place
    broker.delete_queue("q")
    return striker.seen


def _look_at(own, other):
    """Poll as their threads do: that of the one whose call was interrupted is awake, the other one has to be woken."""
    seen = set()
    while own.is_open and (events := own.poll()):
        seen |= tags(events)
    inbox = other._session.inbox
    while inbox.entries or inbox._announced:
        other.poll()
    return seen


def _settle_all(*channels):
    """Settle what the channels have."""
    for channel in channels:
        if channel.is_open:
            channel.basic_ack(0, multiple=True)
            if channel._session.transaction is not None:
                channel.tx_commit()
    for channel in channels:
        while channel.is_open and channel._session.unsettled:
            channel.poll()
            channel.basic_ack(0, multiple=True)
            if channel._session.transaction is not None:
                channel.tx_commit()


@pytest.mark.parametrize("name", WORKS)
def test_an_interrupt_wherever_it_strikes_leaves_nobody_asleep(name, record_property):
    with Broker(":memory:") as broker:
        _interrupted(broker, name, Striker.NEVER)
        places = _interrupted(broker, name, Striker.NEVER)
        for at in range(places):
            _interrupted(broker, name, at)
    tell(record_property, strikes=places)

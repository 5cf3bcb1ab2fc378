"""An exception wherever a signal handler may raise one: no call sleeps on that may have a message now."""

from contextlib import suppress

import pytest

from msglog import Broker
from msglog.broker.subscriber import Wait
from msglog.waiting import Waiter
from support.opcodes import TELLS_RETURNS, Striker, Struck
from support.telling import tell

pytestmark = pytest.mark.skipif(not TELLS_RETURNS, reason="where handlers run is known of these versions")


def ack(delivery, _consumer, _broker):
    delivery.ack()


def nack(delivery, _consumer, _broker):
    delivery.nack()


def reject(delivery, _consumer, _broker):
    delivery.reject()


def lose(delivery, _consumer, _broker):
    delivery.lose()


def ack_in_transaction(delivery, _consumer, broker):
    with broker.store.transaction() as tx:
        tx.ack(delivery)


def nack_in_transaction(delivery, _consumer, broker):
    with broker.store.transaction() as tx:
        tx.nack(delivery)


def close(_delivery, consumer, _broker):
    consumer.close()


def _interrupted(broker, work, at, options, **declared):
    """Interrupt what lets a call that waits have a message, and see that it is woken for it."""
    queue = broker._vhost.queues[broker.declare_queue("q", **declared).name]
    with broker.consume("q", **options) as first, broker.consume("q", **options) as second:
        for body in (b"one", b"two"):
            broker.publish("", "q", body)
        delivery = first.get(0)
        waiting = first if options else second  # for room, or for what comes back
        if not (options or declared):
            second.get(0)
        wait = Wait(waiting.subscriber, waiter := Waiter())
        waiting.taking.join(wait)
        assert wait.taken is None
        striker = Striker("msglog/", at)
        with suppress(Struck), striker.striking():
            work(delivery, first, broker)
        may_take = not queue.deleted and queue.ready() and wait.subscriber.has_room()
        woken = waiter.wait(0)
        assert woken or not may_take, striker.place
        if woken and not wait.subscriber.cancelled and wait.taken is None:
            waiting.taking.look(wait)
            assert wait.taken is not None or not (queue.ready() and wait.subscriber.has_room()), striker.place
        waiting.taking.leave(wait, keep=True)
    broker.delete_queue("q")
    return striker.seen


CASES = [
    (ack, {"prefetch_count": 1}, {}),
    (nack, {"prefetch_count": 1}, {}),
    (reject, {"prefetch_count": 1}, {}),
    (nack, {}, {}),
    (lose, {}, {}),
    (ack_in_transaction, {"prefetch_count": 1}, {}),
    (nack_in_transaction, {"prefetch_count": 1}, {}),
    (nack_in_transaction, {}, {}),
    (close, {}, {}),
    (close, {}, {"single_active_consumer": True}),
]


@pytest.mark.parametrize(("work", "options", "declared"), CASES)
def test_an_interrupt_wherever_it_strikes_leaves_nobody_asleep(work, options, declared, record_property):
    with Broker(":memory:") as broker:
        _interrupted(broker, work, Striker.NEVER, options, **declared)
        places = _interrupted(broker, work, Striker.NEVER, options, **declared)
        for at in range(places):
            _interrupted(broker, work, at, options, **declared)
    assert places > 30
    tell(record_property, strikes=places)

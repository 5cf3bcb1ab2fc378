"""An exception of a signal handler while a message is on its way from the queue to whoever called for it.

It does not stay in the hand of the consumer, or of the connection, until those are closed: the next call gets it, and
nobody has it in hand meanwhile.
"""

import asyncio
import os
import random
import sys
from contextlib import contextmanager, suppress
from unittest import mock

import pytest

import msglog
from msglog import aio, waiting
from msglog.aio.waiting import TaskWaiter
from support.opcodes import TELLS_RETURNS, Striker, Struck
from support.scale import stride
from support.telling import tell

pytestmark = pytest.mark.skipif(
    sys.implementation.name != "cpython" or not TELLS_RETURNS, reason="where handlers run is known of these versions"
)

FOLDER = os.path.join(os.path.dirname(msglog.__file__), "")
BODIES = [b"1", b"2", b"3"]
QUEUES = {
    "plain": {},
    "counted": {"delivery_limit": 3},
    "ranked": {"max_priority": 3},
    "passing": {"message_ttl_ms": 60_000},
}


class Taker:
    """Takes messages one by one; by `wait` it sleeps until there is one."""

    def __init__(self, store):
        self.broker = store.broker

    def take(self):
        return self.broker.get("q")

    def wait(self):
        return self.broker.get("q", timeout=5)

    def close(self):
        pass


class Consuming(Taker):
    """The same by a consumer that may have one message in hand."""

    def __init__(self, store):
        super().__init__(store)
        self.consumer = store.broker.consume("q", prefetch_count=1)

    def take(self):
        return self.consumer.get(0)

    def wait(self):
        return next(iter(self.consumer))

    def close(self):
        self.consumer.close()


class InATask(Taker):
    """The same in a task."""

    def __init__(self, store):
        super().__init__(store)
        self.own = aio.Broker(store)

    def take(self):
        return step(self.own.get("q"))

    def wait(self):
        return step(self.own.get("q", timeout=5))


class ConsumingInATask(Taker):
    """The same by a consumer for tasks."""

    def __init__(self, store):
        super().__init__(store)
        self.consumer = aio.Store(store).broker.consume("q", prefetch_count=1)

    def take(self):
        return step(self.consumer.get(0))

    def wait(self):
        return step(self.consumer.get(5))

    def close(self):
        self.consumer.sync.close()


def step(coroutine):
    """Run a coroutine that finds what it waits for."""
    try:
        coroutine.send(None)
    except StopIteration as result:
        return result.value
    finally:
        coroutine.close()
    raise AssertionError("it waits")


class Bringing:
    """What a call sleeps on, as long as the block lasts: once it sleeps, there is what it waits for."""

    def __init__(self, broker):
        self._broker = broker
        self._brought = False
        self._wait = waiting.Waiter.wait

    def bring(self):
        """Publish everything, once, without being struck."""
        before, _ = sys.gettrace(), sys.settrace(None)
        for body in BODIES if not self._brought else ():
            self._broker.send("q", body)
        self._brought = True
        sys.settrace(before)

    @contextmanager
    def when_it_sleeps(self):
        """Bring it then."""

        def wait(waiter, seconds):
            self.bring()
            return self._wait(waiter, seconds)

        async def wait_in_a_task(_waiter, _seconds):
            self.bring()

        with mock.patch.object(waiting.Waiter, "wait", wait), mock.patch.object(TaskWaiter, "wait", wait_in_a_task):
            yield


def attempt(kind, options, at, *, waits):
    """Strike one call, and take all that is there then; return the striker."""
    striker, delivery = Striker(FOLDER, at), None
    with msglog.Store(":memory:") as store:
        store.broker.declare_queue("q", **options)
        taker = kind(store)
        store.broker.send("q", b"0")
        taker.take().ack()  # now all is made that the first call makes
        bringing = Bringing(store.broker)
        if not waits:
            bringing.bring()
        with suppress(Struck), bringing.when_it_sleeps(), striker.striking():
            delivery = taker.wait() if waits else taker.take()
        bringing.bring()
        bodies = []
        while delivery is not None or (delivery := taker.take()) is not None:
            bodies.append(delivery.body)
            delivery.ack()
            delivery = None
        taker.close()
    assert bodies == BODIES, f"struck at {striker.place} (number {at})"
    return striker


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # struck between its call and its await
@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("queue", QUEUES)
@pytest.mark.parametrize("kind", [Taker, Consuming, InATask, ConsumingInATask])
def test_what_an_interrupted_call_has_taken_comes_with_the_next(kind, queue, waits, record_property):
    async def main():
        places = attempt(kind, QUEUES[queue], Striker.NEVER, waits=waits).seen
        every = 1 if queue == "plain" else stride(5)
        tried = range(random.Random(places).randrange(min(every, places)), places, every)
        for at in tried:
            attempt(kind, QUEUES[queue], at, waits=waits)
        tell(record_property, strikes=len(tried), places=places)
        assert tried

    asyncio.run(main())  # those for tasks need a loop


def publish_to_channel(at):
    """Strike a publication that goes on to a channel's consumer, and see what that gets; return the striker."""
    striker = Striker(FOLDER, at)
    with msglog.Store(":memory:") as store:
        broker = store.broker
        broker.declare_queue("q")
        channel = broker.channel()
        channel.basic_qos(prefetch_count=1)
        channel.basic_consume("q")
        with suppress(Struck), striker.striking():
            broker.send("q", b"x")
        broker.send("q", b"probe")
        bodies = []
        while events := channel.poll():
            bodies += [event.body for event in events]
            channel.basic_ack(events[-1].delivery_tag)
        assert bodies in ([b"x", b"probe"], [b"probe"]), f"struck at {striker.place} (number {at})"
        assert broker._vhost.queues["q"].is_idle()
    return striker


def test_an_interrupted_publication_goes_on_to_a_channel_or_waits(record_property):
    places = publish_to_channel(Striker.NEVER).seen
    tried = range(0, places, stride(2))
    for at in tried:
        publish_to_channel(at)
    tell(record_property, strikes=len(tried), places=places)

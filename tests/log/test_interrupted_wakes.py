"""An exception wherever a signal handler may raise one in a call that appends: nobody sleeps over what is there."""

import os
from contextlib import suppress

import pytest

import msglog
from msglog.log import compiled
from msglog.waiting import Waiter
from support.opcodes import TELLS_RETURNS, Striker, Struck
from support.telling import tell

pytestmark = pytest.mark.skipif(not TELLS_RETURNS, reason="where handlers run is known of these versions")

FOLDER = os.path.join(os.path.dirname(msglog.__file__), "")


def one(store):
    store.log.append("t", b"one")


def batch(store):
    store.log.append("t", b"one", partition=0)


def many(store):
    store.log.append_many("t", [bytes(20_000)])


def message(store):
    store.broker.publish("", "q", b"one")


def copies(store):
    store.broker.publish("amq.fanout", "", b"one")


def messages(store):
    store.broker.publish_many("", [("q", b"one")])


@pytest.fixture(params=["memory", "commit"])
def store(request, tmp_path):
    options = {} if request.param == "memory" else {"sync": request.param, "sync_interval_ms": 3_600_000}
    with msglog.Store(":memory:" if request.param == "memory" else tmp_path / "s", **options) as store:
        store.log.create_topic("t")
        store.log.create_topic("elsewhere")
        for queue in ("q", "r"):
            store.broker.declare_queue(queue)
            store.broker.bind(queue, "amq.fanout")
        yield store


def _interrupted(store, work, at):
    """Interrupt it while somebody waits for each stream, and see that they are woken if they miss anything."""
    topic, queues = store.log._topics["t"], store.broker._vhost.queues
    waits = [
        (stream, stream.end, Waiter()) for stream in (topic.only, queues["q"].only.stream, queues["r"].only.stream)
    ]
    for stream, _, waiter in waits:
        stream.waiters.add(waiter)
    striker = Striker(FOLDER, at)
    with suppress(Struck), striker.striking():
        work(store)
    try:
        for moment in ("at once", "with the next commit"):
            for stream, before, waiter in waits:
                assert stream.end == before or waiter.wait(0), f"{striker.place}: not woken {moment}"
            waits = [(stream, stream.end, waiter) for stream, _, waiter in waits]
            store.log.append("elsewhere", b"next")
    finally:
        for stream, _, waiter in waits:
            stream.waiters.discard(waiter)
    return striker.seen


@pytest.mark.parametrize("work", [one, batch, many, message, copies, messages])
def test_an_interrupt_wherever_it_strikes_leaves_nobody_asleep(store, work, record_property):
    _interrupted(store, work, Striker.NEVER)
    places = _interrupted(store, work, Striker.NEVER)
    for at in range(places):
        _interrupted(store, work, at)
    assert places >= (1 if compiled.is_compiled() else 10)
    tell(record_property, strikes=places)

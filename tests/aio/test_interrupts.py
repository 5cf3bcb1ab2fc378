"""An exception where a signal handler may raise one: what that thread writes afterwards still waits for its sync."""

import asyncio
import gc
import os

import pytest

import msglog
from msglog import aio
from support.opcodes import Striker, Struck
from support.telling import tell

FOLDER = os.path.join(os.path.dirname(msglog.__file__), "aio", "")

CALLS = {
    "append": lambda own, _: own.log.append("t", b"x"),
    "append_many": lambda own, _: own.log.append_many("t", [b"x", b"y"]),
    "send": lambda own, _: own.broker.send("q", b"x"),
    "get": lambda own, _: own.broker.get("q"),
    "poll": lambda _, consumer: consumer.poll(0),
    "commit": lambda _, consumer: awaited(consumer.commit),
}


async def awaited(call):
    await call()


def first_step(striker, coroutine):
    """Let a coroutine run up to its first await; return whether it was struck."""
    gc.disable()  # a finalizer that is struck would swallow it
    try:
        with striker.striking():
            coroutine.send(None)
    except StopIteration:
        return False
    except Struck:
        return True
    finally:
        gc.enable()
        coroutine.close()
    return False


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # struck between its call and its await
@pytest.mark.parametrize("call", CALLS)
def test_an_interrupted_call_leaves_no_later_one_without_its_sync(tmp_path, call, record_property):
    async def main(store):
        own = aio.Store(store)
        engine = store.core.engine
        async with own.log.consumer("t", group="g") as consumer:
            await consumer.poll(0)
            at = 0
            while True:
                await own.broker.send("q", b"a")
                striker = Striker(FOLDER, at)
                struck = first_step(striker, CALLS[call](own, consumer))
                store.log.append("t", b"plain")
                assert engine.published == engine.commit_number, f"struck at {striker.place} (number {at})"
                if not struck:
                    return at
                at += 1

    with msglog.Store(tmp_path / "s") as store:
        store.log.create_topic("t")
        store.broker.declare_queue("q")
        tell(record_property, strikes=asyncio.run(main(store)))

"""An exception where a signal handler may raise one: what that thread writes afterwards still waits for its sync."""

import asyncio
import os

import pytest

import msglog
from msglog import aio
from msglog.aio.waiting import TaskWaiter
from msglog.transactions import looping
from support.opcodes import Striker, Struck
from support.tasks import PATIENCE_SECONDS
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
    try:
        with striker.striking():
            coroutine.send(None)
    except StopIteration:
        return False
    except Struck:
        return True
    finally:
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


def test_an_interrupt_of_the_loop_leaves_nobody_waiting(tmp_path, record_property):
    """Of its own callbacks: those that begin a sync and hear of its end."""

    async def write(own, number):
        for _ in range(2):
            metadata = await own.log.append("t", b"%d" % number)
            assert metadata.offset < own.log.end_offset("t", 0), "it is not synced"

    async def main(own, striker):
        with striker.striking():
            tasks = [asyncio.create_task(write(own, number)) for number in range(3)]
            await asyncio.wait(tasks, timeout=PATIENCE_SECONDS)
        assert all(task.done() for task in tasks), f"stuck after {striker.place}"
        await asyncio.wait_for(own.log.append("t", b"later"), PATIENCE_SECONDS)
        return [task.exception() for task in tasks]

    with msglog.Store(tmp_path / "s") as store:
        store.log.create_topic("t")
        at = 0
        while True:
            striker = Striker(looping.__file__, at)
            with asyncio.Runner() as runner:
                runner.get_loop().set_exception_handler(lambda *_: None)
                errors = runner.run(main(aio.Store(store), striker))
            assert all(error is None or isinstance(error, Struck) for error in errors)
            if not striker.place:
                break
            at += 1
    assert at > 20
    tell(record_property, strikes=at)


@pytest.mark.parametrize("from_elsewhere", [False, True])
def test_a_task_hears_the_wakes_after_one_that_was_interrupted(from_elsewhere, record_property):
    async def main():
        at = 0
        while True:
            waiter, striker = TaskWaiter(), Striker(FOLDER, at)

            def wake(waiter=waiter, striker=striker):
                try:
                    with striker.striking():
                        waiter.wake()
                except Struck:
                    return True
                return False

            struck = await asyncio.to_thread(wake) if from_elsewhere else wake()
            waiter.wake()
            await asyncio.wait_for(waiter.wait(None), PATIENCE_SECONDS)
            if not struck:
                return at
            at += 1

    places = asyncio.run(main())
    assert places > 2
    tell(record_property, interrupts=places)

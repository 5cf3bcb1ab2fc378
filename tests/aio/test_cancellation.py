"""A task may be cancelled at any await: what it takes is not lost, what it writes is whole, and nothing is stuck."""

import asyncio
import gc

import pytest

import msglog
from msglog import aio
from support.brokers import ready
from support.tasks import cancel_at, run, soon, turns
from support.telling import tell

MOST_STEPS = 60
WHEN = ["early", "late"]


def values(store):
    return [record.value for record in store.log.read("t")]


def bodies(store, queue="q"):
    return [message.body for message in store.broker.peek(queue, 1000)]


async def each_step(scenario, record_property, when):
    """Run a scenario, cancelled at each of its awaits in turn, until it has no more of them."""
    for step in range(1, MOST_STEPS):
        if not await scenario(step, when):
            tell(record_property, awaits_cancelled=step - 1)
            return
    raise AssertionError("the call never ends")


async def transact(own):
    async with own.transaction() as tx:
        tx.append("t", b"1")
        await asyncio.sleep(0)
        tx.send("q", b"2")


WRITES = {
    "append": lambda own: own.log.append("t", b"1"),
    "append with a key": lambda own: own.log.append("t", b"1", key=b"k", expected_key_offset=-1),
    "append_many": lambda own: own.log.append_many("t", [b"1", b"2"]),
    "publish": lambda own: own.broker.publish("", "q", b"1"),
    "send": lambda own: own.broker.send("q", b"1"),
    "publish_many": lambda own: own.broker.publish_many("", [("q", b"1"), ("q", b"2")]),
    "transaction": transact,
    "flush": lambda own: own.flush(),
    "create_topic": lambda own: own.log.create_topic("new"),
    "declare_queue": lambda own: own.broker.declare_queue("new"),
}
WHOLE = {
    "append": {(1, 0)},
    "append with a key": {(1, 0)},
    "append_many": {(2, 0)},
    "publish": {(0, 1)},
    "send": {(0, 1)},
    "publish_many": {(0, 2)},
    "transaction": {(1, 1)},
    "flush": {(0, 0)},
    "create_topic": {(0, 0)},
    "declare_queue": {(0, 0)},
}
"""How many records and messages there are afterwards, if it was done at all."""


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("call", WRITES)
def test_what_is_written_is_whole_and_the_next_call_works(tmp_path, call, when, record_property):
    numbers = iter(range(MOST_STEPS))

    async def scenario(step, when):
        with msglog.Store(tmp_path / f"{next(numbers)}") as opened:
            opened.log.create_topic("t")
            opened.broker.declare_queue("q")
            own = aio.Store(opened)
            reached, _ = await cancel_at(WRITES[call](own), step, when)
            await soon(own.log.append("t", b"after"))
            await soon(own.broker.send("q", b"after"))
            found = values(opened)[:-1], bodies(opened)[:-1]
            assert tuple(map(len, found)) in WHOLE[call] | ({(0, 0)} if reached else set())
            await soon(own.log.create_topic("new", exist_ok=True))
            await soon(own.broker.declare_queue("new"))
            await soon(own.close())
            return reached

    run(each_step(scenario, record_property, when))


@pytest.mark.parametrize("when", WHEN)
def test_a_store_whose_opening_was_cancelled_can_be_opened(tmp_path, when, record_property):
    async def scenario(step, when):
        own = aio.Store(tmp_path / "store")
        reached, _ = await cancel_at(own.open(), step, when)
        if not reached:
            await soon(own.close())
        for _ in range(1000):  # the thread that opened it closes it
            gc.collect()
            try:
                async with aio.Store(tmp_path / "store", sync="none"):
                    return reached
            except (ValueError, msglog.StoreLockedError):
                await asyncio.sleep(0.005)
        raise AssertionError("still open")

    run(each_step(scenario, record_property, when))


@pytest.mark.parametrize("when", WHEN)
def test_a_cancelled_close_can_be_repeated(tmp_path, when, record_property):
    async def scenario(step, when):
        own = await aio.Store(tmp_path / "store").open()
        await own.log.create_topic("t", exist_ok=True)
        await own.broker.declare_queue("q")
        consumer = own.broker.consume("q")
        await own.broker.send("q", b"x")
        delivery = await consumer.get()
        reached, _ = await cancel_at(own.close(), step, when)
        await soon(own.close())
        assert own.closed
        async with aio.Store(tmp_path / "store") as again:
            back = await again.broker.get("q")
            assert back.redelivered
            back.ack()
        del delivery
        return reached

    run(each_step(scenario, record_property, when))


async def take_one(how, own, consumer):
    if how == "broker":
        return await own.broker.get("q", timeout=10)
    if how == "no_ack":
        return await own.broker.get("q", timeout=10, no_ack=True)
    if how == "consumer":
        return await consumer.get(10)
    async for delivery in consumer:
        return delivery
    raise AssertionError("it ended")


@pytest.mark.parametrize("early_message", [True, False], ids=["there already", "comes later"])
@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("how", ["broker", "no_ack", "consumer", "iteration"])
def test_a_cancelled_get_loses_no_message(store, how, when, early_message, record_property):
    async def scenario(step, when):
        own = aio.Store(store)
        async with own.broker.consume("q") as consumer:
            if early_message:
                store.broker.send("q", b"x")
            task = asyncio.create_task(cancel_at(take_one(how, own, consumer), step, when))
            if not early_message:
                await turns(3)
                await asyncio.to_thread(store.broker.send, "q", b"x")
            reached, got = await soon(task)
            if reached and got is None:
                again = await soon(own.broker.get("q", timeout=5))
                assert again.body == b"x"
                again.ack()
            else:
                assert got.body == b"x"
                if how != "no_ack":
                    got.ack()
        assert ready(store.broker, "q") == 0
        return reached

    run(each_step(scenario, record_property, when))


async def poll_one(how, consumer):
    if how.endswith("poll"):
        (record,) = await consumer.poll(10)
        return record
    async for record in consumer:
        return record
    raise AssertionError("it ended")


@pytest.mark.parametrize("early_record", [True, False], ids=["there already", "comes later"])
@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("how", ["poll", "iteration", "share poll", "share iteration"])
def test_a_cancelled_poll_leaves_the_position(store, how, when, early_record, record_property):
    def made(own):
        if how.startswith("share"):
            return own.log.share_consumer("t", group="shared")
        return own.log.consumer("t", group="g", auto_commit=True)

    async def scenario(step, when):
        own = aio.Store(store)
        async with made(own) as consumer:
            assert await consumer.poll(0) == []
            if early_record:
                store.log.append("t", b"%d" % step)
            task = asyncio.create_task(cancel_at(poll_one(how, consumer), step, when))
            if not early_record:
                await turns(3)
                await asyncio.to_thread(store.log.append, "t", b"%d" % step)
            reached, got = await soon(task)
            if reached and got is None:
                got = await soon(poll_one(how, consumer))
            assert got.value == b"%d" % step
            if how.startswith("share"):
                got.ack()
        return reached

    run(each_step(scenario, record_property, when))


def test_a_share_consumer_that_is_cancelled_on_entering_is_closed(tmp_path):
    async def enter(consumer):
        async with consumer:
            raise AssertionError("it was entered")

    async def main():
        async with aio.Store(tmp_path / "store") as own:
            await own.log.create_topic("t")
            consumer = own.log.share_consumer("t", group="new")
            cancelled, _ = await cancel_at(enter(consumer), 1, "early")  # it waits for the group to be durable
            assert cancelled
            with pytest.raises(msglog.ClosedError):
                await consumer.poll(0)

    run(main())


@pytest.mark.parametrize("when", WHEN)
def test_a_cancelled_request_asks_again(store, when, record_property):
    async def scenario(step, when):
        own = aio.Store(store)

        async def answer():
            while (question := await own.broker.get("q", timeout=10)).body != b"end":
                async with question:
                    await question.reply(b"!" + question.body)
            question.ack()

        server = asyncio.create_task(answer())
        reached, got = await soon(cancel_at(own.broker.request("", "q", b"1", timeout=10), step, when))
        assert got is None if reached and got is None else got.body == b"!1"
        assert (await soon(own.broker.request("", "q", b"2", timeout=10))).body == b"!2"
        await own.broker.send("q", b"end")
        await soon(server)
        return reached

    run(each_step(scenario, record_property, when))


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("kind", ["queue", "topic"])
def test_a_cancelled_close_of_a_subscription_loses_nothing(store, kind, when, record_property):
    async def scenario(step, when):
        own = aio.Store(store)
        begun, seen = asyncio.Event(), []

        async def slow(message):
            begun.set()
            await asyncio.sleep(10)
            seen.append(message)

        if kind == "queue":
            await own.broker.send("q", b"x")
            subscription = own.broker.subscribe("q", slow)
        else:
            await own.log.append("t", b"x")
            subscription = own.log.subscribe("t", group=f"g{step}{when}", callback=slow)
        await soon(begun.wait())
        reached, _ = await soon(cancel_at(subscription.close(0), step, when))
        await soon(subscription.close(0))
        assert not seen
        if kind == "queue":
            delivery = await soon(own.broker.get("q"))
            assert delivery.redelivered
            delivery.ack()
        else:
            async with own.log.consumer("t", group=f"g{step}{when}") as consumer:
                assert len(await soon(consumer.poll(10))) == step
        return reached

    run(each_step(scenario, record_property, when))

"""Under anyio, on its asyncio backend: task groups, and scopes that are cancelled while a call waits."""

import threading
from math import inf

import anyio
import pytest

import msglog
from msglog import NoEventLoopError, aio
from msglog.storage import Engine
from support.brokers import ready
from support.tasks import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def gate(monkeypatch):
    """Holds every wait for a sync until it is set."""
    opened = threading.Event()
    wait = Engine.wait

    def held(engine, number):
        if not msglog.storage.in_force.deferral:
            assert opened.wait(PATIENCE_SECONDS)
        wait(engine, number)

    monkeypatch.setattr(Engine, "wait", held)
    yield opened
    opened.set()


async def test_tasks_of_a_group_write_and_consume(own, store):
    got = []

    async def work(consumer):
        async for delivery in consumer:
            async with delivery:
                got.append(delivery.body)
                if len(got) == 40:
                    consumer.stop()

    async def read():
        async with own.log.consumer("t", group="g", auto_commit=True) as consumer:
            async for record in consumer:
                if record.offset == 19:
                    return

    with anyio.fail_after(PATIENCE_SECONDS):
        async with own.broker.consume("q") as consumer, anyio.create_task_group() as group:
            group.start_soon(work, consumer)
            group.start_soon(work, consumer)
            group.start_soon(read)
            for number in range(20):
                group.start_soon(own.broker.send, "q", b"%d" % number)
                group.start_soon(own.broker.publish, "", "q", b"%d" % (20 + number))
                group.start_soon(own.log.append, "t", b"%d" % number)
    assert sorted(map(int, got)) == list(range(40))
    assert store.log.end_offset("t") == 20


async def test_scopes_that_move_on_from_an_empty_queue_and_topic_lose_nothing(own):
    async with own.broker.consume("q") as deliveries, own.log.consumer("t", group="g") as records:
        for call in (deliveries.get, records.poll, lambda: own.broker.get("q", timeout=None)):
            with anyio.move_on_after(0.01) as scope:
                await call()
            assert scope.cancelled_caught
        await own.broker.send("q", b"1")
        await own.log.append("t", b"2")
        with anyio.fail_after(PATIENCE_SECONDS):
            assert (await deliveries.get()).body == b"1"
            assert [record.value for record in await records.poll()] == [b"2"]


WRITES = {
    "append": lambda own: own.log.append("t", b"1"),
    "publish": lambda own: own.broker.publish("", "q", b"1"),
    "send": lambda own: own.broker.send("q", b"1"),
}


@pytest.mark.parametrize("call", WRITES)
async def test_scopes_that_move_on_from_a_write_leave_it_written(tmp_path, call):
    with msglog.Store(tmp_path / "durable") as store:
        store.log.create_topic("t")
        store.broker.declare_queue("q")
        own = aio.Store(store)
        with anyio.move_on_after(0) as scope:  # what waits next is cancelled
            await WRITES[call](own)
        assert scope.cancelled_caught
        await own.flush()
        assert store.log.end_offset("t") + ready(store.broker, "q") == 1


async def test_a_shielded_write_is_waited_for(tmp_path, gate):
    gate.set()
    with msglog.Store(tmp_path / "durable") as store:
        store.log.create_topic("t")
        own = aio.Store(store)
        with anyio.CancelScope() as outer:
            outer.cancel()
            with anyio.CancelScope(shield=True):
                assert (await own.log.append("t", b"1")).offset == 0
        assert not outer.cancelled_caught


async def test_a_group_that_is_cancelled_gives_messages_back(own, store):
    """A delivery in its block, and one in a transaction of `process`."""
    store.broker.declare_queue("other")
    await own.broker.send("q", b"1")
    await own.broker.send("other", b"2")
    in_hand, in_transaction = anyio.Event(), anyio.Event()

    async def in_block(deliveries):
        async with await deliveries.get():
            in_hand.set()
            await anyio.sleep(inf)

    async def handler(tx, delivery):
        tx.append("t", delivery.body)
        in_transaction.set()
        await anyio.sleep(inf)

    with anyio.fail_after(PATIENCE_SECONDS):
        async with own.broker.consume("q") as deliveries, own.broker.consume("other") as source:
            async with anyio.create_task_group() as group:
                group.start_soon(in_block, deliveries)
                group.start_soon(own.process, source, handler)
                await in_hand.wait()
                await in_transaction.wait()
                group.cancel_scope.cancel()
            assert (ready(store.broker, "q"), ready(store.broker, "other")) == (1, 1)
    assert store.log.end_offset("t") == 0


@pytest.mark.parametrize("kind", ["queue", "topic"])
async def test_scopes_in_handlers_are_their_own_and_scopes_around_process_end_it(own, kind):
    for _ in range(3):
        await (own.broker.send("q", b"x") if kind == "queue" else own.log.append("t", b"x"))
    begun = anyio.Event()

    async def moves_on(_tx, _message):
        with anyio.move_on_after(0):
            await anyio.sleep(inf)

    async def loses(_tx, _message):
        begun.set()
        try:
            await anyio.sleep(inf)
        except BaseException as error:
            raise OSError("the library that waited says so") from error

    async def cancel(scope):
        await begun.wait()
        scope.cancel()

    with anyio.fail_after(PATIENCE_SECONDS):
        async with own.broker.consume("q") if kind == "queue" else own.log.consumer("t", group="g") as source:
            assert await own.process(source, moves_on, timeout=0) == 3
            await (own.broker.send("q", b"x") if kind == "queue" else own.log.append("t", b"x"))
            async with anyio.create_task_group() as group:
                with anyio.CancelScope() as scope:
                    group.start_soon(cancel, scope)
                    await own.process(source, loses, retry=msglog.Retry(delay_ms=0))
            assert scope.cancelled_caught
            assert await own.process(source, moves_on, timeout=0) == 1


async def test_subscriptions_and_stores_end_in_scopes(tmp_path):
    heard = anyio.Event()

    async def callback(_message):
        heard.set()

    with anyio.fail_after(PATIENCE_SECONDS):
        async with aio.Store(tmp_path / "store") as own:
            await own.log.create_topic("t")
            async with own.log.subscribe("t", group="g", callback=callback):
                await own.log.append("t", b"1")
                await heard.wait()
        with anyio.move_on_after(0):
            async with aio.Store(tmp_path / "store"):
                await anyio.sleep(inf)
        with msglog.Store(tmp_path / "store") as again:
            assert again.log.describe_group("g").offsets == {msglog.TopicPartition("t", 0): 1}


def step(call):
    """Run a coroutine as an event loop of another kind would."""
    coroutine = call()
    try:
        return coroutine.send(None)
    finally:
        coroutine.close()


WAITS = {
    "append": lambda own: own.log.append("t", b"1"),
    "send": lambda own: own.broker.send("q", b"1"),
    "create_topic": lambda own: own.log.create_topic("new"),
    "get": lambda own: own.broker.get("q", timeout=1),
    "flush": lambda own: own.flush(),
}


@pytest.mark.parametrize("call", WAITS)
def test_a_loop_of_another_kind_is_told_that_it_is_none_of_asyncios(tmp_path, call):
    with msglog.Store(tmp_path / "durable") as store:
        store.log.create_topic("t")
        store.broker.declare_queue("q")
        with pytest.raises(NoEventLoopError, match="no running event loop of asyncio") as caught:
            step(lambda: WAITS[call](aio.Store(store)))
        written = call in ("append", "send")
        assert caught.value.outcome == ("unknown" if written else "not_applied")
        store.flush()
        assert store.log.end_offset("t") + ready(store.broker, "q") == written
        assert "new" not in store.log.topics()


def test_a_store_is_not_even_opened(tmp_path):
    with pytest.raises(NoEventLoopError):
        step(aio.Store(tmp_path / "store").open)
    assert not (tmp_path / "store").exists()


def test_neither_does_a_transaction_that_is_awaited(tmp_path):
    with msglog.Store(tmp_path / "durable") as store:
        store.log.create_topic("t")

        async def work():
            async with store.transaction() as tx:
                tx.append("t", b"1")

        with pytest.raises(NoEventLoopError) as caught:
            step(work)
        assert caught.value.outcome == "unknown"
        with store.transaction() as tx:
            tx.append("t", b"2")
        assert store.log.end_offset("t") == 2

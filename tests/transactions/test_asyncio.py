"""`async with`: tasks share syncs, the loop never waits, and cancelling ends a wait, not a commit."""

import asyncio
import gc
import threading
import weakref

import pytest

import msglog
from msglog import TransactionError
from msglog.storage import Engine
from msglog.storage.filesystem.posix import OSFile
from support.brokers import Call, ready, send_all, take, wait_until
from support.dumps import check_counts, difference, dump


@pytest.fixture
def store(any_store):
    any_store.log.create_topic("t")
    any_store.broker.declare_queue("q")
    yield any_store
    check_counts(any_store)


@pytest.fixture
def durable(tmp_path, clock):
    """A store whose commits wait for syncs."""
    with msglog.Store(tmp_path / "durable", clock=clock) as opened:
        opened.log.create_topic("t")
        opened.broker.declare_queue("q")
        yield opened


def _values(store):
    return [record.value for record in store.log.read("t")]


class Gate:
    """Holds every wait for a sync until it is opened."""

    def __init__(self, monkeypatch):
        self.entered, self.opened = threading.Event(), threading.Event()
        self.threads = []
        wait = Engine.wait

        def held(engine, number):
            self.threads.append(threading.current_thread())
            self.entered.set()
            assert self.opened.wait(10)
            wait(engine, number)

        monkeypatch.setattr(Engine, "wait", held)


def test_all_is_there_after_the_block(store):
    async def work():
        async with store.transaction() as tx:
            tx.append("t", b"1")
            await asyncio.sleep(0)
            tx.send("q", b"2")
            assert (_values(store), ready(store.broker, "q")) == ([], 0)
        return tx.metadata

    (metadata,) = asyncio.run(work())
    assert metadata.offset == 0
    assert (_values(store), take(store.broker, "q")) == ([b"1"], [b"2"])


def test_an_exception_undoes_all(store):
    async def work():
        async with store.transaction() as tx:
            tx.append("t", b"1")
            await asyncio.sleep(0)
            raise ZeroDivisionError

    before = dump(store)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(work())
    assert not difference(before, dump(store))


def test_a_refusal_is_raised_when_it_is_left(store):
    store.broker.send("q", b"work")
    delivery = store.broker.get("q")

    async def work():
        async with store.transaction() as tx:
            tx.ack(delivery)
            tx.append("t", b"1", expected_offset=3)

    before = dump(store)
    with pytest.raises(msglog.OffsetConflictError):
        asyncio.run(work())
    assert not difference(before, dump(store))
    delivery.ack()


def test_each_task_has_its_own(store):
    async def work(number):
        async with store.transaction() as tx:
            tx.append("t", b"%d" % number)
            await asyncio.sleep(0)
            tx.send("q", b"%d" % number)

    async def main():
        await asyncio.gather(*map(work, range(20)))

    asyncio.run(main())
    assert sorted(map(int, _values(store))) == list(range(20))
    assert take(store.broker, "q") == _values(store)


def test_they_do_not_nest_in_a_task_and_belong_to_it(store):
    async def other(tx):
        with pytest.raises(TransactionError, match="another thread or task"):
            tx.append("t", b"2")
        async with store.transaction() as mine:
            mine.append("t", b"3")

    async def main():
        async with store.transaction() as tx:
            with pytest.raises(TransactionError, match="do not nest"):
                async with store.transaction():
                    pass
            await asyncio.create_task(other(tx))
            with pytest.raises(TransactionError, match="another thread or task"):
                await asyncio.to_thread(tx.append, "t", b"4")
            tx.append("t", b"1")

    asyncio.run(main())
    assert _values(store) == [b"3", b"1"]


def test_that_of_a_thread_is_not_that_of_a_task_in_it(store):
    async def task(tx):
        with pytest.raises(TransactionError, match="another thread or task"):
            tx.append("t", b"2")

    with store.transaction() as tx:
        tx.append("t", b"1")
        asyncio.run(task(tx))
        tx.append("t", b"3")
    assert _values(store) == [b"1", b"3"]


def test_a_task_that_its_loop_left_behind_is_collected_with_its_transaction(store):
    async def work():
        async with store.transaction() as tx:
            tx.append("t", b"x")
            await asyncio.Event().wait()

    async def main():
        return weakref.ref(asyncio.create_task(work())), await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # it says that a task was destroyed
    task, _ = loop.run_until_complete(main())
    loop.close()
    del loop
    gc.collect()
    assert task() is None
    assert _values(store) == []


def test_many_tasks_share_few_syncs(durable, monkeypatch):
    tasks = 100
    engine = durable.core.engine

    async def work(number, everybody_is_in):
        async with durable.transaction() as tx:
            tx.append("t", b"%d" % number)
            tx.send("q", b"%d" % number)
            await everybody_is_in.wait()

    async def main():
        everybody_is_in = asyncio.Barrier(tasks)
        await asyncio.gather(*(work(number, everybody_is_in) for number in range(tasks)))

    syncs, sync = [], OSFile.sync

    def counted(file):
        syncs.append(file)
        wait_until(lambda: engine.commit_number == commits + tasks)  # the loop goes on meanwhile
        sync(file)

    commits = engine.commit_number
    monkeypatch.setattr(OSFile, "sync", counted)
    asyncio.run(main())
    assert engine.commit_number == commits + tasks
    assert 1 <= len(syncs) <= 3
    assert sorted(map(int, _values(durable))) == list(range(tasks))


def test_the_loop_goes_on_while_it_waits(durable, monkeypatch):
    gate = Gate(monkeypatch)

    async def work():
        async with durable.transaction() as tx:
            tx.append("t", b"1")

    async def main():
        task = asyncio.create_task(work())
        assert await asyncio.to_thread(gate.entered.wait, 10)
        assert not task.done()
        assert _values(durable) == []
        gate.opened.set()
        await task

    asyncio.run(main())
    assert threading.current_thread() not in gate.threads
    assert _values(durable) == [b"1"]


def test_cancelling_in_the_block_undoes_all(store):
    async def work():
        async with store.transaction() as tx:
            tx.append("t", b"1")
            await asyncio.sleep(100)

    async def main():
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert _values(store) == []


def test_cancelling_the_wait_ends_the_wait_only(durable, monkeypatch):
    """What was written stays: it settles, wakes, and answers as if nobody had been cancelled."""
    broker = durable.broker
    broker.send("q", b"work")
    broker.declare_queue("out")
    delivery = broker.get("q")
    channel = broker.channel()
    channel.basic_consume("amq.rabbitmq.reply-to", no_ack=True)
    channel.queue_declare("asked")
    channel.basic_publish("", "asked", b"?", msglog.Properties(reply_to="amq.rabbitmq.reply-to"))
    asked = broker.get("asked")
    consumer = broker.consume("out")
    transactions = []

    async def work():
        async with durable.transaction() as tx:
            transactions.append(tx)
            tx.append("t", b"1")
            tx.send("out", b"2")
            tx.ack(delivery)
            tx.ack(asked)
            tx.publish("", asked.properties.reply_to, b"!")

    async def main():
        task = asyncio.create_task(work())
        assert await asyncio.to_thread(gate.entered.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.opened.set()

    gate = Gate(monkeypatch)
    asyncio.run(main())
    monkeypatch.undo()
    durable.flush()
    assert _values(durable) == [b"1"]
    assert consumer.get(10).body == b"2"
    assert delivery.settled
    assert [event.body for event in channel.poll()] == [b"!"]
    with pytest.raises(TransactionError, match="has failed"):
        transactions[0].metadata  # noqa: B018 it raises
    consumer.close()
    channel.close()
    check_counts(durable)
    with durable.transaction() as tx:  # its owner is free again
        tx.append("t", b"3")
    assert _values(durable) == [b"1", b"3"]


@pytest.mark.parametrize("settle", ["nack", "ack"])
def test_a_cancelled_wait_wakes_who_waits_for_what_it_settled(durable, monkeypatch, settle):
    """What went back, or the room for one more, belongs to a consumer that waits already."""
    broker = durable.broker
    send_all(broker, "q", b"1", b"2")
    consumer = broker.consume("q", prefetch_count=1)
    delivery = consumer.get(0)
    call = Call(consumer.get).until_asleep()

    async def work():
        async with durable.transaction() as tx:
            tx.append("t", b"1")
            getattr(tx, settle)(delivery)

    async def main():
        task = asyncio.create_task(work())
        assert await asyncio.to_thread(gate.entered.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.opened.set()

    gate = Gate(monkeypatch)
    asyncio.run(main())
    monkeypatch.undo()
    assert call.result().body == (b"1" if settle == "nack" else b"2")
    consumer.close()
    check_counts(durable)


def test_a_plain_block_in_a_task(store):
    async def main():
        with store.transaction() as tx:
            tx.append("t", b"1")

    asyncio.run(main())
    assert _values(store) == [b"1"]

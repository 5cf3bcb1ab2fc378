"""Calls that write: what they return and raise is what the threaded calls do, and tasks share syncs."""

import asyncio
import inspect
import threading

import pytest

import msglog
from msglog import aio
from msglog.storage.filesystem.posix import OSFile
from support.brokers import wait_until
from support.tasks import run, soon, turns


class Gate:
    """Holds every sync until it is opened."""

    def __init__(self, monkeypatch):
        self.entered, self.opened = threading.Event(), threading.Event()
        self.threads = set()
        sync = OSFile.sync

        def held(file):
            self.threads.add(threading.current_thread())
            self.entered.set()
            if not self.opened.wait(10):
                raise OSError(5, "the gate was never opened")
            sync(file)

        monkeypatch.setattr(OSFile, "sync", held)


@pytest.fixture
def durable(tmp_path):
    with msglog.Store(tmp_path / "durable") as opened:
        opened.log.create_topic("t")
        opened.broker.declare_queue("q")
        yield opened


async def test_what_they_return(own):
    metadata = await own.log.append("two", b"v", key=b"k", headers=[("h", b"1")], partition=1)
    (record,) = [record async for record in own.log.read("two", 1)]
    assert (metadata.topic, metadata.partition, metadata.offset) == ("two", 1, 0)
    assert (record.value, record.key, record.headers) == (b"v", b"k", (("h", b"1"),))
    assert await own.log.append_many("t", [b"1", b"2"], expected_offset=0) == {0: range(2)}
    assert (own.log.start_offset("t"), own.log.end_offset("t")) == (0, 2)
    assert await own.broker.publish("", "q", b"1") == 1
    assert await own.broker.publish_many("", [("q", b"2"), ("nowhere", b"3")]) == 1
    assert await own.broker.send("q", b"4") is None
    assert [message.body for message in await own.broker.peek("q")] == [b"1", b"2", b"4"]
    assert await own.broker.purge_queue("q") == 3
    info = await own.broker.declare_queue("mine", max_length=3)
    assert (info.name, info.message_count) == ("mine", 0)
    assert await own.broker.delete_queue("mine") == 0
    assert "q" in {queue.name for queue in own.broker.queues()}


async def test_what_they_raise(own):
    with pytest.raises(msglog.TopicNotFoundError):
        await own.log.append("missing", b"")
    with pytest.raises(msglog.OffsetConflictError):
        await own.log.append("t", b"", expected_offset=3)
    with pytest.raises(msglog.OffsetConflictError):
        await own.log.append("t", b"", key=b"k", expected_key_offset=3)
    with pytest.raises(msglog.UnroutableError):
        await own.broker.publish("", "missing", b"", mandatory=True)
    with pytest.raises(msglog.QueueNotFoundError):
        await own.broker.send("missing", b"")
    with pytest.raises(msglog.QueueNotFoundError):
        await own.broker.get("missing")
    with pytest.raises(msglog.TopicExistsError):
        await own.log.create_topic("t")
    with pytest.raises(msglog.RequestTimeoutError):
        await own.broker.request("", "q", b"", timeout=0.01)
    (await own.broker.get("q")).ack()


def test_a_thousand_appends_share_few_syncs(durable, monkeypatch):
    tasks = 1000
    syncs, sync = [], OSFile.sync
    engine = durable.core.engine

    def counted(file):
        syncs.append(file)
        wait_until(lambda: engine.commit_number == commits + tasks)  # the loop goes on meanwhile
        sync(file)

    async def main():
        own = aio.Store(durable)
        return await asyncio.gather(*(own.log.append("t", b"%d" % number) for number in range(tasks)))

    commits = engine.commit_number
    monkeypatch.setattr(OSFile, "sync", counted)
    metadata = asyncio.run(main())
    assert 1 <= len(syncs) <= 3
    assert [one.offset for one in metadata] == list(range(tasks))
    assert [record.value for record in durable.log.read("t")] == [b"%d" % number for number in range(tasks)]


@pytest.mark.parametrize("call", ["append", "append_many", "publish", "send", "publish_many", "request", "commit"])
def test_the_loop_goes_on_while_a_sync_runs(durable, monkeypatch, call):
    async def main():
        own = aio.Store(durable)
        durable.log.append("t", b"0")
        consumer = own.log.consumer("t", group="g")
        await consumer.poll()
        started = {
            "append": lambda: own.log.append("t", b"1"),
            "append_many": lambda: own.log.append_many("t", [b"1"]),
            "publish": lambda: own.broker.publish("", "q", b"1"),
            "send": lambda: own.broker.send("q", b"1"),
            "publish_many": lambda: own.broker.publish_many("", [("q", b"1")]),
            "request": lambda: own.broker.request("", "q", b"1", timeout=0.2),
            "commit": lambda: awaited(consumer.commit()),
        }[call]
        gate = Gate(monkeypatch)
        task = asyncio.create_task(started())
        assert await asyncio.to_thread(gate.entered.wait, 10)
        assert not task.done()
        assert len([record async for record in own.log.read("t")]) == 1
        get = asyncio.create_task(own.broker.get("q", timeout=0))
        await turns()
        assert not get.done() or get.result() is None  # unsynced: nobody sees it
        gate.opened.set()
        if call == "request":
            with pytest.raises(msglog.RequestTimeoutError):
                await soon(task)
        else:
            await soon(task)
        assert threading.current_thread() not in gate.threads
        monkeypatch.undo()
        if (delivery := await soon(get)) is not None:
            delivery.ack()
        await consumer.close()

    async def awaited(written):
        return await written

    asyncio.run(main())


def test_a_failed_sync_fails_all_who_wait_and_nothing_later(durable, monkeypatch):
    async def main():
        own = aio.Store(durable)

        def failing(_file):
            raise OSError(5, "no disk")

        monkeypatch.setattr(OSFile, "sync", failing)
        results = await soon(asyncio.gather(*(own.log.append("t", b"x") for _ in range(20)), return_exceptions=True))
        assert all(isinstance(result, msglog.StoreFailedError) for result in results)
        assert {result.outcome for result in results} == {"unknown"}
        with pytest.raises(msglog.StoreFailedError):
            await own.log.append("t", b"y")
        with pytest.raises(msglog.StoreFailedError):
            await own.broker.send("q", b"y")

    try:
        run(main())
    finally:
        monkeypatch.undo()
        try:
            durable.close()
        except msglog.StoreFailedError:
            pass


async def test_a_producer_is_fenced_and_knows_duplicates(own):
    async with own.log.producer("p") as producer:
        assert producer.last_sequence == -1
        assert not (await producer.append("t", b"1", sequence=0)).duplicate
        assert (await producer.append("t", b"1", sequence=0)).duplicate
        assert await producer.append_many("t", [b"2", b"3"], first_sequence=1) == {0: range(1, 3)}
        async with own.transaction(producer=producer) as tx:
            tx.append("t", b"4", sequence=3)
        assert producer.last_sequence == 3
        async with own.log.producer("p"):
            with pytest.raises(msglog.FencedError):
                await producer.append("t", b"5", sequence=4)


async def test_an_iteration_over_what_is_there_lets_others_have_their_turn(own):
    await own.log.append_many("t", [b"x"] * 1000)
    seen = 0

    async def others():
        counts = []
        while seen < 1000:
            counts.append(seen)
            await asyncio.sleep(0)
        return counts

    task = asyncio.create_task(others())
    async for _ in own.log.read("t"):
        seen += 1
    counts = await soon(task)
    assert len(counts) > 10
    for consumer in (own.log.consumer("t"), own.log.share_consumer("t", group="s")):
        seen = 0
        task = asyncio.create_task(others())
        async for record in consumer.iter(0):
            seen += 1
            if hasattr(record, "ack"):
                record.ack()
        assert len(await soon(task)) > 10
        await consumer.close()


PLAIN = {"ack", "nack", "reject", "release", "commit", "seek", "pause", "resume", "position", "assignment", "stop"}
AWAITED = {
    aio.Store: {"open", "close", "flush", "backup", "process"},
    aio.Log: {"open", "close", "append", "append_many", "create_topic", "delete_topic", "add_partitions"},
    aio.Broker: {
        "open", "close", "publish", "publish_many", "send", "get", "request", "declare_exchange", "declare_queue",
        "delete_exchange", "delete_queue", "bind", "bind_exchange", "unbind", "unbind_exchange",
    },
    aio.Consumer: {"poll", "close"},
    aio.ShareConsumer: {"poll", "close"},
    aio.QueueConsumer: {"get", "close"},
    aio.Producer: {"append", "append_many", "close"},
    aio.Subscription: {"join", "wait_idle", "close"},
    aio.QueueSubscription: {"join", "wait_idle", "close"},
    aio.TypedTopic: {"append", "append_many", "last_record"},
    aio.TypedConsumer: {"poll", "close"},
    aio.TypedShareConsumer: {"poll", "close"},
    aio.TypedProducer: {"open", "append", "append_many", "close"},
    aio.TypedQueue: {"send", "send_many", "request", "get", "peek"},
    aio.TypedExchange: {"publish", "publish_many", "request"},
    aio.TypedQueueConsumer: {"get", "close"},
}  # fmt: skip


@pytest.mark.parametrize("kind", AWAITED, ids=lambda kind: kind.__name__)
def test_what_may_wait_is_awaited_and_the_rest_is_plain(kind):
    for name in AWAITED[kind]:
        assert inspect.iscoroutinefunction(getattr(kind, name)), name
    for name in PLAIN:
        assert not inspect.iscoroutinefunction(getattr(kind, name, None)), name


SAME = [
    (aio.Store, msglog.Store, set()),
    (aio.Log, msglog.Log, set()),
    (aio.Broker, msglog.Broker, set()),
    (aio.Consumer, msglog.Consumer, set()),
    (aio.ShareConsumer, msglog.ShareConsumer, set()),
    (aio.QueueConsumer, msglog.QueueConsumer, set()),
    (aio.Producer, msglog.Producer, set()),
    (aio.Subscription, msglog.Subscription, set()),
    (aio.QueueSubscription, msglog.QueueSubscription, set()),
    (aio.TypedTopic, msglog.TypedTopic, set()),
    (aio.TypedConsumer, msglog.TypedConsumer, set()),
    (aio.TypedShareConsumer, msglog.TypedShareConsumer, set()),
    (aio.TypedProducer, msglog.TypedProducer, set()),
    (aio.TypedQueue, msglog.TypedQueue, set()),
    (aio.TypedExchange, msglog.TypedExchange, set()),
    (aio.TypedQueueConsumer, msglog.TypedQueueConsumer, set()),
    (aio.TypedDelivery, msglog.TypedDelivery, set()),
]


def public(kind):
    return {
        name
        for name, member in inspect.getmembers(kind)
        if not name.startswith("_") and "not public" not in (inspect.getdoc(member) or "")
    }


INSIDES = {"core", "engine", "subscriber", "stopped", "terms", "taking", "watch", "unwatch", "vhost", "seat"}
INSIDES |= {"get_unless_interrupted", "interrupt", "interrupts", "idle_calls"}


@pytest.mark.parametrize(("kind", "threaded", "left_out"), SAME, ids=lambda given: getattr(given, "__name__", ""))
def test_the_names_are_those_of_the_threaded_classes(kind, threaded, left_out):
    assert public(threaded) - public(kind) - INSIDES == left_out


async def test_a_write_that_waits_for_nothing_is_done_in_the_same_turn(own):
    if not own.path.startswith(":"):
        return
    loop_turns = 0

    async def count():
        nonlocal loop_turns
        while True:
            loop_turns += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(count())
    await turns(1)
    before = loop_turns
    await own.log.append("t", b"x")
    await own.broker.send("q", b"x")
    assert loop_turns == before
    counter.cancel()


def test_loops_in_threads_share_a_store(durable):
    def work(number):
        async def main():
            own = aio.Store(durable)
            async with own.broker.consume("q") as consumer:
                async with asyncio.TaskGroup() as group:
                    for one in range(20):
                        group.create_task(own.log.append("t", b"%d-%d" % (number, one)))
                        group.create_task(own.broker.send("q", b"%d-%d" % (number, one)))
                got = []
                for _ in range(20):
                    delivery = await soon(consumer.get())
                    got.append(delivery.body)
                    delivery.ack()
                return got

        results.append(asyncio.run(main()))

    results = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = sorted(b"%d-%d" % (number, one) for number in range(3) for one in range(20))
    assert sorted(body for result in results for body in result) == everything
    assert sorted(record.value for record in durable.log.read("t")) == everything


async def test_a_task_that_settles_wakes_one_in_another_loop(own, store):
    await own.broker.send("q", b"1")
    await own.broker.send("q", b"2")
    ready = threading.Event()
    consumer = store.broker.consume("q", prefetch_count=1)
    first = consumer.get(0)
    taken = asyncio.create_task(asyncio.to_thread(lambda: ready.set() or consumer.get(10)))
    assert await asyncio.to_thread(ready.wait, 10)
    await asyncio.sleep(0.01)
    first.ack()
    second = await soon(taken)
    assert second.body == b"2"
    second.ack()
    consumer.close()

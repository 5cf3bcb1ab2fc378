"""Consumers of topics and queues in tasks: waiting, waking, ends, and what is committed when."""

import asyncio
import gc
import signal
import threading
import time

import pytest

import msglog
from msglog import TopicPartition as Tp
from msglog import aio
from support.brokers import forget
from support.tasks import CountingSelector, soon, turns


def each_kind(own):
    """Return a consumer of each kind, and a call of each that waits."""
    queue = own.broker.consume("q")
    topic = own.log.consumer("t", group="g")
    share = own.log.share_consumer("t", group="s")
    return [queue, topic, share], [queue.get, topic.poll, share.poll]


async def test_waiting_is_over_in_time(own):
    consumers, waits = each_kind(own)
    for wait in waits:
        assert not await wait(0)
        began = time.monotonic()
        assert not await wait(0.02)
        assert time.monotonic() - began >= 0.019
    assert await own.broker.get("q") is None
    assert await own.broker.get("q", timeout=0.02) is None
    for consumer in consumers:
        assert [item async for item in consumer.iter(0)] == []
        assert [item async for item in consumer.iter(0.01)] == []
        await consumer.close()


async def test_who_waits_gets_what_comes_from_a_task(own):
    consumers, waits = each_kind(own)
    calls = [asyncio.create_task(wait()) for wait in waits]
    await turns()
    await own.log.append("t", b"record")
    await own.broker.send("q", b"message")
    delivery, polled, shared = await soon(asyncio.gather(*calls))
    assert (delivery.body, polled[0].value, shared[0].value) == (b"message", b"record", b"record")
    delivery.ack()
    shared[0].ack()
    for consumer in consumers:
        await consumer.close()


async def test_who_waits_gets_what_comes_from_a_thread(own, store):
    consumers, waits = each_kind(own)
    calls = [asyncio.create_task(wait()) for wait in waits]
    await turns()
    await asyncio.to_thread(store.log.append, "t", b"record")
    await asyncio.to_thread(store.broker.send, "q", b"message")
    delivery, polled, shared = await soon(asyncio.gather(*calls))
    assert (delivery.body, polled[0].value, shared[0].value) == (b"message", b"record", b"record")
    delivery.ack()
    shared[0].ack()
    for consumer in consumers:
        await consumer.close()


async def test_each_message_goes_to_one_task_in_turn(own, store):
    async with own.broker.consume("q") as consumer:
        calls = [asyncio.create_task(consumer.get()) for _ in range(20)]
        await turns()
        for number in range(20):
            store.broker.send("q", b"%d" % number)
        got = await soon(asyncio.gather(*calls))
        assert [int(delivery.body) for delivery in got] == list(range(20))
        for delivery in got:
            delivery.ack()


async def test_prefetch_holds_back_until_something_is_settled(own):
    for number in range(3):
        await own.broker.send("q", b"%d" % number)
    async with own.broker.consume("q", prefetch_count=2) as consumer:
        first, second = await consumer.get(), await consumer.get()
        assert await consumer.get(0) is None
        third = asyncio.create_task(consumer.get())
        await turns()
        assert not third.done()
        first.ack()
        assert (await soon(third)).body == b"2"
        second.ack()
        third.result().ack()


async def test_a_delivery_settles_by_how_its_block_ends(own, store):
    await own.broker.send("q", b"x")
    async with await own.broker.get("q") as delivery:
        pass
    assert delivery.settled
    await own.broker.send("q", b"y")

    async def work():
        async with await own.broker.get("q", timeout=5):
            await asyncio.sleep(10)

    task = asyncio.create_task(work())
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    back = await own.broker.get("q")
    assert (back.body, back.redelivered) == (b"y", True)
    with pytest.raises(ZeroDivisionError):
        async with back:
            raise ZeroDivisionError
    assert store.broker.queues()[0].message_count == 0  # it backs off


async def test_waits_for_due_times_end_when_the_clock_is_moved(own, clock):
    await own.broker.send("q", b"later", delay_ms=60_000)
    call = asyncio.create_task(own.broker.get("q", timeout=None))
    await turns()
    clock.advance(ms=59_999)
    await turns()
    assert not call.done()
    clock.advance(ms=1)
    delivery = await soon(call)
    assert delivery.body == b"later"
    delivery.ack()


@pytest.mark.parametrize("ending", ["stop", "close", "thread", "signal"])
async def test_stop_ends_every_wait_and_iteration(own, ending):
    consumers, waits = each_kind(own)

    async def iterate(consumer):
        return [item async for item in consumer]

    iterations = [] if ending == "close" else [asyncio.create_task(iterate(consumers[0]))]
    calls = [asyncio.create_task(wait()) for wait in waits]
    await turns()

    def stop(*_):
        for consumer in consumers:
            consumer.stop()

    if ending == "stop":
        stop()
    elif ending == "thread":
        threading.Thread(target=stop).start()
    elif ending == "signal":
        before = signal.signal(signal.SIGUSR1, stop)
        signal.raise_signal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, before)
    else:
        for consumer in consumers:
            consumer.stop()
            await consumer.close()
    results = await soon(asyncio.gather(*calls, *iterations, return_exceptions=True))
    assert not any(results) or ending == "close"
    for consumer in consumers:
        await consumer.close()
        await consumer.close()


@pytest.mark.parametrize("whose", ["its own", "the handle's"])
async def test_closing_a_consumer_of_topics_ends_its_wait_as_stopping_does(own, whose):
    consumers = own.log.consumer("t", group="g"), own.log.share_consumer("t", group="s")
    iterated = own.log.consumer("t"), own.log.share_consumer("t", group="i")
    waits = [asyncio.create_task(consumer.poll()) for consumer in consumers]
    waits += [asyncio.create_task(all_of(consumer)) for consumer in iterated]
    await turns()
    if whose == "its own":
        for consumer in (*consumers, *iterated):
            await consumer.close()
    else:
        await own.close()
    assert await soon(asyncio.gather(*waits)) == [[], [], [], []]
    with pytest.raises(msglog.ClosedError):
        await consumers[0].poll()


async def all_of(consumer):
    return [record async for record in consumer]


async def test_closing_the_store_ends_every_wait(own, store):
    _, waits = each_kind(own)
    calls = [asyncio.create_task(wait()) for wait in (*waits, lambda: own.broker.get("q", timeout=None))]
    await turns()
    await asyncio.to_thread(store.close)
    results = await soon(asyncio.gather(*calls, return_exceptions=True))
    # A store that closes stops consumers before it closes them: who looks in between returns empty-handed.
    assert all(not result or isinstance(result, msglog.ClosedError) for result in results)
    for wait in waits:
        with pytest.raises(msglog.ClosedError):
            await wait()
    with pytest.raises(msglog.ClosedError):
        await own.log.append("t", b"x")


async def test_a_queue_that_is_deleted_cancels_who_waits(own):
    consumer = own.broker.consume("q")
    call = asyncio.create_task(consumer.get())
    await turns()
    await own.broker.delete_queue("q")
    with pytest.raises(msglog.ConsumerCancelledError):
        await soon(call)
    await consumer.close()
    await own.broker.declare_queue("q")


async def test_a_consumer_of_a_topic_is_for_one_task_at_a_time(own):
    async with own.log.consumer("t") as consumer:
        call = asyncio.create_task(consumer.poll(), name="first")
        await turns()
        with pytest.raises(RuntimeError, match="first"):
            await consumer.poll(0)
        await own.log.append("t", b"x")
        assert len(await soon(call)) == 1


async def test_auto_commit_leaves_out_what_a_cancelled_task_had_in_hand(own, store):
    for number in range(3):
        await own.log.append("t", b"%d" % number)

    async def work():
        async with own.log.consumer("t", group="g", auto_commit=True) as consumer:
            async for record in consumer:
                if record.offset == 1:
                    await asyncio.sleep(10)

    task = asyncio.create_task(work())
    await turns(20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.log.describe_group("g").offsets == {Tp("t", 0): 1}


@pytest.mark.parametrize("by", ["another task", "the store"])
async def test_a_close_by_somebody_else_does_not_commit_what_is_in_hand(own, store, by):
    for number in range(3):
        await own.log.append("t", b"%d" % number)
    consumer = own.log.consumer("t", group="g", auto_commit=True)

    async def work():
        async for record in consumer:
            if record.offset == 1:
                await asyncio.sleep(10)

    task = asyncio.create_task(work())
    await turns(20)
    await (consumer if by == "another task" else own).close()
    assert store.log.describe_group("g").offsets == {Tp("t", 0): 1}
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_transaction_takes_what_a_task_has_in_hand(own, store):
    await own.log.append("t", b"1")
    await own.broker.send("q", b"2")
    async with own.log.consumer("t", group="g") as consumer, own.log.share_consumer("t", group="s") as share:
        await consumer.poll()
        (shared,) = await share.poll()
        delivery = await own.broker.get("q")
        async with own.transaction() as tx:
            tx.ack(delivery)
            tx.ack(shared)
            tx.commit_offsets(consumer)
            tx.append("two", b"3", partition=0)
        assert delivery.settled
    assert store.log.describe_group("g").lag == {Tp("t", 0): 0}
    assert [record.value for record in store.log.read("two", 0)] == [b"3"]


async def test_a_commit_is_written_at_once_and_durable_when_awaited(own, store):
    await own.log.append("t", b"1")
    async with own.log.consumer("t", group="g") as consumer:
        await consumer.poll()
        waiting = consumer.commit()
        assert consumer.committed(Tp("t", 0)) == 1
        await waiting
    assert store.log.describe_group("g").offsets == {Tp("t", 0): 1}


async def test_rebalance_callbacks_get_the_consumer_of_the_loop(own):
    seen = []
    here = threading.current_thread()

    def assigned(consumer, partitions):
        seen.append((consumer, partitions, threading.current_thread()))

    async with own.log.consumer("two", group="g", on_assign=assigned) as consumer:
        await consumer.poll(0)
        assert seen == [(consumer, frozenset({Tp("two", 0), Tp("two", 1)}), here)]


async def ignore(_): ...


WITHOUT_A_LOOP = {
    "consumer": lambda own: own.log.consumer("two", group="g"),
    "share consumer": lambda own: own.log.share_consumer("two", group="g"),
    "subscription": lambda own: own.log.subscribe("two", group="g", callback=ignore),
    "queue subscription": lambda own: own.broker.subscribe("q", ignore),
}


@pytest.mark.parametrize("kind", WITHOUT_A_LOOP)
def test_without_a_loop_nothing_is_made(own, store, kind):
    with pytest.raises(msglog.NoEventLoopError, match="no running event loop"):
        WITHOUT_A_LOOP[kind](own)
    gc.collect()
    assert store.log.groups() == []
    assert store.broker.queues()[0].consumer_count == 0


async def assign_later(_consumer, _partitions): ...


@pytest.mark.parametrize("name", ["on_assign", "on_revoke", "on_lost"])
async def test_a_rebalance_callback_that_nobody_would_await_is_refused(own, store, name):
    for log in (own.log, store.log):
        with pytest.raises(msglog.InvalidTypeError, match=f"{name} must be a plain function"):
            log.consumer("two", group="g", **{name: assign_later})
    assert store.log.groups() == []


async def test_what_a_callback_writes_in_a_thread_s_way_is_durable(own, store):
    engine = store.core.engine
    seen = []

    def assigned(_, partitions):
        store.log.append("t", b"x")
        seen.append((engine.published, engine.commit_number, partitions))

    async with own.log.consumer("two", group="g", on_assign=assigned) as consumer:
        await consumer.poll(0)
    ((published, number, _),) = seen
    assert published == number


async def test_members_share_partitions_and_take_over(own):
    first, second = (own.log.consumer("two", group="g") for _ in range(2))
    for _ in range(3):
        await first.poll(0)
        await second.poll(0)
    assert {*first.assignment(), *second.assignment()} == {Tp("two", 0), Tp("two", 1)}
    assert len(first.assignment()) == len(second.assignment()) == 1
    waiting = asyncio.create_task(second.poll())
    await turns()
    await first.close()
    await own.log.append("two", b"0", partition=0)
    await own.log.append("two", b"1", partition=1)
    got = list(await soon(waiting))
    while len(got) < 2:
        got += await soon(second.poll())
    assert sorted(record.value for record in got) == [b"0", b"1"]
    await second.close()


async def test_a_consumer_that_is_forgotten_warns_and_gives_back(own):
    await own.broker.send("q", b"x")
    held = [own.broker.consume("q")]
    held.append(await held[0].get())
    with pytest.warns(ResourceWarning):
        forget(held)
    back = await soon(own.broker.get("q", timeout=5))
    back.ack()


IDLE = 250


def test_idle_consumers_cost_no_cpu(store):
    """A thousand tasks that wait: their loop does not run while nothing happens, and no thread runs for them."""
    selector = CountingSelector()

    async def main():
        own = aio.Store(store)
        before = threading.active_count()
        consumers, calls = [], []
        for number in range(IDLE):
            await own.broker.declare_queue(f"q{number}")
            queue = own.broker.consume(f"q{number}")
            topic = own.log.consumer("t", group=f"g{number}")
            share = own.log.share_consumer("t", group="shared")
            consumers += [queue, topic, share]
            calls += [queue.get(), topic.poll(), share.poll(3600), own.broker.get(f"q{number}", timeout=None)]
        tasks = [asyncio.create_task(call) for call in calls]
        await turns(20)
        threads = threading.active_count()
        turns_before, cpu_before = selector.turns, time.thread_time()
        await asyncio.sleep(1)
        assert selector.turns - turns_before <= 3
        assert time.thread_time() - cpu_before < 0.1
        assert threads - before < 40  # the executor's, and none for a consumer
        await own.broker.send("q0", b"x")
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        (delivery,) = [task.result() for task in done]
        delivery.ack()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for consumer in consumers:
            await consumer.close()
        await own.close()

    run_counted(main(), selector)


def run_counted(work, selector):
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(work)


def test_wakes_are_coalesced(store):
    """However much happens before a task looks, its loop is called once."""
    selector = CountingSelector()

    async def main():
        own = aio.Store(store)
        async with own.log.consumer("t") as consumer:
            call = asyncio.create_task(consumer.poll())
            await turns()
            loop = asyncio.get_running_loop()
            scheduled = []
            threadsafe = loop.call_soon_threadsafe
            loop.call_soon_threadsafe = lambda *args, **kwargs: scheduled.append(args) or threadsafe(*args, **kwargs)
            thread = threading.Thread(target=lambda: [store.log.append_many("t", [b"x"] * 10) for _ in range(200)])
            thread.start()
            thread.join()  # the loop stands still meanwhile
            assert len(scheduled) == 1
            assert len(await soon(call)) == 500

    run_counted(main(), selector)

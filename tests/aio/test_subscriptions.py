"""Coroutines that are called for messages: how many at a time, retries, ends of all kinds."""

import asyncio
import logging
import signal
import threading

import pytest

import msglog
from msglog import Retry, aio
from msglog import TopicPartition as Tp
from support.brokers import ready
from support.tasks import run, soon, turns, until

KINDS = ["queue", "topic"]


def subscribe(own, kind, callback, **options):
    if kind == "queue":
        return own.broker.subscribe("q", callback, **options)
    return own.log.subscribe("two", group="g", callback=callback, **options)


async def send(own, kind, count=1):
    for number in range(count):
        if kind == "queue":
            await own.broker.send("q", b"%d" % number)
        else:
            await own.log.append("two", b"%d" % number, partition=number % 2)


def payload(message):
    return message.body if isinstance(message, msglog.Delivery) else message.value


def left_over(store, kind):
    if kind == "queue":
        return ready(store.broker, "q")
    committed = store.log.describe_group("g").offsets if "g" in store.log.groups() else {}
    return sum(store.log.end_offset("two", one) - committed.get(Tp("two", one), 0) for one in (0, 1))


@pytest.mark.parametrize("kind", KINDS)
async def test_everything_is_handled_once(own, store, kind):
    seen = []

    async def work(message):
        await asyncio.sleep(0)
        seen.append(payload(message))

    async with subscribe(own, kind, work, concurrency=2) as subscription:
        await send(own, kind, 100)
        assert await subscription.wait_idle(10)
    assert sorted(map(int, seen)) == list(range(100))
    assert left_over(store, kind) == 0


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_no_more_callbacks_run_at_a_time(own, store, concurrency):
    running, most = 0, 0

    async def work(_):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    await send(own, "queue", 20)
    async with own.broker.subscribe("q", work, concurrency=concurrency) as subscription:
        assert await subscription.wait_idle(10)
    assert most == concurrency
    assert ready(store.broker, "q") == 0


async def test_no_more_is_in_hand_than_callbacks_run(own, store):
    release = asyncio.Event()

    async def work(_):
        await release.wait()

    await send(own, "queue", 20)
    async with own.broker.subscribe("q", work, concurrency=3) as subscription:
        await turns(20)
        assert ready(store.broker, "q") == 17
        release.set()
        assert await subscription.wait_idle(10)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_fails_is_tried_again_after_its_back_off(own, clock, kind, caplog):
    attempts = []

    async def work(message):
        attempts.append(payload(message))
        if len(attempts) < 3:
            raise ZeroDivisionError

    async with subscribe(own, kind, work, on_error=Retry(delay_ms=1000, factor=1.0)) as subscription:
        await send(own, kind)
        await until(lambda: len(attempts) == 1)
        for count in (2, 3):
            clock.advance(ms=999)
            await turns(20)
            assert len(attempts) == count - 1
            clock.advance(ms=1)
            await until(lambda count=count: len(attempts) == count)
        assert await subscription.wait_idle(10)
    assert attempts == [b"0"] * 3
    assert [record.levelno for record in caplog.records if "failed" in record.message] == [logging.WARNING] * 2


@pytest.mark.parametrize("kind", KINDS)
async def test_what_fails_too_often_is_given_up(own, store, kind):
    seen = []

    async def work(message):
        seen.append(payload(message))
        if payload(message) == b"0":
            raise ZeroDivisionError

    async with subscribe(own, kind, work, on_error=Retry(limit=0)) as subscription:
        await send(own, kind, 2)
        assert await subscription.wait_idle(10)
    assert sorted(seen) == [b"0", b"1"]
    assert left_over(store, kind) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["task", "thread", "signal"])
async def test_stop_ends_after_the_message_in_hand(own, store, kind, how):
    begun, release, seen = asyncio.Event(), asyncio.Event(), []

    async def work(message):
        begun.set()
        await release.wait()
        seen.append(payload(message))

    subscription = subscribe(own, kind, work)
    await send(own, kind, 2)
    await soon(begun.wait())

    def stop(*_):
        subscription.stop()

    if how == "task":
        stop()
    elif how == "thread":
        await asyncio.to_thread(stop)
    else:
        before = signal.signal(signal.SIGUSR1, stop)
        signal.raise_signal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, before)
    assert not await subscription.join(0.01)
    release.set()
    assert await subscription.join(10)
    assert len(seen) == 1
    await subscription.close()
    await subscription.close()
    assert left_over(store, kind) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ["close", "store", "exit"])
async def test_a_close_gives_callbacks_their_time(own, store, kind, ending):
    begun, seen = asyncio.Event(), []

    async def work(message):
        begun.set()
        await asyncio.sleep(0.02)
        seen.append(payload(message))

    subscription = subscribe(own, kind, work)
    await send(own, kind)
    await soon(begun.wait())
    if ending == "close":
        await subscription.close()
    elif ending == "exit":
        async with subscription:
            pass
    else:
        await own.close()
    assert seen == [b"0"]
    assert left_over(store, kind) == 0


async def test_a_broker_that_is_closed_gives_callbacks_their_time(own, store):
    begun, seen = asyncio.Event(), []

    async def work(delivery):
        begun.set()
        await asyncio.sleep(0.02)
        seen.append(delivery.body)

    async with aio.Broker(own) as broker:
        broker.subscribe("q", work)
        await broker.send("q", b"0")
        await soon(begun.wait())
    assert seen == [b"0"]
    assert left_over(store, "queue") == 0


async def test_a_log_that_is_closed_leaves_subscriptions_to_their_store(own):
    seen = []

    async def work(record):
        seen.append(record.value)

    async with aio.Log(own) as log:
        subscription = log.subscribe("two", group="g", callback=work)
    await send(own, "topic")
    assert await subscription.wait_idle(10)
    assert seen == [b"0"]
    await subscription.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_store_of_a_path_gives_callbacks_their_time(tmp_path, kind):
    begun, seen = asyncio.Event(), []

    async def work(message):
        begun.set()
        await asyncio.sleep(0.02)
        seen.append(payload(message))

    if kind == "queue":
        async with aio.Broker(tmp_path / "own") as broker:
            await broker.declare_queue("q")
            broker.subscribe("q", work)
            await broker.send("q", b"0")
            await soon(begun.wait())
    else:
        async with aio.Log(tmp_path / "own") as log:
            await log.create_topic("two", partitions=2)
            log.subscribe("two", group="g", callback=work)
            await log.append("two", b"0")
            await soon(begun.wait())
    assert seen == [b"0"]
    with msglog.Store(tmp_path / "own") as store:
        assert left_over(store, kind) == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_callbacks_that_close_each_other_s_subscription_do_not_wait_for_each_other(own, kind):
    both = asyncio.Barrier(2)

    def closing(other):
        async def work(_):
            await both.wait()
            await subscriptions[other].close()

        return work

    async def ignore(_):
        await both.wait()
        await subscriptions[0].close()

    await own.broker.declare_queue("second")
    subscriptions = [subscribe(own, kind, closing(1)), own.broker.subscribe("second", ignore)]
    await send(own, kind)
    await own.broker.send("second", b"")
    for subscription in subscriptions:
        assert await soon(subscription.join())


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cancellation_that_the_callback_met_is_told_and_ends_its_task(own, store, kind, caplog):
    async def work(_):
        raise asyncio.CancelledError

    subscription = subscribe(own, kind, work)
    with caplog.at_level(logging.ERROR, "msglog.subscription"):
        await send(own, kind)
        assert await soon(subscription.join())
    assert [record.event for record in caplog.records] == ["worker_failed"]
    assert left_over(store, kind) == 1
    await subscription.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_task_that_is_cancelled_ends_without_a_word(own, store, kind, caplog):
    begun = asyncio.Event()

    async def work(_):
        begun.set()
        await asyncio.sleep(60)

    subscription = subscribe(own, kind, work)
    await send(own, kind)
    await soon(begun.wait())
    await subscription.close(timeout=0)
    assert not caplog.records
    assert left_over(store, kind) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_ends_although_callbacks_lose_its_cancellation(tmp_path, kind):
    begun = []

    async def work(_):
        begun.append(1)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            raise OSError("the library that waited says so") from error

    async def main():
        await own.log.create_topic("two", partitions=2)
        await own.broker.declare_queue("q")
        subscribe(own, kind, work, concurrency=2, on_error=msglog.Retry(delay_ms=0))
        await send(own, kind, 4)
        await until(lambda: begun)

    with msglog.Store(tmp_path / "store") as store:
        own = aio.Store(store)
        run(main())  # which cancels what is left, and waits for it
        assert left_over(store, kind) == 4


async def test_a_queue_whose_tasks_have_all_ended_has_no_consumer(own):
    async def work(_): ...

    subscription = own.broker.subscribe("q", work, concurrency=3)
    assert own.broker.queues()[0].consumer_count == 1
    await turns()
    subscription.stop()
    assert await soon(subscription.join())
    assert own.broker.queues()[0].consumer_count == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_a_close_with_a_timeout_cancels_and_gives_back(own, store, kind):
    begun, cancelled = asyncio.Event(), []

    async def work(message):
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(payload(message))
            raise

    subscription = subscribe(own, kind, work)
    await send(own, kind)
    await soon(begun.wait())
    await soon(subscription.close(0.01))
    assert cancelled == [b"0"]
    assert left_over(store, kind) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_callback_may_close_its_subscription(own, store, kind):
    async def work(_):
        await subscription.close()

    subscription = subscribe(own, kind, work)
    await send(own, kind, 2)
    assert await soon(subscription.join())
    await subscription.close()
    assert left_over(store, kind) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_store_that_is_closed_under_it_ends_it(own, store, kind):
    async def work(_):
        raise AssertionError("nothing came")

    subscription = subscribe(own, kind, work, concurrency=2)
    await turns()
    waiting = asyncio.create_task(subscription.join())
    await asyncio.to_thread(store.close)
    assert await soon(waiting)
    await subscription.close()


async def test_a_deleted_queue_ends_it(own):
    async def work(_):
        raise AssertionError("nothing came")

    subscription = own.broker.subscribe("q", work)
    await turns()
    await own.broker.delete_queue("q")
    assert await subscription.join(10)
    await subscription.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_wait_idle_counts_to_its_timeout_and_hears_of_the_end(own, kind):
    release = asyncio.Event()

    async def work(_):
        await release.wait()

    subscription = subscribe(own, kind, work)
    assert await subscription.wait_idle(0)
    await send(own, kind)
    await turns(20)
    assert not await subscription.wait_idle(0)
    assert not await subscription.wait_idle(0.01)
    waiting = asyncio.create_task(subscription.wait_idle())
    await turns()
    release.set()
    assert await soon(waiting)
    await subscription.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_wait_idle_is_false_when_no_task_is_left(own, kind):
    begun = asyncio.Event()

    async def work(_):
        begun.set()
        await asyncio.sleep(60)

    subscription = subscribe(own, kind, work)
    await send(own, kind)
    await soon(begun.wait())
    waiting = asyncio.create_task(subscription.wait_idle())
    await turns()
    await soon(subscription.close(0))
    assert not await soon(waiting)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("callback", [print, lambda _: None, None, 3])
async def test_only_a_coroutine_function_is_taken(own, kind, callback):
    with pytest.raises(msglog.InvalidTypeError, match="coroutine function"):
        subscribe(own, kind, callback)
    for concurrency in (0, -1, 1 << 20):
        with pytest.raises(msglog.InvalidOptionError):
            subscribe(own, kind, asyncio.sleep, concurrency=concurrency)


async def test_replies_reach_who_asked(own):
    async def double(delivery):
        await delivery.reply(delivery.body * 2)

    async with own.broker.subscribe("q", double, concurrency=4):
        answers = await soon(
            asyncio.gather(*(own.broker.request("", "q", b"%d" % number, timeout=10) for number in range(50)))
        )
    assert [answer.body for answer in answers] == [b"%d" % number * 2 for number in range(50)]


async def test_partitions_are_handled_in_order_each(own):
    seen = {0: [], 1: []}

    async def work(record):
        await asyncio.sleep(0)
        seen[record.partition].append(record.offset)

    await send(own, "topic", 60)
    async with own.log.subscribe("two", group="g", callback=work, concurrency=2) as subscription:
        assert await subscription.wait_idle(10)
    assert seen == {0: list(range(30)), 1: list(range(30))}


async def test_offsets_are_committed_after_the_callback_only(own, store):
    begun, release = asyncio.Event(), asyncio.Event()

    async def work(_):
        begun.set()
        await release.wait()

    await send(own, "topic", 1)
    async with own.log.subscribe("two", group="g", callback=work) as subscription:
        await soon(begun.wait())
        assert store.log.describe_group("g").offsets.get(Tp("two", 0), 0) == 0
        release.set()
        assert await subscription.wait_idle(10)
    assert store.log.describe_group("g").offsets[Tp("two", 0)] == 1


def test_a_loop_that_ends_with_all_of_it_open_loses_nothing(store):
    """`asyncio.run` cancels what is left: messages go back, positions stay."""
    held = []

    async def main():
        own = aio.Store(store)
        begun = asyncio.Event()

        async def work(_):
            begun.set()
            await asyncio.sleep(60)

        await send(own, "queue", 3)
        await send(own, "topic", 1)
        held.append(own.broker.subscribe("q", work))
        held.append(own.log.subscribe("two", group="g", callback=work))
        asyncio.create_task(own.log.append("t", b"x"))  # noqa: RUF006 nobody waits for it
        await soon(begun.wait())
        await turns(20)

    run(main())
    assert left_over(store, "topic") == 1
    held.clear()


def test_threads_may_stop_and_settle_while_a_loop_works(store):
    seen = []
    stopped = threading.Event()

    def serve():
        async def main():
            own = aio.Store(store)

            async def work(delivery):
                seen.append(delivery.body)
                if delivery.body == b"end":
                    subscription.stop()

            subscription = own.broker.subscribe("q", work)
            await soon(subscription.join())
            await subscription.close()

        run(main())
        stopped.set()

    thread = threading.Thread(target=serve)
    thread.start()
    for number in range(50):
        store.broker.send("q", b"%d" % number)
    store.broker.send("q", b"end")
    assert stopped.wait(10)
    thread.join()
    assert seen == [*(b"%d" % number for number in range(50)), b"end"]

"""Consume, transform, produce, by tasks: `aio.Store.process` with each kind of source."""

import asyncio
import random
import threading
from contextlib import AsyncExitStack, suppress

import pytest

import msglog
from msglog import InvalidOptionError, InvalidTypeError, Retry, TopicPartition, aio
from msglog.storage import Engine
from msglog.transactions.dead_letters import DeadLetters
from support.brokers import ready, take
from support.dumps import check_counts
from support.tasks import cancel_at, run, soon, turns, until
from support.telling import tell

KINDS = ("consumer", "queue", "share")
TWICE = Retry(limit=1, delay_ms=0)
AT_ONCE = Retry(delay_ms=0)


@pytest.fixture
def store(store):
    prepare(store)
    return store


def prepare(store):
    store.log.create_topic("in")
    store.log.create_topic("out")
    store.broker.declare_queue("copies")
    store.broker.declare_queue("dead")
    store.broker.declare_queue("work", dead_letter_exchange="", dead_letter_routing_key="dead")


def body_of(message):
    return message.body if isinstance(message, msglog.Delivery) else message.value


async def copy(tx, message):
    """Write a message to the topic `out` and to the queue `copies`."""
    tx.append("out", body_of(message))
    await asyncio.sleep(0)
    tx.send("copies", body_of(message))


class Fails:
    """A handler that copies, and raises for some messages as often as is said."""

    def __init__(self, **times):
        self.left = {name.encode(): count for name, count in times.items()}
        self.calls = []

    async def __call__(self, tx, message):
        await copy(tx, message)
        body = body_of(message)
        self.calls.append(body)
        if self.left.get(body, 0):
            self.left[body] -= 1
            raise ValueError(body.decode())


def copied(store):
    """Return how many messages were copied so far; the queue may show the last one a moment later."""
    return store.log.end_offset("out")


def out(store):
    """Return what is in the topic, which is what is in the queue."""
    values = [record.value for record in store.log.read("out")]
    assert sorted(values) == sorted(message.body for message in store.broker.peek("copies", 1000))
    return values


class Stops(Fails):
    """The same for `bad` and `good`, that stops its source with the last call there will be."""

    def __init__(self, source, **times):
        super().__init__(**times)
        self.source = source

    async def __call__(self, tx, message):
        try:
            await super().__call__(tx, message)
        finally:
            if b"good" in self.calls and (b"bad" in self.calls and self.left.get(b"bad", 0) in (0, 8)):
                self.source.stop()


def fill(store, kind, *bodies):
    if kind == "queue":
        store.broker.publish_many("", [("work", body) for body in bodies])
    else:
        store.log.append_many("in", bodies)


def open_source(own, kind):
    if kind == "queue":
        return own.broker.consume("work")
    if kind == "share":
        return own.log.share_consumer("in", group="s", delivery_limit=1000)  # cancellations count
    return own.log.consumer("in", group="g")


def left(store, kind):
    """Return how many messages are not done with and not in hand."""
    if kind == "queue":
        return ready(store.broker, "work")
    lags = store.log.describe_group("s" if kind == "share" else "g").lag
    ends = {tp: store.log.end_offset(*tp) for tp in lags}
    return sum(ends[tp] if lag is None else lag for tp, lag in lags.items())  # None: nothing was committed yet


@pytest.mark.parametrize("kind", KINDS)
async def test_each_message_is_processed_once(own, store, kind):
    fill(store, kind, b"1", b"2", b"3")
    seen = []

    async def handler(tx, message):
        await copy(tx, message)
        seen.append(len(out(store)))

    async with open_source(own, kind) as source:
        assert await soon(own.process(source, handler, timeout=0)) == 3
        assert left(store, kind) == 0
    assert out(store) == [b"1", b"2", b"3"]
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_failed_is_rolled_back_and_tried_again(own, store, kind):
    fill(store, kind, b"1", b"2", b"3")
    handler = Fails(**{"2": 2})
    async with open_source(own, kind) as source:
        task = asyncio.create_task(own.process(source, handler, retry=AT_ONCE))
        await until(lambda: copied(store) == 3)
        source.stop()
        assert await soon(task) == 3
        assert left(store, kind) == 0
    assert sorted(out(store)) == [b"1", b"2", b"3"]
    assert handler.calls.count(b"2") == 3


async def test_a_partition_waits_for_its_record_and_others_go_on(own, store, clock):
    store.log.append_many("two", [b"bad", b"behind it"], partition=0)
    handler = Fails(bad=1)
    async with own.log.consumer("two", group="g") as source:
        task = asyncio.create_task(own.process(source, handler, retry=Retry(delay_ms=1000), timeout=0))
        await until(lambda: handler.calls == [b"bad"])
        store.log.append("two", b"other", partition=1)
        await until(lambda: copied(store) == 1)
        clock.advance(ms=999)
        await turns()
        assert handler.calls == [b"bad", b"other"]
        clock.advance(ms=1)
        assert await soon(task) == 3  # what is backed off is waited for, whatever the timeout
    assert out(store) == [b"other", b"bad", b"behind it"]


async def test_a_run_that_is_cancelled_during_a_back_off_leaves_the_partition_as_it_was(own, store):
    fill(store, "consumer", b"bad", b"behind it")
    handler = Fails(bad=1)
    async with open_source(own, "consumer") as source:
        task = asyncio.create_task(own.process(source, handler, retry=Retry(delay_ms=1000)))
        await until(lambda: handler.calls)
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await soon(own.process(source, handler, timeout=0)) == 2
    assert out(store) == [b"bad", b"behind it"]


@pytest.mark.parametrize("kind", ["queue", "share"])
async def test_what_is_backed_off_comes_later_and_others_go_on(own, store, kind, clock):
    fill(store, kind, b"bad", b"good")
    handler = Fails(bad=1)
    async with open_source(own, kind) as source:
        assert await soon(own.process(source, handler, retry=Retry(delay_ms=1000), timeout=0)) == 1
        assert out(store) == [b"good"]
        clock.advance(ms=999)
        assert await soon(own.process(source, handler, timeout=0)) == 0
        clock.advance(ms=1)
        assert await soon(own.process(source, handler, timeout=0)) == 1
    assert out(store) == [b"good", b"bad"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_poison_message_becomes_a_dead_letter(own, store, kind):
    fill(store, kind, b"bad", b"good")
    async with open_source(own, kind) as source:
        assert await soon(own.process(source, Fails(bad=9), retry=Retry(limit=0), timeout=0)) == 2
        assert left(store, kind) == 0
    assert out(store) == [b"good"]
    if kind == "queue":
        assert take(store.broker, "dead") == [b"bad"]
    else:
        (letter,) = store.log.read("in.dead-letters")
        assert letter.value == b"bad"
        assert ("dead-letter-reason", b"ValueError: bad") in letter.headers


@pytest.mark.parametrize("kind", ["consumer", "share"])
async def test_a_topic_of_ones_own_for_dead_letters(own, store, kind):
    fill(store, kind, b"bad")
    async with open_source(own, kind) as source:
        await soon(own.process(source, Fails(bad=9), retry=TWICE, timeout=0.05, dead_letter="graveyard"))
    assert [record.value for record in store.log.read("graveyard")] == [b"bad"]
    assert "in.dead-letters" not in store.log.topics()


@pytest.mark.parametrize("kind", KINDS)
async def test_stopping_from_a_handler(own, store, kind):
    fill(store, kind, b"1", b"2")
    async with open_source(own, kind) as source:

        async def handler(tx, message):
            await copy(tx, message)
            source.stop()

        assert await soon(own.process(source, handler)) == 1
        assert left(store, kind) == 1
    assert out(store) == [b"1"]


@pytest.mark.parametrize("kind", KINDS)
async def test_stopping_and_closing_end_the_wait(own, kind):
    for end in ("stop", "close"):
        async with open_source(own, kind) as source:
            task = asyncio.create_task(own.process(source, copy))
            await turns()
            assert not task.done()
            if end == "stop":
                await asyncio.to_thread(source.stop)
                assert await soon(task) == 0
            else:
                await source.close()
                (ended,) = await asyncio.gather(task, return_exceptions=True)
                assert isinstance(ended, msglog.ClosedError) if kind == "queue" else ended == 0  # as for threads


@pytest.mark.parametrize("kind", KINDS)
async def test_a_source_that_is_closed_meanwhile(own, store, kind):
    """The message in hand belongs to the next, with nothing of it done."""
    fill(store, kind, b"1")
    entered, closed = asyncio.Event(), asyncio.Event()

    async def slow(tx, message):
        await copy(tx, message)
        entered.set()
        await closed.wait()

    async with open_source(own, kind) as source:
        task = asyncio.create_task(own.process(source, slow))
        await soon(entered.wait())
        await soon(source.close())
        closed.set()
        with pytest.raises(msglog.ClosedError):
            await soon(task)
    assert out(store) == []
    async with open_source(own, kind) as another:
        assert await soon(own.process(another, copy, timeout=0)) == 1
    assert out(store) == [b"1"]


async def test_the_handler_may_settle_the_message_itself(own, store):
    fill(store, "queue", b"1", b"2")

    async def reject(tx, delivery):
        tx.reject(delivery)

    async with open_source(own, "queue") as source:
        assert await soon(own.process(source, reject, timeout=0)) == 2
    assert take(store.broker, "dead") == [b"1", b"2"]


async def test_a_record_that_went_to_another_member_meanwhile(own, store):
    """It is processed by who has the partition: once."""
    fill(store, "consumer", b"1")
    calls = []

    async def slow(tx, record):
        await copy(tx, record)
        calls.append(record)
        if len(calls) == 1:
            source.sync.abandon()  # as when it was evicted
            source.sync._stopped = False

    async with open_source(own, "consumer") as source:
        assert await soon(own.process(source, slow, timeout=0)) == 1
    assert out(store) == [b"1"]
    assert store.log.describe_group("g").offsets == {TopicPartition("in", 0): 1}


async def test_tasks_share_a_queue(own, store):
    fill(store, "queue", *(b"%d" % number for number in range(60)))
    inside = most = 0

    async def handler(tx, message):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await copy(tx, message)
        await asyncio.sleep(0.001)
        inside -= 1

    async with open_source(own, "queue") as source:
        counts = await soon(asyncio.gather(*(own.process(source, handler, timeout=0) for _ in range(10))))
    assert sum(counts) == 60
    assert most == 10
    assert sorted(map(int, out(store))) == list(range(60))


async def test_a_consumer_of_topics_is_for_one_task(own, store):
    """Or two would commit past each other's records."""
    fill(store, "consumer", b"1")
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def slow(tx, record):
        assert await source.poll(0, max_records=1) == []  # its own task may go on using it
        entered.set()
        await go_on.wait()
        await copy(tx, record)

    async with open_source(own, "consumer") as source:
        task = asyncio.create_task(own.process(source, slow, timeout=0))
        await soon(entered.wait())
        for call in (own.process(source, copy), source.poll(0)):
            with pytest.raises(RuntimeError, match="one task at a time"):
                await soon(call)
        go_on.set()
        assert await soon(task) == 1
        assert await source.poll(0) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_handlers_that_never_wait_let_others_have_their_turn(own, store, kind):
    fill(store, kind, *[b"x"] * 150)
    turns_of_others = 0

    async def count():
        nonlocal turns_of_others
        while True:
            turns_of_others += 1
            await asyncio.sleep(0)

    seen = []

    async def nothing(_tx, _message):
        seen.append(turns_of_others)

    counter = asyncio.create_task(count())
    async with open_source(own, kind) as source:
        assert await soon(own.process(source, nothing, timeout=0)) == 150
    counter.cancel()
    assert seen[-1] - seen[0] >= 2


def test_no_sync_is_waited_for_in_the_loop(tmp_path, monkeypatch):
    """Neither that of the messages, nor that of dead letters and of the topic for them."""
    waited = set()
    wait = Engine.wait

    def noted(engine, number):
        if not msglog.storage.in_force.deferral:
            waited.add(threading.current_thread())
        wait(engine, number)

    async def main():
        async with aio.Store(tmp_path / "store") as own:
            await asyncio.to_thread(prepare, own.sync)
            for kind in KINDS:
                await asyncio.to_thread(fill, own.sync, kind, b"good", b"bad")
                async with open_source(own, kind) as source:
                    monkeypatch.setattr(Engine, "wait", noted)
                    await soon(own.process(source, Fails(bad=9), retry=Retry(limit=0), timeout=0))
                    monkeypatch.undo()

    run(main())
    assert waited
    assert threading.current_thread() not in waited


def plain(tx, message): ...


async def one_argument(tx): ...


async def generator(tx, message):
    yield await copy(tx, message)


@pytest.mark.parametrize("kind", KINDS)
async def test_inside_of_a_transaction_nothing_is_processed(own, store, kind):
    fill(store, kind, b"1")
    async with open_source(own, kind) as source:
        async with own.transaction():
            with pytest.raises(msglog.TransactionError, match="do not nest"):
                await own.process(source, copy, retry=Retry(limit=0), timeout=0)
        assert await soon(own.process(source, copy, timeout=0)) == 1


async def test_bad_input(own, store):
    async with own.log.consumer("in") as groupless, own.log.consumer("in", group="a", auto_commit=True) as automatic:
        for source in (groupless, automatic):
            with pytest.raises(InvalidOptionError, match="auto_commit=False"):
                await own.process(source, copy, timeout=0)
    async with own.broker.consume("work", no_ack=True) as settled:
        with pytest.raises(InvalidOptionError, match="no_ack=False"):
            await own.process(settled, copy, timeout=0)
    with store.broker.consume("work") as of_threads, pytest.raises(InvalidTypeError, match=r"source .* of msglog\.aio"):
        await own.process(of_threads, copy, timeout=0)
    async with open_source(own, "queue") as source:
        for handler in (None, plain, Fails().calls, generator):
            with pytest.raises(InvalidTypeError, match="handler must be a coroutine function that takes"):
                await own.process(source, handler, timeout=0)
        with pytest.raises(InvalidTypeError, match=r"handler must be .* that takes a Transaction and a message"):
            await own.process(source, one_argument, timeout=0)
        with pytest.raises(InvalidTypeError, match="retry"):
            await own.process(source, copy, retry=3, timeout=0)
        with pytest.raises(InvalidOptionError, match="timeout"):
            await own.process(source, copy, timeout=-1)
        with pytest.raises(InvalidOptionError, match="dead_letter"):
            await own.process(source, copy, timeout=0, dead_letter="in")
        async with aio.Store(":memory:") as other:
            with pytest.raises(InvalidOptionError, match="same store"):
                await other.process(source, copy, timeout=0)
    async with open_source(own, "consumer") as source:
        with pytest.raises(msglog.InvalidNameError):
            await own.process(source, copy, timeout=0, dead_letter="two words")
    with pytest.raises(msglog.ClosedError):
        await aio.Store(":memory:").process(source, copy)


@pytest.mark.parametrize("kind", ["consumer", "queue"])
async def test_what_cannot_be_given_up_is_still_to_be_done(own, store, kind, monkeypatch):
    """A full disk, say: neither is it passed over, nor does it stay in hand."""
    fill(store, kind, b"1", b"2")

    def full(*_arguments):
        raise msglog.DiskFullError("no space")

    async with open_source(own, kind) as source:
        monkeypatch.setattr(DeadLetters, "topic_for", full)
        monkeypatch.setattr(msglog.Delivery, "reject", full)
        with pytest.raises(msglog.DiskFullError):
            await soon(own.process(source, Fails(**{"1": 1}), retry=Retry(limit=0), timeout=0))
        assert await soon(own.process(source, copy, timeout=0)) == 2
    assert out(store) == [b"1", b"2"]


@pytest.mark.parametrize("outcome", ["done", "dead letter", "comes later"])
@pytest.mark.parametrize("when", ["early", "late"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_cancelled_leaves_each_message_done_or_to_be_done(tmp_path, kind, when, outcome, record_property):
    """Whatever it awaits: the handler, syncs, the topic of dead letters, the next message."""

    async def scenario(store, step):
        own = aio.Store(store)
        fails = {"bad": 1 if outcome == "comes later" else 9} if outcome != "done" else {}
        retry = AT_ONCE if outcome == "comes later" else Retry(limit=0)
        async with open_source(own, kind) as source:
            if outcome != "comes later":
                fill(store, kind, b"bad", b"good")
            work = own.process(source, Stops(source, **fails), retry=retry)
            task = asyncio.create_task(cancel_at(work, step, when))
            if outcome == "comes later":
                await turns(3)
                await asyncio.to_thread(fill, store, kind, b"bad", b"good")
            reached, _ = await soon(task)
            await asyncio.to_thread(store.flush)
            letters = dead_letters(store, kind)
            done = out(store)
            assert len(done) == len(set(done))
            assert not set(done) & set(letters)
            # A delivery that fails is settled by the next sync, which is here; what is not done is to be done.
            again = {*done, *letters}
            assert left(store, kind) == 2 - len(again)
            if kind == "consumer":
                source.sync._stopped = False  # to go on where it stands
                assert await soon(own.process(source, Fails(), timeout=0)) == 2 - len(again)
            else:  # nothing stays in the hand of the first one
                async with open_source(own, kind) as another:
                    assert await soon(own.process(another, Fails(), timeout=0)) == 2 - len(again)
            assert sorted([*out(store), *dead_letters(store, kind)]) == [b"bad", b"good"]
            assert left(store, kind) == 0
        return reached

    for step in range(1, 60):
        with msglog.Store(tmp_path / f"{step}") as store:
            prepare(store)
            if not run(scenario(store, step)):
                tell(record_property, awaits_cancelled=step - 1)
                assert step > 3
                return
    raise AssertionError("it never ends")


def dead_letters(store, kind):
    if kind == "queue":
        return [message.body for message in store.broker.peek("dead", 10)]
    if "in.dead-letters" not in store.log.topics():
        return []
    return [record.value for record in store.log.read("in.dead-letters")]


@pytest.mark.parametrize("kind", KINDS)
def test_cancelling_the_wait_for_the_sync_says_nothing_of_a_message_that_is_lost(tmp_path, kind, monkeypatch, caplog):
    """What was written is done with, and that is no news."""
    entered, opened = threading.Event(), threading.Event()
    wait = Engine.wait

    def held(engine, number):
        entered.set()
        assert opened.wait(10)
        wait(engine, number)

    async def handler(tx, message):
        await copy(tx, message)
        monkeypatch.setattr(Engine, "wait", held)

    async def main(store):
        own = aio.Store(store)
        async with open_source(own, kind) as source:
            task = asyncio.create_task(own.process(source, handler))
            assert await asyncio.to_thread(entered.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            opened.set()
            monkeypatch.undo()
            assert await soon(own.process(source, copy, timeout=0)) == 1
            assert left(store, kind) == 0

    with msglog.Store(tmp_path / "store") as store:
        prepare(store)
        fill(store, kind, b"1", b"2")
        run(main(store))
        store.flush()
        assert out(store) == [b"1", b"2"]
    assert [record.message for record in caplog.records if record.levelname != "DEBUG"] == []


@pytest.mark.parametrize("kind", KINDS)
def test_workers_that_are_cancelled_again_and_again_process_each_message_once(tmp_path, kind):
    chance = random.Random(kind)
    bodies = [b"%d" % number for number in range(60)]
    fails = Fails(**{"7": 2, "30": 1})

    async def handler(tx, message):
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        await fails(tx, message)

    async def work(own, source):
        while copied(own.sync) < len(bodies):
            with suppress(TimeoutError):
                async with asyncio.timeout(chance.uniform(0, 0.02)):
                    await own.process(source, handler, retry=AT_ONCE)

    async def main(store):
        own = aio.Store(store)
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            shared = open_source(own, kind)  # by all tasks, where that may be
            await stack.enter_async_context(shared)
            for number in range(3):
                source = shared
                if kind != "queue" and number:
                    source = await stack.enter_async_context(open_source(own, kind))
                tasks.create_task(work(own, source))

    with msglog.Store(tmp_path / "store") as store:
        prepare(store)
        store.log.add_partitions("in", 3)
        fill(store, kind, *bodies)
        run(main(store))
        store.flush()
        assert sorted(out(store), key=int) == bodies
        assert left(store, kind) == 0
        check_counts(store)


async def test_a_share_record_whose_last_delivery_was_cancelled_has_its_dead_letter(own, store):
    store.log.append("in", b"deadly")
    async with own.log.share_consumer("in", group="s", delivery_limit=1) as source:
        begun = asyncio.Event()

        async def hangs(_tx, _record):
            begun.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(own.process(source, hangs))
        await soon(begun.wait())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await own.process(source, copy, timeout=0) == 1
    assert [record.value for record in store.log.read("in.dead-letters")] == [b"deadly"]
    assert list(store.log.read("out")) == []


@pytest.mark.parametrize("lost", ["in another error", "without a word"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_cancellation_that_the_handler_lost_ends_the_run(own, store, kind, lost):
    fill(store, kind, b"1", b"2")
    begun = asyncio.Event()

    async def handler(tx, message):
        await copy(tx, message)
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            if lost == "in another error":
                raise OSError("the library that waited says so") from error

    async with open_source(own, kind) as source:
        task = asyncio.create_task(own.process(source, handler, retry=AT_ONCE))
        await soon(begun.wait())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(task)
        assert task.cancelled()
        done = [] if lost == "in another error" else [b"1"]
        assert out(store) == done
        assert await soon(own.process(source, copy, timeout=0)) == 2 - len(done)
    assert sorted(out(store)) == [b"1", b"2"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_timeout_inside_the_handler_is_no_cancellation_of_the_run(own, store, kind):
    fill(store, kind, b"1", b"2")

    async def handler(tx, message):
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.sleep(60)
        await copy(tx, message)

    async def clean_up():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:  # which is over for what is called here
            return await own.process(source, handler, timeout=0)

    async with open_source(own, kind) as source:
        task = asyncio.create_task(clean_up())
        await turns()
        task.cancel()
        assert await soon(task) == 2
    assert out(store) == [b"1", b"2"]

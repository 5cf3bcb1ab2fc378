"""How stores, loops and processes end: who owns what, and that nothing is lost, stuck or complained of."""

import asyncio
import gc
import inspect
import logging
import subprocess
import sys
import threading
import warnings
import weakref
from contextlib import closing
from time import monotonic

import pytest

import msglog
from msglog import aio
from msglog.storage.filesystem.posix import OSFile
from msglog.transactions import looping
from support.brokers import Call, forget, wait_until
from support.tasks import PATIENCE_SECONDS, run, soon, turns, until

FACES = [aio.Log, aio.Broker]


def test_everything_public_is_there():
    assert aio.__all__ == sorted(aio.__all__)
    for name in aio.__all__:
        assert getattr(aio, name).__module__.startswith("msglog.aio")
        assert inspect.getdoc(getattr(aio, name))


async def test_a_store_of_a_path_is_opened_and_closed(tmp_path):
    own = aio.Store(tmp_path / "s", sync="none")
    assert own.closed
    with pytest.raises(msglog.ClosedError, match="was not opened"):
        own.log  # noqa: B018 it raises
    async with own as entered:
        assert entered is own
        assert not own.closed
        await own.log.create_topic("t")
        assert own.recovery.clean
        assert "msglog.aio" in repr(own)
    assert own.closed
    with pytest.raises(msglog.ClosedError, match="was closed"):
        await own.open()
    await own.close()
    with msglog.Store(tmp_path / "s") as again:
        assert again.log.topics() == ["t"]


async def test_a_store_can_be_awaited(tmp_path):
    own = await aio.Store(tmp_path / "s")
    assert own.path == str(tmp_path / "s")
    await own.close()


async def test_a_store_that_does_not_open_says_why(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises((OSError, msglog.MsglogError)):
        await aio.Store(tmp_path / "file").open()
    with pytest.raises(msglog.MsglogError):
        await aio.Store(tmp_path / "s", readonly=True).open()


CALLS = {
    "append": lambda log: log.append("t", b"x"),
    "append_many": lambda log: log.append_many("t", [b"x"]),
    "create_topic": lambda log: log.create_topic("t"),
}


@pytest.mark.parametrize("kind", FACES)
async def test_a_face_shows_whether_it_was_not_opened_or_closed(tmp_path, kind):
    face = kind(tmp_path / "s")
    assert repr(face) == f"<msglog.aio.{kind.__name__} not opened>"
    await face.open()
    await face.close()
    assert repr(face) == f"<msglog.aio.{kind.__name__} closed>"


@pytest.mark.parametrize("call", CALLS)
async def test_a_log_that_was_not_opened_says_so(tmp_path, call):
    with pytest.raises(msglog.ClosedError, match="was not opened"):
        await CALLS[call](aio.Log(tmp_path / "s"))


async def test_a_second_close_waits_for_the_end_of_a_cancelled_one(tmp_path, monkeypatch):
    own = await aio.Store(tmp_path / "s")
    close, begun, go_on = own.sync.close, threading.Event(), threading.Event()

    def slow():
        begun.set()
        assert go_on.wait(10)
        close()

    monkeypatch.setattr(own.sync, "close", slow)
    closing = asyncio.create_task(own.close())
    await until(begun.is_set)
    closing.cancel()
    await asyncio.wait([closing])
    again = asyncio.create_task(own.close())
    await asyncio.sleep(0.01)
    assert not again.done()
    go_on.set()
    await soon(again)


async def test_options_are_for_a_path_only(store):
    for kind in (aio.Store, *FACES):
        with pytest.raises(msglog.InvalidOptionError):
            kind(store, sync="none")


async def test_an_open_store_stays_its_owners(store):
    threaded_log, threaded_broker = store.log, store.broker
    async with aio.Store(store) as own:
        await own.log.append("t", b"x")
    assert own.closed
    assert not store.closed
    assert not threaded_log.closed
    assert not threaded_broker.closed


@pytest.mark.parametrize("kind", FACES)
async def test_a_face_of_an_open_store_leaves_it_open(store, kind):
    threaded_log, threaded_broker = store.log, store.broker
    async with kind(store) as face:
        assert not face.closed
    assert face.closed
    assert not store.closed
    assert not threaded_log.closed
    assert not threaded_broker.closed
    assert store.log.append("t", b"x").offset == 0


@pytest.mark.parametrize("kind", FACES)
async def test_a_face_of_a_path_owns_its_store(tmp_path, kind):
    async with kind(tmp_path / "s", sync="none") as face:
        assert face.store.path == str(tmp_path / "s")
    assert face.closed
    msglog.Store(tmp_path / "s", sync="interval").close()  # nobody holds it with other options


async def test_problems_are_found_in_a_thread(own):
    await own.log.append("t", b"x")
    assert await own.verify() == []


async def test_a_backup_can_be_opened(own, tmp_path):
    if own.path == ":memory:":
        return
    await own.log.append("t", b"x")
    await own.backup(tmp_path / "copy")
    async with aio.Log(tmp_path / "copy") as copy:
        assert [record.value async for record in copy.read("t")] == [b"x"]


async def test_closing_ends_what_was_made(own, store):
    await own.broker.send("q", b"x")
    consumer = own.broker.consume("q")
    delivery = await consumer.get()
    topic, share = own.log.consumer("t", group="g"), own.log.share_consumer("t", group="s")
    await topic.poll(0)
    waits = [asyncio.create_task(wait()) for wait in (consumer.get, topic.poll, share.poll)]
    await turns()
    await own.close()
    results = await soon(asyncio.gather(*waits, return_exceptions=True))
    assert all(not result or isinstance(result, msglog.ClosedError) for result in results)
    assert store.log.describe_group("g").members == () if "g" in store.log.groups() else True
    back = store.broker.get("q")
    assert back.redelivered
    back.ack()
    with pytest.raises(msglog.SettlementError):
        delivery.ack()
    with pytest.raises(msglog.ClosedError):
        own.log  # noqa: B018 it raises


def test_a_loop_that_is_closed_while_a_sync_runs_is_not_missed(tmp_path, monkeypatch, caplog):
    """The sync comes to its end in its thread, and has nobody to tell."""
    entered, opened = threading.Event(), threading.Event()
    sync = OSFile.sync

    def held(file):
        entered.set()
        opened.wait(10)
        sync(file)

    with msglog.Store(tmp_path / "s") as store:
        store.log.create_topic("t")

        async def main():
            own = aio.Store(store)
            tasks = [asyncio.create_task(own.log.append("t", b"x")) for _ in range(3)]
            await until(entered.is_set)
            del tasks

        monkeypatch.setattr(OSFile, "sync", held)
        with caplog.at_level(logging.DEBUG), pytest.MonkeyPatch.context() as patch:
            failures = []
            patch.setattr(threading, "excepthook", failures.append)
            asyncio.run(main())
            opened.set()
            store.flush()
            call = Call(lambda: store.log.append("t", b"after"))
            assert call.result().offset == 3
        assert not failures
        assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
        assert [record.value for record in store.log.read("t")] == [b"x"] * 3 + [b"after"]


def test_a_loop_that_is_closed_is_not_woken(store):
    held = []

    async def main():
        own = aio.Store(store)
        held.append(own.broker.consume("q"))
        held.append(own.log.consumer("t"))
        held.extend([asyncio.create_task(wait()) for wait in (held[0].get, held[1].poll)])
        await turns()

    run(main())
    store.broker.send("q", b"x")
    store.log.append("t", b"x")
    store.broker.get("q").ack()
    with pytest.warns(ResourceWarning):
        forget(held)


def test_a_store_that_nobody_closed_warns_and_is_whole(tmp_path):
    async def main():
        own = await aio.Store(tmp_path / "s").open()
        await own.log.create_topic("t")
        await own.log.append("t", b"x")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        asyncio.run(main())

        def is_told() -> bool:
            gc.collect()  # a thread that worked for the store may hold it for a moment still
            return any(issubclass(warning.category, ResourceWarning) for warning in caught)

        wait_until(is_told)
    with msglog.Log(tmp_path / "s") as log:
        assert [record.value for record in log.read("t")] == [b"x"]


LEAVES = """
import asyncio, sys
from msglog import aio

async def main():
    store = await aio.Store(sys.argv[1]).open()
    await store.log.create_topic("t", exist_ok=True)
    await store.broker.declare_queue("q")
    await store.log.append("t", b"x")
    async def work(delivery):
        await asyncio.sleep(60)
    store.broker.subscribe("q", work)
    await store.broker.send("q", b"x")
    waiting = asyncio.create_task(store.log.consumer("t", group="g").poll())
    await asyncio.sleep(0.05)
    globals()["kept"] = store, waiting

asyncio.run(main())
"""


def test_a_process_that_closes_nothing_ends_and_loses_nothing(tmp_path):
    ended = subprocess.run([sys.executable, "-c", LEAVES, tmp_path / "s"], capture_output=True, check=False, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, b"")
    with msglog.Store(tmp_path / "s") as store:
        assert [record.value for record in store.log.read("t")] == [b"x"]
        store.broker.get("q").ack()


AT_EXIT = """
import asyncio, atexit, sys
import msglog
from msglog import aio

store = msglog.Store(sys.argv[1])

async def main():
    own = aio.Store(store)
    await own.log.create_topic("t", exist_ok=True)
    await own.log.append("t", b"x")

asyncio.run(main())
atexit.register(lambda: asyncio.run(main()))
"""


def test_a_loop_may_run_when_the_interpreter_gives_no_more_threads(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", AT_EXIT, tmp_path / "s"], capture_output=True, check=False, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    with msglog.Store(tmp_path / "s") as store:
        assert store.log.end_offset("t") == 2


IN_A_CHILD = """
import asyncio, os, sys
import msglog
from msglog import aio

async def ignore(_): ...

async def child(store, subscription):
    for call in (store.log.append("t", b"x"), store.broker.send("q", b"x"), store.log.create_topic("u")):
        try:
            await call
        except msglog.ClosedError:
            print("refused")
    await subscription.close()
    await store.log.close()
    await store.broker.close()
    await store.close()
    async with aio.Store(":memory:") as own:
        await own.log.create_topic("t")
        print((await own.log.append("t", b"x")).offset)

async def main():
    async with aio.Store(sys.argv[1]) as store:
        await store.log.create_topic("t")
        await store.broker.declare_queue("q")
        async with store.broker.subscribe("q", ignore) as subscription:
            await store.broker.send("q", b"1")
            await subscription.wait_idle()
            pid = os.fork()
            if pid == 0:
                asyncio.events._set_running_loop(None)
                try:
                    asyncio.run(asyncio.wait_for(child(store, subscription), 20))
                finally:
                    sys.stdout.flush()
                    os._exit(0)
            await asyncio.to_thread(os.waitpid, pid, 0)
            await store.broker.send("q", b"2")
            print(await subscription.wait_idle(20))

asyncio.run(main())
"""


def test_a_forked_child_is_refused_and_can_close_what_is_the_parent_s(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", IN_A_CHILD, tmp_path / "s"]
    ended = subprocess.run(command, capture_output=True, check=False, timeout=60, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.split() == ["refused"] * 3 + ["0", "True"]


def test_loops_that_have_ended_are_collected(tmp_path):
    async def main(store):
        own = aio.Store(store)
        await own.log.append("t", b"x")
        await own.log.create_topic("u", exist_ok=True)
        return weakref.ref(asyncio.get_running_loop())

    with msglog.Store(tmp_path / "s") as store:
        store.log.create_topic("t")
        loops = [asyncio.run(main(store)) for _ in range(3)]
        end = monotonic() + PATIENCE_SECONDS
        while any(loop() for loop in loops):  # a thread may be about to forget the last one
            assert monotonic() < end
            gc.collect()


def test_a_loop_that_is_closed_while_a_sync_is_awaited_is_collected(tmp_path, monkeypatch):
    opened, sync = threading.Event(), OSFile.sync

    def held(file):
        opened.wait(10)
        sync(file)

    async def main(store):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(aio.Log(store).append("t", b"x"), 0.01)
        return weakref.ref(asyncio.get_running_loop())

    with msglog.Store(tmp_path / "s") as store:
        store.log.create_topic("t")
        monkeypatch.setattr(OSFile, "sync", held)
        loop = asyncio.run(main(store))
        opened.set()
        store.flush()
        wait_until(lambda: gc.collect() >= 0 and loop() is None)


def test_a_loop_that_is_closed_before_its_sync_begins_is_collected_when_the_next_one_writes(tmp_path):
    def left_behind(store):
        with closing(asyncio.new_event_loop()) as loop:
            task = loop.create_task(aio.Log(store).append("t", b"x"))
            task._log_destroy_pending = False
            loop.call_soon(loop.stop)
            loop.run_forever()
            return weakref.ref(loop)

    async def main(store):
        await aio.Log(store).append("t", b"x")

    with msglog.Store(tmp_path / "s") as store:
        store.log.create_topic("t")
        loop = left_behind(store)
        asyncio.run(main(store))
        wait_until(lambda: gc.collect() >= 0 and loop() is None)


def test_a_call_that_no_thread_is_left_for_is_made_once(monkeypatch):
    """The pool keeps it for the threads that it has, which are at work."""
    opened, made = threading.Event(), []

    def refuse(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(looping, "_threads", None)
    at_work = looping.in_thread(lambda: opened.wait(10))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        jobs = [looping.in_thread(lambda: made.append(threading.current_thread())) for _ in range(2)]
    assert made == [threading.current_thread()] * 2
    opened.set()
    looping.in_thread(at_work.result).result(10)
    assert at_work.result(10)
    assert [job.result(0) for job in jobs] == [None] * 2
    assert len(made) == 2


async def test_debug_mode_has_nothing_to_say(own, caplog):
    """Of calls that would hold the loop up: in debug mode it logs those of more than a tenth of a second."""
    loop = asyncio.get_running_loop()
    assert loop.get_debug()
    loop.slow_callback_duration = 1.0  # a loaded machine may take its time; a sync or a sleep would still show
    with caplog.at_level(logging.WARNING, "asyncio"):
        async with own.broker.consume("q") as consumer, own.log.consumer("t", group="g") as topic:
            for number in range(20):
                await own.broker.send("q", b"%d" % number)
                await own.log.append("t", b"%d" % number)
                (await soon(consumer.get())).ack()
                assert await soon(topic.poll())
                await topic.commit()
    assert [record.message for record in caplog.records] == []

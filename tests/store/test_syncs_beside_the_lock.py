"""In sync="commit" nothing waits for the disk under the store lock: an event loop, and every other thread, goes on.

Stores without threads, so that the lock is held by the one call that is being made, or by nobody.
"""

from collections.abc import Callable, Iterator

import pytest

import msglog
from msglog.clock import ManualClock
from support.broker_session import open_store, small_broker_limits
from support.crash_images import crash_images
from support.faulty_filesystem import FaultyFile, FaultyFileSystem
from support.recovery import CrashCheck
from support.session import Script, small_limits
from support.telling import tell

LARGE = bytes(20_000)


class Watch:
    """Counts the syncs that a store makes, and lists those under its lock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.syncs = 0
        self.under_the_lock: list[str] = []
        self.engine: object = None
        for owner, name in ((FaultyFile, "sync"), (FaultyFileSystem, "sync_directory")):
            monkeypatch.setattr(owner, name, self._watching(getattr(owner, name)))

    def _watching(self, sync: Callable[..., None]) -> Callable[..., None]:
        def watched(*given: object) -> None:
            self.syncs += 1
            if self.engine is not None and self.engine.lock.locked():
                self.under_the_lock.append(getattr(given[0], "path", given[-1]))
            sync(*given)

        return watched


@pytest.fixture
def watch(monkeypatch) -> Watch:
    return Watch(monkeypatch)


@pytest.fixture
def store(watch) -> Iterator[msglog.Store]:
    """A store with small files: they roll, and the journal grows, all the time."""
    with small_broker_limits(_MOST_OPEN=40, _FEWEST_OPEN=40):
        store = open_store(FaultyFileSystem(), ManualClock(1_000_000))
        watch.engine = store._core.engine
        yield store
        watch.engine = None
        store.close()


def _journal_bytes(store: msglog.Store) -> list[int]:
    return [area.size for area in store._core.engine.journal_areas()]


def test_work_of_all_kinds(store, watch):
    log, broker = msglog.Log(store), msglog.Broker(store)
    log.create_topic("t", partitions=2)
    broker.declare_queue("q")
    broker.declare_queue("slow")
    before = _journal_bytes(store)
    segments = len(store._core.engine.streams[1].parts)
    for number in range(60):
        log.append("t", b"%d" % number * 40, partition=0)
        log.append_many("t", [b"a" * 100, b"b" * 100], partition=1)
        broker.send("q", b"message" * 20)
        broker.get("q").ack()
        with store.transaction() as transaction:
            transaction.append("t", b"x" * 200, partition=0)
            transaction.send("slow", b"y" * 200)
        if number % 20 == 0:
            log.append("t", LARGE, partition=0)  # larger than both areas
            broker.send("slow", LARGE)
            store.flush()
        if number % 15 == 0:
            store._core.engine.checkpoint()
    assert watch.syncs > 200
    assert _journal_bytes(store) != before, "the journal did not grow"
    assert len(store._core.engine.streams[1].parts) > segments, "no segment was rolled"
    assert watch.under_the_lock == []


def test_commits_that_come_while_a_checkpoint_begins(store, watch, monkeypatch):
    engine = store._core.engine
    broker = msglog.Broker(store)
    broker.declare_queue("q")
    for _ in range(40):
        broker.send("q", b"message")
    waiting = [broker.get("q") for _ in range(40)]
    drain = engine.writer.drain

    def drain_beside_others() -> None:
        for _ in range(2):
            if waiting:
                waiting.pop().ack()  # written, and synced by whoever comes next
            drain()
            if waiting:
                waiting.pop().ack()

    monkeypatch.setattr(engine.writer, "drain", drain_beside_others)
    before = watch.syncs
    while waiting:
        engine.checkpoint()
    assert watch.syncs - before > 20
    assert watch.under_the_lock == []


def test_delayed_messages_that_become_due(store, watch):
    clock = store._core.clock
    broker = msglog.Broker(store)
    broker.declare_queue("q")
    broker.send("q", b"later", delay_ms=1000)
    clock.advance(ms=2000)
    with broker.get("q") as delivery:
        assert delivery.body == b"later"
    assert watch.under_the_lock == []


def test_segments_that_go_beside_a_checkpoint(watch, monkeypatch):
    """What was noted and is gone before its frames are stored is noted anew; the checkpoint is made all the same."""
    with small_limits():
        script = Script()
        script.open()
        script.commit(("create", "a"))
        engine = watch.engine = script.engine
        drain = engine.writer.drain
        goes: list[int] = []

        def drop_and_drain() -> None:
            if not goes:
                script.roll("a")
                goes.append(script.stream("a").next_offset)
                script.commit(("trim", "a", goes[-1]), wait=False)
            drain()

        monkeypatch.setattr(engine.writer, "drain", drop_and_drain)
        script.commit(("append", "a", 20), wait=False)
        engine.checkpoint()
        assert goes
        assert engine.durable_commit == engine.commit_number
        script.check()
        script.kill()
        script.open()
        script.check()
    assert watch.under_the_lock == []


def test_an_empty_segment_that_gets_its_first_frame_while_a_checkpoint_begins(watch, monkeypatch, record_property):
    """The checkpoint lists it as empty: it is on the disk before, although the entry with the frame names it, too."""
    with small_limits():
        script = Script()
        script.open()
        script.commit(("create", "a"))
        script.append("a", 20)
        engine = watch.engine = script.engine
        drain = engine.writer.drain

        def drain_and_append() -> None:
            drain()
            script.commit(("append", "a", 20), wait=False)

        monkeypatch.setattr(engine.writer, "drain", drain_and_append)
        script.roll("a")
        engine.checkpoint()
        assert watch.under_the_lock == []
        watch.engine = None
        disk = script.filesystem.disk
        check = CrashCheck(script.history)
        check.check_all(crash_images(disk.start, disk.operations, seed=4, each=2, chances=2))
        tell(record_property, crash_images=check.tried)

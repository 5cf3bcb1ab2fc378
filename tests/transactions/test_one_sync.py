"""What a durable transaction costs: one write of the journal and one sync, whatever is in it."""

import asyncio
import threading

import pytest

import msglog
from msglog import OffsetConflictError, TopicPartition
from msglog.storage.filesystem.posix import OSFile
from msglog.testing import ManualClock
from msglog.waiting import Waiter
from support.broker_session import open_store
from support.faulty_filesystem import FaultyFileSystem
from support.operations import Store, Sync


@pytest.fixture
def filesystem():
    return FaultyFileSystem()


@pytest.fixture
def store(filesystem):
    with open_store(filesystem, ManualClock(), sync="commit", segment_bytes=1 << 20) as store:
        yield store


def _journal_inodes(disk):
    return {inode.number for path, inode in disk.names.items() if "journal" in path}


def test_everything_in_one_entry_and_one_sync(store, filesystem):
    log, broker = store.log, store.broker
    log.create_topic("t", partitions=2)
    log.append("t", b"0", partition=0)
    for name in ("a", "b", "work", "dlq"):
        broker.declare_queue(name)
    broker.declare_exchange("e", "fanout")
    broker.bind("a", "e")
    broker.bind("b", "e")
    broker.set_policy("dead", "^work$", {"dead-letter-exchange": "", "dead-letter-routing-key": "dlq"})
    broker.publish("e", "", b"before")
    broker.send("dlq", b"before", delay_ms=1000)
    broker.publish_many("", [("work", b"1"), ("work", b"2"), ("work", b"3")])
    with log.consumer("t", group="g") as consumer, log.share_consumer("t", group="s") as sharing:
        consumer.poll(0)
        (record,) = sharing.poll(0)
        deliveries = [broker.get("work") for _ in range(3)]
        with log.producer("p") as producer:
            store.flush()
            disk = filesystem.disk
            disk.notice()
            before, commits = len(disk.operations), store.core.engine.commit_number
            with store.transaction(producer=producer) as tx:
                tx.append("t", b"1", partition=0)
                tx.append_many("t", [b"many", b"more"], partition=1)
                tx.publish("e", "", b"published")
                tx.send("a", b"5")
                tx.send("dlq", b"6", delay_ms=1001)
                tx.ack(deliveries[0])
                tx.reject(deliveries[1])
                tx.nack(deliveries[2])
                tx.ack(record)
                tx.commit_offsets(consumer)
                tx.commit_offsets("other", {TopicPartition("t", 0): 1})
            disk.notice()
            done = disk.operations[before:]
    assert store.core.engine.commit_number == commits + 1
    journals = _journal_inodes(disk)
    (sync,) = [place for place, operation in enumerate(done) if isinstance(operation, Sync)]
    assert done[sync].inode in journals
    entries = [operation for operation in done if isinstance(operation, Store) and operation.inode in journals]
    assert len(entries) == 1
    assert done.index(entries[0]) < sync
    for value in (b"many", b"published"):
        first = next(place for place, operation in enumerate(done) if value in getattr(operation, "data", b""))
        assert done[first] is entries[0], "nothing reaches a segment before its entry is synced"


def test_a_refusal_and_a_rollback_write_nothing(store, filesystem):
    store.log.create_topic("t")
    store.flush()
    disk = filesystem.disk
    disk.notice()
    before = len(disk.operations)
    with store.transaction() as tx:
        tx.append("t", b"1")
        tx.rollback()
    with pytest.raises(OffsetConflictError), store.transaction() as tx:
        tx.append("t", b"1", expected_offset=4)
    disk.notice()
    assert disk.operations[before:] == []


@pytest.fixture
def begun(monkeypatch):
    """What the disk was asked to begin with: positions and sizes."""
    made: list[tuple[int, int]] = []
    begin = OSFile.begin_sync
    monkeypatch.setattr(OSFile, "begin_sync", lambda *given: (made.append(given[1:]), begin(*given)))
    return made


@pytest.fixture
def opened(tmp_path):
    with msglog.Store(tmp_path / "s", sync="commit") as store:
        store.log.create_topic("t")
        store.log.append("t", b"opens its file")
        yield store


def _append(store):
    with store.transaction() as tx:
        tx.append("t", b"value")


def test_the_disk_begins_with_the_entry_of_a_thread_that_waits_alone(opened, begun):
    position = opened.core.engine.journal_areas()[0].position
    _append(opened)
    ((began, size),) = begun
    assert began == position
    assert began + size == opened.core.engine.journal_areas()[0].position


def test_who_does_not_wait_alone_leaves_the_disk_to_the_one_sync_of_all(opened, begun):
    writer = opened.core.engine.writer
    waiting = Waiter()
    with writer._leading:
        thread = threading.Thread(target=_append, args=(opened,))
        thread.start()
        while not writer._waiting:  # its entry is written, and somebody else is about to sync
            waiting.wait(0.001)
    thread.join()
    assert begun == []
    opened.log.append("t", b"alone")
    opened.broker.declare_queue("q")
    opened.broker.publish("", "q", b"body")
    assert begun == []

    async def together():
        async with opened.transaction() as tx:
            tx.append("t", b"value")

    asyncio.run(together())
    assert begun == []
    _append(opened)
    assert len(begun) == 1

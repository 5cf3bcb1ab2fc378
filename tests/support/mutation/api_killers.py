"""Checks that kill mutants of the log and the broker: what a call promises is synced and visible when it returns."""

import re
from collections.abc import Callable

import msglog
from msglog.clock import ManualClock
from support.broker_session import open_store
from support.disk import Image
from support.faulty_filesystem import FaultyFileSystem
from support.keyed import check_keys, fill, small_runs
from support.session import small_limits

Calls = list[tuple[str, Callable[[], object]]]


def _all_wait(store: msglog.Store, calls: Calls) -> None:
    engine = store._core.engine
    for name, call in calls:
        before = engine.commit_number
        call()
        if engine.commit_number == before:
            raise AssertionError(f"{name} made no commit")
        if engine.published != engine.commit_number:
            raise AssertionError(f"{name} returned before its commit was synced")


def calls_of_the_log_wait() -> None:
    """In "commit" every call of the log but an auto-commit returns after the sync."""
    with small_limits():
        store = open_store(FaultyFileSystem(), ManualClock(1_000_000))
        log = msglog.Log(store)
        log.create_topic("given", partitions=2)
        log.append_many("given", [b"1", b"2", b"3"], partition=0)
        consumer = log.consumer("given", group="g", auto_commit=False)
        consumer.poll(timeout=0)
        producer = log.producer("p")
        calls: Calls = [
            ("create_topic", lambda: log.create_topic("t")),
            ("alter_topic", lambda: log.alter_topic("t", retention_ms=5_000)),
            ("add_partitions", lambda: log.add_partitions("t", 2)),
            ("append_many", lambda: log.append_many("t", [b"1", b"2"], partition=0)),
            ("append", lambda: log.append("t", b"3", partition=0)),
            ("producer", lambda: log.producer("q")),
            ("producer.append", lambda: producer.append("t", b"4", partition=0, sequence=0)),
            ("delete_records", lambda: log.delete_records("t", 0, -1)),
            ("clean, of what is empty", lambda: log.clean("t")),
            ("commit", consumer.commit),
            ("reset_offsets", lambda: log.reset_offsets("other", "given")),
            ("delete_group", lambda: log.delete_group("other")),
            ("share_consumer", lambda: log.share_consumer("given", group="s").close()),
            ("reset_offsets of a share group", lambda: log.reset_offsets("s", "given")),
            ("delete_group of a share group", lambda: log.delete_group("s")),
            ("delete_topic", lambda: log.delete_topic("t")),
            ("transaction", lambda: _transaction(store)),
        ]
        _all_wait(store, calls)
        _cleaning_waits(store, log)
        sharing = log.share_consumer(re.compile("later|given"), group="s")
        log.create_topic("later")
        _all_wait(store, [("poll that follows topics", lambda: sharing.poll(timeout=0))])


def _transaction(store: msglog.Store) -> None:
    with store.transaction() as transaction:
        transaction.append("given", b"4", partition=0)


def _cleaning_waits(store: msglog.Store, log: msglog.Log) -> None:
    """Retention removes, compaction rewrites and notes how far it came."""
    log.create_topic("short", retention_ms=1)
    log.append("short", b"1", timestamp_ms=1)
    log.create_topic("compact", cleanup_policy="compact")
    for value in (b"1", b"2", b"3"):
        log.append("compact", value * 100, key=b"k")
    _all_wait(store, [(f"clean {name}", lambda name=name: log.clean(name)) for name in ("short", "compact")])


def calls_of_the_broker_wait() -> None:
    """In "commit" every publication that is to last returns after the sync."""
    with small_limits():
        store = open_store(FaultyFileSystem(), ManualClock(1_000_000))
        broker = msglog.Broker(store)
        broker.declare_queue("q")
        broker.declare_exchange("all", "fanout")
        broker.declare_queue("second")
        for queue in ("q", "second"):
            broker.bind(queue, "all")
        broker.declare_queue("ranked", max_priority=3)
        _all_wait(
            store,
            [
                ("send", lambda: broker.send("q", b"1")),
                ("publish", lambda: broker.publish("all", "", b"1")),
                ("publish, to a queue of ranks", lambda: broker.publish("", "ranked", b"1", priority=2)),
                ("publish_many", lambda: broker.publish_many("", [("q", b"1"), ("ranked", b"2")])),
                ("publish, later", lambda: broker.publish("", "q", b"1", delay_ms=1000)),
                ("declare_queue", lambda: broker.declare_queue("other")),
                ("delete_queue", lambda: broker.delete_queue("other")),
                ("purge", lambda: broker.purge_queue("ranked")),
            ],
        )


def _store_with_runs(keys: int) -> Image:
    filesystem = FaultyFileSystem()
    log = msglog.Log(open_store(filesystem, ManualClock(1_000_000)))
    log.create_topic("t")
    fill(log, "t", 60, keys=keys)
    check_keys(log, "t")
    log.store.close()
    return filesystem.disk.image()


def runs_by_key() -> None:
    """Whatever becomes of the files of an index by key, what is read by key is true."""
    with small_limits(), small_runs():
        mine, other = _store_with_runs(5), _store_with_runs(3)
        runs = {path: data for path, data in mine.files.items() if "/keys/" in path}
        if not runs:
            raise AssertionError("there is no run")
        trees = [{path: other.files.get(path, data) for path, data in runs.items()}]
        for path, data in runs.items():
            trees += [
                {path: data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]} for place in range(0, len(data), 3)
            ]
        for changed in trees:
            filesystem = FaultyFileSystem(Image(mine.directories, {**mine.files, **changed}))
            log = msglog.Log(open_store(filesystem, ManualClock(1_000_000)))
            check_keys(log, "t", [b"none"])
            log.store.close()


KILLERS: dict[str, Callable[[], None]] = {
    "calls of the log wait": calls_of_the_log_wait,
    "runs by key": runs_by_key,
    "calls of the broker wait": calls_of_the_broker_wait,
}

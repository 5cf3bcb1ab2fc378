"""What a user of stores, transactions, processing and errors writes."""

from collections.abc import Iterator, Mapping
from typing import Literal, assert_type

import msglog
from msglog import (
    BackupReport,
    Broker,
    Delivery,
    Log,
    Problem,
    Record,
    RecordMetadata,
    RecoveryReport,
    Retry,
    ShareRecord,
    Store,
    TopicPartition,
    Transaction,
)
from msglog.testing import ManualClock


def use_stores(store: Store) -> None:
    assert_type(store.path, str)
    assert_type(store.recovery, RecoveryReport)
    measured: Mapping[str, object] = store.metrics()
    assert_type(list(measured), list[str])
    seen: list[tuple[int, int]] = []
    assert_type(store.verify(progress=lambda done, total: seen.append((done, total))), Iterator[Problem])
    store.flush()
    clock = ManualClock(start_ms=5)
    with Store(":memory:", sync="interval", sync_interval_ms=10, clock=clock, segment_bytes=1 << 20) as other:
        assert_type(other, Store)
        clock.advance(seconds=1.5, ms=2)
        assert_type(clock.now_ms(), int)
    with Log(":memory:", sync="none") as log, Broker(log.store) as broker:
        assert_type(log, Log)
        assert_type(broker.store, Store)
        assert_type(log.closed, bool)
    assert_type(msglog.__version__, str)


def back_up(store: Store, directory: str) -> BackupReport:
    last = {"done": 0}
    report = store.backup(directory, progress=lambda done, _total: last.setdefault("done", done))
    assert_type(report.files, int)
    assert_type(msglog.verify(directory), Iterator[Problem])
    return report


def use_transactions(store: Store) -> None:
    log, broker = store.log, store.broker
    log.create_topic("t")
    broker.declare_queue("q")
    broker.send("q", b"1")
    log.append("t", b"0")
    with (
        log.consumer("t", group="g") as consumer,
        log.share_consumer("t", group="s") as shares,
        broker.consume("q") as deliveries,
        log.producer("p") as producer,
    ):
        delivery = deliveries.get(timeout=0)
        assert delivery is not None
        (share,) = shares.poll(0)
        (record,) = consumer.poll(0)
        with store.transaction(producer=producer) as tx:
            assert_type(tx, Transaction)
            tx.append("t", b"value", key=b"k", headers={"h": b"1"}, sequence=0)
            tx.append_many("t", [b"a", b"b"], first_sequence=1)
            tx.publish("", "q", b"body", mandatory=True)
            tx.publish_many("", [("q", b"1")])
            tx.send("q", b"body", delay_ms=5)
            tx.ack(delivery)
            tx.nack(share, requeue=False)
            tx.commit_offsets(consumer, record)
        assert_type(tx.metadata, list[RecordMetadata])
    with store.transaction() as tx:
        tx.commit_offsets("other", {TopicPartition("t", 0): 1})
        tx.rollback()


async def with_asyncio(store: Store) -> None:
    async with store.transaction() as tx:
        assert_type(tx, Transaction)
        tx.append("t", b"value")


def use_processing(store: Store) -> None:
    log, broker = store.log, store.broker
    log.create_topic("in")
    log.create_topic("out")
    broker.declare_queue("q")

    def copy(tx: Transaction, record: Record) -> None:
        tx.append("out", record.value, key=record.key)

    def take(tx: Transaction, delivery: Delivery) -> None:
        tx.append("out", delivery.body)

    def share(tx: Transaction, record: ShareRecord) -> None:
        tx.nack(record)

    with log.consumer("in", group="g") as consumer:
        done = store.process(consumer, copy, retry=Retry(limit=3), timeout=0, dead_letter="letters")
        assert_type(done, int)
        store.process(consumer, lambda tx, record: tx.append("out", record.value), timeout=0)
    with broker.consume("q") as deliveries:
        store.process(deliveries, take, timeout=0)
        store.process(deliveries, lambda tx, delivery: tx.send("q", delivery.body), timeout=0)
    with log.share_consumer("in", group="s") as shares:
        store.process(shares, share, timeout=0)


def use_errors(store: Store) -> None:
    log, broker = store.log, store.broker
    log.create_topic("t")
    try:
        log.append("t", b"value", expected_offset=5)
    except msglog.OffsetConflictError as error:
        assert_type((error.expected, error.actual), tuple[int, int])
        assert_type(error.outcome, Literal["not_applied", "unknown"])
    try:
        next(log.read("t", start=5))
    except msglog.OffsetOutOfRangeError as error:
        assert_type((error.topic, error.partition, error.offset), tuple[str, int, int])
        assert_type((error.start_offset, error.end_offset), tuple[int, int])
    try:
        broker.send("q", b"body")
    except msglog.QueueNotFoundError as error:
        assert_type(error.reply_code, int | None)
        assert_type(error.reply_text, str)
        assert_type(error.queue, str)
    try:
        log.create_topic("..")
    except msglog.InvalidNameError as error:
        assert_type(error.allowed, str)
    try:
        Retry(limit=-1)
    except msglog.InvalidOptionError as error:
        assert_type((error.option, error.allowed), tuple[str, str])
    try:
        broker.publish("", "nowhere", b"body", mandatory=True)
    except msglog.MsglogError as error:
        if isinstance(error, LookupError | ValueError | TimeoutError | OSError):
            assert_type(str(error), str)


def failed(error: msglog.MsglogError) -> str | None:
    match error:
        case msglog.StoreFailedError() | msglog.DiskFullError() | msglog.CorruptionError():
            return error.path
        case msglog.RecordTooLargeError() | msglog.TransactionTooLargeError():
            return f"{error.size} of {error.limit}"
        case msglog.StoreLockedError():
            return str(error.owner_pid)
        case _:
            return None

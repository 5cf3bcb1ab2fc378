"""What a user of asyncio writes."""

import asyncio
from collections.abc import AsyncIterator
from typing import assert_type

from msglog import (
    JSON,
    QueueInfo,
    Record,
    RecordMetadata,
    Retry,
    ShareRecord,
    Store,
    TopicPartition,
    Transaction,
    aio,
)
from msglog.testing import Faults, Recorder, drain, evict, rebalance, record


def use_tasks(store: Store) -> None:
    asyncio.run(everything(store))


async def everything(opened: Store) -> None:
    async with aio.Store(opened) as store:
        await with_log(store.log)
        await with_broker(store.broker)
        await with_kit(store)
        await with_process(store)
    async with aio.Store(":memory:", sync="none", segment_bytes=1 << 20) as other:
        assert_type(other, aio.Store)
    async with aio.Log(":memory:", sync="interval", sync_interval_ms=10) as log:
        assert_type(log.topics(), list[str])


async def with_log(log: aio.Log) -> None:
    await log.create_topic("t", partitions=2, retention_ms=5)
    assert_type(await log.append("t", b"v", key=b"k", headers={"h": None}), RecordMetadata)
    assert_type(await log.append_many("t", [b"v", None], keys=[b"k", b"k"]), dict[int, range])
    assert_type(log.read("t", 0), AsyncIterator[Record])
    async with log.consumer("t", group="g", assignor="sticky") as consumer:
        assert_type(await consumer.poll(timeout=0), list[Record])
        async for record in consumer.iter(timeout=0):
            assert_type(record, Record)
        await consumer.commit({TopicPartition("t", 0): 0})
    async with log.producer("p") as producer:
        assert_type(await producer.append("t", b"v", sequence=0), RecordMetadata)
        assert_type(await producer.append_many("t", [b"v"], key=b"k", first_sequence=1), dict[int, range])


async def with_broker(broker: aio.Broker) -> None:
    assert_type(await broker.declare_queue("q", max_priority=3), QueueInfo)
    assert_type(await broker.publish("", "q", b"m", priority=1), int)
    await broker.send("q", JSON.encode([1]))
    assert_type(await broker.get("q", timeout=1), aio.Delivery | None)
    async with broker.consume("q", prefetch_count=1) as consumer:
        async for delivery in consumer.iter(timeout=0):
            assert_type(delivery, aio.Delivery)
            delivery.ack()


async def with_kit(store: aio.Store) -> None:
    with record(store) as recorder, Faults(store.broker) as faults:
        assert_type(recorder, Recorder)
        faults.fail("append", topic="t")
        await store.broker.send("q", b"m")
        assert_type([message.body for message in drain(store.broker, "q")], list[bytes])
    async with store.log.consumer("t", group="h") as consumer:
        await consumer.poll(timeout=0)
        rebalance(store.log, "h")
        evict(consumer)


async def copy_record(tx: Transaction, record: Record) -> None:
    tx.append("copies", record.value, key=record.key)


async def copy_share_record(tx: Transaction, record: ShareRecord) -> None:
    tx.append("copies", record.value)
    tx.ack(record)


async def copy_delivery(tx: Transaction, delivery: aio.Delivery) -> int:
    tx.append("copies", delivery.body)
    return len(delivery.body)


async def with_process(store: aio.Store) -> None:
    await store.log.create_topic("copies")
    async with store.log.consumer("t", group="p") as consumer:
        assert_type(await store.process(consumer, copy_record, timeout=0, retry=Retry(limit=1)), int)
    async with store.log.share_consumer("t", group="s") as sharing:
        assert_type(await store.process(sharing, copy_share_record, timeout=0, dead_letter="bad"), int)
    async with store.broker.consume("q") as deliveries:
        assert_type(await store.process(deliveries, copy_delivery, timeout=0), int)

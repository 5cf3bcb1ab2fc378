"""What a user of asyncio writes."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import assert_type

from msglog import (
    JSON,
    TEXT,
    DecodeError,
    QueueInfo,
    Record,
    RecordMetadata,
    Retry,
    ShareRecord,
    Store,
    TopicPartition,
    Transaction,
    TypedMessage,
    TypedRecord,
    TypedShareRecord,
    aio,
    json_of,
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
        await with_views(store)
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


@dataclass
class Order:
    number: int


async def put_aside(error: DecodeError) -> None:
    assert error.record is not None


async def ship(tx: Transaction, record: TypedRecord[str, Order]) -> None:
    assert_type(record.value, Order | None)
    tx.append("copies", record.raw.value)


async def ship_shared(tx: Transaction, record: TypedShareRecord[str, Order]) -> None:
    assert_type(record.key, str | None)
    tx.ack(record)


async def ship_delivery(tx: Transaction, delivery: aio.TypedDelivery[Order]) -> None:
    assert_type(delivery.body, Order)
    tx.ack(delivery)


async def see(record: TypedRecord[str, Order]) -> None:
    assert_type(record.value, Order | None)


async def take_order(delivery: aio.TypedDelivery[Order]) -> None:
    assert_type(delivery.body.number, int)


async def with_views(store: aio.Store) -> None:
    await store.log.create_topic("orders")
    await store.broker.declare_queue("shipments")
    assert_type(store.log.topic("orders"), aio.TypedTopic[bytes, bytes])
    assert_type(store.log.topic("orders", key=TEXT), aio.TypedTopic[str, bytes])
    orders = store.log.topic("orders", key=TEXT, value=json_of(Order), on_decode_error=put_aside)
    assert_type(orders, aio.TypedTopic[str, Order])
    assert_type(await orders.append(Order(1), key="a"), RecordMetadata)
    assert_type(await orders.append_many([Order(2), None], keys=["a", None]), dict[int, range])
    assert_type(orders.read(), AsyncIterator[TypedRecord[str, Order]])
    assert_type(await orders.last_record("a"), TypedRecord[str, Order] | None)
    async with orders.consumer(group="typed") as consumer:
        assert_type(consumer, aio.TypedConsumer[str, Order])
        assert_type(await consumer.poll(0, 1), list[TypedRecord[str, Order]])
        async for record in consumer.iter(0):
            assert_type(record.value, Order | None)
        assert_type(consumer.position(TopicPartition("orders", 0)), int)
        await consumer.commit()
    async with orders.consumer(group="processed") as consumer:
        assert_type(await store.process(consumer, ship, timeout=0), int)
    async with orders.share_consumer(group="shared") as sharing:
        assert_type(sharing.iter(0), AsyncIterator[TypedShareRecord[str, Order]])
        await store.process(sharing, ship_shared, timeout=0)
    async with orders.producer("till") as producer:
        assert_type(producer, aio.TypedProducer[str, Order])
        assert_type(await producer.append(Order(3), sequence=0), RecordMetadata)
    async with orders.subscribe(group="seen", callback=see) as records:
        assert_type(records, aio.Subscription)

    shipments = store.broker.queue("shipments", body=json_of(Order), on_decode_error="reject")
    assert_type(shipments, aio.TypedQueue[Order])
    assert_type(store.broker.queue("shipments"), aio.TypedQueue[bytes])
    await shipments.send(Order(1), priority=1)
    await shipments.send_many([Order(2)])
    assert_type(await shipments.peek(), list[TypedMessage[Order]])
    assert_type(await shipments.get(), aio.TypedDelivery[Order] | None)
    async with shipments.consume() as taking:
        assert_type(taking, aio.TypedQueueConsumer[Order])
        async for delivery in taking.iter(0):
            assert_type(delivery, aio.TypedDelivery[Order])
            async with delivery:
                assert_type(delivery.raw, aio.Delivery)
        await store.process(taking, ship_delivery, timeout=0)
    async with shipments.subscribe(take_order, concurrency=2) as deliveries:
        assert_type(deliveries, aio.QueueSubscription)
    exchange = store.broker.exchange("amq.topic", body=json_of(Order))
    assert_type(exchange, aio.TypedExchange[Order])
    assert_type(await exchange.publish("made", Order(3)), int)
    async with store.transaction() as tx:
        tx.append(orders, Order(4), key="a")
        tx.append_many(orders, [Order(5)])
        tx.send(shipments, Order(6))
        tx.publish(exchange, "made", Order(7))
        tx.publish_many(exchange, [("made", Order(8))])


async def ask(queue: aio.TypedQueue[Order], delivery: aio.TypedDelivery[Order]) -> None:
    assert_type(await queue.request(Order(1), timeout=1), TypedMessage[Order])
    assert_type(await queue.request(Order(1), timeout=1, reply=TEXT), TypedMessage[str])
    assert_type(delivery.reply("sent", TEXT), aio.Written[bool])
    assert_type(await delivery.reply(b"sent"), bool)

"""What a user of typed topics and queues writes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, assert_type

import msglog
from msglog import (
    BYTES,
    JSON,
    MSGPACK,
    TEXT,
    Codec,
    DecodeError,
    Delivery,
    Message,
    Record,
    RecordMetadata,
    ShareRecord,
    Store,
    Transaction,
    TypedConsumer,
    TypedDelivery,
    TypedExchange,
    TypedMessage,
    TypedProducer,
    TypedQueue,
    TypedQueueConsumer,
    TypedRecord,
    TypedShareConsumer,
    TypedShareRecord,
    TypedTopic,
    json_of,
    msgpack_of,
)


@dataclass
class Order:
    id: int
    article: str


@dataclass
class Mail:
    to: str


class Number:
    """A codec of one's own."""

    content_type = "text/x-number"

    def encode(self, obj: int, /) -> bytes:
        return b"%d" % obj

    def decode(self, data: bytes, /) -> int:
        return int(data)


ORDER = json_of(Order)
EITHER: Codec[int | str] = json_of(int | str)


def use_codecs(_store: Store) -> None:
    assert_type(ORDER, Codec[Order])
    assert_type(msgpack_of(list[Order]), Codec[list[Order]])
    assert_type(JSON, Codec[Any])
    assert_type(MSGPACK.encode({"a": 1}), bytes)
    assert_type(TEXT.decode(b"x"), str)
    assert_type(BYTES, Codec[bytes])
    number: Codec[int] = Number()
    assert_type(number.decode(b"5"), int)
    assert_type(EITHER.decode(b"5"), int | str)


def use_typed_topics(store: Store) -> None:
    log = store.log
    log.create_topic("orders")
    assert_type(log.topic("orders"), TypedTopic[bytes, bytes])
    assert_type(log.topic("orders", key=TEXT), TypedTopic[str, bytes])
    assert_type(log.topic("orders", value=JSON), TypedTopic[bytes, Any])
    assert_type(log.topic("orders", value=Number()), TypedTopic[bytes, int])
    orders = log.topic("orders", key=TEXT, value=ORDER)
    assert_type(orders, TypedTopic[str, Order])
    assert_type(orders.append(Order(1, "lamp"), key="ann", headers={"h": b"1"}), RecordMetadata)
    orders.append(None, key="ann")
    assert_type(orders.append_many([Order(2, "lamp"), None], keys=["bob", None]), dict[int, range])
    records = orders.read(0, start=0)
    assert_type(records, Iterator[TypedRecord[str, Order]])
    for record in records:
        assert_type(record.key, str | None)
        assert_type(record.value, Order | None)
        assert_type(record.raw, Record)
        assert_type(record.offset, int)
        if record.value is not None:
            assert_type(record.value.article, str)
    assert_type(orders.read_key("ann"), Iterator[TypedRecord[str, Order]])
    assert_type(orders.last_record("ann"), TypedRecord[str, Order] | None)
    with orders.producer("p") as producer:
        assert_type(producer, TypedProducer[str, Order])
        producer.append(Order(3, "lamp"), sequence=0)


def use_typed_readers(store: Store) -> None:
    log = store.log
    log.create_topic("orders")
    orders = log.topic("orders", value=ORDER, on_decode_error="skip")
    orders.append_many([Order(1, "lamp"), Order(2, "table")])
    with orders.consumer(group="g") as consumer:
        assert_type(consumer, TypedConsumer[bytes, Order])
        for record in consumer.poll(0):
            assert_type(record, TypedRecord[bytes, Order])
            consumer.commit(record)
        for record in consumer.iter(0):
            assert_type(record.value, Order | None)
    with orders.share_consumer(group="s") as shares:
        assert_type(shares, TypedShareConsumer[bytes, Order])
        for share in shares.iter(0):
            assert_type(share, TypedShareRecord[bytes, Order])
            assert_type(share.raw, ShareRecord)
            share.ack()

    def handle(record: TypedRecord[bytes, Order]) -> None:
        assert_type(record.value, Order | None)

    orders.subscribe(group="h", callback=handle).close()
    seen: list[Order | None] = []
    orders.subscribe(group="i", callback=lambda record: seen.append(record.value)).close()

    def keep(error: DecodeError) -> None:
        assert_type(error.record, Record | None)
        assert_type(error.delivery, Delivery | None)
        assert_type(error.codec, str | None)

    log.topic("orders", value=ORDER, on_decode_error=keep)


def use_typed_queues(store: Store) -> None:
    broker = store.broker
    broker.declare_queue("mails")
    mails = broker.queue("mails", body=json_of(Mail), on_decode_error="reject")
    assert_type(mails, TypedQueue[Mail])
    assert_type(broker.queue("mails"), TypedQueue[bytes])
    mails.send(Mail("ann"), priority=1)
    mails.send_many([Mail("bob"), Mail("cid")])
    delivery = mails.get()
    assert_type(delivery, TypedDelivery[Mail] | None)
    if delivery is not None:
        with delivery:
            assert_type(delivery.body.to, str)
            assert_type(delivery.raw, Delivery)
    with mails.consume(prefetch_count=1) as consumer:
        assert_type(consumer, TypedQueueConsumer[Mail])
        for taken in consumer.iter(0):
            assert_type(taken, TypedDelivery[Mail])
            taken.ack()
    assert_type(mails.peek(), list[TypedMessage[Mail]])
    assert_type(mails.decode(Message(b'{"to":"ann"}')), TypedMessage[Mail])

    def answer(delivery: TypedDelivery[Mail]) -> None:
        if delivery.properties.reply_to is not None:
            delivery.reply(1, Number())

    with mails.subscribe(answer):
        reply = mails.request(Mail("dan"), timeout=60, reply=Number())
        assert_type(reply, TypedMessage[int])
    events = broker.exchange("", body=json_of(Mail))
    assert_type(events, TypedExchange[Mail])
    assert_type(events.publish("mails", Mail("eve")), int)
    assert_type(events.publish_many([("mails", Mail("fay"))]), int)


def use_views_in_transactions(store: Store) -> None:
    store.log.create_topic("orders")
    store.broker.declare_queue("mails")
    orders = store.log.topic("orders", key=TEXT, value=ORDER)
    mails = store.broker.queue("mails", body=json_of(Mail))
    orders.append(Order(1, "lamp"), key="ann")
    with store.transaction() as tx:
        tx.append(orders, Order(2, "table"), key="bob")
        tx.append_many(orders, [Order(3, "chair"), None], keys=["cid", "dan"])
        tx.send(mails, Mail("ann"))
        tx.publish(store.broker.exchange("", body=JSON), "mails", {"to": "bob"})
        tx.publish_many(store.broker.exchange("", body=TEXT), [("mails", "text")])

    def confirm(tx: Transaction, record: TypedRecord[str, Order]) -> None:
        if record.key is not None:
            tx.send(mails, Mail(record.key))

    with orders.consumer(group="g") as consumer:
        store.process(consumer, confirm, timeout=0)
        store.process(consumer, lambda tx, record: tx.append(orders, record.value, key=record.key), timeout=0)
    with store.broker.queue("mails", body=JSON).consume() as deliveries, store.transaction() as tx:
        delivery = deliveries.get(0)
        if delivery is not None:
            tx.ack(delivery)


def use_decode_errors(store: Store) -> None:
    store.log.create_topic("orders")
    store.log.append("orders", b"?")
    records = store.log.topic("orders", value=ORDER).read()
    try:
        next(records)
    except msglog.DecodeError as error:
        if error.record is not None:
            assert_type(error.record.offset, int)
    assert list(records) == []

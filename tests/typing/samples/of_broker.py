"""What a user of the broker writes."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, assert_type

from msglog import (
    Binding,
    Broker,
    Delivery,
    ExchangeInfo,
    Message,
    Properties,
    QueueConsumer,
    QueueInfo,
    QueueSubscription,
    Retry,
    Store,
)


def use_definitions(store: Store) -> None:
    broker = store.broker
    assert_type(broker, Broker)
    broker.declare_exchange("events", "topic", durable=True, alternate_exchange="other", arguments={"x-odd": 1})
    info = broker.declare_queue(
        "mail", message_ttl_ms=60_000, max_length=10, overflow="reject-publish", dead_letter_exchange="events"
    )
    assert_type(info, QueueInfo)
    assert_type(info.message_count, int)
    broker.bind("mail", "events", "mail.#", arguments={"x-match": "any"})
    broker.bind_exchange("events", "amq.topic", "#")
    assert_type(broker.exchanges(), list[ExchangeInfo])
    assert_type(broker.queues(), list[QueueInfo])
    assert_type(broker.bindings(), list[Binding])
    broker.set_policy("all", ".*", {"message-ttl": 1000}, priority=1, apply_to="queues")
    broker.delete_policy("all")
    broker.unbind("mail", "events", "mail.#")
    broker.unbind_exchange("events", "amq.topic", "#")
    assert_type(broker.purge_queue("mail"), int)
    assert_type(broker.delete_queue("mail", if_unused=True, if_empty=True), int)
    broker.delete_exchange("events", if_unused=True)


def use_publishing(store: Store) -> None:
    broker = store.broker
    broker.declare_queue("mail")
    properties = Properties(content_type="text/plain", timestamp=datetime.now(UTC), headers={"a": 1})
    assert_type(properties.headers, dict[str, Any] | None)
    assert_type(properties.replace(priority=2), Properties)
    copies = broker.publish("", "mail", b"body", headers={"h": [1, "x", None]}, properties=properties, mandatory=True)
    assert_type(copies, int)
    broker.send("mail", b"body", priority=1, expiration_ms=60_000, delay_ms=1, persistent=False)
    broker.publish_many("", [("mail", b"1"), Message(b"2", routing_key="mail")])
    pairs = [("mail", b"3")]
    assert_type(broker.publish_many("", pairs), int)
    messages = [Message(b"4", routing_key="mail", headers={"h": 1}, priority=1)]
    broker.publish_many("", messages, persistent=False)


def use_taking(store: Store) -> None:
    broker = store.broker
    broker.declare_queue("mail", history_ms=60_000)
    for number in range(6):
        broker.send("mail", b"%d" % number)
    delivery = broker.get("mail", timeout=0)
    assert_type(delivery, Delivery | None)
    if delivery is not None:
        assert_type(delivery.body, bytes)
        assert_type(delivery.headers, dict[str, Any])
        assert_type(delivery.delivery_count, int)
        assert_type(delivery.redelivered, bool)
        assert_type(delivery.properties, Properties)
        delivery.ack()
    with broker.consume("mail", prefetch_count=10, on_error="requeue") as consumer:
        assert_type(consumer, QueueConsumer)
        for taken in consumer.iter(timeout=0):
            with taken as same:
                assert_type(same, Delivery)
        assert_type(consumer.get(timeout=0), Delivery | None)
        consumer.stop()
        for taken in consumer:
            taken.nack(requeue=False, delay_ms=5)
    broker.consume("mail", on_error=Retry(limit=1)).close()
    assert_type(broker.peek("mail", limit=5), list[Message])
    assert_type(broker.history("mail", since_ms=0, limit=5), Iterator[Message])
    assert_type(broker.replay("mail", since_ms=0, until_ms=5, to="mail"), int)


def use_subscriptions(store: Store) -> None:
    broker = store.broker
    broker.declare_queue("mail")

    def handle(delivery: Delivery) -> None:
        assert_type(delivery.queue, str)
        if delivery.properties.reply_to is not None:
            assert_type(delivery.reply(b"yes", headers={"h": 1}), bool)

    with broker.subscribe("mail", handle, workers=2, on_error="reject") as running:
        assert_type(running, QueueSubscription)
        answer = broker.request("", "mail", b"well?", timeout=60)
        assert_type(answer, Message)
        assert_type(answer.body, bytes)
        assert_type(running.wait_idle(timeout=60), bool)

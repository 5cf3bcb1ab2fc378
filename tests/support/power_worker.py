"""Run in a child: a log and a broker on one store at work, until the power goes.

Each round appends number n to partition n modulo 2 of topic "numbers", together with one record in each partition of
"pairs", publishes it to the queues "work" and "kept", and appends and sends it to topic and queue "both" in one
transaction; now and then it takes messages from "work" and acknowledges
or rejects them. It tells what returned, one line each: "done n", "acking n", "rejecting n", "settled n", and, after a
flush, "flushed".
"""

from multiprocessing.connection import Connection
from typing import Any

import msglog

FLUSH_EVERY, TAKE_EVERY, REJECT_EVERY = 7, 3, 5
SEGMENT_BYTES = 1 << 16
VALUE_BYTES = 300


def value_of(number: int) -> bytes:
    """Return the value of a record or message: its number, and some weight that depends on it."""
    return f"{number}:".encode().ljust(50 + number * 37 % VALUE_BYTES, b"v")


def number_of(value: bytes) -> int:
    """Return the number, after a look at the rest."""
    number = int(value.partition(b":")[0])
    if value != value_of(number):
        raise AssertionError(f"the value of number {number} is damaged")
    return number


def open_store(directory: str, sync: Any) -> msglog.Store:
    """Open the store, with small segments."""
    return msglog.Store(directory, sync=sync, segment_bytes=SEGMENT_BYTES, sync_interval_ms=20)


def prepare(directory: str, sync: Any) -> None:
    """Make the store: topics, exchange and queues, all of it durable."""
    with open_store(directory, sync) as store:
        for topic in ("numbers", "pairs"):
            store.log.create_topic(topic, partitions=2)
        store.log.create_topic("both")
        broker = store.broker
        broker.declare_exchange("all", "fanout")
        broker.declare_queue("dead")
        broker.declare_queue("work", dead_letter_exchange="", dead_letter_routing_key="dead")
        broker.declare_queue("both")
        broker.declare_queue("kept")
        for queue in ("work", "kept"):
            broker.bind(queue, "all")


def run(directory: str, sync: Any, first: int, pipe: Connection) -> None:
    """Work from number `first` on, for ever."""
    store = open_store(directory, sync)
    log, broker = store.log, store.broker
    pipe.send_bytes(b"ready")
    number = first
    while True:
        value = value_of(number)
        log.append("numbers", value, partition=number % 2)
        log.append_many("pairs", [value, value], keys=PAIR_KEYS)
        broker.publish("all", "", value)
        with store.transaction() as transaction:
            transaction.append("both", value)
            transaction.send("both", value)
        pipe.send_bytes(b"done %d" % number)
        if number % TAKE_EVERY == 0:
            _settle(broker, pipe, rejecting=number % REJECT_EVERY == 0)
        if number % FLUSH_EVERY == 0:
            store.flush()
            pipe.send_bytes(b"flushed")
        number += 1


def _settle(broker: msglog.Broker, pipe: Connection, *, rejecting: bool) -> None:
    delivery = broker.get("work")
    if delivery is None:
        return
    number = number_of(delivery.body)
    pipe.send_bytes(b"%s %d" % (b"rejecting" if rejecting else b"acking", number))
    if rejecting:
        delivery.reject()
    else:
        delivery.ack()
    pipe.send_bytes(b"settled %d" % number)


def _keys_of_both_partitions() -> list[bytes]:
    """Return a key for each of two partitions."""
    with msglog.Log(":memory:") as log:
        log.create_topic("t", partitions=2)
        keys = [b"%d" % place for place in range(20)]
        return [next(key for key in keys if log.partition_for("t", key) == partition) for partition in (0, 1)]


PAIR_KEYS = _keys_of_both_partitions()

"""The books balance: what a recorder tells of random work is what is in the store afterwards, faults or not."""

import contextlib
import random
from collections import Counter

import pytest

import msglog
from msglog.testing import redeliver
from support.scale import scaled

QUEUES = ("plain", "limited", "priorities", "expiring", "retried", "dead")
STEPS = 150


class Work:
    """Random calls, each with a body of its own, so that every message can be told from all others."""

    def __init__(self, store, faults, seed):
        self.random = random.Random(seed)
        self.store, self.log, self.broker, self.faults = store, store.log, msglog.Broker(store), faults
        self.clock = store.core.clock
        self.count = 0
        self.in_hand = []
        letters = {"dead_letter_exchange": "", "dead_letter_routing_key": "dead"}
        self.broker.declare_queue("plain", **letters)
        self.broker.declare_queue("limited", max_length=5, **letters)
        self.broker.declare_queue("priorities", max_priority=3, **letters)
        self.broker.declare_queue("expiring", message_ttl_ms=50, **letters)
        self.broker.declare_queue("retried", delivery_limit=2, **letters)
        self.broker.declare_queue("dead")
        self.broker.declare_exchange("all", "fanout")
        for queue in QUEUES:
            self.broker.bind(queue, "all")
        self.log.create_topic("t", partitions=2)
        self.log.create_topic("compacted", cleanup_policy="compact")

    def body(self):
        self.count += 1
        return b"%d" % self.count

    def run(self, steps):
        kinds = (
            *(self.publish, self.publish, self.publish_many, self.to_all, self.get, self.get, self.get_without_ack),
            *(self.settle, self.settle, self.settle, self.append, self.append_many, self.transact, self.channel),
            *(self.commit, self.advance, self.fault),
        )
        for _ in range(steps):
            with contextlib.suppress(msglog.DiskFullError, msglog.StoreFailedError, msglog.SettlementError):
                self.random.choice(kinds)()
        self.faults.end()

    def queue(self):
        return self.random.choice(QUEUES)

    def publish(self):
        options = self.random.choice(
            [{}, {"priority": 2}, {"expiration_ms": 30}, {"delay_ms": 20}, {"persistent": False}, {"expiration_ms": 0}]
        )
        self.broker.publish("", self.queue(), self.body(), **options)

    def publish_many(self):
        self.broker.publish_many("", [(self.queue(), self.body()) for _ in range(5)])

    def to_all(self):
        self.broker.publish("all", "", self.body())

    def get(self):
        delivery = self.broker.get(self.queue())
        if delivery is not None:
            self.in_hand.append(delivery)

    def get_without_ack(self):
        self.broker.get(self.queue(), no_ack=True)

    def take(self):
        self.random.shuffle(self.in_hand)
        return self.in_hand.pop() if self.in_hand else None

    def settle(self):
        delivery = self.take()
        if delivery is not None:
            ways = (delivery.ack, delivery.ack, delivery.nack, delivery.reject, lambda: delivery.nack(delay_ms=25))
            self.random.choice([*ways, lambda: redeliver(delivery)])()

    def append(self):
        self.log.append("t", self.body(), key=self.random.choice([None, b"k"]))

    def append_many(self):
        self.log.append_many("compacted", [self.body(), None], keys=[b"a", b"b"])

    def transact(self):
        delivery, other = self.take(), self.take()
        with self.store.transaction() as tx:
            tx.append("t", self.body())
            tx.publish("all", "", self.body())
            if delivery is not None:
                tx.ack(delivery)
            if other is not None:
                self.random.choice([tx.reject, tx.nack])(other)
            if self.random.random() < 0.2:
                tx.rollback()

    def channel(self):
        with self.broker.channel() as channel:
            channel.basic_publish("", self.queue(), self.body())
            channel.basic_consume(self.queue())
            for event in channel.poll(0):
                if self.random.random() < 0.5:
                    channel.basic_ack(event.delivery_tag)
                elif self.random.random() < 0.5:
                    channel.basic_nack(event.delivery_tag, requeue=False)

    def commit(self):
        with self.log.consumer("t", group="g") as consumer:
            consumer.poll(0, max_records=3)
            consumer.commit()

    def advance(self):
        self.clock.advance(ms=self.random.choice([1, 20, 60]))

    def fault(self):
        error, applied = self.random.choice([(msglog.DiskFullError, False), (msglog.StoreFailedError, True)])
        call = self.random.choice(["append", "publish", "settle", "commit"])
        self.faults.fail(call, error, applied=applied, skip=self.random.randrange(3))


def finished(work):
    """Return what is in the queues, once nothing is delayed, held back or in hand any more."""
    work.broker.close()  # with it everything that is in hand goes back
    work.clock.advance(ms=100)
    return {queue: [message.body for message in work.store.broker.peek(queue, 10_000)] for queue in QUEUES}


@pytest.mark.parametrize("seed", range(scaled(4)))
def test_the_books_balance(store, recorder, faults, seed):
    work = Work(store, faults, seed)
    work.run(STEPS)
    left = finished(work)
    books = {queue: Counter() for queue in QUEUES}
    for published in recorder.published:
        for queue in published.queues:
            books[queue][published.body] += 1
    for settled in recorder.settled:
        for queue in settled.dead_lettered_to:
            books[queue][settled.body] += 1
        if settled.outcome != "requeued":
            books[settled.queue][settled.body] -= 1
    assert {queue: +counted for queue, counted in books.items()} == {queue: Counter(left[queue]) for queue in QUEUES}
    assert all(count >= 0 for counted in books.values() for count in counted.values())
    store.flush()
    read = [record for topic in ("t", "compacted") for partition in range(2 - (topic == "compacted"))
            for record in work.log.read(topic, partition)]  # fmt: skip
    assert sorted(recorder.appended, key=lambda record: record[:3]) == sorted(read, key=lambda record: record[:3])
    last = {committed.partition: committed.offset for committed in recorder.committed}
    offsets = work.log.describe_group("g").offsets if "g" in work.log.groups() else {}
    assert last == {partition.partition: offset for partition, offset in offsets.items()}
    assert list(store.verify()) == []

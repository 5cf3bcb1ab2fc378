"""Threads that use one store in all ways, in each mode, with reader processes that follow all of it.

What each thread wrote is there, once, in its order; transactions are whole at every look; what was acknowledged is
gone.
"""

import contextlib
import threading
import time

import msglog
from support.brokers import Call
from support.children import child, line_from
from support.recovery import MODES
from support.scale import TORTURE
from support.session import small_limits
from support.telling import tell

THREADS = max(8, min(32, round(3.2 * TORTURE)))
READERS = 8
SECONDS = 0.8
"""For each mode."""


class Worker:
    """A thread: `written` counts what it wrote."""

    def __init__(self, store, number, stop):
        self.store = store
        self.name = b"%d" % number
        self.number = number
        self.written = 0
        self.seen = {}
        self._stop = stop
        self._work = (self.append, self.transact, self.publish, self.consume)[number % 4]

    def run(self):
        while not self._stop.is_set():
            self._work()

    def append(self):
        log, partition = self.store.log, self.number % 8 // 4
        if self.written % 3:
            log.append("t", self._value(), partition=partition)
        else:
            log.append_many("t", [self._value() for _ in range(5)], partition=partition)

    def transact(self):
        value = self._value()
        with self.store.transaction() as tx:
            tx.append("left", value)
            tx.append("right", value)
            tx.send("moved", value)

    def publish(self):
        """Into a queue of its own, and out of it: what comes out is what went in, in order."""
        broker, queue = self.store.broker, f"own-{self.number}"
        values = [self._value() for _ in range(3)]
        broker.publish_many("", [(queue, value) for value in values])
        for value in values:
            delivery = broker.get(queue)
            assert delivery.body == value
            delivery.ack()
        assert broker.get(queue) is None

    def consume(self):
        with self.store.log.consumer("t", group=f"g-{self.number}") as consumer:
            for record in consumer.poll(0.01):
                writer, _, number = record.value.partition(b":")
                assert int(number) == self.seen.get(writer, 0)
                self.seen[writer] = int(number) + 1
            consumer.commit()

    def _value(self):
        value = self.name + b":%d" % self.written
        self.written += 1
        return value


def prepare(store):
    for topic, partitions in (("t", 2), ("left", 1), ("right", 1)):
        store.log.create_topic(topic, partitions=partitions)
    store.broker.declare_queue("moved")
    for number in range(THREADS):
        store.broker.declare_queue(f"own-{number}")


def soak(store):
    stop = threading.Event()
    workers = [Worker(store, number, stop) for number in range(THREADS)]
    calls = [Call(worker.run) for worker in workers]
    time.sleep(SECONDS * max(1.0, TORTURE))
    stop.set()
    for call in calls:
        call.result()
    return workers


def check(store, workers):
    """All that was written is there; return how many records that are."""
    log, broker = store.log, store.broker
    expected = {worker.name: worker.written for worker in workers if worker.number % 4 < 2}
    found = {}
    places = (("t", 0), ("t", 1), ("left", 0))
    records = [record for topic, partition in places for record in log.read(topic, partition)]
    for record in records:
        writer, _, number = record.value.partition(b":")
        assert int(number) == found.get(writer, 0)
        found[writer] = int(number) + 1
    assert found == expected
    left = [record.value for record in log.read("left")]
    assert [record.value for record in log.read("right")] == left
    assert [message.body for message in broker.peek("moved", len(left) + 1)] == left
    assert sum(queue.message_count for queue in broker.queues()) == len(left)
    return len(records) + len(left)


def test_threads_and_readers(tmp_path, record_property):
    paths = [str(tmp_path / sync) for sync in MODES]
    with small_limits(), contextlib.ExitStack() as stack:
        stores = [stack.enter_context(msglog.Store(path, sync=sync)) for path, sync in zip(paths, MODES, strict=True)]
        for store in stores:
            prepare(store)
        readers = [stack.enter_context(child("soak_reader", *paths)) for _ in range(READERS)]
        for reader in readers:
            assert line_from(reader) == "looking"
        written = [soak(store) for store in stores]
        counts = [check(store, workers) for store, workers in zip(stores, written, strict=True)]
        looks = 0
        for reader in readers:
            reader.stdin.write("end\n")
            reader.stdin.flush()
        for reader in readers:
            told = [int(word) for word in line_from(reader).split()]
            assert told[: len(MODES)] == counts
            looks += sum(told[len(MODES) :])
    for path, sync, workers, count in zip(paths, MODES, written, counts, strict=True):
        with msglog.Store(path, sync=sync) as store:
            assert check(store, workers) == count
            assert list(store.verify()) == []
    calls = sum(worker.written for workers in written for worker in workers)
    tell(record_property, threads=THREADS, calls=calls, looks=looks)

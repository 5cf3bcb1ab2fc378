"""Run in a child: consume, transform and produce by transactions, telling of each that returned, until it is killed."""

import random
from multiprocessing.connection import Connection
from typing import Any

import msglog

INPUTS = 5000
"""Messages in the queue `in`, and records in the topic `in`, numbered from 0."""


def fill(directory: str, sync: Any) -> None:
    """Make a store with its inputs."""
    with msglog.Store(directory, sync=sync) as store:
        store.broker.declare_queue("done")
        store.broker.declare_queue("dead")
        store.broker.declare_queue("in", dead_letter_exchange="", dead_letter_routing_key="dead")
        store.broker.publish_many("", [("in", b"%d" % number) for number in range(INPUTS)])
        for name in ("in", "out", "copy"):
            store.log.create_topic(name)
        store.log.append_many("in", [b"%d" % number for number in range(INPUTS)])


class Transactor:
    """One life of the process."""

    def __init__(self, store: msglog.Store, pipe: Connection, seed: int) -> None:
        self._store = store
        self._pipe = pipe
        self._chance = random.Random(seed)
        self._consumer = store.log.consumer("in", group="g")
        self._producer = store.log.producer("p")

    def _say(self, word: str, *numbers: int) -> None:
        self._pipe.send_bytes(" ".join(map(str, (word, *numbers))).encode())

    def step(self) -> None:
        """Do one transaction."""
        self._chance.choice((self._work, self._work, self._give_up, self._copy))()

    def _work(self) -> None:
        deliveries = [self._store.broker.get("in") for _ in range(self._chance.randint(1, 3))]
        with self._store.transaction() as tx:
            for delivery in deliveries:
                tx.append("out", delivery.body)
                tx.send("done", delivery.body)
                tx.ack(delivery)
        self._say("worked", *(int(delivery.body) for delivery in deliveries))

    def _give_up(self) -> None:
        delivery = self._store.broker.get("in")
        with self._store.transaction() as tx:
            tx.reject(delivery)
        self._say("rejected", int(delivery.body))

    def _copy(self) -> None:
        records = self._consumer.poll(1, max_records=self._chance.randint(1, 5))
        with self._store.transaction(producer=self._producer) as tx:
            for record in records:
                tx.append("copy", record.value, sequence=record.offset)
            tx.commit_offsets(self._consumer)
        self._say("copied", records[-1].offset)


def run(directory: str, sync: Any, seed: int, pipe: Connection) -> None:
    """Work until killed; "ready" comes first."""
    store = msglog.Store(directory, sync=sync, sync_interval_ms=20)
    transactor = Transactor(store, pipe, seed)
    pipe.send_bytes(b"ready")
    while True:
        transactor.step()

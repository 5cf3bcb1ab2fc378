"""Run in a child: a broker at work on numbered messages, telling before and after each call, until it is killed.

Lines are "begin WORD NUMBERS" before a call and "done WORD NUMBERS" after it, see `run`.
"""

import random
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import msglog

BATCH = 3
LIMIT = 1000
DELAY_MS = 3
FANOUT = ("a", "b")
QUEUES = ("work", "dead", "counted", *FANOUT)


def declare(broker: msglog.Broker) -> None:
    """Make all queues, once."""
    broker.declare_queue("dead")
    broker.declare_queue("work", dead_letter_exchange="", dead_letter_routing_key="dead")
    broker.declare_queue("counted", delivery_limit=LIMIT)
    broker.declare_queue("passing", durable=False)
    broker.declare_exchange("all", "fanout")
    for name in FANOUT:
        broker.declare_queue(name)
        broker.bind(name, "all")


class Worker:
    """One life of the broker."""

    def __init__(self, broker: msglog.Broker, pipe: Connection, first: int, seed: int) -> None:
        self._broker = broker
        self._pipe = pipe
        self._next = first
        self._chance = random.Random(seed)
        self._counted: list[Any] = []

    def _say(self, *words: object) -> None:
        self._pipe.send_bytes(" ".join(map(str, words)).encode())

    def _numbers(self, count: int = 1) -> range:
        numbers = range(self._next, self._next + count)
        self._next += count
        return numbers

    def step(self) -> None:
        """Do something."""
        self._chance.choice((self._send, self._spread, self._batch, self._later, self._work, self._work, self._copies,
                             self._send_counted, self._count))()  # fmt: skip

    def _publish(self, word: str, numbers: Sequence[int], exchange: str, key: str, **options: Any) -> None:
        self._say("begin", word, *numbers)
        if len(numbers) > 1:
            self._broker.publish_many(exchange, [(key, b"%d" % number) for number in numbers])
        else:
            self._broker.publish(exchange, key, b"%d" % numbers[0], **options)
        self._say("done", word, *numbers)

    def _send(self) -> None:
        self._publish("work", self._numbers(), "", "work")

    def _batch(self) -> None:
        self._publish("work", self._numbers(BATCH), "", "work")

    def _later(self) -> None:
        self._publish("work", self._numbers(), "", "work", delay_ms=self._chance.randint(1, DELAY_MS))

    def _spread(self) -> None:
        self._publish("spread", self._numbers(), "all", "")

    def _send_counted(self) -> None:
        self._publish("counted", self._numbers(), "", "counted")

    def _work(self) -> None:
        deliveries = [one for one in (self._broker.get("work") for _ in range(6)) if one is not None]
        self._chance.shuffle(deliveries)
        for delivery in deliveries:
            self._settle(delivery, self._chance.choice(("ack", "ack", "ack", "nack", "reject")))
        dead = self._broker.get("dead")
        if dead is not None:
            self._settle(dead, self._chance.choice(("ack", "nack")))

    def _copies(self) -> None:
        for name in FANOUT:
            delivery = self._broker.get(name)
            if delivery is not None:
                self._settle(delivery, "ack", name)

    def _settle(self, delivery: Any, how: str, *where: str) -> None:
        number = int(delivery.body)
        self._say("begin", how, number, *where)
        getattr(delivery, how)()
        self._say("done", how, number, *where)

    def _count(self) -> None:
        delivery = self._broker.get("counted")
        if delivery is not None:
            self._say("done", "counted-delivery", int(delivery.body), delivery.delivery_count)
            self._counted.append(delivery)
        if len(self._counted) > 3:
            self._settle(self._counted.pop(0), self._chance.choice(("nack", "ack")))


def run(directory: str, sync: Any, first: int, seed: int, pipe: Connection) -> None:
    """Work until killed.

    Words: "work", "spread", "counted" with the numbers published in one commit to the queue `work`, to both queues of
    `FANOUT`, to `counted`; "ack", "nack", "reject" with a number and perhaps a queue; "counted-delivery" with a number
    and how often it had been delivered before. "ready" once the broker is open.
    """
    broker = msglog.Broker(directory, sync=sync, sync_interval_ms=20)
    declare(broker)
    pipe.send_bytes(b"ready")
    worker = Worker(broker, pipe, first, seed)
    while True:
        worker.step()

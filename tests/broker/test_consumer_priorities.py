"""Consumers that come before others. Row 65."""

import pytest

from support.brokers import Call, send_all, wait_until


class Workers:
    """Consumers that wait on threads of their own and keep what they get until told to ack it."""

    def __init__(self, broker, queue):
        self._broker = broker
        self._queue = queue
        self._consumers = []
        self._calls = []
        self.seen = []
        self.held = []

    def add(self, name, **options):
        consumer = self._broker.consume(self._queue, **options)
        self._consumers.append(consumer)

        def work():
            for delivery in consumer:
                self.held.append(delivery)
                self.seen.append(name)

        self._calls.append(Call(work))
        return consumer

    def send(self, body):
        """Send when all wait, and return who got it; None if nobody had room."""
        for call in self._calls:
            call.until_asleep()
        count = len(self.seen)
        self._broker.send(self._queue, body)
        if not self._broker.peek(self._queue):
            wait_until(lambda: len(self.seen) > count)
            return self.seen[count]
        return None

    def close(self):
        for consumer in self._consumers:
            consumer.stop()
        for call in self._calls:
            call.result()
        for consumer in self._consumers:
            consumer.close()


@pytest.fixture
def workers(broker, q):
    workers = Workers(broker, q)
    yield workers
    workers.close()


def test_the_highest_is_filled_first(workers):
    workers.add("low", priority=-1)
    workers.add("high", priority=10, prefetch_count=2)
    workers.add("middle", prefetch_count=1)
    assert [workers.send(b"x") for _ in range(5)] == ["high", "high", "middle", "low", "low"]


def test_one_with_room_again_comes_first_again(workers):
    workers.add("low")
    workers.add("high", priority=1, prefetch_count=1)
    assert [workers.send(b"x") for _ in range(3)] == ["high", "low", "low"]
    workers.held[0].ack()
    assert workers.send(b"x") == "high"


def test_equal_ones_take_turns(workers):
    for name in ("a", "b"):
        workers.add(name, priority=5)
    workers.add("low")
    got = [workers.send(b"x") for _ in range(6)]
    assert got[:2] == got[2:4] == got[4:]
    assert sorted(got[:2]) == ["a", "b"]


def test_when_nobody_has_room_messages_wait(workers, broker, q):
    workers.add("only", prefetch_count=1)
    assert workers.send(b"1") == "only"
    assert workers.send(b"2") is None
    assert [message.body for message in broker.peek(q)] == [b"2"]


def test_one_who_asks_is_not_kept_waiting_for_one_who_does_not(broker, q):
    send_all(broker, q, b"1", b"2")
    with broker.consume(q, priority=10) as high, broker.consume(q) as low:
        with low.get(0) as delivery:
            assert delivery.body == b"1"
        with high.get(0) as delivery:
            assert delivery.body == b"2"

"""Each way to work with messages, under load from several threads: every message is handled, and once."""

import threading
from collections import Counter

import pytest

import msglog
from msglog.testing import ManualClock
from support.threads import in_threads

SENDERS = 3
EACH = 80
PATIENCE_SECONDS = 30
NUMBERS = [b"%d %d" % (sender, number) for sender in range(SENDERS) for number in range(EACH)]
ONCE = Counter(NUMBERS)


class Seen:
    """Counts what is handled, in any thread."""

    def __init__(self):
        self._lock = threading.Lock()
        self.bodies = []

    def note(self, body):
        with self._lock:
            self.bodies.append(body)

    @property
    def counts(self):
        return Counter(self.bodies)

    def in_order(self):
        """Whether what each sender sent was handled in its order."""
        return all(
            [body for body in self.bodies if body.startswith(b"%d " % sender)] == NUMBERS[sender * EACH :][:EACH]
            for sender in range(SENDERS)
        )


@pytest.fixture
def seen():
    return Seen()


@pytest.fixture(params=["memory", "none", "commit"])
def store(request, tmp_path):
    options = {} if request.param == "memory" else {"sync": request.param}
    with msglog.Store(":memory:" if request.param == "memory" else tmp_path / "store", **options) as store:
        yield store


def send_from_threads(send):
    """Have each sender send its numbers in order."""
    in_threads(SENDERS, lambda sender: [send(body) for body in NUMBERS[sender * EACH :][:EACH]])


def idle(*subscriptions):
    return all(subscription.wait_idle(PATIENCE_SECONDS) for subscription in subscriptions)


def test_work_queue(store, seen):
    store.broker.declare_queue("work")
    with store.broker.subscribe("work", lambda delivery: seen.note(delivery.body), workers=4) as subscription:
        send_from_threads(lambda body: store.broker.send("work", body))
        assert idle(subscription)
    assert seen.counts == ONCE


def test_work_queue_with_failures(store, seen):
    store.broker.declare_queue("work")

    def work(delivery):
        if not delivery.redelivered and delivery.body.endswith(b"7"):
            raise ValueError
        seen.note(delivery.body)

    retry = msglog.Retry(delay_ms=1)
    with store.broker.subscribe("work", work, workers=4, on_error=retry) as subscription:
        send_from_threads(lambda body: store.broker.send("work", body))
        assert idle(subscription)
    assert seen.counts == ONCE


def test_publish_and_subscribe(store):
    broker = store.broker
    broker.declare_exchange("news", "fanout")
    all_seen = [Seen() for _ in range(3)]
    subscriptions = []
    for number, seen in enumerate(all_seen):
        broker.declare_queue(f"reader {number}")
        broker.bind(f"reader {number}", "news")
        subscriptions.append(broker.subscribe(f"reader {number}", lambda delivery, seen=seen: seen.note(delivery.body)))
    send_from_threads(lambda body: broker.publish("news", "", body))
    assert idle(*subscriptions)
    for seen in all_seen:
        assert seen.counts == ONCE
        assert seen.in_order()


def test_request_and_reply(store, seen):
    broker = store.broker
    broker.declare_queue("squares")
    with broker.subscribe("squares", lambda delivery: delivery.reply(delivery.body * 2), workers=3):

        def ask(body):
            answer = broker.request("", "squares", body, timeout=PATIENCE_SECONDS)
            assert answer.body == body * 2
            seen.note(body)

        send_from_threads(ask)
    assert seen.counts == ONCE


def test_group_of_consumers(store, seen):
    store.log.create_topic("t", partitions=4)
    with store.log.subscribe("t", group="g", callback=lambda record: seen.note(record.value), workers=3) as first:
        send_from_threads(lambda body: store.log.append("t", body, key=body.split()[0]))
        # Others come while there is work: partitions change hands.
        with store.log.subscribe("t", group="g", callback=lambda record: seen.note(record.value), workers=2):
            send_from_threads(lambda body: store.log.append("t", body + b"!", key=body.split()[0]))
            assert idle(first)
    assert seen.counts == ONCE + Counter(body + b"!" for body in NUMBERS)


def test_every_group_gets_everything(store):
    store.log.create_topic("t")
    all_seen = [Seen() for _ in range(3)]
    subscriptions = [
        store.log.subscribe("t", group=f"g{number}", callback=lambda record, seen=seen: seen.note(record.value))
        for number, seen in enumerate(all_seen)
    ]
    send_from_threads(lambda body: store.log.append("t", body))
    assert idle(*subscriptions)
    for seen in all_seen:
        assert seen.counts == ONCE
        assert seen.in_order()


def test_share_group(store, seen):
    store.log.create_topic("t", partitions=2)
    consumers = [store.log.share_consumer("t", group="g") for _ in range(3)]

    def work(member):
        consumer = consumers[member]
        while records := consumer.poll(PATIENCE_SECONDS):
            for record in records:
                if record.delivery_count < 2 and record.value.endswith(b"7"):
                    record.release()
                    continue
                record.ack()
                seen.note(record.value)
                if len(seen.bodies) == len(NUMBERS):
                    for one in consumers:
                        one.stop()

    def send_or_work(number):
        if number < len(consumers):
            work(number)
        else:
            send_from_threads(lambda body: store.log.append("t", body))

    in_threads(len(consumers) + 1, send_or_work)
    for consumer in consumers:
        consumer.close()
    assert seen.counts == ONCE


def test_priorities(store, seen):
    broker = store.broker
    broker.declare_queue("work", max_priority=2)
    send_from_threads(lambda body: broker.send("work", body, priority=int(body.split()[1]) % 3))
    with broker.subscribe("work", lambda delivery: seen.note(delivery.body), workers=1) as subscription:
        assert idle(subscription)
        urgency = [int(body.split()[1]) % 3 for body in seen.bodies]
        assert urgency == sorted(urgency, reverse=True)
        send_from_threads(lambda body: broker.send("work", body + b"!", priority=int(body.split()[1]) % 3))
        assert idle(subscription)
    assert seen.counts == ONCE + Counter(body + b"!" for body in NUMBERS)


def test_delays(seen):
    clock = ManualClock()
    with msglog.Store(":memory:", clock=clock) as store:
        store.broker.declare_queue("later")
        due = {}

        def send(body):
            delay_ms = 1 + hash(body) % 1000
            due[body] = clock.now_ms() + delay_ms
            store.broker.send("later", body, delay_ms=delay_ms)

        def work(delivery):
            assert clock.now_ms() >= due[delivery.body]
            seen.note(delivery.body)

        with store.broker.subscribe("later", work, workers=3, on_error="reject") as subscription:
            send_from_threads(send)
            for _ in range(20):
                clock.advance(ms=50)
                assert idle(subscription)
                assert seen.counts == Counter(body for body in NUMBERS if due[body] <= clock.now_ms())
    assert seen.counts == ONCE

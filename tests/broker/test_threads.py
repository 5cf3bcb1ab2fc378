"""Many threads on one broker."""

import random
import threading
from collections import Counter

from msglog import Broker, SettlementError
from support.brokers import DEAD_LETTERED, Call, ready, send_all, take, wait_until

THREADS = 4
EACH = 60


def in_threads(work, count=THREADS):
    """Call `work(number)` in that many threads at once and return the results."""
    start = threading.Barrier(count, timeout=10)
    calls = [Call(lambda number=number: (start.wait(), work(number))[1]) for number in range(count)]
    return [call.result() for call in calls]


def test_every_message_goes_to_one_consumer(any_broker):
    any_broker.declare_queue("q")
    seen = [[] for _ in range(THREADS)]
    everything = THREADS * EACH

    def consume(number):
        with any_broker.consume("q", prefetch_count=1 + number) as consumer:
            consumers.append(consumer)
            for delivery in consumer:
                with delivery:
                    seen[number].append(delivery.body)
                if sum(map(len, seen)) >= everything:
                    for one in tuple(consumers):
                        one.stop()

    consumers = []
    calls = [Call(lambda number=number: consume(number)) for number in range(THREADS)]
    wait_until(lambda: len(consumers) == THREADS)
    in_threads(lambda number: send_all(any_broker, "q", *(b"%d %d" % (number, step) for step in range(EACH))))
    for call in calls:
        call.result()
    assert sorted(body for one in seen for body in one) == sorted(
        b"%d %d" % (number, step) for number in range(THREADS) for step in range(EACH)
    )
    for one in seen:
        for number in range(THREADS):
            steps = [int(body.split()[1]) for body in one if body.startswith(b"%d " % number)]
            assert steps == sorted(steps)


def test_one_consumer_in_many_threads(broker, q):
    broker.publish_many("", [(q, b"%d" % number) for number in range(THREADS * EACH)])
    with broker.consume(q, prefetch_count=2) as consumer:

        def work(_):
            found = []
            while (delivery := consumer.get(0.05)) is not None:
                with delivery:
                    found.append(int(delivery.body))
            return found

        found = in_threads(work)
    # The hand may be full at a moment; then a thread may leave early, but the last one finds the rest.
    assert sorted(number for one in found for number in one) == list(range(THREADS * EACH))


def test_publishers_keep_their_order(any_broker):
    any_broker.declare_queue("q")
    in_threads(lambda number: send_all(any_broker, "q", *(b"%d %d" % (number, step) for step in range(EACH))))
    bodies = take(any_broker, "q")
    assert len(bodies) == THREADS * EACH
    for number in range(THREADS):
        mine = [body for body in bodies if body.startswith(b"%d " % number)]
        assert mine == [b"%d %d" % (number, step) for step in range(EACH)]


def test_acks_returns_and_rejections_lose_nothing(any_broker):
    any_broker.declare_queue("dlq")
    any_broker.declare_queue("q", **DEAD_LETTERED)
    any_broker.publish_many("", [("q", b"%d" % number) for number in range(THREADS * EACH)])

    def work(number):
        chance = random.Random(number)
        acknowledged = []
        while (delivery := any_broker.get("q")) is not None:
            choice = chance.random()
            if choice < 0.4:
                delivery.ack()
                acknowledged.append(int(delivery.body))
            elif choice < 0.6:
                delivery.reject()
            else:
                delivery.nack()
        return acknowledged

    acknowledged = [number for one in in_threads(work) for number in one]
    left = [int(body) for body in take(any_broker, "q")]
    dead = [int(body) for body in take(any_broker, "dlq")]
    assert sorted(acknowledged + left + dead) == list(range(THREADS * EACH))


def test_a_delivery_is_settled_by_one(broker, q):
    for _ in range(20):
        broker.send(q, b"x")
        delivery = broker.get(q)

        def settle(number, delivery=delivery):
            try:
                (delivery.ack, delivery.nack)[number % 2]()
            except SettlementError:
                return None
            return number % 2

        winners = [one for one in in_threads(settle) if one is not None]
        assert len(winners) == 1
        assert len(take(broker, q)) == winners[0]


def test_declarations_at_the_same_time(any_broker):
    def work(number):
        for step in range(10):
            any_broker.declare_exchange(f"x{step}", "fanout")
            any_broker.declare_queue(f"q{step}")
            any_broker.bind(f"q{step}", f"x{step}")
            any_broker.declare_queue(f"mine {number} {step}")
            assert any_broker.publish(f"x{step}", "", b"x") == 1

    in_threads(work)
    counts = Counter({queue.name: queue.message_count for queue in any_broker.queues()})
    assert [counts[f"q{step}"] for step in range(10)] == [THREADS] * 10
    assert len(counts) == 10 + THREADS * 10
    assert len(any_broker.bindings()) == 10


def test_a_queue_is_deleted_beside_publishing(broker, q):
    def work(number):
        if number == 0:
            for _ in range(20):
                broker.delete_queue(q)
                broker.declare_queue(q)
            return 0
        return sum(broker.publish("", q, b"x") for _ in range(EACH))

    routed = in_threads(work)
    left = len(take(broker, q))
    assert left <= sum(routed) <= (THREADS - 1) * EACH
    broker.send(q, b"y")
    assert take(broker, q) == [b"y"]


def test_the_clock_moves_beside_the_work(broker, clock, dlq):
    broker.declare_queue("q", message_ttl_ms=10, **DEAD_LETTERED)

    def work(number):
        taken = 0
        for step in range(EACH):
            if number == 0:
                clock.advance(ms=1)
            elif number == 1:
                delivery = broker.get("q")
                if delivery is not None:
                    delivery.ack()
                    taken += 1
            else:
                broker.send("q", b"x", delay_ms=step % 3)
        return taken

    taken = sum(in_threads(work))
    clock.advance(seconds=1)
    assert ready(broker, "q") == 0
    assert taken + len(take(broker, dlq)) == (THREADS - 2) * EACH


def test_closing_beside_the_work(clock, tmp_path):
    broker = Broker(tmp_path / "s", sync="none", clock=clock)
    broker.declare_queue("q")
    begun = threading.Event()
    counts = [0] * THREADS

    def work(number):
        try:
            while True:
                broker.send("q", b"%d %d" % (number, counts[number]))
                counts[number] += 1
                if counts[number] == 10:
                    begun.set()
        except ValueError as error:
            return type(error).__name__

    calls = [Call(lambda number=number: work(number)) for number in range(THREADS)]
    assert begun.wait(10)
    broker.close()
    assert [call.result() for call in calls] == ["ClosedError"] * THREADS
    with Broker(tmp_path / "s", sync="none", clock=clock) as broker:
        bodies = take(broker, "q")
    for number in range(THREADS):
        mine = [body for body in bodies if body.startswith(b"%d " % number)]
        assert mine[: counts[number]] == [b"%d %d" % (number, step) for step in range(counts[number])]
        assert len(mine) <= counts[number] + 1


def test_a_plain_publication_overtakes_another_one(broker, q):
    """Between the look at where a message goes and its commit: what is read ahead is what lies in the queue."""
    broker.publish("", q, b"route")
    assert take(broker, q) == [b"route"]
    route = broker._vhost.routes["", q]
    writer = broker.store.core.engine.writer
    append_all = writer.append_all

    def late(*arguments):
        # As a plain publication by another thread that has not come to keep its message in memory.
        writer.append_all = append_all
        writer.append(route.only.stream, b"first", 0, route.meta)
        return append_all(*arguments)

    writer.append_all = late
    broker.publish("", q, b"second", headers={"long": "way"})
    assert take(broker, q) == [b"first", b"second"]

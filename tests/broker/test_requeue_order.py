"""Where returned messages stand. Rows 8 to 12 as seen without delivery tags."""

import itertools
import random

import pytest

from msglog import Broker
from support.brokers import hold, ready, send_all, take


def fill(broker, count, queue="q", **options):
    broker.declare_queue(queue, **options)
    send_all(broker, queue, *(b"%d" % number for number in range(count)))


def rest(broker, queue="q"):
    """Take what is ready: numbers, and which of them were delivered before."""
    found, again = [], []
    while (delivery := broker.get(queue, no_ack=True)) is not None:
        found.append(int(delivery.body))
        if delivery.redelivered:
            again.append(int(delivery.body))
    return found, again


def test_requeue_goes_to_the_original_position(any_broker):
    fill(any_broker, 5)
    deliveries = hold(any_broker, "q", 4)
    deliveries[1].nack()
    deliveries[3].nack()
    assert rest(any_broker) == ([1, 3, 4], [1, 3])


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_the_order_of_return_counts_for_nothing(broker, order):
    fill(broker, 5)
    deliveries = hold(broker, "q", 4)
    for place in order:
        deliveries[place].nack()
    assert rest(broker) == ([0, 1, 2, 3, 4], [0, 1, 2, 3])


def test_what_is_returned_stands_before_what_came_later(broker):
    fill(broker, 3)
    deliveries = hold(broker, "q", 3)
    send_all(broker, "q", b"3", b"4")
    (third,) = hold(broker, "q", 1)
    deliveries[1].nack()
    third.nack()
    deliveries[0].ack()
    deliveries[2].ack()
    assert rest(broker) == ([1, 3, 4], [1, 3])


def test_two_consumers_that_close_restore_the_order(broker):
    fill(broker, 8)
    one, two = broker.consume("q"), broker.consume("q")
    for _ in range(3):
        assert one.get(0) is not None
        assert two.get(0) is not None
    two.close()
    assert ready(broker, "q") == 5
    one.close()
    assert rest(broker) == ([0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5])


def test_two_brokers_that_close_restore_the_order(store):
    one, two = Broker(store), Broker(store)
    fill(one, 6)
    held = [broker.get("q") for broker in (one, two) * 3]
    assert [int(delivery.body) for delivery in held] == [0, 1, 2, 3, 4, 5]
    two.close()
    one.close()
    assert rest(store.broker) == ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5])


def test_a_consumer_gets_what_it_returned_before_what_is_new(broker):
    fill(broker, 6)
    with broker.consume("q", prefetch_count=3) as consumer:
        first = [consumer.get(0) for _ in range(3)]
        assert consumer.get(0) is None
        first[0].nack()
        again = consumer.get(0)
        assert (again.body, again.redelivered) == (b"0", True)
        assert consumer.get(0) is None
        for delivery in (*first[1:], again):
            delivery.ack()
        assert [delivery.body for delivery in consumer.iter(0)] == [b"3", b"4", b"5"]


def test_what_stays_in_hand_is_passed_over(broker):
    fill(broker, 4)
    deliveries = hold(broker, "q", 3)
    deliveries[0].nack()
    deliveries[2].nack()
    assert rest(broker) == ([0, 2, 3], [0, 2])
    deliveries[1].nack()
    assert rest(broker) == ([1], [1])


def test_many_returned_at_random(any_broker):
    fill(any_broker, 300)
    chance = random.Random(7)
    expected = list(range(300))
    for _ in range(3):
        deliveries = hold(any_broker, "q", 200)
        assert [int(delivery.body) for delivery in deliveries] == expected[:200]
        chance.shuffle(deliveries)
        for delivery in deliveries[:50]:
            expected.remove(int(delivery.body))
            delivery.ack()
        for delivery in deliveries[50:]:
            delivery.nack()
        assert ready(any_broker, "q") == len(expected)
    assert rest(any_broker)[0] == expected


def test_a_quorum_queue_serves_returns_first_in_the_order_of_return(broker):
    fill(broker, 5, arguments={"x-queue-type": "quorum"})
    deliveries = hold(broker, "q", 3)
    deliveries[2].nack()
    deliveries[0].nack()
    assert rest(broker) == ([2, 0, 3, 4], [2, 0])
    deliveries[1].ack()


def test_within_a_priority_returned_messages_keep_their_order(broker):
    broker.declare_queue("q", max_priority=5)
    for number, priority in enumerate((1, 5, 1, 5, 1)):
        broker.send("q", b"%d" % number, priority=priority)
    deliveries = hold(broker, "q", 4)
    assert [int(delivery.body) for delivery in deliveries] == [1, 3, 0, 2]
    for place in (3, 1, 0, 2):
        deliveries[place].nack()
    assert take(broker, "q") == [b"1", b"3", b"0", b"2", b"4"]

"""Queues with priorities. Rows 21 to 24."""

import pytest

from support.brokers import hold, ready, send_all, take, take_deliveries


@pytest.fixture
def prioritized(broker):
    return broker.declare_queue("q", max_priority=5).name


def test_higher_priorities_come_first_and_equal_ones_in_order(any_broker):
    any_broker.declare_queue("q", max_priority=5)
    for body, priority in (("none", None), ("1", 1), ("5", 5), ("3", 3), ("9", 9), ("0", 0), ("5 again", 5)):
        any_broker.send("q", body.encode(), priority=priority)
    deliveries = take_deliveries(any_broker, "q")
    assert [d.body.decode() for d in deliveries] == ["5", "9", "5 again", "3", "1", "none", "0"]
    assert [d.properties.priority for d in deliveries] == [5, 9, 5, 3, 1, None, 0]


def test_arguments_make_the_same_queue(broker):
    broker.declare_queue("q", arguments={"x-max-priority": 2})
    broker.send("q", b"low", priority=1)
    broker.send("q", b"high", priority=200)
    assert take(broker, "q") == [b"high", b"low"]


def test_without_priorities_of_the_queue_those_of_messages_count_for_nothing(broker, q):
    broker.send(q, b"1", priority=1)
    broker.send(q, b"2", priority=9)
    assert take(broker, q) == [b"1", b"2"]


@pytest.mark.parametrize("most", [0, 1, 255])
def test_the_least_and_the_most_priorities(broker, most):
    broker.declare_queue("q", max_priority=most)
    broker.send("q", b"low", priority=0)
    broker.send("q", b"high", priority=255)
    assert take(broker, "q") == ([b"high", b"low"] if most else [b"low", b"high"])


def test_what_comes_later_overtakes_what_nobody_asked_for_yet(broker, prioritized):
    send_all(broker, prioritized, b"low0", b"low1", b"low2", priority=1)
    seen = []
    with broker.consume(prioritized, prefetch_count=2) as consumer:
        for delivery in consumer.iter(0):
            with delivery:
                seen.append(delivery.body)
            if delivery.body == b"low0":
                broker.send(prioritized, b"HIGH", priority=5)
    assert seen == [b"low0", b"HIGH", b"low1", b"low2"]


def test_a_returned_message_keeps_its_priority(broker, prioritized):
    broker.send(prioritized, b"low", priority=1)
    (low,) = hold(broker, prioritized, 1)
    broker.send(prioritized, b"high", priority=3)
    (high,) = hold(broker, prioritized, 1)
    low.nack()
    high.nack()
    assert take(broker, prioritized) == [b"high", b"low"]


def test_a_full_queue_drops_its_head_which_has_the_highest_priority(broker, dlq):
    broker.declare_queue("q", max_priority=10, max_length=2, dead_letter_exchange="", dead_letter_routing_key=dlq)
    broker.send("q", b"lo1")
    broker.send("q", b"hi", priority=5)
    broker.send("q", b"lo2")
    broker.send("q", b"lo3", priority=1)
    assert take(broker, dlq) == [b"hi", b"lo3"]
    assert take(broker, "q") == [b"lo1", b"lo2"]


def test_what_has_expired_behind_a_higher_priority_stays(broker, clock, prioritized):
    broker.send(prioritized, b"high", priority=5)
    broker.send(prioritized, b"low", expiration_ms=50)
    clock.advance(ms=100)
    assert ready(broker, prioritized) == 2
    assert take(broker, prioritized) == [b"high"]


def test_counts_and_purges_take_in_all_priorities(broker, prioritized):
    for priority in range(6):
        send_all(broker, prioritized, b"1", b"2", priority=priority)
    (held,) = hold(broker, prioritized, 1)
    assert ready(broker, prioritized) == 11
    assert broker.purge_queue(prioritized) == 11
    held.nack()
    assert take(broker, prioritized) == [b"1"]


def test_a_delayed_message_keeps_its_priority(broker, clock, prioritized):
    broker.send(prioritized, b"high", priority=5, delay_ms=1000)
    broker.send(prioritized, b"low", priority=1)
    clock.advance(seconds=1)
    assert take(broker, prioritized) == [b"high", b"low"]


def test_many_priorities_at_once(any_broker):
    any_broker.declare_queue("q", max_priority=9)
    for number in range(200):
        any_broker.send("q", b"%d" % number, priority=number * 7 % 10)
    expected = sorted(range(200), key=lambda number: (-(number * 7 % 10), number))
    assert take(any_broker, "q") == [b"%d" % number for number in expected]

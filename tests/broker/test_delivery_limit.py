"""Messages that are given up after too many deliveries. Row 13."""

import pytest

from support.brokers import DEAD_LETTERED, Disk, hold, ready, take, take_one

LIMITED = [{"delivery_limit": 2}, {"arguments": {"x-queue-type": "quorum", "x-delivery-limit": 2}}]


def count_deliveries(broker, queue, most=100):
    """Return a message again and again; return how often it came, with the counts it came with."""
    counts = []
    while len(counts) < most and (delivery := broker.get(queue)) is not None:
        counts.append(delivery.delivery_count)
        delivery.nack()
    return counts


@pytest.mark.parametrize("options", LIMITED, ids=["classic", "quorum"])
def test_a_message_is_given_up_after_its_limit_of_returns(broker, dlq, options):
    broker.declare_queue("q", **DEAD_LETTERED, **options)
    broker.send("q", b"x", headers={"mine": 1})
    assert count_deliveries(broker, "q") == [0, 1, 2]
    letter = take_one(broker, dlq)
    death = letter.headers["x-death"][0]
    assert (death["reason"], death["queue"], death["count"]) == ("delivery_limit", "q", 1)
    assert letter.headers["mine"] == 1
    assert "x-delivery-count" not in letter.headers
    assert (letter.redelivered, letter.delivery_count) == (False, 0)


@pytest.mark.parametrize("options", LIMITED, ids=["classic", "quorum"])
def test_a_message_without_dead_letters_is_dropped(broker, options):
    broker.declare_queue("q", **options)
    broker.send("q", b"x")
    assert count_deliveries(broker, "q") == [0, 1, 2]
    assert ready(broker, "q") == 0


def test_a_quorum_queue_gives_up_after_twenty_returns(broker, dlq):
    broker.declare_queue("q", arguments={"x-queue-type": "quorum"}, **DEAD_LETTERED)
    broker.send("q", b"x")
    assert count_deliveries(broker, "q") == list(range(21))
    assert take(broker, dlq) == [b"x"]


def test_a_quorum_queue_may_never_give_up(broker):
    broker.declare_queue("q", arguments={"x-queue-type": "quorum", "x-delivery-limit": -1})
    broker.send("q", b"x")
    assert count_deliveries(broker, "q", 40) == list(range(40))
    assert ready(broker, "q") == 1


def test_a_classic_queue_never_gives_up_unless_told(broker, q):
    broker.send(q, b"x")
    assert count_deliveries(broker, q, 40) == list(range(40))
    assert ready(broker, q) == 1


def test_consumers_that_end_count_as_well(broker, dlq):
    broker.declare_queue("q", delivery_limit=1, **DEAD_LETTERED)
    broker.send("q", b"x")
    for count in (0, 1):
        with broker.consume("q") as consumer:
            assert consumer.get(0).delivery_count == count
    assert ready(broker, "q") == 0
    assert take(broker, dlq) == [b"x"]


def test_a_return_with_delay_counts_as_well(broker, clock, dlq):
    broker.declare_queue("q", delivery_limit=1, **DEAD_LETTERED)
    broker.send("q", b"x")
    broker.get("q").nack(delay_ms=1000)
    clock.advance(seconds=1)
    broker.get("q").nack(delay_ms=1000)
    clock.advance(seconds=1)
    assert ready(broker, "q") == 0
    assert take(broker, dlq) == [b"x"]


def test_no_return_at_all(broker, dlq):
    broker.declare_queue("q", delivery_limit=0, **DEAD_LETTERED)
    broker.send("q", b"1")
    broker.send("q", b"2")
    returned, kept = hold(broker, "q", 2)
    returned.nack()
    kept.ack()
    assert ready(broker, "q") == 0
    assert take(broker, dlq) == [b"1"]


def test_each_message_has_its_own_count(broker, dlq):
    broker.declare_queue("q", delivery_limit=1, **DEAD_LETTERED)
    for body in (b"1", b"2"):
        broker.send("q", body)
    first, second = hold(broker, "q", 2)
    first.nack()
    broker.get("q").nack()
    assert take(broker, dlq) == [b"1"]
    second.nack()
    assert ready(broker, "q") == 1
    assert count_deliveries(broker, "q") == [1]


def test_a_dead_letter_that_returns_begins_anew(broker):
    broker.declare_queue("q", delivery_limit=1, **DEAD_LETTERED)
    broker.declare_queue("dlq", dead_letter_exchange="", dead_letter_routing_key="q")
    broker.send("q", b"x")
    assert count_deliveries(broker, "q") == [0, 1]
    broker.get("dlq").reject()
    assert count_deliveries(broker, "q") == [0, 1]
    assert ready(broker, "dlq") == 1


def test_rejecting_is_no_use_of_the_limit(broker, dlq):
    broker.declare_queue("q", delivery_limit=5, **DEAD_LETTERED)
    broker.send("q", b"x")
    broker.get("q").reject()
    assert take_one(broker, dlq).headers["x-death"][0]["reason"] == "rejected"


def test_behind_a_message_that_killed_its_process_nothing_expired_is_delivered(tmp_path, clock):
    disk = Disk(tmp_path, sync="none", clock=clock)
    disk.broker.declare_queue("dlq")
    disk.broker.declare_queue("q", delivery_limit=0, **DEAD_LETTERED)
    disk.broker.send("q", b"poison")
    disk.broker.send("q", b"brief", expiration_ms=50)
    (poison,) = hold(disk.broker, "q", 1)
    broker = disk.crash()
    clock.advance(ms=50)
    assert broker.get("q") is None
    assert take(broker, "dlq") == [b"poison", b"brief"]
    assert poison.body == b"poison"
    broker.close()

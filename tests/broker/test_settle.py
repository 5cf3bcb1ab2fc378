"""Settling: ack, nack, reject, `with delivery:`, the back-off of what failed. Rows 14 and 15 for single deliveries."""

import gc

import pytest

from msglog import Broker, InvalidOptionError, InvalidTypeError, Retry, SettlementError
from support.brokers import DEAD_LETTERED, fail, forget, hold, ready, send_all, take, take_one


@pytest.fixture
def held(broker, q):
    """A delivery in hand."""
    broker.send(q, b"x")
    return broker.get(q)


def test_what_is_acknowledged_is_gone(store):
    with Broker(store) as one:
        one.declare_queue("q")
        send_all(one, "q", b"1", b"2")
        acknowledged, held = hold(one, "q", 2)
        acknowledged.ack()
        assert (acknowledged.settled, held.settled) == (True, False)
    assert take(store.broker, "q") == [b"2"]


def test_acks_in_any_order_leave_the_others(any_broker):
    any_broker.declare_queue("q")
    send_all(any_broker, "q", b"1", b"2", b"3", b"4", b"5")
    deliveries = hold(any_broker, "q", 5)
    for place in (1, 3, 4):
        deliveries[place].ack()
    for place in (2, 0):
        deliveries[place].nack()
    assert take(any_broker, "q") == [b"1", b"3"]


def test_nack_returns_the_message(any_broker):
    any_broker.declare_queue("q")
    any_broker.send("q", b"x", headers={"h": 1})
    for count in range(4):
        delivery = any_broker.get("q")
        assert (delivery.body, delivery.headers) == (b"x", {"h": 1})
        assert (delivery.redelivered, delivery.delivery_count) == (count > 0, count)
        delivery.nack()
        assert delivery.settled
    assert ready(any_broker, "q") == 1


@pytest.mark.parametrize("refuse", [lambda d: d.reject(), lambda d: d.nack(False), lambda d: d.nack(requeue=False)])
def test_rejecting_drops_the_message(broker, q, held, refuse):
    refuse(held)
    assert held.settled
    assert broker.get(q) is None


@pytest.mark.parametrize("refuse", [lambda d: d.reject(), lambda d: d.nack(False), lambda d: d.nack(requeue=False)])
def test_rejecting_makes_a_dead_letter(broker, dlq, refuse):
    broker.declare_queue("q", **DEAD_LETTERED)
    broker.send("q", b"x")
    refuse(broker.get("q"))
    assert take_one(broker, dlq).headers["x-death"][0]["reason"] == "rejected"
    assert broker.get("q") is None


SETTLE = {
    "ack": lambda delivery: delivery.ack(),
    "nack": lambda delivery: delivery.nack(),
    "nack for good": lambda delivery: delivery.nack(requeue=False),
    "nack with delay": lambda delivery: delivery.nack(delay_ms=5),
    "reject": lambda delivery: delivery.reject(),
}


@pytest.mark.parametrize("first", SETTLE.values(), ids=SETTLE)
@pytest.mark.parametrize("second", SETTLE.values(), ids=SETTLE)
def test_a_delivery_is_settled_once(broker, q, dlq, held, first, second):
    first(held)
    before = ready(broker, q), ready(broker, dlq)
    with pytest.raises(SettlementError) as caught:
        second(held)
    assert isinstance(caught.value, RuntimeError)
    assert (ready(broker, q), ready(broker, dlq)) == before


@pytest.mark.parametrize("settle", SETTLE.values(), ids=SETTLE)
def test_what_was_taken_without_ack_is_settled(broker, q, settle):
    broker.send(q, b"x")
    delivery = broker.get(q, no_ack=True)
    with pytest.raises(SettlementError):
        settle(delivery)
    assert ready(broker, q) == 0


@pytest.mark.parametrize("settle", SETTLE.values(), ids=SETTLE)
def test_settling_after_the_end_of_the_broker(broker, held, settle):
    broker.close()
    with pytest.raises(SettlementError):
        settle(held)


@pytest.mark.parametrize(
    ("nack", "error"),
    [
        (lambda d: d.nack(requeue=1), InvalidTypeError),
        (lambda d: d.nack(requeue=None), InvalidTypeError),
        (lambda d: d.nack(delay_ms=-1), InvalidOptionError),
        (lambda d: d.nack(delay_ms="5"), InvalidTypeError),
        (lambda d: d.nack(delay_ms=True), InvalidTypeError),
        (lambda d: d.nack(delay_ms=1.5), InvalidTypeError),
    ],
)
def test_bad_arguments_leave_it_unsettled(held, nack, error):
    with pytest.raises(error):
        nack(held)
    assert not held.settled
    held.ack()


def test_a_message_can_come_back_later(broker, clock, q):
    send_all(broker, q, b"1", b"2", b"3")
    first, second = hold(broker, q, 2)
    first.nack(delay_ms=1000)
    second.nack(delay_ms=500)
    assert ready(broker, q) == 1
    clock.advance(ms=499)
    assert ready(broker, q) == 1
    clock.advance(ms=1)
    assert ready(broker, q) == 2
    clock.advance(ms=500)
    first, second, third = hold(broker, q, 3)
    assert [first.body, second.body, third.body] == [b"1", b"2", b"3"]
    assert [first.redelivered, second.redelivered, third.redelivered] == [True, True, False]
    assert [first.delivery_count, second.delivery_count, third.delivery_count] == [1, 1, 0]
    for delivery in (first, second, third):
        delivery.ack()


# with delivery:


def test_with_acks_on_normal_exit(store):
    with Broker(store) as one:
        one.declare_queue("q")
        one.send("q", b"x")
        held = one.get("q")
        with held as entered:
            assert entered is held
            assert not held.settled
        assert held.settled
    assert take(store.broker, "q") == []


@pytest.mark.parametrize("settle", SETTLE.values(), ids=SETTLE)
def test_with_leaves_alone_what_was_settled_inside(broker, clock, q, held, settle):
    with held:
        settle(held)
        before = ready(broker, q)
    assert ready(broker, q) == before
    clock.advance(ms=5)
    came_back = settle in (SETTLE["nack"], SETTLE["nack with delay"])
    assert ready(broker, q) == came_back


def test_with_leaves_alone_what_was_settled_before_an_error(broker, clock, q, held):
    with pytest.raises(ZeroDivisionError):
        fail(held, held.ack)
    clock.advance(seconds=100)
    assert ready(broker, q) == 0


def test_with_needs_no_ack_of_what_was_taken_without(broker, q):
    broker.send(q, b"x")
    with broker.get(q, no_ack=True) as delivery:
        assert delivery.body == b"x"
    with pytest.raises(ZeroDivisionError):
        fail(delivery)
    assert ready(broker, q) == 0


def test_an_error_brings_the_message_back_after_a_back_off(broker, clock, q):
    broker.send(q, b"x")
    for delay_ms in (1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000):
        with pytest.raises(ZeroDivisionError):
            fail(broker.get(q))
        clock.advance(ms=delay_ms - 1)
        assert ready(broker, q) == 0
        clock.advance(ms=1)
        assert ready(broker, q) == 1
    delivery = take_one(broker, q)
    assert (delivery.redelivered, delivery.delivery_count) == (True, 8)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_returns_the_message_at_once(broker, q, kind):
    broker.send(q, b"x")
    with pytest.raises(kind), broker.get(q):
        raise kind
    delivery = take_one(broker, q)
    assert (delivery.redelivered, delivery.delivery_count) == (True, 1)


def test_the_back_off_ends_in_a_dead_letter(broker, clock, dlq):
    broker.declare_queue("q", **DEAD_LETTERED)
    broker.send("q", b"x")
    retry = Retry(limit=2, delay_ms=100, factor=3.0)
    with broker.consume("q", on_error=retry) as consumer:
        for delay_ms in (100, 300):
            with pytest.raises(ZeroDivisionError):
                fail(consumer.get(0))
            clock.advance(ms=delay_ms - 1)
            assert consumer.get(0) is None
            clock.advance(ms=1)
        with pytest.raises(ZeroDivisionError):
            fail(consumer.get(0))
        assert consumer.get(0) is None
    death = take_one(broker, dlq).headers["x-death"][0]
    assert (death["reason"], death["count"], death["queue"]) == ("rejected", 1, "q")


def test_no_retries_at_all(broker, dlq):
    broker.declare_queue("q", **DEAD_LETTERED)
    send_all(broker, "q", b"1", b"2")
    for on_error in (Retry(limit=0), "reject"):
        with broker.consume("q", on_error=on_error) as consumer, pytest.raises(ZeroDivisionError):
            fail(consumer.get(0))
    assert take(broker, dlq) == [b"1", b"2"]
    assert ready(broker, "q") == 0


def test_an_error_may_return_the_message_at_once(broker, q):
    send_all(broker, q, b"1", b"2")
    with broker.consume(q, on_error="requeue") as consumer:
        with pytest.raises(ZeroDivisionError):
            fail(consumer.get(0))
        with consumer.get(0) as delivery:
            assert (delivery.body, delivery.redelivered, delivery.delivery_count) == (b"1", True, 1)
    assert take(broker, q) == [b"2"]


def test_each_message_has_its_own_back_off(broker, clock, q):
    send_all(broker, q, b"1", b"2")
    with broker.consume(q, on_error=Retry(delay_ms=100)) as consumer:
        for body in (b"1", b"2"):
            delivery = consumer.get(0)
            assert delivery.body == body
            with pytest.raises(ZeroDivisionError):
                fail(delivery)
            clock.advance(ms=60)
        delivery = consumer.get(0)
        assert delivery.body == b"1"
        with pytest.raises(ZeroDivisionError):
            fail(delivery)
        clock.advance(ms=40)
        with consumer.get(0) as delivery:
            assert delivery.body == b"2"
        assert consumer.get(0) is None
        clock.advance(ms=160)
        with consumer.get(0) as delivery:
            assert (delivery.body, delivery.delivery_count) == (b"1", 2)


def test_settling_outlives_the_consumer_variable(broker, q):
    broker.send(q, b"x")
    kept = [broker.consume(q).get(0)]
    gc.collect()
    kept[0].ack()
    assert kept[0].settled
    with pytest.warns(ResourceWarning, match="unclosed"):
        forget(kept)
    assert take(broker, q) == []

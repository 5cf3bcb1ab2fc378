"""Consumers: handing out, prefetch, turns, stop and close, what happens to them and to those nobody holds.

Rows 53, 56 and 58 as far as a consumer of its own shows them, and 59.
"""

import gc
import signal
import time

import pytest

from msglog import (
    AccessRefusedError,
    Broker,
    ClosedError,
    ConsumerCancelledError,
    InvalidOptionError,
    InvalidTypeError,
    SettlementError,
)
from support.brokers import Call, fail, forget, hold, info, ready, send_all, take, wait_until


def bodies(deliveries):
    return [delivery.body for delivery in deliveries]


def test_a_consumer_hands_out_in_order(any_broker):
    any_broker.declare_queue("q")
    send_all(any_broker, "q", b"1", b"2", b"3")
    with any_broker.consume("q") as consumer:
        for body in (b"1", b"2", b"3"):
            with consumer.get(0) as delivery:
                assert (delivery.body, delivery.queue, delivery.redelivered) == (body, "q", False)
        assert consumer.get(0) is None
        assert consumer.get(0.01) is None
    assert any_broker.queues() == [("q", 0, 0)]


def test_get_waits_without_a_timeout(broker, q):
    with broker.consume(q) as consumer:
        call = Call(consumer.get).until_asleep()
        broker.send(q, b"x")
        delivery = call.result()
        assert delivery.body == b"x"
        delivery.ack()


def test_messages_are_taken_only_when_asked_for(broker, q):
    send_all(broker, q, b"1", b"2", b"3")
    with broker.consume(q, prefetch_count=100) as consumer:
        assert ready(broker, q) == 3
        held = consumer.get(0)
        assert ready(broker, q) == 2
        assert take(broker, q) == [b"2", b"3"]
        held.ack()


def test_iteration_and_get_share_the_messages(broker, q):
    send_all(broker, q, *(b"%d" % number for number in range(6)))
    with broker.consume(q, no_ack=True) as consumer:
        deliveries = iter(consumer)
        assert next(deliveries).body == b"0"
        assert consumer.get(0).body == b"1"
        assert next(deliveries).body == b"2"
        assert bodies(consumer.iter(0)) == [b"3", b"4", b"5"]
        assert bodies(consumer.iter(0.01)) == []


def test_iteration_waits_for_more(broker, q):
    seen = []

    def work():
        for delivery in consumer:
            with delivery:
                seen.append(delivery.body)
            if delivery.body == b"last":
                consumer.stop()

    with broker.consume(q) as consumer:
        call = Call(work)
        for body in (b"1", b"2", b"last", b"too late"):
            call.until_asleep()
            broker.send(q, body)
            if body == b"last":
                break
            wait_until(lambda body=body: body in seen)
        call.result()
    assert seen == [b"1", b"2", b"last"]


def test_a_loop_that_ends_early_leaves_the_rest(broker, q):
    send_all(broker, q, b"1", b"2", b"3")
    with broker.consume(q) as consumer:
        for delivery in consumer:
            with delivery:
                break
    assert take(broker, q) == [b"2", b"3"]


# Prefetch


def test_prefetch_caps_what_is_unsettled(broker, q):
    send_all(broker, q, *(b"%d" % number for number in range(6)))
    with broker.consume(q, prefetch_count=3) as consumer:
        held = list(consumer.iter(0))
        assert bodies(held) == [b"0", b"1", b"2"]
        assert consumer.get(0) is None
        for settle in (held[1].ack, held[2].reject, lambda: held[0].nack(requeue=False)):
            settle()
            held.append(consumer.get(0))
            assert consumer.get(0.005) is None
        assert bodies(held[3:]) == [b"3", b"4", b"5"]


def test_settling_wakes_who_waits_for_room(broker, q):
    send_all(broker, q, b"1", b"2")
    with broker.consume(q, prefetch_count=1) as consumer:
        held = consumer.get(0)
        call = Call(consumer.get).until_asleep()
        held.ack()
        second = call.result()
        assert second.body == b"2"
        second.ack()


def test_a_delayed_return_makes_room(broker, clock, q):
    send_all(broker, q, b"1", b"2")
    with broker.consume(q, prefetch_count=1) as consumer:
        consumer.get(0).nack(delay_ms=1000)
        with consumer.get(0) as delivery:
            assert delivery.body == b"2"
        assert consumer.get(0) is None
        clock.advance(seconds=1)
        with consumer.get(0) as delivery:
            assert delivery.body == b"1"


def test_each_consumer_has_its_own_prefetch(broker, q):
    send_all(broker, q, *(b"%d" % number for number in range(9)))
    with broker.consume(q, prefetch_count=2) as one, broker.consume(q, prefetch_count=3) as two:
        first, second = list(one.iter(0)), list(two.iter(0))
        assert (bodies(first), bodies(second)) == ([b"0", b"1"], [b"2", b"3", b"4"])
        assert (one.get(0), two.get(0)) == (None, None)
        assert take(broker, q) == [b"5", b"6", b"7", b"8"]


def test_without_acks_prefetch_counts_for_nothing(broker, q):
    send_all(broker, q, *(b"%d" % number for number in range(6)))
    with broker.consume(q, prefetch_count=2, no_ack=True) as consumer:
        deliveries = list(consumer.iter(0))
    assert len(deliveries) == 6
    assert all(delivery.settled for delivery in deliveries)
    assert ready(broker, q) == 0


# Turns


def test_consumers_that_wait_take_turns(broker, q):
    seen = []

    def work(name, consumer):
        for delivery in consumer:
            with delivery:
                seen.append(name)

    consumers = {name: broker.consume(q) for name in "abc"}
    calls = [Call(lambda name=name, one=one: work(name, one)) for name, one in consumers.items()]
    for count in range(1, 10):
        for call in calls:
            call.until_asleep()
        broker.send(q, b"x")
        wait_until(lambda count=count: len(seen) == count)
    for consumer in consumers.values():
        consumer.stop()
    for call in calls:
        call.result()
    for consumer in consumers.values():
        consumer.close()
    assert seen[:3] == seen[3:6] == seen[6:]
    assert sorted(seen[:3]) == ["a", "b", "c"]


def test_threads_share_one_consumer(broker, q):
    with broker.consume(q) as consumer:
        calls = [Call(lambda: consumer.get(10)) for _ in range(3)]
        for call in calls:
            call.until_asleep()
        send_all(broker, q, b"1", b"2", b"3")
        deliveries = [call.result() for call in calls]
        assert sorted(bodies(deliveries)) == [b"1", b"2", b"3"]
        for delivery in deliveries:
            delivery.ack()


# Exclusive


def test_an_exclusive_consumer_is_the_only_one(broker, q):
    with broker.consume(q, exclusive=True):
        for exclusive in (False, True):
            with pytest.raises(AccessRefusedError, match="queue 'q' in vhost '/' in exclusive use") as caught:
                broker.consume(q, exclusive=exclusive)
            assert caught.value.reply_code == 403
        assert info(broker, q).consumer_count == 1
    with broker.consume(q):
        with pytest.raises(AccessRefusedError, match="queue 'q' in vhost '/' in exclusive use"):
            broker.consume(q, exclusive=True)
        with broker.consume(q):
            assert info(broker, q).consumer_count == 2
    with broker.consume(q, exclusive=True):
        assert info(broker, q).consumer_count == 1


# Ends


@pytest.mark.parametrize("wait", [lambda c: c.get(), lambda c: c.get(30), list], ids=["get", "get 30", "iterate"])
def test_stop_ends_a_wait_in_another_thread(broker, q, wait):
    with broker.consume(q) as consumer:
        call = Call(lambda: wait(consumer)).until_asleep()
        consumer.stop()
        assert call.result() in (None, [])


def test_stop_ends_a_loop_after_the_delivery_in_hand(broker, q):
    send_all(broker, q, *(b"%d" % number for number in range(6)))
    seen = []
    with broker.consume(q) as consumer:
        for delivery in consumer:
            with delivery:
                seen.append(delivery.body)
                if len(seen) == 3:
                    consumer.stop()
        assert seen == [b"0", b"1", b"2"]
        assert consumer.get() is None
        assert list(consumer) == []
        assert list(consumer.iter()) == []
    assert take(broker, q) == [b"3", b"4", b"5"]


def test_what_is_in_hand_at_stop_can_still_be_settled(broker, q):
    send_all(broker, q, b"1", b"2", b"3")
    with broker.consume(q) as consumer:
        held = [consumer.get(0) for _ in range(3)]
        consumer.stop()
        assert ready(broker, q) == 0
        held[0].ack()
        held[1].nack()
        assert ready(broker, q) == 1
    assert take(broker, q) == [b"2", b"3"]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_stop_from_a_signal_handler(broker, q):
    with broker.consume(q) as consumer:
        former = signal.signal(signal.SIGALRM, lambda *_: consumer.stop())
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            assert list(consumer) == []
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, former)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_ctrl_c_during_a_wait_leaves_a_usable_consumer(broker, q):
    def interrupt(*_):
        raise KeyboardInterrupt

    with broker.consume(q) as consumer:
        former = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            with pytest.raises(KeyboardInterrupt):
                consumer.get()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, former)
        broker.send(q, b"x")
        with consumer.get(10) as delivery:
            assert delivery.body == b"x"


def test_closing_returns_what_is_unsettled(any_broker):
    any_broker.declare_queue("q")
    send_all(any_broker, "q", b"1", b"2", b"3")
    consumer = any_broker.consume("q")
    held = [consumer.get(0) for _ in range(3)]
    held[1].ack()
    consumer.close()
    consumer.close()
    for delivery in (held[0], held[2]):
        assert not delivery.redelivered
        with pytest.raises(SettlementError):
            delivery.ack()
    again = hold(any_broker, "q", 2)
    assert [(d.body, d.redelivered, d.delivery_count) for d in again] == [(b"1", True, 1), (b"3", True, 1)]
    for delivery in again:
        delivery.ack()


def test_with_delivery_does_nothing_when_its_consumer_was_closed(broker, q):
    broker.send(q, b"x")
    consumer = broker.consume(q)
    with pytest.raises(ZeroDivisionError):
        fail(consumer.get(0), consumer.close)
    assert take(broker, q) == [b"x"]


def test_after_close_everything_raises(broker, q):
    consumer = broker.consume(q)
    deliveries = iter(consumer)
    consumer.close()
    for call in (
        consumer.get,
        lambda: consumer.get(0),
        lambda: next(deliveries),
        lambda: next(iter(consumer)),
        lambda: next(iter(consumer.iter(0))),
        consumer.__enter__,
    ):
        with pytest.raises(ClosedError):
            call()
    consumer.stop()
    assert info(broker, q).consumer_count == 0


def test_close_ends_a_wait_in_another_thread(broker, q):
    consumer = broker.consume(q)
    call = Call(consumer.get).until_asleep()
    consumer.close()
    try:
        assert call.result() is None
    except ClosedError:
        pass  # the call may find out by itself


def test_closing_the_broker_closes_its_consumers(store):
    with Broker(store) as one:
        one.declare_queue("q")
        one.send("q", b"x")
        consumer = one.consume("q")
        held = consumer.get(0)
    with pytest.raises(ClosedError):
        consumer.get(0)
    with pytest.raises(SettlementError):
        held.ack()
    consumer.close()
    assert store.broker.queues() == [("q", 1, 0)]


def test_deleting_the_queue_cancels_its_consumers(broker, q):
    broker.send(q, b"x")
    consumer = broker.consume(q)
    waiting = broker.consume(q)
    held = consumer.get(0)
    assert held.body == b"x"
    call = Call(waiting.get).until_asleep()
    assert broker.delete_queue(q) == 0
    with pytest.raises(ConsumerCancelledError):
        call.result()
    for cancelled in (consumer, waiting):
        for wait in (lambda one=cancelled: one.get(0), lambda one=cancelled: next(iter(one))):
            with pytest.raises(ConsumerCancelledError):
                wait()
        cancelled.close()


def test_a_queue_made_anew_has_no_consumers_of_the_old(broker, q):
    consumer = broker.consume(q)
    broker.delete_queue(q)
    assert broker.declare_queue(q).consumer_count == 0
    broker.send(q, b"x")
    with pytest.raises(ConsumerCancelledError):
        consumer.get(0)
    consumer.close()
    assert take(broker, q) == [b"x"]


@pytest.mark.parametrize("expires", [False, True])
def test_what_belongs_to_a_deleted_queue_never_comes_back(broker, clock, expires):
    broker.declare_queue("q", expires_ms=1000)
    broker.send("q", b"x")
    held = broker.get("q")
    if expires:
        clock.advance(seconds=1)
    else:
        broker.delete_queue("q")
    assert broker.queues() == []
    broker.declare_queue("q")
    try:
        held.nack()
    except SettlementError:
        pass  # there is nothing left to settle
    assert ready(broker, "q") == 0


# Nobody holds it


def test_a_collected_consumer_warns_and_returns_its_messages(broker, q):
    send_all(broker, q, b"1", b"2")
    kept = [broker.consume(q)]
    kept += [kept[0].get(0), kept[0].get(0)]
    kept[1].ack()
    with pytest.warns(ResourceWarning, match="unclosed <msglog.QueueConsumer"):
        forget(kept)
    delivery = broker.get(q)
    assert (delivery.body, delivery.redelivered) == (b"2", True)
    delivery.ack()
    assert info(broker, q).consumer_count == 0


def test_what_a_collected_consumer_held_wakes_who_waits(broker, q):
    broker.send(q, b"x")
    kept = [broker.consume(q)]
    kept.append(kept[0].get(0))
    call = Call(lambda: broker.get(q, timeout=10, no_ack=True)).until_asleep()
    with pytest.warns(ResourceWarning, match="unclosed"):
        forget(kept)
    assert call.result().redelivered


def test_a_delivery_keeps_its_consumer_alive(broker, q):
    send_all(broker, q, b"1", b"2")
    kept = [broker.consume(q).get(0)]
    gc.collect()
    assert broker.queues() == [(q, 1, 1)]
    kept[0].ack()
    assert take(broker, q) == [b"2"]
    with pytest.warns(ResourceWarning, match="unclosed"):
        forget(kept)
    assert broker.queues() == [(q, 0, 0)]


def test_a_closed_consumer_is_collected_in_silence(broker, q):
    broker.send(q, b"x")
    consumer = broker.consume(q)
    held = consumer.get(0)
    consumer.close()
    del consumer, held
    gc.collect()
    assert ready(broker, q) == 1


def test_repr_tells_the_queue_and_no_payloads(broker, q):
    broker.send(q, b"secret")
    with broker.consume(q) as consumer, consumer.get(0):
        assert "'q'" in repr(consumer)
        assert "secret" not in repr(consumer)
    assert "closed" in repr(consumer)


# Bad input


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"queue": None}, InvalidTypeError),
        ({"queue": b"q"}, InvalidTypeError),
        ({"prefetch_count": -1}, InvalidOptionError),
        ({"prefetch_count": "1"}, InvalidTypeError),
        ({"prefetch_count": True}, InvalidTypeError),
        ({"prefetch_count": None}, InvalidTypeError),
        ({"no_ack": 1}, InvalidTypeError),
        ({"exclusive": "no"}, InvalidTypeError),
        ({"priority": "high"}, InvalidTypeError),
        ({"priority": 1.5}, InvalidTypeError),
        ({"priority": True}, InvalidTypeError),
        ({"on_error": "retry"}, InvalidOptionError),
        ({"on_error": 5}, InvalidTypeError),
    ],
)
def test_bad_options(broker, q, options, error):
    with pytest.raises(error):
        broker.consume(**{"queue": q} | options)
    assert info(broker, q).consumer_count == 0


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), "1", True])
def test_bad_timeouts(broker, q, timeout):
    broker.send(q, b"x")
    with broker.consume(q) as consumer:
        for call in (consumer.get, lambda timeout: list(consumer.iter(timeout))):
            with pytest.raises(InvalidOptionError):
                call(timeout)
    assert take(broker, q) == [b"x"]


def test_timeouts_are_of_the_real_clock(broker, q):
    begin = time.monotonic()
    with broker.consume(q) as consumer:
        assert consumer.get(0.02) is None
        assert list(consumer.iter(0.02)) == []
    assert 0.04 <= time.monotonic() - begin < 5

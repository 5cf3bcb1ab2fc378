"""Callbacks on threads: every message once, back-off, ends of all kinds."""

import contextlib
import gc
import threading
from functools import partial

import pytest

from msglog import (
    JSON,
    Broker,
    ClosedError,
    InvalidOptionError,
    InvalidTypeError,
    QueueNotFoundError,
    Retry,
)
from msglog.broker.beginnings import Beginnings
from support.brokers import DEAD_LETTERED, Call, info, is_asleep, ready, send_all, take, take_one, wait_until
from support.callbacks import CALLBACKS, ENDS, EXCEPTIONS, NO_CALLBACKS, RETURN_COROUTINES, name_of


class Fails:
    """A callback that fails as often as it is told; keeps its deliveries, the times and the thread."""

    def __init__(self, clock, times):
        self._clock = clock
        self._times = times
        self.deliveries = []
        self.at_ms = []
        self.thread = None

    def __call__(self, delivery):
        self.thread = threading.current_thread()
        self.deliveries.append(delivery)
        self.at_ms.append(self._clock.now_ms())
        if len(self.deliveries) <= self._times:
            raise ZeroDivisionError

    def until_failed(self, times):
        """Return when so many attempts have failed and the worker waits again."""
        wait_until(lambda: len(self.deliveries) == times and self.deliveries[-1].settled and is_asleep(self.thread))


def test_every_message_is_handled_once(any_broker):
    any_broker.declare_queue("q")
    seen = []
    with any_broker.subscribe("q", lambda delivery: seen.append(delivery.body), workers=3) as subscription:
        any_broker.publish_many("", [("q", b"%d" % number) for number in range(200)])
        assert subscription.wait_idle(10)
        assert any_broker.queues()[0].message_count == 0
    assert sorted(seen) == sorted(b"%d" % number for number in range(200))
    assert any_broker.queues() == [("q", 0, 0)]


def test_one_worker_handles_in_order(broker, q):
    seen = []
    send_all(broker, q, *(b"%d" % number for number in range(100)))
    with broker.subscribe(q, lambda delivery: seen.append(int(delivery.body))) as subscription:
        assert subscription.wait_idle(10)
    assert seen == list(range(100))


def test_what_a_callback_returns_counts_for_nothing_and_what_it_settles_stays(broker, dlq):
    broker.declare_queue("work", **DEAD_LETTERED)

    def work(delivery):
        if delivery.body == b"reject":
            delivery.reject()
        return False

    send_all(broker, "work", b"1", b"reject", b"2")
    with broker.subscribe("work", work) as subscription:
        assert subscription.wait_idle(10)
    assert (ready(broker, "work"), take(broker, dlq)) == (0, [b"reject"])


def test_wait_idle_waits_for_what_is_in_hand(broker, q):
    inside, release = threading.Event(), threading.Event()

    def work(_):
        inside.set()
        release.wait(10)

    with broker.subscribe(q, work) as subscription:
        assert subscription.wait_idle(0)
        broker.send(q, b"x")
        assert inside.wait(10)
        assert not subscription.wait_idle(0)
        assert not subscription.wait_idle(0.01)
        call = Call(lambda: subscription.wait_idle(10)).until_asleep()
        release.set()
        assert call.result()


def ack_in_a_transaction(broker):
    delivery = broker.get("q")

    def transact():
        with broker.store.transaction() as tx:
            tx.ack(delivery)

    return transact


def ack_on_a_channel(broker, *, multiple=False):
    channel = broker.channel()
    tag = channel.basic_get("q").delivery_tag

    def finish():
        channel.basic_ack(tag, multiple=multiple)
        channel.close()

    return finish


ENDS_OF_A_MESSAGE = {
    "ack": lambda broker: broker.get("q").ack,
    "reject": lambda broker: broker.get("q").reject,
    "ack on a channel": ack_on_a_channel,
    "ack of all on a channel": lambda broker: ack_on_a_channel(broker, multiple=True),
    "ack in a transaction": ack_in_a_transaction,
    "get without acknowledgement": lambda broker: lambda: broker.get("q", no_ack=True),
    "purge": lambda broker: lambda: broker.purge_queue("q"),
    "delete": lambda broker: lambda: broker.delete_queue("q"),
}


@pytest.mark.parametrize("end", ENDS_OF_A_MESSAGE.values(), ids=ENDS_OF_A_MESSAGE)
def test_whoever_ends_the_last_message_wakes_who_waits_for_the_queue_to_be_idle(any_broker, end):
    # Its worker must not take the message: it is in a callback.
    any_broker.declare_queue("q")
    inside, release = threading.Event(), threading.Event()

    def work(delivery):
        delivery.ack()
        inside.set()
        release.wait(60)  # longer than anybody has the patience to wait for the call

    with any_broker.subscribe("q", work) as subscription:
        send_all(any_broker, "q", b"1")
        assert inside.wait(10)
        any_broker.send("q", b"2")
        finish = end(any_broker)
        call = Call(subscription.wait_idle).until_asleep()
        finish()
        assert call.result()
        release.set()


def test_what_expires_makes_a_queue_idle(broker, clock, q):
    inside, release = threading.Event(), threading.Event()

    def work(delivery):
        delivery.ack()
        inside.set()
        release.wait(60)  # longer than anybody has the patience to wait for the call

    with broker.subscribe(q, work) as subscription:
        broker.send(q, b"1")
        assert inside.wait(10)
        broker.send(q, b"2", expiration_ms=1000)
        call = Call(subscription.wait_idle).until_asleep()
        clock.advance(seconds=1)
        assert call.result()
        release.set()


def test_wait_idle_hears_of_the_last_workers_end(broker, q):
    begin = threading.Event()

    def work(_):
        begin.wait(10)
        raise SystemExit

    with broker.subscribe(q, work, workers=2) as subscription:
        send_all(broker, q, b"1", b"2", b"3")
        call = Call(subscription.wait_idle).until_asleep()
        begin.set()
        assert call.result() is False


def test_wait_idle_hears_of_the_end_of_the_store(broker, q):
    broker.send(q, b"1")
    held = broker.get(q)
    call = Call(broker.subscribe(q, print).wait_idle).until_asleep()
    broker.close()
    with contextlib.suppress(ClosedError):  # its workers have ended, or the store has: whichever it sees first
        assert call.result() is False
    assert not held.settled


def test_workers_work_at_the_same_time(broker, q):
    both = threading.Barrier(2, timeout=10)
    with broker.subscribe(q, lambda _: both.wait(), workers=2) as subscription:
        send_all(broker, q, b"1", b"2")
        assert subscription.wait_idle(10)
    assert not both.broken


def test_the_back_off_is_on_the_clock_of_the_store(broker, clock, q):
    work = Fails(clock, 3)
    start_ms = clock.now_ms()
    with broker.subscribe(q, work, on_error=Retry(delay_ms=60_000, max_delay_ms=120_000)) as subscription:
        broker.send(q, b"x")
        for times, delay_ms in ((1, 60_000), (2, 120_000), (3, 120_000)):
            work.until_failed(times)
            assert not subscription.wait_idle(0.005)
            clock.advance(ms=delay_ms - 1)
            assert len(work.deliveries) == times
            clock.advance(ms=1)
        assert subscription.wait_idle(10)
    assert [at_ms - start_ms for at_ms in work.at_ms] == [0, 60_000, 180_000, 300_000]
    assert [delivery.delivery_count for delivery in work.deliveries] == [0, 1, 2, 3]


def test_the_back_off_begins_with_a_second(broker, clock, q):
    work = Fails(clock, 1)
    with broker.subscribe(q, work) as subscription:
        broker.send(q, b"x")
        work.until_failed(1)
        clock.advance(ms=999)
        assert len(work.deliveries) == 1
        clock.advance(ms=1)
        assert subscription.wait_idle(10)
    assert work.at_ms[1] - work.at_ms[0] == 1000


@pytest.fixture
def begun(clock, monkeypatch):
    """The time of each beginning of a callback, noted before anybody is told that it begins."""
    times = []
    begin = Beginnings.begin

    def note(beginnings, place):
        times.append(clock.now_ms())
        begin(beginnings, place)

    monkeypatch.setattr(Beginnings, "begin", note)
    return times


def test_the_clock_goes_on_when_what_came_due_has_begun(any_broker, clock, begun):
    any_broker.declare_queue("q")
    work = Fails(clock, 2)
    with any_broker.subscribe("q", work, workers=3) as subscription:
        start_ms = clock.now_ms()
        any_broker.send("q", b"x", delay_ms=500)
        clock.advance(ms=499)
        assert begun == []
        clock.advance(ms=1)
        assert begun == [start_ms + 500]
        for times in (1, 2):
            work.until_failed(times)
            clock.advance(ms=times * 1000)
            assert len(begun) == times + 1
        assert subscription.wait_idle(10)
        assert begun == [start_ms + 500, start_ms + 1500, start_ms + 3500]


def test_messages_begin_in_the_order_in_which_they_are_due(broker, clock, begun):
    subscriptions = []
    start_ms = clock.now_ms()
    for number in range(3):
        broker.declare_queue(f"q{number}")
        subscriptions.append(broker.subscribe(f"q{number}", lambda _: None))
        for step in range(5):
            broker.send(f"q{number}", b"x", delay_ms=100 * step + 10 * number + 1)
    clock.advance(seconds=1)
    assert begun == sorted(start_ms + 100 * step + 10 * number + 1 for step in range(5) for number in range(3))
    for subscription in subscriptions:
        subscription.close()


def test_the_clock_does_not_wait_for_a_worker_that_is_in_its_callback(broker, clock, q):
    inside, advanced, seen = threading.Event(), threading.Event(), []

    def work(delivery):
        inside.set()
        advanced.wait(10)
        seen.append(delivery.body)

    with broker.subscribe(q, work) as subscription:
        broker.send(q, b"1")
        broker.send(q, b"2", delay_ms=1000)
        assert inside.wait(10)
        clock.advance(seconds=1)
        assert seen == []
        advanced.set()
        assert subscription.wait_idle(10)
    assert seen == [b"1", b"2"]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_callback_may_advance_the_clock(broker, clock, q, workers):
    seen = []

    def work(delivery):
        clock.advance(seconds=1)
        seen.append(delivery.body)
        if len(seen) <= 3:
            raise ZeroDivisionError

    with broker.subscribe(q, work, workers=workers) as subscription:
        for number in range(6):
            broker.send(q, b"%d" % number, delay_ms=number * 500)
        while not subscription.wait_idle(0.01):
            clock.advance(seconds=1)
        clock.advance(seconds=10)
        assert subscription.wait_idle(10)
    assert len(seen) == 9
    assert set(seen) == {b"%d" % number for number in range(6)}


@pytest.mark.parametrize("end", ["close", "stop", "delete", "fatal"])
def test_the_clock_goes_on_when_a_subscription_has_ended(broker, clock, q, end):
    def work(_):
        raise SystemExit

    subscription = broker.subscribe(q, work, workers=2)
    broker.send(q, b"1", delay_ms=1000)
    broker.send(q, b"2", delay_ms=2000)
    broker.send(q, b"3", delay_ms=3000)
    if end == "close":
        subscription.close()
    elif end == "stop":
        subscription.stop()
    elif end == "delete":
        broker.delete_queue(q)
    for _ in range(4):
        clock.advance(seconds=1)
    assert subscription.join(10)
    subscription.close()
    assert not broker.store.core.timers.followers


def test_a_failed_message_does_not_hold_up_the_others(broker, clock, q):
    seen = []

    def work(delivery):
        seen.append(delivery.body)
        if delivery.body == b"bad":
            raise ZeroDivisionError

    with broker.subscribe(q, work) as subscription:
        send_all(broker, q, b"1", b"bad", b"2", b"3")
        wait_until(lambda: seen[-1:] == [b"3"])
        assert not subscription.wait_idle(0.005)
    assert seen == [b"1", b"bad", b"2", b"3"]
    clock.advance(seconds=1)
    delivery = take_one(broker, q)
    assert (delivery.body, delivery.redelivered) == (b"bad", True)


def test_a_message_is_a_dead_letter_when_its_retries_are_used_up(broker, dlq, caplog):
    broker.declare_queue("q", **DEAD_LETTERED)
    seen = []

    def work(delivery):
        seen.append(delivery.body)
        if delivery.body == b"bad secret":
            raise ZeroDivisionError

    with broker.subscribe("q", work, on_error=Retry(limit=2, delay_ms=0)) as subscription:
        send_all(broker, "q", b"bad secret", b"good")
        assert subscription.wait_idle(10)
    assert (seen.count(b"bad secret"), seen.count(b"good")) == (3, 1)
    assert take_one(broker, dlq).headers["x-death"][0]["reason"] == "rejected"
    assert "secret" not in caplog.text


def test_a_fatal_callback_ends_its_worker_and_returns_the_message(broker, q, caplog):
    def work(delivery):
        if delivery.body == b"fatal":
            raise SystemExit

    subscription = broker.subscribe(q, work)
    send_all(broker, q, b"good", b"fatal", b"later")
    assert subscription.join(10)
    assert not subscription.wait_idle(10)
    subscription.close()
    assert take(broker, q) == [b"fatal", b"later"]
    assert info(broker, q).consumer_count == 0
    assert "later" not in caplog.text


@pytest.mark.parametrize("error", EXCEPTIONS, ids=name_of)
def test_whatever_exception_a_callback_raises_its_message_is_tried_again(broker, q, error):
    seen = []

    def work(delivery):
        seen.append((delivery.body, delivery.delivery_count))
        if delivery.body == b"bad" and delivery.delivery_count < 2:
            raise error

    with broker.subscribe(q, work, on_error=Retry(delay_ms=0)) as subscription:
        send_all(broker, q, b"1", b"bad", b"2")
        assert subscription.wait_idle(10)
        assert not subscription.join(0)
    assert sorted(seen) == [(b"1", 0), (b"2", 0), (b"bad", 0), (b"bad", 1), (b"bad", 2)]


@pytest.mark.parametrize("error", ENDS, ids=name_of)
def test_what_is_no_exception_ends_one_worker_and_the_others_go_on(broker, q, error):
    seen = []

    def work(delivery):
        seen.append(delivery.body)
        if delivery.body == b"bad" and not delivery.redelivered:
            raise error

    with broker.subscribe(q, work, workers=2, on_error=Retry(delay_ms=60_000)) as subscription:
        send_all(broker, q, b"bad")
        assert subscription.wait_idle(10)
        wait_until(lambda: "1 of 2 workers" in repr(subscription))
        send_all(broker, q, b"1", b"2")
        assert subscription.wait_idle(10)
    assert seen == [b"bad", b"bad", b"1", b"2"]


# Ends


def test_stop_ends_after_the_message_in_hand(broker, q):
    seen = []

    def work(delivery):
        seen.append(delivery.body)
        if len(seen) == 3:
            subscription.stop()

    go = threading.Event()
    subscription = broker.subscribe(q, lambda delivery: go.wait(10) and work(delivery))
    send_all(broker, q, *(b"%d" % number for number in range(6)))
    go.set()
    assert subscription.join(10)
    subscription.close()
    assert seen == [b"0", b"1", b"2"]
    assert take(broker, q) == [b"3", b"4", b"5"]


def test_close_waits_for_the_callbacks(broker, q):
    inside, release, done = threading.Event(), threading.Event(), []

    def work(_):
        inside.set()
        release.wait(10)
        done.append(True)

    subscription = broker.subscribe(q, work)
    broker.send(q, b"x")
    assert inside.wait(10)
    assert not subscription.join(0)
    call = Call(subscription.close)
    release.set()
    call.result()
    assert done == [True]
    assert subscription.join(0)
    subscription.close()
    assert broker.queues() == [(q, 0, 0)]


def test_what_outlives_close_is_returned(broker, q):
    inside, release = threading.Event(), threading.Event()

    def work(_):
        inside.set()
        release.wait(10)

    subscription = broker.subscribe(q, work)
    send_all(broker, q, b"1", b"2")
    assert inside.wait(10)
    subscription.close(timeout=0.01)
    delivery = broker.get(q)
    assert (delivery.body, delivery.redelivered) == (b"1", True)
    release.set()
    assert subscription.join(10)
    delivery.ack()
    assert take(broker, q) == [b"2"]


def test_close_inside_a_callback(broker, q):
    ready_to_close = threading.Event()

    def work(_):
        ready_to_close.wait(10)
        subscription.close()

    subscription = broker.subscribe(q, work)
    send_all(broker, q, b"1", b"2")
    ready_to_close.set()
    assert subscription.join(10)
    assert take(broker, q) == [b"2"]


def test_two_callbacks_close_at_the_same_time(broker, q):
    ready_to_close, both = threading.Event(), threading.Barrier(2, timeout=10)

    def work(_):
        ready_to_close.wait(10)
        both.wait()
        subscription.close()

    subscription = broker.subscribe(q, work, workers=2)
    send_all(broker, q, b"1", b"2")
    ready_to_close.set()
    assert subscription.join(10)
    assert ready(broker, q) == 0


def test_stop_ends_a_back_off(broker, clock, q):
    work = Fails(clock, 100)
    subscription = broker.subscribe(q, work, on_error=Retry(delay_ms=60_000))
    broker.send(q, b"x")
    work.until_failed(1)
    subscription.close(timeout=10)
    assert subscription.join(0)
    clock.advance(seconds=60)
    assert len(work.deliveries) == 1
    assert take(broker, q) == [b"x"]


def test_closing_the_broker_ends_it(clock):
    seen = []
    broker = Broker(":memory:", clock=clock)
    broker.declare_queue("q")
    subscription = broker.subscribe("q", lambda delivery: seen.append(delivery.body), workers=3)
    broker.send("q", b"x")
    assert subscription.wait_idle(10)
    broker.close()
    assert subscription.join(10)
    assert seen == [b"x"]
    with pytest.raises(ClosedError):
        subscription.wait_idle(0)


def test_closing_the_store_ends_subscriptions_before_consumers(store):
    broker = store.broker
    broker.declare_queue("q")
    consumer = broker.consume("q")
    inside, release, found = threading.Event(), threading.Event(), []

    def work(_):
        inside.set()
        release.wait(10)
        found.append(consumer.get(0))

    broker.subscribe("q", work)
    broker.send("q", b"x")
    assert inside.wait(10)
    call = Call(store.close).until_asleep()
    release.set()
    call.result()
    assert found == [None]


def test_deleting_the_queue_ends_it(broker, q):
    subscription = broker.subscribe(q, print, workers=2)
    broker.delete_queue(q)
    assert subscription.join(10)
    assert subscription.wait_idle(0)  # nothing is left to be handled
    subscription.close()


def test_a_subscription_works_on_when_nobody_holds_it(broker, q):
    seen = []
    broker.subscribe(q, lambda delivery: seen.append(delivery.body))
    gc.collect()
    broker.send(q, b"x")
    wait_until(lambda: seen)
    assert seen == [b"x"]


def test_an_auto_delete_queue_goes_with_its_subscription(broker):
    broker.declare_queue("q", auto_delete=True)
    with broker.subscribe("q", print) as subscription:
        assert subscription.wait_idle(10)
        assert info(broker, "q").consumer_count >= 1
    assert broker.queues() == []


def test_callbacks_may_use_the_broker(broker, q):
    broker.declare_queue("next")

    def work(delivery):
        broker.send("next", delivery.body + b"!")
        broker.declare_queue("made inside")

    with broker.subscribe(q, work, workers=2) as subscription:
        send_all(broker, q, *(b"%d" % number for number in range(20)))
        assert subscription.wait_idle(10)
    assert sorted(take(broker, "next")) == sorted(b"%d!" % number for number in range(20))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"queue": "missing"}, QueueNotFoundError),
        ({"queue": None}, InvalidTypeError),
        ({"callback": None}, InvalidTypeError),
        ({"callback": "print"}, InvalidTypeError),
        *(({"callback": callback}, InvalidTypeError) for callback in NO_CALLBACKS),
        ({"workers": 0}, InvalidOptionError),
        ({"workers": 1.0}, InvalidTypeError),
        ({"workers": True}, InvalidTypeError),
        ({"on_error": 5}, InvalidTypeError),
    ],
)
def test_bad_options(broker, q, options, error):
    threads = threading.active_count()
    with pytest.raises(error):
        broker.subscribe(**{"queue": q, "callback": print} | options)
    assert info(broker, q).consumer_count == 0
    assert threading.active_count() == threads


@pytest.mark.parametrize("callback", CALLBACKS)
def test_whatever_takes_one_argument_is_a_callback(broker, q, callback):
    broker.send(q, b"x")
    with broker.subscribe(q, callback, on_error="reject") as subscription:
        assert subscription.wait_idle(10)


def test_coroutine_functions_are_sent_to_aio(broker, q):
    with pytest.raises(InvalidTypeError, match=r"coroutine function, which msglog\.aio"):
        broker.subscribe(q, NO_CALLBACKS[0])


@pytest.mark.parametrize("callback", RETURN_COROUTINES)
@pytest.mark.parametrize("view", [False, True])
def test_a_callback_that_returns_a_coroutine_has_failed(broker, q, callback, view, caplog):
    broker.send(q, b"1")
    subscribe = broker.queue(q, body=JSON).subscribe if view else partial(broker.subscribe, q)
    with subscribe(callback) as subscription:
        wait_until(lambda: caplog.records)
        assert not subscription.wait_idle(0)  # it is backed off
    assert "returns a coroutine (_Object.coroutine), which nobody awaits" in str(caplog.records[0].exc_info[1])


def test_a_worker_that_fails_tells_of_which_queue(broker, q, caplog):
    def end(_delivery):
        raise SystemExit

    broker.send(q, b"1")
    with broker.subscribe(q, end) as subscription:
        assert subscription.join(10)
    assert caplog.messages == ["a worker of the subscription to queue 'q' failed and ends"]


def test_bad_timeouts(broker, q):
    with broker.subscribe(q, print) as subscription:
        for call in (subscription.close, subscription.join, subscription.wait_idle):
            with pytest.raises(InvalidOptionError):
                call(-1)


def test_repr_tells_the_queue(broker, q):
    with broker.subscribe(q, print, workers=2) as subscription:
        assert "'q'" in repr(subscription)

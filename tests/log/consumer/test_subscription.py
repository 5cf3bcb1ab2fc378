"""Callbacks on threads: every record once, retries in order, ends of all kinds."""

import threading
import time
from functools import partial

import pytest

from msglog import (
    JSON,
    ClosedError,
    Consumer,
    InvalidOptionError,
    InvalidTypeError,
    Log,
    Retry,
    Subscription,
    TopicNotFoundError,
)
from msglog import TopicPartition as Tp
from msglog.log.record_loop import RecordLoop
from support.brokers import Call
from support.callbacks import CALLBACKS, ENDS, EXCEPTIONS, NO_CALLBACKS, RETURN_COROUTINES, name_of

SOON = Retry(delay_ms=20, factor=1.0)


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_every_record_is_handled_and_committed(real_log):
    seen = []
    with real_log.subscribe("two", group="g", callback=seen.append, workers=2) as subscription:
        for number in range(100):
            real_log.append("two", b"%d" % number, partition=number % 2)
        assert subscription.wait_idle(10)
        assert real_log.describe_group("g").lag == {Tp("two", 0): 0, Tp("two", 1): 0}
        assert isinstance(subscription, Subscription)
    for partition in (0, 1):
        assert [r.offset for r in seen if r.partition == partition] == list(range(50))
    assert real_log.describe_group("g").members == ()


def test_wait_idle_counts_what_is_there_at_the_call(real_log):
    release = threading.Event()
    with real_log.subscribe("one", group="g", callback=lambda _: release.wait(10)) as subscription:
        assert subscription.wait_idle(0)
        real_log.append("one", b"x")
        assert not subscription.wait_idle(0)
        assert not subscription.wait_idle(0.05)
        release.set()
        assert subscription.wait_idle(10)


def test_wait_idle_hears_of_the_last_workers_end(real_log):
    begin = threading.Event()

    def work(_):
        begin.wait(10)
        raise SystemExit

    with real_log.subscribe("two", group="g", callback=work, workers=2) as subscription:
        for partition in (0, 1):
            real_log.append("two", b"x", partition=partition)
        call = Call(subscription.wait_idle).until_asleep()
        begin.set()
        assert call.result() is False


def test_a_failed_record_is_retried_in_order(real_log):
    attempts = []

    def work(record):
        attempts.append((record.partition, record.offset))
        if record.partition == 0 and record.offset == 1 and attempts.count((0, 1)) < 4:
            raise ValueError

    with real_log.subscribe("two", group="g", callback=work, on_error=SOON) as subscription:
        for number in range(6):
            real_log.append("two", b"x", partition=number % 2)
        assert subscription.wait_idle(10)
    assert [a for a in attempts if a[0] == 0] == [(0, 0), (0, 1), (0, 1), (0, 1), (0, 1), (0, 2)]
    assert [a for a in attempts if a[0] == 1] == [(1, 0), (1, 1), (1, 2)]


class Fails:
    """A callback that fails as often as it is told, and says how often it was called."""

    def __init__(self, times):
        self.calls = []
        self._times = times

    def __call__(self, record):
        self.calls.append(record.offset)
        if len(self.calls) <= self._times:
            raise ValueError


def wait_until_put_off(caplog, times=1):
    wait_until(lambda: caplog.text.count("failed, next in") == times)


@pytest.fixture
def begun(clock, monkeypatch):
    """(partition, time) of each attempt, noted before anybody is told that it begins."""
    attempts = []
    do = RecordLoop._do

    def note(loop, record):
        attempts.append((record.partition, clock.now_ms()))
        return do(loop, record)

    monkeypatch.setattr(RecordLoop, "_do", note)
    return attempts


def test_the_back_off_is_on_the_clock_of_the_store(clock, log, caplog, begun):
    work = Fails(2)
    with log.subscribe("one", group="g", callback=work, on_error=Retry(delay_ms=60_000, max_delay_ms=120_000)) as sub:
        log.append_many("one", [b"x"] * 2)
        for times, delay_ms in ((1, 60_000), (2, 120_000)):
            wait_until_put_off(caplog, times)
            clock.advance(ms=delay_ms - 1)
            assert not sub.wait_idle(0.05)
            assert len(begun) == times
            clock.advance(ms=1)
            assert len(begun) > times
        assert sub.wait_idle(10)
    assert work.calls == [0, 0, 0, 1]


def test_attempts_begin_in_the_order_in_which_they_are_due(clock, log, caplog, begun):
    with log.subscribe("two", group="g", callback=Fails(2), workers=2) as subscription:
        for times, partition in ((1, 1), (2, 0)):
            log.append("two", b"x", partition=partition)
            wait_until_put_off(caplog, times)
            clock.advance(ms=10)
        start_ms = clock.now_ms()
        clock.advance(seconds=60)
        assert begun[2:] == [(1, start_ms + 980), (0, start_ms + 990)]
        assert subscription.wait_idle(10)


def test_the_clock_does_not_wait_for_a_worker_that_is_in_its_callback(clock, log, caplog):
    inside, advanced, handled = threading.Event(), threading.Event(), []

    def work(record):
        if record.partition == 1:
            inside.set()
            advanced.wait(10)
        handled.append(record.partition)
        if len(handled) == 1:
            raise ValueError

    with log.subscribe("two", group="g", callback=work) as subscription:
        log.append("two", b"x", partition=0)
        wait_until_put_off(caplog)
        log.append("two", b"x", partition=1)
        assert inside.wait(10)
        clock.advance(seconds=1)
        assert handled == [0]
        advanced.set()
        assert subscription.wait_idle(10)
    assert handled == [0, 1, 0]


def test_a_callback_may_advance_the_clock(clock, log):
    calls = []

    def work(record):
        calls.append(record.partition)
        clock.advance(seconds=1)
        if len(calls) <= 2:
            raise ValueError

    with log.subscribe("two", group="g", callback=work) as subscription:
        log.append("two", b"x", partition=0)
        log.append("two", b"x", partition=1)
        wait_until(lambda: len(calls) >= 2)
        while not subscription.wait_idle(0.01):
            clock.advance(seconds=1)
    assert sorted(calls) == [0, 0, 1, 1]


def test_the_clock_goes_on_when_there_is_nothing_to_try_again(clock, log, caplog):
    with log.subscribe("one", group="g", callback=Fails(1)) as subscription:
        log.append("one", b"x")
        wait_until_put_off(caplog)
        log.delete_topic("one")
        clock.advance(seconds=1)
        assert subscription.wait_idle(10)


def test_the_clock_goes_on_when_the_subscription_has_ended(clock, log, caplog):
    subscription = log.subscribe("one", group="g", callback=Fails(1))
    log.append("one", b"x")
    wait_until_put_off(caplog)
    subscription.close()
    clock.advance(seconds=1)


def test_nothing_polls_during_a_back_off(real_log, caplog, monkeypatch):
    looks = []
    look_around = Consumer._look_around
    monkeypatch.setattr(Consumer, "_look_around", lambda consumer: looks.append(1) or look_around(consumer))
    work = Fails(1)
    with real_log.subscribe("one", group="g", callback=work, on_error=Retry(delay_ms=60_000)):
        real_log.append("one", b"x")
        wait_until_put_off(caplog)
        time.sleep(0.2)
        assert len(looks) < 10
    assert work.calls == [0]


@pytest.mark.parametrize(
    "remove",
    [lambda log: log.delete_records("one", 0, 2), lambda log: log.delete_topic("one")],
    ids=["record", "topic"],
)
def test_a_record_that_is_removed_while_its_callback_fails(real_log, remove):
    seen = []

    def work(record):
        seen.append((record.topic, record.offset))
        if len(seen) == 1:
            remove(real_log)
            raise ValueError

    real_log.append_many("one", [b"x"] * 2)
    with real_log.subscribe("one", "two", group="g", callback=work, on_error=SOON) as subscription:
        wait_until(lambda: seen)
        real_log.append("two", b"x", partition=0)
        assert subscription.wait_idle(10)
    assert seen == [("one", 0), ("two", 0)]


def test_a_failing_partition_does_not_hold_up_the_others(real_log):
    handled = []

    def work(record):
        if record.partition == 0:
            raise ValueError
        handled.append(record.offset)

    with real_log.subscribe("two", group="g", callback=work, on_error=Retry(delay_ms=60_000)) as subscription:
        real_log.append_many("two", [b"x"] * 3, partition=0)
        real_log.append_many("two", [b"x"] * 3, partition=1)
        wait_until(lambda: len(handled) == 3)
        assert not subscription.wait_idle(0.01)
    assert real_log.describe_group("g").offsets.get(Tp("two", 0), 0) == 0
    assert real_log.describe_group("g").offsets[Tp("two", 1)] == 3


def test_a_record_is_left_behind_when_its_retries_are_used_up(real_log, caplog):
    attempts = []

    def work(record):
        attempts.append(record.offset)
        if record.value == b"bad":
            raise ValueError

    with real_log.subscribe("one", group="g", callback=work, on_error=Retry(limit=2, delay_ms=0)) as subscription:
        real_log.append_many("one", [b"good", b"bad", b"good"])
        assert subscription.wait_idle(10)
    assert attempts == [0, 1, 1, 1, 2]
    assert "giving up" in caplog.text
    assert "good" not in caplog.text


def test_a_fatal_callback_ends_its_worker_and_commits_nothing_of_it(real_log, caplog):
    def work(record):
        if record.offset == 2:
            raise SystemExit

    subscription = real_log.subscribe("one", group="g", callback=work)
    real_log.append_many("one", [b"x"] * 5)
    assert subscription.join(10)
    assert not subscription.wait_idle(10)
    assert real_log.describe_group("g").offsets == {Tp("one", 0): 2}
    assert "a worker of the subscription of group 'g' failed" in caplog.text
    subscription.close()


@pytest.mark.parametrize("error", EXCEPTIONS, ids=name_of)
def test_whatever_exception_a_callback_raises_its_record_is_tried_again(real_log, error):
    seen = []

    def work(record):
        seen.append(record.offset)
        if record.value == b"bad" and seen.count(1) < 3:
            raise error

    real_log.append_many("one", [b"1", b"bad", b"2"])
    with real_log.subscribe("one", group="g", callback=work, on_error=Retry(delay_ms=0)) as subscription:
        assert subscription.wait_idle(10)
        assert not subscription.join(0)
    assert seen == [0, 1, 1, 1, 2]


@pytest.mark.parametrize("callback", RETURN_COROUTINES)
@pytest.mark.parametrize("view", [False, True])
def test_a_callback_that_returns_a_coroutine_has_failed(real_log, callback, view, caplog):
    real_log.append("one", b"1")
    subscribe = real_log.topic("one", value=JSON).subscribe if view else partial(real_log.subscribe, "one")
    with subscribe(group="g", callback=callback) as subscription:
        wait_until(lambda: caplog.records)
        assert not subscription.wait_idle(0)
    assert real_log.groups() == []  # nothing was committed
    assert "returns a coroutine (_Object.coroutine), which nobody awaits" in str(caplog.records[0].exc_info[1])


@pytest.mark.parametrize("error", ENDS, ids=name_of)
def test_what_is_no_exception_ends_one_worker_and_the_others_take_over(real_log, error):
    seen = []

    def work(record):
        seen.append((record.partition, record.offset))
        if record.value == b"bad" and seen.count((record.partition, record.offset)) == 1:
            raise error

    with real_log.subscribe("two", group="g", callback=work, workers=2) as subscription:
        real_log.append_many("two", [b"1", b"bad", b"2"], partition=0)
        real_log.append_many("two", [b"1", b"2"], partition=1)
        assert subscription.wait_idle(10)
        wait_until(lambda: "1 of 2 workers" in repr(subscription))
    assert [offset for partition, offset in seen if partition == 0] == [0, 1, 1, 2]
    assert real_log.describe_group("g").lag == {Tp("two", 0): 0, Tp("two", 1): 0}


def test_stop_ends_after_the_record_in_hand(real_log):
    seen = []

    def work(record):
        seen.append(record.offset)
        if record.offset == 3:
            subscription.stop()

    real_log.append_many("one", [b"x"] * 10)
    go = threading.Event()
    subscription = real_log.subscribe("one", group="g", callback=lambda r: go.wait(10) and work(r))
    go.set()
    assert subscription.join(10)
    assert seen == [0, 1, 2, 3]
    assert real_log.describe_group("g").offsets == {Tp("one", 0): 4}


def test_stop_ends_a_back_off(real_log):
    def work(_):
        raise ValueError

    subscription = real_log.subscribe("one", group="g", callback=work, on_error=Retry(delay_ms=60_000))
    real_log.append("one", b"x")
    assert not subscription.join(0.05)
    subscription.close(timeout=10)
    assert subscription.join(0)
    subscription.close()


def test_what_outlives_close_goes_to_others(real_log):
    begun, release, seen = threading.Event(), threading.Event(), []

    def work(_):
        begun.set()
        release.wait(10)

    subscription = real_log.subscribe("one", group="g", callback=work)
    real_log.append_many("one", [b"x"] * 3)
    assert begun.wait(10)
    subscription.close(timeout=0.01)
    with real_log.subscribe("one", group="g", callback=seen.append) as other:
        assert other.wait_idle(10)
        release.set()
        assert subscription.join(10)
        assert [record.offset for record in seen] == [0, 1, 2]
    assert real_log.describe_group("g").offsets == {Tp("one", 0): 3}


def test_close_inside_a_callback(real_log):
    done = threading.Event()

    def work(_):
        subscription.close()
        done.set()

    ready = threading.Event()
    subscription = real_log.subscribe("one", group="g", callback=lambda r: ready.wait(10) and work(r))
    real_log.append_many("one", [b"x"] * 3)
    ready.set()
    assert done.wait(10)
    assert subscription.join(10)
    assert real_log.describe_group("g").offsets == {Tp("one", 0): 1}


def test_two_callbacks_close_at_the_same_time(real_log):
    ready, both = threading.Event(), threading.Barrier(2, timeout=10)

    def work(_):
        ready.wait(10)
        both.wait()
        subscription.close()

    real_log.append("two", b"x", partition=0)
    real_log.append("two", b"x", partition=1)
    subscription = real_log.subscribe("two", group="g", callback=work, workers=2)
    ready.set()
    assert subscription.join(10)
    assert real_log.describe_group("g").offsets == {Tp("two", 0): 1, Tp("two", 1): 1}


def test_callbacks_of_two_subscriptions_close_the_log_at_the_same_time():
    log = Log(":memory:")
    log.create_topic("t")
    ready, both = threading.Event(), threading.Barrier(2, timeout=10)

    def work(_):
        ready.wait(10)
        both.wait()
        log.close()

    log.append("t", b"x")
    subscriptions = [log.subscribe("t", group=group, callback=work) for group in ("a", "b")]
    ready.set()
    assert all(subscription.join(10) for subscription in subscriptions)
    assert log.closed


def test_a_subscription_works_on_when_nobody_holds_it(real_log):
    seen = []
    real_log.subscribe("one", group="g", callback=seen.append)
    real_log.append("one", b"x")
    wait_until(lambda: seen)


def test_closing_the_store_ends_it():
    seen = []
    log = Log(":memory:")
    log.create_topic("t")
    subscription = log.subscribe("t", group="g", callback=seen.append, workers=3)
    log.append("t", b"x")
    subscription.wait_idle(10)
    log.close()
    assert subscription.join(10)
    assert len(seen) == 1
    with pytest.raises(ClosedError):
        subscription.wait_idle(0)


def test_more_workers_take_over(real_log):
    names = set()
    both = threading.Barrier(2, timeout=10)

    def work(_):
        names.add(threading.current_thread())
        both.wait()

    with real_log.subscribe("two", group="g", callback=work, workers=2) as subscription:
        for partition in (0, 1):
            real_log.append("two", b"x", partition=partition)
        assert subscription.wait_idle(10)
    assert len(names) == 2


@pytest.mark.parametrize(
    ("topics", "options", "error"),
    [
        (["nope"], {}, TopicNotFoundError),
        ([], {}, InvalidTypeError),
        (["one"], {"callback": None}, InvalidTypeError),
        *((["one"], {"callback": callback}, InvalidTypeError) for callback in NO_CALLBACKS),
        (["one"], {"group": None}, InvalidTypeError),
        (["one"], {"group": ""}, ValueError),
        (["one"], {"workers": 0}, InvalidOptionError),
        (["one"], {"workers": 1.0}, InvalidTypeError),
        (["one"], {"on_error": "retry"}, InvalidTypeError),
    ],
)
def test_bad_options(real_log, topics, options, error):
    with pytest.raises(error):
        real_log.subscribe(*topics, **{"group": "g", "callback": print} | options)
    assert real_log.groups() == []


@pytest.mark.parametrize("callback", CALLBACKS)
def test_whatever_takes_one_argument_is_a_callback(real_log, callback):
    real_log.append("one", b"x")
    with real_log.subscribe("one", group="g", callback=callback, on_error=Retry(limit=0)) as subscription:
        assert subscription.wait_idle(10)


def test_bad_timeouts(real_log):
    with real_log.subscribe("one", group="g", callback=print) as subscription:
        for call in (subscription.close, subscription.join, subscription.wait_idle):
            with pytest.raises(InvalidOptionError):
                call(-1)

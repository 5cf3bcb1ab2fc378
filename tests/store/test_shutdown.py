"""Ends in the middle of work: signals, forks, and a store that is closed under callbacks."""

import os
import random
import subprocess
import sys
import threading
from collections import Counter

import pytest

import msglog
from support.brokers import Call
from support.children import child_environment
from support.recovery import MODES
from support.scale import scaled

PATIENCE_SECONDS = 10
MESSAGES = 300


def run(module, *arguments):
    command = [sys.executable, "-W", "error", "-m", f"support.{module}", *arguments]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("sync", ["none", "commit"])
def test_a_signal_handler_may_stop_subscriptions_at_any_moment(sync):
    run("stopper", sync, str(scaled(40)), str(random.randrange(1 << 30)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.parametrize("sync", MODES)
def test_a_fork_leaves_subscriptions_to_the_parent(sync, tmp_path):
    run("subscribed_forker", str(tmp_path / "store"), sync)


class Work:
    """A store whose messages of both kinds are handled by several workers, and counted."""

    def __init__(self, path, **options):
        self.store = msglog.Store(path, **options)
        self.begun = threading.Event()
        self.handled = Counter()
        log, broker = self.store.log, self.store.broker
        broker.declare_queue("work")
        log.create_topic("in", partitions=3)
        broker.publish_many("", [("work", b"m%d" % number) for number in range(MESSAGES)])
        log.append_many(
            "in", [b"r%d" % number for number in range(MESSAGES)], keys=[b"%d" % n for n in range(MESSAGES)]
        )

    def subscribe(self, handle):
        def work(body):
            if self.handled.total() > MESSAGES // 3:
                self.begun.set()
            handle(body)
            self.handled[body] += 1

        return [
            self.store.broker.subscribe("work", lambda delivery: work(delivery.body), workers=3),
            self.store.log.subscribe("in", group="g", callback=lambda record: work(record.value), workers=3),
        ]

    def left(self):
        """Open the store again and return what was not handled."""
        with msglog.Store(self.store.path) as store:
            queue = iter(lambda: store.broker.get("work", no_ack=True), None)
            with store.log.consumer("in", group="g") as consumer:
                return Counter([*(one.body for one in queue), *(record.value for record in consumer.iter(0))])


ENDS = {
    "close the store": lambda _subscription: None,
    "close each": lambda subscription: subscription.close(),
    "stop each": lambda subscription: subscription.stop() or subscription.join(PATIENCE_SECONDS),
}
ONCE = Counter(b"%s%d" % (kind, number) for kind in (b"m", b"r") for number in range(MESSAGES))


@pytest.mark.parametrize("sync", ["none", "commit"])
@pytest.mark.parametrize("end", ENDS)
def test_an_end_in_the_middle_of_work_finishes_what_is_in_hand(tmp_path, sync, end):
    work = Work(tmp_path / "store", sync=sync)
    subscriptions = work.subscribe(lambda _body: None)
    work.begun.wait(PATIENCE_SECONDS)
    for subscription in subscriptions:
        ENDS[end](subscription)
    work.store.close()
    assert all(subscription.join(0) for subscription in subscriptions)
    assert work.handled + work.left() == ONCE


def test_what_outlives_the_timeout_of_close_is_left_to_others(tmp_path):
    work = Work(tmp_path / "store", sync="none")
    hangs, release = threading.Semaphore(0), threading.Event()
    hanging = Counter()

    def hang(body):
        if body in (b"m100", b"r100"):
            hanging[body] += 1
            hangs.release()
            release.wait(PATIENCE_SECONDS)

    subscriptions = work.subscribe(hang)
    for _ in subscriptions:
        hangs.acquire(timeout=PATIENCE_SECONDS)
    for subscription in subscriptions:
        subscription.close(timeout=0.01)
        assert not subscription.join(0)
    handled = work.handled.copy()
    release.set()
    assert all(subscription.join(PATIENCE_SECONDS) for subscription in subscriptions)
    work.store.close()
    left = work.left()
    assert hanging == Counter([b"m100", b"r100"])
    assert hanging <= left
    # Others may have been at the end of their callbacks when the time was over: handled, but not settled any more.
    assert handled + left >= ONCE
    assert (handled + left - ONCE).total() <= 4


def test_a_callback_may_close_the_store_that_calls_it(tmp_path):
    work = Work(tmp_path / "store", sync="none")
    begin, closing = threading.Event(), threading.Lock()

    def close(_body):
        begin.wait(PATIENCE_SECONDS)
        if work.handled.total() > MESSAGES // 2 and closing.acquire(blocking=False):
            work.store.close()

    subscriptions = work.subscribe(close)
    begin.set()
    assert all(subscription.join(PATIENCE_SECONDS) for subscription in subscriptions)
    assert closing.locked()
    assert work.store.closed
    handled, left = work.handled, work.left()
    assert handled + left >= ONCE
    assert (handled + left - ONCE).total() <= 6  # what six workers had in hand: too late to settle


def test_callbacks_of_both_kinds_close_the_store_at_the_same_time(tmp_path):
    work = Work(tmp_path / "store", sync="none")
    both = threading.Barrier(2, timeout=PATIENCE_SECONDS)

    def close(body):
        if body in (b"m100", b"r100"):
            both.wait()
            work.store.close()

    subscriptions = work.subscribe(close)
    assert all(subscription.join(PATIENCE_SECONDS) for subscription in subscriptions)
    assert not both.broken
    assert work.handled + work.left() >= ONCE


def test_threads_that_close_at_the_same_time(tmp_path):
    work = Work(tmp_path / "store", sync="none")
    subscriptions = work.subscribe(lambda _body: None)
    work.begun.wait(PATIENCE_SECONDS)
    for call in [Call(one.close) for one in (*subscriptions, work.store, *subscriptions, work.store)]:
        call.result()
    assert work.handled + work.left() == ONCE

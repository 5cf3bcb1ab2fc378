"""Fork while subscriptions are at work: `python -m support.subscribed_forker DIRECTORY SYNC`.

The child's handles refuse, or end at once, and it ends like any process; the parent goes on as if nothing had happened.
Ends with an error otherwise.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import msglog

FORKS = 5
MESSAGES = 40
PATIENCE_SECONDS = 30


class Parent:
    """A store with a channel and with subscriptions, of which some wait and some are in their callbacks."""

    def __init__(self, directory: str, sync: Any) -> None:
        self.seen: Counter[bytes | None] = Counter()
        self.store = msglog.Store(directory, sync=sync)
        log, broker = self.store.log, self.store.broker
        for queue in ("work", "idle"):
            broker.declare_queue(queue)
        for topic in ("in", "idle"):
            log.create_topic(topic)
        self.subscriptions: list[msglog.QueueSubscription | msglog.Subscription] = [
            broker.subscribe("work", lambda delivery: self.handle(delivery.body), workers=3),
            broker.subscribe("idle", print),
            log.subscribe("in", group="g", callback=lambda record: self.handle(record.value)),
            log.subscribe("idle", group="idle", callback=print),
        ]
        self.channel = broker.channel()
        self.channel.basic_consume("idle")

    def handle(self, body: bytes | None) -> None:
        """Take a while."""
        time.sleep(0.0005)
        self.seen[body] += 1

    def send(self, number: int) -> None:
        """Give all of them something to do."""
        self.store.broker.send("work", b"m%d" % number)
        self.store.log.append("in", b"r%d" % number)

    def check(self) -> None:
        """See that the parent's work was done, once each."""
        for subscription in self.subscriptions:
            if not subscription.wait_idle(PATIENCE_SECONDS):
                raise AssertionError(f"{subscription} is not idle")
        self.store.close()
        if self.seen != Counter(b"%s%d" % (kind, n) for kind in (b"m", b"r") for n in range(FORKS * MESSAGES)):
            raise AssertionError(f"{self.seen.total()} were handled, {len(self.seen)} different ones")


def _refuses(call: Callable[[], object]) -> None:
    try:
        call()
    except msglog.ClosedError as error:
        if "opened before the fork" not in str(error):
            raise AssertionError("the child is told of something else") from error
        return
    raise AssertionError("a handle of the parent worked in the child")


def in_child(parent: Parent) -> None:
    """Do what a child may try with what it inherited."""
    store = parent.store
    _refuses(lambda: store.broker.publish("", "work", b"from the child"))
    _refuses(lambda: store.log.append("in", b"from the child"))
    _refuses(lambda: store.broker.subscribe("work", print))
    _refuses(lambda: store.log.subscribe("in", group="other", callback=print))
    _refuses(lambda: store.broker.get("work"))
    _refuses(lambda: parent.channel.basic_get("work"))
    _refuses(parent.channel.poll)
    parent.channel.close()
    for subscription in parent.subscriptions:
        _refuses(subscription.wait_idle)
        subscription.stop()
        if not subscription.join(PATIENCE_SECONDS):
            raise AssertionError("threads of the parent are believed to be in the child")
        repr(subscription)
        subscription.close()
    store.close()
    with msglog.Store(":memory:") as own:
        own.broker.declare_queue("own")
        with own.broker.subscribe("own", print) as subscription:
            if not subscription.wait_idle(PATIENCE_SECONDS):
                raise AssertionError("the child's own subscription does not work")


def main(directory: str, sync: str) -> None:
    """Fork in the middle of work, again and again."""
    parent = Parent(directory, sync)
    for number in range(FORKS * MESSAGES):
        parent.send(number)
        if number % MESSAGES == MESSAGES // 2:
            child = os.fork()
            if child == 0:
                in_child(parent)
                sys.exit(0)  # an end like any other: exit handlers run, objects are collected
            if os.waitpid(child, 0)[1]:
                raise AssertionError("the child failed")
    parent.check()


if __name__ == "__main__":
    main(*sys.argv[1:])

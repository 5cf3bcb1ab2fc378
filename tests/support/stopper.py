"""A process whose signal handler stops subscriptions, at random moments: `python -m support.stopper SYNC ROUNDS SEED`.

The main thread, in which signal handlers run, publishes and appends meanwhile, so that a signal meets it anywhere, with
locks in hand, too. Ends with an error if a subscription does not end, or anything was handled twice or lost.
"""

import random
import signal
import sys
import tempfile
from collections import Counter
from types import FrameType

import msglog

PATIENCE_SECONDS = 30


class Round:
    """Subscriptions to a queue and a topic, which a signal stops."""

    def __init__(self, store: msglog.Store, seen: Counter[bytes | None]) -> None:
        note = seen.update
        self.subscriptions: list[msglog.QueueSubscription | msglog.Subscription] = [
            store.broker.subscribe("q", lambda delivery: note([delivery.body]), workers=2),
            store.log.subscribe("t", group="g", callback=lambda record: note([record.value])),
        ]
        self.stopped = False
        self.published = 0
        signal.signal(signal.SIGALRM, self.stop)

    def stop(self, _signal: int, _frame: FrameType | None) -> None:
        """Handle the signal."""
        for subscription in self.subscriptions:
            subscription.stop()
        self.stopped = True

    def run(self, store: msglog.Store, first: int, after_seconds: float) -> int:
        """Publish and append until the signal has come; return the first number that was not published."""
        number = first
        signal.setitimer(signal.ITIMER_REAL, after_seconds)
        while not self.stopped:
            store.broker.publish("", "q", b"q%d" % number)
            store.log.append("t", b"t%d" % number)
            number += 1
        for subscription in self.subscriptions:
            if not subscription.join(PATIENCE_SECONDS):
                raise AssertionError(f"{subscription} did not end")
            subscription.close()
        return number


def main(sync: str, rounds: int, seed: int) -> None:
    """Stop subscriptions again and again."""
    moments = random.Random(seed)
    seen: Counter[bytes | None] = Counter()
    with tempfile.TemporaryDirectory() as folder, msglog.Store(folder, sync=sync) as store:  # type: ignore[arg-type]
        store.broker.declare_queue("q")
        store.log.create_topic("t")
        number = 0
        for _ in range(rounds):
            number = Round(store, seen).run(store, number, moments.uniform(0.0001, 0.01))
        seen.update(delivery.body for delivery in iter(lambda: store.broker.get("q", no_ack=True), None))
        with store.log.consumer("t", group="g") as consumer:
            seen.update(record.value for record in consumer.iter(0))
    if seen != Counter(b"%s%d" % (kind, n) for kind in (b"q", b"t") for n in range(number)):
        raise AssertionError(f"{number} of each: {seen.total()} were seen, {len(seen)} different ones")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

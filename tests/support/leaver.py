"""A process that ends in the middle of its work, without closing anything: `python -m support.leaver PATH SYNC END`.

Subscriptions of both kinds, consumers in daemon threads and a daemon thread that appends are at work. What callbacks
handle goes to the topic "done". The last line it writes is how many appends have returned.
"""

import os
import sys
import threading
import time

import msglog

MESSAGES = 60


class Work:
    """What is at work when the process ends."""

    def __init__(self, store: msglog.Store) -> None:
        self.log, self.broker = store.log, store.broker
        self.appended = 0
        self.begun = 0
        self.hanging = threading.Event()
        self.broker.declare_queue("work")
        self.broker.declare_queue("idle")
        for topic in ("in", "idle", "done", "numbers"):
            self.log.create_topic(topic)
        self.broker.publish_many("", [("work", b"m%d" % number) for number in range(MESSAGES)])
        self.log.append_many("in", [b"r%d" % number for number in range(MESSAGES)])

    def handle(self, body: bytes | None) -> None:
        """Do what a callback does."""
        self.begun += 1
        time.sleep(0.001)
        self.log.append("done", body)

    def hang(self, _: object) -> None:
        """Be in a callback that does not end."""
        self.hanging.set()
        threading.Event().wait()

    def append(self) -> None:
        """Append for ever."""
        while True:
            self.log.append("numbers", b"%d" % self.appended)
            self.appended += 1

    def begin(self) -> None:
        """Start everything, and return when it is at work."""
        log, broker = self.log, self.broker
        broker.subscribe("work", lambda delivery: self.handle(delivery.body), workers=2)
        broker.subscribe("idle", print, workers=2)
        log.subscribe("in", group="g", callback=lambda record: self.handle(record.value))
        log.subscribe("idle", group="idle", callback=print)
        consumer, queue = log.consumer("idle", group="polling"), broker.consume("idle")
        for wait in (consumer.poll, queue.get, self.append):
            threading.Thread(target=wait, daemon=True).start()
        broker.declare_queue("hang")
        broker.subscribe("hang", self.hang)
        broker.send("hang", b"x")
        self.hanging.wait()
        while self.begun < MESSAGES // 2 or not self.appended:
            time.sleep(0.001)


def leave(end: str, work: Work) -> None:
    """End the process, in one of many ways."""
    print(work.appended, flush=True)  # noqa: T201 this is for whoever started it
    if end == "sys.exit":
        sys.exit(3)
    if end == "os._exit":
        os._exit(3)
    if end == "exception":
        raise ZeroDivisionError("the user's own")


def main() -> None:
    """Work, and leave."""
    path, sync, end = sys.argv[1:]
    store = msglog.Store(path, sync=sync)  # type: ignore[arg-type]
    work = Work(store)
    if end != "at rest":
        work.begin()
    leave(end, work)


if __name__ == "__main__":
    main()

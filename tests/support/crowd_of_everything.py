"""Threads that use a store in all ways at once: they write, settle, roll, trim, compact, make and delete.

Run as a program with a path and a sync mode it works until its standard input ends.
"""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator

import msglog
from msglog.errors import MsglogError, StoreFailedError
from support import everything
from support.session import small_limits


class Crowd:
    """The threads. `errors`: what none of them expected."""

    def __init__(self, store: msglog.Store) -> None:
        self.errors: list[BaseException] = []
        self.rounds = [0] * 6
        self._store = store
        self._stop = threading.Event()
        everything.define(store)
        store.log.create_topic("kept", partitions=3, segment_bytes=2048, retention_bytes=8192)
        jobs: list[Callable[[int], None]] = [
            self._append, self._publish, self._settle, self._compact, self._come_and_go, self._share,
        ]  # fmt: skip
        self._threads = [
            threading.Thread(target=self._run, args=(place, job), daemon=True) for place, job in enumerate(jobs)
        ]

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Have them work inside of the block; raises what one of them raised."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(60)
        if self.errors:
            raise self.errors[0]

    def _run(self, place: int, job: Callable[[int], None]) -> None:
        try:
            while not self._stop.is_set():
                job(self.rounds[place])
                self.rounds[place] += 1
        except BaseException as error:  # noqa: BLE001 the test's thread is to know
            self.errors.append(error)

    def _append(self, number: int) -> None:
        log = self._store.log
        log.append("kept", b"kept-%d" % number * 9, partition=number % 3)
        log.append_many("plain", [b"a", b"b" * 50], keys=[b"%d" % number, b"x"])
        log.append_many("packed", [b"text " * 20] * 3, timestamps_ms=[3, 1, 2])

    def _publish(self, number: int) -> None:
        broker = self._store.broker
        broker.publish("news", "a.b", b"news-%d" % number * 5)
        broker.send("urgent", b"urgent", priority=number % 4)
        broker.send("counted", b"counted")
        if number % 5 == 0:
            broker.send("work", b"later", delay_ms=1 + number % 7)

    def _settle(self, number: int) -> None:
        for name in ("work", "urgent", "counted"):
            first, second = self._store.broker.get(name), self._store.broker.get(name)
            if second is not None:
                second.ack()  # out of order
            if first is not None and number % 3:
                first.ack()
            elif first is not None:
                first.nack()
        if number % 30 == 0:  # or it would grow and grow
            self._store.broker.purge_queue("work")
            self._store.broker.purge_queue("urgent")

    def _compact(self, number: int) -> None:
        log = self._store.log
        for place in range(8):
            log.append("latest", b"latest-%d" % number + b"." * 200, key=b"%d" % (place % 3))
            log.append("small", b"small-%d" % place + b"." * 100)
        log.clean()
        for topic in ("small", "packed"):
            log.delete_records(topic, 0, max(log.start_offset(topic), log.end_offset(topic) - 9))
        for place in range(2):
            log.delete_records(
                "plain", place, max(log.start_offset("plain", place), log.end_offset("plain", place) - 99)
            )

    def _come_and_go(self, number: int) -> None:
        store = self._store
        name = f"passing-{number % 3}"
        store.log.create_topic(name, partitions=2)
        store.log.append(name, b"passing")
        store.broker.declare_queue(name)
        store.broker.send(name, b"passing")
        store.broker.delete_queue(name)
        store.log.delete_topic(name)
        if number % 4 == 0:
            store.core.engine.checkpoint()

    def _share(self, number: int) -> None:
        log = self._store.log
        group = f"sharers-{number % 2}"
        with log.share_consumer("plain", group=group) as sharer:
            for place, record in enumerate(sharer.poll(timeout=0, max_records=10)):
                if place % 3:
                    record.ack()
        with log.consumer("plain", group="readers") as consumer:
            consumer.poll(timeout=0, max_records=50)
            consumer.commit()


def _main(path: str, sync: str) -> None:
    with small_limits(), msglog.Store(path, sync=sync, segment_bytes=4096) as store:  # type: ignore[arg-type]
        crowd = Crowd(store)
        print("ready", flush=True)  # noqa: T201 the test waits for it
        with contextlib.suppress(StoreFailedError, MsglogError), crowd.at_work():
            sys.stdin.read()


if __name__ == "__main__":
    _main(*sys.argv[1:])

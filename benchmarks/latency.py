"""How long a message takes from one thread to another that waits for it, beside `queue.Queue`; see `README.md`.

One ping at a time: the receiver sleeps, the sender notes the time, sends, and sleeps until the receiver surely does
again. A try is the median of some pings beside that of as many through a queue right before, so that both meet the same
machine; the median of the tries' ratios counts.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import NamedTuple

from benchmarks.harness import Row, Sync
from msglog import Broker, Log

PINGS = 100
TRIES = 4
BETWEEN_SECONDS = 0.0001
GOAL = 2.0
PING = b"x" * 100

Receive = Callable[[], object]
Line = AbstractContextManager[Callable[[], object]]
"""Entered it has a receiver that calls `arrived` for each ping, and gives the function that sends one."""
Arrived = Callable[[], object]


def latency_rows(folder: Path, rounds: int) -> list[Row]:
    """Time from the call that sends to the first statement of who receives."""
    lines: dict[str, Callable[[Path, Arrived], Line]] = {}
    for place, sync in (("memory", "none"), ("none", "none"), ("commit", "commit")):
        for name, line in (("append to poll", to_poll), ("append to iteration", to_iteration),
                           ("append to callback", to_record_callback), ("publish to get", to_get),
                           ("publish to callback", to_callback)):  # fmt: skip
            lines[f"{name}, {place}"] = _at(line, sync, memory=place == "memory")
    tries: dict[str, list[Try]] = {name: [] for name in lines}
    for _ in range(rounds * TRIES):
        for name, line in lines.items():
            with TemporaryDirectory(dir=folder) as directory:
                path = Path(directory)
                tries[name].append(Try(median_seconds(over_a_queue, path), median_seconds(line, path)))
    return [_row(name, found, None if name.endswith("commit") else GOAL) for name, found in tries.items()]


class Try(NamedTuple):
    """Medians of some pings each, one right after the other."""

    plain: float
    seconds: float

    @property
    def ratio(self) -> float:
        """How much longer it takes than through a queue."""
        return self.seconds / self.plain


def _at(line: Callable[..., Line], sync: Sync, *, memory: bool) -> Callable[[Path, Arrived], Line]:
    return lambda path, arrived: line(":memory:" if memory else path / "store", sync, arrived)


def _row(name: str, tries: list[Try], goal: float | None) -> Row:
    ratio = median(one.ratio for one in tries)
    return Row(
        name,
        f"{median(one.seconds for one in tries) * 1e6:.1f} us",
        f"queue.Queue {median(one.plain for one in tries) * 1e6:.1f} us",
        f"{ratio:.2f}x",
        "" if goal is None else f"<= {goal}x",
        None if goal is None else ratio <= goal,
    )


def median_seconds(line: Callable[[Path, Arrived], Line], path: Path) -> float:
    """Send pings one by one; return the median of their times."""
    times: list[float] = []
    sent = 0.0
    here = threading.Event()

    def arrived() -> None:
        times.append(perf_counter() - sent)
        here.set()

    with line(path, arrived) as send:
        for _ in range(PINGS):
            sleep(BETWEEN_SECONDS)
            sent = perf_counter()
            send()
            here.wait()
            here.clear()
    return median(times)


@contextmanager
def _receiver(run: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@contextmanager
def over_a_queue(_path: Path, arrived: Arrived) -> Iterator[Receive]:
    """The baseline."""
    pings: queue.Queue[bytes | None] = queue.Queue()

    def receive() -> None:
        while pings.get() is not None:
            arrived()

    with _receiver(receive):
        yield lambda: pings.put(PING)
        pings.put(None)


@contextmanager
def to_poll(path: Path | str, sync: Sync, arrived: Arrived) -> Iterator[Receive]:
    """A member of a group that polls."""
    with Log(path, sync=sync) as log:
        log.create_topic("t")
        consumer = log.consumer("t", group="g")

        def receive() -> None:
            while consumer.poll():
                arrived()

        with _receiver(receive):
            yield lambda: log.append("t", PING)
            consumer.stop()
        consumer.close()


@contextmanager
def to_iteration(path: Path | str, sync: Sync, arrived: Arrived) -> Iterator[Receive]:
    """A member of a group that iterates."""
    with Log(path, sync=sync) as log:
        log.create_topic("t")
        consumer = log.consumer("t", group="g")

        def receive() -> None:
            for _ in consumer:
                arrived()

        with _receiver(receive):
            yield lambda: log.append("t", PING)
            consumer.stop()
        consumer.close()


@contextmanager
def to_record_callback(path: Path | str, sync: Sync, arrived: Arrived) -> Iterator[Receive]:
    """A subscription to a topic."""
    with Log(path, sync=sync) as log:
        log.create_topic("t")
        with log.subscribe("t", group="g", callback=lambda _: arrived()):
            yield lambda: log.append("t", PING)


@contextmanager
def to_get(path: Path | str, sync: Sync, arrived: Arrived) -> Iterator[Receive]:
    """A consumer of a queue."""
    with Broker(path, sync=sync) as broker:
        broker.declare_queue("q")
        consumer = broker.consume("q", no_ack=False)

        def receive() -> None:
            while (delivery := consumer.get()) is not None:
                arrived()
                delivery.ack()

        with _receiver(receive):
            yield lambda: broker.publish("", "q", PING)
            consumer.stop()
        consumer.close()


@contextmanager
def to_callback(path: Path | str, sync: Sync, arrived: Arrived) -> Iterator[Receive]:
    """A subscription to a queue."""
    with Broker(path, sync=sync) as broker:
        broker.declare_queue("q")
        with broker.subscribe("q", lambda _: arrived()):
            yield lambda: broker.publish("", "q", PING)


MEASURES = {"latency": latency_rows}

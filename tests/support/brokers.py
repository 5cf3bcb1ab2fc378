"""What the tests of the broker share: taking messages, threads that are known to wait, stores that end and return."""

import gc
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any

import msglog
from msglog import waiting

PATIENCE_SECONDS = 10.0
"""How long a test waits for what must happen; reached only by one that fails."""

DEAD_LETTERED = {"dead_letter_exchange": "", "dead_letter_routing_key": "dlq"}
"""Options of a queue whose dead letters go to the queue `dlq`."""


def take(broker: msglog.Broker, queue: str) -> list[bytes]:
    """Take everything that is ready, settled at once, and return the bodies."""
    return [delivery.body for delivery in take_deliveries(broker, queue)]


def take_deliveries(broker: msglog.Broker, queue: str) -> list[Any]:
    """Take everything that is ready, settled at once."""
    return list(iter(lambda: broker.get(queue, no_ack=True), None))


def take_one(broker: msglog.Broker, queue: str) -> Any:
    """Take what must be the only message that is ready, settled at once."""
    (delivery,) = take_deliveries(broker, queue)
    return delivery


def hold(broker: msglog.Broker, queue: str, count: int) -> list[Any]:
    """Get as many deliveries, unsettled. Whoever calls keeps them."""
    deliveries = [broker.get(queue) for _ in range(count)]
    assert None not in deliveries
    return deliveries


def send_all(broker: msglog.Broker, queue: str, *bodies: bytes, **options: Any) -> None:
    """Send each body with the same options."""
    for body in bodies:
        broker.send(queue, body, **options)


def ready(broker: msglog.Broker, queue: str) -> int:
    """Return how many messages of a queue are ready, without renewing its lease as a declaration would."""
    return info(broker, queue).message_count


def info(broker: msglog.Broker, queue: str) -> Any:
    """Return what `queues` tells of a queue."""
    (found,) = [one for one in broker.queues() if one.name == queue]
    return found


def queue_names(broker: msglog.Broker) -> set[str]:
    """Return the names of all queues."""
    return {one.name for one in broker.queues()}


def exchange_names(broker: msglog.Broker) -> set[str]:
    """Return the names of all exchanges."""
    return {one.name for one in broker.exchanges()}


def binding_set(broker: msglog.Broker) -> set[tuple[str, str, str, str]]:
    """Return source, destination, kind and routing key of all bindings."""
    return {(one.source, one.destination, one.kind, one.routing_key) for one in broker.bindings()}


def fail(delivery: Any, *steps: Callable[[], object]) -> None:
    """Have the block of `with delivery:` do these steps and then raise ZeroDivisionError."""
    with delivery:
        for step in steps:
            step()
        raise ZeroDivisionError


def forget(things: list[Any]) -> None:
    """Let go of things nobody else holds."""
    things.clear()
    gc.collect()


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for something that other threads bring about."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def is_asleep(thread: Thread) -> bool:
    """Return whether a thread sleeps: in the one place where threads of msglog wait, or until another thread ends."""
    frame: FrameType | None = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        code = frame.f_code
        if code.co_filename == waiting.__file__ or (code.co_filename, code.co_name) == (threading.__file__, "join"):
            return True
        frame = frame.f_back
    return False


class Call:
    """A call on a thread of its own."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._value: Any = None
        self._error: BaseException | None = None
        self.thread = Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:  # noqa: BLE001 raised again by `result`
            self._error = error

    def until_asleep(self) -> "Call":
        """Return when the call waits."""
        wait_until(lambda: is_asleep(self.thread))
        return self

    def result(self) -> Any:
        """Return what the call returned, or raise what it raised."""
        self.thread.join(PATIENCE_SECONDS)
        assert not self.thread.is_alive()
        if self._error is not None:
            raise self._error
        return self._value


class Disk:
    """A broker on disk that can be closed and opened again, or killed: then its files are copied as they are."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self._folder = folder
        self._options = options
        self._copies = 0
        self.broker = self._open()

    def _open(self) -> msglog.Broker:
        return msglog.Broker(self._folder / f"store{self._copies}", **self._options)

    def reopen(self) -> msglog.Broker:
        """Close the broker and open its store again."""
        self.broker.close()
        self.broker = self._open()
        return self.broker

    def crash(self) -> msglog.Broker:
        """Open what a kill at this moment would leave behind. Objects of the killed broker are good for nothing."""
        killed, before = self.broker, self._folder / f"store{self._copies}"
        self._copies += 1
        shutil.copytree(before, self._folder / f"store{self._copies}")
        killed.close()
        self.broker = self._open()
        return self.broker

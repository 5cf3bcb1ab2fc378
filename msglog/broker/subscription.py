"""Callbacks on threads: workers that take messages of one queue and call a function for each.

Each callback runs inside `with delivery:`, so it settles by how it ends. Nothing polls: who waits for the queue to be
idle is woken by whoever settles its last message. Exported by `msglog`.
"""

import logging
from collections.abc import Callable
from threading import current_thread
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

from msglog.broker.beginnings import Beginnings
from msglog.broker.consumer import QueueConsumer
from msglog.broker.delivery import Delivery, OnError
from msglog.broker.vhost import VirtualHost
from msglog.checks import check_handler, check_integer, check_ran, check_timeout
from msglog.errors import ClosedError, ConsumerCancelledError, SettlementError
from msglog.showing import one_line
from msglog.waiting import CallbackThread, Waiter, deadline_after, in_callback

logger = logging.getLogger("msglog.subscription")

MAX_WORKERS: Final = 1000
DeliveryCallback = Callable[[Delivery], object]


def tell_failed(delivery: Delivery, queue: str, error: Exception, *, pending: bool) -> None:
    """Log that a callback raised; an error where the message is rejected for it, and may be gone.

    `pending`: the callback had not settled the message itself. For the subscriptions of threads and of tasks.
    """
    attempt = delivery.delivery_count + 1
    fields: dict[str, object] = {"queue": queue, "attempt": attempt}
    if pending and delivery.back_off_ms is None:
        text = "a message of queue %r is rejected: attempt %d failed, and there are no more"
        logger.error(text, queue, attempt, exc_info=error, extra={"event": "given_up", **fields})
        return
    if pending:
        fields["delay_ms"] = delivery.back_off_ms
    text = "attempt %d at a message of queue %r failed"
    logger.warning(text, attempt, queue, exc_info=error, extra={"event": "attempt_failed", **fields})


class QueueSubscription:
    """Calls `callback(delivery)` for each message of a queue; made by `Broker.subscribe`.

    Arguments:
        consumer: where the messages come from; it is closed with the subscription.
        callback: called on daemon threads; neither a coroutine nor a generator function. A normal end acknowledges, an
            `Exception` applies `on_error`; what it settled itself is left alone. What it returns is ignored, but for
            a coroutine, which nobody would await: that counts as an exception.
        workers: how many threads, 1 to 1000.

    A callback that raises something other than an `Exception` returns its message and ends its worker.
    `ManualClock.advance` returns when the messages that came due have begun to be handled, as far as a worker is not in
    a callback: it begins with them later. Safe for any thread. A context manager; closing the store closes it, too.
    Until it is closed it works on, whether anybody holds it or not.
    """

    def __init__(self, vhost: VirtualHost, consumer: QueueConsumer, callback: DeliveryCallback, workers: int) -> None:
        check_handler("callback", callback, "a delivery")
        check_integer("workers", workers, 1, MAX_WORKERS)
        self._vhost = vhost
        self._queue = consumer.subscriber.queue
        self._consumer = consumer
        self._callback = callback
        # One item for each worker that has not ended; a pop is atomic, so one of them is the last.
        self._at_work = [None] * workers
        self._beginnings = Beginnings(vhost, consumer) if vhost.clock.manual else None
        self._threads = [CallbackThread(self._run) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        try:
            for delivery in self._consumer if self._beginnings is None else self._beginnings.deliveries():
                self._handle(delivery)
        except (ClosedError, ConsumerCancelledError):
            logger.debug(
                "queue %r or its store is gone: a worker of its subscription ends",
                self._queue.name,
                extra={"event": "worker_ended", "queue": self._queue.name},
            )
        except BaseException:
            # The end of a thread: nobody above would hear of it. What was in hand went back.
            logger.exception(
                "a worker of the subscription to queue %r failed and ends",
                self._queue.name,
                extra={"event": "worker_failed", "queue": self._queue.name},
            )
        finally:
            self._at_work.pop()
            if not self._at_work:
                self._consumer.close()  # nobody takes from it any more
                if self._beginnings is not None:
                    self._beginnings.end()
                for waiter in tuple(self._queue.watchers):
                    waiter.wake()

    def _handle(self, delivery: Delivery) -> None:
        pending = False
        try:
            with delivery:
                try:
                    check_ran("callback", self._callback(delivery))
                except Exception:
                    pending = delivery.pending
                    raise
        except SettlementError as error:
            logger.warning(
                "a message of queue %r could not be settled: %s",
                self._queue.name,
                error,
                extra={"event": "settle_failed", "queue": self._queue.name},
            )
        except Exception as error:
            if self._vhost.closed or self._consumer.closed:
                raise  # the end, and not the callback's fault
            tell_failed(delivery, self._queue.name, error, pending=pending)

    def stop(self) -> None:
        """Have each worker end after the message in hand; returns at once.

        From any thread, and from a signal handler: it takes no lock.
        """
        self._consumer.stop()

    def close(self, timeout: float | None = None) -> None:
        """Stop, and wait up to `timeout` seconds for the callbacks that run (None: for ever).

        What those have in hand that take longer goes back to the queue at once; they run on, but settle nothing more.
        Called by a callback, of whatever subscription, it does not wait. Calling again does nothing.
        """
        check_timeout(timeout)
        self.stop()
        if not in_callback():
            self.join(timeout)
            self._consumer.close()

    def join(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds (None: for ever) for all workers to end; return whether they have."""
        deadline = deadline_after(check_timeout(timeout))
        for thread in self._threads:
            if thread is not current_thread():
                thread.join(None if deadline is None else max(0.0, deadline - monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Wait until the queue is empty and nothing of it is in anybody's hand or backing off.

        Returns False when that takes more than `timeout` seconds of real time (None: for ever), or when all workers
        have ended before. Raises `ClosedError` when the store is closed.
        """
        deadline = deadline_after(check_timeout(timeout))
        vhost, watchers, waiter = self._vhost, self._queue.watchers, Waiter()
        try:
            with vhost.lock:
                vhost.waiters.add(waiter)  # for the end of the store
                watchers.add(waiter)
            while not self._is_idle():
                seconds = None if deadline is None else deadline - monotonic()
                if (seconds is not None and seconds <= 0) or not self._at_work:
                    return False
                waiter.wait(seconds)
        finally:
            watchers.discard(waiter)
            vhost.waiters.discard(waiter)
        return True

    def _is_idle(self) -> bool:
        with self._vhost.lock:
            if self._vhost.closed:
                raise ClosedError(self._vhost.why_closed())
            return self._queue.is_idle()

    def measure(self) -> dict[str, Any] | None:
        """Return what it works on and how many of its workers are alive; not public. None once it is at an end."""
        alive = sum(thread.is_alive() for thread in self._threads)
        if not alive and self._consumer.stopped:
            return None
        return {"queue": self._queue.name, "workers": len(self._threads), "workers_alive": alive}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @one_line
    def __repr__(self) -> str:
        alive = sum(thread.is_alive() for thread in self._threads)
        deleted = " deleted" if self._queue.deleted else ""
        workers = f"{alive} of {len(self._threads)} workers alive"
        return f"<msglog.QueueSubscription queue={self._queue.name!r}{deleted} {workers}>"


__all__ = ["DeliveryCallback", "OnError", "QueueSubscription"]

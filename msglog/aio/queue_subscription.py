"""Coroutines that are called for the messages of a queue. Exported by `msglog.aio`.

Each runs inside `async with delivery:`, so it settles by how it ends: a task that is cancelled returns its message.
"""

import logging
from asyncio import CancelledError
from collections.abc import Awaitable, Callable

from msglog.aio.calls import now
from msglog.aio.delivery import Delivery
from msglog.aio.queue_consumer import QueueConsumer
from msglog.aio.tasks import Cancellations, Subscribed, cancels_itself, check_callback, check_concurrency
from msglog.aio.waiting import TaskWaiter, left_until
from msglog.broker.subscription import tell_failed
from msglog.checks import check_timeout
from msglog.errors import ClosedError, ConsumerCancelledError, SettlementError
from msglog.showing import one_line
from msglog.waiting import deadline_after

logger = logging.getLogger("msglog.subscription")


class QueueSubscription(Subscribed):
    """Awaits `callback(delivery)` for each message of a queue; made by `Broker.subscribe`.

    A normal end acknowledges, an `Exception` applies `on_error`, a cancellation returns the message; what the callback
    settled itself is left alone. As many callbacks as there are tasks run at the same time. A callback that raises
    something other than an `Exception` ends its task. A context manager; closing the store closes it, too. Until it is
    closed it works on, whether anybody holds it or not.
    """

    def __init__(
        self, consumer: QueueConsumer, callback: Callable[[Delivery], Awaitable[object]], concurrency: int
    ) -> None:
        super().__init__()
        check_callback("callback", callback, "a delivery")
        check_concurrency(concurrency)
        self._consumer = consumer
        self._callback = callback
        self._watchers: set[TaskWaiter] = set()
        self._at_work = concurrency
        self._tasks.start(self._run() for _ in range(concurrency))

    async def _run(self) -> None:
        try:
            cancellations = Cancellations()
            async for delivery in self._consumer:
                await self._handle(delivery)
                await cancellations.raise_lost()
        except (ClosedError, ConsumerCancelledError):
            logger.debug(
                "queue %r or its store is gone: a task of its subscription ends",
                self._consumer.queue,
                extra={"event": "worker_ended", "queue": self._consumer.queue},
            )
        except (Exception, CancelledError) as error:
            # The end of a task: nobody above would hear of it. What was in hand went back.
            if isinstance(error, Exception) or cancels_itself():
                logger.exception(
                    "a task of the subscription to queue %r failed and ends",
                    self._consumer.queue,
                    extra={"event": "worker_failed", "queue": self._consumer.queue},
                )
            if isinstance(error, CancelledError):
                raise
        finally:
            self._at_work -= 1
            if not self._at_work:
                now(self._consumer.sync.close)  # nobody takes from it any more
            for waiter in self._watchers:
                waiter.wake()

    async def _handle(self, delivery: Delivery) -> None:
        queue = self._consumer.queue
        pending = False
        try:
            async with delivery:
                try:
                    await self._callback(delivery)
                except Exception:
                    pending = delivery.pending
                    raise
        except SettlementError as error:
            logger.warning(
                "a message of queue %r could not be settled: %s",
                queue,
                error,
                extra={"event": "settle_failed", "queue": queue},
            )
        except Exception as error:
            if self._consumer.closed or delivery.vhost.closed:
                raise  # the end, and not the callback's fault
            tell_failed(delivery, queue, error, pending=pending)

    def stop(self) -> None:
        """Have each task end after the message in hand; returns at once.

        From any thread, and from a signal handler: it takes no lock.
        """
        self._consumer.stop()

    async def _release(self) -> None:
        await self._consumer.close()

    async def wait_idle(self, timeout: float | None = None) -> bool:
        """Wait until the queue is empty and nothing of it is in anybody's hand or backing off.

        Returns False when that takes more than `timeout` seconds of real time (None: for ever), or when all tasks have
        ended before. Raises `ClosedError` when the store is closed.
        """
        deadline = deadline_after(check_timeout(timeout))
        subscriber, vhost = self._consumer.sync.subscriber, self._consumer.sync.taking.vhost
        queue, waiter = subscriber.queue, TaskWaiter()
        self._watchers.add(waiter)
        try:
            with vhost.lock:
                vhost.waiters.add(waiter)  # for the end of the store
                queue.watchers.add(waiter)
            while True:
                with vhost.lock:
                    if vhost.closed:
                        raise ClosedError(vhost.why_closed())
                    if queue.is_idle():
                        return True
                seconds = left_until(deadline)
                if (seconds is not None and seconds <= 0) or not self._tasks.alive():
                    return False
                await waiter.wait(seconds)
        finally:
            self._watchers.discard(waiter)
            queue.watchers.discard(waiter)
            vhost.waiters.discard(waiter)

    @one_line
    def __repr__(self) -> str:
        return f"<msglog.aio.QueueSubscription queue={self._consumer.queue!r} {self._tasks.alive()} tasks alive>"

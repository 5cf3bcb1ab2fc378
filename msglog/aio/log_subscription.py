"""Coroutines that are called for the records of topics. `Subscription` is exported by `msglog.aio`.

A record whose callback fails holds up its partition until the back-off is over, while the task goes on with its other
partitions (`record_loop`).
"""

import logging
import re
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Iterable
from typing import cast

import msglog
from msglog.aio.calls import now
from msglog.aio.consumer import Consumer
from msglog.aio.record_loop import TaskLoop
from msglog.aio.tasks import Subscribed, cancels_itself, check_callback, check_concurrency
from msglog.aio.waiting import TaskWaiter, left_until
from msglog.checks import check_timeout, wrong_type
from msglog.errors import ClosedError
from msglog.log.assignment import TopicSelection
from msglog.log.model import LogModel
from msglog.log.progress import Progress
from msglog.log.records import fields_of
from msglog.retry import Retry
from msglog.showing import one_line
from msglog.types import Record
from msglog.waiting import deadline_after

logger = logging.getLogger("msglog.subscription")

RecordCallback = Callable[[Record], Awaitable[object]]


class Subscription(Subscribed):
    """Awaits `callback(record)` for each record of a group's topics; made by `Log.subscribe`.

    For one record of a partition at a time, in offset order; each task is a member of the group. When the callback
    raises an `Exception` the record is tried again after the back-off of `on_error`, on the store's clock; when its
    retries are used up, the record is logged and left behind. Offsets are committed after the callback has ended: after
    a crash, or when its task is cancelled, a record may come again, none is left out. A context manager; closing the
    store closes it, too. Until it is closed it works on, whether anybody holds it or not.
    """

    def __init__(
        self,
        log: msglog.Log,
        topics: Iterable[str | re.Pattern[str]],
        group: str,
        callback: RecordCallback,
        concurrency: int,
        on_error: Retry,
    ) -> None:
        super().__init__()
        check_callback("callback", callback, "a record")
        check_concurrency(concurrency)
        if not isinstance(group, str):
            raise wrong_type("group", group, "the name of a group")
        if not isinstance(on_error, Retry):
            raise wrong_type("on_error", on_error, "a Retry")
        self._core = log.store.core
        self._group = group
        self._selection = TopicSelection(cast(LogModel, self._core.engine.models[LogModel.section]), topics)
        if not self._selection:
            raise wrong_type("topics", topics, "at least one name or pattern")
        self._watchers: set[TaskWaiter] = set()
        self._consumers: list[Consumer] = []
        try:
            for _ in range(concurrency):
                self._consumers.append(Consumer(log, *topics, group=group, auto_commit=True))
        except BaseException:
            for consumer in self._consumers:
                now(consumer.sync.close)
            raise
        work = _Work(callback, group)
        self._tasks.start(self._run(one, TaskLoop(self._core, one, work, on_error)) for one in self._consumers)

    async def _run(self, consumer: Consumer, loop: TaskLoop) -> None:
        try:
            async with consumer:
                await loop.run()
        except ClosedError:
            logger.debug(
                "the store was closed: a task of the subscription of group %r ends",
                self._group,
                extra={"event": "worker_ended", "group": self._group},
            )
        except (Exception, CancelledError) as error:
            # The end of a task: nobody above would hear of it. What was in hand was not committed.
            if isinstance(error, Exception) or cancels_itself():
                logger.exception(
                    "a task of the subscription of group %r failed and ends",
                    self._group,
                    extra={"event": "worker_failed", "group": self._group},
                )
            if isinstance(error, CancelledError):
                raise
        finally:
            for waiter in self._watchers:
                waiter.wake()

    def stop(self) -> None:
        """Have each task end after the record in hand; returns at once.

        From any thread, and from a signal handler: it takes no lock.
        """
        for consumer in self._consumers:
            consumer.stop()

    async def wait_idle(self, timeout: float | None = None) -> bool:
        """Wait until everything that is in the topics now was handled and committed, by whatever member.

        Returns False when that takes more than `timeout` seconds of real time (None: for ever), or when all tasks have
        ended before. Raises `ClosedError`.
        """
        deadline = deadline_after(check_timeout(timeout))
        progress = Progress(self._core, self._group, self._selection)
        waiter = TaskWaiter()
        with progress.watching(waiter):
            self._watchers.add(waiter)
            try:
                while not progress.is_done():
                    seconds = left_until(deadline)
                    if (seconds is not None and seconds <= 0) or not self._tasks.alive():
                        return False
                    await waiter.wait(seconds)
            finally:
                self._watchers.discard(waiter)
        return True

    @one_line
    def __repr__(self) -> str:
        return f"<msglog.aio.Subscription group={self._group!r} {self._tasks.alive()} tasks alive>"


class _Work:
    """What a task does with a record, and what becomes of those that failed too often: the next commit covers them."""

    def __init__(self, callback: RecordCallback, group: str) -> None:
        self._callback = callback
        self._group = group

    async def do(self, record: Record) -> bool:
        """Await the callback."""
        await self._callback(record)
        return True

    def is_final(self, error: Exception) -> bool:  # noqa: ARG002 as the loop asks
        """Whatever it is, the back-off is the answer to it."""
        return False

    async def give_up(self, record: Record, attempts: int, error: Exception) -> None:
        """Go on with the next record."""
        logger.error(
            "giving up on %r after %d attempts",
            record,
            attempts,
            exc_info=error,
            extra={"event": "given_up", **fields_of(record), "group": self._group, "attempt": attempts},
        )

"""Callbacks on threads: workers, each a consumer of one group, that call a function for every record.

A record whose callback fails holds up its partition, so order is kept, while the worker goes on with its
others: the partition is paused and sought back to the record until the back-off is over. The worker keeps
polling meanwhile, so it stays in the group however long that takes. Offsets are committed once the callback
has returned. Exported by `msglog`.
"""

import re
from collections.abc import Iterable
from threading import current_thread
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self, cast

from msglog.checks import check_handler, check_integer, check_timeout, wrong_type
from msglog.log.assignment import TopicSelection
from msglog.log.consumer import Consumer
from msglog.log.model import LogModel
from msglog.log.progress import Progress
from msglog.log.subscription_worker import RecordCallback, Worker
from msglog.retry import Retry
from msglog.showing import one_line
from msglog.store import StoreCore
from msglog.waiting import Waiter, deadline_after, in_callback

MAX_WORKERS: Final = 1000


class Subscription:
    """Calls `callback(record)` for each record of a group's topics; made by `Log.subscribe`.

    Arguments:
        topics: names and compiled patterns, at least one, as for a consumer.
        group: the group to work for. Several subscriptions and consumers may share it.
        callback: called on daemon threads, for one record of a partition at a time, in offset order; neither a
            coroutine nor a generator function. What it returns is ignored, but for a coroutine, which nobody would
            await: that counts as an exception.
        workers: how many threads, 1 to 1000. More than there are partitions are idle.
        on_error: when the callback raises an `Exception` the record is tried again after this back-off, on
            the store's clock; when its retries are used up, the record is logged and left behind.

    Offsets are committed after the callback has returned: after a crash a record may come again, none is
    left out. A callback that raises something other than an `Exception` ends its worker; so does damage to
    the data. It is logged. `ManualClock.advance` returns when the attempts that came due have begun, those of
    a worker that is in the callback then excepted: it begins with them later.

    Raises as `Log.consumer` does. Safe for any thread. A context manager; closing the store closes it, too.
    Until it is closed it works on, whether anybody holds it or not.
    """

    def __init__(
        self,
        core: StoreCore,
        topics: Iterable[str | re.Pattern[str]],
        group: str,
        callback: RecordCallback,
        workers: int = 1,
        on_error: Retry | None = None,
    ) -> None:
        check_handler("callback", callback, "a record")
        if not isinstance(group, str):
            raise wrong_type("group", group, "the name of a group")
        retry = Retry() if on_error is None else on_error
        if not isinstance(retry, Retry):
            raise wrong_type("on_error", retry, "a Retry")
        check_integer("workers", workers, 1, MAX_WORKERS)
        self._core = core
        self._group = group
        self._selection = TopicSelection(cast(LogModel, core.engine.models[LogModel.section]), topics)
        if not self._selection:
            raise wrong_type("topics", topics, "at least one name or pattern")
        self._watchers: set[Waiter] = set()
        self._workers: list[Worker] = []
        try:
            for _ in range(workers):
                consumer = Consumer(core, topics, group=group, auto_commit=True)
                self._workers.append(Worker(core, consumer, callback, retry, self._tell_watchers))
        except BaseException:
            for worker in self._workers:
                worker.consumer.close()
            raise
        for worker in self._workers:
            worker.thread.start()

    def stop(self) -> None:
        """Have each worker end after the record in hand; returns at once.

        From any thread, and from a signal handler: it takes no lock.
        """
        for worker in self._workers:
            worker.stop()

    def close(self, timeout: float | None = None) -> None:
        """Stop, and wait up to `timeout` seconds for the callbacks that run (None: for ever).

        Those that take longer run on, but count no more: their workers leave the group at once, so what they
        have in hand goes to other members and is not committed for them. Called by a callback, of whatever
        subscription, it does not wait: those it would wait for may be closing, too. Calling again does nothing.
        """
        check_timeout(timeout)
        self.stop()
        if in_callback():
            return
        if not self.join(timeout):
            for worker in self._workers:
                worker.consumer.abandon()

    def join(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds (None: for ever) for all workers to end; return whether they have."""
        deadline = deadline_after(check_timeout(timeout))
        others = [worker.thread for worker in self._workers if worker.thread is not current_thread()]
        for thread in others:
            thread.join(None if deadline is None else max(0.0, deadline - monotonic()))
        return not any(worker.thread.is_alive() for worker in self._workers)

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Wait until everything that is in the topics now was handled and committed, by whatever member.

        Returns False when that takes more than `timeout` seconds of real time (None: for ever), or when all
        workers have ended before. Raises `ClosedError`.
        """
        deadline = deadline_after(check_timeout(timeout))
        progress = Progress(self._core, self._group, self._selection)
        waiter = Waiter()
        with progress.watching(waiter):
            self._watchers.add(waiter)
            try:
                while not progress.is_done():
                    seconds = None if deadline is None else deadline - monotonic()
                    if (seconds is not None and seconds <= 0) or all(worker.ended for worker in self._workers):
                        return False
                    waiter.wait(seconds)
            finally:
                self._watchers.discard(waiter)
        return True

    def _tell_watchers(self) -> None:
        for waiter in tuple(self._watchers):
            waiter.wake()

    def measure(self) -> dict[str, Any] | None:
        """Return what it works on and how many of its workers are alive; not public. None once it is at an end."""
        alive = sum(worker.thread.is_alive() for worker in self._workers)
        if not alive and all(worker.consumer.stopped for worker in self._workers):
            return None
        return {"group": self._group, "workers": len(self._workers), "workers_alive": alive}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @one_line
    def __repr__(self) -> str:
        alive = sum(worker.thread.is_alive() for worker in self._workers)
        return f"<msglog.Subscription group={self._group!r} {alive} of {len(self._workers)} workers alive>"

"""What the consumers of topics share: a poll that waits for the first record. Imported by the consumers."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar
from weakref import ref

from msglog.aio.calls import now, write
from msglog.aio.iterating import Stepping
from msglog.aio.waiting import TaskWaiter, left_until
from msglog.checks import check_timeout
from msglog.log.consumer import MAX_RECORDS
from msglog.storage import Deferral, Engine, in_force
from msglog.waiting import deadline_after

R = TypeVar("R")


class OneTask:
    """`with guard:` around what waits: a second task inside raises `RuntimeError`. The same task may enter again."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._task: asyncio.Task[object] | None = None
        self._depth = 0
        self._last: ref[asyncio.Task[object]] | None = None

    def __enter__(self) -> None:
        task, inside = asyncio.current_task(), self._task
        if inside is not None and inside is not task and not inside.done():  # one that was interrupted is not inside
            raise RuntimeError(f"{self._what} is used by task {inside.get_name()!r}; it is for one task at a time")
        self._depth = self._depth + 1 if inside is task else 1
        self._task = task
        self._last = None if self._task is None else ref(self._task)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth <= 0:
            self._task = None

    def was_here_last(self) -> bool:
        """Whether the running task was inside last."""
        return self._last is not None and self._last() is asyncio.current_task()


class Polling(ABC, Generic[R]):
    """`poll`, `iter`, iteration, `stop` and `close` of a consumer of topics."""

    _engine: Engine

    # What the threaded consumer does without waiting

    @abstractmethod
    def poll_now(self, max_records: int) -> list[R]:
        """Return what there is; not public."""

    @abstractmethod
    def steps_now(self) -> Iterator[R]:
        """Return an iterator over what there is, which moves on with each step; not public."""

    @abstractmethod
    def _take_back(self, records: list[R]) -> None:
        """After an interrupt: have records that did not reach whoever polled handed out again."""

    @abstractmethod
    def has_stopped(self) -> bool:
        """Whether nothing more is to be handed out; not public."""

    @abstractmethod
    def _watch(self, waiter: TaskWaiter) -> bool:
        """Have a waiter woken when there may be something; return whether there is nothing yet."""

    @abstractmethod
    def _unwatch(self, waiter: TaskWaiter) -> None:
        """Undo `_watch`."""

    @abstractmethod
    def stop(self) -> None:
        """Hand out nothing more: iteration ends after the record in hand, and polls return empty from now on.

        From any thread, and from a signal handler: it takes no lock. Committing, settling and closing work as before.
        """

    @abstractmethod
    def _close(self, *, finished: bool) -> None:
        """Close the threaded consumer, which does not wait."""

    def __init__(self, engine: Engine, what: str) -> None:
        self._engine = engine
        self.tasks = OneTask(what)
        self._waiter = TaskWaiter()

    async def poll(self, timeout: float | None = None, max_records: int = MAX_RECORDS) -> list[R]:
        """Return the next records, waiting up to `timeout` seconds for the first; an empty list after that.

        `timeout`: real time, None waits for ever, 0 never. Raises what `poll` of the threaded class raises, and
        `RuntimeError` while another task waits here. When it is cancelled no record is lost: the next call has them.
        """
        deadline = deadline_after(check_timeout(timeout))
        records: list[R] = []
        try:
            with self.tasks:
                while True:
                    # Not by `now`: what a call returns through it is lost to an exception of a signal handler.
                    outer = in_force.deferral
                    try:
                        in_force.deferral = Deferral()
                        records = self.poll_now(max_records)
                    finally:
                        in_force.deferral = outer
                    if records or self.has_stopped() or not await self.wait_for_more(deadline):
                        return records
                    if self.has_stopped():  # perhaps by `close`, after which it would raise
                        return []
        except BaseException:
            if records:
                now(self._take_back, records)
            raise

    def iter(self, timeout: float | None = None) -> AsyncIterator[R]:
        """Return an asynchronous iterator over the records from the position on.

        It ends after `timeout` seconds of real time without a record (0: at the end; None: never), and after `stop`.
        Several iterators and `poll` share the positions. Each step raises as `poll` does, and can be cancelled as that.
        """
        return _Records(self, check_timeout(timeout))

    def __aiter__(self) -> AsyncIterator[R]:
        return self.iter()

    async def wait_for_more(self, deadline: float | None) -> bool:
        """Sleep until there may be something to do; return False when the deadline is over. Not public."""
        seconds = left_until(deadline)
        if seconds is not None and seconds <= 0:
            return False
        waiter = self._waiter
        nothing = self._watch(waiter)
        try:
            if nothing:
                await waiter.wait(self._longest_wait(seconds))
        finally:
            self._unwatch(waiter)
        return True

    def _longest_wait(self, seconds: float | None) -> float | None:
        return seconds

    async def close(self) -> None:
        """End the consumer as the threaded one does; a poll that waits returns empty. Calling again does nothing."""
        await self._end(finished=self.tasks.was_here_last())

    async def _end(self, *, finished: bool) -> None:
        self.stop()
        await write(self._engine, self._close, finished=finished)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end(finished=kind is None)


class _Records(Stepping, Generic[R]):
    """Iterates over a consumer. What ends a step leaves the positions as they were."""

    def __init__(self, consumer: Polling[R], timeout: float | None) -> None:
        self._consumer = consumer
        self._timeout = timeout
        self._steps: Iterator[R] | None = None

    async def __anext__(self) -> R:
        consumer = self._consumer
        deadline: float | None = None
        with consumer.tasks:
            await self._breathe()
            while True:
                if self._steps is None:
                    self._steps = consumer.steps_now()
                record = now(next, self._steps, None)
                if record is not None:
                    return record
                self._steps = None
                deadline = deadline or deadline_after(self._timeout)
                if consumer.has_stopped() or not await consumer.wait_for_more(deadline) or consumer.has_stopped():
                    raise StopAsyncIteration

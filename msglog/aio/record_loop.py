"""The loop of a task that works on the records of one consumer, one after the other, with back-off of what failed.

That of a thread (`msglog.log.record_loop`) with other waits. Imported by the subscription and by processing.
"""

from collections.abc import Iterator
from typing import Protocol

from msglog.aio.calls import now
from msglog.aio.consumer import Consumer
from msglog.aio.iterating import Stepping
from msglog.aio.tasks import Cancellations
from msglog.log.back_offs import BackOffs
from msglog.retry import Retry
from msglog.store import StoreCore
from msglog.types import Record
from msglog.waiting import deadline_after


class TaskWork(Protocol):
    """What is done with a record."""

    async def do(self, record: Record) -> bool:
        """Do it. Return False to have the loop ask the consumer anew, since its position was moved.

        An `Exception` puts the record off, unless `is_final` says that the loop ends with it. Whatever else ends it
        leaves the record as it is.
        """

    def is_final(self, error: Exception) -> bool:
        """Whether an error that `do` raised ends the loop."""

    async def give_up(self, record: Record, attempts: int, error: Exception) -> None:
        """Hear that the retries are used up; the record counts as done with when this returns."""


class TaskLoop(Stepping):
    """One consumer at work for one task. Nothing is awaited between taking a record and beginning with it."""

    def __init__(self, core: StoreCore, consumer: Consumer, work: TaskWork, retry: Retry) -> None:
        self._consumer = consumer
        self._work = work
        self._back_offs = BackOffs(core, consumer.sync, retry, consumer.sync.interrupt_wait)

    async def run(self, timeout: float | None = None) -> None:
        """Work until the consumer is stopped, or until there was nothing to do for `timeout` seconds of real time.

        Raises what a poll, a final `do` and `give_up` raise, and `RuntimeError` while another task uses the consumer.
        Where partitions are left alone then, they are resumed, and stand at the record that failed.
        """
        with self._consumer.tasks:
            try:
                await self._run(timeout)
            finally:
                self._back_offs.end()

    async def _run(self, timeout: float | None) -> None:
        records: Iterator[Record] = iter(())
        deadline: float | None = None
        cancellations = Cancellations()
        while not self._consumer.has_stopped():
            await self._breathe()
            self._back_offs.resume_due()
            record = now(next, records, None)
            if record is None:
                records = self._consumer.steps_now()
                record = now(next, records, None)
            if record is not None:
                deadline = None
                done = await self._handle(record)
                await cancellations.raise_lost()
                if not done:
                    records = self._consumer.steps_now()
                continue
            if self._back_offs.next_due_ms is not None:
                deadline = None
            elif deadline is None:
                deadline = deadline_after(timeout)
            if not await self._consumer.wait_for_more(deadline):
                break

    async def _handle(self, record: Record) -> bool:
        """Return whether the record is done with."""
        try:
            done = await self._work.do(record)
        except Exception as error:
            if self._work.is_final(error):
                raise
            attempts = self._back_offs.failed(record, error)
            if attempts is not None:
                await self._work.give_up(record, attempts, error)
            return False
        self._back_offs.succeeded(record)
        return done

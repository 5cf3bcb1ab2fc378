"""Work on the records of one consumer, one after the other, with back-off of what failed.

What failed is put off as `back_offs` says. Whoever advances a manual clock goes on when the attempts that came due have
begun. Runs in the thread that calls `run`; imported by the worker of a subscription and by transactional processing.
"""

from threading import Thread, current_thread
from typing import Protocol

from msglog.log.back_offs import BackOffs
from msglog.log.consumer import Consumer
from msglog.retry import Retry
from msglog.store import StoreCore
from msglog.types import Record
from msglog.waiting import Waiter


class Work(Protocol):
    """What is done with a record."""

    def do(self, record: Record) -> bool:
        """Do it. Return False to have the loop ask the consumer anew, since its position was moved.

        An `Exception` puts the record off, unless `is_final` says that the loop ends with it.
        """

    def is_final(self, error: Exception) -> bool:
        """Whether an error that `do` raised ends the loop."""

    def give_up(self, record: Record, attempts: int, error: Exception) -> None:
        """Hear that the retries are used up; the record counts as done with when this returns."""


class RecordLoop:
    """One consumer at work. All is the running thread's own but `_end_back_off`.

    Invariant: whoever is in `_starts` when the work begins, when a round ends that began after it came, or when the
    loop ends, is woken.
    """

    def __init__(self, core: StoreCore, consumer: Consumer, work: Work, retry: Retry) -> None:
        self._consumer = consumer
        self._clock = core.clock
        self._work = work
        self._back_offs = BackOffs(core, consumer, retry, self._end_back_off)
        self._thread: Thread | None = None
        # The one that came last: an interrupt may strike before anything is done with it.
        self.record: Record | None = None
        # Who waits for an attempt to start; nobody may while the user's code runs, which may wait for them.
        self._starts: set[Waiter] = set()
        self._attentive = True

    def run(self, timeout: float | None = None) -> None:
        """Work until the consumer is stopped, or until there was nothing to do for `timeout` seconds of real time.

        Raises what the consumer's iteration, a final `do` and `give_up` raise. Where partitions are left alone then,
        they are resumed, and stand at the record that failed.
        """
        self._thread = current_thread()
        self._attentive = True
        try:
            while not self._consumer.stopped and self._round(timeout):
                pass
        finally:
            self._attentive = False
            self._back_offs.end()
            self._tell(self._starts)

    def _round(self, timeout: float | None) -> bool:
        """Handle records until a partition may be tried again; return False when the timeout is over."""
        starts = set(self._starts)  # first of all: who comes later has the wait below end
        self._back_offs.resume_due()
        due_ms = self._back_offs.next_due_ms
        goes_on = bool(starts) or due_ms is not None or timeout is None
        for record in self._consumer.iter(0 if starts else None if goes_on else timeout):
            self.record = record
            if not self._handle(record) or self._consumer.stopped or self._back_offs.is_due(due_ms):
                goes_on = True
                break
        self._tell(starts)
        return goes_on

    def _handle(self, record: Record) -> bool:
        """Return whether the record is done with."""
        try:
            done = self._do(record)
        except Exception as error:
            if self._work.is_final(error):
                raise
            attempts = self._back_offs.failed(record, error)
            if attempts is not None:
                self._work.give_up(record, attempts, error)
            return False
        self._back_offs.succeeded(record)
        return done

    def _do(self, record: Record) -> bool:
        self._attentive = False
        if self._starts:
            self._tell(self._starts)
        try:
            return self._work.do(record)
        finally:
            self._attentive = True

    def _end_back_off(self) -> None:
        """Have the loop look at what is due; on the thread of the timers, or the one that advances the clock."""
        start = Waiter()
        if self._clock.manual:
            self._starts.add(start)
        self._consumer.interrupt_wait()
        # After a fork the thread is gone without having said so.
        if self._clock.manual and self._attentive and self._thread is not None and self._thread.is_alive():
            start.wait(None)

    def _tell(self, starts: set[Waiter]) -> None:
        for start in tuple(starts):
            self._starts.discard(start)
            start.wake()

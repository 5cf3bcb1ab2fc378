"""Work on the records of one consumer, one after the other, with back-off of what failed.

A partition whose record failed is paused and sought back to it, until a timer on the store's clock says that the
back-off is over: nothing looks at a clock while it waits, and the other partitions go on. Whoever advances a manual
clock goes on when the attempts that came due have begun. Runs in the thread that calls `run`; imported by the worker
of a subscription and by transactional processing.
"""

import logging
from contextlib import suppress
from threading import Thread, current_thread
from typing import Protocol

from msglog.errors import MsglogError, OffsetOutOfRangeError
from msglog.log.consumer import Consumer
from msglog.log.records import fields_of
from msglog.retry import Retry
from msglog.store import StoreCore
from msglog.types import Record, TopicPartition
from msglog.waiting import Timer, Waiter

logger = logging.getLogger("msglog.subscription")


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
        self._timers = core.timers
        self._work = work
        self._retry = retry
        self._thread: Thread | None = None
        # Failed attempts at the record that each partition stands at, and the timers of those left alone.
        self._attempts: dict[TopicPartition, tuple[int, int]] = {}
        self._back_offs: dict[TopicPartition, Timer] = {}
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
            self._end_back_offs()
            self._tell(self._starts)

    def _end_back_offs(self) -> None:
        """Leave no partition alone any more; each stands at the record that failed."""
        for partition, timer in self._back_offs.items():
            timer.cancel()
            with suppress(MsglogError):  # it is not ours any more, or the store was closed
                self._consumer.resume(partition)
        self._back_offs.clear()

    def _round(self, timeout: float | None) -> bool:
        """Handle records until a partition may be tried again; return False when the timeout is over."""
        starts = set(self._starts)  # first of all: who comes later has the wait below end
        self._resume_due()
        due_ms = min((timer.due_ms for timer in self._back_offs.values()), default=None)
        goes_on = bool(starts) or due_ms is not None or timeout is None
        for record in self._consumer.iter(0 if starts else None if goes_on else timeout):
            if not self._handle(record) or self._consumer.stopped or self._is_due(due_ms):
                goes_on = True
                break
        self._tell(starts)
        return goes_on

    def _is_due(self, due_ms: int | None) -> bool:
        return due_ms is not None and due_ms <= self._clock.monotonic_ms()

    def _handle(self, record: Record) -> bool:
        """Return whether the record is done with."""
        try:
            done = self._do(record)
        except Exception as error:
            if self._work.is_final(error):
                raise
            self._put_off(record, error)
            return False
        self._succeeded(record)
        return done

    def _do(self, record: Record) -> bool:
        self._attentive = False
        if self._starts:
            self._tell(self._starts)
        try:
            return self._work.do(record)
        finally:
            self._attentive = True

    def _succeeded(self, record: Record) -> None:
        if self._attempts:
            self._attempts.pop(TopicPartition(record.topic, record.partition), None)

    def _put_off(self, record: Record, error: Exception) -> None:
        partition = TopicPartition(record.topic, record.partition)
        offset, failed = self._attempts.pop(partition, (record.offset, 0))
        attempt = failed + 1 if offset == record.offset else 1
        delay_ms = self._retry.delay_for(attempt)
        if delay_ms is None:
            self._work.give_up(record, attempt, error)
            return
        try:
            self._consumer.seek(partition, record.offset)
        except OffsetOutOfRangeError:
            logger.warning(
                "attempt %d at %r failed, which was removed meanwhile",
                attempt,
                record,
                exc_info=error,
                extra={"event": "attempt_failed", **self._fields(record), "attempt": attempt},
            )
            return
        self._consumer.pause(partition)
        self._attempts[partition] = (record.offset, attempt)
        self._back_off(partition, delay_ms)
        logger.warning(
            "attempt %d at %r failed, next in %d ms",
            attempt,
            record,
            delay_ms,
            exc_info=error,
            extra={"event": "attempt_failed", **self._fields(record), "attempt": attempt, "delay_ms": delay_ms},
        )

    def _fields(self, record: Record) -> dict[str, object]:
        return {**fields_of(record), "group": self._consumer.group}

    def _back_off(self, partition: TopicPartition, delay_ms: int) -> None:
        before = self._back_offs.get(partition)
        if before is not None:  # the partition was away in between, and came back unpaused
            before.cancel()
        due_ms = self._clock.monotonic_ms() + delay_ms
        self._back_offs[partition] = self._timers.schedule(due_ms, self._end_back_off)

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

    def _resume_due(self) -> None:
        now_ms = self._clock.monotonic_ms()
        assigned = self._consumer.assignment() if self._back_offs else frozenset()
        for partition, timer in tuple(self._back_offs.items()):
            if partition not in assigned:  # it went to another consumer, which begins at the same record
                self._attempts.pop(partition, None)
            elif timer.due_ms <= now_ms:
                self._consumer.resume(partition)
            else:
                continue
            timer.cancel()
            del self._back_offs[partition]

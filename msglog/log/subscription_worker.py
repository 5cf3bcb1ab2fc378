"""One thread of a subscription: a consumer, the callback, and the back-off of what failed.

A partition whose record failed is paused and sought back to it, until a timer on the store's clock says that
the back-off is over: nothing looks at a clock while it waits. Whoever advances a manual clock goes on when
the attempts that came due have begun. Imported by `subscription`.
"""

import logging
from collections.abc import Callable
from threading import Thread, current_thread

from msglog.errors import ClosedError, OffsetOutOfRangeError
from msglog.log.consumer import Consumer
from msglog.retry import Retry
from msglog.store import StoreCore
from msglog.types import Record, TopicPartition
from msglog.waiting import Timer, Waiter

logger = logging.getLogger("msglog.subscription")

RecordCallback = Callable[[Record], object]


class WorkerThread(Thread):
    """A thread that runs callbacks of a subscription."""


def is_worker() -> bool:
    """Whether this call comes from a callback of a subscription."""
    return isinstance(current_thread(), WorkerThread)


class Worker:
    """One thread with its consumer. `thread` runs it; the rest is its own but for `stop` and `_end_back_off`.

    Invariant: whoever is in `_starts` when the callback is called, when a round ends that began after it came,
    or when the thread ends, is woken.
    """

    def __init__(
        self, core: StoreCore, consumer: Consumer, callback: RecordCallback, retry: Retry, ended: Callable[[], None]
    ) -> None:
        self.consumer = consumer
        self._clock = core.clock
        self._timers = core.timers
        self._callback = callback
        self._retry = retry
        self._ended = ended
        self._stopped = False
        # Failed attempts at the record that each partition stands at, and the timers of those left alone.
        self._attempts: dict[TopicPartition, tuple[int, int]] = {}
        self._back_offs: dict[TopicPartition, Timer] = {}
        # Who waits for an attempt to start; nobody may while the user's code runs, which may wait for them.
        self._starts: set[Waiter] = set()
        self._attentive = True
        self.thread = WorkerThread(target=self._run, name="msglog-subscription", daemon=True)

    def stop(self) -> None:
        """End after the record in hand. From any thread, and from a signal handler: takes no lock."""
        self._stopped = True
        self.consumer.stop()

    def _run(self) -> None:
        try:
            with self.consumer:
                while not self._stopped:
                    self._work_until_due()
        except ClosedError:
            logger.debug("the store was closed: a worker of a subscription ends")
        except BaseException:
            # The end of a thread: nobody above would hear of it. What was in hand was not committed.
            logger.exception("a worker of a subscription failed and ends")
        finally:
            self._attentive = False
            for timer in self._back_offs.values():
                timer.cancel()
            self._tell(self._starts)
            self._ended()

    def _work_until_due(self) -> None:
        """Handle records until a partition may be tried again, or the end."""
        starts = set(self._starts)  # first of all: who comes later has the wait below end
        self._resume_due()
        due_ms = min((timer.due_ms for timer in self._back_offs.values()), default=None)
        for record in self.consumer.iter(0 if starts else None):
            if not self._handle(record) or self._stopped or self._is_due(due_ms):
                break
        self._tell(starts)

    def _is_due(self, due_ms: int | None) -> bool:
        return due_ms is not None and due_ms <= self._clock.monotonic_ms()

    def _handle(self, record: Record) -> bool:
        """Return whether the record is done with."""
        partition = TopicPartition(record.topic, record.partition)
        try:
            self._call(record)
        except Exception as error:  # noqa: BLE001 whatever it is, the back-off is the answer to it
            self._put_off(partition, record, error)
            return False
        self._attempts.pop(partition, None)
        return True

    def _call(self, record: Record) -> None:
        self._attentive = False
        self._tell(self._starts)
        try:
            self._callback(record)
        finally:
            self._attentive = True

    def _put_off(self, partition: TopicPartition, record: Record, error: Exception) -> None:
        offset, failed = self._attempts.pop(partition, (record.offset, 0))
        attempt = failed + 1 if offset == record.offset else 1
        delay_ms = self._retry.delay_for(attempt)
        if delay_ms is None:
            logger.error("giving up on %r after %d attempts", record, attempt, exc_info=error)
            return
        try:
            self.consumer.seek(partition, record.offset)
        except OffsetOutOfRangeError:
            logger.warning("attempt %d at %r failed, which was removed meanwhile", attempt, record, exc_info=error)
            return
        self.consumer.pause(partition)
        self._attempts[partition] = (record.offset, attempt)
        self._back_off(partition, delay_ms)
        logger.warning("attempt %d at %r failed, next in %d ms", attempt, record, delay_ms, exc_info=error)

    def _back_off(self, partition: TopicPartition, delay_ms: int) -> None:
        before = self._back_offs.get(partition)
        if before is not None:  # the partition was away in between, and came back unpaused
            before.cancel()
        due_ms = self._clock.monotonic_ms() + delay_ms
        self._back_offs[partition] = self._timers.schedule(due_ms, self._end_back_off)

    def _end_back_off(self) -> None:
        """Have the worker look at what is due; on the thread of the timers, or the one that advances the clock."""
        start = Waiter()
        if self._clock.manual:
            self._starts.add(start)
        self.consumer.interrupt_wait()
        # After a fork the thread is gone without having said so.
        if self._clock.manual and self._attentive and self.thread.is_alive():
            start.wait(None)

    def _tell(self, starts: set[Waiter]) -> None:
        for start in tuple(starts):
            self._starts.discard(start)
            start.wake()

    def _resume_due(self) -> None:
        now_ms = self._clock.monotonic_ms()
        assigned = self.consumer.assignment() if self._back_offs else frozenset()
        for partition, timer in tuple(self._back_offs.items()):
            if partition not in assigned:  # it went to another worker, which begins at the same record
                self._attempts.pop(partition, None)
            elif timer.due_ms <= now_ms:
                self.consumer.resume(partition)
            else:
                continue
            timer.cancel()
            del self._back_offs[partition]

"""Partitions that are left alone since their record failed: how often it did, and until when.

Such a partition is paused and sought back to the record, until a timer on the store's clock says that the back-off is
over: nothing looks at a clock while it waits, and the other partitions go on. Never waits itself: threads and tasks use
it, each in a loop of its own. Imported by `record_loop` and by the loop of tasks.
"""

import logging
from collections.abc import Callable
from contextlib import suppress

from msglog.errors import MsglogError, OffsetOutOfRangeError
from msglog.log.consumer import Consumer
from msglog.log.records import fields_of
from msglog.retry import Retry
from msglog.store import StoreCore
from msglog.types import Record, TopicPartition
from msglog.waiting import Timer

logger = logging.getLogger("msglog.subscription")


class BackOffs:
    """The back-offs of one consumer. `over` is called when one may have ended, by whoever the clock's time passes for.

    All else is for the thread that the consumer is for.
    """

    def __init__(self, core: StoreCore, consumer: Consumer, retry: Retry, over: Callable[[], None]) -> None:
        self._consumer = consumer
        self._clock = core.clock
        self._timers = core.timers
        self._retry = retry
        self._over = over
        # Failed attempts at the record that each partition stands at, and the timers of those left alone.
        self._attempts: dict[TopicPartition, tuple[int, int]] = {}
        self._left_alone: dict[TopicPartition, Timer] = {}

    @property
    def next_due_ms(self) -> int | None:
        """When the next one ends, on the clock's monotonic time; None when no partition is left alone."""
        return min((timer.due_ms for timer in self._left_alone.values()), default=None)

    def is_due(self, due_ms: int | None) -> bool:
        """Whether that time has come."""
        return due_ms is not None and due_ms <= self._clock.monotonic_ms()

    def succeeded(self, record: Record) -> None:
        """Forget failed attempts at a record that is done with."""
        if self._attempts:
            self._attempts.pop(TopicPartition(record.topic, record.partition), None)

    def failed(self, record: Record, error: Exception) -> int | None:
        """Put a record off; return the number of attempts instead when its retries are used up."""
        partition = TopicPartition(record.topic, record.partition)
        offset, failed = self._attempts.pop(partition, (record.offset, 0))
        attempt = failed + 1 if offset == record.offset else 1
        delay_ms = self._retry.delay_for(attempt)
        if delay_ms is None:
            return attempt
        self._put_off(partition, record, attempt, delay_ms, error)
        return None

    def _put_off(
        self, partition: TopicPartition, record: Record, attempt: int, delay_ms: int, error: Exception
    ) -> None:
        told = {**fields_of(record), "group": self._consumer.group, "event": "attempt_failed", "attempt": attempt}
        try:
            self._consumer.seek(partition, record.offset)
        except OffsetOutOfRangeError:
            logger.warning(
                "attempt %d at %r failed, which was removed meanwhile", attempt, record, exc_info=error, extra=told
            )
            return
        self._consumer.pause(partition)
        self._attempts[partition] = (record.offset, attempt)
        before = self._left_alone.get(partition)
        if before is not None:  # the partition was away in between, and came back unpaused
            before.cancel()
        due_ms = self._clock.monotonic_ms() + delay_ms
        self._left_alone[partition] = self._timers.schedule(due_ms, self._over)
        logger.warning(
            "attempt %d at %r failed, next in %d ms",
            attempt,
            record,
            delay_ms,
            exc_info=error,
            extra={**told, "delay_ms": delay_ms},
        )

    def resume_due(self) -> None:
        """Go on with the partitions whose back-off is over."""
        now_ms = self._clock.monotonic_ms()
        assigned = self._consumer.assignment() if self._left_alone else frozenset()
        for partition, timer in tuple(self._left_alone.items()):
            if partition not in assigned:  # it went to another consumer, which begins at the same record
                self._attempts.pop(partition, None)
            elif timer.due_ms <= now_ms:
                self._consumer.resume(partition)
            else:
                continue
            timer.cancel()
            del self._left_alone[partition]

    def end(self) -> None:
        """Leave no partition alone any more; each stands at the record that failed."""
        for partition, timer in self._left_alone.items():
            timer.cancel()
            with suppress(MsglogError):  # it is not ours any more, or the store was closed
                self._consumer.resume(partition)
        self._left_alone.clear()

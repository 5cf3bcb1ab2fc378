"""What becomes of a message whose processing ended with an exception: decided once, for threads and for tasks.

Nothing here waits or runs a transaction; the sources do, each in its manner. Invariant: a message is done with only by
a commit of its own; whatever exception goes on, the message is the next one, or back in its queue. Imported by
`sources` and by the sources of `aio`.
"""

import logging
from contextlib import suppress
from functools import partial
from typing import Any, Final

from msglog.broker import Delivery, QueueConsumer
from msglog.checks import refused
from msglog.errors import ClosedError, FencedError, GroupError, MsglogError, SettlementError, StoreFailedError
from msglog.log import Consumer, ShareConsumer, ShareRecord
from msglog.log.records import fields_of
from msglog.retry import Retry
from msglog.store import Store
from msglog.transactions.dead_letters import SUFFIX, DeadLetters
from msglog.types import Record, TopicPartition

logger = logging.getLogger("msglog.process")

_MOST_DELAY_MS: Final = 366 * 86_400_000


class ConsumerOutcomes:
    """Of records of topics: one that is to be done again is sought back to.

    `source`: what to show as the source in errors. Raises `InvalidOptionError`, `InvalidNameError`.
    """

    def __init__(self, store: Store, consumer: Consumer, source: object, dead_letter: str | None) -> None:
        if consumer.group is None or consumer.auto_commit:
            raise refused("source", source, "a consumer with a group and auto_commit=False")
        self._consumer = consumer
        self.dead_letters = DeadLetters(store, dead_letter)
        if dead_letter is None:
            consumer.leave_out(SUFFIX)

    def is_final(self, error: BaseException) -> bool:
        """Whether trying again is of no use."""
        return is_final(error) or self._is_shut_out(error)

    def _is_shut_out(self, error: BaseException) -> bool:
        """Whether partitions were assigned by hand while the group has members: nobody hands them to somebody else."""
        return isinstance(error, FencedError) and not self._consumer.is_member

    def is_lost(self, record: Record, error: BaseException, *, handled: bool, last: bool) -> bool:
        """Whether the record belongs to somebody else by now; else the error is to go on.

        `handled`: the error came after the handler had ended; `last`: nobody tries again after this one.
        """
        lost = handled and isinstance(error, GroupError) and not self._is_shut_out(error)
        if (lost or last or self.is_final(error)) and not (handled and self.is_done(record)):
            self.take_back(record)
        if lost:
            logger.info(
                "%r belongs to another member by now: %s",
                record,
                error,
                extra={"event": "not_processed", **_fields(record), "group": self._consumer.group},
            )
        return lost

    def is_done(self, record: Record) -> bool:
        """Whether its commit was written although an exception followed, as an interrupt in the wait for its sync."""
        with suppress(MsglogError):
            return self._consumer.committed(TopicPartition(record.topic, record.partition)) == record.offset + 1
        return False

    def take_back(self, record: Record) -> None:
        """Have a record handed out again: to us, or to who has the partition now."""
        with suppress(MsglogError):
            self._consumer.seek(TopicPartition(record.topic, record.partition), record.offset)


class _Settled:
    """Of messages that are settled one by one."""

    def __init__(self, retry: Retry) -> None:
        self._retry = retry

    @staticmethod
    def went_back(message: Delivery | ShareRecord, error: BaseException, *, handled: bool) -> bool:
        """Whether it left our hand while it was handled, and the transaction was refused for that."""
        if not (handled and isinstance(error, SettlementError)):
            return False
        logger.info(
            "%r went back before it was processed: %s",
            message,
            error,
            extra={"event": "not_processed", **_fields(message)},
        )
        return True

    @staticmethod
    def tell_gone(message: Delivery | ShareRecord, error: BaseException, gone: SettlementError) -> None:
        """Say that a message could not be put off or given back."""
        logger.warning(
            "%r was no longer in hand after an exception: %s",
            message,
            gone,
            exc_info=error,
            extra={"event": "settle_failed", **_fields(message)},
        )


class QueueOutcomes(_Settled):
    """Of messages of a queue; one that failed comes back after its back-off, and is rejected in the end.

    Raises `InvalidOptionError`.
    """

    def __init__(self, consumer: QueueConsumer, source: object, retry: Retry, dead_letter: str | None) -> None:
        super().__init__(retry)
        if consumer.no_ack:
            raise refused("source", source, "a consumer whose messages are acknowledged: no_ack=False")
        if dead_letter is not None:
            raise refused("dead_letter", dead_letter, "None for a queue, which has its own dead-letter exchange")

    def put_off(self, message: Delivery, error: Exception) -> int | None:
        """Give it back for later; return the number of attempts instead when its retries are used up."""
        attempts = message.delivery_count + 1
        delay_ms = self._retry.delay_for(attempts)
        if delay_ms is None:
            return attempts
        _tell_failed(message, attempts, delay_ms, error)
        message.nack(delay_ms=min(delay_ms, _MOST_DELAY_MS))
        return None

    @staticmethod
    def give_up(message: Delivery, attempts: int, error: Exception) -> None:
        """Reject it."""
        tell_given_up(message, None, attempts, error)
        message.reject()

    @staticmethod
    def give_back(message: Delivery) -> None:
        """Have it handed out again, unless its commit was written before the error came."""
        if not message.settled:
            message.nack()


class ShareOutcomes(_Settled):
    """Of records of a share group; one that failed stays in hand for its back-off, then goes to any member.

    In hand it is no longer than its lock: that ends the back-off, too. Raises `InvalidNameError`.
    """

    def __init__(self, store: Store, consumer: ShareConsumer, retry: Retry, dead_letter: str | None) -> None:
        super().__init__(retry)
        self._limit = consumer.delivery_limit
        self._core = store.core
        self.dead_letters = DeadLetters(store, dead_letter)
        if dead_letter is None:
            consumer.leave_out(SUFFIX)

    def check_deliveries(self, message: ShareRecord) -> None:
        """Raise for a record whose last delivery ended with its process or its lock: all that is left is to give it up.

        It is handed out once more for that, in `ShareConsumer.giving_up`.
        """
        if message.delivery_count > self._limit:
            raise RuntimeError(f"it was handed out {self._limit} times, and the last time ended before it was done")

    def put_off(self, message: ShareRecord, error: Exception) -> int | None:
        """Keep it for later; return the number of attempts instead when its retries are used up."""
        attempts = min(message.delivery_count, self._limit)
        delay_ms = self._retry.delay_for(attempts)
        if delay_ms is None or attempts >= self._limit:
            return attempts
        _tell_failed(message, attempts, delay_ms, error)
        if delay_ms:
            due_ms = self._core.clock.monotonic_ms() + delay_ms
            self._core.timers.schedule(due_ms, partial(_release, message))
        else:
            message.release()
        return None

    @staticmethod
    def give_back(message: ShareRecord) -> None:
        """Have it handed out again, unless its commit was written before the error came."""
        if not message.settled:
            message.release()


def _release(record: ShareRecord) -> None:
    with suppress(SettlementError, ClosedError):  # its lock has expired, or its consumer was closed
        record.release()


def is_final(error: BaseException) -> bool:
    """Whether the error ends the loop: it is no failure of a handler, or the store takes no more.

    The latter, too, where it is not known what became of the transaction.
    """
    if not isinstance(error, Exception):
        return True
    return isinstance(error, StoreFailedError | ClosedError) or getattr(error, "outcome", None) == "unknown"


def _tell_failed(message: Delivery | ShareRecord, attempt: int, delay_ms: int, error: Exception) -> None:
    logger.warning(
        "attempt %d at %r failed, next in %d ms",
        attempt,
        message,
        delay_ms,
        exc_info=error,
        extra={"event": "attempt_failed", **_fields(message), "attempt": attempt, "delay_ms": delay_ms},
    )


def tell_given_up(message: Record | Delivery, topic: str | None, attempts: int, error: Exception) -> None:
    """Say that a message becomes a dead letter, in a topic or by its queue."""
    logger.error(
        "%r %s after %d attempts",
        message,
        "is rejected" if topic is None else f"goes to {topic!r}",
        attempts,
        exc_info=error,
        extra={"event": "given_up", **_fields(message), "attempt": attempts, "dead_letter_topic": topic},
    )


def _fields(message: Any) -> dict[str, object]:
    return fields_of(message) if isinstance(message, Record) else {"queue": message.queue}

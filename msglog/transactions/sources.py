"""The sources of transactional processing: how a message of each is taken, settled in a transaction, and put off.

Invariant: a message is done with only by a commit of its own; whatever exception leaves `run`, the message in hand is
the next one, or back in its queue. Imported by `processing`.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol

from msglog.broker import Delivery, QueueConsumer
from msglog.checks import refused
from msglog.errors import ClosedError, FencedError, GroupError, MsglogError, SettlementError, StoreFailedError
from msglog.log import Consumer, ShareConsumer, ShareRecord
from msglog.log.record_loop import RecordLoop
from msglog.log.records import fields_of
from msglog.retry import Retry
from msglog.store import Store
from msglog.transactions.dead_letters import SUFFIX, DeadLetters
from msglog.transactions.transaction import Transaction
from msglog.types import Record, TopicPartition

logger = logging.getLogger("msglog.process")

Handler = Callable[[Transaction, Any], object]

_MOST_DELAY_MS: Final = 366 * 86_400_000


class Source(Protocol):
    """Something to process."""

    def run(self, timeout: float | None) -> int:
        """Process until it is stopped or dry; return how many messages are done with."""


class ConsumerSource:
    """Records of topics, in order within each partition; one that failed keeps its partition waiting."""

    def __init__(
        self, store: Store, consumer: Consumer, handler: Handler, retry: Retry, dead_letter: str | None
    ) -> None:
        if consumer.group is None or consumer.auto_commit:
            raise refused("source", consumer, "a consumer with a group and auto_commit=False")
        self._store = store
        self._consumer = consumer
        self._handler = handler
        self._dead_letters = DeadLetters(store, dead_letter)
        self._loop = RecordLoop(store.core, consumer, self, retry)
        if dead_letter is None:
            consumer.leave_out(SUFFIX)
        self._done = 0

    def run(self, timeout: float | None) -> int:
        """Process until the consumer is stopped or dry."""
        self._loop.run(timeout)
        return self._done

    def do(self, record: Record) -> bool:
        """Process one record; False when it is no longer ours."""
        return self._commit(record, self._handler)

    def is_final(self, error: Exception) -> bool:
        """Whether trying again is of no use."""
        return _is_final(error) or self._is_shut_out(error)

    def _is_shut_out(self, error: BaseException) -> bool:
        """Whether partitions were assigned by hand while the group has members: nobody hands them to somebody else."""
        return isinstance(error, FencedError) and not self._consumer.is_member

    def give_up(self, record: Record, attempts: int, error: Exception) -> None:
        """Write its dead letter; where that fails, the record is still to be done."""
        try:
            topic = self._dead_letters.topic_for(record)
        except BaseException:
            self._take_back(record)
            raise
        _tell_given_up(record, topic, attempts, error)
        self._commit(record, lambda tx, it: self._dead_letters.add(tx, topic, it, attempts, error), last=True)

    def _commit(self, record: Record, work: Handler, *, last: bool = False) -> bool:
        handled = False
        try:
            with self._store.transaction() as tx:
                work(tx, record)
                handled = True
                tx.commit_offsets(self._consumer, record)
        except BaseException as error:
            lost = handled and isinstance(error, GroupError) and not self._is_shut_out(error)
            ends = last or not isinstance(error, Exception) or self.is_final(error)
            if (lost or ends) and not (handled and self._is_done(record)):
                self._take_back(record)
            if lost:
                logger.info(
                    "%r belongs to another member by now: %s",
                    record,
                    error,
                    extra={"event": "not_processed", **_fields(record), "group": self._consumer.group},
                )
                return False
            raise
        self._done += 1
        return True

    def _is_done(self, record: Record) -> bool:
        """Whether the commit was written although an exception followed, as an interrupt in the wait for its sync."""
        with suppress(MsglogError):
            return self._consumer.committed(TopicPartition(record.topic, record.partition)) == record.offset + 1
        return False

    def _take_back(self, record: Record) -> None:
        """Have a record handed out again: to us, or to who has the partition now."""
        with suppress(MsglogError):
            self._consumer.seek(TopicPartition(record.topic, record.partition), record.offset)


class _Settled:
    """Messages that are settled one by one."""

    def __init__(self, store: Store, handler: Handler, retry: Retry) -> None:
        self._store = store
        self._handler = handler
        self._retry = retry
        self._done = 0

    def _process(self, message: Delivery | ShareRecord) -> None:
        handled = False
        try:
            with self._store.transaction() as tx:
                self._handler(tx, message)
                handled = True
                if message.pending:  # the handler may have settled it otherwise
                    tx.ack(message)
        except BaseException as error:
            if handled and isinstance(error, SettlementError):
                logger.info(
                    "%r went back before it was processed: %s",
                    message,
                    error,
                    extra={"event": "not_processed", **_fields(message)},
                )
                return
            self._let_go(message, error)
            if not isinstance(error, Exception) or _is_final(error):
                raise
            return
        self._done += 1

    def _let_go(self, message: Delivery | ShareRecord, error: BaseException) -> None:
        """Do with a message what is to be done after an exception; nothing keeps it in hand."""
        try:
            if isinstance(error, Exception) and not _is_final(error):
                self._fail(message, error)
            else:
                self._give_back(message)
        except SettlementError as gone:
            logger.warning(
                "%r was no longer in hand after an exception: %s",
                message,
                gone,
                exc_info=error,
                extra={"event": "settle_failed", **_fields(message)},
            )
        except BaseException:
            with suppress(MsglogError):
                self._give_back(message)
            raise

    def _fail(self, message: Any, error: Exception) -> None:
        raise NotImplementedError

    def _give_back(self, message: Any) -> None:
        raise NotImplementedError


class QueueSource(_Settled):
    """Messages of a queue; one that failed comes back after its back-off, and is rejected in the end."""

    def __init__(
        self, store: Store, consumer: QueueConsumer, handler: Handler, retry: Retry, dead_letter: str | None
    ) -> None:
        super().__init__(store, handler, retry)
        if consumer.no_ack:
            raise refused("source", consumer, "a consumer whose messages are acknowledged: no_ack=False")
        if dead_letter is not None:
            raise refused("dead_letter", dead_letter, "None for a queue, which has its own dead-letter exchange")
        self._consumer = consumer

    def run(self, timeout: float | None) -> int:
        """Process until the consumer is stopped or dry."""
        for delivery in self._consumer.iter(timeout):
            self._process(delivery)
        return self._done

    def _fail(self, message: Delivery, error: Exception) -> None:
        attempts = message.delivery_count + 1
        delay_ms = self._retry.delay_for(attempts)
        if delay_ms is None:
            _tell_given_up(message, None, attempts, error)
            message.reject()
            self._done += 1
        else:
            _tell_failed(message, attempts, delay_ms, error)
            message.nack(delay_ms=min(delay_ms, _MOST_DELAY_MS))

    def _give_back(self, message: Delivery) -> None:
        message.nack()


class ShareSource(_Settled):
    """Records of a share group; one that failed stays in hand for its back-off, then goes to any member.

    In hand it is no longer than its lock: that ends the back-off, too.
    """

    def __init__(
        self, store: Store, consumer: ShareConsumer, handler: Handler, retry: Retry, dead_letter: str | None
    ) -> None:
        super().__init__(store, handler, retry)
        self._consumer = consumer
        self._core = store.core
        self._dead_letters = DeadLetters(store, dead_letter)
        if dead_letter is None:
            consumer.leave_out(SUFFIX)

    def run(self, timeout: float | None) -> int:
        """Process until the consumer is stopped or dry."""
        for record in self._consumer.iter(timeout):
            self._process(record)
        return self._done

    def _fail(self, message: ShareRecord, error: Exception) -> None:
        attempts = message.delivery_count
        delay_ms = self._retry.delay_for(attempts)
        if delay_ms is None or attempts >= self._consumer.delivery_limit:
            topic = self._dead_letters.topic_for(message)
            _tell_given_up(message, topic, attempts, error)
            with self._store.transaction() as tx:
                self._dead_letters.add(tx, topic, message, attempts, error)
                tx.reject(message)
            self._done += 1
        else:
            _tell_failed(message, attempts, delay_ms, error)
            if delay_ms:
                due_ms = self._core.clock.monotonic_ms() + delay_ms
                self._core.timers.schedule(due_ms, partial(_release, message))
            else:
                message.release()

    def _give_back(self, message: ShareRecord) -> None:
        message.release()


def _release(record: ShareRecord) -> None:
    with suppress(SettlementError, ClosedError):  # its lock has expired, or its consumer was closed
        record.release()


def _is_final(error: Exception) -> bool:
    """Whether the store takes no more, or it is not known what became of the transaction."""
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


def _tell_given_up(message: Record | Delivery, topic: str | None, attempts: int, error: Exception) -> None:
    logger.error(
        "%r %s after %d attempts",
        message,
        "is rejected" if topic is None else f"goes to {topic!r}",
        attempts,
        exc_info=error,
        extra={"event": "given_up", **_fields(message), "attempt": attempts, "dead_letter_topic": topic},
    )


def _fields(message: Record | Delivery) -> dict[str, object]:
    return fields_of(message) if isinstance(message, Record) else {"queue": message.queue}

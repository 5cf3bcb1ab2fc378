"""The sources of transactional processing, for threads: each message is handled and settled in a transaction.

What becomes of one after an exception is decided by `outcomes`. Imported by `processing`.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

from msglog.broker import Delivery, QueueConsumer
from msglog.checks import check_ran
from msglog.errors import MsglogError, SettlementError
from msglog.log import Consumer, ShareConsumer, ShareRecord
from msglog.log.record_loop import RecordLoop
from msglog.retry import Retry
from msglog.store import Store
from msglog.transactions.outcomes import ConsumerOutcomes, QueueOutcomes, ShareOutcomes, is_final, tell_given_up
from msglog.transactions.transaction import Transaction
from msglog.types import Record

Handler = Callable[[Transaction, Any], object]

O = TypeVar("O", QueueOutcomes, ShareOutcomes)  # noqa: E741 of outcomes


class Source(Protocol):
    """Something to process."""

    def run(self, timeout: float | None) -> int:
        """Process until it is stopped or dry; return how many messages are done with."""


class ConsumerSource:
    """Records of topics, in order within each partition; one that failed keeps its partition waiting."""

    def __init__(
        self, store: Store, consumer: Consumer, handler: Handler, retry: Retry, dead_letter: str | None
    ) -> None:
        self._store = store
        self._consumer = consumer
        self._handler = handler
        self._outcomes = ConsumerOutcomes(store, consumer, consumer, dead_letter)
        self._loop = RecordLoop(store.core, consumer, self, retry)
        self._done = 0

    def run(self, timeout: float | None) -> int:
        """Process until the consumer is stopped or dry."""
        try:
            self._loop.run(timeout)
        except BaseException:  # an interrupt on the way to the transaction, or from it
            record = self._loop.record
            if record is not None and not self._outcomes.is_done(record):
                self._outcomes.take_back(record)
            raise
        return self._done

    def do(self, record: Record) -> bool:
        """Process one record; False when it is no longer ours."""
        return self._commit(record, self._handler)

    def is_final(self, error: Exception) -> bool:
        """Whether trying again is of no use."""
        return self._outcomes.is_final(error)

    def give_up(self, record: Record, attempts: int, error: Exception) -> None:
        """Write its dead letter; where that fails, the record is still to be done."""
        letters = self._outcomes.dead_letters
        try:
            topic = letters.topic_for(record)
        except BaseException:
            self._outcomes.take_back(record)
            raise
        tell_given_up(record, topic, attempts, error)
        self._commit(record, lambda tx, it: letters.add(tx, topic, it, attempts, error), last=True)

    def _commit(self, record: Record, work: Handler, *, last: bool = False) -> bool:
        handled = False
        try:
            with self._store.transaction() as tx:
                check_ran("handler", work(tx, record))
                handled = True
                tx.commit_offsets(self._consumer, record)
        except BaseException as error:
            if self._outcomes.is_lost(record, error, handled=handled, last=last):
                return False
            raise
        self._done += 1
        return True


class _Settled(Generic[O]):
    """Messages that are settled one by one."""

    _outcomes: O

    def __init__(self, store: Store, handler: Handler) -> None:
        self._store = store
        self._handler = handler
        self._done = 0

    def run(self, timeout: float | None) -> int:
        """Process until the consumer is stopped or dry."""
        message = None
        try:
            for message in self._messages(timeout):
                self._process(message)
                message = None  # noqa: PLW2901 nothing is in hand
        except BaseException:
            if message is not None and message.pending:  # an interrupt on the way to its transaction, or from it
                with suppress(MsglogError):
                    self._outcomes.give_back(message)
            raise
        return self._done

    def _messages(self, timeout: float | None) -> Iterator[Any]:
        raise NotImplementedError

    def _process(self, message: Any) -> None:
        handled = False
        try:
            with self._store.transaction() as tx:
                check_ran("handler", self._handler(tx, message))
                handled = True
                if message.pending:  # the handler may have settled it otherwise
                    tx.ack(message)
        except BaseException as error:
            if self._outcomes.went_back(message, error, handled=handled):
                return
            self._let_go(message, error)
            if is_final(error):
                raise
            return
        self._done += 1

    def _let_go(self, message: Any, error: BaseException) -> None:
        """Do with a message what is to be done after an exception; nothing keeps it in hand."""
        try:
            if is_final(error) or not isinstance(error, Exception):
                self._outcomes.give_back(message)
                return
            attempts = self._outcomes.put_off(message, error)
            if attempts is not None:
                self._give_up(message, attempts, error)
                self._done += 1
        except SettlementError as gone:
            self._outcomes.tell_gone(message, error, gone)
        except BaseException:
            with suppress(MsglogError):
                self._outcomes.give_back(message)
            raise

    def _give_up(self, message: Any, attempts: int, error: Exception) -> None:
        raise NotImplementedError


class QueueSource(_Settled[QueueOutcomes]):
    """Messages of a queue."""

    def __init__(
        self, store: Store, consumer: QueueConsumer, handler: Handler, retry: Retry, dead_letter: str | None
    ) -> None:
        super().__init__(store, handler)
        self._outcomes = QueueOutcomes(consumer, consumer, retry, dead_letter)
        self._consumer = consumer

    def _messages(self, timeout: float | None) -> Iterator[Delivery]:
        return self._consumer.iter(timeout)

    def _give_up(self, message: Delivery, attempts: int, error: Exception) -> None:
        self._outcomes.give_up(message, attempts, error)


class ShareSource(_Settled[ShareOutcomes]):
    """Records of a share group."""

    def __init__(
        self, store: Store, consumer: ShareConsumer, handler: Handler, retry: Retry, dead_letter: str | None
    ) -> None:
        super().__init__(store, self._handle)
        self._user_handler = handler
        self._outcomes = ShareOutcomes(store, consumer, retry, dead_letter)
        self._consumer = consumer

    def run(self, timeout: float | None) -> int:
        """Process until the consumer is stopped or dry."""
        with self._consumer.giving_up():
            return super().run(timeout)

    def _handle(self, tx: Transaction, message: ShareRecord) -> object:
        self._outcomes.check_deliveries(message)
        return self._user_handler(tx, message)

    def _messages(self, timeout: float | None) -> Iterator[ShareRecord]:
        return self._consumer.iter(timeout)

    def _give_up(self, message: ShareRecord, attempts: int, error: Exception) -> None:
        letters = self._outcomes.dead_letters
        topic = letters.topic_for(message)
        tell_given_up(message, topic, attempts, error)
        with self._store.transaction() as tx:
            letters.add(tx, topic, message, attempts, error)
            tx.reject(message)

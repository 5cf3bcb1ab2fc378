"""The sources of transactional processing, for tasks: each message is handled and settled in a transaction.

As those of threads (`msglog.transactions.sources`) with awaits; what becomes of a message after an exception, a
cancellation among them, is decided by the same `outcomes`. Nothing is awaited between taking a message and the
transaction for it, nor between the end of that and the decision. Imported by `processing`.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

import msglog
from msglog.aio.calls import now, run
from msglog.aio.consumer import Consumer, ShareConsumer
from msglog.aio.queue_consumer import QueueConsumer
from msglog.aio.record_loop import TaskLoop
from msglog.aio.tasks import Cancellations
from msglog.broker import Delivery
from msglog.errors import MsglogError, SettlementError
from msglog.log import ShareRecord
from msglog.retry import Retry
from msglog.transactions.outcomes import ConsumerOutcomes, QueueOutcomes, ShareOutcomes, is_final, tell_given_up
from msglog.transactions.transaction import Transaction
from msglog.types import Record

Handler = Callable[[Transaction, Any], Awaitable[object]]

O = TypeVar("O", QueueOutcomes, ShareOutcomes)  # noqa: E741 of outcomes


class Source(Protocol):
    """Something to process."""

    async def run(self, timeout: float | None) -> int:
        """Process until it is stopped or dry; return how many messages are done with."""


class ConsumerSource:
    """Records of topics, in order within each partition; one that failed keeps its partition waiting."""

    def __init__(
        self, store: msglog.Store, consumer: Consumer, handler: Handler, retry: Retry, dead_letter: str | None
    ) -> None:
        self._store = store
        self._consumer = consumer
        self._handler = handler
        self._outcomes = ConsumerOutcomes(store, consumer.sync, consumer, dead_letter)
        self._loop = TaskLoop(store.core, consumer, self, retry)
        self._done = 0

    async def run(self, timeout: float | None) -> int:
        """Process until the consumer is stopped or dry."""
        await self._loop.run(timeout)
        return self._done

    async def do(self, record: Record) -> bool:
        """Process one record; False when it is no longer ours."""
        return await self._commit(record, self._handler)

    def is_final(self, error: Exception) -> bool:
        """Whether trying again is of no use."""
        return self._outcomes.is_final(error)

    async def give_up(self, record: Record, attempts: int, error: Exception) -> None:
        """Write its dead letter; where that fails, the record is still to be done."""
        letters = self._outcomes.dead_letters

        async def add(tx: Transaction, it: Record) -> None:
            letters.add(tx, topic, it, attempts, error)

        try:
            topic = await run(letters.topic_for, record)
        except BaseException:
            self._outcomes.take_back(record)
            raise
        tell_given_up(record, topic, attempts, error)
        await self._commit(record, add, last=True)

    async def _commit(self, record: Record, work: Handler, *, last: bool = False) -> bool:
        handled = False
        try:
            async with self._store.transaction() as tx:
                await work(tx, record)
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

    def __init__(self, store: msglog.Store, handler: Handler) -> None:
        self._store = store
        self._handler = handler
        self._done = 0

    async def _process(self, message: Any) -> None:
        handled = False
        try:
            async with self._store.transaction() as tx:
                await self._handler(tx, message)
                handled = True
                if message.pending:  # the handler may have settled it otherwise
                    tx.ack(message)
        except BaseException as error:
            if self._outcomes.went_back(message, error, handled=handled):
                return
            await self._let_go(message, error)
            if is_final(error):
                raise
            return
        self._done += 1

    async def _let_go(self, message: Any, error: BaseException) -> None:
        """Do with a message what is to be done after an exception; nothing keeps it in hand."""
        try:
            if is_final(error) or not isinstance(error, Exception):
                now(self._outcomes.give_back, message)
                return
            attempts = now(self._outcomes.put_off, message, error)
            if attempts is not None:
                await self._give_up(message, attempts, error)
                self._done += 1
        except SettlementError as gone:
            self._outcomes.tell_gone(message, error, gone)
        except BaseException:
            with suppress(MsglogError):
                now(self._outcomes.give_back, message)
            raise

    async def _give_up(self, message: Any, attempts: int, error: Exception) -> None:
        raise NotImplementedError


class QueueSource(_Settled[QueueOutcomes]):
    """Messages of a queue."""

    def __init__(
        self, store: msglog.Store, consumer: QueueConsumer, handler: Handler, retry: Retry, dead_letter: str | None
    ) -> None:
        super().__init__(store, handler)
        self._outcomes = QueueOutcomes(consumer.sync, consumer, retry, dead_letter)
        self._consumer = consumer

    async def run(self, timeout: float | None) -> int:
        """Process until the consumer is stopped or dry."""
        cancellations = Cancellations()
        async for delivery in self._consumer.iter(timeout):
            await self._process(delivery)
            await cancellations.raise_lost()
        return self._done

    async def _give_up(self, message: Delivery, attempts: int, error: Exception) -> None:
        now(self._outcomes.give_up, message, attempts, error)


class ShareSource(_Settled[ShareOutcomes]):
    """Records of a share group."""

    def __init__(
        self, store: msglog.Store, consumer: ShareConsumer, handler: Handler, retry: Retry, dead_letter: str | None
    ) -> None:
        super().__init__(store, self._handle)
        self._user_handler = handler
        self._outcomes = ShareOutcomes(store, consumer.sync, retry, dead_letter)
        self._consumer = consumer

    async def run(self, timeout: float | None) -> int:
        """Process until the consumer is stopped or dry."""
        cancellations = Cancellations()
        with self._consumer.sync.giving_up():
            async for record in self._consumer.iter(timeout):
                await self._process(record)
                await cancellations.raise_lost()
        return self._done

    async def _handle(self, tx: Transaction, message: ShareRecord) -> object:
        self._outcomes.check_deliveries(message)
        return await self._user_handler(tx, message)

    async def _give_up(self, message: ShareRecord, attempts: int, error: Exception) -> None:
        letters = self._outcomes.dead_letters
        topic = await run(letters.topic_for, message)
        tell_given_up(message, topic, attempts, error)
        async with self._store.transaction() as tx:
            letters.add(tx, topic, message, attempts, error)
            tx.reject(message)

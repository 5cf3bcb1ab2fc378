"""The public class of a transaction. Exported by `msglog`.

A transaction only collects until its block is left. Then everything is decided and written in one go, under the locks
of broker, share groups and store, in this order; waiting for the sync holds none. Invariant: whatever happens before
the commit is written leaves nothing behind.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import Any, NamedTuple, Self

from msglog.broker import Delivery, Message, Properties
from msglog.broker.publications import check_delay
from msglog.broker.staging import BrokerStage
from msglog.checks import check_flag, wrong_type
from msglog.errors import MsglogError, ReadOnlyError, TransactionError, TransactionTooLargeError
from msglog.log import Consumer, Producer, ShareRecord
from msglog.log.appending import HeadersArgument
from msglog.log.staging import LogStage
from msglog.storage.options import MAX_COMMIT_BYTES
from msglog.store import Store, StoreCore
from msglog.transactions import scope
from msglog.transactions.looping import wait_off_the_loop
from msglog.types import Record, RecordMetadata, TopicPartition


class _Attempt(NamedTuple):
    """One try to commit: the commit to wait for, whether it is over or has to be made again, and why it is refused."""

    number: int
    over: bool = True
    refusal: MsglogError | None = None


class _State(Enum):
    NEW = "has not begun: use it as `with store.transaction() as tx:`"
    OPEN = "is open"
    ROLLED_BACK = "was rolled back"
    COMMITTED = "was committed"
    FAILED = "has failed"


class Transaction:
    """Appends, publications, settlements and group offsets in one commit; made by `Store.transaction`.

    `with store.transaction() as tx:` collects what the methods of `tx` are given; nothing is written, and no lock held,
    before the block is left. Leaving it decides everything against the state of that moment (routing, dead letters,
    limits, expected offsets, fencing), writes one commit, and returns when that is as durable as the store's `sync`
    promises: one sync for all of it. Readers and consumers see all of it or nothing. An exception in the block, or a
    refusal when it is left, means that nothing happened: deliveries stay unsettled in their consumers' hands, offsets
    where they were. `StoreFailedError`, or an interrupt that strikes the commit itself, leaves the outcome unknown
    (`error.outcome`).

    Methods raise at once what can be known before the commit: types, sizes, names that do not exist. Leaving raises the
    rest: `FencedError`, `RebalanceError`, `OffsetConflictError`, `SettlementError` for a delivery that went back to its
    queue meanwhile, `UnroutableError`, `PublishRejectedError`, `TransactionTooLargeError`, `DiskFullError`,
    `ClosedError` when the store was closed.

    At most 256 MiB fit, copies for several queues and dead letters counted. A transaction belongs to the thread or the
    task of asyncio that entered it; one inside another on the same store is a `TransactionError`. With `async with` the
    wait for the sync blocks no event loop.

    Dead letters, and what length limits drop from the head of a queue, are part of the commit. What a single
    transaction itself has too much for a queue goes in a commit that follows.
    """

    _state = _State.NEW

    def __init__(self, core: StoreCore, producer: Producer | None) -> None:
        self._core = core
        self._engine = core.engine
        self._log = LogStage.of(core, producer)
        self._broker: BrokerStage | None = None
        self._owner: scope.Owner | None = None
        self._size = 0

    @classmethod
    def begin(cls, store: Store, *, producer: Producer | None) -> Self:
        """Return a transaction that is to be entered; not public."""
        core = store.core
        core.engine.check_open()
        if core.engine.readonly:
            raise ReadOnlyError(f"the store {core.path} was opened with readonly=True", path=core.path)
        return cls(core, producer)

    @property
    def metadata(self) -> list[RecordMetadata]:
        """Where the records are, in the order of the calls, after the commit. Raises `TransactionError` before."""
        if self._state is not _State.COMMITTED:
            raise TransactionError(f"there is no metadata before the commit, and the transaction {self._state.value}")
        return self._log.metadata

    # The log

    def append(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: HeadersArgument = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
        expected_offset: int | None = None,
        expected_key_offset: int | None = None,
        sequence: int | None = None,
    ) -> None:
        """Append one record. Arguments as for `Log.append`, and with a producer as for `Producer.append`.

        `expected_offset` counts what the transaction appends before; `expected_key_offset` is about the last record of
        the key before the transaction.
        """
        self._check_open()
        size = self._log.append(
            topic,
            value,
            sequence,
            key=key,
            headers=headers,
            partition=partition,
            timestamp_ms=timestamp_ms,
            expected_offset=expected_offset,
            expected_key_offset=expected_key_offset,
        )
        self._grow(size)

    def append_many(
        self,
        topic: str,
        values: Iterable[bytes | None],
        *,
        key: bytes | None = None,
        keys: Iterable[bytes | None] | None = None,
        headers: Iterable[HeadersArgument | None] | None = None,
        partition: int | None = None,
        timestamps_ms: Iterable[int] | None = None,
        expected_offset: int | None = None,
        expected_key_offset: int | None = None,
        first_sequence: int | None = None,
    ) -> None:
        """Append many records. Arguments as for `Log.append_many` and `Producer.append_many`; see `append`."""
        self._check_open()
        size = self._log.append_many(
            topic,
            values,
            first_sequence,
            key=key,
            keys=keys,
            headers=headers,
            partition=partition,
            timestamps_ms=timestamps_ms,
            expected_offset=expected_offset,
            expected_key_offset=expected_key_offset,
        )
        self._grow(size)

    def commit_offsets(
        self,
        consumer_or_group: Consumer | str,
        upto: Record | Mapping[TopicPartition, int] | None = None,
    ) -> None:
        """Commit a group's offsets, for one of its consumers, or for a group without members by its name.

        `upto`: as for `Consumer.commit`; None, for a consumer only, means its positions at this call. The commit raises
        `FencedError` or `RebalanceError` when the partitions are no longer the consumer's.
        """
        self._check_open()
        self._log.commit_offsets(consumer_or_group, upto)

    # The broker

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        headers: Mapping[str, Any] | None = None,
        properties: Properties | None = None,
        priority: int | None = None,
        expiration_ms: int | None = None,
        delay_ms: int | None = None,
        persistent: bool = True,
        mandatory: bool = False,
    ) -> None:
        """Publish a message. Arguments as for `Broker.publish`; routed at the commit, which waits for its sync."""
        self._check_open()
        size = self._stage().publish(
            exchange,
            routing_key,
            body,
            headers=headers,
            properties=properties,
            priority=priority,
            expiration_ms=expiration_ms,
            delay_ms=delay_ms,
            persistent=persistent,
            mandatory=mandatory,
        )
        self._grow(size)

    def send(
        self,
        queue: str,
        body: bytes,
        *,
        headers: Mapping[str, Any] | None = None,
        properties: Properties | None = None,
        priority: int | None = None,
        expiration_ms: int | None = None,
        delay_ms: int | None = None,
        persistent: bool = True,
    ) -> None:
        """Publish a message to one queue, by name. Arguments as for `Broker.send`.

        `QueueNotFoundError` is raised now, or at the commit when the queue was deleted meanwhile.
        """
        self._check_open()
        size = self._stage().publish(
            "",
            queue,
            body,
            headers=headers,
            properties=properties,
            priority=priority,
            expiration_ms=expiration_ms,
            delay_ms=delay_ms,
            persistent=persistent,
            mandatory=False,
            send=True,
        )
        self._grow(size)

    def publish_many(
        self,
        exchange: str,
        messages: Iterable[tuple[str, bytes] | Message],
        *,
        persistent: bool = True,
        mandatory: bool = False,
    ) -> None:
        """Publish many messages. Arguments as for `Broker.publish_many`."""
        self._check_open()
        self._grow(self._stage().publish_many(exchange, messages, persistent=persistent, mandatory=mandatory))

    # Settling

    def ack(self, delivery: Delivery | ShareRecord) -> None:
        """Settle a delivery or a share record: the work is done with the commit.

        Raises `SettlementError` when it was settled, is part of a transaction already, or is of another store; so do
        `nack` and `reject`.
        """
        self._check_open()
        if isinstance(delivery, ShareRecord):
            self._log.settle(delivery, release=False)
        else:
            self._stage().settle(_checked(delivery), "ack")

    def nack(
        self,
        delivery: Delivery | ShareRecord,
        requeue: bool = True,  # noqa: FBT001, FBT002 as AMQP has it
        *,
        delay_ms: int = 0,
    ) -> None:
        """Give a delivery back, or release a share record, with the commit; without `requeue` reject it.

        `delay_ms`: as for `Delivery.nack`; a share record comes back at once.
        """
        self._check_open()
        check_flag("requeue", requeue)
        check_delay(delay_ms)
        if isinstance(delivery, ShareRecord):
            self._log.settle(delivery, release=requeue)
        else:
            self._stage().settle(_checked(delivery), "requeue" if requeue else "reject", delay_ms)

    def reject(self, delivery: Delivery | ShareRecord) -> None:
        """Dead-letter a delivery, or settle a share record without the work being done, with the commit."""
        self.nack(delivery, requeue=False)

    # The end

    def rollback(self) -> None:
        """Forget everything: the transaction is over, and leaving its block does nothing more.

        Deliveries and share records can be settled otherwise; positions of consumers stay where they are
        (`seek_to_committed()` goes back).
        """
        self._check_open()
        self._end(_State.ROLLED_BACK)

    def __enter__(self) -> Self:
        if self._state is not _State.NEW:
            raise TransactionError(f"the transaction {self._state.value}: it cannot be entered again")
        owner = scope.current_owner()
        scope.enter(self._core, owner, self)
        self._owner = owner
        self._state = _State.OPEN
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._is_to_commit(error):
                for number in self._attempts():
                    self._engine.wait(number)
        except BaseException:
            self._end(_State.FAILED)
            self._follow()
            raise

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._is_to_commit(error):
                for number in self._attempts():
                    await wait_off_the_loop(self._engine, number)
        except BaseException:
            self._end(_State.FAILED)
            self._follow()
            raise

    def _is_to_commit(self, error: BaseException | None) -> bool:
        if error is None and self._state in (_State.OPEN, _State.FAILED):
            self._check_open()  # whoever caught the error that it failed with hears of it again
            return True
        self._end(_State.ROLLED_BACK)
        return False

    def _attempts(self) -> Iterator[int]:
        """Commit, and yield each commit that is to be waited for in between. Raises why there is none."""
        over = False
        while not over:
            number, over, refusal = self._attempt()
            yield number
            if refusal is not None:
                raise refusal
        self._end(_State.COMMITTED)
        if self._broker is not None:
            self._broker.attend()

    def _attempt(self) -> _Attempt:
        """Decide and write; what a refusal saw may not be durable yet, so it is raised after the sync of that."""
        self._log.prepare()
        broker = self._broker
        if broker is None:
            return self._decide_and_write(None)
        with broker.lock:
            try:
                attempt = self._decide_and_write(broker)
                if attempt.over and attempt.refusal is None:
                    broker.written()
            except BaseException:
                broker.failed()
                raise
        return attempt

    def _decide_and_write(self, broker: BrokerStage | None) -> _Attempt:
        """Do the part below the broker's lock."""
        engine = self._engine
        if engine.obstacle is not None:
            with engine.lock:
                engine.begin()  # a commit that was interrupted is finished before anything is decided
        refusal = None if broker is None else _refusal_of(broker.decide)
        with self._log.lock, engine.lock:
            commit = engine.begin()
            if refusal is None and not self._log.is_ready():
                return _Attempt(engine.commit_number, over=False)
            refusal = refusal or _refusal_of(self._log.fill, commit)
            if refusal is not None:
                return _Attempt(engine.commit_number, refusal=refusal)
            if broker is not None:
                broker.fill(commit)
            number = commit.write()
            self._log.written()
        return _Attempt(number)

    def _follow(self) -> None:
        """It failed, which an interrupt or a cancelled wait may have done after it was written: let memory follow."""
        with suppress(MsglogError):  # nothing more can be done, and the exception that came first is what counts
            if self._engine.obstacle is not None:
                with self._engine.lock:
                    self._engine.clear_obstacle()
            if self._broker is not None:
                self._broker.attend()

    def _end(self, state: _State) -> None:
        if self._owner is not None:
            scope.leave(self._core, self._owner)
        if self._state in (_State.NEW, _State.OPEN):
            self._state = state
        self._end_stages()

    def _end_stages(self) -> None:
        self._log.end()
        if self._broker is not None:
            self._broker.end()

    # Inside

    def _check_open(self) -> None:
        if self._state is not _State.OPEN:
            raise TransactionError(f"the transaction {self._state.value}")
        if self._owner != scope.current_owner():
            raise TransactionError("the transaction belongs to another thread or task")
        if self._engine.closed:
            self._engine.check_open()

    def _stage(self) -> BrokerStage:
        if self._broker is None:
            self._broker = BrokerStage.of(self._core)
        return self._broker

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > MAX_COMMIT_BYTES:
            self._end(_State.FAILED)
            raise TransactionTooLargeError(
                f"the transaction has {self._size} bytes, at most {MAX_COMMIT_BYTES} fit: it is rolled back",
                size=self._size,
                limit=MAX_COMMIT_BYTES,
            )

    def __del__(self) -> None:
        if self._state is not _State.NEW:  # dropped without its end, or an interrupt struck that
            self._end_stages()

    def __repr__(self) -> str:
        return f"<msglog.Transaction {self._state.name.lower()} of {self._core.path!r}>"


def _refusal_of(decide: Callable[..., None], *arguments: Any) -> MsglogError | None:
    """Return the error that a decision ends with, None when nothing stands in the way."""
    try:
        decide(*arguments)
    except MsglogError as error:
        return error
    return None


def _checked(delivery: object) -> Delivery:
    if not isinstance(delivery, Delivery):
        raise wrong_type("delivery", delivery, "a Delivery or a ShareRecord")
    return delivery

"""The public class of a transaction. Exported by `msglog`.

A transaction only collects until its block is left. Then everything is decided and written in one go, under the locks
of broker, share groups and store, in this order; waiting for the sync holds none. Invariant: whatever happens before
the commit is written leaves nothing behind.
"""

from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

from msglog.broker.staging import BrokerStage
from msglog.errors import MsglogError, ReadOnlyError, TransactionError
from msglog.log import Producer
from msglog.showing import one_line
from msglog.store import Store
from msglog.transactions import scope
from msglog.transactions.collecting import NEW, OPEN, Collecting, State
from msglog.transactions.looping import wait_off_the_loop
from msglog.types import RecordMetadata

_COMMITTED = State.COMMITTED
_new_tuple = tuple.__new__  # half of what the constructor costs


class _Attempt(NamedTuple):
    """One try to commit: the commit to wait for, whether it is over or has to be made again, and why it is refused."""

    number: int
    over: bool = True
    refusal: MsglogError | None = None


class Transaction(Collecting):
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

    __slots__ = ()

    @classmethod
    def begin(cls, store: Store, *, producer: Producer | None) -> Self:
        """Return a transaction that is to be entered; not public."""
        core = store.core
        engine = core.engine
        if engine.closed:
            engine.check_open()
        if engine.readonly:
            raise ReadOnlyError(f"the store {core.path} was opened with readonly=True", path=core.path)
        return cls(core, producer)

    @property
    def metadata(self) -> list[RecordMetadata]:
        """Where the records are, in the order of the calls, after the commit. Raises `TransactionError` before."""
        if self._state is not State.COMMITTED:
            raise TransactionError(f"there is no metadata before the commit, and the transaction {self._state.value}")
        return self._log.metadata

    # The end

    def rollback(self) -> None:
        """Forget everything: the transaction is over, and leaving its block does nothing more.

        Deliveries and share records can be settled otherwise; positions of consumers stay where they are
        (`seek_to_committed()` goes back).
        """
        self._check_open()
        self._end(State.ROLLED_BACK)

    def __enter__(self) -> Self:
        if self._state is not NEW:
            raise TransactionError(f"the transaction {self._state.value}: it cannot be entered again")
        self._owner = owner = scope.enter(self._core, self)
        if owner[1] is None:
            self._thread = owner[0]
        self._state = OPEN
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._is_to_commit(error):
                self._waits = True
                for number in self._attempts():
                    self._engine.wait(number)
        except BaseException:
            self._end(State.FAILED)
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
            self._end(State.FAILED)
            self._follow()
            raise

    def _is_to_commit(self, error: BaseException | None) -> bool:
        if error is None and (self._state is OPEN or self._state is State.FAILED):
            self._check_open()  # whoever caught the error that it failed with hears of it again
            return True
        self._end(State.ROLLED_BACK)
        return False

    def _attempts(self) -> Iterator[int]:
        """Commit, and yield each commit that is to be waited for in between. Raises why there is none."""
        over, broker = False, self._broker
        while not over:
            number, over, refusal = self._attempt()
            if over and refusal is None:
                self._log.end()  # while the disk works
                if broker is not None:
                    broker.forget()
            yield number
            if refusal is not None:
                raise refusal
        # What `_end` does; the log's part has ended.
        if self._owner is not None:
            scope.leave(self._core, self._owner)
        if self._state is OPEN:
            self._state = _COMMITTED
        if broker is not None:
            broker.end()
        self._over = True  # last: an interrupt may strike before
        if broker is not None:
            broker.attend()

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
        log = self._log
        try:
            if broker is not None:
                broker.decide()
        except MsglogError as error:
            with log.lock, engine.lock:
                engine.begin()
                return _Attempt(engine.commit_number, refusal=error)
        with log.lock, engine.lock:
            commit = engine.begin()
            if not log.is_ready():
                return _Attempt(engine.commit_number, over=False)
            try:
                log.fill(commit)
            except MsglogError as error:
                return _Attempt(engine.commit_number, refusal=error)
            if broker is not None:
                broker.fill(commit)
            commit.awaited = self._waits
            try:
                number = commit.write()
                log.written()
            except BaseException:
                with suppress(MsglogError):  # the exception that came first is what counts
                    engine.clear_obstacle()
                log.failed()
                raise
        return _new_tuple(_Attempt, (number, True, None))

    def _follow(self) -> None:
        """It failed, which an interrupt or a cancelled wait may have done after it was written: let memory follow."""
        with suppress(MsglogError):  # nothing more can be done, and the exception that came first is what counts
            if self._engine.obstacle is not None:
                with self._engine.lock:
                    self._engine.clear_obstacle()
            if self._broker is not None:
                self._broker.attend()

    def __del__(self) -> None:
        # Without an end, or an interrupt struck that; one may strike before anything is set, too.
        if not getattr(self, "_over", True) and self._state is not NEW:
            self._end_stages()

    @one_line
    def __repr__(self) -> str:
        state = self._state.name.lower().replace("_", " ")
        return f"<msglog.Transaction of {self._core.path!r} {state} bytes={self._size}>"

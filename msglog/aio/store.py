"""A store for tasks. Exported by `msglog.aio`."""

import os
from collections.abc import Awaitable, Callable
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, Unpack, overload

import msglog
from msglog.aio.calls import run
from msglog.aio.consumer import Consumer, ShareConsumer
from msglog.aio.delivery import Delivery
from msglog.aio.ending import Children, Closing
from msglog.aio.forwarding import in_thread, plain
from msglog.aio.opened import Opened
from msglog.aio.processing import process
from msglog.aio.queue_consumer import QueueConsumer
from msglog.aio.typed import TypedConsumer, TypedDelivery, TypedQueueConsumer, TypedShareConsumer
from msglog.checks import refused
from msglog.showing import one_line
from msglog.storage import Engine
from msglog.store import StoreOptions

if TYPE_CHECKING:
    from msglog.aio.broker import Broker
    from msglog.aio.log import Log
    from msglog.aio.producer import Producer

K = TypeVar("K")
V = TypeVar("V")

_DEFAULT_RETRY: Final = msglog.Retry()


class Store(Opened):
    """A `msglog.Store` for tasks: opened by `async with` or `await`, or made from one that is open.

    Arguments:
        path_or_store: the path of a store, `":memory:"`, or an open `msglog.Store`, which stays the caller's to close.
        options: what `msglog.Store` takes, with a path only.

    Opening, closing, syncing and copying are done in other threads. Any number of event loops, in as many threads, may
    use one store; a consumer is for the loop in which it was made.
    """

    def __init__(self, path_or_store: str | os.PathLike[str] | msglog.Store, **options: Unpack[StoreOptions]) -> None:
        self._path = path_or_store
        self._options = options
        self._owns = not isinstance(path_or_store, msglog.Store)
        self._opened: msglog.Store | None = None
        if isinstance(path_or_store, msglog.Store):
            if options:
                option, given = next(iter(options.items()))
                raise refused(option, given, "no option: the store is open already")
            self._opened = path_or_store
        self._log: Log | None = None
        self._broker: Broker | None = None
        self._closed = False
        self._children = Children()
        self._pid = os.getpid()
        self._being_closed = Lock()

    @property
    def sync(self) -> msglog.Store:
        """The threaded store. Raises `ClosedError` before it was opened and after it was closed."""
        if self._opened is None or self._closed:
            what = "was closed" if self._closed else "was not opened: use it as `async with Store(...) as store:`"
            raise msglog.ClosedError(f"the store {self._path} {what}")
        return self._opened

    @property
    def _sync(self) -> msglog.Store:
        return self.sync

    @property
    def _engine(self) -> Engine:
        return self.sync.core.engine

    @property
    def path(self) -> str:
        """The absolute path of the directory, or `":memory:"`."""
        return self.sync.path

    @property
    def closed(self) -> bool:
        """Whether it is not open: closed, or not opened yet."""
        return self._closed or self._opened is None or self._opened.closed

    @property
    def recovery(self) -> msglog.RecoveryReport:
        """How the store was found when it was opened. Raises `ClosedError`."""
        return self.sync.recovery

    @property
    def log(self) -> "Log":
        """The store's topics. Raises `ClosedError`."""
        from msglog.aio.log import Log  # noqa: PLC0415 - it is made from a store

        self.sync  # noqa: B018 - raises when closed
        if self._log is None or self._log.closed:
            self._log = Log(self)
        return self._log

    @property
    def broker(self) -> "Broker":
        """The store's exchanges and queues. Raises `ClosedError`."""
        from msglog.aio.broker import Broker  # noqa: PLC0415 - it is made from a store

        self.sync  # noqa: B018 - raises when closed
        if self._broker is None or self._broker.closed:
            self._broker = Broker(self)
        return self._broker

    metrics = plain(msglog.Store.metrics)
    flush = in_thread(msglog.Store.flush)
    backup = in_thread(msglog.Store.backup)

    def transaction(self, *, producer: "Producer | msglog.Producer | None" = None) -> msglog.Transaction:
        """Return a transaction of the running task: `async with store.transaction() as tx:`.

        Its methods only take note and are plain; leaving the block is awaited. See `msglog.Store.transaction`.
        """
        from msglog.aio.producer import Producer  # noqa: PLC0415 - it is made from a log, which is made from a store

        return self.sync.transaction(producer=producer.sync if isinstance(producer, Producer) else producer)

    @overload
    async def process(
        self,
        source: Consumer,
        handler: Callable[[msglog.Transaction, msglog.Record], Awaitable[object]],
        *,
        retry: msglog.Retry | None = _DEFAULT_RETRY,
        timeout: float | None = None,
        dead_letter: str | None = None,
    ) -> int: ...
    @overload
    async def process(
        self,
        source: QueueConsumer,
        handler: Callable[[msglog.Transaction, Delivery], Awaitable[object]],
        *,
        retry: msglog.Retry | None = _DEFAULT_RETRY,
        timeout: float | None = None,
        dead_letter: str | None = None,
    ) -> int: ...
    @overload
    async def process(
        self,
        source: ShareConsumer,
        handler: Callable[[msglog.Transaction, msglog.ShareRecord], Awaitable[object]],
        *,
        retry: msglog.Retry | None = _DEFAULT_RETRY,
        timeout: float | None = None,
        dead_letter: str | None = None,
    ) -> int: ...
    @overload
    async def process(
        self,
        source: TypedConsumer[K, V],
        handler: Callable[[msglog.Transaction, msglog.TypedRecord[K, V]], Awaitable[object]],
        *,
        retry: msglog.Retry | None = _DEFAULT_RETRY,
        timeout: float | None = None,
        dead_letter: str | None = None,
    ) -> int: ...
    @overload
    async def process(
        self,
        source: TypedQueueConsumer[V],
        handler: Callable[[msglog.Transaction, TypedDelivery[V]], Awaitable[object]],
        *,
        retry: msglog.Retry | None = _DEFAULT_RETRY,
        timeout: float | None = None,
        dead_letter: str | None = None,
    ) -> int: ...
    @overload
    async def process(
        self,
        source: TypedShareConsumer[K, V],
        handler: Callable[[msglog.Transaction, msglog.TypedShareRecord[K, V]], Awaitable[object]],
        *,
        retry: msglog.Retry | None = _DEFAULT_RETRY,
        timeout: float | None = None,
        dead_letter: str | None = None,
    ) -> int: ...
    async def process(
        self,
        source: Any,
        handler: Callable[[msglog.Transaction, Any], Awaitable[object]],
        *,
        retry: msglog.Retry | None = _DEFAULT_RETRY,
        timeout: float | None = None,
        dead_letter: str | None = None,
    ) -> int:
        """Process each message of a source exactly once, in the task that calls; return how many are done with.

        `source`: a `Consumer` with a group and without `auto_commit`, a `QueueConsumer` or a `ShareConsumer` of
        `msglog.aio`, or one of these of a view. `handler`: a coroutine function, awaited as `handler(tx, message)`;
        what it does by `tx`, and that the message is done with, becomes one commit when it returns. All else is as for
        `msglog.Store.process`: `retry`, `timeout`, `dead_letter`, what is raised.

        One message at a time; several tasks may process one consumer of a queue, each other consumer is for one task,
        and the members of a group share its work. When it is cancelled, the transaction of the message in hand is there
        as a whole, or nothing of it: then the message is the next one, or back in its queue.
        """
        return await process(self.sync, source, handler, retry=retry, timeout=timeout, dead_letter=dead_letter)

    async def open(self) -> Self:
        """Open the store and return this; one that is open stays as it is. Raises as `msglog.Store` does.

        When it is cancelled the store is closed again.
        """
        if self._closed:
            raise msglog.ClosedError(f"the store {self._path} was closed")
        if self._opened is None:
            opening = _Opening(self._path, self._options)
            try:
                self._opened, self._pid = await run(opening.open), os.getpid()
            except BaseException:
                opening.give_up()
                raise
        return self

    async def verify(self) -> list[msglog.Problem]:
        """Check everything there is, while the store is in use, and return what is wrong. See `msglog.Store.verify`."""
        return await run(lambda: list(self.sync.verify()))

    def attach(self, child: Closing) -> None:
        """Have `close` end this consumer or subscription first; not public."""
        self._children.add(child)

    def end(self) -> str:
        """Return "not opened" or "closed", "" for an open store; not public."""
        if not self.closed:
            return ""
        return "closed" if self._closed or self._opened is not None else "not opened"

    def is_foreign(self) -> bool:
        """Whether it was opened before a fork, and is the parent's; not public."""
        return self._pid != os.getpid()

    async def close(self) -> None:
        """End the subscriptions and consumers made through this handle, then sync and close the store.

        A store that was made from an open `msglog.Store` leaves that open. Calling again does nothing, after
        a cancellation it waits for the end. Raises what closing raises.
        """
        if self._opened is None or self.is_foreign():
            self._closed = True
        elif self._closed:
            await self._close_opened(self._opened)  # which may be under way
        else:
            try:
                await self._children.close()
            finally:
                self._closed = True
                await self._close_opened(self._opened)

    async def _close_opened(self, opened: msglog.Store) -> None:
        """Close a store that is this handle's own; return when it is closed, whoever does it."""

        def close() -> None:
            with self._being_closed:
                opened.close()

        if self._owns and not (opened.closed and not self._being_closed.locked()):
            await run(close)

    @one_line
    def __repr__(self) -> str:
        end = self.end()
        if end:
            return f"<msglog.aio.Store {str(self._path)!r} {end}>"
        return f"<msglog.aio.Store of {self._opened!r}>"


class _Opening:
    """A store that is being opened in a thread, which goes on when nobody waits for it any more."""

    def __init__(self, path: Any, options: StoreOptions) -> None:
        self._path = path
        self._options = options
        self._given_up = False

    def open(self) -> msglog.Store:
        """Open the store, and close it again if nobody wants it any more."""
        self._store = store = msglog.Store(self._path, **self._options)
        if self._given_up:
            store.close()
        return store

    def give_up(self) -> None:
        """Nobody gets the store."""
        self._given_up = True
        store = getattr(self, "_store", None)
        if store is not None:
            store.close()

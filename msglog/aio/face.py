"""What `aio.Log` and `aio.Broker` share: the threaded object that they stand for, and their end. Imported by both."""

import os
from abc import abstractmethod
from typing import Generic, Self, TypeVar, Unpack

import msglog
from msglog.aio.calls import run
from msglog.aio.ending import Children, Closing
from msglog.aio.opened import Opened
from msglog.aio.store import Store
from msglog.checks import refused
from msglog.showing import one_line
from msglog.storage import Engine
from msglog.store import StoreOptions

S = TypeVar("S", msglog.Log, msglog.Broker)


class Face(Opened, Generic[S]):
    """Made from a path, an open `msglog.Store`, or a `Store` of `aio`.

    From a path it is opened by `async with` or `await`, and closes its store; from a store it can be used at once, and
    leaves the store open.
    """

    _engine: Engine

    def __init__(
        self, path_or_store: str | os.PathLike[str] | msglog.Store | Store, **store_options: Unpack[StoreOptions]
    ) -> None:
        if isinstance(path_or_store, Store | msglog.Store):
            if store_options:
                option, given = next(iter(store_options.items()))
                raise refused(option, given, "no option: the store is open already")
            self._owns_store = False
            self._store = path_or_store if isinstance(path_or_store, Store) else Store(path_or_store)
        else:
            self._owns_store = True
            self._store = Store(path_or_store, **store_options)
        self._made: S | None = None
        self._children = Children()  # that end with this handle
        if not self._owns_store:
            self.sync  # noqa: B018 - makes it, or raises

    @property
    def store(self) -> Store:
        """The store that this is part of."""
        return self._store

    @property
    def sync(self) -> S:
        """The threaded object that this one stands for. Raises `ClosedError`, also before it was opened."""
        if self._made is None:
            store = self._store.sync
            self._made, self._engine = self._make(store), store.core.engine
        return self._made

    @property
    def _sync(self) -> S:
        return self.sync

    @property
    def closed(self) -> bool:
        """Whether it is not open: closed, or not opened yet."""
        return self._store.closed or (self._made is not None and self._made.closed)

    @abstractmethod
    def _make(self, store: msglog.Store) -> S:
        """Return a threaded object of an open store."""

    async def open(self) -> Self:
        """Open the store, if it is to be opened; return this. Raises as `msglog.Store` does."""
        if self._owns_store:
            await self._store.open()
        self.sync  # noqa: B018 - raises when the store was closed
        return self

    async def close(self) -> None:
        """End this handle; one that opened its store closes the store, too. Calling again does nothing."""
        made = self._made
        try:
            if made is not None and not made.closed and not self._store.is_foreign():
                try:
                    await self._children.close()
                finally:
                    await run(made.close)
        finally:
            if self._owns_store:
                await self._store.close()

    def _attach(self, child: Closing) -> None:
        """Have the end of the store end a consumer or a subscription first."""
        self._store.attach(child)

    @one_line
    def __repr__(self) -> str:
        state = (self._store.end() or "closed") if self.closed else repr(self._made or self._store.sync)
        return f"<msglog.aio.{type(self).__name__} {state}>"

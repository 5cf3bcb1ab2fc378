"""What the public classes of both models share: the store they work on, and their end.

A face made from a path owns its store and closes it; one made from a store only borrows it. Imported by the models.
"""

import os
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from msglog.checks import refused
from msglog.errors import ClosedError, ReadOnlyError
from msglog.showing import as_html, page
from msglog.store.store import Store


class StoreFace:
    """The base of `Log` and `Broker`. `_what` is what error messages call it."""

    _what = "face"

    def __init__(self, path_or_store: str | os.PathLike[str] | Store, store_options: dict[str, Any]) -> None:
        self._owns_store = not isinstance(path_or_store, Store)
        if isinstance(path_or_store, Store):
            if store_options:
                option, given = next(iter(store_options.items()))
                raise refused(option, given, "no option: the store is open already")
            self._store = path_or_store
        else:
            self._store = Store(path_or_store, **store_options)
        self._closed = False
        self._core = self._store.core
        self._engine = self._core.engine

    @property
    def store(self) -> Store:
        """The store that this is part of."""
        return self._store

    @property
    def closed(self) -> bool:
        """Whether this handle, or its store, was closed."""
        return self._closed or self._store.closed

    def close(self) -> None:
        """End this handle; one that opened its store closes the store, too. Calling again does nothing.

        Raises what closing the store raises; the handle is closed even then.
        """
        self._closed = True
        if self._owns_store:
            self._store.close()

    def _state(self, told: Callable[[], str]) -> str:
        """Return what `repr` tells of the state: `told()` while it is open."""
        return "closed" if self.closed or self._engine.closed else told()

    def _tables(self) -> list[str]:
        """Return what a notebook shows of an open store, in HTML."""
        return []

    @as_html
    def _repr_html_(self) -> str:
        title = f"msglog.{type(self).__name__}"
        if self.closed or self._engine.closed:
            return page(title, self._store.path, {"": "closed"})
        self._engine.refresh()
        return page(title, self._store.path, {}, self._tables())

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedError(f"the {self._what} of {self._store.path} was closed")
        self._engine.check_open()

    def _check_writable(self) -> None:
        self._check_open()
        if self._engine.readonly:
            path = self._store.path
            raise ReadOnlyError(f"the store {path} was opened with readonly=True", path=path)

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

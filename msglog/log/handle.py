"""What every part of `Log` shares: the store it works on, its topics, its end.

A `Log` made from a path owns its store and closes it; one made from a store only borrows it. After `close`
the handle's view of the topics is empty, so the hot paths need no check of their own: they find nothing and
ask here why. Imported by the parts of `Log`.
"""

import os
from types import TracebackType
from typing import Self, Unpack, cast

from msglog.checks import refused
from msglog.clock import SystemClock
from msglog.errors import ClosedError, ReadOnlyError
from msglog.log.model import LogModel
from msglog.log.topic import Topic
from msglog.store import Store, StoreOptions


class LogHandle:
    """The base of `Log`."""

    def __init__(self, path_or_store: str | os.PathLike[str] | Store, **store_options: Unpack[StoreOptions]) -> None:
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
        self._model = cast(LogModel, self._engine.models[LogModel.section])
        self._topics = self._model.topics
        # Bound once: looking them up at each append would cost a tenth of it.
        self._append = self._engine.append
        self._now_ms = self._core.clock.now_ms
        # The machine's clock is read in place: the call in between would cost a twentieth.
        self._system_time = isinstance(self._core.clock, SystemClock)

    @property
    def store(self) -> Store:
        """The store this log is part of."""
        return self._store

    @property
    def closed(self) -> bool:
        """Whether this handle, or its store, was closed."""
        return self._closed or self._store.closed

    def close(self) -> None:
        """End this handle; a log that opened its store closes the store, too. Calling again does nothing.

        Raises what closing the store raises; the handle is closed even then.
        """
        self._closed = True
        self._topics = {}
        if self._owns_store:
            self._store.close()

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedError(f"the log of {self._store.path} was closed")
        self._engine.check_open()

    def _check_writable(self) -> None:
        self._check_open()
        if self._engine.readonly:
            path = self._store.path
            raise ReadOnlyError(f"the store {path} was opened with readonly=True", path=path)

    def _topic_to_read(self, name: object) -> Topic:
        """Return a topic as it is now. Raises `TopicNotFoundError`, `InvalidTypeError`, `ClosedError`."""
        self._check_open()
        self._engine.refresh()
        return self._model.topic(name)

    def _topic_to_write(self, name: object) -> Topic:
        """Return a topic to change. Raises `ReadOnlyError` on top of what reading one raises."""
        self._check_writable()
        return self._model.topic(name)

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self._topics)} topics"
        return f"<msglog.{type(self).__name__} {self._store.path!r} {state}>"

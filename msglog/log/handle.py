"""What every part of `Log` shares: the store it works on, its topics, its end.

After `close` the handle's view of the topics is empty, so the hot paths need no check of their own: they find nothing
and ask here why. Imported by the parts of `Log`.
"""

import os
from typing import Any, Unpack, cast

from msglog.clock import SystemClock
from msglog.log.model import LogModel
from msglog.log.tables import log_tables
from msglog.log.topic import Topic
from msglog.showing import one_line
from msglog.store import Store, StoreFace, StoreOptions


class LogHandle(StoreFace):
    """The base of `Log`."""

    # What the short ways look at; the rest has no fixed place.
    __slots__ = ("_append", "_append_unwaited", "_now_ms", "_system_time", "_topics")

    _what = "log"

    def __init__(self, path_or_store: str | os.PathLike[str] | Store, **store_options: Unpack[StoreOptions]) -> None:
        given: dict[str, Any] = {**store_options}
        super().__init__(path_or_store, given)
        self._model = cast(LogModel, self._engine.models[LogModel.section])
        self._topics = self._model.topics
        # Bound once: looking them up at each append would cost a tenth of it.
        self._append = self._engine.append
        self._append_unwaited = self._engine.append_unwaited
        self._now_ms = self._core.clock.now_ms
        # The machine's clock is read in place: the call in between would cost a twentieth.
        self._system_time = isinstance(self._core.clock, SystemClock)

    def close(self) -> None:
        """End this handle; a log that opened its store closes the store, too. Calling again does nothing.

        Raises what closing the store raises; the handle is closed even then.
        """
        self._topics = {}
        super().close()

    def _topic_to_read(self, name: object) -> Topic:
        """Return a topic as it is now. Raises `TopicNotFoundError`, `InvalidTypeError`, `ClosedError`."""
        self._check_open()
        self._engine.refresh()
        return self._model.topic(name)

    def _topic_to_write(self, name: object) -> Topic:
        """Return a topic to change. Raises `ReadOnlyError` on top of what reading one raises."""
        self._check_writable()
        return self._model.topic(name)

    @one_line
    def __repr__(self) -> str:
        return f"<msglog.{type(self).__name__} {self._store.path!r} {self._state(self._tell)}>"

    def _tables(self) -> list[str]:
        return log_tables(self._core)

    def _tell(self) -> str:
        streams = [stream for topic in self._topics.copy().values() for stream in topic.partitions]
        records = sum(max(0, stream.end - stream.start) for stream in streams)
        return f"topics={len(self._topics)} partitions={len(streams)} records={records}"

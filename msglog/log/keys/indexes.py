"""All indexes by key of one store: each is made when it is first asked for, and kept until its topic goes.

A service of the store: closed before the engine, it leaves files behind. Imported by `model`, `topic` and `admin`.
"""

import logging
from collections.abc import Iterable
from threading import Lock

from msglog.log.keys.files import RunFiles
from msglog.log.keys.index import KeyIndex
from msglog.storage import Engine, Stream

logger = logging.getLogger("msglog.keys")


class KeyIndexes:
    """The indexes of one open store by stream id."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = Lock()
        self._indexes: dict[int, KeyIndex] = {}
        self._files: RunFiles | None = None

    @property
    def empty(self) -> bool:
        """Whether there is no index yet. Under any lock or none."""
        return not self._indexes

    def find(self, stream: Stream) -> KeyIndex | None:
        """Return a stream's index if there is one yet. Under any lock or none."""
        return self._indexes.get(stream.id)

    def get(self, stream: Stream) -> KeyIndex:
        """Return a stream's index; the first call looks for its files. Not under the store lock."""
        index = self._indexes.get(stream.id)
        if index is None:
            with self._lock:
                index = self._indexes.get(stream.id)
                if index is None:
                    self._files = self._files or RunFiles(self._engine)
                    index = KeyIndex(self._engine, stream, self._files)
                    if self._engine.streams.get(stream.id) is stream:
                        self._indexes[stream.id] = index
        return index

    def forget(self, stream_ids: Iterable[int]) -> None:
        """Forget the indexes of streams that are gone. Under the store lock; their files stay."""
        for stream_id in stream_ids:
            self._indexes.pop(stream_id, None)

    def remove_files(self, stream_ids: Iterable[int]) -> None:
        """Remove the files of streams that are gone; the next opening removes what stays. Not under the store lock."""
        RunFiles(self._engine).remove_all(stream_ids)

    def close(self) -> None:
        """Write what is worth it. Never fails: an index can always be made anew."""
        for index in list(self._indexes.values()):
            try:
                if self._engine.failure is None:
                    index.close()
            except Exception:
                logger.exception(
                    "an index by key of %s could not be written",
                    self._engine.directory,
                    extra={"event": "index_not_written", "path": self._engine.directory},
                )
        if self._files is not None:
            self._files.close()

"""The files of the runs of one store: found, opened, written and removed.

A run that takes the place of others is synced before they go; one that only adds to them is not, since what a power cut
takes of it is read from the records again. Of the files that are read a bounded number stays open. The directory is
listed once by a writer, who then knows it, and each time by a reader. Safe for any number of threads; nothing here is
called under the store lock. Imported by `index` and `indexes`.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from threading import Lock
from typing import Final

from msglog.log.keys.run import Anchor, DamagedRunError, Read, Run, load_run, write_run
from msglog.log.rules.key_rows import RunSpan
from msglog.storage import Engine
from msglog.storage.filesystem import File
from msglog.storage.layout import KEYS, in_keys, parse_run_name, run_name
from msglog.storage.segment import random_seed

_MOST_OPEN: Final = 32

logger = logging.getLogger("msglog.keys")


class RunFiles:
    """The runs of one open store. `writable`: new runs may become files."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.writable = engine.filesystem.durable and not engine.readonly
        self._found: dict[int, list[RunSpan]] | None = None
        self._open: OrderedDict[RunSpan, File] = OrderedDict()
        self._lock = Lock()

    def spans_of(self, stream_id: int) -> list[RunSpan]:
        """Return what the names of a stream's files say. A writer is told once: later it knows its files."""
        if self._engine.readonly:
            return self._list().get(stream_id, [])
        with self._lock:
            if self._found is None:
                self._found = self._list()
            return self._found.pop(stream_id, [])

    def _list(self) -> dict[int, list[RunSpan]]:
        found: dict[int, list[RunSpan]] = {}
        try:
            names = self._engine.filesystem.list(self._engine.path(KEYS))
        except OSError as error:
            logger.warning(
                "the index by key of %s is made anew: %s",
                self._engine.directory,
                error,
                extra={"event": "index_made_anew", "path": self._engine.directory},
            )
            return found
        for name in names:
            parsed = parse_run_name(name)
            if parsed is not None:
                found.setdefault(parsed[0], []).append(RunSpan(*parsed))
        return found

    def load(self, span: RunSpan) -> Run:
        """Return the run in a file. Raises `DamagedRunError`."""
        try:
            return load_run(self._reader(span), self._file(span).size(), span)
        except OSError as error:
            raise DamagedRunError(None, str(error)) from error

    def write(self, span: RunSpan, rows: Iterable[bytes], anchor: Anchor, *, replaces: bool) -> Run:
        """Write a run; durable on return if it `replaces` others. Raises OSError with no file left behind."""
        engine, path = self._engine, self._path(span)
        filesystem = engine.filesystem
        engine.check_place()
        directory = engine.path(KEYS)
        filesystem.make_directory(directory)
        filesystem.unlink(path)
        file = filesystem.open(path, create=True)
        try:
            run = write_run(file.write, self._reader(span), span, rows, anchor, random_seed(), in_file=True)
            if replaces:
                file.sync()
                filesystem.sync_directory(directory)
        except BaseException:
            self.remove(span)
            raise
        finally:
            file.close()
        return run

    def remove(self, span: RunSpan) -> None:
        """Remove a file; one that cannot be removed is left to the next opening."""
        with self._lock:
            self._open.pop(span, None)
        with suppress(OSError):
            self._engine.filesystem.unlink(self._path(span))

    def remove_all(self, stream_ids: Iterable[int]) -> None:
        """Remove all files of some streams."""
        if self.writable:
            found = self._list()
            for stream_id in stream_ids:
                for span in found.get(stream_id, ()):
                    self.remove(span)

    def close(self) -> None:
        """Let go of all files."""
        with self._lock:
            self._open.clear()

    def _path(self, span: RunSpan) -> str:
        return in_keys(self._engine.directory, run_name(*span))

    def _reader(self, span: RunSpan) -> Read:
        return lambda position, size: self._file(span).read(position, size)

    def _file(self, span: RunSpan) -> File:
        """Return an open file. Only references are dropped: who is reading meanwhile keeps it open."""
        with self._lock:
            file = self._open.get(span)
            if file is not None:
                self._open.move_to_end(span)
                return file
        engine, path = self._engine, self._path(span)
        with engine.lock:
            file = engine.cache.with_descriptors(lambda: engine.filesystem.open(path, writable=False))
        with self._lock:
            self._open[span] = file
            if len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        return file


def memory_run(span: RunSpan, rows: Iterable[bytes], anchor: Anchor) -> Run:
    """Return a run that lives in memory."""
    data = bytearray()

    def write(position: int, part: bytes) -> None:
        data[position : position + len(part)] = part

    def read(position: int, size: int) -> bytes:
        return bytes(memoryview(data)[position : position + size])

    return write_run(write, read, span, rows, anchor, 0, in_file=False)

"""Redoing the journal: frames of synced commits are stored into their segments once more.

Part of `recovery`. Storing is done without looking whether the bytes are there: after a failed sync the kernel may
show pages that never reached the disk. Segments that an entry was the first to write to are made again if their names
were lost.
"""

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msglog.errors import CorruptionError, ReadOnlyError
from msglog.storage.checkpoint import Checkpoint
from msglog.storage.filesystem import File
from msglog.storage.frame import HEADER_SIZE
from msglog.storage.journal import Area, Create, Entry, PlacedFrame
from msglog.storage.layout import JOURNALS, SEGMENTS, in_segments, parse_segment_name
from msglog.storage.segment import FIRST_ALLOCATION

if TYPE_CHECKING:
    from msglog.storage.engine import Engine

_STRETCH_BYTES = 1 << 20
_MOST_OPEN = 128


def redo_journal(engine: "Engine", checkpoint: Checkpoint) -> int:
    """Store what the journal holds beyond the checkpoint; return the number of commits.

    Raises `CorruptionError` when an entry is damaged that a later one calls synced, `ReadOnlyError` when the engine may
    not write but there is something to store.
    """
    entries = _entries(engine, checkpoint)
    chain = _chain(entries, checkpoint)
    _check_nothing_lost(entries, checkpoint, chain)
    if chain and engine.readonly:
        if engine.writer_is_alive():
            return 0  # the writer publishes what readers may see
        raise ReadOnlyError(
            f"the store {engine.directory} was not closed: open it once for writing to recover it",
            path=engine.directory,
        )
    if chain:
        _Redo(engine).store(chain)
    return len(chain)


def _entries(engine: "Engine", checkpoint: Checkpoint) -> list[Entry]:
    names = engine.filesystem.list(engine.directory)
    entries: list[Entry] = []
    for name in JOURNALS:
        if name not in names:
            continue
        area = Area.open(engine.filesystem, engine.path(name), writable=False)
        if area is not None:
            try:
                entries += area.entries_after(checkpoint.commit)
            finally:
                area.file.close()
    return entries


def _chain(entries: list[Entry], checkpoint: Checkpoint) -> list[Entry]:
    """Return the consecutive entries that follow the checkpoint."""
    found = {entry.commit: entry for entry in entries if checkpoint.life_of(entry.commit) == entry.life}
    chain: list[Entry] = []
    while (entry := found.get(checkpoint.commit + 1 + len(chain))) is not None:
        chain.append(entry)
    return chain


def _check_nothing_lost(entries: list[Entry], checkpoint: Checkpoint, chain: list[Entry]) -> None:
    last = checkpoint.commit + len(chain)
    newest_life = checkpoint.lives[-1][0]
    for entry in entries:
        if entry.life > newest_life:
            raise CorruptionError(
                f"{entry.path}: an entry of life {entry.life}, of which no checkpoint is left",
                path=entry.path,
                position=entry.position,
            )
        if entry.synced > last and checkpoint.life_of(entry.commit) == entry.life:
            raise CorruptionError(
                f"{entry.path}: commit {last + 1} was synced, but its entry is damaged",
                path=entry.path,
                position=entry.position,
            )


@dataclass(slots=True)
class _Stretch:
    """Bytes on their way into one segment: neighbours are written in one call."""

    file: File
    allocated: int
    start: int = 0
    size: int = 0
    parts: list[bytes] = field(default_factory=list)

    def add(self, position: int, frame: PlacedFrame) -> None:
        if self.start + self.size != position or self.size > _STRETCH_BYTES:
            self.write()
            self.start = position
        self.parts += (frame.header, frame.body)
        self.size += HEADER_SIZE + len(frame.body)

    def write(self) -> None:
        if not self.size:
            return
        end = self.start + self.size
        if end > self.allocated:
            while self.allocated < end:
                self.allocated *= 2
            self.file.allocate(self.allocated)
        self.file.write(self.start, b"".join(self.parts))
        self.parts, self.size = [], 0


class _Redo:
    """Stores the frames of a chain of entries."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._names = {
            parsed[3]: name
            for name in engine.filesystem.list(engine.path(SEGMENTS))
            if (parsed := parse_segment_name(name)) is not None
        }
        self._open: dict[int, _Stretch] = {}

    def store(self, chain: list[Entry]) -> None:
        try:
            for entry in chain:
                for create in entry.creates:
                    self._create(create)
                for frame in entry.frames:
                    self._stretch(frame.file_id, entry).add(frame.position, frame)
            for stretch in self._open.values():
                stretch.write()
        finally:
            for stretch in self._open.values():
                stretch.file.close()

    def _create(self, create: Create) -> None:
        """Make a segment whose name may have been lost; one that is there gets its header once more."""
        path = in_segments(self._engine.directory, create.name)
        parsed = parse_segment_name(create.name)
        if parsed is None:
            raise CorruptionError(f"{path}: not the name of a segment", path=path, position=0)
        file = self._engine.filesystem.open(path, create=True)
        file.allocate(FIRST_ALLOCATION)
        file.write(0, create.header)
        self._engine.names_version += 1
        self._keep(parsed[3], file)

    def _stretch(self, file_id: int, entry: Entry) -> _Stretch:
        known = self._open.get(file_id)
        if known is not None:
            return known
        name = self._names.get(file_id)
        if name is None:
            raise CorruptionError(
                f"{entry.path}: commit {entry.commit} belongs into segment {file_id}, which is missing",
                path=entry.path,
                position=entry.position,
            )
        return self._keep(file_id, self._engine.filesystem.open(in_segments(self._engine.directory, name)))

    def _keep(self, file_id: int, file: File) -> _Stretch:
        if len(self._open) >= _MOST_OPEN:
            oldest = self._open.pop(next(iter(self._open)))
            oldest.write()
            oldest.file.close()
        stretch = _Stretch(file, max(file.size(), FIRST_ALLOCATION))
        self._open[file_id] = stretch
        self._names.setdefault(file_id, os.path.basename(file.path))
        return stretch

"""Redoing the journal: frames of synced commits are stored into their segments once more.

Part of `recovery`. Storing is done without looking whether the bytes are there: after a failed sync the kernel may
show pages that never reached the disk. Segments that an entry was the first to write to are made again if their names
were lost.
"""

from typing import TYPE_CHECKING

from msglog.errors import CorruptionError, ReadOnlyError
from msglog.storage.checkpoint import Checkpoint
from msglog.storage.filesystem import File
from msglog.storage.frame import HEADER_SIZE
from msglog.storage.journal import Area, Entry
from msglog.storage.layout import JOURNALS, SEGMENTS, in_segments, parse_segment_name
from msglog.storage.segment import FIRST_ALLOCATION

if TYPE_CHECKING:
    from msglog.storage.engine import Engine


def redo_journal(engine: "Engine", checkpoint: Checkpoint) -> int:
    """Store what the journal holds beyond the checkpoint; return the number of commits.

    Raises `CorruptionError` when an entry is damaged that a later one calls synced, `ReadOnlyError` when the engine
    may not write but there is something to store.
    """
    areas = _open_areas(engine)
    try:
        chain = _chain(areas, checkpoint)
        _check_nothing_lost(areas, checkpoint, chain)
        if chain and engine.readonly:
            if engine.writer_is_alive():
                return 0  # the writer publishes what readers may see
            raise ReadOnlyError(
                f"the store {engine.directory} was not closed: open it once for writing to recover it",
                path=engine.directory,
            )
        _store(engine, chain)
        return len(chain)
    finally:
        for area in areas:
            area.file.close()


def _open_areas(engine: "Engine") -> list[Area]:
    names = engine.filesystem.list(engine.directory)
    found = [Area.open(engine.filesystem, engine.path(name), writable=False) for name in JOURNALS if name in names]
    return [area for area in found if area is not None]


def _belongs(entry: Entry, checkpoint: Checkpoint) -> bool:
    return entry.commit > checkpoint.commit and checkpoint.life_of(entry.commit) == entry.life


def _chain(areas: list[Area], checkpoint: Checkpoint) -> list[Entry]:
    """Return the consecutive entries that follow the checkpoint."""
    found = {entry.commit: entry for area in areas for entry in area.entries() if _belongs(entry, checkpoint)}
    chain: list[Entry] = []
    while (entry := found.get(checkpoint.commit + 1 + len(chain))) is not None:
        chain.append(entry)
    return chain


def _check_nothing_lost(areas: list[Area], checkpoint: Checkpoint, chain: list[Entry]) -> None:
    last = checkpoint.commit + len(chain)
    newest_life = checkpoint.lives[-1][0]
    for area in areas:
        for entry in area.entries_after(last):
            if entry.life > newest_life:
                raise CorruptionError(
                    f"{area.file.path}: an entry of life {entry.life}, of which no checkpoint is left",
                    path=area.file.path,
                    position=entry.position,
                )
            if _belongs(entry, checkpoint) and entry.synced > last:
                raise CorruptionError(
                    f"{area.file.path}: commit {last + 1} was synced, but its entry is damaged",
                    path=area.file.path,
                    position=area.position,
                )


def _store(engine: "Engine", chain: list[Entry]) -> None:
    filesystem = engine.filesystem
    files: dict[int, File] = {}
    names = {
        parsed[3]: name
        for name in filesystem.list(engine.path(SEGMENTS))
        if (parsed := parse_segment_name(name)) is not None
    }
    try:
        for entry in chain:
            for create in entry.creates:
                file = filesystem.open(in_segments(engine.directory, create.name), create=True)
                file.allocate(FIRST_ALLOCATION)
                file.write(0, create.header)
                parsed = parse_segment_name(create.name)
                if parsed is not None:
                    files[parsed[3]] = file
                engine.names_changed = True
            for frame in entry.frames:
                file = files.get(frame.file_id) or _open_segment(engine, names, files, frame.file_id, entry)
                file.allocate(_rounded(frame.position + HEADER_SIZE + len(frame.body)))
                file.write(frame.position, frame.header + frame.body)
    finally:
        for file in files.values():
            file.close()


def _open_segment(engine: "Engine", names: dict[int, str], files: dict[int, File], file_id: int, entry: Entry) -> File:
    name = names.get(file_id)
    if name is None:
        raise CorruptionError(
            f"{entry.path}: commit {entry.commit} belongs into segment {file_id}, which is missing",
            path=entry.path,
            position=entry.position,
        )
    files[file_id] = file = engine.filesystem.open(in_segments(engine.directory, name))
    return file


def _rounded(size: int) -> int:
    allocated = FIRST_ALLOCATION
    while allocated < size:
        allocated *= 2
    return allocated

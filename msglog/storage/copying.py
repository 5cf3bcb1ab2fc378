"""Making a store that is closed from the start: what backups and salvage write.

Files are written and synced one by one, then their names, and last of all the only checkpoint: before that the
directory is no store, and does not open as one. Until the end it is locked, so that nobody else makes one there. Given
up, everything that was made goes again. Imported by `msglog.store` and `msglog.salvaging`.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from msglog.checks import refused
from msglog.checksum import crc32c
from msglog.errors import CorruptionError, StoreLockedError
from msglog.storage.checking import SegmentCheck, SegmentView, settle
from msglog.storage.checkpoint import Checkpoint, write_checkpoint
from msglog.storage.engine import Engine
from msglog.storage.filesystem import File, FileSystem, ProcessLock
from msglog.storage.index import SparseIndex
from msglog.storage.layout import CHECKPOINTS, INDEX_SUFFIX, LOCK, SEGMENTS, in_segments, state_name
from msglog.storage.segment import seed_of
from msglog.storage.state import STATE_STREAM, pack_snapshot

Report = Callable[[int], None]
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class NotedStore:
    """A store as it was at one commit: what a copy is to hold."""

    checkpoint: Checkpoint
    snapshot: bytes
    segments: tuple[SegmentView, ...]

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(view.position for view in self.segments)


def note_store(engine: Engine, life: tuple[int, int] | None = None) -> NotedStore:
    """Note everything that was committed. Bytes that it refers to never change, but files may go: see `hold_files`.

    `life`: the newest life with its first commit, where the engine has none of its own. Raises `StoreFailedError`.
    """
    if life is None:
        engine.writer.drain()
    with engine.lock:
        settle(engine)
        if life is None:
            engine.clear_obstacle()
            engine.writer.drain_locked()
        state = engine.streams[STATE_STREAM]
        parts = {stream.id: stream.parts for stream in engine.streams.values()}
        parts[STATE_STREAM] = state.parts[len(state.parts_below(state.next_offset)) :]
        checkpoint = Checkpoint(
            sequence=1,
            commit=engine.commit_number,
            clean=True,
            lives=[(engine.life, engine.first_commit) if life is None else life],
            next_file_id=engine.next_file_id,
            next_stream_id=engine.table.next_stream_id,
            state=(engine.commit_number, state.next_offset),
            streams={number: [part.packed_facts() for part in found] for number, found in parts.items()},
        )
        views = tuple(SegmentView.of(part) for found in parts.values() for part in found)
        # Who only follows a writer hears of new files, but not of the number that the next one gets.
        known = max((view.header.file_id for view in views), default=0)
        checkpoint.next_file_id = max(checkpoint.next_file_id, known + 1)
        return NotedStore(checkpoint, pack_snapshot(engine.models.values()), views)


class NewStore:
    """A store that is being made in a directory that is empty or missing.

    `parents`: directories above it that are missing, too, the innermost first; where nothing comes of the store, they
    go again.
    """

    def __init__(
        self, filesystem: FileSystem, directory: str, *, was_there: bool, parents: tuple[str, ...] = ()
    ) -> None:
        self._filesystem = filesystem
        self.directory = directory
        self._segments = os.path.join(directory, SEGMENTS)
        self._was_there = was_there
        self._parents = parents
        # File ids with the bytes that are there already, and the name.
        self.copied: dict[int, tuple[int, str]] = {}
        self.files = 0
        self.bytes = 0
        self._made: list[str] = []
        self._lock: ProcessLock | None = None

    def begin(self) -> None:
        """Make the directory and lock it.

        Raises `StoreLockedError` when somebody else makes a store there, `InvalidOptionError` when somebody has.
        """
        self._filesystem.make_directory(self.directory)
        path = os.path.join(self.directory, LOCK)
        self._lock = self._filesystem.lock(path)
        self._made.append(path)
        if not self._lock.is_current():
            self._made.clear()
            raise StoreLockedError(
                f"somebody else makes a store in {self.directory}", path=self.directory, owner_pid=None
            )
        # That it was empty before it was locked means nothing any more.
        if self._filesystem.list(self.directory).keys() - {LOCK} or self._filesystem.list(self._segments):
            self._made.clear()
            raise refused("directory", self.directory, "the path of a new or empty directory; this one is not any more")
        self._made.append(self._segments)
        self._filesystem.make_directory(self._segments)

    def copy_segment(self, source: FileSystem, view: SegmentView, report: Report) -> int:
        """Copy a segment up to the noted position, sync it, check the copy, and return how many records it has.

        What was copied before is not copied again. Raises FileNotFoundError when the file is gone, `CorruptionError`
        when it is damaged, `DiskFullError`.
        """
        name = os.path.basename(view.path)
        start, _ = self.copied.get(view.header.file_id, (0, name))
        if start >= view.position:
            return 0
        path = in_segments(self.directory, name)
        below = source.open(view.path, writable=False)
        try:
            target = self._create(path)
            self.copied[view.header.file_id] = (start, name)
            try:
                target.allocate(view.position)
                _copy(below, target, start, view.position, report)
                target.sync()
            finally:
                target.close()
        finally:
            below.close()
        self._copy_index(source, view, path)
        records = self._check(view, path)
        self.bytes += view.position - start
        self.copied[view.header.file_id] = (view.position, name)
        return records

    def write_segment(self, name: str, pieces: list[bytes]) -> None:
        """Write a segment made anew, and sync it."""
        file = self._create(in_segments(self.directory, name))
        try:
            position = 0
            for piece in pieces:
                file.write(position, piece)
                position += len(piece)
            file.sync()
            self.bytes += position
        finally:
            file.close()

    def create_segment(self, name: str) -> File:
        """Return the file of a segment made anew; whoever writes it syncs and closes it."""
        return self._create(in_segments(self.directory, name))

    def drop_others(self, views: tuple[SegmentView, ...]) -> None:
        """Remove copies that nothing refers to any more."""
        wanted = {view.header.file_id for view in views}
        for file_id in [file_id for file_id in self.copied if file_id not in wanted]:
            self.bytes -= self.copied[file_id][0]
            self.forget_segment(file_id)

    def forget_segment(self, file_id: int) -> None:
        """Remove a copy, or what was made of it before it failed."""
        _, name = self.copied.pop(file_id, (0, ""))
        if name:
            path = in_segments(self.directory, name)
            self._filesystem.unlink(path)
            self._filesystem.unlink(path + INDEX_SUFFIX)

    def finish(self, checkpoint: Checkpoint, snapshot: bytes) -> None:
        """Make it a store: sync the names, write the snapshot, then the checkpoint."""
        filesystem = self._filesystem
        filesystem.sync_directory(self._segments)
        if checkpoint.state[0]:
            file = self._create(os.path.join(self.directory, state_name(checkpoint.state[0])))
            try:
                file.write(0, crc32c(snapshot, len(snapshot)).to_bytes(4, "little") + snapshot)
                file.sync()
            finally:
                file.close()
            self.bytes += len(snapshot) + 4
        filesystem.sync_directory(self.directory)
        path = os.path.join(self.directory, CHECKPOINTS[checkpoint.sequence % len(CHECKPOINTS)])
        self._made.append(path)
        write_checkpoint(filesystem, self.directory, checkpoint)  # the first one syncs its name, too
        self.files = len(filesystem.list(self._segments))
        self.files += len(filesystem.list(self.directory))

    def release(self) -> None:
        """Let others have the directory."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def give_up(self) -> None:
        """Remove all that was made, the checkpoint first: what is left, whatever happens, is no store."""
        for path in reversed(self._made):
            with suppress(OSError):
                if path == self._segments:
                    self._filesystem.remove_directory(path)
                else:
                    self._filesystem.unlink(path)
        self.release()
        if not self._was_there:
            with suppress(OSError):  # somebody may have put something there
                for path in (self.directory, *self._parents):
                    self._filesystem.remove_directory(path)

    def _create(self, path: str) -> File:
        self._made.append(path)  # first: an interrupt must not leave what nobody removes
        return self._filesystem.open(path, create=True)

    def _copy_index(self, source: FileSystem, view: SegmentView, path: str) -> None:
        """Copy what is valid of the saved index; the rest is found again by whoever reads."""
        try:
            file = source.open(view.path + INDEX_SUFFIX, writable=False)
        except FileNotFoundError:
            return
        try:
            data = file.read(0, file.size())
        finally:
            file.close()
        crc_seed = seed_of(view.header.seed)
        entries = SparseIndex.load(data, crc_seed, view.position).entries_from(0, crc_seed)
        if entries:
            target = self._create(path + INDEX_SUFFIX)
            try:
                target.write(0, entries)
                target.sync()
            finally:
                target.close()

    def _check(self, view: SegmentView, path: str) -> int:
        check = SegmentCheck(self._filesystem, replace(view, path=path), {}, lambda _count: None)
        for problem in check.run():
            if problem.kind == "codec":
                continue
            if problem.kind == "index":
                self._filesystem.unlink(path + INDEX_SUFFIX)
                continue
            raise CorruptionError(
                f"{view.path}: {problem.message} at position {problem.position}: a copy would not be complete",
                path=view.path,
                position=problem.position,
                first_offset=problem.first_offset,
                next_offset=problem.next_offset,
            )
        return check.records


def _copy(source: File, target: File, start: int, end: int, report: Report) -> None:
    for position in range(start, end, _PIECE):
        data = source.read(position, min(_PIECE, end - position))
        target.write(position, data)  # what is missing at the end is found by the check of the copy
        report(len(data))

"""Making a checkpoint: sync what is written, then write down that it is.

The order is the argument. Under the store lock everything is noted as it is assigned at one commit; outside of it the
journal is synced up to there, so that the frames are in their segments, then the noted files, then the names, then the
state snapshot, then the checkpoint itself. Only when that is durable is anything reused or unlinked: journal space,
dropped segments, old snapshots. Failing in between leaves the last checkpoint in force. One thread makes a checkpoint
at a time. Only the last one of a life syncs under the store lock, or one beside which segments go all the time.
"""

import logging
import os
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from msglog.checksum import crc32c
from msglog.errors import DiskFullError, StoreFailedError
from msglog.storage.cache import NO_DESCRIPTORS
from msglog.storage.checkpoint import Checkpoint, write_checkpoint
from msglog.storage.layout import SEGMENTS, state_name
from msglog.storage.segment import Segment
from msglog.storage.state import STATE_STREAM, pack_snapshot

if TYPE_CHECKING:
    from msglog.storage.engine import Engine

logger = logging.getLogger("msglog.storage")

# So often notes are taken anew when segments are dropped meanwhile, before the store has to keep still.
_TRIES_BESIDE_COMMITS = 3


@dataclass(slots=True)
class Notes:
    """The store as it was at one commit. Taking notes changes nothing, so that giving up leaves nothing behind.

    `listed`: segments with what the checkpoint says of them, as far as that is new; `made`: those of them that no
    entry of the journal names yet; `dirty`: those to be synced first.
    """

    checkpoint: Checkpoint
    listed: list[tuple[Segment, int, bool]]
    made: frozenset[Segment]
    garbage: list[str]
    names_version: int
    snapshot: bytes | None
    state_cost: int
    dirty: list[tuple[Segment, int]] = field(default_factory=list)

    def note_dirty(self) -> None:
        """Note what must be synced, once all frames up to the listed positions are stored. Under the lock.

        An empty segment may have been announced since the notes were taken, by an entry that nobody has synced: the
        checkpoint lists it all the same.
        """
        segments = [segment for segment, _, _ in self.listed]
        self.dirty = [
            (segment, segment.stored_position) for segment in segments if segment.dirty or segment in self.made
        ]


class Checkpointer:
    """Makes the checkpoints of one engine."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._running = Lock()

    @property
    def running(self) -> Lock:
        """Held while a checkpoint is made, and while files are removed after it."""
        return self._running

    def run(self, *, clean: bool = False) -> None:
        """Make everything that returned before durable.

        Raises `DiskFullError` (nothing changed, try again) or `StoreFailedError`.
        """
        engine = self._engine
        with self._running:
            engine.check_place()
            notes = (None if clean else self._noted_beside_commits()) or self._noted_at_rest(clean=clean)
            try:
                self._make_durable(notes)
            except OSError as error:
                if isinstance(error, DiskFullError):
                    raise
                if error.errno in NO_DESCRIPTORS:  # nothing was synced and failed: it can be tried again
                    raise StoreFailedError(
                        f"no checkpoint: {error}", path=engine.directory, outcome="not_applied"
                    ) from error
                raise engine.stop_writing("a sync failed", error) from error
            with engine.lock:
                self._conclude(notes)
            try:
                engine.free_journal(notes.checkpoint.commit)
            finally:  # else nobody would remember these files until the store is opened again
                self._unlink(notes.garbage)

    def _noted_beside_commits(self) -> Notes | None:
        """Take notes, then wait outside of the lock until every frame they speak of is in its segment.

        Commits go on meanwhile. One that drops a segment keeps frames from it that are still on their way, although the
        notes list them: then they are taken anew. Returns None where that goes on.
        """
        engine = self._engine
        for _ in range(_TRIES_BESIDE_COMMITS):
            with engine.lock:
                engine.clear_obstacle()
                notes = self._take_notes(clean=False)
            engine.writer.drain()
            with engine.lock:
                if all(segment.stored_position >= position for segment, position, _ in notes.listed):
                    notes.note_dirty()
                    return notes
        return None

    def _noted_at_rest(self, *, clean: bool) -> Notes:
        """Take notes of a store that makes no commit meanwhile; `clean`: and none after it."""
        engine = self._engine
        engine.writer.drain()
        with engine.lock:
            engine.clear_obstacle()
            engine.writer.drain_locked()
            if clean:
                engine.refuse_more()  # a commit after this checkpoint would make it a lie
            notes = self._take_notes(clean=clean)
            notes.note_dirty()
            return notes

    def _unlink(self, garbage: list[str]) -> None:
        with self._engine.lock:
            if self._engine.table.holders:
                self._engine.table.garbage += garbage
                return
        for place, path in enumerate(garbage):
            try:
                self._engine.filesystem.unlink(path)
            except OSError as error:
                logger.warning(
                    "could not remove %s, trying again with the next checkpoint: %s",
                    path,
                    error,
                    extra={"event": "not_removed", "path": self._engine.directory, "file": path},
                )
                with self._engine.lock:
                    self._engine.table.garbage += garbage[place:]
                return

    def _take_notes(self, *, clean: bool) -> Notes:
        engine = self._engine
        engine.checkpoint_begins()
        snapshot = None
        state = engine.streams[STATE_STREAM]
        state_at = engine.state_at
        if engine.snapshot_due() or (clean and engine.state_cost):
            snapshot = pack_snapshot(engine.models.values())
            state_at = (engine.commit_number, state.next_offset)
        parts = {stream.id: stream.parts for stream in engine.streams.values()}
        parts[STATE_STREAM] = state.parts[len(state.parts_below(state_at[1])) :]
        listed = [
            (segment, segment.position, segment.sealed)
            for segments in parts.values()
            for segment in segments
            if segment.position > segment.durable_position
            or segment.sealed != segment.durable_sealed
            or not segment.announced
        ]
        checkpoint = Checkpoint(
            sequence=engine.checkpoint_sequence + 1,
            commit=engine.commit_number,
            clean=clean,
            lives=[(engine.life, engine.first_commit)],
            next_file_id=engine.next_file_id,
            next_stream_id=engine.table.next_stream_id,
            state=state_at,
            streams={
                stream_id: [segment.packed_facts() for segment in segments] for stream_id, segments in parts.items()
            },
        )
        return Notes(
            checkpoint,
            listed,
            frozenset(segment for segment, _, _ in listed if not segment.announced),
            list(engine.table.garbage),
            engine.names_version,
            snapshot,
            engine.state_cost,
        )

    def _make_durable(self, notes: Notes) -> None:
        engine = self._engine
        for segment, _ in notes.dirty:
            self._sync(segment)
        if notes.names_version != engine.names_synced:
            engine.filesystem.sync_directory(engine.path(SEGMENTS))
        if notes.snapshot is not None:
            self._write_snapshot(engine.path(state_name(notes.checkpoint.state[0])), notes.snapshot)
        write_checkpoint(engine.filesystem, engine.directory, notes.checkpoint)

    def _sync(self, segment: Segment) -> None:
        try:
            with self._engine.lock:
                file = segment.file
                segment.syncing = file is not None  # one at a time: what is being synced cannot be closed
            if file is not None:
                file.sync()
                return
        finally:
            segment.syncing = False
        # Not open since recovery found frames in it. A file that is gone was dropped meanwhile: nobody needs it.
        with suppress(FileNotFoundError):
            with self._engine.lock:
                file = self._engine.cache.with_descriptors(lambda: self._engine.filesystem.open(segment.path))
            try:
                file.sync()
            finally:
                file.close()

    def _write_snapshot(self, path: str, snapshot: bytes) -> None:
        filesystem = self._engine.filesystem
        file = filesystem.open(path, create=True)
        try:
            file.write(0, crc32c(snapshot, len(snapshot)).to_bytes(4, "little") + snapshot)
            file.sync()
        finally:
            file.close()
        filesystem.sync_directory(os.path.dirname(path))

    def _conclude(self, notes: Notes) -> None:
        engine = self._engine
        for segment, position in notes.dirty:
            segment.synced_position = max(segment.synced_position, position)
        for segment, position, sealed in notes.listed:
            segment.announced = True
            segment.note_durable(position, sealed=sealed)
        for stream_id, listed in notes.checkpoint.streams.items():
            if stream_id in engine.streams:
                engine.streams[stream_id].durable_files = tuple(facts[0] for facts in listed)
        engine.names_synced = notes.names_version
        engine.checkpoint_sequence = notes.checkpoint.sequence
        engine.durable_commit = notes.checkpoint.commit
        engine.table.garbage = engine.table.garbage[len(notes.garbage) :]
        if notes.snapshot is not None:
            self._take_over_snapshot(notes, notes.snapshot)

    def _take_over_snapshot(self, notes: Notes, snapshot: bytes) -> None:
        engine = self._engine
        if engine.state_at[0]:
            notes.garbage.append(engine.path(state_name(engine.state_at[0])))
        engine.state_at = notes.checkpoint.state
        engine.state_cost -= notes.state_cost
        engine.snapshot_bytes = len(snapshot)
        engine.snapshot_wanted = False
        engine.table.trim_stream(STATE_STREAM, engine.state_at[1])

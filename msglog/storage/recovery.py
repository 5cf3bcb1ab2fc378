"""Opening a store: from what lies in the directory to the longest prefix of the commit history.

1. The newest valid checkpoint says where everything durable lies. A file it lists must be there.
2. The journal is redone, always storing, even equal bytes. Its first invalid entry ends it; if a later valid entry
calls that
   commit synced, acknowledged data is damaged: `CorruptionError`.
3. The newest draft whose checksums match, then the frames behind it, one by one: `walk`. The longest run of whole
commits
   over all streams stays, the rest is cut and kept in quarantine: `remains`.
4. The state is loaded from its snapshot and the events behind it: `replay`.

Nothing here decides by the clock, and doing it twice, or being interrupted and doing it again, ends in the same state.
Runs in `Engine.open`, before anybody else can use the engine; a readonly engine does it without writing.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msglog.errors import CorruptionError, ReadOnlyError
from msglog.storage.checkpoint import Checkpoint, read_checkpoints, write_checkpoint
from msglog.storage.filesystem import FileSystem
from msglog.storage.layout import CHECKPOINTS, FAILED, JOURNALS, PUBLISHED, SEGMENTS, parse_segment_name, state_name
from msglog.storage.published import PublishedPage
from msglog.storage.redo import redo_journal
from msglog.storage.remains import Findings, cut_tails, keep, rewrite_tails, sort_out_files, sort_out_runs
from msglog.storage.replay import replay_state
from msglog.storage.segment import Segment, segment_from_facts
from msglog.storage.walk import TailWalk
from msglog.types import RecoveryReport

if TYPE_CHECKING:
    from msglog.storage.engine import Engine

_FIRST_STREAM = 1
# How often a reader looks while the writer stands still, and in all.
_LOOKS = 5
_MOST_LOOKS = 100


@dataclass(slots=True)
class Recovered:
    """What recovery found and what is left to do before the store can be served."""

    checkpoint: Checkpoint
    commit: int
    life: int
    report: RecoveryReport
    needs_checkpoint: bool

    def announce_life(self, filesystem: FileSystem, directory: str, life: int, first_commit: int) -> None:
        """Write the new life down without claiming that more is durable than before."""
        self.checkpoint.begin_life(life, first_commit)
        self.checkpoint.sequence += 1
        self.checkpoint.clean = False
        write_checkpoint(filesystem, directory, self.checkpoint)


def recover_beside(engine: "Engine") -> Recovered:
    """Do so for a reader, beside a writer at work, which may drop files between two looks, or close the store.

    What is found wrong counts only when the writer has made no checkpoint meanwhile: before it is one, nothing goes.
    """
    still = 0
    for _ in range(_MOST_LOOKS):
        before = _newest_sequence(engine)
        try:
            return recover(engine)
        except (CorruptionError, FileNotFoundError, ReadOnlyError) as error:
            if not (engine.writer_is_alive() or isinstance(error, ReadOnlyError)):
                raise
            still += before == _newest_sequence(engine)
            if still == _LOOKS:
                raise
    return recover(engine)


def _newest_sequence(engine: "Engine") -> int:
    checkpoints = read_checkpoints(engine.filesystem, engine.directory)
    return checkpoints[0].sequence if checkpoints else 0


def recover(engine: "Engine") -> Recovered:
    """Bring the engine's streams and models to the end of the recovered history."""
    filesystem, directory = engine.filesystem, engine.directory
    findings = Findings()
    checkpoints = read_checkpoints(filesystem, directory)
    if not checkpoints:
        return _new_store(engine, findings)
    checkpoint = checkpoints[0]
    # A clean end can be trusted only while its predecessor is whole, too: else a newer one may be the damaged one.
    clean = checkpoint.clean and (len(checkpoints) == len(CHECKPOINTS) or checkpoint.sequence == 1)
    redone = 0
    failed = _failed_before(engine)
    if failed and engine.readonly and not engine.writer_is_alive():
        raise ReadOnlyError(f"a sync of {directory} failed: open it once for writing", path=directory)
    if not engine.readonly:
        _make_durable(engine, checkpoint, rewrite=failed)
    if not clean:
        redone = redo_journal(engine, checkpoint)
    parts = _listed_parts(engine, checkpoint)
    walk = TailWalk(engine, checkpoint, parts)
    if not clean or failed:
        walk.run(limit=_published_by_writer(engine))
    engine.table.begin_recovery(walk.parts())
    commit = walk.commit
    findings.replayed = commit - checkpoint.commit
    engine.next_file_id = max(checkpoint.next_file_id, walk.next_file_id)
    engine.table.next_stream_id = max(_FIRST_STREAM, checkpoint.next_stream_id)
    engine.durable_commit = checkpoint.commit
    engine.draft_sequence = walk.draft_sequence
    replay_state(engine, checkpoint)
    _note_listed(engine, checkpoint)
    if not engine.readonly and (not clean or failed):
        engine.names_version += 1
        cut_tails(engine, findings)
        if failed:
            rewrite_tails(engine)
    if not engine.readonly:
        sort_out_files(engine, checkpoint, walk.known_files, findings)
        sort_out_runs(engine, commit)
    life = checkpoint.lives[-1][0] + 1
    needs_checkpoint = failed or redone > 0
    report = findings.report(clean=clean and not failed, commit=commit, life=life)
    return Recovered(checkpoint, commit, life, report, needs_checkpoint)


def _note_listed(engine: "Engine", checkpoint: Checkpoint) -> None:
    """Remember what the checkpoint lists, and make sure that no stream begins behind its end."""
    for stream in engine.streams.values():
        stream.durable_files = tuple(facts[0] for facts in checkpoint.streams.get(stream.id, ()))
        if stream.start > stream.next_offset:
            path = stream.parts[-1].path if stream.parts else engine.path(SEGMENTS)
            raise CorruptionError(
                f"{path}: stream {stream.id} begins at offset {stream.start}, but ends at {stream.next_offset}",
                path=path,
                position=0,
                first_offset=stream.next_offset,
                next_offset=stream.start,
            )


def _new_store(engine: "Engine", findings: Findings) -> Recovered:
    filesystem, directory = engine.filesystem, engine.directory
    names = filesystem.list(directory)
    if filesystem.list(engine.path(SEGMENTS)) or any(name in names for name in JOURNALS):
        path = engine.path(CHECKPOINTS[0])
        raise CorruptionError(f"{path}: there are data in {directory}, but no valid checkpoint", path=path, position=0)
    if engine.readonly:
        raise ReadOnlyError(f"there is no store in {directory}: open it once for writing", path=directory)
    for name in CHECKPOINTS:
        if names.get(name):
            keep(engine, engine.path(name), findings)
    engine.table.begin_recovery({})
    replay_state(engine, None)
    checkpoint = Checkpoint(
        sequence=0, commit=0, clean=True, lives=[(0, 0)], next_file_id=1, next_stream_id=_FIRST_STREAM, state=(0, 0)
    )
    return Recovered(checkpoint, 0, 1, findings.report(clean=True, commit=0, life=1), engine.filesystem.durable)


def _make_durable(engine: "Engine", checkpoint: Checkpoint, *, rewrite: bool) -> None:
    """Sync the checkpoint that was read, and its snapshot: so far they may be in the kernel's cache only.

    Killed between writing and syncing a checkpoint, the last life left one that a power cut could still take; nothing
    may rely on it before. After a failed sync even that is not enough: it is written again.
    """
    commit = checkpoint.state[0]
    names = [state_name(commit)] if commit else []
    if rewrite:
        write_checkpoint(engine.filesystem, engine.directory, checkpoint)
    else:
        names.append(CHECKPOINTS[checkpoint.sequence % len(CHECKPOINTS)])
    for name in names:
        try:
            file = engine.filesystem.open(engine.path(name))
        except FileNotFoundError:
            continue  # a missing snapshot is found when it is read
        try:
            if rewrite:
                file.write(0, file.read(0, file.size()))
            file.sync()
        finally:
            file.close()
    engine.filesystem.sync_directory(engine.directory)


def _failed_before(engine: "Engine") -> bool:
    """Return whether a sync failed in the last life: then the kernel's view of the tail is not to be trusted."""
    names = engine.filesystem.list(engine.directory)
    if FAILED in names:
        return True
    if names.get(PUBLISHED, 0) == 0:
        return False
    return PublishedPage.open(engine.filesystem, engine.path(PUBLISHED), writable=False).failed


def _published_by_writer(engine: "Engine") -> int | None:
    """Return up to which commit a reader may look while a writer is at work, None without one."""
    if not engine.readonly or not engine.writer_is_alive():
        return None
    return PublishedPage.open(engine.filesystem, engine.path(PUBLISHED), writable=False).commit


def _listed_parts(engine: "Engine", checkpoint: Checkpoint) -> dict[int, list[Segment]]:
    """Return the segments that the checkpoint lists, all of which must be there."""
    sizes = engine.filesystem.list(engine.path(SEGMENTS))
    slugs: dict[int, str] = {}
    by_file: dict[int, str] = {}
    for name in sizes:
        parsed = parse_segment_name(name)
        if parsed is not None:
            slugs[parsed[0]] = parsed[1]
            by_file[parsed[3]] = name
    parts: dict[int, list[Segment]] = {}
    for stream_id, listed in checkpoint.streams.items():
        parts[stream_id] = []
        for facts in listed:
            segment = segment_from_facts(engine.directory, stream_id, slugs.get(stream_id, ""), facts)
            found = by_file.get(facts[0])
            if found is None or sizes[found] < facts[3]:
                problem = "is missing" if found is None else f"ends at {sizes[found]}, its frames at {facts[3]}"
                raise CorruptionError(
                    f"{segment.path}: the segment {problem}",
                    path=segment.path,
                    position=0 if found is None else sizes[found],
                    first_offset=facts[1],
                    next_offset=facts[2],
                )
            segment.note_durable(segment.position, sealed=segment.sealed)
            segment.synced_position = segment.position
            parts[stream_id].append(segment)
    return parts

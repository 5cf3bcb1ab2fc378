"""What recovery leaves out: cut tails, files without a place, and the tail after a failed sync.

Part of `recovery`. Nothing is deleted because it could not be read: what was cut is copied, and what has no place is
moved, to
`quarantine/`. Unlinked is only what a durable checkpoint says was dropped, and files that hold nothing.
"""

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msglog.storage.checkpoint import Checkpoint
from msglog.storage.filesystem import File
from msglog.storage.layout import (
    INDEX_SUFFIX,
    KEYS,
    QUARANTINE,
    SEGMENTS,
    STATE_PREFIX,
    in_keys,
    in_segments,
    parse_run_name,
    parse_segment_name,
    state_name,
)
from msglog.storage.segment import FILE_HEADER_SIZE, Segment
from msglog.types import RecoveryReport

if TYPE_CHECKING:
    from msglog.storage.engine import Engine

_CHUNK = 1 << 20
_FIRST_LOOK = 4096


@dataclass(slots=True)
class Findings:
    """What recovery collects for its report."""

    started: float = field(default_factory=time.perf_counter)
    replayed: int = 0
    cut_bytes: int = 0
    quarantined: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    def report(self, *, clean: bool, commit: int, life: int) -> RecoveryReport:
        """Return the report."""
        return RecoveryReport(
            clean=clean,
            commit=commit,
            life=life,
            replayed_commits=self.replayed,
            cut_bytes=self.cut_bytes,
            quarantined=tuple(self.quarantined),
            removed=tuple(self.removed),
            duration_ms=(time.perf_counter() - self.started) * 1000,
        )


def keep(engine: "Engine", path: str, findings: Findings) -> None:
    """Move a file to quarantine."""
    target = _place_in_quarantine(engine, os.path.basename(path))
    engine.filesystem.rename(path, target)
    findings.quarantined.append(target)


def _place_in_quarantine(engine: "Engine", name: str) -> str:
    directory = engine.path(QUARANTINE)
    engine.filesystem.make_directory(directory)
    taken = engine.filesystem.list(directory)
    number, candidate = 0, name
    while candidate in taken:
        number += 1
        candidate = f"{name}.{number}"
    return os.path.join(directory, candidate)


def cut_tails(engine: "Engine", findings: Findings) -> None:
    """Copy what stands behind the recovered end of every stream to quarantine, and put zeros in its place.

    Frames of an older life never count again anyway; the zeros only keep the next recovery from finding them once more.
    """
    sizes = engine.filesystem.list(engine.path(SEGMENTS))
    for stream in engine.streams.values():
        if not stream.parts:
            continue
        segment = stream.parts[-1]
        index_size = sizes.get(os.path.basename(segment.path) + INDEX_SUFFIX, 0)
        if index_size:
            segment.trim_index(engine.filesystem, index_size)
        file = engine.filesystem.open(segment.path)
        try:
            remains = _read_remains(file, segment.position)
            if remains:
                name = f"{os.path.basename(segment.path)}.at-{segment.position}"
                target = _place_in_quarantine(engine, name)
                _write_copy(engine, target, remains)
                file.write(segment.position, bytes(len(remains)))
                findings.cut_bytes += len(remains)
                findings.quarantined.append(target)
        finally:
            file.close()


def _read_remains(file: File, position: int) -> bytes:
    """Return what is not zero from `position` on.

    What lies behind a page of zeros, later a megabyte, is not looked for: there are as many tails as streams.
    """
    parts: list[bytes] = []
    size = _FIRST_LOOK
    while (data := file.read(position, size)) != bytes(len(data)):
        parts.append(data)
        position += len(data)
        size = _CHUNK
    return b"".join(parts).rstrip(b"\0")


def _write_copy(engine: "Engine", path: str, data: bytes) -> None:
    file = engine.filesystem.open(path, create=True)
    try:
        file.write(0, data)
        file.sync()
    finally:
        file.close()
    engine.filesystem.sync_directory(os.path.dirname(path))


def sort_out_files(engine: "Engine", checkpoint: Checkpoint, known_files: int, findings: Findings) -> None:
    """Remove what a checkpoint knows to be dropped, move what has no place, and forget old snapshots.

    `known_files`: a draft that is believed knows of all files with smaller ids.
    """
    filesystem = engine.filesystem
    live = {segment.file_id for stream in engine.streams.values() for segment in stream.parts}
    listed = {facts[0] for parts in checkpoint.streams.values() for facts in parts}
    dropped = {os.path.basename(path) for path in engine.table.garbage}
    for name, size in filesystem.list(engine.path(SEGMENTS)).items():
        path = in_segments(engine.directory, name)
        if name.endswith(INDEX_SUFFIX):
            parsed = parse_segment_name(name.removesuffix(INDEX_SUFFIX))
            if parsed is not None and parsed[3] not in live:
                filesystem.unlink(path)
            continue
        parsed = parse_segment_name(name)
        if parsed is not None and (parsed[3] in live or name in dropped):
            continue
        if parsed is not None and (parsed[3] in listed or checkpoint.next_file_id <= parsed[3] < known_files):
            # Dropped since the checkpoint in force, which may still list it: it goes with the next one.
            engine.table.garbage += (path, path + INDEX_SUFFIX)
            continue
        known = parsed is not None and parsed[3] < checkpoint.next_file_id
        if known or size <= FILE_HEADER_SIZE or _is_blank(engine, path):
            filesystem.unlink(path)
            findings.removed.append(path)
        else:
            findings.cut_bytes += size
            keep(engine, path, findings)
    current = state_name(checkpoint.state[0])
    for name in filesystem.list(engine.directory):
        if name.startswith(STATE_PREFIX) and name != current:
            filesystem.unlink(engine.path(name))


def sort_out_runs(engine: "Engine", commit: int) -> None:
    """Remove runs of indexes by key whose stream is gone, or that saw commits which are not part of the history.

    So every run that is left is true, for as long as it is there. The removal is durable before the first new commit:
    else a run could come back when the numbers that it saw have been given anew.
    """
    filesystem = engine.filesystem
    cut = False
    for name in filesystem.list(engine.path(KEYS)):
        parsed = parse_run_name(name)
        if parsed is None:
            continue
        unknown = parsed[3] > commit
        if unknown or parsed[0] not in engine.streams:
            filesystem.unlink(in_keys(engine.directory, name))
            cut = cut or unknown
    if cut:
        filesystem.sync_directory(engine.path(KEYS))


def _is_blank(engine: "Engine", path: str) -> bool:
    file = engine.filesystem.open(path, writable=False)
    try:
        return not _read_remains(file, FILE_HEADER_SIZE)
    finally:
        file.close()


def rewrite_tails(engine: "Engine") -> None:
    """After a failed sync: store everything behind the last durable checkpoint anew.

    The kernel may hold pages that it calls clean although they never reached the disk; only a new store makes them
    dirty.
    """
    for stream in engine.streams.values():
        for segment in stream.parts:
            if segment.position > segment.durable_position or not segment.announced:
                _rewrite(engine, segment)


def _rewrite(engine: "Engine", segment: Segment) -> None:
    file = engine.filesystem.open(segment.path)
    try:
        if not segment.announced:
            file.write(0, segment.header.pack())
        position = segment.durable_position
        while position < segment.position:
            data = file.read(position, min(_CHUNK, segment.position - position))
            file.write(position, data)
            position += len(data)
    finally:
        file.close()
    segment.synced_position = FILE_HEADER_SIZE

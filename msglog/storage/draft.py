"""Drafts: unsynced notes that keep reopening after a kill short.

In `sync` "none" and "interval" frames go straight to the segments, and recovery walks over all that came after the last
durable checkpoint. Every few thousand commits a draft notes where each stream ended, and the checksum of every stretch
of bytes written since that checkpoint. Recovery believes a draft only if all these checksums match, so it needs no
sync: checking a stretch costs a fraction of walking its frames. Same form of file as a checkpoint, see there,
with the magic 0x46444C4D ("MLDF"); contents:

    base       commit of the durable checkpoint it builds on
    life       of the writer
    next_file_id   files with a smaller id that nothing lists were dropped
    streams    id of each stream that changed to the list of all its segments then, which takes the place of the
               checkpoint's: [packed facts, position where the stretch begins, its checksum]
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from msglog.checksum import crc32c
from msglog.storage.checkpoint import Checkpoint, are_listed, are_numbers, pack_file, read_file
from msglog.storage.filesystem import FileSystem
from msglog.storage.layout import DRAFTS
from msglog.storage.segment import are_facts
from msglog.storage.stream import Stream

DraftStreams = dict[int, list[tuple[list[int], int, int]]]
MAGIC = 0x46444C4D
_CHUNK = 1 << 20
_STRETCH = 3


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft as read back; its checksums are still to be checked."""

    sequence: int
    commit: int
    next_file_id: int
    streams: DraftStreams


def write_draft(
    filesystem: FileSystem,
    directory: str,
    sequence: int,
    *,
    commit: int,
    base: int,
    life: int,
    next_file_id: int,
    streams: Iterable[Stream],
) -> None:
    """Write the draft whose turn it is; called under the store lock, nothing is synced."""
    noted: dict[int, list[tuple[list[int], int, int]]] = {}
    for stream in streams:
        changed = [segment for segment in stream.parts if segment.position > segment.durable_position]
        for segment in changed:
            segment.advance_checksum(filesystem)
            segment.save_index(filesystem)
        if changed or tuple(segment.file_id for segment in stream.parts) != stream.durable_files:
            noted[stream.id] = [
                (segment.packed_facts(), segment.durable_position, segment.draft_crc) for segment in stream.parts
            ]
    data = pack_file(
        MAGIC, sequence, commit, {"base": base, "life": life, "next_file_id": next_file_id, "streams": noted}
    )
    file = filesystem.open(os.path.join(directory, DRAFTS[sequence % 2]), create=True)
    try:
        file.write(0, data)
    finally:
        file.close()


def read_draft(filesystem: FileSystem, directory: str, checkpoint: Checkpoint) -> Draft | None:
    """Return the newest draft that builds on this checkpoint."""
    newest: Draft | None = None
    for name in DRAFTS:
        found = read_file(filesystem, os.path.join(directory, name), MAGIC)
        if found is None:
            continue
        sequence, commit, contents = found
        if not _is_sound(contents):
            continue
        fits = contents["base"] == checkpoint.commit and checkpoint.life_of(commit) == contents["life"]
        if fits and (newest is None or sequence > newest.sequence):
            newest = Draft(sequence, commit, contents["next_file_id"], contents["streams"])
    return newest


def _is_sound(contents: dict[str, Any]) -> bool:
    """Return whether everything is there in the types and ranges that it must have, whatever the checksum says."""
    numbers = (contents.get("base"), contents.get("life"), contents.get("next_file_id"))
    return are_numbers(*numbers) and are_listed(contents.get("streams"), _is_stretch)


def _is_stretch(found: object) -> bool:
    return type(found) is list and len(found) == _STRETCH and are_facts(found[0]) and are_numbers(*found[1:])


def stretch_matches(filesystem: FileSystem, path: str, start: int, end: int, checksum: int) -> bool:
    """Return whether the bytes of a file have this checksum."""
    if start == end:
        return checksum == 0
    try:
        file = filesystem.open(path, writable=False)
    except FileNotFoundError:
        return False
    try:
        found = 0
        while start < end:
            data = file.read(start, min(_CHUNK, end - start))
            if not data:
                return False
            found = crc32c(data, found)
            start += len(data)
    finally:
        file.close()
    return found == checksum

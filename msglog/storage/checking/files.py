"""Checking the files beside the segments: checkpoints, the snapshot of the state, journals, the published page, names.

Each check looks once, without a lock, and returns what it finds. While somebody writes, a look may come at the wrong
moment: whoever calls decides when a second one tells more. Imported by `streams` and `unopened`.
"""

import os
import re
from collections.abc import Iterator
from itertools import pairwise

from msglog.checksum import crc32c
from msglog.errors import CorruptionError, UnsupportedFormatError
from msglog.storage.checkpoint import MAGIC, Checkpoint, read_checkpoints, unpack_file
from msglog.storage.filesystem import FileSystem
from msglog.storage.journal import Area
from msglog.storage.layout import (
    CHECKPOINTS,
    DRAFTS,
    FAILED,
    INDEX_SUFFIX,
    JOURNALS,
    LOCK,
    PUBLISHED,
    SEGMENTS,
    STATE_PREFIX,
    in_segments,
    parse_segment_name,
    state_name,
)
from msglog.storage.published import PAGE_SIZE
from msglog.types import Problem

_STATE_NAME = re.compile(re.escape(STATE_PREFIX) + r"\d{20}")
_FRESH = tuple(f"{name}.fresh" for name in JOURNALS)
_KNOWN = {LOCK, PUBLISHED, FAILED, *CHECKPOINTS, *DRAFTS, *JOURNALS, *_FRESH}


def newest_checkpoint(filesystem: FileSystem, directory: str) -> Checkpoint | None:
    """Return the checkpoint that counts, None when there is none that can be read."""
    try:
        found = read_checkpoints(filesystem, directory)
    except OSError:  # of a newer format, or not to be read: whoever looks at the files tells which
        return None
    return found[0] if found else None


def check_checkpoints(filesystem: FileSystem, directory: str) -> list[Problem]:
    """Check both files, what the newest one lists, and its snapshot."""
    names = filesystem.list(directory)
    problems: list[Problem] = []
    whole = 0
    for name in CHECKPOINTS:
        if name in names:
            what = _wrong_checkpoint(_read(filesystem, os.path.join(directory, name)), name)
            if what is None:
                whole += 1
            else:
                problems.append(Problem("checkpoint", os.path.join(directory, name), 0, what))
    newest = newest_checkpoint(filesystem, directory)
    if newest is None:
        if filesystem.list(os.path.join(directory, SEGMENTS)) or problems:
            path = os.path.join(directory, CHECKPOINTS[0])
            problems.append(Problem("checkpoint", path, 0, "there is no valid checkpoint"))
        return problems
    path = os.path.join(directory, CHECKPOINTS[newest.sequence % len(CHECKPOINTS)])
    if newest.sequence > 1 and whole + len(problems) < len(CHECKPOINTS):
        other = os.path.join(directory, CHECKPOINTS[1 - newest.sequence % len(CHECKPOINTS)])
        problems.append(Problem("checkpoint", other, 0, "the checkpoint before the newest is missing"))
    problems += [Problem("checkpoint", path, 0, what) for what in _wrong_contents(newest)]
    problems += _check_listed(filesystem, directory, newest)
    return problems + check_snapshot(filesystem, directory, newest.state[0])


def _wrong_checkpoint(data: bytes, name: str) -> str | None:
    try:
        found = unpack_file(MAGIC, data, name)
    except UnsupportedFormatError as error:
        return f"store format {error.found}, which this version cannot read"
    if found is None:
        return "it is not whole: damaged, or its writing was interrupted"
    if Checkpoint.unpack(*found) is None:
        return "what it says makes no sense"
    if CHECKPOINTS[found[0] % len(CHECKPOINTS)] != name:
        return f"checkpoint {found[0]} belongs into the other file"
    return None


def _wrong_contents(checkpoint: Checkpoint) -> Iterator[str]:
    lives = checkpoint.lives
    if any(after <= before for before, after in pairwise(lives)) or not lives:
        yield "its lives do not rise"
    ids = [facts[0] for parts in checkpoint.streams.values() for facts in parts]
    if len(ids) != len(set(ids)):
        yield "it lists a file twice"
    if any(file_id >= checkpoint.next_file_id for file_id in ids):
        yield f"it lists a file beyond its next file id, {checkpoint.next_file_id}"
    if any(stream_id >= checkpoint.next_stream_id for stream_id in checkpoint.streams):
        yield f"it lists a stream beyond its next stream id, {checkpoint.next_stream_id}"
    if checkpoint.state[0] > checkpoint.commit:
        yield f"its snapshot is of commit {checkpoint.state[0]}, it is of commit {checkpoint.commit}"


def _check_listed(filesystem: FileSystem, directory: str, checkpoint: Checkpoint) -> Iterator[Problem]:
    sizes: dict[int, tuple[str, int]] = {}
    for name, size in filesystem.list(os.path.join(directory, SEGMENTS)).items():
        parsed = parse_segment_name(name)
        if parsed is not None:
            sizes[parsed[3]] = (name, size)
    for stream_id, parts in checkpoint.streams.items():
        for facts in parts:
            name, size = sizes.get(facts[0], ("", 0))
            if not name:
                path = in_segments(directory, f"{stream_id}-*.{facts[1]:020d}.{facts[0]}")
                yield Problem("segment", path, 0, "the segment is missing", first_offset=facts[1], next_offset=facts[2])
            elif size < facts[3]:
                what = f"the file ends at {size}, its frames at {facts[3]}"
                yield Problem(
                    "segment", in_segments(directory, name), size, what, first_offset=facts[1], next_offset=facts[2]
                )


def check_snapshot(filesystem: FileSystem, directory: str, commit: int) -> list[Problem]:
    """Check the snapshot of the state that is in force; a commit of 0 is none."""
    if not commit:
        return []
    path = os.path.join(directory, state_name(commit))
    try:
        data = _read(filesystem, path)
    except FileNotFoundError:
        return [Problem("snapshot", path, 0, "the snapshot of the state is missing")]
    if crc32c(data[4:], max(0, len(data) - 4)).to_bytes(4, "little") != data[:4]:
        return [Problem("snapshot", path, 0, "the snapshot of the state is damaged")]
    return []


def check_rest(filesystem: FileSystem, directory: str) -> list[Problem]:
    """Check the headers of the journals, the size of the published page, and that every name is a known one."""
    names = filesystem.list(directory)
    problems = [problem for name in JOURNALS if name in names for problem in _check_area(filesystem, directory, name)]
    if 0 < names.get(PUBLISHED, 0) < PAGE_SIZE:
        path = os.path.join(directory, PUBLISHED)
        problems.append(Problem("published", path, names[PUBLISHED], "shorter than a page"))
    problems += [
        Problem("file", os.path.join(directory, name), 0, "no file of a store has this name")
        for name in names
        if name not in _KNOWN and not _STATE_NAME.fullmatch(name)
    ]
    return problems + [
        Problem("file", in_segments(directory, name), 0, "no segment has this name")
        for name in filesystem.list(os.path.join(directory, SEGMENTS))
        if parse_segment_name(name.removesuffix(INDEX_SUFFIX)) is None
    ]


def _check_area(filesystem: FileSystem, directory: str, name: str) -> list[Problem]:
    path = os.path.join(directory, name)
    try:
        area = Area.open(filesystem, path, writable=False)
    except FileNotFoundError:
        return []
    except CorruptionError:
        return [Problem("journal", path, 0, "the header of the journal is damaged")]
    except UnsupportedFormatError as error:
        return [Problem("journal", path, 0, f"journal format {error.found}, which this version cannot read")]
    if area is not None:
        area.file.close()
    return []


def check_unlisted(filesystem: FileSystem, directory: str, checkpoint: Checkpoint) -> list[Problem]:
    """Check that a store that was closed holds no file that nothing explains."""
    listed = {facts[0] for parts in checkpoint.streams.values() for facts in parts}
    problems: list[Problem] = []
    for name in filesystem.list(os.path.join(directory, SEGMENTS)):
        parsed = parse_segment_name(name.removesuffix(INDEX_SUFFIX))
        if parsed is not None and parsed[3] not in listed and parsed[3] >= checkpoint.next_file_id:
            problems.append(Problem("file", in_segments(directory, name), 0, "no checkpoint knows this file"))
    return problems


def _read(filesystem: FileSystem, path: str) -> bytes:
    file = filesystem.open(path, writable=False)
    try:
        return file.read(0, file.size())
    finally:
        file.close()

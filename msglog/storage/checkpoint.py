"""The checkpoint: where recovery begins. Two files are written in turn, so one of them is always whole.

    position  size  field
    0         4     crc       CRC-32C of bytes 4 to 32 and of the contents
    4         4     magic     0x50434C4D ("MLCP")
    8         2     version   1
    10        2     reserved  0
    12        4     length    of the contents
    16        8     sequence  rising; the valid file with the larger one counts
    24        8     commit    the store is durable up to this commit
    32        -     contents  msgpack, see `Checkpoint`

crc, magic and version stay where they are in every future version. A draft has the same form with a magic of its own;
it is written without a sync and carries checksums of the stretches it vouches for, see `draft`.
"""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgpack

from msglog.checksum import crc32c
from msglog.errors import UnsupportedFormatError
from msglog.storage.filesystem import FileSystem
from msglog.storage.layout import CHECKPOINTS
from msglog.storage.segment import LARGEST_LIFE, LARGEST_NUMBER, are_facts

MAGIC = 0x50434C4D
VERSION = 1
HEADER = struct.Struct("<IIHHIQQ")
_PAIR = 2


@dataclass(slots=True)
class Checkpoint:
    """What is durable, and where it lies.

    `lives`: (life, its first commit) in rising order, as far back as frames behind the checkpoint may go.
    `streams`: stream id to the packed facts of its segments (`Segment.packed_facts`).
    `state`: commit of the state snapshot (0: none) and the offset in the state stream from which to replay.
    `clean`: written by close, nothing came after it.
    """

    sequence: int
    commit: int
    clean: bool
    lives: list[tuple[int, int]]
    next_file_id: int
    next_stream_id: int
    state: tuple[int, int]
    streams: dict[int, list[list[int]]] = field(default_factory=dict)

    def life_of(self, commit: int) -> int:
        """Return the life that a commit of this number must belong to."""
        owner = 0
        for life, first in self.lives:
            if first <= commit:
                owner = life
        return owner

    def begin_life(self, life: int, first: int) -> None:
        """Let a new life own all commits from `first` on."""
        self.lives = [(known, start) for known, start in self.lives if start < first]
        self.lives.append((life, first))

    def pack(self) -> bytes:
        """Return the whole file."""
        contents = {
            "clean": self.clean,
            "lives": self.lives,
            "next_file_id": self.next_file_id,
            "next_stream_id": self.next_stream_id,
            "state": self.state,
            "streams": self.streams,
        }
        return pack_file(MAGIC, self.sequence, self.commit, contents)

    @classmethod
    def unpack(cls, sequence: int, commit: int, contents: dict[str, Any]) -> "Checkpoint | None":
        """Read it back; None if it makes no sense, although its checksum fits."""
        if not (are_numbers(sequence, commit) and _is_sound(contents)):
            return None
        return cls(
            sequence=sequence,
            commit=commit,
            clean=contents["clean"],
            lives=[(life, first) for life, first in contents["lives"]],
            next_file_id=contents["next_file_id"],
            next_stream_id=contents["next_stream_id"],
            state=tuple(contents["state"]),
            streams=contents["streams"],
        )


def _is_sound(contents: dict[str, Any]) -> bool:
    """Return whether everything is there in the types and ranges that it must have."""
    lives: Any = contents.get("lives")
    return (
        type(contents.get("clean")) is bool
        and are_numbers(contents.get("next_file_id"), contents.get("next_stream_id"))
        and are_pairs(lives)
        and bool(lives)
        and lives[-1][0] <= LARGEST_LIFE
        and are_pairs([contents.get("state")])
        and are_listed(contents.get("streams"), are_facts)
    )


def are_numbers(*values: object) -> bool:
    """Return whether these are all numbers that the engine may have given."""
    return all(type(value) is int and 0 <= value <= LARGEST_NUMBER for value in values)


def are_pairs(found: object) -> bool:
    """Return whether this is a list of lists of two numbers that the engine may have given."""
    return type(found) is list and all(
        type(pair) is list and len(pair) == _PAIR and are_numbers(*pair) for pair in found
    )


def are_listed(found: object, fits: Callable[[Any], bool]) -> bool:
    """Return whether this has a list of things that fit for each stream."""
    return type(found) is dict and all(
        are_numbers(stream_id) and type(listed) is list and all(map(fits, listed))
        for stream_id, listed in found.items()
    )


def pack_file(magic: int, sequence: int, commit: int, contents: dict[str, Any]) -> bytes:
    """Return a checkpoint's or draft's file."""
    packed: bytes = msgpack.packb(contents)
    rest = HEADER.pack(0, magic, VERSION, 0, len(packed), sequence, commit)[4:]
    return crc32c(packed, crc32c(rest)).to_bytes(4, "little") + rest + packed


def unpack_file(wanted: int, data: bytes, path: str) -> tuple[int, int, dict[str, Any]] | None:
    """Return (sequence, commit, contents) of a file, None if it is not whole."""
    if len(data) < HEADER.size:
        return None
    checksum, magic, version, _, length, sequence, commit = HEADER.unpack_from(data)
    packed = data[HEADER.size : HEADER.size + length]
    if magic != wanted or len(packed) != length or crc32c(packed, crc32c(data[4 : HEADER.size])) != checksum:
        return None
    if version != VERSION:
        raise UnsupportedFormatError(
            f"{path}: store format {version}, this version of msglog reads {VERSION}",
            path=path,
            found=version,
            supported=VERSION,
        )
    try:
        contents = msgpack.unpackb(packed, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
    return (sequence, commit, contents) if type(contents) is dict else None


def read_file(filesystem: FileSystem, path: str, magic: int) -> tuple[int, int, dict[str, Any]] | None:
    """Return the contents of a file, None if it is missing or not whole."""
    try:
        file = filesystem.open(path, writable=False)
    except FileNotFoundError:
        return None
    try:
        return unpack_file(magic, file.read(0, file.size()), path)
    finally:
        file.close()


def read_checkpoints(filesystem: FileSystem, directory: str) -> list[Checkpoint]:
    """Return the valid checkpoints, the newest first."""
    found = [read_file(filesystem, os.path.join(directory, name), MAGIC) for name in CHECKPOINTS]
    checkpoints = [Checkpoint.unpack(*item) for item in found if item is not None]
    return sorted((item for item in checkpoints if item is not None), key=lambda item: item.sequence, reverse=True)


def write_checkpoint(filesystem: FileSystem, directory: str, checkpoint: Checkpoint) -> None:
    """Write and sync the file whose turn it is; on return the checkpoint is durable."""
    path = os.path.join(directory, CHECKPOINTS[checkpoint.sequence % 2])
    file = filesystem.open(path, create=True)
    try:
        file.write(0, checkpoint.pack())
        file.sync()
    finally:
        file.close()
    if checkpoint.sequence <= len(CHECKPOINTS):
        filesystem.sync_directory(directory)

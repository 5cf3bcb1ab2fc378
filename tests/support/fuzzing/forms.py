"""The forms of files and how to change one so that its checksums still match.

Each form has `repair`, which puts right all checksums that can be found, and `change`, which changes a part that has a
meaning. What they cannot make sense of they leave as it is.
"""

import json
import random
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from crc32c import crc32c

from msglog.storage.checkpoint import HEADER as CHECKPOINT_HEADER
from msglog.storage.frame import HEADER, HEADER_SIZE
from msglog.storage.journal import AREA_HEADER_SIZE, ENTRY_HEADER, ENTRY_HEADER_SIZE
from msglog.storage.segment import FILE_HEADER_SIZE, seed_of
from support.fuzzing.mutate import mutate_bytes, mutate_packed, mutate_value

_CRC = struct.Struct("<I")
_SEED = struct.Struct("<Q")
_ROW_BYTES = 24
_BLOCK_BYTES = 512 * _ROW_BYTES
_TRAILER_SIZE = 80
_FIELDS = "<IQIIIQqqQIIQ"  # of a frame's header

Change = Callable[[bytes, random.Random], bytes]
Repair = Callable[[bytes], bytes]


def _as_it_is(data: bytes) -> bytes:
    return data


class Form(NamedTuple):
    """One form of file."""

    change: Change
    repair: Repair

    def mutate(self, data: bytes, chance: random.Random) -> bytes:
        """Return a changed file, with its checksums repaired nine times of ten."""
        changed = self.change(data, chance) if chance.random() < 0.6 else mutate_bytes(data, chance)
        return self.repair(changed) if chance.random() < 0.9 else changed


# Frames


def frames_of(data: bytes, position: int) -> Iterator[tuple[int, int]]:
    """Yield where frames begin and end, as far as their lengths tell."""
    while position + HEADER_SIZE <= len(data):
        (length,) = _CRC.unpack_from(data, position + 12)
        end = position + HEADER_SIZE + length
        if end > len(data) or not any(data[position : position + HEADER_SIZE]):
            return
        yield position, end
        position = end


def repair_frames(data: bytes, position: int = 0, seed: int = 0) -> bytes:
    """Return frames, one behind the other, with checksums that match."""
    found = bytearray(data)
    for start, end in frames_of(data, position):
        _CRC.pack_into(found, start, crc32c(data[start + 4 : end], seed))
    return bytes(found)


def change_frames(data: bytes, chance: random.Random, position: int = 0) -> bytes:
    """Return frames of which one was changed, lost, repeated or moved."""
    places = list(frames_of(data, position))
    if not places:
        return mutate_bytes(data, chance)
    start, end = chance.choice(places)
    frame = data[start:end]
    match chance.randrange(8):
        case 0:
            changed = b"" if chance.random() < 0.5 else bytes(len(frame))
        case 1:
            changed = frame * 2
        case 2:
            other_start, other_end = chance.choice(places)
            changed = data[other_start:other_end]
        case 3 | 4:
            changed = _with_body(frame, mutate_packed(frame[HEADER_SIZE:], chance))
        case 5:
            changed = _with_body(frame, mutate_bytes(frame[HEADER_SIZE:], chance))
        case _:
            changed = _with_field(frame, chance)
    return data[:start] + changed + data[end:]


def _with_field(frame: bytes, chance: random.Random) -> bytes:
    sizes = [struct.calcsize("<" + code) for code in _FIELDS[1:]]
    number = chance.randrange(1, len(sizes))
    at, size = sum(sizes[:number]), sizes[number]
    return frame[:at] + mutate_bytes(frame[at : at + size], chance)[:size].ljust(size, b"\0") + frame[at + size :]


def _with_body(frame: bytes, body: bytes) -> bytes:
    header = list(HEADER.unpack_from(frame))
    header[2] = len(body)
    return HEADER.pack(*header) + body


FRAMES = Form(change_frames, repair_frames)

# Segments


def _repair_header(data: bytes, size: int) -> bytes:
    return _CRC.pack(crc32c(data[4:size])) + data[4:] if len(data) >= size else data


def repair_segment(data: bytes) -> bytes:
    """Return a segment's file with checksums that match its seed."""
    if len(data) < FILE_HEADER_SIZE:
        return data
    seed = seed_of(_SEED.unpack_from(data, 24)[0])
    return repair_frames(_repair_header(data, FILE_HEADER_SIZE), FILE_HEADER_SIZE, seed)


SEGMENT = Form(lambda data, chance: change_frames(data, chance, FILE_HEADER_SIZE), repair_segment)

# Journals


def repair_journal(data: bytes) -> bytes:
    """Return a journal's file with checksums that match its seed."""
    if len(data) < AREA_HEADER_SIZE:
        return data
    found = bytearray(_repair_header(data, AREA_HEADER_SIZE))
    seed = seed_of(_SEED.unpack_from(data, 16)[0])
    for start, end in _entries(data):
        _CRC.pack_into(found, start, crc32c(data[start + 4 : end], seed))
    return bytes(found)


def _entries(data: bytes) -> Iterator[tuple[int, int]]:
    position = AREA_HEADER_SIZE
    while position + ENTRY_HEADER_SIZE <= len(data):
        length = ENTRY_HEADER.unpack_from(data, position)[2]
        if length < ENTRY_HEADER_SIZE or position + length > len(data):
            return
        yield position, position + length
        position += length + -length % 8


def change_journal(data: bytes, chance: random.Random) -> bytes:
    """Return a journal's file of which one entry was changed."""
    places = list(_entries(data))
    if not places:
        return mutate_bytes(data, chance)
    start, end = chance.choice(places)
    entry = bytearray(data[start:end])
    if chance.random() < 0.6:  # a number of the entry's header, or of what follows it
        at = chance.randrange(4, len(entry) - 3, 4) if chance.random() < 0.5 else chance.randrange(12, 44, 4)
        entry[at : at + 4] = chance.choice((0, 1, 2, 9, 255, 1 << 16, 1 << 31, (1 << 32) - 1)).to_bytes(4, "little")
        return data[:start] + bytes(entry) + data[end:]
    changed = mutate_bytes(bytes(entry), chance)
    if chance.random() < 0.8:
        changed = changed[:8] + _CRC.pack(len(changed)) + changed[12:]
    return data[:start] + changed + bytes(-len(changed) % 8) + data[end + -end % 8 :]


JOURNAL = Form(change_journal, repair_journal)

# Checkpoints and drafts


def repair_checkpoint(data: bytes) -> bytes:
    """Return a checkpoint or draft with the length and the checksum that its contents have."""
    if len(data) < CHECKPOINT_HEADER.size:
        return data
    head, contents = data[4 : CHECKPOINT_HEADER.size], data[CHECKPOINT_HEADER.size :].rstrip(b"\0")
    contents = contents or data[CHECKPOINT_HEADER.size :]
    head = head[:8] + _CRC.pack(len(contents)) + head[12:]
    return _CRC.pack(crc32c(contents, crc32c(head))) + head + contents


def change_checkpoint(data: bytes, chance: random.Random) -> bytes:
    """Return a checkpoint or draft with something else in it."""
    size = CHECKPOINT_HEADER.size
    if len(data) < size or chance.random() < 0.1:
        return mutate_bytes(data[:size], chance) + data[size:]
    length = _CRC.unpack_from(data, 12)[0]
    return data[:size] + mutate_packed(data[size : size + length], chance)


CHECKPOINT = Form(change_checkpoint, repair_checkpoint)

# Snapshots of the state


def repair_snapshot(data: bytes) -> bytes:
    """Return a snapshot with the checksum of what it holds."""
    contents = data[4:]
    return _CRC.pack(crc32c(contents, len(contents))) + contents


SNAPSHOT = Form(lambda data, chance: data[:4] + mutate_packed(data[4:], chance), repair_snapshot)

# Runs of an index by key


def repair_run(data: bytes) -> bytes:
    """Return a run with checksums that match, as far as its counts fit."""
    if len(data) < _TRAILER_SIZE:
        return data
    trailer = data[-_TRAILER_SIZE:]
    rows = _SEED.unpack_from(trailer, 56)[0]
    blocks = -(-rows // 512)
    if rows * _ROW_BYTES + 12 * blocks + _TRAILER_SIZE != len(data):
        return data
    seed = crc32c(trailer[16:24])
    body = data[: rows * _ROW_BYTES]
    pieces = [body[at : at + _BLOCK_BYTES] for at in range(0, len(body), _BLOCK_BYTES)]
    fences = data[len(body) : len(body) + 8 * blocks]
    columns = fences + b"".join(_CRC.pack(crc32c(piece, seed)) for piece in pieces)
    return body + columns + _CRC.pack(crc32c(trailer[4:], crc32c(columns))) + trailer[4:]


RUN = Form(mutate_bytes, repair_run)

# Lines of JSON


def change_lines(data: bytes, chance: random.Random) -> bytes:
    """Return lines of which one has another value somewhere in it."""
    lines = data.split(b"\n")
    at = chance.randrange(len(lines))
    try:
        value = json.loads(lines[at])
    except (ValueError, RecursionError):
        return mutate_bytes(data, chance)
    if chance.random() < 0.05:
        lines[at] = b"[" * 2000 + lines[at]
    else:
        lines[at] = json.dumps(mutate_value(value, chance), default=repr, skipkeys=True).encode()
    return b"\n".join(lines)


LINES = Form(change_lines, _as_it_is)
PLAIN = Form(mutate_bytes, _as_it_is)
PACKED = Form(mutate_packed, _as_it_is)


def form_of(name: str) -> Form:
    """Return the form of a store's file, by its path in the store."""
    folder, _, base = name.rpartition("/")
    if folder == "segments" and not base.endswith(".index"):
        return SEGMENT
    if folder == "keys":
        return RUN
    for prefix, form in (("journal", JOURNAL), ("checkpoint", CHECKPOINT), ("draft", CHECKPOINT), ("state", SNAPSHOT)):
        if base.startswith(prefix):
            return form
    return PLAIN

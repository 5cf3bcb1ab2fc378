"""Going through the frames of one file from end to end, over whatever damage there is.

It reads in pieces, never by a map, so that a file that is cut short while it is looked at raises nothing, and memory
is bounded by one frame. A frame counts when its checksum matches; behind damage the next one is searched for, and what
the disk refuses to read is damage like any other. Imported by what checks, copies and salvages; reads only.
"""

import errno
from collections.abc import Iterator
from typing import NamedTuple

from msglog.checksum import crc32c
from msglog.storage.filesystem import File
from msglog.storage.frame import CRC, HEADER, HEADER_SIZE, KIND_KEYED, KIND_PLAIN, MAGIC_AND_VERSION, ONE_RECORD
from msglog.storage.runs import HEADER_OF_ONE

_PIECE = 1 << 20
_BLOCK = 4096
_LIFE = (1 << 32) - 1
_UNPACK_ONE = HEADER_OF_ONE.unpack_from
_MAGIC = MAGIC_AND_VERSION.to_bytes(3, "little")
# Where the magic stands in a frame.
_MAGIC_POSITION = CRC.size


class Scanned(NamedTuple):
    """A frame from `position` to `end`; `raw` is all of it. The other fields are its header's."""

    position: int
    end: int
    raw: bytes
    kind: int
    records: int
    span: int
    base_offset: int
    timestamp_ms: int
    max_timestamp_ms: int
    commit: int
    life: int
    frames: int
    value_total: int

    @property
    def next_offset(self) -> int:
        """The offset behind it."""
        return self.base_offset + self.span


class Damage(NamedTuple):
    """A stretch without a valid frame."""

    position: int
    end: int


class Place(NamedTuple):
    """How far a run of frames was followed, and what the next one must go on with."""

    position: int
    offset: int
    value_total: int
    commit: int
    life: int
    max_timestamp_ms: int


class FrameScan:
    """The frames of a file up to a position."""

    def __init__(self, file: File, crc_seed: int, end: int) -> None:
        self._file = file
        self._seed = crc_seed
        self._end = min(end, file.size())
        self._piece = b""
        self._start = 0

    def frames(self, position: int) -> Iterator[Scanned | Damage]:
        """Yield the frames from `position` on, and the damage between them."""
        while position < self._end:
            found = self.frame_or_damage(position)
            yield found
            position = found.end

    def frame_or_damage(self, position: int) -> Scanned | Damage:
        """Return the frame at a position, or the damage there up to the next valid frame."""
        found = self.frame_at(position)
        if found is not None:
            return found
        behind = self._next_frame(position + 1)
        return Damage(position, self._end if behind is None else behind)

    def follow(self, place: Place, stop: int) -> Place:
        """Go over frames of one record each as long as they go on as they should, and as the piece in hand reaches.

        It ends before position `stop`, and before everything that needs a closer look. A tenth of the time that a look
        at each of them takes.
        """
        position, offset, total, commit, life, latest = place
        if self._have(position, HEADER_SIZE) is None:
            return place
        piece, start, seed = self._piece, self._start, self._seed
        size = len(piece)
        at = position - start
        last = min(size - HEADER_SIZE, stop - start - 1)
        while at <= last:
            checksum, kind, length, one, base, stamp, most, number, life_and_frames, before = _UNPACK_ONE(piece, at)
            following = at + HEADER_SIZE + length
            if (
                one != ONE_RECORD
                or base != offset
                or before != total
                or number < commit
                or stamp != most
                or life_and_frames & _LIFE != life
                or following > size
                or crc32c(piece[at + 4 : following], seed) != checksum
            ):
                break
            if kind == KIND_PLAIN:
                total += length
            elif kind == KIND_KEYED and length >= CRC.size:
                (key_size,) = CRC.unpack_from(piece, at + HEADER_SIZE)
                if key_size > length - CRC.size:
                    break
                total += length - CRC.size - key_size
            else:
                break
            offset += 1
            commit = number
            latest = max(latest, stamp)
            at = following
        return Place(start + at, offset, total, commit, life, latest)

    def frame_at(self, position: int) -> Scanned | None:
        """Return the frame at a position, None when there is no valid one."""
        at = self._have(position, HEADER_SIZE)
        if at is None:
            return None
        header = HEADER.unpack_from(self._piece, at)
        size = HEADER_SIZE + header[2]
        if header[1] & 0xFFFFFF != MAGIC_AND_VERSION or position + size > self._end:
            return None
        at = self._have(position, size)
        if at is None:
            return None
        raw = self._piece[at : at + size]
        if crc32c(raw[_MAGIC_POSITION:], self._seed) != header[0]:
            return None
        return Scanned(position, position + size, raw, header[1], *header[3:])

    def _have(self, position: int, size: int) -> int | None:
        """Make sure that the piece in hand holds these bytes; return where, None when the file ends before."""
        if position + size > self._end:
            return None
        at = position - self._start
        if at < 0 or at + size > len(self._piece):
            self._piece = self._read(position, min(max(size, _PIECE), self._end - position))
            self._start = position
            at = 0
        return at if at + size <= len(self._piece) else None

    def _read(self, position: int, size: int) -> bytes:
        """Read; what the disk does not give back is zeros, in which there is no frame."""
        try:
            return self._file.read(position, size)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
        parts: list[bytes] = []
        size = min(size, max(0, self._file.size() - position))
        while size > 0:
            # To the end of a block: the system reads whole ones.
            count = min(size, _BLOCK - position % _BLOCK)
            try:
                part = self._file.read(position, count)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                part = b""
            parts.append(part.ljust(count, b"\0"))
            position += count
            size -= count
        return b"".join(parts)

    def _next_frame(self, position: int) -> int | None:
        """Return where the first valid frame begins at or behind `position`."""
        place = position + _MAGIC_POSITION
        while place < self._end:
            piece = self._read(place, _PIECE)
            at = piece.find(_MAGIC)
            while at >= 0:
                begin = place + at - _MAGIC_POSITION
                if self.frame_at(begin) is not None:
                    return begin
                at = piece.find(_MAGIC, at + 1)
            if len(piece) < len(_MAGIC):
                return None
            place += max(1, len(piece) - len(_MAGIC) + 1)
        return None

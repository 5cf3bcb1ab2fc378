"""A segment: one mapped file of frames, named by base offset and file id.

    position  size  field
    0         4     crc          CRC-32C of bytes 4 to 64
    4         4     magic        0x47534C4D ("MLSG")
    8         2     version      1
    10        2     reserved     0
    12        4     life         number of the opening for writing that made the file
    16        8     file_id      unique in the store, rising
    24        8     seed         random; every checksum in the file is seeded with it
    32        8     stream_id
    40        8     base_offset  no record of the file has a smaller offset
    48        8     value_total  bytes of values in the stream before the file
    56        8     reserved     0
    64        -     frames, one behind the other; zeros up to the end of the file

crc, magic and version stay where they are in every future version. The file is allocated in steps (64 KiB, doubled) and
never shrunk. A `Segment` is the state of such a file in memory; whoever changes it holds the store lock. Invariants:
`synced_position <= stored_position <= position`; bytes below `stored_position` are frames and never change again.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from msglog.checksum import crc32c
from msglog.errors import CorruptionError, UnsupportedFormatError
from msglog.storage.filesystem import File, FileSystem, Map
from msglog.storage.frame import HEADER, HEADER_SIZE, MAGIC_AND_VERSION
from msglog.storage.index import ENTRY, INDEX_INTERVAL, MIN_TIMESTAMP, SparseIndex
from msglog.storage.layout import INDEX_SUFFIX, in_segments, segment_name

MAGIC = 0x47534C4D
VERSION = 1
FILE_HEADER = struct.Struct("<IIHHIQQQQQQ")
FILE_HEADER_SIZE = 64
FIRST_ALLOCATION = 64 << 10
# Ids, offsets, positions and commits stay far below it, and so do those that follow.
LARGEST_NUMBER = 1 << 62
# What is found on the disk may be half as far: what is counted on from there still fits.
LARGEST_FOUND = 1 << 61
LARGEST_LIFE = (1 << 32) - 2
_FACTS = 11
_CRC = struct.Struct("<I")
_ZERO_AHEAD = 256 << 10
_ZEROS = memoryview(bytes(_ZERO_AHEAD))


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """What there is to know about a segment without opening it."""

    file_id: int
    base_offset: int
    end_offset: int
    size_bytes: int
    first_timestamp_ms: int
    max_timestamp_ms: int
    sealed: bool


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """The first 64 bytes of a segment's file."""

    life: int
    file_id: int
    seed: int
    stream_id: int
    base_offset: int
    value_total: int

    def pack(self) -> bytes:
        """Return the bytes as they stand in the file."""
        rest = FILE_HEADER.pack(
            0,
            MAGIC,
            VERSION,
            0,
            self.life,
            self.file_id,
            self.seed,
            self.stream_id,
            self.base_offset,
            self.value_total,
            0,
        )[4:]
        return _CRC.pack(crc32c(rest)) + rest

    @classmethod
    def unpack(cls, data: bytes, path: str) -> "SegmentHeader":
        """Read the header back. Raises `CorruptionError`, or `UnsupportedFormatError` for a newer version."""
        if len(data) < FILE_HEADER_SIZE or _CRC.unpack_from(data)[0] != crc32c(data[4:FILE_HEADER_SIZE]):
            raise CorruptionError(f"{path}: the header of the segment is damaged", path=path, position=0)
        _, magic, version, _, life, file_id, seed, stream_id, base_offset, value_total, _ = FILE_HEADER.unpack_from(
            data
        )
        if magic != MAGIC:
            raise CorruptionError(f"{path}: not a segment", path=path, position=4)
        if version != VERSION:
            raise UnsupportedFormatError(
                f"{path}: segment format {version}, this version of msglog reads {VERSION}",
                path=path,
                found=version,
                supported=VERSION,
            )
        return cls(life, file_id, seed, stream_id, base_offset, value_total)


def seed_of(number: int) -> int:
    """Return the 32-bit checksum seed that a random 64-bit number gives."""
    return crc32c(number.to_bytes(8, "little"))


def random_seed() -> int:
    """Return a random 64-bit number for a new file."""
    return int.from_bytes(os.urandom(8), "little")


class Segment:
    """One file of a stream, open or not."""

    __slots__ = (
        "announced",
        "base_offset",
        "before_ms",
        "capacity",
        "crc_seed",
        "draft_crc",
        "draft_position",
        "dropped",
        "durable_position",
        "durable_sealed",
        "end_offset",
        "file",
        "file_id",
        "first_timestamp_ms",
        "header",
        "index",
        "limit",
        "map",
        "max_timestamp_ms",
        "next_index_position",
        "path",
        "position",
        "sealed",
        "stored_position",
        "synced_position",
        "syncing",
        "used",
        "value_total",
        "zeroed_position",
    )

    def __init__(self, path: str, header: SegmentHeader) -> None:
        self.path = path
        self.header = header
        self.file_id = header.file_id
        self.base_offset = header.base_offset
        self.crc_seed = seed_of(header.seed)
        self.value_total = header.value_total
        self.end_offset = header.base_offset
        self.position = self.stored_position = self.synced_position = FILE_HEADER_SIZE
        # What the last durable checkpoint lists, and how far the checksum of a draft has come since.
        self.durable_position = self.draft_position = FILE_HEADER_SIZE
        self.durable_sealed = False
        self.draft_crc = 0
        self.first_timestamp_ms = self.max_timestamp_ms = MIN_TIMESTAMP
        # The largest timestamp of the stored frames: what the next index entry says.
        self.before_ms = MIN_TIMESTAMP
        self.sealed = False
        # No stream holds it any more: frames that are still on their way to it go nowhere.
        self.dropped = False
        # Known to the journal or a checkpoint: before that, an entry that touches the file says how to make it.
        self.announced = False
        self.file: File | None = None
        self.map: Map | None = None
        self.capacity = 0
        # Beyond this position an append takes the slow path: for space or ready pages, for an index entry, or to open
        # the file.
        self.limit = 0
        self.index: SparseIndex | None = None
        self.next_index_position = FILE_HEADER_SIZE
        self.syncing = False
        self.used = 0
        self.zeroed_position = 0

    @property
    def dirty(self) -> bool:
        """Whether bytes were stored that no sync covers."""
        return self.stored_position > self.synced_position

    @property
    def empty(self) -> bool:
        """Whether no frame was written."""
        return self.position == FILE_HEADER_SIZE

    def facts(self) -> SegmentFacts:
        """Return the segment's facts for those who choose what to drop or rewrite."""
        return SegmentFacts(
            self.file_id,
            self.base_offset,
            self.end_offset,
            self.position,
            self.first_timestamp_ms,
            self.max_timestamp_ms,
            self.sealed,
        )

    def packed_facts(self) -> list[int]:
        """Return the facts as they stand in a checkpoint, read back by `restore`."""
        return [
            self.file_id,
            self.base_offset,
            self.end_offset,
            self.position,
            self.first_timestamp_ms,
            self.max_timestamp_ms,
            self.value_total,
            int(self.sealed),
            self.header.seed,
            self.header.life,
            self.header.value_total,
        ]

    def restore(self, facts: list[int]) -> None:
        """Take over the facts of a checkpoint or a draft."""
        _, _, self.end_offset, self.position, self.first_timestamp_ms, self.max_timestamp_ms = facts[:6]
        self.value_total = facts[6]
        self.sealed = bool(facts[7])
        self.stored_position = self.position
        self.before_ms = self.max_timestamp_ms
        self.announced = True

    def note_durable(self, position: int, *, sealed: bool) -> None:
        """A durable checkpoint lists the segment up to `position`: drafts vouch for what comes after."""
        self.durable_position = self.draft_position = position
        self.durable_sealed = sealed
        self.draft_crc = 0

    def advance_checksum(self, filesystem: FileSystem) -> None:
        """Bring the checksum for drafts up to the last frame; before the map is closed, too."""
        start, end = self.draft_position, self.stored_position
        if start >= end:
            return
        if self.map is None:
            file = filesystem.open(self.path, writable=False)
            try:
                self.draft_crc = crc32c(file.read(start, end - start), self.draft_crc)
            finally:
                file.close()
        else:
            with memoryview(self.map) as view:
                self.draft_crc = crc32c(view[start:end], self.draft_crc)
        self.draft_position = end

    def note_frame(self, end_offset: int, end_position: int, timestamp_ms: int, max_timestamp_ms: int) -> None:
        """Advance the assigned state over one more frame."""
        if self.first_timestamp_ms == MIN_TIMESTAMP:
            self.first_timestamp_ms = timestamp_ms
        self.max_timestamp_ms = max(self.max_timestamp_ms, max_timestamp_ms)
        self.end_offset = end_offset
        self.position = end_position

    def note_stored(self, base_offset: int, position: int, end: int, max_timestamp_ms: int) -> None:
        """Take a stored frame into the index."""
        self.note_frame_at(base_offset, position)
        self.before_ms = max(self.before_ms, max_timestamp_ms)
        self.stored_position = end

    def note_frame_at(self, base_offset: int, position: int) -> None:
        """Take a frame at the end into the index, if an entry is due there."""
        if self.index is not None and position >= self.next_index_position:
            self.index.add(base_offset, position, self.before_ms)
            self.next_index_position = position + INDEX_INTERVAL
        self.limit = min(self.capacity, self.next_index_position, self.zeroed_position)

    def open(self, filesystem: FileSystem, *, writable: bool) -> None:
        """Open and map the file."""
        file = filesystem.open(self.path, writable=writable)
        size = file.size()
        if size < max(self.position, FILE_HEADER_SIZE):
            file.close()
            raise CorruptionError(
                f"{self.path}: the file ends at {size}, its frames at {self.position}",
                path=self.path,
                position=size,
                first_offset=self.base_offset,
                next_offset=self.end_offset,
            )
        mapped = file.map(size)
        found = SegmentHeader.unpack(bytes(mapped[:FILE_HEADER_SIZE]), self.path)
        if found != self.header:
            raise CorruptionError(f"{self.path}: the file is not the one listed", path=self.path, position=0)
        self.capacity = size
        self.limit = 0
        self.map = mapped
        if writable:
            self.file = file
        else:
            file.close()

    def close(self) -> None:
        """Drop the map and the descriptor. The map itself lives on in whoever reads from it."""
        self.map = None
        self.index = None
        self.limit = 0
        file, self.file = self.file, None
        if file is not None and not self.syncing:
            file.close()

    def grow(self, needed: int, largest: int) -> None:
        """Allocate space for frames up to position `needed`, doubling, and map it."""
        if self.file is None:
            raise AssertionError("a segment grows only while it is open for writing")
        size = max(self.capacity, FIRST_ALLOCATION)
        while size < needed:
            size *= 2
        if size > largest:
            size = max(needed, largest)
        self.file.allocate(size)
        self.map = self.file.map(size)
        self.capacity = size

    def zero_ahead(self, position: int, *, durable: bool) -> None:
        """Write zeros where the next small frames will go, before they are stored through the map.

        Pages that a write made ready cost less to fill through the map than fresh ones (benchmarks/fresh_pages.py).
        Where the file is not on a disk (`durable` is False) all of it is ready.
        """
        if not durable:
            self.zeroed_position = self.capacity
            return
        self.zeroed_position = min(self.capacity, position + _ZERO_AHEAD)
        if self.file is not None and position < self.zeroed_position:
            self.file.write(position, _ZEROS[: self.zeroed_position - position])

    # Looking into the file

    def load_index(self, filesystem: FileSystem) -> SparseIndex:
        """Return the index: from memory, from its file, or rebuilt by walking over the frames."""
        if self.index is not None:
            return self.index
        mapped = self.map
        if mapped is None:
            raise AssertionError("an index is loaded for an open segment")
        index = self._saved_index(filesystem, mapped)
        before_ms = index.last_timestamp()
        position = index.last_position()
        next_position = FILE_HEADER_SIZE if position is None else position + INDEX_INTERVAL
        reached: int | None = position or FILE_HEADER_SIZE
        while reached is not None:
            for base_offset, start, end, _, max_timestamp in self.walk(mapped, reached, self.stored_position):
                reached = end
                if start >= next_position:
                    index.add(base_offset, start, before_ms)
                    next_position = start + INDEX_INTERVAL
                before_ms = max(before_ms, max_timestamp)
            behind = self.frame_behind_damage(mapped, reached)
            reached = None if behind is None else behind[0]
            next_position = reached or next_position  # what lies behind damage gets an entry
        self.next_index_position = next_position
        self.index = index
        return index

    def _saved_index(self, filesystem: FileSystem, mapped: Map) -> SparseIndex:
        index = self._read_index(filesystem)
        for offset, position in index.places():
            header = HEADER.unpack_from(mapped, position) if position + HEADER_SIZE <= len(mapped) else (0,) * 6
            if header[1] & 0xFFFFFF != MAGIC_AND_VERSION or header[5] != offset:
                return SparseIndex()  # left over from a tail that was cut: it is built anew
        return index

    def trim_index(self, filesystem: FileSystem, size: int) -> None:
        """After a cut: forget the saved entries of what is no longer there. `size`: of the index's file."""
        index = self._read_index(filesystem)
        if len(index) * ENTRY.size < size:
            filesystem.unlink(self.path + INDEX_SUFFIX)

    def _read_index(self, filesystem: FileSystem) -> SparseIndex:
        try:
            file = filesystem.open(self.path + INDEX_SUFFIX, writable=False)
        except FileNotFoundError:
            return SparseIndex()
        try:
            return SparseIndex.load(file.read(0, file.size()), self.crc_seed, self.stored_position)
        finally:
            file.close()

    def save_index(self, filesystem: FileSystem) -> None:
        """Add the entries not saved yet to the index's file; unsynced, since it can always be rebuilt."""
        index = self.index
        if index is None or index.saved == len(index):
            return
        with suppress(OSError):  # without it the next one to open the segment walks over its frames
            file = filesystem.open(self.path + INDEX_SUFFIX, create=True)
            try:
                file.write(index.saved * ENTRY.size, index.entries_from(index.saved, self.crc_seed))
                index.saved = len(index)
            finally:
                file.close()

    def walk(self, mapped: Map, position: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield (base offset, position, end position, next offset, max timestamp) of the frames from `position` on.

        Every checksum is verified; it stops before the first frame that is damaged. The map is given, since the segment
        may be closed by another thread meanwhile.
        """
        while position + HEADER_SIZE <= end:
            header = HEADER.unpack_from(mapped, position)
            following = position + HEADER_SIZE + header[2]
            if header[1] & 0xFFFFFF != MAGIC_AND_VERSION or following > end:
                return
            if crc32c(bytes(mapped[position + 4 : following]), self.crc_seed) != header[0]:
                return
            yield header[5], position, following, header[5] + header[4], header[7]
            position = following

    def frame_behind_damage(self, mapped: Map, position: int) -> tuple[int, int] | None:
        """Return (position, base offset) of the first whole frame behind damage at `position`, None without one."""
        end = self.stored_position
        if position >= end:
            return None
        magic = MAGIC_AND_VERSION.to_bytes(3, "little")
        place = mapped.find(magic, position + 5, end)
        while place >= 0:
            found = next(self.walk(mapped, place - 4, end), None)
            if found is not None:
                return place - 4, found[0]
            place = mapped.find(magic, place + 1, end)
        return None


def are_facts(packed: object) -> bool:
    """Return whether this is what `Segment.packed_facts` returns, by its types and ranges."""
    if type(packed) is not list or len(packed) != _FACTS or set(map(type, packed)) != {int}:
        return False
    file_id, base_offset, end_offset, position, first, latest, total, sealed, seed, life, header_total = packed
    return bool(
        0 <= file_id <= LARGEST_NUMBER
        and 0 <= base_offset <= end_offset <= LARGEST_NUMBER
        and FILE_HEADER_SIZE <= position <= LARGEST_NUMBER
        and MIN_TIMESTAMP <= first <= -MIN_TIMESTAMP
        and MIN_TIMESTAMP <= latest <= -MIN_TIMESTAMP
        and 0 <= total <= LARGEST_NUMBER
        and 0 <= sealed <= 1
        and 0 <= seed < 1 << 64
        and 0 <= life < 1 << 32
        and 0 <= header_total <= LARGEST_NUMBER
    )


def segment_from_facts(directory: str, stream_id: int, slug: str, facts: list[int]) -> Segment:
    """Return the segment that packed facts of a checkpoint, a draft or an event describe."""
    header = SegmentHeader(facts[9], facts[0], facts[8], stream_id, facts[1], facts[10])
    segment = Segment(in_segments(directory, segment_name(stream_id, slug, facts[1], facts[0])), header)
    segment.restore(facts)
    return segment

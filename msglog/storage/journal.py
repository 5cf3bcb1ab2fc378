"""The redo journal of `sync="commit"`: two pre-zeroed areas, filled in turn.

An area is a file:

    position  size  field
    0         4     crc       CRC-32C of bytes 4 to 32
    4         4     magic     0x4A4D4C4D ("MLMJ")
    8         2     version   1
    10        6     reserved  0
    16        8     seed      random; every checksum in the area is seeded with it
    24        8     reserved  0
    32        -     entries, each at a multiple of 8; zeros, or what is left of earlier use, behind them

An entry is one commit:

    position  size  field
    0         4     crc       CRC-32C of all that follows in the entry
    4         4     magic     0x454D4C4D ("MLME"), version in `flags`
    8         4     length    of the entry, without padding
    12        4     life
    16        8     commit
    24        8     synced    the last commit known to be synced when the entry was written
    32        4     frames
    36        4     bodies    a body that several streams got stands once
    40        4     creates   segments that the entry is the first to write to
    44        4     version   1
    48        -     per frame: file id u64, position u64, body u32, reserved u32, the frame's header (72 bytes)
                    per body: length u32
                    per create: length of the name u16, name, the segment's header (64 bytes)
                    the bodies

Writing happens under the store lock, syncing outside of it. Entries of single records are collected and written
together, at the latest before the sync that covers them. An area is used again only when a durable checkpoint covers
every entry in it. Bytes of an entry that was synced are written again, if at all, only with the same contents.

Areas grow in two ways, and neither syncs under the store lock. One that a checkpoint is about to free is prepared for
its next use by the thread that made the checkpoint (`prepare`): until `release` nobody writes to it. One that has no
room for an entry is extended where it is (`extend`): allocated, so that a full disk refuses before anything is written,
and left to the sync that its entry waits for anyway, which covers contents and size alike. A crash before that sync
leaves an area that has its old size or a larger one, with zeros or a part of that entry behind all entries that were
synced; for recovery this is an entry that was never whole.
"""

import os
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msglog.checksum import crc32c
from msglog.errors import CorruptionError, DiskFullError, UnsupportedFormatError
from msglog.storage.cache import NO_DESCRIPTORS
from msglog.storage.filesystem import File, FileSystem
from msglog.storage.frame import HEADER_SIZE
from msglog.storage.segment import FILE_HEADER_SIZE, random_seed, seed_of

AREA_MAGIC = 0x4A4D4C4D
ENTRY_MAGIC = 0x454D4C4D
VERSION = 1
AREA_HEADER = struct.Struct("<IIHHIQQ")
ENTRY_HEADER = struct.Struct("<IIIIQQIIII")
PLACE = struct.Struct("<QQII")
# The header of an entry without its checksum.
_REST = struct.Struct("<IIIQQIIII")
# An entry of one frame and no creates, without the checksum, up to the frame's header.
_SINGLE = struct.Struct("<IIIQQIIIIQQII")
# What such an entry has between its header and its body, for reading it back.
_ONE_FRAME = struct.Struct(f"<QQII{HEADER_SIZE}sI")
AREA_HEADER_SIZE = AREA_HEADER.size
ENTRY_HEADER_SIZE = ENTRY_HEADER.size
_MAGIC_BYTES = ENTRY_MAGIC.to_bytes(4, "little")
_CRC = struct.Struct("<I")
_MAGIC_POSITION = 4
# No segment comes near it: one takes at most 2 GiB, and a commit.
_LARGEST_PLACE = 1 << 32
_ALIGNMENT = 8
_GROWTH_STEP = 1 << 20
_ZEROS = bytes(64 << 10)
_FRESH_SUFFIX = ".fresh"


class PlacedFrame(NamedTuple):
    """A frame and the place it has in a segment."""

    file_id: int
    position: int
    header: bytes
    body: bytes


class Create(NamedTuple):
    """A segment that an entry is the first to write to."""

    name: str
    header: bytes


class Entry(NamedTuple):
    """One commit as read back from the journal."""

    path: str
    position: int
    life: int
    commit: int
    synced: int
    frames: tuple[PlacedFrame, ...]
    creates: tuple[Create, ...]


def pack_entry(
    seed: int, life: int, commit: int, synced: int, frames: Iterable[PlacedFrame], creates: Iterable[Create]
) -> bytes:
    """Return an entry as it stands in an area, padded."""
    places: list[bytes] = []
    bodies: dict[int, tuple[int, bytes]] = {}
    for frame in frames:
        number, _ = bodies.setdefault(id(frame.body), (len(bodies), frame.body))
        places += (PLACE.pack(frame.file_id, frame.position, number, 0), frame.header)
    lengths = [len(body) for _, body in bodies.values()]
    made: list[bytes] = []
    for create in creates:
        name = create.name.encode()
        made += (struct.pack("<H", len(name)), name, create.header)
    tail = b"".join(
        [*places, struct.pack(f"<{len(lengths)}I", *lengths), *made, *(body for _, body in bodies.values())]
    )
    rest = ENTRY_HEADER.pack(
        0,
        ENTRY_MAGIC,
        ENTRY_HEADER_SIZE + len(tail),
        life,
        commit,
        synced,
        len(places) // 2,
        len(lengths),
        len(made) // 3,
        VERSION,
    )[4:]
    checksum = crc32c(tail, crc32c(rest, seed))
    padding = bytes(-(ENTRY_HEADER_SIZE + len(tail)) % _ALIGNMENT)
    return b"".join((_CRC.pack(checksum), rest, tail, padding))


def pack_single(seed: int, life: int, commit: int, synced: int, file_id: int, position: int, frame: bytes) -> bytes:
    """Return what `pack_entry` returns for one frame and no creates, in a fifth of the time."""
    length = ENTRY_HEADER_SIZE + PLACE.size + _CRC.size + len(frame)
    rest = b"".join(
        (
            _SINGLE.pack(ENTRY_MAGIC, length, life, commit, synced, 1, 1, 0, VERSION, file_id, position, 0, 0),
            frame[:HEADER_SIZE],
            _CRC.pack(len(frame) - HEADER_SIZE),
            frame[HEADER_SIZE:],
        )
    )
    return _CRC.pack(crc32c(rest, seed)) + rest + bytes(-length % _ALIGNMENT)


def pack_several(
    seed: int, life: int, commit: int, synced: int, frames: Iterable[tuple[int, int, bytes, bytes]]
) -> bytes:
    """Return what `pack_entry` returns for frames (file id, position, frame, its body) without creates, in a third.

    Copies are known as one body where they follow each other.
    """
    parts: list[bytes] = []
    bodies: list[bytes] = []
    count = 0
    last: bytes | None = None
    for file_id, position, frame, body in frames:
        if body is not last:
            bodies.append(body)
            last = body
        parts += (PLACE.pack(file_id, position, len(bodies) - 1, 0), frame[:HEADER_SIZE])
        count += 1
    parts += map(_CRC.pack, map(len, bodies))
    tail = b"".join(parts + bodies)
    length = ENTRY_HEADER_SIZE + len(tail)
    rest = _REST.pack(ENTRY_MAGIC, length, life, commit, synced, count, len(bodies), 0, VERSION)
    return b"".join((_CRC.pack(crc32c(tail, crc32c(rest, seed))), rest, tail, bytes(-length % _ALIGNMENT)))


def unpack_entry(data: bytes, path: str, position: int) -> Entry:
    """Read back an entry whose checksum was verified. Raises `struct.error`, IndexError, ValueError for another."""
    _, _, _, life, commit, synced, frame_count, body_count, create_count, _ = ENTRY_HEADER.unpack_from(data)
    at = ENTRY_HEADER_SIZE
    if (frame_count, body_count, create_count) == (1, 1, 0):  # nearly always
        file_id, place, _, _, header, length = _ONE_FRAME.unpack_from(data, at)
        at += _ONE_FRAME.size
        _check(data, at + length, place)
        frame = PlacedFrame(file_id, place, header, data[at : at + length])
        return Entry(path, position, life, commit, synced, (frame,), ())
    places: list[tuple[int, int, int, bytes]] = []
    for _ in range(frame_count):
        file_id, place, body, _ = PLACE.unpack_from(data, at)
        at += PLACE.size
        places.append((file_id, place, body, data[at : at + HEADER_SIZE]))
        at += HEADER_SIZE
    lengths = struct.unpack_from(f"<{body_count}I", data, at)
    at += 4 * body_count
    creates: list[Create] = []
    for _ in range(create_count):
        (size,) = struct.unpack_from("<H", data, at)
        at += 2
        creates.append(Create(data[at : at + size].decode(), data[at + size : at + size + FILE_HEADER_SIZE]))
        at += size + FILE_HEADER_SIZE
    bodies: list[bytes] = []
    for length in lengths:
        bodies.append(data[at : at + length])
        at += length
    _check(data, at, max((place for _, place, _, _ in places), default=0))
    frames = tuple(PlacedFrame(file_id, place, header, bodies[body]) for file_id, place, body, header in places)
    return Entry(path, position, life, commit, synced, frames, tuple(creates))


def _check(data: bytes, end: int, place: int) -> None:
    if end != len(data) or place > _LARGEST_PLACE:
        raise ValueError(f"an entry of {len(data)} bytes with parts up to {end}, for position {place}")


class Area:
    """One of the two files."""

    __slots__ = ("crc_seed", "file", "last_commit", "position", "replaced", "size", "synced_commit", "unwritten")

    def __init__(self, file: File, seed: int, size: int) -> None:
        self.file = file
        self.crc_seed = seed_of(seed)
        self.size = size
        self.position = AREA_HEADER_SIZE
        # Entries that are not in the file yet, by position: they follow each other without a gap.
        self.unwritten: dict[int, bytes] = {}
        self.last_commit = 0
        self.synced_commit = 0
        # Another file is taking its name: never to be used again.
        self.replaced = False

    @classmethod
    def create(cls, filesystem: FileSystem, path: str, size: int) -> "Area":
        """Make a pre-zeroed area: an overwrite of written blocks syncs without a change of metadata."""
        file = filesystem.open(path, create=True)
        seed = random_seed()
        rest = AREA_HEADER.pack(0, AREA_MAGIC, VERSION, 0, 0, seed, 0)[4:]
        header = _CRC.pack(crc32c(rest)) + rest
        file.allocate(size)
        file.write(0, header + bytes(size - len(header)))
        file.sync()
        return cls(file, seed, size)

    @classmethod
    def open(cls, filesystem: FileSystem, path: str, *, writable: bool) -> "Area | None":
        """Open an area; None if its making was interrupted, as no entry can be in it then."""
        file = filesystem.open(path, writable=writable)
        data = file.read(0, AREA_HEADER_SIZE)
        if len(data) < AREA_HEADER_SIZE or _CRC.unpack_from(data)[0] != crc32c(data[4:]):
            if file.read(AREA_HEADER_SIZE, 1 << 16).strip(b"\0"):
                raise CorruptionError(f"{path}: the header of the journal is damaged", path=path, position=0)
            file.close()
            return None
        _, magic, version, _, _, seed, _ = AREA_HEADER.unpack(data)
        if magic != AREA_MAGIC or version != VERSION:
            raise UnsupportedFormatError(
                f"{path}: journal format {version}, this version of msglog reads {VERSION}",
                path=path,
                found=version,
                supported=VERSION,
            )
        return cls(file, seed, file.size())

    def grow(self, size: int) -> None:
        """Add zeros up to `size`, synced before they are needed. Without the store lock: nobody uses the area."""
        self.file.allocate(size)  # all of it or nothing: a full disk keeps what it has left
        for position in range(self.size, size, _GROWTH_STEP):
            self.file.write(position, bytes(min(size - position, _GROWTH_STEP)))
        self.file.sync()
        self.size = size

    def extend(self, end: int) -> None:
        """Make room for an entry up to `end`, and zeros for some more. The entry's sync covers the growth, too."""
        size = end + _GROWTH_STEP
        self.file.allocate(size)
        self.file.write(end, bytes(size - end))
        self.size = size

    def entries_after(self, commit: int) -> Iterator[Entry]:
        """Yield the valid entries of later commits in the order of the file, those behind damage, too.

        Commits rise from the beginning of the area. Where they fall, what is left of earlier use begins: all of that is
        covered by a checkpoint, or its area would not have been used again.
        """
        data = self._used_part()
        newest = 0
        position = _entry_at(data, AREA_HEADER_SIZE)
        while position >= 0:
            header = ENTRY_HEADER.unpack_from(data, position)
            entry = None
            if header[4] > commit or newest:  # else it is not worth a look at its checksum
                entry = self._entry_in(data, position, header)
            if entry is None:
                position = _entry_at(data, position + _ALIGNMENT)
                continue
            if entry.commit <= newest:
                return
            newest = entry.commit
            position = _entry_at(data, position + header[2])
            yield entry

    def _used_part(self) -> bytes:
        """Return what the area holds, but for zeros at its end: reading them and leaving them is the cheapest look."""
        end = self.size
        while end > 0:
            start = max(0, end - len(_ZEROS))
            chunk = self.file.read(start, end - start)
            if chunk != (_ZEROS if len(chunk) == len(_ZEROS) else bytes(len(chunk))):
                break
            end = start
        return self.file.read(0, end + ENTRY_HEADER_SIZE)

    def _entry_in(self, data: bytes, position: int, header: tuple[int, ...]) -> Entry | None:
        """Return the entry at `position`, None if there is none whose checksum and parts fit."""
        checksum, length, version = header[0], header[2], header[9]
        if length < ENTRY_HEADER_SIZE or position + length > self.size:
            return None
        # Its body may end in zeros.
        entry = data[position : position + length].ljust(length, b"\0")
        if crc32c(entry[4:], self.crc_seed) != checksum:
            return None
        if version != VERSION:
            raise UnsupportedFormatError(
                f"{self.file.path}: journal entry of format {version}, this version of msglog reads {VERSION}",
                path=self.file.path,
                found=version,
                supported=VERSION,
            )
        try:
            return unpack_entry(entry, self.file.path, position)
        except (struct.error, IndexError, ValueError):
            return None


def _entry_at(data: bytes, position: int) -> int:
    """Return the next position from `position` on where an entry may begin, -1 without one."""
    position += -position % _ALIGNMENT
    if not data.startswith(_MAGIC_BYTES, position + _MAGIC_POSITION):
        position = data.find(_MAGIC_BYTES, position + _MAGIC_POSITION) - _MAGIC_POSITION
        while position >= 0 and position % _ALIGNMENT:
            position = data.find(_MAGIC_BYTES, position + _MAGIC_POSITION + 1) - _MAGIC_POSITION
    return position if 0 <= position <= len(data) - ENTRY_HEADER_SIZE else -1


class Journal:
    """The two areas of a store that is open for writing. All methods but `prepare` run under the store lock."""

    __slots__ = ("_active", "_areas", "_filesystem", "_largest", "syncs")

    def __init__(self, filesystem: FileSystem, areas: tuple[Area, Area], largest: int) -> None:
        self._filesystem = filesystem
        self._areas = list(areas)
        self._active = 0
        self._largest = largest
        # How often one of the files was synced for commits.
        self.syncs = 0

    @property
    def area(self) -> Area:
        """The area that takes entries now."""
        return self._areas[self._active]

    def areas(self) -> tuple[Area, ...]:
        """Return both areas."""
        return tuple(self._areas)

    @property
    def used_bytes(self) -> int:
        """Bytes of entries in the active area."""
        return self.area.position - AREA_HEADER_SIZE

    @property
    def wants_checkpoint(self) -> bool:
        """Whether the active area is half full."""
        return self.area.position * 2 > self.area.size

    def reserve(self, size: int) -> None:
        """Make sure that an entry of `size` bytes fits: here, in the other area if it is free, else by growing.

        Nothing is synced, and where it fails nothing has changed. Raises `DiskFullError`, OSError.
        """
        if self.area.position + size <= self.area.size:
            return
        other = self._areas[1 - self._active]
        if other.last_commit == 0 and AREA_HEADER_SIZE + size <= other.size:
            self._active = 1 - self._active
            return
        self.area.extend(self.area.position + size)

    def switch(self) -> None:
        """A checkpoint begins: let what comes after it go to the other area if that one is free."""
        other = self._areas[1 - self._active]
        if other.last_commit == 0 and self.area.last_commit:
            self._active = 1 - self._active

    def add(self, entry: bytes, position: int, commit: int) -> None:
        """Put an entry at the area's `position`; doing it again does the same.

        It is in the file after `write_out`.
        """
        area = self.area
        area.unwritten[position] = entry
        area.position = position + len(entry)
        area.last_commit = commit

    def begin_sync(self, entry: bytes, position: int) -> None:
        """Have the disk begin with an entry of the active area that is written: its sync comes soon."""
        self.area.file.begin_sync(position, len(entry))

    def write_out(self) -> None:
        """Write the entries that are not in their file yet; after an interruption the next one writes them again."""
        for area in self._areas:
            if area.unwritten:
                area.file.write(min(area.unwritten), b"".join(area.unwritten.values()))
                area.unwritten.clear()

    def unsynced_areas(self) -> list[Area]:
        """Return the areas that hold entries no sync covers, all of them written out."""
        return [area for area in self._areas if area.last_commit > area.synced_commit]

    def prepare(self, commit: int) -> None:
        """Have the area that `release` will free ready for its next use: larger, or made anew where it is too large.

        Without the store lock, by one thread at a time: since the area is neither free nor the active one, nobody
        writes to it, and a durable checkpoint covers all that it holds. So it may be interrupted anywhere: the area is
        not used before another call has gone through. Without space or descriptors it stays as it is. Raises OSError
        when it fails otherwise.
        """
        place = 1 - self._active
        area = self._areas[place]
        if 0 < area.last_commit <= commit:
            try:
                if area.size > self._largest:
                    self._make_anew(place)
                elif area.size * 2 <= self._largest:
                    area.grow(area.size * 2)
            except OSError as error:
                if not isinstance(error, DiskFullError) and error.errno not in NO_DESCRIPTORS:
                    raise

    def release(self, commit: int) -> None:
        """A durable checkpoint covers `commit`: areas that hold nothing later are free again."""
        for area in self._areas:
            if 0 < area.last_commit <= commit and not area.replaced:
                area.last_commit = 0
                area.position = AREA_HEADER_SIZE

    def _make_anew(self, place: int) -> None:
        area = self._areas[place]
        path = area.file.path
        fresh = Area.create(self._filesystem, path + _FRESH_SUFFIX, self._largest)
        area.replaced = True  # whether what follows succeeds or not: its file may have no name from here on
        self._filesystem.rename(path + _FRESH_SUFFIX, path)
        self._filesystem.sync_directory(os.path.dirname(path))
        fresh.file.path = path
        # The old file is closed with its last holder: a leader may still be syncing it.
        self._areas[place] = fresh

    def close(self) -> None:
        """Close the files."""
        for area in self._areas:
            area.file.close()

"""The sparse index of one segment: some of its frames by offset and by time.

Never authoritative: it can always be rebuilt from the frames, and every entry is checked against its frame before it is
believed. An entry (offset, position, timestamp) says that a frame with this base offset begins at this position, and
that no record before it is later than the timestamp. Kept in memory for open segments, saved beside the segment in
entries of 24 bytes: offset u64, position u32, CRC-32C u32 of the other 20 bytes seeded with the segment's seed,
timestamp i64.
"""

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from msglog.checksum import crc32c

INDEX_INTERVAL = 32 << 10
ENTRY = struct.Struct("<QIIq")
_CHECKED = struct.Struct("<QIq")
MIN_TIMESTAMP = -(1 << 63)


class SparseIndex:
    """Entries in rising order; one writer, any number of readers (entries are only added)."""

    __slots__ = ("_offsets", "_positions", "_timestamps", "saved")

    def __init__(self) -> None:
        self._offsets = array("Q")
        self._positions = array("Q")
        self._timestamps = array("q")
        self.saved = 0

    def __len__(self) -> int:
        return len(self._offsets)

    def add(self, offset: int, position: int, timestamp_ms: int) -> None:
        """Note that a frame with this base offset begins at `position`; again, if it was interrupted."""
        count = len(self._offsets)
        if count and self._offsets[-1] == offset:
            return
        del self._positions[count:], self._timestamps[count:]
        # The offsets come last: a reader that finds an offset finds the rest, too.
        self._positions.append(position)
        self._timestamps.append(timestamp_ms)
        self._offsets.append(offset)

    def position_for(self, offset: int) -> int | None:
        """Return where to begin looking for `offset`, None if even the first entry lies beyond it."""
        place = bisect_right(self._offsets, offset) - 1
        return self._positions[place] if place >= 0 else None

    def position_before_time(self, timestamp_ms: int) -> int | None:
        """Return a position before which every record is earlier than `timestamp_ms`."""
        place = bisect_left(self._timestamps, timestamp_ms, hi=len(self._offsets)) - 1
        return self._positions[place] if place >= 0 else None

    def places(self) -> Iterator[tuple[int, int]]:
        """Yield (offset, position) of all entries."""
        return zip(self._offsets, self._positions, strict=False)

    def entries(self) -> Iterator[tuple[int, int, int]]:
        """Yield (offset, position, timestamp) of all entries."""
        return zip(self._offsets, self._positions, self._timestamps, strict=False)

    def last_position(self) -> int | None:
        """Return the position of the last entry."""
        return self._positions[-1] if self._offsets else None

    def last_timestamp(self) -> int:
        """Return the timestamp of the last entry."""
        return self._timestamps[-1] if self._offsets else MIN_TIMESTAMP

    def entries_from(self, first: int, seed: int) -> bytes:
        """Return the entries from number `first` on as they are saved."""
        packed = []
        for place in range(first, len(self._offsets)):
            offset, position, timestamp = self._offsets[place], self._positions[place], self._timestamps[place]
            checksum = crc32c(_CHECKED.pack(offset, position, timestamp), seed)
            packed.append(ENTRY.pack(offset, position, checksum, timestamp))
        return b"".join(packed)

    @classmethod
    def load(cls, data: bytes, seed: int, end_position: int) -> "SparseIndex":
        """Return the valid entries at the beginning of `data` that lie below `end_position`."""
        index = cls()
        last = -1
        for offset, position, checksum, timestamp in ENTRY.iter_unpack(data[: len(data) // ENTRY.size * ENTRY.size]):
            rising = offset > last and position < end_position
            if not rising or crc32c(_CHECKED.pack(offset, position, timestamp), seed) != checksum:
                break
            index.add(offset, position, timestamp)
            last = offset
        index.saved = len(index)
        return index

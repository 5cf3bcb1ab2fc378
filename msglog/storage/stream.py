"""A stream: an append-only sequence of records, kept in segments.

`start <= end <= next_offset`: readers see `[start, end)`, decisions are made against `next_offset`. The tuple of
segments is replaced, never changed, so that readers need no lock; everything else changes under the store lock only.
A stream that has had a record always keeps its last segment: the end offset lives there.
"""

from bisect import bisect_right
from typing import TYPE_CHECKING

from msglog.errors import CorruptionError
from msglog.storage.frame import Latest
from msglog.storage.layout import in_segments, segment_name
from msglog.storage.reader import Reader
from msglog.storage.segment import FILE_HEADER_SIZE, Segment, SegmentFacts, SegmentHeader, random_seed
from msglog.waiting import Wakeable

if TYPE_CHECKING:
    from msglog.storage.cache import SegmentCache

# Stands in for a missing active segment: its limit of 0 sends every append the slow way.
NO_SEGMENT = Segment("", SegmentHeader(0, 0, 0, 0, 0, 0))

_LATEST_BYTES = 4096


class Stream:
    """One stream of a store."""

    __slots__ = (
        "_cache",
        "active",
        "durable_files",
        "end",
        "id",
        "latest",
        "next_offset",
        "parts",
        "segment_bytes",
        "segment_ms",
        "slug",
        "start",
        "unfinished",
        "value_bytes",
        "waiters",
    )

    def __init__(self, stream_id: int, slug: str, segment_bytes: int, cache: "SegmentCache") -> None:
        self.id = stream_id
        self.slug = slug
        self.segment_bytes = segment_bytes
        self.segment_ms: int | None = None
        self.start = self.end = self.next_offset = 0
        self.value_bytes = 0
        self.parts: tuple[Segment, ...] = ()
        # File ids of the segments that the durable checkpoint lists.
        self.durable_files: tuple[int, ...] = ()
        self.active = NO_SEGMENT
        # The frame of a single append while it is stored: what an interruption leaves to finish.
        self.unfinished = b""
        self.waiters: set[Wakeable] = set()
        # A single append that somebody waited for; others may have come since.
        self.latest: Latest | None = None
        self._cache = cache

    def __repr__(self) -> str:
        return f"<Stream {self.id} {self.slug!r} [{self.start}, {self.end}) in {len(self.parts)} segments>"

    def tell_waiters(self, latest: Latest) -> None:
        """Wake who waits, with what was just appended: a small record is kept, so that it need not be read back."""
        key = latest[2]
        if len(latest[3]) + (0 if key is None else len(key)) <= _LATEST_BYTES:
            self.latest = latest
        for waiter in tuple(self.waiters):
            waiter.wake()

    @property
    def size_bytes(self) -> int:
        """Bytes of frames on disk."""
        return sum(segment.position - FILE_HEADER_SIZE for segment in self.parts)

    def segments(self) -> tuple[SegmentFacts, ...]:
        """Return the facts of the segments, oldest first."""
        return tuple(segment.facts() for segment in self.parts)

    def reader(self, offset: int) -> Reader:
        """Return a reader that begins at `offset`."""
        return Reader(self, self._cache, offset)

    def offset_at(self, timestamp_ms: int) -> int | None:
        """Return the earliest visible offset whose timestamp is at or after `timestamp_ms`, None if there is none."""
        for segment in self.parts:
            if segment.max_timestamp_ms < timestamp_ms or segment.end_offset <= self.start:
                continue
            try:
                found = self._offset_in(segment, timestamp_ms)
            except CorruptionError:
                if segment in self.parts:
                    raise
                return self.offset_at(timestamp_ms)  # it was dropped or rewritten meanwhile: begin anew
            if found is not None:
                return found
        return None

    def _offset_in(self, segment: Segment, timestamp_ms: int) -> int | None:
        end = segment.stored_position  # before the map: the file may grow meanwhile
        index = self._cache.index(segment)
        position = index.position_before_time(timestamp_ms) or FILE_HEADER_SIZE
        mapped = self._cache.map(segment)
        reached = segment.base_offset
        for base_offset, _, _, next_offset, max_timestamp in segment.walk(mapped, position, end):
            reached = next_offset
            if base_offset >= self.end:
                return None
            if max_timestamp < timestamp_ms or next_offset <= self.start:
                continue
            frame = self.reader(max(base_offset, self.start)).read()
            if frame is None:
                return None
            stamps = frame.timestamps
            for place, offset in enumerate(frame.offsets):
                stamp = stamps if isinstance(stamps, int) else stamps[place]
                if stamp >= timestamp_ms and offset >= self.start:
                    return offset
        if position < end and reached < min(segment.end_offset, self.end):
            self.reader(reached).read()  # the walk ended at damage, or at a gap: let the reader tell which
        return None

    # Changes, under the store lock

    def configure(self, segment_bytes: int, segment_ms: int | None) -> None:
        """Set when the active segment is full: so many bytes, or a record so much later than its first one."""
        self.segment_bytes = segment_bytes
        self.segment_ms = segment_ms
        self.active.limit = 0  # the next append goes the slow way and looks

    def install(self, segment: Segment) -> None:
        """Make `segment` the active one and seal the one before it; doing it again does the same."""
        before = self.parts[-1] if self.parts else None
        if before is not segment:
            if before is not None:
                before.sealed = True
                before.limit = 0
            self.parts = (*self.parts, segment)
        self.active = segment

    def trim(self, start: int) -> list[Segment]:
        """Raise the start offset and return the segments that fall away whole; the last one always stays."""
        self.start = max(self.start, start)
        dropped = self.parts_below(self.start)
        self.parts = self.parts[len(dropped) :]
        return dropped

    def parts_below(self, offset: int) -> list[Segment]:
        """Return the segments that end at or below `offset`; never the last one."""
        below = 0
        while below + 1 < len(self.parts) and self.parts[below].end_offset <= offset:
            below += 1
        return list(self.parts[:below])

    def replace(self, old: list[Segment], new: Segment) -> None:
        """Put a rewritten segment in the place of the ones it was made from."""
        place = self.parts.index(old[0])
        self.parts = (*self.parts[:place], new, *self.parts[place + len(old) :])

    def segment_for(self, offset: int) -> Segment | None:
        """Return the segment in which reading from `offset` begins, None behind the last one."""
        parts = self.parts
        place = max(0, bisect_right(parts, offset, key=lambda segment: segment.base_offset) - 1)
        while place < len(parts) and parts[place].end_offset <= offset:
            place += 1
        return parts[place] if place < len(parts) else None


def new_segment(directory: str, stream: Stream, file_id: int, base_offset: int, life: int, value_total: int) -> Segment:
    """Return a segment whose file is still to be made."""
    header = SegmentHeader(life, file_id, random_seed(), stream.id, base_offset, value_total)
    path = in_segments(directory, segment_name(stream.id, stream.slug, base_offset, file_id))
    return Segment(path, header)

"""Reading a stream frame by frame, without a lock.

A reader keeps its place in a segment's map and goes on from there; it looks its place up again after a seek and at
the end of a segment. Every frame is checked (checksum, offsets) before a byte of it is believed. A segment that was
rolled, rewritten or removed meanwhile stays readable through the map in hand.
"""

from typing import TYPE_CHECKING

from msglog.checksum import crc32c
from msglog.errors import CorruptionError
from msglog.storage.filesystem import Map
from msglog.storage.frame import (
    CRC,
    HEADER,
    HEADER_SIZE,
    KIND_KEYED,
    KIND_PLAIN,
    MAGIC_AND_VERSION,
    Frame,
    FrameError,
    Latest,
    decode,
    frame_of_one,
)
from msglog.storage.runs import RUN_BYTES, decode_run
from msglog.storage.segment import FILE_HEADER_SIZE, Segment

if TYPE_CHECKING:
    from msglog.storage.cache import SegmentCache
    from msglog.storage.stream import Stream

_KINDS_OF_ONE = (KIND_PLAIN, KIND_KEYED)


class Reader:
    """A place in a stream. For one thread at a time; `offset` is the next one to be read."""

    __slots__ = ("_cache", "_map", "_position", "_segment", "_stream", "offset")

    def __init__(self, stream: "Stream", cache: "SegmentCache", offset: int) -> None:
        self._stream = stream
        self._cache = cache
        self.offset = offset
        self._segment: Segment | None = None
        self._map: Map | None = None
        self._position = 0

    def seek(self, offset: int) -> None:
        """Go on at `offset` with the next read."""
        self.offset = offset
        self._segment = None

    def read(self) -> Frame | None:
        """Return the next frame that reaches beyond `offset`, None at the visible end.

        Raises `CorruptionError` on damage, again and again until `seek` goes beyond its `next_offset`.
        """
        try:
            latest = self._stream.latest
            if latest is not None and latest[0] == self.offset and self.passes(latest):
                return frame_of_one(*latest)
            return self._read()
        except BaseException:
            self._segment = None  # struck in between, the place in the map may be beyond `offset`
            raise

    def _read(self) -> Frame | None:
        while self.offset < self._stream.end:
            segment = self._segment
            if segment is None:
                segment = self._locate()
                if segment is None:
                    return None
            position = self._position
            if position >= segment.stored_position:
                if not self._next_segment(segment):
                    return None
                continue
            frame = self._frame_at(segment, position)
            if frame is None:
                continue
            if frame.next_offset > self.offset:
                if frame.base_offset >= self._stream.end:
                    return None
                self.offset = frame.next_offset
                return frame
        return None

    def passes(self, latest: Latest) -> bool:
        """Go beyond what was appended last, if that is what lies at the present place; it need not be read back."""
        segment, key = self._segment, latest[2]
        size = HEADER_SIZE + len(latest[3]) + (0 if key is None else CRC.size + len(key))
        if (
            segment is None
            or latest[0] != self.offset
            or self._position + size != segment.stored_position
            or self.offset + 1 != self._stream.end
        ):
            return False
        # Stores alone: no signal is handled in between.
        self._position += size
        self.offset += 1
        return True

    def _next_segment(self, segment: Segment) -> bool:
        """Leave a segment that was read to its end; return whether there may be more."""
        if segment not in self._stream.parts:
            self._segment = None  # rewritten, dropped, or loaded anew by a follower
            return True
        if not segment.sealed:
            return False
        # Offsets that compaction removed at the end of a segment are skipped with it.
        self.offset = max(self.offset, segment.end_offset)
        self._segment = None
        return True

    def _locate(self) -> Segment | None:
        segment = self._stream.segment_for(self.offset)
        if segment is None:
            return None
        position = FILE_HEADER_SIZE
        try:
            stored = segment.stored_position  # before the map: the file may grow meanwhile
            self._map = mapped = self._cache.map(segment)
            if self.offset > segment.base_offset:
                position = self._cache.index(segment).position_for(self.offset) or FILE_HEADER_SIZE
        except CorruptionError:
            if not self._moved(segment):
                raise
            return self._locate()
        if self.offset > segment.base_offset:
            position = self._find(segment, mapped, position, stored)
        self._segment = segment
        self._position = position
        return segment

    def _find(self, segment: Segment, mapped: Map, position: int, stored: int) -> int:
        """Return the position of the frame that holds `offset`, or of the damage that does."""
        while True:
            for _, start, end, next_offset, _ in segment.walk(mapped, position, stored):
                if next_offset > self.offset:
                    return start
                position = end
            behind = segment.frame_behind_damage(mapped, position)
            if behind is None or behind[1] > self.offset:
                return position
            position = behind[0]

    def _moved(self, segment: Segment) -> bool:
        """Return whether the segment is no longer the stream's: dropped or rewritten, perhaps by another process."""
        if segment in self._stream.parts and self._cache.on_missing is not None:
            self._cache.on_missing()
        return segment not in self._stream.parts

    def _frame_at(self, segment: Segment, position: int) -> Frame | None:
        """Return the frame at a position, None when the segment is no longer the stream's."""
        end = segment.stored_position
        mapped = self._map_up_to(segment, end)
        if mapped is None:
            return None
        if position + HEADER_SIZE > end:
            raise self._damage(segment, position, "a frame's header reaches beyond the end")
        (crc, kind, length, count, span, base_offset, stamp, _, commit, _, _, total) = HEADER.unpack_from(
            mapped, position
        )
        following = position + HEADER_SIZE + length
        if kind & 0xFFFFFF != MAGIC_AND_VERSION or following > end:
            raise self._damage(segment, position, "there is no frame")
        if following < end and kind in _KINDS_OF_ONE:
            run = decode_run(
                bytes(mapped[position : min(end, position + RUN_BYTES)]),
                segment.crc_seed,
                base_offset,
                self._stream.end,
            )
            if run is not None:
                self._position = position + run[1]
                return run[0]
        raw = bytes(mapped[position + 4 : following])
        if crc32c(raw, segment.crc_seed) != crc:
            raise self._damage(segment, position, "the checksum does not match")
        if base_offset < segment.base_offset:
            raise self._damage(segment, position, f"offset {base_offset} does not belong here")
        self._position = following
        if kind == KIND_PLAIN and count == span == 1:
            return frame_of_one(base_offset, stamp, None, raw[HEADER_SIZE - CRC.size :], commit, total)
        try:
            frame = decode(raw, segment.path)
        except FrameError as error:
            raise self._damage(segment, position, str(error)) from error
        return frame

    def _map_up_to(self, segment: Segment, end: int) -> Map | None:
        """Return a map that reaches up to `end`, None when the segment is no longer the stream's."""
        mapped = self._map
        if mapped is None or end > len(mapped):
            try:
                mapped = self._map = self._cache.map(segment)
            except CorruptionError:
                if not self._moved(segment):
                    raise
                self._segment = None
                return None
        return mapped

    def _damage(self, segment: Segment, position: int, what: str) -> CorruptionError:
        behind = None if self._map is None else segment.frame_behind_damage(self._map, position)
        next_offset = max(segment.end_offset if behind is None else behind[1], self.offset + 1)
        self._segment = None
        return CorruptionError(
            f"{segment.path}: {what} at position {position}; "
            f"offsets {self.offset} to before {next_offset} cannot be read",
            path=segment.path,
            position=position,
            first_offset=self.offset,
            next_offset=next_offset,
        )

"""Small commits by hand: one record each for some streams, perhaps with one event of a model.

A message that goes to ten queues, an acknowledgement, a message moved from one queue to another: brokers live on
commits like these, and a plan with a place for every frame costs four to five times as much as the frame itself. Frames
are built first and left as the engine's obstacle, and only then stored: from the first store on it only goes forward,
and whoever takes the lock after an interruption does all steps again. Commits of other small batches (`several`) are
stored here, too. Part of `writers.DirectWriter`.
"""

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from msglog.checksum import crc32c
from msglog.storage.commit import Commit
from msglog.storage.frame import (
    CRC,
    HEADER_SIZE,
    LIFE_OF_ONE,
    PACKED_KEYED,
    PACKED_ONE_RECORD,
    PACKED_PLAIN,
    REST_OF_ONE,
    STAMPS,
    Body,
)
from msglog.storage.planning import MAP_STORE_LIMIT, Writer
from msglog.storage.segment import Segment
from msglog.storage.several import Several, SmallFrame
from msglog.storage.state import (
    CURSORS,
    SETTLE,
    SHORT_EVENT,
    SHORT_EVENT_COST,
    SHORT_EVENT_MARK,
    STATE_STREAM,
    cost_of,
    pack_event,
)
from msglog.storage.stream import Stream

if TYPE_CHECKING:
    from msglog.storage.engine import Engine

# Stream, value, key: the streams of one commit are all different.
Small = tuple[Stream, bytes, bytes | None]
# Stream, segment, position and end of the frame, next offset, value total after it, the frame.
_Built = tuple[Stream, Segment, int, int, int, int, bytes]
_PACK_ONE = REST_OF_ONE.pack
_PACK_CRC = CRC.pack
# Header and event of an acknowledgement in one call.
_PACK_SETTLE = struct.Struct(REST_OF_ONE.format + SHORT_EVENT.format.lstrip("<")).pack
_SETTLE_BYTES = SHORT_EVENT.size
_SETTLE_FRAME = HEADER_SIZE + _SETTLE_BYTES


class Settles(Protocol):
    """A cursor, as far as its settlements are concerned."""

    id: int
    next: int

    def settle(self, first: int, end: int, next_offset: int = 0) -> None:
        """Apply the event."""


class SmallCommit:
    """A commit whose frames are built and have their places: the obstacle until it is done."""

    __slots__ = ("built", "event", "number", "section", "timestamp_ms")

    def __init__(self, number: int, built: list[_Built], timestamp_ms: int, section: str, event: list[Any]) -> None:
        self.number = number
        self.built = built
        self.timestamp_ms = timestamp_ms
        self.section = section
        self.event = event

    def redo(self, engine: "Engine") -> None:
        """Do all steps, again if need be: each sets what it sets to the same value."""
        timestamp_ms = self.timestamp_ms
        for stream, segment, position, end, next_offset, value_total, frame in self.built:
            mapped = segment.map
            if mapped is None:  # after an interruption a reader may have closed it
                mapped = engine.cache.open(segment)
            mapped[position:end] = frame
            segment.position = segment.stored_position = end
            segment.end_offset = stream.next_offset = stream.end = next_offset
            segment.value_total = stream.value_bytes = value_total
            if timestamp_ms > segment.max_timestamp_ms:
                segment.max_timestamp_ms = segment.before_ms = timestamp_ms
        if self.event:
            engine.models[self.section].apply(self.event)
        engine.commit_number = engine.published = engine.page_slots[2] = self.number


class SmallCommits(Writer):
    """What `DirectWriter` does by hand beside `append`."""

    _bytes: int
    _life: bytes
    _next_draft: int
    _state: Stream
    _stamp: int | None
    _stamps: bytes

    def append_all(
        self, records: Sequence[Small], timestamp_ms: int, section: str = "", event: list[Any] | None = None
    ) -> int:
        """Append one record to each of some streams in one commit, with an event; return the commit's number."""
        engine = self._engine
        with engine.lock:
            if engine.obstacle is not None:
                engine.clear_obstacle()
            packed = b""
            wanted = records
            if event is not None:
                packed = pack_event(section, event)
                records = [*records, (engine.streams[STATE_STREAM], packed, None)]
            built = self._build(records, timestamp_ms)
            if built is None:
                return self.append_planned(wanted, timestamp_ms, section, event)
            # From here on only forward.
            engine.obstacle = commit = SmallCommit(engine.commit_number + 1, built, timestamp_ms, section, event or [])
            try:
                commit.redo(engine)
                engine.obstacle = engine.failure
                if packed:
                    engine.state_cost += cost_of(packed)
                for stream, _, _ in records:
                    if stream.waiters:
                        for waiter in tuple(stream.waiters):
                            waiter.wake()
            except BaseException:
                engine.wake_all()
                raise
            return commit.number

    def _build(self, records: Sequence[Small], timestamp_ms: int) -> list[_Built] | None:
        """Return the frames with their places, None where a file must be made, grown or opened first."""
        engine = self._engine
        if timestamp_ms != self._stamp:
            self.pack_stamps(timestamp_ms)
        number, stamps = engine.commit_number + 1, self._stamps
        life = self._life if len(records) == 1 else LIFE_OF_ONE.pack(engine.life, len(records))
        built: list[_Built] = []
        for stream, value, key in records:
            segment = stream.active
            position = segment.position
            offset = stream.next_offset
            total = stream.value_bytes
            if key is None:
                kind, body = PACKED_PLAIN, value
            else:
                kind, body = PACKED_KEYED, _PACK_CRC(len(key)) + key + value
            size = len(body)
            end = position + HEADER_SIZE + size
            if end > segment.limit and not self.make_way(stream, segment, position, end):
                return None
            rest = _PACK_ONE(kind, size, PACKED_ONE_RECORD, offset, stamps, number, life, total) + body
            frame = _PACK_CRC(crc32c(rest, segment.crc_seed)) + rest
            built.append((stream, segment, position, end, offset + 1, total + len(value), frame))
        return built

    def append_copies(self, streams: Sequence[Stream], value: bytes, key: bytes, timestamp_ms: int) -> list[int]:
        """Append the same record to some streams in one commit, and return the offset that each gave it.

        The number of the commit is one more than that of the one before; see `append_all`.
        """
        engine = self._engine
        with engine.lock:
            if engine.obstacle is not None:
                engine.clear_obstacle()
            if timestamp_ms != self._stamp:
                self.pack_stamps(timestamp_ms)
            number, stamps = engine.commit_number + 1, self._stamps
            life = LIFE_OF_ONE.pack(engine.life, len(streams))
            body = _PACK_CRC(len(key)) + key + value
            size, value_size = len(body), len(value)
            frame_size = HEADER_SIZE + size
            offsets: list[int] = []
            built: list[_Built] = []
            watched: list[Stream] = []
            for stream in streams:
                segment = stream.active
                position = segment.position
                end = position + frame_size
                if end > segment.limit and not self.make_way(stream, segment, position, end):
                    offsets = [stream.next_offset for stream in streams]
                    self.append_planned([(stream, value, key) for stream in streams], timestamp_ms, "", None)
                    return offsets
                offset = stream.next_offset
                total = stream.value_bytes
                rest = _PACK_ONE(PACKED_KEYED, size, PACKED_ONE_RECORD, offset, stamps, number, life, total) + body
                frame = _PACK_CRC(crc32c(rest, segment.crc_seed)) + rest
                offsets.append(offset)
                built.append((stream, segment, position, end, offset + 1, total + value_size, frame))
                if stream.waiters:
                    watched.append(stream)
            # From here on only forward.
            engine.obstacle = commit = SmallCommit(number, built, timestamp_ms, "", [])
            try:
                commit.redo(engine)
                engine.obstacle = engine.failure
                for stream in watched:
                    for waiter in tuple(stream.waiters):
                        waiter.wake()
            except BaseException:
                engine.wake_all()
                raise
        return offsets

    def append_settle(self, cursor: Settles, first: int, end: int, timestamp_ms: int) -> int:
        """Write the event that `[first, end)` of a cursor is settled and apply it: the hot path of acknowledging."""
        engine = self._engine
        held = False
        try:
            for held in engine.turns:  # noqa: B007 the `finally` uses it
                if engine.obstacle is not None:
                    engine.clear_obstacle()
                if timestamp_ms != self._stamp:
                    self.pack_stamps(timestamp_ms)
                stream = self._state
                segment = stream.active
                position = segment.position
                after = position + _SETTLE_FRAME
                if after > segment.limit and not self.make_way(stream, segment, position, after):
                    event = [SETTLE, cursor.id, first, end, cursor.next]
                    return self.append_planned((), timestamp_ms, CURSORS, event)
                number = engine.commit_number + 1
                offset = stream.next_offset
                total = stream.value_bytes
                rest = _PACK_SETTLE(
                    PACKED_PLAIN,
                    _SETTLE_BYTES,
                    PACKED_ONE_RECORD,
                    offset,
                    self._stamps,
                    number,
                    self._life,
                    total,
                    SHORT_EVENT_MARK,
                    cursor.id,
                    first,
                    end - first,
                    cursor.next,
                )
                # From here on only forward: `redo_append` finishes it and applies the event.
                stream.unfinished = frame = _PACK_CRC(crc32c(rest, segment.crc_seed)) + rest
                engine.obstacle = stream
                segment.map[position:after] = frame  # type: ignore[index]
                segment.position = segment.stored_position = after
                segment.end_offset = stream.next_offset = stream.end = offset + 1
                segment.value_total = stream.value_bytes = total + _SETTLE_BYTES
                if timestamp_ms > segment.max_timestamp_ms:
                    segment.max_timestamp_ms = segment.before_ms = timestamp_ms
                cursor.settle(first, end)
                engine.state_cost += SHORT_EVENT_COST
                engine.commit_number = engine.published = engine.page_slots[2] = number
                engine.obstacle = engine.failure
                return number
        finally:
            if held:
                engine.release()
        raise AssertionError("turns never end")

    def has_room(self, stream: Stream, segment: Segment, position: int, end: int) -> bool:
        """Return whether a frame needs nothing but its bytes, and perhaps an entry in the index."""
        if end - position > MAP_STORE_LIMIT:
            return False
        if end <= segment.limit:
            return True
        return position == segment.position and self.make_way(stream, segment, position, end)

    def several(self, commit: Commit, bodies: list[tuple[Stream, Body]]) -> Several | None:
        """Give a commit's frames their places by hand; None where a plan is needed."""
        frames = self.place_by_hand(bodies)
        return Several(self._engine.commit_number + 1, frames, commit.events) if frames else None

    def wrote_several(self, several: Several) -> None:
        """Count its bytes: so many more, and a checkpoint is due."""
        self._bytes += several.size

    def redo_several(self, several: Several) -> None:
        """Do all steps of a commit by hand, again if need be."""
        engine = self._engine
        engine.commit_number = several.number
        self.store_frames(several.frames)
        several.apply_events(engine)
        engine.published = engine.page_slots[2] = several.number
        several.wake()

    def store_frames(self, frames: tuple[SmallFrame, ...]) -> None:
        """Store some frames and advance their segments and streams."""
        for frame in frames:
            self.store_frame(frame)

    def store_frame(self, placed: SmallFrame) -> None:
        """Store one frame and advance its segment and stream."""
        stream, segment, position, end, _, end_offset, stamp, latest, total, frame, _ = placed
        mapped = segment.map
        if segment.dropped:  # by an event of this commit, before an interruption
            return
        if mapped is None:  # after an interruption a reader may have closed it
            mapped = self._engine.cache.open(segment)
        mapped[position:end] = frame
        segment.note_frame(end_offset, end, stamp, latest)
        segment.before_ms = segment.max_timestamp_ms
        segment.stored_position = end
        stream.next_offset = stream.end = end_offset
        segment.value_total = stream.value_bytes = total

    def pack_stamps(self, timestamp_ms: int) -> None:
        """Pack a record's timestamps for those that follow in the same millisecond."""
        self._stamp = None  # an interrupt between the two leaves no stamps of another time
        self._stamps = STAMPS.pack(timestamp_ms, timestamp_ms)
        self._stamp = timestamp_ms

    def make_way(self, stream: Stream, segment: Segment, position: int, end: int) -> bool:
        """Raise the segment's limit over the next frame where only an index entry or ready pages are due."""
        engine = self._engine
        if engine.streams.get(stream.id) is not stream:  # a reader may have opened the segment of a removed one again
            return False
        room = min(segment.capacity, stream.segment_bytes)
        in_file = segment.map is not None and segment.index is not None and end <= room
        if not in_file or stream.segment_ms is not None or engine.commit_number >= self._next_draft:
            return False
        if end > segment.zeroed_position:
            return False
        segment.note_frame_at(stream.next_offset, position)
        segment.limit = max(end, min(segment.limit, room))
        return True

"""Small commits through the journal by hand: one record, or some small batches with their events.

One record is a `Single`, all else a `Several` (`several`): absolute values, left as the engine's obstacle before the
entry is written; from then on they only go forward. The entry comes first, the assigned state follows, and the frames
are stored and shown after the sync. Part of `writers.JournalWriter`. All methods run under the store lock.
"""

from collections import deque

from msglog.checksum import crc32c
from msglog.storage import frame as frames
from msglog.storage.commit import Commit, Plan, Single
from msglog.storage.frame import (
    CRC,
    HEADER_SIZE,
    PACKED_KEYED,
    PACKED_ONE_RECORD,
    PACKED_PLAIN,
    REST_OF_ONE,
    STAMPS,
)
from msglog.storage.index import MIN_TIMESTAMP
from msglog.storage.journal import ENTRY_HEADER_SIZE, Area, Journal, pack_several, pack_single
from msglog.storage.planning import MAP_STORE_LIMIT, Writer
from msglog.storage.segment import Segment
from msglog.storage.several import Several, SmallFrame
from msglog.storage.stream import Stream

_PACK_ONE = REST_OF_ONE.pack
_PACK_CRC = CRC.pack
_new_tuple = tuple.__new__  # half of what the constructor costs
# The most that an entry of one frame has on top of the frame's body.
ENTRY_OVERHEAD = ENTRY_HEADER_SIZE + 24 + HEADER_SIZE + 4 + 8


class SmallEntries(Writer):
    """What `JournalWriter` does by hand."""

    _journal: Journal
    _life: bytes
    _pending: deque[Plan | Single | Several]

    def has_room(self, stream: Stream, segment: Segment, position: int, end: int) -> bool:
        """Return whether a frame needs nothing but its bytes."""
        return (
            end <= segment.capacity
            and end <= stream.segment_bytes
            and stream.segment_ms is None
            and segment.map is not None
            and segment.announced
            and end - position <= MAP_STORE_LIMIT
        )

    def is_alone(self) -> bool:
        """Whether nobody syncs, or waits for a sync, at the moment."""
        raise NotImplementedError

    def several(self, commit: Commit, bodies: list[tuple[Stream, frames.Body]]) -> Several | None:
        """Give a commit's frames their places by hand, and pack its entry; None where a plan is needed."""
        area = self._journal.area
        placed = self.place_by_hand(bodies)
        if not placed:
            return None
        number = self._engine.commit_number + 1
        entry = self.pack_frames(area.crc_seed, number, placed)
        if area.position + len(entry) > area.size:
            return None
        return _new_tuple(Several, (number, placed, commit.events, entry, area.position, commit.awaited))

    def pack_frames(self, seed: int, number: int, frames: tuple[SmallFrame, ...]) -> bytes:
        """Return the entry of a commit with these frames."""
        engine = self._engine
        placed = [(frame[1].file_id, frame[2], frame[9], frame[10]) for frame in frames]
        return pack_several(seed, engine.life, number, engine.published, placed)

    def redo_several(self, several: Several) -> None:
        """Do what `redo` does, for a commit by hand."""
        engine = self._engine
        self._journal.add(several.entry, several.entry_position, several.number)
        self.write_entries()  # nobody may wait for it
        if several.awaited and self.is_alone():
            self._journal.begin_sync(several.entry, several.entry_position)
        self.assign_frames(several.frames)
        engine.commit_number = several.number
        several.apply_events(engine)
        if not self._pending or self._pending[-1] is not several:
            self._pending.append(several)

    def assign_frames(self, frames: tuple[SmallFrame, ...]) -> None:
        """Advance the assigned state over some frames."""
        for stream, segment, _, end, _, end_offset, stamp, latest, total, _, _ in frames:
            # What `note_frame` does: this loop is most of what stands between two syncs.
            if segment.first_timestamp_ms == MIN_TIMESTAMP:
                segment.first_timestamp_ms = stamp
            segment.max_timestamp_ms = max(segment.max_timestamp_ms, latest)
            segment.end_offset = stream.next_offset = end_offset
            segment.position = end
            segment.value_total = stream.value_bytes = total

    def show_several(self, several: Several) -> None:
        """Do what `store` and `publish` do, for a commit by hand."""
        engine = self._engine
        watched = self.show_frames(several.frames)
        engine.published = engine.page_slots[2] = several.number
        if watched:
            several.wake()

    def show_frames(self, frames: tuple[SmallFrame, ...]) -> bool:
        """Store some frames and raise the ends of their streams; return whether somebody waits for that."""
        for frame in frames:
            self.show_frame(frame)
        for shown in frames:
            shown[0].end = shown[5]
        return any(shown[0].waiters for shown in frames)

    def show_frame(self, placed: SmallFrame) -> None:
        """Store one frame."""
        _, segment, position, end, offset, _, _, latest, _, frame, _ = placed
        if segment.dropped:
            return
        mapped = segment.map
        if mapped is None:
            mapped = self._engine.cache.open(segment)
        if end > segment.zeroed_position:
            segment.zero_ahead(end, durable=True)
        mapped[position:end] = frame
        if position >= segment.next_index_position:
            segment.note_frame_at(offset, position)
        segment.before_ms = max(segment.before_ms, latest)
        segment.stored_position = end

    def single(self, stream: Stream, value: bytes, timestamp_ms: int, key: bytes | None) -> Single | None:
        """Give one record its place; None where more than its frame is due: space, a segment, a look at the stream."""
        engine = self._engine
        segment, area = stream.active, self._journal.area
        kind, body = (PACKED_PLAIN, value) if key is None else (PACKED_KEYED, _PACK_CRC(len(key)) + key + value)
        size = len(body)
        position = segment.position
        end = position + HEADER_SIZE + size
        if (
            size > MAP_STORE_LIMIT
            or end > segment.capacity
            or end > stream.segment_bytes
            or stream.segment_ms is not None
            or segment.map is None
            or not segment.announced
            or area.position + size + ENTRY_OVERHEAD > area.size
            or engine.streams.get(stream.id) is not stream
        ):
            return None
        number, offset, total = engine.commit_number + 1, stream.next_offset, stream.value_bytes
        stamps = STAMPS.pack(timestamp_ms, timestamp_ms)
        rest = _PACK_ONE(kind, size, PACKED_ONE_RECORD, offset, stamps, number, self._life, total) + body
        frame = _PACK_CRC(crc32c(rest, segment.crc_seed)) + rest
        entry = pack_single(area.crc_seed, engine.life, number, engine.published, segment.file_id, position, frame)
        return Single(
            number,
            stream,
            segment,
            position,
            end,
            offset,
            timestamp_ms,
            total + len(value),
            frame,
            entry,
            area.position,
        )

    def redo_single(self, single: Single) -> None:
        """Do what `redo` does, for a commit of one record.

        Its entry is written by whoever syncs next, since there is always one who waits for that: a write here would let
        go of the interpreter while the store lock is held, and all the others would crowd in and block.
        """
        engine, stream, segment = self._engine, single.stream, single.segment
        self._journal.add(single.entry, single.entry_position, single.number)
        segment.note_frame(single.offset + 1, single.end, single.timestamp_ms, single.timestamp_ms)
        segment.value_total = stream.value_bytes = single.value_total
        stream.next_offset = single.offset + 1
        engine.commit_number = single.number
        if not self._pending or self._pending[-1] is not single:
            self._pending.append(single)

    def show_single(self, single: Single) -> None:
        """Do what `store` and `publish` do, for a commit of one record."""
        engine, stream, segment = self._engine, single.stream, single.segment
        if not segment.dropped:
            mapped = segment.map
            if mapped is None:
                mapped = engine.cache.open(segment)
            if single.end > segment.zeroed_position:
                segment.zero_ahead(single.end, durable=True)
            mapped[single.position : single.end] = single.frame
            segment.note_stored(single.offset, single.position, single.end, single.timestamp_ms)
        stream.end = single.offset + 1
        engine.published = engine.page_slots[2] = single.number
        if stream.waiters:
            for waiter in tuple(stream.waiters):
                waiter.wake()

    def write_entries(self) -> None:
        """Under the store lock: write what is collected."""
        try:
            self._journal.write_out()
        except OSError as error:
            raise self._engine.stop_writing("a write to the journal failed", error) from error

    def write_out(self) -> list[Area]:
        """Under the store lock: write what is collected and return the areas to sync."""
        self.write_entries()
        return self._journal.unsynced_areas()

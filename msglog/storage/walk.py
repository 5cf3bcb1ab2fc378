"""Walking over the frames behind the last checkpoint, to find the longest run of whole commits.

Part of `recovery`. A frame counts if its checksum, its offset and its life fit: a frame of an older life than the one
that owns its commit number is a leftover of a tail that was cut before. A stream goes on in another file if there is
one that begins at the offset reached. A commit is whole when as many of its frames were found as its frames say it
has.
"""

import os
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from msglog.checksum import crc32c
from msglog.errors import CorruptionError
from msglog.storage.checkpoint import Checkpoint
from msglog.storage.draft import Draft, read_draft, stretch_matches
from msglog.storage.filesystem import Map
from msglog.storage.frame import HEADER, HEADER_SIZE, MAGIC_AND_VERSION, FrameError, decode
from msglog.storage.layout import SEGMENTS, in_segments, parse_segment_name
from msglog.storage.segment import FILE_HEADER_SIZE, LARGEST_FOUND, Segment, SegmentHeader, segment_from_facts

if TYPE_CHECKING:
    from msglog.storage.engine import Engine


@dataclass(slots=True)
class FoundFrame:
    """A frame behind the checkpoint, from `position` to `end`."""

    segment: Segment
    commit: int
    position: int
    end: int
    end_offset: int
    timestamp_ms: int
    max_timestamp_ms: int
    value_total: int
    """Of the stream before the frame."""


@dataclass(slots=True)
class Tail:
    """One stream during the walk."""

    parts: list[Segment]
    frames: list[FoundFrame] = field(default_factory=list)


class TailWalk:
    """The walk over all streams of a store."""

    def __init__(
        self, engine: "Engine", checkpoint: Checkpoint, parts: dict[int, list[Segment]], *, with_draft: bool = True
    ) -> None:
        self._engine = engine
        self._checkpoint = checkpoint
        self.commit = checkpoint.commit
        self._tails = {stream_id: Tail(list(segments)) for stream_id, segments in parts.items()}
        # Files that nothing lists, by stream: an open stream may go on in one of them.
        self.unlisted: dict[int, list[tuple[int, int, str]]] = {}
        self.next_file_id = 1
        # Files with a smaller id that nothing lists were dropped; the others are strangers.
        self.known_files = checkpoint.next_file_id
        self._slugs: dict[int, str] = {}
        self._adopted: set[int] = set()
        self._needed: dict[int, int] = {}
        self._found: Counter[int] = Counter()
        self.draft_sequence = 0
        self._sort_files({segment.file_id for segments in parts.values() for segment in segments})
        draft = read_draft(engine.filesystem, engine.directory, checkpoint) if with_draft else None
        if draft is not None:
            self.draft_sequence = draft.sequence
            self._believe(draft)

    def parts(self) -> dict[int, tuple[Segment, ...]]:
        """Return the segments of every stream, cut to the recovered commit."""
        return {stream_id: tuple(tail.parts) for stream_id, tail in self._tails.items()}

    def run(self, limit: int | None) -> None:
        """Walk, decide which commit is the last whole one (at most `limit`), and cut the streams there."""
        for stream_id in sorted(self._tails.keys() | self.unlisted.keys()):
            self._walk_stream(stream_id)
        self._decide(limit)
        for stream_id, tail in self._tails.items():
            self._cut(stream_id, tail)

    def _sort_files(self, listed: set[int]) -> None:
        for name in self._engine.filesystem.list(self._engine.path(SEGMENTS)):
            parsed = parse_segment_name(name)
            if parsed is None:
                continue
            stream_id, slug, base_offset, file_id = parsed
            self._slugs[stream_id] = slug
            self.next_file_id = max(self.next_file_id, file_id + 1)
            if file_id not in listed:
                self.unlisted.setdefault(stream_id, []).append((base_offset, file_id, name))

    # The draft

    def _believe(self, draft: Draft) -> None:
        """Begin behind the draft if every stretch of bytes it vouches for is there."""
        engine = self._engine
        drafted: dict[int, list[Segment]] = {}
        for stream_id, stretches in draft.streams.items():
            known = {segment.file_id: segment for segment in self._tails.get(stream_id, Tail([])).parts}
            for facts, start, checksum in stretches:
                segment = segment_from_facts(engine.directory, stream_id, self._slugs.get(stream_id, ""), facts)
                before = known.get(facts[0])
                if before is None and not self._header_fits(segment):
                    return
                if not stretch_matches(engine.filesystem, segment.path, start, segment.position, checksum):
                    return
                segment.note_durable(start, sealed=before is not None and before.durable_sealed)
                segment.synced_position = start
                segment.announced = before is not None
                drafted.setdefault(stream_id, []).append(segment)
        for stream_id, segments in drafted.items():
            self._take_drafted(stream_id, segments)
        self.commit = draft.commit
        self.known_files = draft.next_file_id

    def _take_drafted(self, stream_id: int, segments: list[Segment]) -> None:
        self._tails[stream_id] = Tail(segments)
        drafted = {segment.file_id for segment in segments}
        files = self.unlisted.get(stream_id, [])
        self.unlisted[stream_id] = [item for item in files if item[1] not in drafted]

    def _header_fits(self, segment: Segment) -> bool:
        found = self._read_header(segment.path)
        return found is not None and found == segment.header

    # Frame by frame

    def _walk_stream(self, stream_id: int) -> None:
        tail = self._tails.setdefault(stream_id, Tail([]))
        if not tail.parts and not self._go_on(stream_id, tail, 0):
            return
        while True:
            segment = tail.parts[-1]
            if not segment.sealed:
                self._walk_segment(tail, segment)
            end_offset = tail.frames[-1].end_offset if tail.frames else segment.end_offset
            if not self._go_on(stream_id, tail, end_offset):
                return

    def _walk_segment(self, tail: Tail, segment: Segment) -> None:
        mapped = self._map(segment)
        position, offset = segment.position, segment.end_offset
        commit = self.commit
        while (found := self._frame_at(mapped, segment, position, offset, commit)) is not None:
            tail.frames.append(found)
            position, offset, commit = found.end, found.end_offset, found.commit

    def _frame_at(self, mapped: Map, segment: Segment, position: int, offset: int, after: int) -> FoundFrame | None:
        if position + HEADER_SIZE > len(mapped):
            return None
        header = HEADER.unpack_from(mapped, position)
        checksum, kind, length, _, span, base_offset, timestamp, max_timestamp, commit, life, frames, total = header
        end = position + HEADER_SIZE + length
        if (
            kind & 0xFFFFFF != MAGIC_AND_VERSION
            or base_offset != offset
            or end > len(mapped)
            or commit < after
            or total > LARGEST_FOUND
        ):
            return None
        if crc32c(bytes(mapped[position + 4 : end]), segment.crc_seed) != checksum:
            return None
        if life > self._checkpoint.lives[-1][0]:
            if self._engine.readonly and self._engine.writer_is_alive():
                return None  # a new writer has begun meanwhile
            raise CorruptionError(
                f"{segment.path}: a frame of life {life}, of which no checkpoint is left",
                path=segment.path,
                position=position,
                first_offset=base_offset,
                next_offset=base_offset + span,
            )
        if commit <= self.commit or self._checkpoint.life_of(commit) != life:
            return None
        self._needed[commit] = frames
        self._found[commit] += 1
        return FoundFrame(segment, commit, position, end, offset + span, timestamp, max_timestamp, total)

    def _go_on(self, stream_id: int, tail: Tail, offset: int) -> bool:
        """Continue in the file that begins at `offset`, if there is one; return whether there is."""
        candidates = sorted(item for item in self.unlisted.get(stream_id, ()) if item[0] == offset)
        for item in candidates:
            path = in_segments(self._engine.directory, item[2])
            header = self._read_header(path)
            if header is None or (header.base_offset, header.file_id) != item[:2] or header.stream_id != stream_id:
                continue
            if header.value_total > LARGEST_FOUND:
                continue
            if self._checkpoint.lives[-1][0] < header.life:
                if self._engine.readonly and self._engine.writer_is_alive():
                    continue
                raise CorruptionError(
                    f"{path}: a segment of life {header.life}, of which no checkpoint is left", path=path, position=0
                )
            segment = Segment(path, header)
            tail.parts.append(segment)
            self._adopted.add(segment.file_id)
            self.unlisted[stream_id].remove(item)
            return True
        return False

    # The cut

    def _decide(self, limit: int | None) -> None:
        commit = self.commit
        while self._found[commit + 1] and self._found[commit + 1] == self._needed[commit + 1]:
            if limit is not None and commit >= limit:
                break
            commit += 1
        self.commit = commit

    def _cut(self, stream_id: int, tail: Tail) -> None:
        """Leave in a stream what belongs to the recovered commits, and give up files that hold nothing of them."""
        kept = [frame for frame in tail.frames if frame.commit <= self.commit]
        for frame in kept:
            segment = frame.segment
            if segment.index is not None:
                segment.note_frame_at(segment.end_offset, frame.position)
            segment.note_frame(frame.end_offset, frame.end, frame.timestamp_ms, frame.max_timestamp_ms)
            segment.stored_position = segment.position
            segment.before_ms = segment.max_timestamp_ms
        if kept:
            last = kept[-1]
            last.segment.value_total = last.value_total + self._value_bytes(last)
        while tail.parts and tail.parts[-1].file_id in self._adopted and tail.parts[-1].empty:
            given_up = tail.parts.pop()
            item = (given_up.base_offset, given_up.file_id, os.path.basename(given_up.path))
            self.unlisted.setdefault(stream_id, []).append(item)
        for segment, following in pairwise(tail.parts):
            segment.sealed = True
            # Of those that frames were found in, only the last one's total was counted.
            segment.value_total = following.header.value_total
        if tail.parts:
            tail.parts[-1].sealed = False

    def _value_bytes(self, found: FoundFrame) -> int:
        raw = bytes(self._map(found.segment)[found.position + 4 : found.end])
        path = found.segment.path
        try:
            frame = decode(raw, path)
        except FrameError as error:
            raise CorruptionError(
                f"{path}: {error} at position {found.position}", path=path, position=found.position
            ) from error
        return sum(len(value) for value in frame.values if value is not None)

    def _map(self, segment: Segment) -> Map:
        # The header is not looked at: for a listed file the checkpoint knows the seed, for others it was checked.
        file = self._engine.filesystem.open(segment.path, writable=False)
        try:
            return file.map(file.size())
        finally:
            file.close()

    def _read_header(self, path: str) -> SegmentHeader | None:
        try:
            file = self._engine.filesystem.open(path, writable=False)
        except FileNotFoundError:
            return None
        try:
            return SegmentHeader.unpack(file.read(0, FILE_HEADER_SIZE), path)
        except CorruptionError:
            return None
        finally:
            file.close()

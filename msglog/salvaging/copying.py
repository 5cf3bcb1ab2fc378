"""Writing the segments of what was found: whole ones as they are, others without what is damaged.

In a segment that is written anew the frames keep their offsets, and gaps between them are allowed, as after
compaction: so it has that form. A stream ends where it ended, or where its state says it did, so that no offset is
given twice. Imported by `salvage`.
"""

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field

from msglog.checksum import crc32c
from msglog.errors import CorruptionError, UnsupportedFormatError
from msglog.salvaging.loading import Loaded
from msglog.storage.checking import Damage, FrameScan, Scanned, SegmentView
from msglog.storage.copying import NewStore, Report
from msglog.storage.frame import CRC, FrameError, decode
from msglog.storage.index import MIN_TIMESTAMP
from msglog.storage.layout import segment_name
from msglog.storage.segment import FILE_HEADER_SIZE, Segment, SegmentHeader, random_seed
from msglog.storage.stream import Stream

Range = tuple[int, int]
_LIFE = 56
_TOTAL = 64
_REWRITTEN = (0).to_bytes(4, "little") + (1).to_bytes(4, "little")  # life 0, one frame


@dataclass(slots=True)
class CopiedStream:
    """What became of a stream: the facts of its new segments, what is missing of it, and what is there."""

    facts: list[list[int]] = field(default_factory=list)
    gaps: list[Range] = field(default_factory=list)
    records: int = 0


class StreamCopy:
    """Copies one stream into a new store. `end`: where it ends at the least."""

    def __init__(self, loaded: Loaded, target: NewStore, stream: Stream, end: int, report: Report) -> None:
        self._loaded = loaded
        self._target = target
        self._stream = stream
        self._end = max(end, stream.next_offset)
        self._report = report
        self._copied = CopiedStream()
        self._total = 0

    def run(self) -> CopiedStream:
        """Write all of it."""
        stream, copied = self._stream, self._copied
        offset = self._loaded.start_of(stream)
        if stream.parts:
            self._total = stream.parts[0].header.value_total
        for part in stream.parts:
            if part.base_offset > offset:
                self._fill(offset, part.base_offset, part.header.value_total)
            self._copy(part)
            offset = max(offset, part.end_offset)
        if copied.facts and copied.facts[-1][2] < offset:
            self._fill(copied.facts[-1][2], offset, self._total)  # a start that its state alone tells
        if self._end > offset:
            self._fill(offset, self._end, self._total)
        if copied.facts and copied.facts[-1][7]:
            self._begin_active(max(offset, self._end))
        elif not copied.facts and self._end:
            self._begin_active(self._end)
        return copied

    def _new_header(self, base_offset: int, value_total: int, life: int) -> SegmentHeader:
        engine = self._loaded.engine
        file_id = engine.next_file_id
        engine.next_file_id += 1
        return SegmentHeader(life, file_id, random_seed(), self._stream.id, base_offset, value_total)

    def _name(self, header: SegmentHeader) -> str:
        return segment_name(self._stream.id, self._stream.slug, header.base_offset, header.file_id)

    def _fill(self, first: int, end: int, value_total: int) -> None:
        """Let a segment without a frame stand for offsets of which nothing is left."""
        copied = self._copied
        copied.gaps.append((first, end))
        if not copied.facts:
            return  # the stream begins later
        copied.facts[-1][7] = 1
        header = self._new_header(first, self._total, self._loaded.life)
        self._target.write_segment(self._name(header), [header.pack()])
        copied.facts.append(_facts(header, end, FILE_HEADER_SIZE, value_total, sealed=True))
        self._total = value_total

    def _begin_active(self, offset: int) -> None:
        """Let the stream end in a segment that takes what comes next."""
        header = self._new_header(offset, self._total, self._loaded.life)
        self._target.write_segment(self._name(header), [header.pack()])
        self._copied.facts.append(_facts(header, offset, FILE_HEADER_SIZE, self._total, sealed=False))

    def _copy(self, part: Segment) -> None:
        copied = self._copied
        overlay = self._loaded.engine.filesystem
        if copied.facts:
            copied.facts[-1][7] = 1
            if copied.facts[-1][6] != part.header.value_total:
                copied.facts[-1][6] = part.header.value_total  # a last frame that is lost tells no total
        try:
            copied.records += self._target.copy_segment(overlay, SegmentView.of(part), self._report)
            copied.facts.append(part.packed_facts())
        except OSError as error:
            damaged = isinstance(error, CorruptionError | FileNotFoundError) or error.errno == errno.EIO
            if not damaged:
                raise
            self._target.forget_segment(part.file_id)
            self._copy_rest(part)
        self._total = part.value_total

    def _copy_rest(self, part: Segment) -> None:
        """Write a segment anew from the frames that are whole."""
        copied = self._copied
        header = self._new_header(part.base_offset, part.header.value_total, part.header.life)
        new = Segment("", header)
        file = self._target.create_segment(self._name(header))
        try:
            file.write(0, header.pack())
            expected = part.base_offset
            for found, damaged in self._whole_frames(part):
                if found.base_offset < expected:
                    continue
                if found.base_offset > expected and damaged:
                    copied.gaps.append((expected, found.base_offset))
                rest = found.raw[CRC.size : _LIFE] + _REWRITTEN + found.raw[_TOTAL:]
                file.write(new.position, CRC.pack(crc32c(rest, new.crc_seed)) + rest)
                end = new.position + len(found.raw)
                new.note_frame(found.next_offset, end, found.timestamp_ms, found.max_timestamp_ms)
                copied.records += found.records
                expected = found.next_offset
            if expected < part.end_offset and self._ends_damaged:
                copied.gaps.append((expected, part.end_offset))
            file.sync()
        finally:
            file.close()
        self._target.bytes += new.position
        facts = _facts(header, part.end_offset, new.position, part.value_total, sealed=True)
        facts[4:6] = [new.first_timestamp_ms, new.max_timestamp_ms]
        copied.facts.append(facts)

    _ends_damaged = False

    def _whole_frames(self, part: Segment) -> Iterator[tuple[Scanned, bool]]:
        """Yield the frames that can be read, each with whether there is damage before it."""
        self._ends_damaged = True
        try:
            file = self._loaded.engine.filesystem.open(part.path, writable=False)
        except FileNotFoundError:
            return
        damaged = False
        try:
            for found in FrameScan(file, part.crc_seed, part.position).frames(FILE_HEADER_SIZE):
                if isinstance(found, Damage) or not _fits(found, part):
                    damaged = True
                    continue
                yield found, damaged
                damaged = False
            # Cut short it ends between two frames, perhaps.
            self._ends_damaged = damaged or file.size() < part.position
        finally:
            file.close()


def _fits(found: Scanned, part: Segment) -> bool:
    """Whether a frame is what its header says, whatever its checksum says, and lies within its segment."""
    if found.records > found.span or found.next_offset > part.end_offset:
        return False
    try:
        decode(found.raw[CRC.size :], part.path)
    except FrameError:
        return False
    except UnsupportedFormatError:
        return True  # whoever has the codec can read it
    return True


def _facts(header: SegmentHeader, end_offset: int, position: int, value_total: int, *, sealed: bool) -> list[int]:
    return [
        header.file_id,
        header.base_offset,
        end_offset,
        position,
        MIN_TIMESTAMP,
        MIN_TIMESTAMP,
        value_total,
        int(sealed),
        header.seed,
        header.life,
        header.value_total,
    ]

"""Checking one segment: its header, every frame of it, what is known of it, and its saved index.

What is to be found is noted first, under the store lock (`SegmentView`); then the file is read without it. Bytes below
the noted position never change. Imported by `streams` and `unopened`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from msglog.errors import CorruptionError, UnsupportedFormatError
from msglog.storage.checking.scan import Damage, FrameScan, Place, Scanned
from msglog.storage.filesystem import File, FileSystem
from msglog.storage.frame import (
    CRC,
    HEADER_SIZE,
    KIND_KEYED,
    KIND_PLAIN,
    NULL,
    Frame,
    FrameError,
    decode,
)
from msglog.storage.index import ENTRY, MIN_TIMESTAMP, SparseIndex
from msglog.storage.layout import INDEX_SUFFIX
from msglog.storage.segment import FILE_HEADER_SIZE, Segment, SegmentHeader, seed_of
from msglog.types import Problem

Labels = Mapping[str, Any]
Report = Callable[[int], None]
EventCheck = Callable[[bytes], str | None]

_LOOKS = 3
_NO_END = 1 << 32


@dataclass(frozen=True, slots=True)
class SegmentView:
    """A segment as it was at one moment. `complete`: nothing was on its way to it, so that the facts are its own."""

    path: str
    header: SegmentHeader
    position: int
    end_offset: int
    first_timestamp_ms: int
    max_timestamp_ms: int
    value_total: int
    sealed: bool
    complete: bool

    @classmethod
    def of(cls, segment: Segment) -> "SegmentView":
        """Note a segment, under the store lock."""
        return cls(
            segment.path,
            segment.header,
            segment.stored_position,
            segment.end_offset,
            segment.first_timestamp_ms,
            segment.max_timestamp_ms,
            segment.value_total,
            segment.sealed,
            segment.stored_position == segment.position,
        )


class SegmentCheck:
    """The check of one segment's file."""

    def __init__(
        self,
        filesystem: FileSystem,
        view: SegmentView,
        labels: Labels,
        report: Report,
        *,
        newest_life: int | None = None,
        check_event: EventCheck | None = None,
    ) -> None:
        self._filesystem = filesystem
        self._view = view
        self._labels = labels
        self._report = report
        self._newest_life = newest_life
        self._check_event = check_event
        self._damaged = False
        self._next_offset: int | None = view.header.base_offset
        self._value_total: int | None = view.header.value_total
        self._commit = self._life = 0
        self._first_ms: int | None = None
        self._max_ms = MIN_TIMESTAMP
        self._rewritten = False
        self._codec_missing = ""
        self._bad_index = False
        # How many were found in valid frames.
        self.records = 0

    def run(self) -> Iterator[Problem]:
        """Yield what is wrong. Raises FileNotFoundError when the file is gone."""
        view = self._view
        # The index first: what is added to it meanwhile lies behind the view's position.
        entries = self._index_entries()
        file = self._filesystem.open(view.path, writable=False)
        try:
            yield from self._check_header(file)
            yield from self._check_frames(file, entries)
            if (size := file.size()) < view.position:
                self._damaged = True
                yield self._problem(
                    "segment",
                    size,
                    f"the file ends at {size}, its frames at {view.position}",
                    first_offset=self._next_offset,
                    next_offset=view.end_offset,
                )
        finally:
            file.close()
        if self._codec_missing:
            yield self._problem("codec", 0, f"contents were not checked: {self._codec_missing}")
        if self._bad_index:
            yield self._index_problem("an entry's checksum does not match")
        if view.complete and not self._damaged:
            yield from self._check_facts()

    # The parts

    def _check_header(self, file: File) -> Iterator[Problem]:
        try:
            found = SegmentHeader.unpack(file.read(0, FILE_HEADER_SIZE), self._view.path)
        except CorruptionError as error:
            yield self._problem("segment", error.position, "the header of the segment is damaged")
        except UnsupportedFormatError as error:
            yield self._problem("segment", 0, f"segment format {error.found}, which this version cannot read")
        else:
            if found != self._view.header:
                yield self._problem("segment", 0, "the file is not the one listed")

    def _check_frames(self, file: File, entries: list[tuple[int, int, int]]) -> Iterator[Problem]:
        view = self._view
        scan = FrameScan(file, seed_of(view.header.seed), view.position)
        place = 0
        position = reported = FILE_HEADER_SIZE
        end = min(view.position, file.size())
        while position < end:
            position = self._follow(scan, position, entries[place][1] if place < len(entries) else end)
            if position < end:
                found = scan.frame_or_damage(position)
                if isinstance(found, Damage):
                    yield self._note_damage(scan, found)
                    while place < len(entries) and entries[place][1] < found.end:
                        place += 1
                else:
                    while place < len(entries) and entries[place][1] <= position:
                        yield from self._check_entry(entries[place], found)
                        place += 1
                    yield from self._check_frame(found)
                position = found.end
            self._report(position - reported)
            reported = position
        self._report(max(0, view.position - reported))
        for offset, at, _ in entries[place:]:
            if at < view.position and not self._damaged:
                yield self._index_problem(f"the entry of offset {offset} leads to {at}, where no frame begins")

    def _follow(self, scan: FrameScan, position: int, stop: int) -> int:
        """Go over what most frames are, plain ones of one record, and return where a closer look is needed."""
        if self._next_offset is None or self._value_total is None or not self._life or self._check_event is not None:
            return position
        place = scan.follow(
            Place(position, self._next_offset, self._value_total, self._commit, self._life, self._max_ms), stop
        )
        self.records += place.offset - self._next_offset
        position, self._next_offset, self._value_total, self._commit, self._life, self._max_ms = place
        return position

    def _note_damage(self, scan: FrameScan, damage: Damage) -> Problem:
        self._damaged = True
        first = self._next_offset
        behind = scan.frame_at(damage.end)
        following = self._view.end_offset if behind is None else behind.base_offset
        self._next_offset = None if behind is None else behind.base_offset
        self._value_total = None
        return self._problem(
            "frame",
            damage.position,
            "there is no frame, or its checksum does not match",
            first_offset=first,
            next_offset=following if first is None else max(following, first + 1),
        )

    def _check_frame(self, found: Scanned) -> Iterator[Problem]:
        self._rewritten = found.life == 0
        self.records += found.records
        for what in (*self._wrong_numbers(found), *self._wrong_contents(found)):
            yield self._problem(
                "frame", found.position, what, first_offset=found.base_offset, next_offset=found.next_offset
            )
        self._next_offset = found.next_offset
        self._commit = found.commit
        self._life = found.life
        if self._first_ms is None:
            self._first_ms = found.timestamp_ms
        self._max_ms = max(self._max_ms, found.max_timestamp_ms)

    def _wrong_numbers(self, found: Scanned) -> Iterator[str]:
        """Yield what does not fit between this frame and what came before it."""
        expected, total = self._next_offset, self._value_total
        if not 1 <= found.records <= found.span:
            yield f"{found.records} records cover {found.span} offsets"
        if expected is not None and (
            found.base_offset < expected if self._rewritten else found.base_offset != expected
        ):
            yield f"it begins at offset {found.base_offset}, the frame before ends at {expected}"
        if total is not None and (found.value_total < total if self._rewritten else found.value_total != total):
            yield f"its running total of value bytes is {found.value_total} instead of {total}"
        if found.commit < self._commit:
            yield f"commit {found.commit} comes after commit {self._commit}"
        if found.life < self._life:
            yield f"life {found.life} comes after life {self._life}"
        if self._newest_life is not None and found.life > self._newest_life:
            yield f"life {found.life} is later than the newest, which is {self._newest_life}"
        if self._rewritten and found.frames != 1:
            yield f"a rewritten frame calls itself one of {found.frames}"

    def _wrong_contents(self, found: Scanned) -> Iterator[str]:
        """Yield what is wrong with the columns; know afterwards how many bytes of values there are."""
        self._value_total = found.value_total
        if found.kind == KIND_PLAIN and found.records == 1:
            yield from self._wrong_one(found, HEADER_SIZE)
            return
        if found.kind == KIND_KEYED and found.records == 1 and len(found.raw) >= HEADER_SIZE + CRC.size:
            (size,) = CRC.unpack_from(found.raw, HEADER_SIZE)
            start = HEADER_SIZE + CRC.size + (0 if size == NULL else size)
            if start <= len(found.raw):
                yield from self._wrong_one(found, start)
                return
        try:
            frame = decode(found.raw[CRC.size :], self._view.path)
        except FrameError as error:
            self._value_total = None
            yield str(error)
        except UnsupportedFormatError as error:
            self._value_total = None
            self._codec_missing = str(error)
        else:
            self._value_total += sum(len(value) for value in frame.values if value is not None)
            yield from self._wrong_columns(found, frame)

    def _wrong_one(self, found: Scanned, start: int) -> Iterator[str]:
        self._value_total = found.value_total + len(found.raw) - start
        if found.timestamp_ms != found.max_timestamp_ms:
            yield "its largest timestamp is not that of its only record"
        if self._check_event is not None and (what := self._check_event(found.raw[start:])):
            yield what

    def _wrong_columns(self, found: Scanned, frame: Frame) -> Iterator[str]:
        stamps = frame.timestamps
        largest = stamps if isinstance(stamps, int) else max(stamps)
        if largest != found.max_timestamp_ms:
            yield f"its largest timestamp is {largest}, its header says {found.max_timestamp_ms}"
        offsets = frame.offsets
        if not isinstance(offsets, range) and (
            any(after <= before for before, after in pairwise(offsets)) or offsets[-1] >= found.next_offset
        ):
            yield "its offsets do not rise within its span"
        if self._check_event is not None:
            for value in frame.values:
                if what := self._check_event(value or b""):
                    yield what

    def _check_facts(self) -> Iterator[Problem]:
        """Compare the end that was found with the end that is known."""
        view = self._view
        pairs: list[tuple[str, int | None, int]] = []
        if not self._rewritten and view.position > FILE_HEADER_SIZE:
            pairs.append(("ends at offset", self._next_offset, view.end_offset))
            pairs.append(("ends at a running total of", self._value_total, view.value_total))
        if self._first_ms is not None:
            pairs.append(("begins at timestamp", self._first_ms, view.first_timestamp_ms))
            pairs.append(("has the largest timestamp", self._max_ms, view.max_timestamp_ms))
        for what, found, known in pairs:
            if found is not None and found != known:
                yield self._problem("segment", view.position, f"the segment {what} {found}, it is listed with {known}")
        if self._next_offset is not None and self._next_offset > view.end_offset:
            yield self._problem(
                "segment", view.position, f"frames reach to offset {self._next_offset}, beyond the listed end"
            )

    # The index

    def _index_entries(self) -> list[tuple[int, int, int]]:
        """Return (offset, position, timestamp) of the saved index as far as it is valid."""
        index = SparseIndex()
        for _ in range(_LOOKS):
            try:
                file = self._filesystem.open(self._view.path + INDEX_SUFFIX, writable=False)
            except FileNotFoundError:
                self._bad_index = False
                return []
            try:
                data = file.read(0, file.size())
            finally:
                file.close()
            index = SparseIndex.load(data, seed_of(self._view.header.seed), _NO_END)
            self._bad_index = len(data) // ENTRY.size > len(index)
            if not self._bad_index:
                break  # otherwise it may be being written at this moment
        return list(index.entries())

    def _check_entry(self, entry: tuple[int, int, int], found: Scanned) -> Iterator[Problem]:
        offset, position, timestamp_ms = entry
        if position < found.position or offset != found.base_offset:
            yield self._index_problem(f"the entry of offset {offset} leads to {position}, where no such frame begins")
        elif timestamp_ms < self._max_ms:
            yield self._index_problem(f"a record before offset {offset} is later than its entry says")

    def _index_problem(self, what: str) -> Problem:
        return Problem("index", self._view.path + INDEX_SUFFIX, 0, what, **self._labels)

    def _problem(self, kind: str, position: int, what: str, **offsets: Any) -> Problem:
        return Problem(kind, self._view.path, position, what, **self._labels, **offsets)

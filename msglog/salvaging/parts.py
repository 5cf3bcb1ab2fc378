"""Finding the segments of all streams of a store that does not open, and the frames behind its last checkpoint.

What a checkpoint lists is taken at its word, and what of it is missing stands as zeros in the overlay: so the offsets
that were there are known, and turn out to be a gap. Behind it, and without a checkpoint, everything counts that is
whole and follows. Imported by `loading`.
"""

from dataclasses import dataclass, field

from msglog.errors import CorruptionError, UnsupportedFormatError
from msglog.storage.checking import Damage, FrameScan, Scanned
from msglog.storage.checkpoint import Checkpoint
from msglog.storage.filesystem import OverlayFileSystem
from msglog.storage.frame import CRC, FrameError, decode
from msglog.storage.journal import Area, Entry
from msglog.storage.layout import JOURNALS, SEGMENTS, in_segments, parse_segment_name
from msglog.storage.segment import (
    FILE_HEADER_SIZE,
    LARGEST_FOUND,
    LARGEST_LIFE,
    Segment,
    SegmentHeader,
    segment_from_facts,
)

_FIRST_BYTES = 64 << 10


@dataclass(slots=True)
class PartsFinder:
    """`find` fills `parts`, the segments of each stream in order, and the numbers that are beyond all that was seen."""

    overlay: OverlayFileSystem
    directory: str
    checkpoint: Checkpoint | None
    parts: dict[int, list[Segment]] = field(default_factory=dict)
    slugs: dict[int, str] = field(default_factory=dict)
    commit: int = 0
    life: int = 0
    next_file_id: int = 1
    next_stream_id: int = 1
    _unused: list[Segment] = field(default_factory=list)
    _missing: set[int] = field(default_factory=set)
    _names: dict[int, str] = field(default_factory=dict)
    _sizes: dict[str, int] = field(default_factory=dict)

    def find(self) -> None:
        """Look through the directory."""
        checkpoint = self.checkpoint
        if checkpoint is not None:
            self.commit, self.life = checkpoint.commit, checkpoint.lives[-1][0]
            self.next_file_id, self.next_stream_id = checkpoint.next_file_id, checkpoint.next_stream_id
        self._read_names()
        self._redo_journal()
        self._read_names()  # with what it made again
        listed: set[int] = set()
        for stream_id, packed in (checkpoint.streams if checkpoint is not None else {}).items():
            parts = self.parts[stream_id] = [self._listed(stream_id, facts) for facts in packed]
            listed.update(part.file_id for part in parts)
            if parts:
                self._extend(parts[-1], parts[-1].position)
        floor = 1 if checkpoint is None else checkpoint.next_file_id
        self._adopt([file_id for file_id in self._names if file_id not in listed and file_id >= floor])
        for parts in self.parts.values():
            for part in parts[:-1]:
                part.sealed = True
            if parts:
                parts[-1].sealed = False

    def _read_names(self) -> None:
        self._sizes = self.overlay.list(f"{self.directory}/{SEGMENTS}")
        for name in self._sizes:
            parsed = parse_segment_name(name)
            if parsed is not None:
                self.slugs[parsed[0]] = parsed[1]
                self._names[parsed[3]] = name
                self.next_file_id = max(self.next_file_id, parsed[3] + 1)
                self.next_stream_id = max(self.next_stream_id, parsed[0] + 1)

    # The journal

    def _redo_journal(self) -> None:
        """Store all whole entries that no checkpoint covers, those behind damaged ones, too."""
        covered = 0 if self.checkpoint is None else self.checkpoint.commit
        entries: list[Entry] = []
        names = self.overlay.list(self.directory)
        for name in JOURNALS:
            if name not in names:
                continue
            try:
                area = Area.open(self.overlay, f"{self.directory}/{name}", writable=False)
                if area is not None:
                    entries += area.entries_after(covered)
                    area.file.close()
            except (CorruptionError, UnsupportedFormatError, FileNotFoundError):
                continue  # without its seed nothing in it can be told from accident
        for entry in sorted(entries, key=lambda one: (one.commit, one.life)):
            if self._counts(entry.life, entry.commit):
                self._redo(entry)

    def _redo(self, entry: Entry) -> None:
        # Without a checkpoint an entry may be older than what became of its files since: they are not made again.
        for create in entry.creates if self.checkpoint is not None else ():
            parsed = parse_segment_name(create.name)
            if parsed is not None and parsed[3] not in self._names:
                file = self.overlay.open(in_segments(self.directory, create.name), create=True)
                file.allocate(_FIRST_BYTES)
                file.write(0, create.header)
                self._names[parsed[3]] = create.name
        for frame in entry.frames:
            name = self._names.get(frame.file_id)
            if name is not None:
                self.overlay.open(in_segments(self.directory, name)).write(frame.position, frame.header + frame.body)
        self.commit, self.life = max(self.commit, entry.commit), max(self.life, entry.life)

    # Segments

    def _listed(self, stream_id: int, facts: list[int]) -> Segment:
        """Return a segment as the checkpoint lists it, as if all of it were there."""
        segment = segment_from_facts(self.directory, stream_id, self.slugs.get(stream_id, ""), facts)
        name = self._names.get(facts[0])
        if name is not None:
            segment.path = in_segments(self.directory, name)
        whole = self._header(segment.path) == segment.header
        size = self._sizes.get(name or "", 0)
        if name is None:
            self._missing.add(segment.file_id)
        if not whole or size < segment.position:
            file = self.overlay.open(segment.path, create=True)
            file.allocate(segment.position)
            file.write(0, segment.header.pack())
        return segment

    def _header(self, path: str) -> SegmentHeader | None:
        try:
            file = self.overlay.open(path, writable=False)
        except FileNotFoundError:
            return None
        try:
            return SegmentHeader.unpack(file.read(0, FILE_HEADER_SIZE), path)
        except (CorruptionError, UnsupportedFormatError):
            return None
        finally:
            file.close()

    def _adopt(self, file_ids: list[int]) -> None:
        """Take up files that nothing lists, where they go on behind what their streams have."""
        names = [
            (parsed, self._names[number]) for number in file_ids if (parsed := parse_segment_name(self._names[number]))
        ]
        # Of two files with the same beginning the later one took the earlier one's place.
        for (stream_id, _, base_offset, file_id), name in sorted(names, key=lambda one: (one[0][2], -one[0][3])):
            path = in_segments(self.directory, name)
            header = self._header(path)
            if header is None or header.file_id != file_id or header.stream_id != stream_id:
                continue
            if header.life >= LARGEST_LIFE or header.base_offset != base_offset or header.value_total > LARGEST_FOUND:
                continue
            parts = self.parts.setdefault(stream_id, [])
            segment = Segment(path, header)
            self.life = max(self.life, header.life)
            self._extend(segment, FILE_HEADER_SIZE)
            if parts and (base_offset < parts[-1].end_offset or base_offset == parts[-1].base_offset):
                self._unused.append(segment)
            elif not segment.empty or not parts:
                parts.append(segment)

    def without_missing(self, stream_id: int, parts: tuple[Segment, ...]) -> tuple[Segment, ...]:
        """Return a stream's segments with rewritten ones in the place of those that are missing.

        An older checkpoint, used for want of the newest, lists what was compacted since: where no event tells, a file
        that begins where a missing one did is what that became.
        """
        rewritten = {part.base_offset: part for part in self._unused if part.header.stream_id == stream_id}
        kept: list[Segment] = []
        for part in parts:
            found = rewritten.get(part.base_offset)
            if part.file_id not in self._missing:
                kept.append(part)
            elif found is not None:
                found.end_offset = max(found.end_offset, part.end_offset)
                found.sealed = part.sealed
                kept.append(found)
            elif not kept or kept[-1].end_offset < part.end_offset:
                kept.append(part)
        return tuple(kept)

    def _extend(self, segment: Segment, position: int) -> None:
        """Take in the frames from `position` on."""
        file = self.overlay.open(segment.path, writable=False)
        try:
            last: Scanned | None = None
            for found in FrameScan(file, segment.crc_seed, file.size()).frames(position):
                if isinstance(found, Damage) or max(found.next_offset, found.value_total) > LARGEST_FOUND:
                    continue
                if found.base_offset < segment.end_offset or not self._counts(found.life, found.commit):
                    break
                segment.note_frame(found.next_offset, found.end, found.timestamp_ms, found.max_timestamp_ms)
                self.commit, self.life = max(self.commit, found.commit), max(self.life, found.life)
                last = found
        finally:
            file.close()
        segment.stored_position = segment.position
        if last is not None:
            segment.value_total = last.value_total + _value_bytes(last, segment.path)

    def _counts(self, life: int, commit: int) -> bool:
        """Whether something of this life and commit belongs to the history, as far as a checkpoint tells."""
        if life >= LARGEST_LIFE or commit >= LARGEST_FOUND:
            return False  # nobody has come so far, and there must be one behind it
        checkpoint = self.checkpoint
        if checkpoint is None or life == 0:
            return True
        if commit <= checkpoint.commit:
            return False
        return life > checkpoint.lives[-1][0] or life == checkpoint.life_of(commit)


def _value_bytes(found: Scanned, path: str) -> int:
    try:
        return sum(len(value) for value in decode(found.raw[CRC.size :], path).values if value is not None)
    except (FrameError, UnsupportedFormatError):
        return 0

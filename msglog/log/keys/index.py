"""The index by key of one partition: which offsets the records of a key have.

    [run) [run) ... [run)   [frozen)   recent            in the order of offsets
    sorted, in files        being      noted by appends,
    (or in memory)          written    or read behind

Everything below `end` was looked at. Appends note what they place under the store lock; where they cannot, or were
interrupted, `end` stays behind and `catch_up` reads what is visible from there on. What was noted beyond a gap is
remembered as `ahead`, so that a gap is closed by reading even while others go on appending.

Who decides under the store lock looks before it (`look`), where files may be read, and asks under it whether what was
seen is still all there is (`is_current`). Offsets below the stream's start do not count, nor do those of records that
compaction removed: what may be one of those is looked for among the records.

Locks, in this order: `_turn` (one reads behind, or makes a run), the store lock, `_lock` (what is in memory; held for
moments). `_stored` is replaced as a whole and only in one's turn. An interrupt leaves something to be noted or made
again, never something wrong. Imported by `indexes` and, for its types, by the parts of the log.
"""

import heapq
import logging
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from threading import Lock
from typing import Final, NamedTuple

from msglog.log.keys.files import RunFiles, memory_run
from msglog.log.keys.run import Anchor, DamagedRunError, Run
from msglog.log.rules.key_rows import (
    RunSpan,
    candidates,
    digest_of,
    offset_of,
    rows_of,
    runs_to_merge,
)
from msglog.storage import Engine, Frame, Stream

RUN_ROWS: Final = 32 << 10
"""So many rows make a run; after a kill so many records are read at most for each that had a key."""
RUN_OFFSETS: Final = 8 * RUN_ROWS
"""So many offsets make one however few of them had keys."""
WORTH_A_FILE: Final = 1000
"""Reading fewer offsets than this takes less time than a file is worth when the store is closed."""
_MOST_AHEAD: Final = 1000

logger = logging.getLogger("msglog.keys")

Offsets = dict[bytes, list[int]]


class Frozen(NamedTuple):
    """What becomes the next run: all below `end`, as of a published commit. Never changed."""

    end: int
    commit: int
    offsets: Offsets


class Stored(NamedTuple):
    """The part of an index that does not change but as a whole."""

    runs: tuple[Run, ...]
    frozen: Frozen | None


class Sight(NamedTuple):
    """What a look for a key saw: its last record, after `seen`, the last one that may be there."""

    stored: Stored
    parts: Sequence[object]
    seen: int
    last: int


class KeyIndex:
    """One partition's index. Safe for any number of threads."""

    def __init__(self, engine: Engine, stream: Stream, files: RunFiles) -> None:
        self._engine = engine
        self._stream = stream
        self._files = files
        self._lock = Lock()
        self._turn = Lock()
        self._recent: Offsets = {}
        self._rows = 0
        self._ahead: list[tuple[int, int]] = []
        self._removed: tuple[Sequence[object], int] = ((), 0)
        self._base = stream.start
        runs, self.end = self._find_runs(self._base)
        self._stored = Stored(runs, None)

    # Asking

    def look(self, digest: bytes) -> Sight:
        """Find the last record of a key. Not under the store lock. Raises `CorruptionError`."""
        while True:
            parts = self._stream.parts
            stored, recent = self._view(digest)
            offsets = chain(reversed(recent), _backwards(stored.runs, digest))
            try:
                seen = next(offsets, -1)
                last = seen
                while last >= self._stream.start and not self._is_there(last):
                    last = next(offsets, -1)
            except DamagedRunError as error:
                self._make_anew(error)
            else:
                return Sight(stored, parts, seen, last)

    def is_current(self, sight: Sight) -> bool:
        """Whether `last_offset` can be told from what was seen. Under the store lock."""
        stream = self._stream
        return self.end == stream.next_offset and self._stored is sight.stored and stream.parts is sight.parts

    def last_offset(self, digest: bytes, sight: Sight) -> int:
        """Return the offset of the last record of a key, -1 without one, if the sight is current.

        Under the store lock. What came since the look is there: nothing was removed meanwhile.
        """
        with self._lock:
            recent = self._recent.get(digest)
            newest = recent[-1] if recent else -1
        last = newest if newest > sight.seen else sight.last
        return last if last >= self._stream.start else -1

    def offsets(self, digest: bytes, start: int, end: int) -> Iterator[int]:
        """Yield the offsets of a key from `start` to before `end`, rising; some of them may be removed.

        Files are read as it goes. Raises `CorruptionError`.
        """
        while True:
            stored, recent = self._view(digest)
            try:
                for offset in chain(_forwards(stored.runs, digest, start), recent):
                    if offset >= end:
                        return
                    if offset >= start:
                        yield offset
                        start = offset + 1
            except DamagedRunError as error:
                self._make_anew(error)
            else:
                return

    def offsets_backwards(self, digest: bytes, end: int) -> Iterator[int]:
        """Yield the offsets of a key below `end`, falling; some of them may be removed."""
        while True:
            stored, recent = self._view(digest)
            try:
                for offset in chain(reversed(recent), _backwards(stored.runs, digest)):
                    if offset < end:
                        yield offset
                        end = offset
            except DamagedRunError as error:
                self._make_anew(error)
            else:
                return

    def _view(self, digest: bytes) -> tuple[Stored, list[int]]:
        """Return the runs, and the offsets of a key behind them."""
        with self._lock:
            stored = self._stored
            recent = self._recent.get(digest, ())
            behind = [*recent]
        if stored.frozen is not None:
            behind = sorted({*behind, *stored.frozen.offsets.get(digest, ())})
        return stored, behind

    def _is_there(self, offset: int) -> bool:
        """Whether compaction has left a record; files are read only where it has been."""
        stream = self._stream
        parts, removed_end = self._removed
        if stream.parts is not parts:
            parts = stream.parts
            removed_end = 0
            # A segment that compaction wrote is younger than the one behind it, which was there before.
            for part, following in pairwise(stream.parts):
                if part.file_id > following.file_id:
                    removed_end = part.end_offset
            self._removed = (parts, removed_end)
        if offset >= removed_end:
            return True
        frame = stream.reader(offset).read()
        return frame is not None and _holds(frame, offset)

    # Noting

    def note(self, base_offset: int, digests: Sequence[bytes | None]) -> None:
        """Take in records that were just placed. Under the store lock."""
        stop = base_offset + len(digests)
        with self._lock:
            if base_offset > self.end:
                if len(self._ahead) < _MOST_AHEAD and self._rows < 2 * RUN_ROWS:
                    self._add(range(base_offset, stop), digests)
                    self._ahead.append((base_offset, stop))
            else:
                self._add(range(base_offset, stop), digests)
                self._reach(stop)

    def _add(self, offsets: Iterable[int], digests: Iterable[bytes | None]) -> None:
        """Under the lock: remember offsets; doing it again changes nothing."""
        recent = self._recent
        for offset, digest in zip(offsets, digests, strict=True):
            if digest is None:
                continue
            known = recent.get(digest)
            if known is None:
                recent[digest] = [offset]
            elif known[-1] < offset:
                known.append(offset)
            elif known[bisect_left(known, offset)] != offset:
                insort(known, offset)
            self._rows += 1

    def _reach(self, stop: int) -> None:
        """Under the lock: everything below `stop` was looked at, and perhaps what was noted from there on."""
        self.end = max(self.end, stop)
        ahead = self._ahead
        while ahead and ahead[0][0] <= self.end:
            self.end = max(self.end, ahead[0][1])
            del ahead[0]

    # Reading behind

    def catch_up(self) -> None:
        """Look at all that is visible. Not under the store lock. Raises `CorruptionError`."""
        if self.end >= self._stream.end:
            return
        with self._turn:
            while (stretch := self._missing()) is not None:
                self._read(*stretch)

    def _missing(self) -> tuple[int, int] | None:
        with self._lock:
            stop = self._stream.end
            if self._ahead:
                stop = min(stop, self._ahead[0][0])
            return (self.end, stop) if self.end < stop else None

    def _read(self, start: int, stop: int) -> None:
        """Look at the frames of a stretch, up to where a run is due."""
        start = max(start, self._stream.start)
        reader = self._stream.reader(start)
        while self.end < stop:
            self._engine.check_open()
            frame = reader.read()
            if frame is None:  # the rest was removed
                with self._lock:
                    self._reach(stop)
                return
            digests = _digests_of(frame)
            below = bisect_left(frame.offsets, start)  # a frame may begin before the stream's start
            with self._lock:
                if digests is not None:
                    self._add(frame.offsets[below:], digests[below:])
                self._reach(frame.next_offset)
            if self._is_due():
                self._make_run()
                return

    # Runs

    def tidy(self) -> None:
        """Make a run if one is due and nobody else is at it. Not under the store lock."""
        if self._is_due() and not self._turn.locked():
            with self._turn:
                if self._is_due():
                    self._make_run()

    def close(self) -> None:
        """Leave a file behind if that is worth it."""
        with self._turn:
            if self._files.writable and self.end - self._runs_end(self._stored) >= WORTH_A_FILE:
                self._make_run()

    def _is_due(self) -> bool:
        return self._rows >= RUN_ROWS or self.end - self._runs_end(self._stored) >= RUN_OFFSETS

    def _runs_end(self, stored: Stored) -> int:
        return stored.runs[-1].span.end if stored.runs else self._base

    def _make_run(self) -> None:
        """In one's turn: turn what is in memory and visible into a run, merged with the ones before if that is due."""
        if self._engine.readonly and self._follow():
            return
        begun = self._freeze()
        if begun is None:
            return
        stored, frozen = begun
        live = [run for run in stored.runs if run.span.end > self._stream.start]
        try:
            run, kept = self._write(live, frozen, self._runs_end(stored))
        except DamagedRunError as error:
            self._drop(error)
            return
        left = [(digest, offsets) for digest, offsets in frozen.offsets.items() if offsets[-1] >= frozen.end]
        with self._lock:
            for digest, offsets in left:
                beyond = offsets[bisect_left(offsets, frozen.end) :]
                self._add(beyond, [digest] * len(beyond))
            self._stored = Stored((*kept, run), None)
        for old in stored.runs:
            if old.in_file and old not in kept:
                self._files.remove(old.span)

    def _freeze(self) -> tuple[Stored, Frozen] | None:
        """Set apart what becomes a run, unless an interrupt has left something; None if there is nothing."""
        with self._engine.lock, self._lock:  # visible end and published commit belong together
            stored = self._stored
            if stored.frozen is not None:
                return stored, stored.frozen
            end = min(self.end, self._stream.end)
            if end <= self._runs_end(stored):
                return None
            frozen = Frozen(end, self._engine.published, self._recent)
            self._stored = stored = Stored(stored.runs, frozen)
            self._recent = {}
            self._rows = 0
        return stored, frozen

    def _write(self, live: list[Run], frozen: Frozen, first: int) -> tuple[Run, list[Run]]:
        """Return a new run, and those before it that stay. Raises `DamagedRunError`."""
        rows = rows_of(frozen.offsets.items(), frozen.end)
        if self._files.writable:
            merged = runs_to_merge([run.rows for run in live], len(rows))
            kept, old = live[: len(live) - merged], live[len(live) - merged :]
            try:
                run = self._files.write(*self._merged(old, rows, frozen, first), replaces=bool(old))
            except OSError as error:
                logger.warning(
                    "a piece of the index by key of %r stays in memory: %s",
                    self._stream.slug,
                    error,
                    extra={"event": "index_not_written", "stream": self._stream.slug},
                )
                return memory_run(*self._merged([], rows, frozen, first)), live
            return run, kept
        in_memory = [run for run in live if not run.in_file]
        merged = runs_to_merge([run.rows for run in in_memory], len(rows))
        kept, old = live[: len(live) - merged], live[len(live) - merged :]
        return memory_run(*self._merged(old, rows, frozen, first)), kept

    def _merged(
        self, old: list[Run], rows: list[bytes], frozen: Frozen, first: int
    ) -> tuple[RunSpan, Iterable[bytes], Anchor]:
        """Return what makes one run of some old ones and new rows; those of removed records are left out."""
        stream = self._stream
        first = old[0].span.first if old else first
        span = RunSpan(stream.id, first, frozen.end, frozen.commit)
        source: Iterable[bytes] = rows
        if old:
            start = stream.start
            merged = heapq.merge(*[run.all_rows() for run in old], rows)
            source = (row for row in merged if offset_of(row) >= start) if start > first else merged
        segment = stream.segment_for(frozen.end - 1)
        anchor = Anchor(0, 0) if segment is None else Anchor(segment.file_id, segment.header.seed)
        return span, source, anchor

    def _make_anew(self, error: DamagedRunError) -> None:
        """Forget a run that cannot be read and all behind it, and read the records."""
        with self._turn:
            self._drop(error)
        self.catch_up()

    def _tell_anew(self, error: DamagedRunError) -> None:
        logger.warning(
            "a piece of the index by key of %r is made anew: %s",
            self._stream.slug,
            error,
            extra={"event": "index_made_anew", "stream": self._stream.slug},
        )

    def _drop(self, error: DamagedRunError) -> None:
        stored = self._stored
        if error.run not in stored.runs:
            return
        self._tell_anew(error)
        place = stored.runs.index(error.run)
        self._begin_at(stored.runs[:place], error.run.span.first)
        if self._files.writable:
            for run in stored.runs[place:]:
                self._files.remove(run.span)

    def _begin_at(self, runs: tuple[Run, ...], end: int) -> None:
        """Go on from some runs that end at an offset; what is behind is noted, or read, again."""
        with self._lock:
            self.end = end
            self._ahead = []
            self._recent = {}
            self._rows = 0
            self._stored = Stored(runs, None)

    # Files that are there

    def _find_runs(self, position: int) -> tuple[tuple[Run, ...], int]:
        """Return the longest row of runs that reaches from an offset on without a gap, and where it ends."""
        stream, files = self._stream, self._files
        spans = files.spans_of(stream.id)
        fitting = [span for span in spans if span.commit <= self._engine.published and span.end <= stream.end]
        runs: list[Run] = []
        while (run := self._next_run(fitting, position, at_start=not runs)) is not None:
            runs.append(run)
            position = run.span.end
        if files.writable:
            taken = {run.span for run in runs}
            for span in spans:
                if span not in taken:
                    files.remove(span)
        return tuple(runs), position

    def _next_run(self, spans: list[RunSpan], position: int, *, at_start: bool) -> Run | None:
        for span in candidates(spans, position, at_start=at_start):
            try:
                run = self._files.load(span)
            except DamagedRunError as error:
                self._tell_anew(error)
                continue
            # Where its segment is still there, it must be the same one: the file may be another store's.
            seeds = [part.header.seed for part in self._stream.parts if part.file_id == run.anchor.file_id]
            if seeds in ([], [run.anchor.seed]):
                return run
        return None

    def _follow(self) -> bool:
        """In a reader: take over what the writer has made since; return whether that was more than is known."""
        known = max((run.span.end for run in self._stored.runs if run.in_file), default=0)
        start = self._stream.start
        runs, end = self._find_runs(start)
        if end <= known:
            return False
        self._base = start
        self._begin_at(runs, end)
        return True


def _forwards(runs: Sequence[Run], digest: bytes, start: int) -> Iterator[int]:
    for run in runs:
        if run.span.end > start:
            yield from run.forwards(digest)


def _backwards(runs: Sequence[Run], digest: bytes) -> Iterator[int]:
    for run in reversed(runs):
        yield from run.backwards(digest)


def _holds(frame: Frame, offset: int) -> bool:
    place = bisect_left(frame.offsets, offset)
    return place < frame.count and frame.offsets[place] == offset


def _digests_of(frame: Frame) -> list[bytes | None] | None:
    """Return the digests of a frame's keys, None without any; each key is hashed once."""
    if frame.keys is None:
        return None
    known = {key: digest_of(key) for key in set(frame.keys) if key is not None}
    return [None if key is None else known[key] for key in frame.keys]

"""Checking what an open engine holds: its streams, their segments, the events of its state, and its journal in force.

For one writing engine while other threads go on, or for an engine of the caller's own that nobody else uses. What is to
be found is noted under the store lock, one stream at a time; files are read without it. A segment that is gone when
its turn comes was dropped or rewritten meanwhile, unless its stream still has it. Imported by `msglog.store`.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from itertools import pairwise

from msglog.errors import CorruptionError, MsglogError
from msglog.storage.checking.segments import EventCheck, Labels, SegmentCheck, SegmentView
from msglog.storage.engine import Engine
from msglog.storage.layout import INDEX_SUFFIX, SEGMENTS, in_segments, parse_segment_name
from msglog.storage.segment import Segment
from msglog.storage.state import STATE_STREAM, unpack_event
from msglog.storage.stream import Stream
from msglog.types import Problem

Progress = Callable[[int, int], object]
_JOURNAL_LOOKS = 5


class StreamsCheck:
    """The check of an engine's streams. `labels`: whose a stream is, as far as somebody knows."""

    def __init__(self, engine: Engine, labels: Mapping[int, Labels], progress: Progress | None) -> None:
        self._engine = engine
        self._labels = labels
        self._progress = progress
        self._done = 0
        self._total = 0

    def run(self) -> Iterator[Problem]:
        """Yield what is wrong with the streams that are there now."""
        engine = self._engine
        streams = list(engine.streams.values())
        self._total = sum(stream.size_bytes for stream in streams)
        self._advance(0)
        for stream in streams:
            yield from self._check_stream(stream)
        self._total = self._done
        self._advance(0)

    def _advance(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, max(self._done, self._total))

    def _note(self, stream: Stream) -> tuple[list[SegmentView], list[Problem]]:
        """Under the lock for a moment: note a stream's segments, and what does not fit between them."""
        with self._engine.lock:
            settle(self._engine)
            if self._engine.streams.get(stream.id) is not stream:
                return [], []
            return [SegmentView.of(part) for part in stream.parts], list(self._check_order(stream))

    def _check_order(self, stream: Stream) -> Iterator[Problem]:
        parts = stream.parts
        for before, after in pairwise(parts):
            if before.end_offset != after.base_offset:
                what = f"it begins at offset {after.base_offset}, the one before ends at {before.end_offset}"
                yield self._problem(stream, "segment", after, what)
            if before.value_total != after.header.value_total:
                what = f"its running total is {after.header.value_total} instead of {before.value_total}"
                yield self._problem(stream, "segment", after, what)
            if not before.sealed:
                yield self._problem(stream, "segment", before, "it is not the last one, and not sealed")
        if parts and parts[-1].sealed:
            yield self._problem(stream, "segment", parts[-1], "the last segment is sealed")
        if parts and parts[-1].end_offset != stream.next_offset:
            what = f"the stream ends at {stream.next_offset}, its last segment at {parts[-1].end_offset}"
            yield self._problem(stream, "stream", parts[-1], what)
        if not stream.start <= stream.end <= stream.next_offset:
            what = f"the stream begins at {stream.start}, is readable to {stream.end} and ends at {stream.next_offset}"
            yield self._problem(stream, "stream", parts[-1] if parts else None, what)

    def _problem(self, stream: Stream, kind: str, segment: Segment | None, what: str) -> Problem:
        path = self._engine.path(SEGMENTS) if segment is None else segment.path
        return Problem(kind, path, 0, what, **self._labels.get(stream.id, {}))

    def _check_stream(self, stream: Stream) -> Iterator[Problem]:
        seen: set[int] = set()
        until = stream.next_offset
        looking = True
        while looking:
            views, problems = self._note(stream)
            yield from problems
            looking = False
            for view in views:
                if view.header.file_id in seen or view.header.base_offset > until:
                    continue
                seen.add(view.header.file_id)
                self._engine.check_open()
                # What took its place is looked at in the next round.
                looking = (yield from self._check_segment(stream, view)) or looking

    def _check_segment(self, stream: Stream, view: SegmentView) -> Generator[Problem, None, bool]:
        """Check one segment; return whether it was gone."""
        engine = self._engine
        check = SegmentCheck(
            engine.filesystem,
            view,
            self._labels.get(stream.id, {}),
            self._advance,
            newest_life=engine.life or None,
            check_event=self._event_check() if stream.id == STATE_STREAM else None,
        )
        try:
            for problem in check.run():
                if problem.kind != "index" or self._still_has(stream, view):
                    yield problem
        except FileNotFoundError:
            if not self._still_has(stream, view):
                return True
            yield Problem(
                "segment",
                view.path,
                0,
                "the segment is missing",
                **self._labels.get(stream.id, {}),
                first_offset=view.header.base_offset,
                next_offset=view.end_offset,
            )
        except OSError as error:
            engine.check_open()
            yield Problem("segment", view.path, 0, f"it cannot be read: {error}", **self._labels.get(stream.id, {}))
        return False

    def _still_has(self, stream: Stream, view: SegmentView) -> bool:
        with suppress(CorruptionError, FileNotFoundError):
            self._engine.refresh()
        with self._engine.lock:
            found = self._engine.streams.get(stream.id)
            return found is not None and any(part.file_id == view.header.file_id for part in found.parts)

    def _event_check(self) -> EventCheck:
        models = self._engine.models

        def check(value: bytes) -> str | None:
            try:
                section, event = unpack_event(value)
                known = section in models and isinstance(event[0], str)
            except Exception as error:  # noqa: BLE001 whatever msgpack makes of damaged bytes
                return f"an event cannot be decoded: {type(error).__name__}"
            return None if known else f"an event of an unknown section: {section!r}"

        return check


def settle(engine: Engine) -> None:
    """Under the lock: finish what an interrupt left half done, so that what is seen belongs together."""
    if engine.obstacle is not None and not isinstance(engine.obstacle, MsglogError):
        with suppress(MsglogError):
            engine.clear_obstacle()


def check_names(engine: Engine) -> list[Problem]:
    """Check a writing engine's directory for files that nothing explains."""
    suspects = {
        name
        for name in engine.filesystem.list(engine.path(SEGMENTS))
        if parse_segment_name(name.removesuffix(INDEX_SUFFIX)) is not None
    }
    with engine.lock:
        known = _known_files(engine)
    suspects = {name for name in suspects if _file_id(name) not in known}
    if not suspects:
        return []
    with engine.checkpoints:  # no file is being removed meanwhile
        there = engine.filesystem.list(engine.path(SEGMENTS))
        with engine.lock:
            known = _known_files(engine)
            garbage = set(engine.table.garbage)
    paths = [
        in_segments(engine.directory, name) for name in sorted(suspects & there.keys()) if _file_id(name) not in known
    ]
    return [Problem("file", path, 0, "nothing knows this file") for path in paths if path not in garbage]


def _file_id(name: str) -> int:
    parsed = parse_segment_name(name.removesuffix(INDEX_SUFFIX))
    return -1 if parsed is None else parsed[3]


def _known_files(engine: Engine) -> set[int]:
    """Under the lock: the ids of the files in use, those that are being made among them."""
    return {part.file_id for stream in engine.streams.values() for part in stream.parts} | engine.cache.open_files()


def check_journal(engine: Engine) -> list[Problem]:
    """Check that the journal holds every commit that was synced and that no checkpoint covers."""
    for _ in range(_JOURNAL_LOOKS):
        with engine.lock:
            durable, published = engine.durable_commit, engine.published
        areas = engine.journal_areas()
        if not areas or published <= durable:
            return []
        found = [entry for area in areas for entry in area.entries_after(durable)]
        commits = {entry.commit for entry in found if entry.life == engine.life}
        missing = next((number for number in range(durable + 1, published + 1) if number not in commits), None)
        if missing is None:
            return []
        with engine.lock:
            if engine.durable_commit == durable:
                before = [entry for entry in found if entry.commit < missing]
                place = max(before, key=lambda entry: entry.commit, default=None)
                path = areas[0].file.path if place is None else place.path
                what = f"commit {missing} was synced, but its entry is damaged"
                return [Problem("journal", path, 0 if place is None else place.position, what)]
    return []  # checkpoints come too fast: each of them covers what was looked for

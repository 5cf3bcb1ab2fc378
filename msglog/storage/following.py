"""Following a writer in another process: what a readonly engine does to see new commits.

The published page says up to which commit the store can be read. Frames behind the ends known so far are taken in
when their checksum, offset, life and commit fit; then the events that came with them are applied. When the page shows
another life, a new writer has recovered the store, and everything is loaded anew. The journal is never read, nothing
is ever written.
"""

import os
from threading import Lock
from typing import TYPE_CHECKING

from crc32c import crc32c

from msglog.errors import CorruptionError
from msglog.storage.frame import HEADER, HEADER_SIZE, MAGIC_AND_VERSION
from msglog.storage.layout import PUBLISHED, SEGMENTS, in_segments, parse_segment_name
from msglog.storage.published import PublishedPage
from msglog.storage.replay import apply_events
from msglog.storage.segment import FILE_HEADER_SIZE, Segment, SegmentHeader
from msglog.storage.state import STATE_STREAM
from msglog.storage.stream import Stream

if TYPE_CHECKING:
    from msglog.storage.engine import Engine


class Follower:
    """Keeps one readonly engine up to date. Safe from any thread."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._following = Lock()
        self._page: PublishedPage | None = None
        self._life = 0
        self._files: dict[int, list[tuple[int, str]]] = {}

    def open_page(self) -> None:
        """Look at the page before the store is loaded, so that a later life is noticed."""
        path = self._engine.path(PUBLISHED)
        if PUBLISHED in self._engine.filesystem.list(self._engine.directory):
            self._page = PublishedPage.open(self._engine.filesystem, path, writable=False)
            self._life = self._page.life

    def refresh(self) -> None:
        """Take in what was published since."""
        engine = self._engine
        page = self._page
        if page is None or (page.commit == engine.published and page.life == self._life):
            return
        with self._following:
            if page.life != self._life:
                self._life = page.life
                engine.load()
            if page.commit > engine.published:
                self._follow(page.commit)

    def _follow(self, commit: int) -> None:
        engine = self._engine
        self._list_files()
        state = engine.streams[STATE_STREAM]
        known = state.end
        for stream in list(engine.streams.values()):
            self._extend(stream, commit)
        apply_events(engine, known)
        for stream in list(engine.streams.values()):
            if not stream.parts:
                self._extend(stream, commit)
        engine.garbage.clear()
        engine.commit_number = engine.published = commit
        for stream in list(engine.streams.values()):
            for waiter in tuple(stream.waiters):
                waiter.wake()

    def _list_files(self) -> None:
        self._files = {}
        for name in self._engine.filesystem.list(self._engine.path(SEGMENTS)):
            parsed = parse_segment_name(name)
            if parsed is not None:
                self._files.setdefault(parsed[0], []).append((parsed[2], name))

    def _extend(self, stream: Stream, commit: int) -> None:
        while True:
            if stream.parts and not stream.active.sealed:
                self._extend_segment(stream, stream.active, commit)
            if not self._go_on(stream):
                return

    def _extend_segment(self, stream: Stream, segment: Segment, commit: int) -> None:
        engine = self._engine
        while True:
            # A new map whenever the file may have grown: the writer never shrinks or moves what is there.
            with engine.lock:
                mapped = engine.cache.open(segment)
                if segment.position + HEADER_SIZE > len(mapped):
                    engine.cache.forget(segment)
                    mapped = engine.cache.open(segment)
            position = segment.position
            if position + HEADER_SIZE > len(mapped):
                return
            header = HEADER.unpack_from(mapped, position)
            checksum, kind, length, _, span, base_offset, timestamp, max_timestamp, number, life, _, total = header
            end = position + HEADER_SIZE + length
            fits = kind & 0xFFFFFF == MAGIC_AND_VERSION and base_offset == segment.end_offset
            if not fits or number > commit or life != self._life:
                return
            if end > len(mapped):
                with engine.lock:
                    engine.cache.forget(segment)
                    mapped = engine.cache.open(segment)
                if end > len(mapped):
                    return
            if crc32c(bytes(mapped[position + 4 : end]), segment.crc_seed) != checksum:
                return
            segment.note_frame(base_offset + span, end, timestamp, max_timestamp)
            segment.note_stored(base_offset, position, end, max_timestamp)
            stream.value_bytes = total
            stream.next_offset = stream.end = base_offset + span

    def _go_on(self, stream: Stream) -> bool:
        known = {segment.file_id for segment in stream.parts}
        for base_offset, name in sorted(self._files.get(stream.id, ())):
            if base_offset != stream.next_offset:
                continue
            path = in_segments(self._engine.directory, name)
            header = self._read_header(path)
            if header is None or header.file_id in known or header.life != self._life:
                continue
            stream.install(Segment(path, header))
            return True
        return False

    def _read_header(self, path: str) -> SegmentHeader | None:
        try:
            file = self._engine.filesystem.open(path, writable=False)
        except FileNotFoundError:
            return None
        try:
            return SegmentHeader.unpack(file.read(0, FILE_HEADER_SIZE), os.path.basename(path))
        except CorruptionError:
            return None
        finally:
            file.close()

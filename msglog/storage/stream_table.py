"""The streams of one open store: which there are, and what becomes of the segments they give up.

It does what the events of the storage section say (`state.StreamChanges`), takes the segments that recovery or a
follower's walk found, and collects the files that nothing holds any more. Changed under the store lock only.
"""

from collections.abc import Sequence
from typing import Any

from msglog.storage.cache import SegmentCache
from msglog.storage.filesystem import FileSystem
from msglog.storage.layout import INDEX_SUFFIX
from msglog.storage.options import STATE_SEGMENT_BYTES
from msglog.storage.segment import Segment, are_facts, segment_from_facts
from msglog.storage.state import STATE_SLUG, STATE_STREAM
from msglog.storage.stream import Stream


class StreamTable:
    """All streams by id, the state stream among them; the dictionary itself is never replaced."""

    def __init__(self, filesystem: FileSystem, directory: str, segment_bytes: int, cache: SegmentCache) -> None:
        self._filesystem = filesystem
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._cache = cache
        self.streams: dict[int, Stream] = {}
        self.next_stream_id = 1
        # Files that go once a durable checkpoint no longer lists them.
        self.garbage: list[str] = []
        # Who still reads files that may be dropped meanwhile: while there is anybody no file goes.
        self.holders: set[object] = set()
        self._leaving: tuple[Stream, tuple[Segment, ...]] | None = None
        self._found_parts: dict[int, tuple[Segment, ...]] = {}
        self._known_streams: dict[int, Stream] = {}

    def owned(self, stream_id: int) -> Stream:
        """Return the stream that a model says is its own. Raises KeyError if there is none, or it is the state's."""
        if stream_id == STATE_STREAM:
            raise KeyError(stream_id)
        return self.streams[stream_id]

    # What the events of the storage section do

    def add_stream(self, stream_id: int, slug: str) -> None:
        """Make a stream; one that is there stays."""
        # First of all: were it last, an interrupt before it would leave the id to be given away again.
        self.next_stream_id = max(self.next_stream_id, stream_id + 1)
        if stream_id in self.streams:
            return
        stream = self._known_streams.get(stream_id)
        if stream is None:
            largest = STATE_SEGMENT_BYTES if stream_id == STATE_STREAM else self._segment_bytes
            stream = Stream(stream_id, slug, min(self._segment_bytes, largest), self._cache)
        self.adopt_parts(stream, self._found_parts.pop(stream_id, ()))
        self.streams[stream_id] = stream

    def remove_stream(self, stream_id: int) -> None:
        """Remove a stream and drop its segments. Raises ValueError for the state stream."""
        if stream_id == STATE_STREAM:
            raise ValueError("the state stream is to go")
        self._drop_left()
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._leaving = (stream, stream.parts)
            self.streams.pop(stream_id, None)
            self._drop_left()
            for waiter in tuple(stream.waiters):
                waiter.wake()

    def trim_stream(self, stream_id: int, start: int) -> None:
        """Raise a stream's start."""
        self._drop_left()
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._leaving = (stream, stream.parts)
            stream.trim(start)
            self._drop_left()

    def replace_segments(self, stream_id: int, old: list[int], facts: list[int]) -> None:
        """Switch over to a rewritten segment."""
        self._drop_left()
        stream = self.streams.get(stream_id)
        if stream is None:
            return
        replaced = [segment for segment in stream.parts if segment.file_id in old]
        if not replaced:
            return  # the checkpoint lists the new one already
        if not are_facts(facts):
            raise ValueError("a rewritten segment with facts that are none")
        new = segment_from_facts(self._directory, stream_id, stream.slug, facts)
        new.note_durable(new.position, sealed=True)  # it was synced before the switch
        new.synced_position = new.position
        self._leaving = (stream, stream.parts)
        stream.replace(replaced, new)
        self._drop_left()

    def stream_facts(self) -> list[list[Any]]:
        """Return (id, slug, start) of all streams but the state stream."""
        return [[stream.id, stream.slug, stream.start] for stream in self.streams.values() if stream.id != STATE_STREAM]

    def _drop_left(self) -> None:
        """Drop what the stream noted last no longer has.

        It is noted before it changes: an interrupt after the change leaves the rest to whoever does it again.
        """
        if self._leaving is None:
            return
        stream, before = self._leaving
        now = stream.parts if self.streams.get(stream.id) is stream else ()
        if now is not before:
            kept = {segment.file_id for segment in now}
            self.drop([segment for segment in before if segment.file_id not in kept])
        self._leaving = None

    def drop(self, segments: Sequence[Segment]) -> None:
        """Forget segments; their files go once a durable checkpoint no longer lists them."""
        for segment in segments:
            segment.dropped = True
            self._cache.forget(segment)
            if self._filesystem.durable or self.holders:
                self.garbage += (segment.path, segment.path + INDEX_SUFFIX)
            else:
                self._filesystem.unlink(segment.path)
                self._filesystem.unlink(segment.path + INDEX_SUFFIX)

    # What recovery and followers do

    def adopt_parts(self, stream: Stream, parts: tuple[Segment, ...]) -> None:
        """Give a stream the segments that recovery found for it."""
        stream.parts = parts
        if not parts:
            return
        stream.active = last = parts[-1]
        stream.start = parts[0].base_offset
        stream.value_bytes = last.value_total
        stream.end = stream.next_offset = last.end_offset

    def begin_recovery(self, parts: dict[int, tuple[Segment, ...]]) -> None:
        """Start replay with the segments found on the disk."""
        # A reader that loads anew goes on with the stream objects that its users hold.
        self._known_streams |= self.streams
        self.streams.clear()
        self._leaving = None
        self._found_parts = parts
        self.add_stream(STATE_STREAM, STATE_SLUG)

    def take_over_parts(self, parts: dict[int, tuple[Segment, ...]]) -> None:
        """On a readonly engine: extend the streams by what a walk found; new streams get theirs from their event."""
        for stream_id, found in parts.items():
            stream = self.streams.get(stream_id)
            if stream is None:
                self._found_parts[stream_id] = found
            else:
                start = stream.start
                self.adopt_parts(stream, found)
                stream.start = max(start, stream.start)

"""Small commits by hand: one record each for some streams, perhaps with one event of a model.

A message that goes to ten queues, an acknowledgement, a message moved from one queue to another: brokers live on
commits like these, and a plan with a place for every frame costs four to five times as much as the frame itself. So
`DirectWriter.append_all` builds the frames first, leaves them as the engine's obstacle, and only then stores them:
from the first store on it only goes forward, and whoever takes the lock after an interruption calls `redo`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crc32c import crc32c

from msglog.storage.frame import CRC, HEADER_SIZE, KIND_KEYED, KIND_PLAIN, ONE_RECORD, REST_OF_ONE
from msglog.storage.segment import Segment
from msglog.storage.stream import Stream

if TYPE_CHECKING:
    from msglog.storage.engine import Engine
    from msglog.storage.writers import DirectWriter

# Stream, value, key: the streams of one commit are all different.
Small = tuple[Stream, bytes, bytes | None]
# Stream, segment, position and end of the frame, next offset, value total after it, the frame.
_Built = tuple[Stream, Segment, int, int, int, int, bytes]
_PACK_ONE = REST_OF_ONE.pack
_PACK_CRC = CRC.pack
FRAMES_SHIFT = 32


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


def build(engine: "Engine", writer: "DirectWriter", records: Sequence[Small], timestamp_ms: int) -> list[_Built] | None:
    """Under the lock: return the frames with their places, None where a file must be made, grown or opened first."""
    number = engine.commit_number + 1
    life = engine.life | len(records) << FRAMES_SHIFT
    built: list[_Built] = []
    for stream, value, key in records:
        segment = stream.active
        offset = stream.next_offset
        total = stream.value_bytes
        body, kind = value, KIND_PLAIN
        if key is not None:
            body, kind = _PACK_CRC(len(key)) + key + value, KIND_KEYED
        rest = _PACK_ONE(kind, len(body), ONE_RECORD, offset, timestamp_ms, timestamp_ms, number, life, total) + body
        position = segment.position
        end = position + HEADER_SIZE + len(body)
        if end > segment.limit and not writer.make_way(stream, segment, position, end):
            return None
        frame = _PACK_CRC(crc32c(rest, segment.crc_seed)) + rest
        built.append((stream, segment, position, end, offset + 1, total + len(value), frame))
    return built

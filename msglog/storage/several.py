"""Commits of some small batches by hand, whatever model they come from, with their events.

Transactions, dead letters, a message for several queues, offsets: such a commit touches a few streams and needs no new
file, and a plan that is ready for anything costs four times as much as its frames. Here all frames get their places in
one loop, as plain tuples of absolute values. So the rules of a plan hold: what returns None has changed nothing; it is
the engine's obstacle before the first store; and each step sets what it sets to the same value when it is done again.
Base of both writers in `writers`; the loops over frames are compiled where they can be (`compiled`).
"""

from typing import TYPE_CHECKING, Any, NamedTuple

from msglog.checksum import crc32c
from msglog.storage.frame import CRC, HEADER_SIZE, REST, Body
from msglog.storage.segment import Segment
from msglog.storage.stream import Stream

if TYPE_CHECKING:
    from msglog.storage.engine import Engine

# Above it a plan does as well: most of its cost is the frames'.
MOST_FRAMES = 64
# Stream, segment, position and end of the frame, its first offset and the next one, earliest and latest timestamp, the
# stream's bytes of values after it, the frame, its body.
SmallFrame = tuple[Stream, Segment, int, int, int, int, int, int, int, bytes, bytes]
_PACK_REST = REST.pack
_PACK_CRC = CRC.pack


class Several(NamedTuple):
    """A commit whose frames are built and have their places.

    `entry`: whole, as it goes to the journal, if any. `awaited`: as of `Commit`.
    """

    number: int
    frames: tuple[SmallFrame, ...]
    events: list[tuple[str, list[Any]]]
    entry: bytes = b""
    entry_position: int = 0
    awaited: bool = False

    @property
    def size(self) -> int:
        """Bytes of all frames."""
        return sum([len(frame[9]) for frame in self.frames])

    def apply_events(self, engine: "Engine") -> None:
        """Let the models follow."""
        for section, event in self.events:
            engine.models[section].apply(event)

    def wake(self) -> None:
        """Wake those who wait for the streams."""
        for frame in self.frames:
            waiters = frame[0].waiters
            if waiters:
                for waiter in tuple(waiters):
                    waiter.wake()


class ByHand:
    """What both writers share: giving small frames their places."""

    _engine: "Engine"

    def has_room(self, stream: Stream, segment: Segment, position: int, end: int) -> bool:
        """Return whether a frame from `position` to `end` of a stream's active segment needs nothing but its bytes."""
        raise NotImplementedError

    def place_by_hand(self, bodies: list[tuple[Stream, Body]]) -> tuple[SmallFrame, ...] | None:
        """Return the frames with their places, None where more is due than their bytes. Under the store lock."""
        count = len(bodies)
        if count > MOST_FRAMES:
            return None
        engine = self._engine
        streams, life, number = engine.streams, engine.life, engine.commit_number + 1
        has_room = self.has_room
        frames: list[SmallFrame] = []
        last: dict[int, SmallFrame] = {}
        for stream, body in bodies:
            stream_id = stream.id
            segment, data = stream.active, body.data
            before = last.get(stream_id)
            if before is None:
                if streams.get(stream_id) is not stream:
                    return None
                position, offset, total = segment.position, stream.next_offset, stream.value_bytes
            else:
                position, offset, total = before[3], before[5], before[8]
            size = len(data)
            end = position + HEADER_SIZE + size
            if not has_room(stream, segment, position, end):
                return None
            stamp, latest, span = body.timestamp_ms, body.max_timestamp_ms, body.span
            rest = _PACK_REST(body.kind, size, body.count, span, offset, stamp, latest, number, life, count, total)
            frame = _PACK_CRC(crc32c(data, crc32c(rest, segment.crc_seed))) + rest + data
            last[stream_id] = placed = (
                stream, segment, position, end, offset, offset + span, stamp, latest,
                total + body.value_bytes, frame, data,
            )  # fmt: skip
            frames.append(placed)
        return tuple(frames)

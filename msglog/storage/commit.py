"""A commit: first a list of wishes, then a plan with a place for everything, then done.

A `Commit` only collects: dropping it leaves nothing behind. Its plan is made under the store lock by reserving space;
what fails there leaves nothing behind either. From the first store on a plan only goes forward: its steps set
absolute values, so that whoever takes the lock after an interruption can do them all again.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from msglog.storage.frame import Body
from msglog.storage.segment import Segment
from msglog.storage.state import STORAGE
from msglog.storage.stream import Stream

if TYPE_CHECKING:
    from msglog.storage.engine import Engine


@dataclass(slots=True)
class Placed:
    """One frame and everything that changes with it. `value_total`, `end_offset`, `end`: after the frame."""

    stream: Stream
    segment: Segment
    position: int
    end: int
    header: bytes
    body: Body
    base_offset: int
    end_offset: int
    value_total: int

    def assign(self) -> None:
        """Advance the assigned state."""
        body = self.body
        self.segment.note_frame(self.end_offset, self.end, body.timestamp_ms, body.max_timestamp_ms)
        self.segment.value_total = self.value_total
        self.stream.next_offset = self.end_offset
        self.stream.value_bytes = self.value_total


@dataclass(slots=True)
class Plan:
    """A commit with a place for every frame."""

    number: int
    frames: list[Placed]
    events: list[tuple[str, list[Any]]]
    installs: list[tuple[Stream, Segment]]
    entry: bytes = b""
    entry_position: int = 0
    size: int = 0
    assigned: bool = False


class Single(NamedTuple):
    """A journaled commit of one record: what a plan with one frame is, without its cost.

    `value_total`, `end`: after the frame. `frame` and `entry` are whole, as they go to the segment and the journal.
    """

    number: int
    stream: Stream
    segment: Segment
    position: int
    end: int
    offset: int
    timestamp_ms: int
    value_total: int
    frame: bytes
    entry: bytes
    entry_position: int


class Commit:
    """What one commit is to contain. Use it only under the store lock, from `Engine.begin` to `write`.

    `awaited`: whoever writes it is about to wait for its sync, alone: then the disk may begin at once. Others are
    better written together.
    """

    __slots__ = ("_ends", "_streams", "awaited", "bodies", "engine", "events")

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        self.bodies: list[tuple[Stream, Body]] = []
        self.events: list[tuple[str, list[Any]]] = []
        self._ends: dict[int, int] = {}
        self._streams = 0
        self.awaited = False

    def next_offset(self, stream: Stream) -> int:
        """Return the offset that the next record added to a stream gets."""
        return self._ends.get(stream.id, stream.next_offset)

    def append(self, stream: Stream, body: Body) -> int:
        """Add a batch to a stream; return the offset its first record gets."""
        stream_id = stream.id
        base_offset = self._ends.get(stream_id, stream.next_offset)
        self._ends[stream_id] = base_offset + body.span
        self.bodies.append((stream, body))
        return base_offset

    def record(self, section: str, event: list[Any]) -> None:
        """Add an event of a model."""
        self.events.append((section, event))

    def create_stream(self, slug: str) -> int:
        """Make a stream; return the id it will have. It is there after `write`."""
        stream_id = self.engine.table.next_stream_id + self._streams
        self._streams += 1
        self.record(STORAGE, ["create", stream_id, slug])
        return stream_id

    def delete_stream(self, stream: Stream) -> None:
        """Remove a stream; its files go after the next checkpoint."""
        self.record(STORAGE, ["delete", stream.id])

    def trim(self, stream: Stream, start: int) -> None:
        """Raise a stream's start offset to `start`, at most its end; whole segments below it go."""
        self.record(STORAGE, ["trim", stream.id, start])

    def write(self) -> int:
        """Do it, all or nothing, and return the commit's number for `Engine.wait`.

        Raises `DiskFullError`, `TransactionTooLargeError` with nothing left behind, `StoreFailedError` when the outcome
        is unknown.
        """
        return self.engine.writer.write(self)

"""The state stream: small events in the same commits as the data they belong to, replayed at opening.

An event is a msgpack array: section, kind, fields. One event has a shorter form, since it comes with every
acknowledgement of a message: ["settle", cursor, first, end, next] of the section "cursors" is the byte 0xC1, which
msgpack never uses, and then cursor u32, first u64, number of offsets u32, next u64, little-endian.

A section's `Model` is a pure function of its snapshot and its events: events hold decisions, so replay never reads a
clock and never decides again. Applying an event twice in a row must do what applying it once does, since an interrupted
commit is finished by doing its steps again. `StorageModel` is the engine's own section: which streams there are, where
they start, which segments were rewritten.
"""

import struct
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgpack

STATE_STREAM = 0
STATE_SLUG = "state"
STORAGE = "storage"
CURSORS = "cursors"
SETTLE = "settle"
# What an event costs to replay, in units of the short one: decides when a snapshot is due.
EVENT_COST = 4
SHORT_EVENT_COST = 1
SHORT_EVENT_MARK = 0xC1
SHORT_EVENT = struct.Struct("<BIQIQ")
_LARGEST_COUNT = (1 << 32) - 1


class Model(Protocol):
    """The in-memory state of one section."""

    section: str

    def load(self, snapshot: Any) -> None:
        """Take over what `snapshot` returned once, None for a new store; called before any event.

        Called again on a readonly engine that loads anew: what the model knew before is then forgotten.
        """

    def apply(self, event: list[Any]) -> None:
        """Apply one event (its kind first); never fails, never reads a clock."""

    def snapshot(self) -> Any:
        """Return the whole state as msgpack can hold it; called under the store lock."""


def pack_event(section: str, event: list[Any]) -> bytes:
    """Return an event as it stands in the state stream."""
    if event[0] == SETTLE and section == CURSORS and event[3] - event[2] <= _LARGEST_COUNT:
        _, cursor_id, first, end, next_offset = event
        return SHORT_EVENT.pack(SHORT_EVENT_MARK, cursor_id, first, end - first, next_offset)
    packed: bytes = msgpack.Packer().pack([section, event])  # `packb` takes as long again
    return packed


def pack_settle(cursor_id: int, first: int, end: int, next_offset: int) -> bytes:
    """Return the short form of the event "settle"."""
    return SHORT_EVENT.pack(SHORT_EVENT_MARK, cursor_id, first, end - first, next_offset)


def unpack_event(data: bytes) -> tuple[str, list[Any]]:
    """Read an event back."""
    if data[0] == SHORT_EVENT_MARK:
        _, cursor_id, first, count, next_offset = SHORT_EVENT.unpack(data)
        return CURSORS, [SETTLE, cursor_id, first, first + count, next_offset]
    section, event = msgpack.unpackb(data, strict_map_key=False)
    return section, event


def cost_of(packed: bytes) -> int:
    """Return what replaying a packed event costs, in units of the short one."""
    return SHORT_EVENT_COST if packed[0] == SHORT_EVENT_MARK else EVENT_COST


def pack_snapshot(models: Iterable[Model]) -> bytes:
    """Return the snapshots of all sections in one piece."""
    packed: bytes = msgpack.packb({model.section: model.snapshot() for model in models})
    return packed


def unpack_snapshot(data: bytes) -> dict[str, Any]:
    """Read the snapshots of all sections back."""
    snapshot: dict[str, Any] = msgpack.unpackb(data, strict_map_key=False)
    return snapshot


class StreamChanges(Protocol):
    """What the storage section's events do to the engine's streams."""

    def add_stream(self, stream_id: int, slug: str) -> None:
        """Make a stream; one that is there stays."""

    def remove_stream(self, stream_id: int) -> None:
        """Remove a stream and its segments."""

    def trim_stream(self, stream_id: int, start: int) -> None:
        """Raise a stream's start."""

    def replace_segments(self, stream_id: int, old: list[int], facts: list[int]) -> None:
        """Switch over to a rewritten segment."""

    def stream_facts(self) -> list[list[Any]]:
        """Return (id, slug, start) of all streams but the state stream."""


class StorageModel:
    """The engine's own section."""

    section = STORAGE

    def __init__(self, changes: StreamChanges) -> None:
        self._changes = changes
        self._appliers: dict[str, Callable[..., None]] = {
            "create": changes.add_stream,
            "delete": changes.remove_stream,
            "trim": changes.trim_stream,
            "replace": changes.replace_segments,
        }

    def load(self, snapshot: Any) -> None:
        """Make the streams of a snapshot."""
        for stream_id, slug, start in snapshot or ():
            self._changes.add_stream(stream_id, slug)
            self._changes.trim_stream(stream_id, start)

    def apply(self, event: list[Any]) -> None:
        """Do what an event says."""
        self._appliers[event[0]](*event[1:])

    def snapshot(self) -> Any:
        """Return what `load` needs."""
        return self._changes.stream_facts()

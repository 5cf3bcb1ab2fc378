"""One commit of the broker, as it is put together: messages for lanes, settlements, events.

It only collects. Writing happens under the broker's lock and takes the store lock; a commit of one message for each of
some lanes with at most one event goes the short way (`append_all`). Imported by the parts of `VirtualHost`.
"""

from collections.abc import Iterable
from typing import Any

from msglog.broker.lane import Lane
from msglog.cursors import CursorModel
from msglog.storage import Engine, Stream, encode_body


class Batch:
    """What one commit is to contain. Dropping it leaves nothing behind."""

    __slots__ = ("_engine", "_entries", "_events", "_now_ms", "expiring", "removed", "replies")

    def __init__(self, engine: Engine, now_ms: int) -> None:
        self._engine = engine
        self._now_ms = now_ms
        self._entries: dict[Lane, list[tuple[bytes, bytes]]] = {}
        self._events: list[tuple[str, list[Any]]] = []
        # Ids of queues that get their first message with an expiration.
        self.expiring: set[int] = set()
        # Streams that go with the commit.
        self.removed: list[Stream] = []
        # Publications to direct reply-to addresses: they are sent once the commit is written.
        self.replies: list[Any] = []

    def add(self, lane: Lane, meta: bytes, body: bytes) -> None:
        """Put a message into a lane."""
        self._entries.setdefault(lane, []).append((meta, body))

    def added_to(self, lanes: Iterable[Lane]) -> tuple[int, int]:
        """Return how many messages some lanes get by the commit, and the bytes of their bodies."""
        bodies = [body for lane in lanes for _, body in self._entries.get(lane, ())]
        return len(bodies), sum(map(len, bodies))

    def settle(self, lane: Lane, first: int, end: int) -> None:
        """Have `[first, end)` of a lane settled."""
        events = self._events
        cursor = lane.cursor
        if events:
            last = events[-1][1]
            if last[0] == "settle" and last[1] == cursor.id and last[3] == first:
                last[3] = end  # neighbours go together
                return
        events.append((CursorModel.section, ["settle", cursor.id, first, end, cursor.next]))

    def record(self, section: str, event: list[Any]) -> None:
        """Add an event of a model."""
        self._events.append((section, event))

    def __bool__(self) -> bool:
        return bool(self._entries or self._events or self.removed)

    def write(self) -> int:
        """Do it, all or nothing, and return the commit's number; nothing is waited for.

        Raises what `Commit.write` raises.
        """
        if not self:
            return 0
        engine, now_ms, entries = self._engine, self._now_ms, self._entries
        before = engine.commit_number  # first of all: a plain publication takes no lock of the broker
        bases = [(lane, lane.stream.next_offset) for lane in entries]
        if len(self._events) < 2 and not self.removed and all(len(added) == 1 for added in entries.values()):  # noqa: PLR2004 none or one
            records = [(lane.stream, body, meta) for lane, ((meta, body),) in entries.items()]
            section, event = self._events[0] if self._events else ("", None)
            number = engine.writer.append_all(records, now_ms, section, event)
        else:
            number = self._write_planned()
        if number == before + 1:  # nothing came in between, so these are the offsets that they got
            self._keep(bases)
        return number

    def _keep(self, bases: list[tuple[Lane, int]]) -> None:
        """Have those in memory that a consumer is about to read."""
        for lane, base in bases:
            for place, (meta, body) in enumerate(self._entries[lane]):
                if lane.buffered == base + place:
                    lane.appended((base + place, self._now_ms, meta, body))

    def _write_planned(self) -> int:
        with self._engine.lock:
            commit = self._engine.begin()
            for lane, added in self._entries.items():
                metas, bodies = zip(*added, strict=True)
                same = metas[0] if len(set(metas)) == 1 else None
                keys = None if same is not None else metas
                commit.append(lane.stream, encode_body(bodies, self._now_ms, key=same, keys=keys))
            for section, event in self._events:
                commit.record(section, event)
            for stream in self.removed:
                commit.delete_stream(stream)
            return commit.write()

"""One commit of the broker, as it is put together: messages for lanes, settlements, events.

It only collects. Writing happens under the broker's lock and takes the store lock; a commit of one message for each of
some lanes with at most one event goes the short way (`append_all`). Imported by the parts of `VirtualHost`.
"""

from collections.abc import Iterable
from typing import Any

from msglog.broker.lane import Lane
from msglog.cursors import CursorModel
from msglog.storage import Body, Commit, Engine, Stream, encode_body, encode_one


class Batch:
    """What one commit is to contain. Dropping it leaves nothing behind."""

    __slots__ = (
        "_bases",
        "_delayed",
        "_engine",
        "_entries",
        "_events",
        "_now_ms",
        "delayed_at",
        "expiring",
        "removed",
        "replies",
    )

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
        # Messages that are not due yet, and where they are once the commit is written: stream id, due time, offset.
        self._delayed: list[tuple[Stream, int, bytes, bytes]] = []
        self.delayed_at: list[tuple[int, int, int]] = []
        # The offset that the first message of each lane gets.
        self._bases: list[tuple[Lane, int]] = []

    def add(self, lane: Lane, meta: bytes, body: bytes) -> None:
        """Put a message into a lane."""
        self._entries.setdefault(lane, []).append((meta, body))

    def add_copies(self, lanes: Iterable[Lane], meta: bytes, body: bytes) -> None:
        """Put a message into each of some lanes."""
        entries, entry = self._entries, (meta, body)
        for lane in lanes:
            if lane in entries:
                entries[lane].append(entry)
            else:
                entries[lane] = [entry]

    def delay(self, stream: Stream, due_ms: int, key: bytes, body: bytes) -> None:
        """Put a message that is not due yet into the stream of its bucket."""
        self._delayed.append((stream, due_ms, key, body))

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
        return bool(self._entries or self._events or self.removed or self._delayed)

    def write(self) -> int:
        """Do it, all or nothing, and return the commit's number; nothing is waited for.

        Raises what `Commit.write` raises.
        """
        if not self:
            return 0
        engine = self._engine
        if self._is_small():
            return self._write_small()
        with engine.lock:
            commit = engine.begin()
            self.fill(commit)
            number = commit.write()
        self.keep()
        return number

    def _write_small(self) -> int:
        engine = self._engine
        with engine.lock:  # a commit under way has its number before all streams have its records
            if engine.obstacle is not None:
                engine.clear_obstacle()
            before = engine.commit_number
            self._bases = self._next_offsets()
        records = [(lane.stream, body, meta) for lane, ((meta, body),) in self._entries.items()]
        section, event = self._events[0] if self._events else ("", None)
        number = engine.writer.append_all(records, self._now_ms, section, event)
        if number == before + 1:  # nothing came in between, so these are the offsets that they got
            self.keep()
        return number

    def _next_offsets(self) -> list[tuple[Lane, int]]:
        return [(lane, lane.stream.next_offset) for lane in self._entries]

    def keep(self) -> None:
        """After the commit: have those messages in memory that a consumer is about to read."""
        entries, now_ms = self._entries, self._now_ms
        for lane, offset in self._bases:
            for meta, body in entries[lane]:
                if lane.buffered == offset:
                    lane.appended((offset, now_ms, meta, body))
                offset += 1  # noqa: PLW2901 it counts on from the first one

    def _is_small(self) -> bool:
        return (
            len(self._events) < 2  # noqa: PLR2004 none or one
            and not self.removed
            and not self._delayed
            and all(len(added) == 1 for added in self._entries.values())
        )

    def fill(self, commit: Commit) -> None:
        """Make all of this part of a commit, under the store lock."""
        self._bases = bases = []
        copies: dict[tuple[int, int], Body] = {}
        last: tuple[bytes, bytes] | None = None
        packed: Body | None = None
        for lane, added in self._entries.items():
            if len(added) == 1:
                entry = added[0]
                if packed is None or entry is not last:
                    last = meta, body = entry
                    packed = copies.get(same_as := (id(meta), id(body)))
                    if packed is None:  # copies for several queues are one body, in the journal, too
                        packed = copies[same_as] = encode_one(body, self._now_ms, meta)
            else:
                last = None
                packed = self._pack(added)
            bases.append((lane, commit.append(lane.stream, packed)))
        commit.events += self._events
        if self._delayed or self.removed:
            self._fill_the_rest(commit)

    def _pack(self, added: list[tuple[bytes, bytes]]) -> Body:
        """Return several messages for one lane, packed."""
        metas, bodies = zip(*added, strict=True)
        same = metas[0] if len(set(metas)) == 1 else None
        keys = None if same is not None else metas
        return encode_body(bodies, self._now_ms, key=same, keys=keys)

    def _fill_the_rest(self, commit: Commit) -> None:
        for stream, due_ms, key, body in self._delayed:
            offset = commit.append(stream, encode_one(body, due_ms, key))
            self.delayed_at.append((stream.id, due_ms, offset))
        for stream in self.removed:
            commit.delete_stream(stream)

"""What both ways to the disk share: finding a place for every frame of a commit.

Base of the writers in `writers`. All methods run under the store lock, but `append_all` and `append_settle`, which take
it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msglog.errors import ClosedError, MsglogError, StoreFailedError, TransactionTooLargeError
from msglog.storage import frame as frames
from msglog.storage.commit import Commit, Placed, Plan
from msglog.storage.frame import encode_one, encode_values, header_of
from msglog.storage.options import MAX_COMMIT_BYTES
from msglog.storage.segment import FILE_HEADER_SIZE, Segment
from msglog.storage.several import ByHand, Several
from msglog.storage.state import CURSORS, EVENT_COST, SETTLE, STATE_STREAM, pack_event
from msglog.storage.stream import Stream

if TYPE_CHECKING:
    from msglog.storage.engine import Engine
    from msglog.storage.small_commit import Settles, Small

# A large frame goes through write(): through a map, fresh pages cost twice as much (benchmarks/fresh_pages.py).
MAP_STORE_LIMIT = 8 << 10


class Writer(ByHand):
    """What both ways share: finding a place for every frame."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def write(self, commit: Commit) -> int:
        """Do a commit, by hand if it is small; return its number."""
        engine = self._engine
        bodies = self.bodies_of(commit)
        several = self.several(commit, bodies)
        if several is None:
            return self.write_planned(commit, bodies)
        # From here on only forward.
        engine.obstacle = several
        try:
            self.redo_several(several)
        except BaseException:
            engine.wake_all()
            raise
        engine.obstacle = engine.failure
        engine.state_cost += EVENT_COST * len(commit.events)
        self.wrote_several(several)
        return several.number

    def several(self, commit: Commit, bodies: list[tuple[Stream, frames.Body]]) -> Several | None:
        """Give a commit's frames their places by hand; None where a plan is needed."""
        raise NotImplementedError

    def wrote_several(self, several: Several) -> None:
        """A commit by hand is done: see what is due."""
        raise NotImplementedError

    def write_planned(self, commit: Commit, bodies: list[tuple[Stream, frames.Body]]) -> int:
        """Plan and do a commit; return its number. `bodies`: see `bodies_of`."""
        raise NotImplementedError

    def redo(self, plan: Plan) -> None:
        """Finish an interrupted plan."""
        raise NotImplementedError

    def redo_several(self, several: Several) -> None:
        """Finish an interrupted commit by hand."""
        raise NotImplementedError

    def bodies_of(self, commit: Commit) -> list[tuple[Stream, frames.Body]]:
        """Return all batches of a commit, its events among them."""
        if not commit.events:
            return commit.bodies
        engine = self._engine
        packed = [pack_event(section, event) for section, event in commit.events]
        now_ms = engine.clock.now_ms()
        events = encode_values(packed, now_ms) if len(packed) > 1 else encode_one(packed[0], now_ms)
        return [*commit.bodies, (engine.streams[STATE_STREAM], events)]

    def plan(self, commit: Commit, bodies: list[tuple[Stream, frames.Body]]) -> Plan:
        """Reserve a place for all batches of a commit. On an error nothing is left behind."""
        engine = self._engine
        size = sum(body.size for _, body in bodies)
        if size > MAX_COMMIT_BYTES:
            raise TransactionTooLargeError(
                f"the commit has {size} bytes, at most {MAX_COMMIT_BYTES} fit", size=size, limit=MAX_COMMIT_BYTES
            )
        plan = Plan(engine.commit_number + 1, [], commit.events, [], size=size)
        try:
            self._place_all(plan, bodies)
        except BaseException as error:
            self.abandon(plan)
            if isinstance(error, OSError) and not isinstance(error, MsglogError):
                raise StoreFailedError(
                    f"could not make room for a commit: {error}", path=engine.directory, outcome="not_applied"
                ) from error
            raise
        return plan

    def append_all(
        self, records: Sequence["Small"], timestamp_ms: int, section: str = "", event: list[Any] | None = None
    ) -> int:
        """Append one record to each of some streams in one commit, with an event; return the commit's number.

        The streams are all different; types and sizes were checked by the caller. Takes the lock, and never waits for a
        sync: `wait` does. Raises what `Commit.write` raises.
        """
        with self._engine.lock:
            self._engine.begin()
            return self.write(self._commit_of(records, timestamp_ms, section, event))

    def append_copies(self, streams: Sequence[Stream], value: bytes, key: bytes, timestamp_ms: int) -> list[int]:
        """Append the same record to some streams in one commit, and return the offset that each gave it.

        Takes the lock, and never waits for a sync. Raises what `Commit.write` raises.
        """
        with self._engine.lock:
            self._engine.begin()
            commit = Commit(self._engine)
            body = encode_one(value, timestamp_ms, key)
            offsets = [commit.append(stream, body) for stream in streams]
            self.write(commit)
        return offsets

    def append_settle(self, cursor: "Settles", first: int, end: int, timestamp_ms: int) -> int:
        """Write the event that `[first, end)` of a cursor is settled and apply it; return the commit's number.

        For commits of nothing else. Takes the lock, and never waits for a sync. Raises what `Commit.write` raises.
        """
        return self.append_all((), timestamp_ms, CURSORS, [SETTLE, cursor.id, first, end, cursor.next])

    def append_planned(
        self, records: Sequence["Small"], timestamp_ms: int, section: str, event: list[Any] | None
    ) -> int:
        """Under the lock: do what `append_all` does by way of a plan."""
        commit = self._commit_of(records, timestamp_ms, section, event)
        return self.write_planned(commit, self.bodies_of(commit))

    def _commit_of(
        self, records: Sequence["Small"], timestamp_ms: int, section: str, event: list[Any] | None
    ) -> Commit:
        commit = Commit(self._engine)
        for stream, value, key in records:
            commit.append(stream, encode_one(value, timestamp_ms, key))
        if event is not None:
            commit.record(section, event)
        return commit

    def abandon(self, plan: Plan) -> None:
        """Leave nothing of a plan behind that was not begun."""
        for _, segment in plan.installs:
            self._engine.discard_segment(segment)

    def _place_all(self, plan: Plan, bodies: list[tuple[Stream, frames.Body]]) -> None:
        engine = self._engine
        last: dict[int, Placed] = {}
        for stream, body in bodies:
            if engine.streams.get(stream.id) is not stream:
                raise ClosedError(f"the stream {stream.slug!r} was removed")
            before = last.get(stream.id)
            if before is None:
                segment, position = stream.active, stream.active.position
                offset, total = stream.next_offset, stream.value_bytes
            else:
                segment, position = before.segment, before.end
                offset, total = before.end_offset, before.value_total
            end = position + body.size
            if self._must_roll(stream, segment, position, end, body):
                segment = engine.make_segment(stream, offset, total, FILE_HEADER_SIZE + body.size)
                plan.installs.append((stream, segment))
                position = FILE_HEADER_SIZE
                end = position + body.size
            else:
                engine.make_room(stream, segment, end)
            header = header_of(body, segment.crc_seed, offset, plan.number, engine.life, len(bodies), total)
            placed = Placed(
                stream, segment, position, end, header, body, offset, offset + body.span, total + body.value_bytes
            )
            last[stream.id] = placed
            plan.frames.append(placed)

    def _must_roll(self, stream: Stream, segment: Segment, position: int, end: int, body: frames.Body) -> bool:
        if segment.file_id == 0:
            return True
        if position == FILE_HEADER_SIZE:
            return False
        if stream.segment_ms is not None and segment.first_timestamp_ms + stream.segment_ms < body.max_timestamp_ms:
            return True
        return end > stream.segment_bytes

    def install(self, plan: Plan) -> None:
        """Make new segments part of their streams."""
        for stream, segment in plan.installs:
            stream.install(segment)

    def apply_events(self, plan: Plan) -> None:
        """Let the models follow."""
        engine = self._engine
        for section, event in plan.events:
            engine.models[section].apply(event)
        if plan.events:
            engine.state_cost += EVENT_COST * len(plan.events)

    def store(self, placed: Placed) -> None:
        """Put a frame's bytes into its segment and into the index."""
        segment, position, body = placed.segment, placed.position, placed.body
        if segment.dropped:
            return
        mapped = segment.map
        if mapped is None:  # closed since the plan was made: one commit may touch more streams than may be open
            mapped = self._engine.cache.open(segment)
        if len(body.data) > MAP_STORE_LIMIT and segment.file is not None:
            segment.file.write(position, placed.header + body.data)
        else:
            if placed.end > segment.zeroed_position:
                segment.zero_ahead(placed.end, durable=self._engine.filesystem.durable)
            mapped[position : placed.end] = placed.header + body.data
        segment.note_stored(placed.base_offset, position, placed.end, body.max_timestamp_ms)
        if placed.stream.segment_ms is not None:
            segment.limit = 0  # every append asks whether it is time to roll
        else:
            segment.limit = min(segment.limit, placed.stream.segment_bytes)

    def publish(self, plan: Plan) -> None:
        """Show a plan's frames to readers and wake those who wait for them."""
        engine = self._engine
        for placed in plan.frames:
            placed.stream.end = placed.end_offset
        engine.published = plan.number
        engine.page_slots[2] = plan.number
        for placed in plan.frames:
            if placed.stream.waiters:
                for waiter in tuple(placed.stream.waiters):
                    waiter.wake()

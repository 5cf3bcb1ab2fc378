"""How a commit gets to the disk: straight into the segments, or through the journal.

`DirectWriter` (`sync` "none" and "interval", and memory) stores frames into their segments and publishes them at once.
`JournalWriter` (`sync="commit"`) puts an entry into the journal under the store lock; `wait` lets one leader sync for
everybody, outside of the lock, and then stores and publishes in commit order: so readers never see what could vanish.
All methods but `wait` and `drain` run under the store lock.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from os.path import basename
from threading import Lock
from typing import TYPE_CHECKING, Any

from msglog.checksum import crc32c
from msglog.errors import MsglogError, StoreFailedError
from msglog.storage import frame as frames
from msglog.storage.commit import Commit, Plan, Single
from msglog.storage.deferring import put_off
from msglog.storage.frame import (
    CRC,
    HEADER_SIZE,
    LIFE_OF_ONE,
    PACKED_KEYED,
    PACKED_ONE_RECORD,
    PACKED_PLAIN,
    REST_OF_ONE,
    encode_one,
)
from msglog.storage.journal import (
    ENTRY_HEADER_SIZE,
    Area,
    Create,
    Journal,
    PlacedFrame,
    pack_entry,
)
from msglog.storage.options import CHECKPOINT_BYTES, CHECKPOINT_COMMITS, DRAFT_COMMITS, SNAPSHOT_COST
from msglog.storage.segment import Segment
from msglog.storage.several import Several
from msglog.storage.small_commit import Small, SmallCommits
from msglog.storage.small_entry import SmallEntries
from msglog.storage.state import STATE_STREAM, unpack_event
from msglog.storage.stream import Stream
from msglog.waiting import Waiter

if TYPE_CHECKING:
    from msglog.storage._compiled_direct import DirectWays
    from msglog.storage._compiled_journal import JournalWays
    from msglog.storage.engine import Engine

_Call = Callable[..., Any]
Lent = tuple[Journal, type[Area], type[Single], deque[Any], _Call, _Call, _Call, _Call, int, int, int]

_PACK_ONE = REST_OF_ONE.pack
_PACK_CRC = CRC.pack
_ALL = 1 << 64
# The most that an entry of one frame has on top of the frame's body.
ENTRY_OVERHEAD = ENTRY_HEADER_SIZE + 24 + HEADER_SIZE + 4 + 8
# A thread that is interrupted between waking up and waking the next one delays the others by no more than this.
_LOST_WAKE_SECONDS = 0.05
# Place, length of the body, and the making of a segment.
_LARGEST_OVERHEAD = 24 + 4 + 2 + 64 + 8


class DirectWriter(SmallCommits):
    """Straight into the segments."""

    def __init__(self, engine: "Engine") -> None:
        super().__init__(engine)
        self._life = LIFE_OF_ONE.pack(engine.life, 1)
        self._state = engine.streams[STATE_STREAM]
        self._stamp: int | None = None
        self._stamps = b""
        self._next_draft = engine.commit_number + DRAFT_COMMITS
        self._bytes = 0
        # What does most of this in C, once it is made: see `compiled`.
        self.compiled: DirectWays | None = None

    def write_planned(self, commit: Commit, bodies: list[tuple[Stream, frames.Body]]) -> int:
        """Store, then publish."""
        engine = self._engine
        plan = self.plan(commit, bodies)
        if not plan.frames:
            return engine.commit_number
        # From here on only forward.
        engine.obstacle = plan
        try:
            self.redo(plan)
        except BaseException:
            engine.wake_all()
            raise
        engine.obstacle = engine.failure
        self._bytes += plan.size
        self._after_growth(plan.installs)
        return plan.number

    def redo(self, plan: Plan) -> None:
        """Do all steps of a plan, again if need be."""
        engine = self._engine
        self.install(plan)
        try:
            for placed in plan.frames:
                placed.assign()
                self.store(placed)
        except OSError as error:
            raise engine.stop_writing("a write failed", error) from error
        engine.commit_number = plan.number
        self.apply_events(plan)
        self.publish(plan)

    def redo_append(self, stream: Stream) -> None:
        """Finish an interrupted `append`: all it needs stands in the frame that it left with its stream."""
        engine, segment, frame = self._engine, stream.active, stream.unfinished
        header = frames.HEADER.unpack_from(frame)
        base_offset, timestamp_ms, number, value_total = header[5], header[6], header[8], header[11]
        mapped = engine.cache.open(segment)  # a reader may have closed it meanwhile
        end = segment.position
        if mapped[end - len(frame) : end] != frame:  # the position was not advanced yet
            mapped[end : end + len(frame)] = frame
            end += len(frame)
        segment.note_frame(base_offset + 1, end, timestamp_ms, timestamp_ms)
        segment.before_ms = segment.max_timestamp_ms
        segment.stored_position = end
        segment.value_total = stream.value_bytes = value_total + frames.value_bytes_of_one(frame)
        stream.next_offset = stream.end = base_offset + 1
        if stream.id == STATE_STREAM:
            section, event = unpack_event(frame[HEADER_SIZE:])
            engine.models[section].apply(event)
        engine.commit_number = engine.published = engine.page_slots[2] = number

    def append(self, stream: Stream, value: bytes, timestamp_ms: int, key: bytes | None = None) -> int:
        """Append one record: the hot path, a frame of one written out by hand."""
        engine = self._engine
        held = False
        try:
            for held in engine.turns:  # noqa: B007 the `finally` uses it
                if engine.obstacle is not None:
                    engine.clear_obstacle()
                if timestamp_ms != self._stamp:
                    self.pack_stamps(timestamp_ms)
                segment = stream.active
                position = segment.position
                number = engine.commit_number + 1
                offset = stream.next_offset
                total = stream.value_bytes
                if key is None:
                    kind, body = PACKED_PLAIN, value
                else:
                    kind, body = PACKED_KEYED, _PACK_CRC(len(key)) + key + value
                size = len(body)
                end = position + HEADER_SIZE + size
                rest = _PACK_ONE(kind, size, PACKED_ONE_RECORD, offset, self._stamps, number, self._life, total) + body
                if end > segment.limit and not self.make_way(stream, segment, position, end):
                    return self._append_slowly(stream, value, timestamp_ms, key)
                # From here on only forward: whoever takes the lock after an interruption finishes this.
                stream.unfinished = frame = _PACK_CRC(crc32c(rest, segment.crc_seed)) + rest
                engine.obstacle = stream
                segment.map[position:end] = frame  # type: ignore[index]
                segment.position = segment.stored_position = end
                segment.end_offset = stream.next_offset = stream.end = offset + 1
                segment.value_total = stream.value_bytes = total + len(value)
                if timestamp_ms > segment.max_timestamp_ms:
                    segment.max_timestamp_ms = segment.before_ms = timestamp_ms
                engine.commit_number = engine.published = engine.page_slots[2] = number
                engine.obstacle = engine.failure
                if stream.waiters:
                    stream.tell_waiters((offset, timestamp_ms, key, value, number, total))
                return offset
        except BaseException:
            engine.wake_all()
            raise
        finally:
            if held:
                engine.release()
        raise AssertionError("turns never end")

    append_unwaited = append

    def _append_slowly(self, stream: Stream, value: bytes, timestamp_ms: int, key: bytes | None) -> int:
        """Append where space, an index entry or a new segment is due."""
        commit = Commit(self._engine)
        offset = commit.append(stream, encode_one(value, timestamp_ms, key))
        self.write(commit)
        return offset

    def wait(self, commit: int) -> None:
        """Return at once: what is written is published. Only work that was put off is done here."""
        if self._engine.checkpoint_requested and not put_off(commit):
            self._engine.run_requested()

    def drain(self) -> None:
        """Do nothing: nothing is ever unpublished."""

    def drain_locked(self) -> None:
        """Do nothing, like `drain`."""

    def note_checkpoint(self) -> None:
        """A checkpoint begins: what was written before needs no other one."""
        self._bytes = 0
        self._next_draft = self._engine.commit_number + DRAFT_COMMITS

    def _after_growth(self, installs: list[tuple[Stream, Segment]]) -> None:
        engine = self._engine
        if not engine.filesystem.durable:
            return
        rolled = any(len(stream.parts) > 1 for stream, _ in installs)
        if rolled or self._bytes > CHECKPOINT_BYTES or engine.snapshot_due():
            engine.request_checkpoint()
            self._bytes = 0
        if engine.commit_number >= self._next_draft:
            self._next_draft = engine.commit_number + DRAFT_COMMITS
            engine.write_draft()


class JournalWriter(SmallEntries):
    """Through the journal."""

    def __init__(self, engine: "Engine", journal: Journal) -> None:
        super().__init__(engine)
        self._journal = journal
        self._life = LIFE_OF_ONE.pack(engine.life, 1)
        self._pending: deque[Plan | Single | Several] = deque()
        self._leading = Lock()
        self._waiting: list[tuple[int, Waiter]] = []
        # What does most of `append` in C, once it is made, and what shows single records: see `compiled`.
        self.compiled: JournalWays | None = None
        self.show_singles: Callable[[int], int] | None = None

    def write_planned(self, commit: Commit, bodies: list[tuple[Stream, frames.Body]]) -> int:
        """Write an entry; the frames follow after its sync."""
        engine = self._engine
        plan = self.plan(commit, bodies)
        if not plan.frames:
            return engine.commit_number
        try:
            self._journal.reserve(self._largest_entry(plan))
            plan.entry = self._entry(plan)
        except BaseException as error:
            self.abandon(plan)
            if isinstance(error, OSError) and not isinstance(error, MsglogError):
                raise StoreFailedError(
                    f"could not make room in the journal: {error}", path=engine.directory, outcome="not_applied"
                ) from error
            raise
        plan.entry_position = self._journal.area.position
        # From here on only forward.
        engine.obstacle = plan
        self.redo(plan)
        engine.obstacle = engine.failure
        self._request_checkpoint(plan.number)
        return plan.number

    def redo(self, plan: Plan) -> None:
        """Write the entry and advance the assigned state, again if need be."""
        engine = self._engine
        self._journal.add(plan.entry, plan.entry_position, plan.number)
        self.write_entries()  # nobody may wait for it
        self.install(plan)
        for placed in plan.frames:
            placed.assign()
            placed.segment.announced = True
        engine.commit_number = plan.number
        self.apply_events(plan)
        if not self._pending or self._pending[-1] is not plan:
            self._pending.append(plan)

    def _largest_entry(self, plan: Plan) -> int:
        names = sum(len(placed.segment.path) for placed in plan.frames)
        return plan.size + names + len(plan.frames) * _LARGEST_OVERHEAD + ENTRY_HEADER_SIZE

    def _entry(self, plan: Plan) -> bytes:
        engine = self._engine
        creates = {
            placed.segment.file_id: Create(basename(placed.segment.path), placed.segment.header.pack())
            for placed in plan.frames
            if not placed.segment.announced
        }
        return pack_entry(
            self._journal.area.crc_seed,
            engine.life,
            plan.number,
            engine.published,
            [
                PlacedFrame(placed.segment.file_id, placed.position, placed.header, placed.body.data)
                for placed in plan.frames
            ],
            creates.values(),
        )

    def append(self, stream: Stream, value: bytes, timestamp_ms: int, key: bytes | None = None) -> int:
        """Append one record and wait for its sync."""
        number, offset = self._append_one(stream, value, timestamp_ms, key, waited_for=True)
        self.wait(number)
        return offset

    def append_unwaited(self, stream: Stream, value: bytes, timestamp_ms: int, key: bytes | None = None) -> int:
        """Append one record for somebody who waits for its commit later: it may not be in the file before."""
        return self._append_one(stream, value, timestamp_ms, key, waited_for=True)[1]

    def append_all(
        self, records: Sequence[Small], timestamp_ms: int, section: str = "", event: list[Any] | None = None
    ) -> int:
        """Append one record to each of some streams in one commit, with an event; a single one by hand."""
        if event is None and len(records) == 1:
            stream, value, key = records[0]
            return self._append_one(stream, value, timestamp_ms, key, waited_for=False)[0]
        return super().append_all(records, timestamp_ms, section, event)

    def append_copies(self, streams: Sequence[Stream], value: bytes, key: bytes, timestamp_ms: int) -> list[int]:
        """Append the same record to some streams in one commit; to a single one by hand."""
        if len(streams) == 1:
            return [self._append_one(streams[0], value, timestamp_ms, key, waited_for=False)[1]]
        return super().append_copies(streams, value, key, timestamp_ms)

    def _append_one(
        self, stream: Stream, value: bytes, timestamp_ms: int, key: bytes | None, *, waited_for: bool
    ) -> tuple[int, int]:
        """Append one record, like the direct way an entry written out by hand; return its commit and its offset.

        `waited_for`: somebody waits for its sync, and so writes its entry before.
        """
        engine = self._engine
        with engine.lock:
            if engine.obstacle is not None:
                engine.clear_obstacle()
            single = self.single(stream, value, timestamp_ms, key)
            if single is None:
                commit = Commit(engine)
                offset = commit.append(stream, encode_one(value, timestamp_ms, key))
                number = self.write(commit)
            else:
                number, offset = single.number, single.offset
                # From here on only forward.
                engine.obstacle = single
                self.redo_single(single)
                engine.obstacle = engine.failure
                if not waited_for:
                    self.write_entries()
                self._request_checkpoint(number)
        return number, offset

    def lent(self) -> Lent:
        """Return what `JournalWays` needs of it."""
        return (
            self._journal,
            Area,
            Single,
            self._pending,
            self.append,
            self.append_unwaited,
            self.wait,
            self._request_checkpoint,
            self._engine.life,
            CHECKPOINT_COMMITS,
            SNAPSHOT_COST,
        )

    def is_alone(self) -> bool:
        """Whether no thread syncs, or waits for a sync."""
        return not (self._waiting or self._leading.locked())

    def wrote_several(self, several: Several) -> None:
        """See whether a checkpoint is due."""
        self._request_checkpoint(several.number)

    def _request_checkpoint(self, number: int) -> None:
        engine = self._engine
        long = number - engine.durable_commit >= CHECKPOINT_COMMITS
        if long or self._journal.wants_checkpoint or engine.snapshot_due():
            engine.request_checkpoint()

    def wait(self, commit: int) -> None:
        """Return when `commit` is synced and visible. One thread syncs for all that wait; the others sleep meanwhile.

        When it is done it wakes one, who wakes the next one first of all, and so on: a thread comes up while the one
        before it runs, where all at once would only queue for the interpreter. The last of those who are done wakes
        one of the rest, who syncs next: by then the others are about to commit again, so that it covers them, too.
        """
        engine = self._engine
        if put_off(commit):
            return
        while engine.published < commit:
            if not self._leading.locked():
                self._lead(commit)
                continue
            entry = (commit, Waiter())
            woken = False
            try:
                self._waiting.append(entry)
                # A leader that ended before it could see this waiter left the lock free: then nothing is to wait for.
                if self._leading.locked() and engine.published < commit:
                    woken = entry[1].wait(_LOST_WAKE_SECONDS)
            finally:
                if not woken or engine.published >= commit:
                    self._leave(entry)
        engine.run_requested()

    def _lead(self, commit: int) -> None:
        try:
            with self._leading:
                if self._engine.published < commit:
                    self._sync()
        finally:
            if self._waiting:
                self._wake_next()

    def _leave(self, entry: tuple[int, Waiter]) -> None:
        """Sleep no more. Who was woken wakes the next one, even where an interrupt was faster than that wake."""
        try:
            self._waiting.remove(entry)
        except ValueError:
            self._wake_next()

    def _wake_next(self) -> None:
        """Wake one who is done, else one who leads next if nobody does; when the store has failed any one."""
        done = self._engine.published if self._engine.failure is None else _ALL
        while waiting := self._waiting[:]:
            entry = next((entry for entry in waiting if entry[0] <= done), None)
            if entry is None:
                if self._leading.locked():
                    return  # it does this when it ends
                entry = waiting[0]
            with suppress(ValueError):  # another thread has taken it
                self._waiting.remove(entry)
                entry[1].wake()
                return

    def drain(self) -> None:
        """Sync and publish all that is written."""
        try:
            with self._leading:
                self._sync()
        finally:
            self._wake_next()

    def note_checkpoint(self) -> None:
        """Nothing to note: the journal itself knows what is covered."""

    def _sync(self) -> None:
        engine = self._engine
        with engine.lock:
            if engine.obstacle is not None:
                engine.clear_obstacle()
            target = engine.commit_number
            areas = self.write_out()
        self._sync_areas(areas, target)
        with engine.lock:
            self._publish_up_to(target)

    def drain_locked(self) -> None:
        """Sync and publish all that is written without letting go of the store lock."""
        target = self._engine.commit_number
        self._sync_areas(self.write_out(), target)
        self._publish_up_to(target)

    def _sync_areas(self, areas: list[Area], target: int) -> None:
        try:
            for area in areas:
                area.file.sync()
        except OSError as error:
            raise self._engine.stop_writing("a sync of the journal failed", error) from error
        self._journal.syncs += len(areas)
        for area in areas:
            area.synced_commit = max(area.synced_commit, target)

    def _publish_up_to(self, target: int) -> None:
        """Store and show everything up to a commit that is synced."""
        try:
            self._show_up_to(target)
        except BaseException:
            self._engine.wake_all()
            raise

    def _show_up_to(self, target: int) -> None:
        pending = self._pending
        while pending and pending[0].number <= target:
            if self.show_singles is not None and self.show_singles(target):
                continue
            plan = pending[0]
            try:
                if isinstance(plan, Single):
                    self.show_single(plan)
                elif isinstance(plan, Several):
                    self.show_several(plan)
                else:
                    for placed in plan.frames:
                        self.store(placed)
                    self.publish(plan)
            except OSError as error:
                raise self._engine.stop_writing("a write failed", error) from error
            pending.popleft()

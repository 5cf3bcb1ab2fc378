"""Small commits by hand: a record for some streams and an event, as brokers make them; small batches and any events.

They must be what the way over a plan makes of the same: byte by byte in the files, whole or absent after crashes and
interrupts, and seen by whoever waits.
"""

import os
import random
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import msglog.storage
from msglog.clock import ManualClock
from msglog.cursors import Cursor, CursorModel
from msglog.errors import DiskFullError, StoreFailedError
from msglog.storage import Engine, Options, state
from msglog.storage.filesystem import MemoryFileSystem
from msglog.storage.frame import HEADER, HEADER_SIZE
from msglog.storage.segment import FILE_HEADER_SIZE
from support.crash_images import crash_images, torn_kills
from support.faults import Fault, FaultPlan
from support.faulty_filesystem import FaultyFileSystem
from support.history import Entry, read_state
from support.ledger import Ledger
from support.opcodes import Striker, Struck
from support.recovery import MODES, CrashCheck, recover
from support.scale import scaled
from support.session import DIRECTORY, Change, Script, small_limits
from support.telling import tell
from support.workloads import Workload

STRIKES = 60
STORAGE_FOLDER = os.path.join(os.path.dirname(msglog.storage.__file__), "")
ROOM = 1 << 15
ROOMY = {"DRAFT_COMMITS": 1 << 20, "FIRST_ALLOCATION": ROOM, "_FEWEST_OPEN": 64, "_MOST_OPEN": 64}
"""Limits with which small commits go the short way."""
LARGEST_COUNT = (1 << 32) - 1

Wanted = tuple[str, int, bytes | None]
"""A record: the stream's name, the size of its value, its key."""


class SmallScript(Script):
    """A script that makes small commits, too."""

    def small(self, *wanted: Wanted, event: bool = False, wait: bool = True, planned: bool = False) -> None:
        """Append one record to each of some streams in one commit, with an event of the ledger if so wished."""
        engine = self.engine
        self.clock.advance(ms=1)
        stamp = self.clock.now_ms()
        after = self.history.latest
        records = []
        for name, size, key in wanted:
            stream, value = self.stream(name), self._value(size)
            records.append((stream, value, key))
            entry = Entry(stream.next_offset, stamp, key, value, ())
            after = after.with_stream(stream.id, after.streams[stream.id].with_entries([entry]))
        section: tuple[Any, ...] = ()
        if event:
            fields = ["count", after.ledger[0] + 1, self._value(8)]
            after = after.with_event(fields)
            section = (Ledger.section, fields)
        with self._recording(after) as index:
            if planned:
                with engine.lock:
                    engine.begin()
                    number = engine.writer.append_planned(records, stamp, *(section or ("", None)))
            else:
                number = engine.writer.append_all(records, stamp, *section)
        if wait:
            engine.wait(number)
            self._returned(index)

    def several(self, *changes: Change, planned: bool = False) -> None:
        """Do several changes in one commit, by hand if they are small and nobody wants a plan."""
        with pytest.MonkeyPatch.context() as patch:
            if planned:
                patch.setattr(self.engine.writer, "place_by_hand", lambda _: None)
            self.commit(*changes)


def _prepare(script: SmallScript) -> None:
    script.open()
    script.commit(("create", "a"), ("create", "b"), ("create", "c"))


def _some_of_each(script: SmallScript, *, planned: bool = False) -> None:
    script.small(("a", 20, None), planned=planned)
    script.small(("a", 20, b"key"), ("b", 30, None), planned=planned)
    script.small(("a", 20, None), ("c", 0, b""), ("b", 5, b"k"), event=True, planned=planned)
    script.small(event=True, wait=False, planned=planned)
    script.small(("b", 300, None), event=True, wait=False, planned=planned)
    script.small(("c", 30, b"key" * 20), ("a", 10, None), planned=planned)
    script.several(("append", "a", 20), ("append", "b", 5, 7, 20), ("event",), planned=planned)
    script.several(("append", "c", 20, 20), ("append", "a", 5), ("append", "c", 0), ("trim", "b", 1), planned=planned)
    script.several(("event",), ("append", "b", 300), ("event",), ("event",), planned=planned)


def small_commits(script: SmallScript) -> None:
    """Small commits of all kinds among others."""
    _prepare(script)
    _some_of_each(script)
    script.append("a", 20)
    script.commit(("append", "a", 20, 20), ("event",))
    _some_of_each(script)
    script.close()


def rolling(script: SmallScript) -> None:
    """Small commits that do not fit: segments roll, files grow, checkpoints come."""
    _prepare(script)
    for step in range(8):
        script.small(("a", 400, None), ("b", 100 * step, b"key"), event=True)
        script.small(event=True, wait=False)
    script.commit(("trim", "a", 5))
    script.flush()
    script.small(("a", 3000, None), ("c", 10, None))
    script.kill()
    script.open()
    _some_of_each(script)
    script.kill()
    script.open()
    script.small(("b", 10, None), event=True)


@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize("limits", [{}, ROOMY], ids=["tight", "roomy"])
@pytest.mark.parametrize("workload", [small_commits, rolling])
def test_a_small_commit_is_whole_or_absent_after_every_crash(workload: Workload, limits, sync, record_property):
    with small_limits(**limits):
        script = SmallScript(sync, segment_bytes=ROOM if limits else 1000)
        workload(script)
        script.filesystem.disk.check_maps()
        disk = script.filesystem.disk
        check = CrashCheck(script.history)
        images = crash_images(disk.start, disk.operations, seed=1, each=1, chances=scaled(1))
        for number, image in enumerate(images):
            if scaled(1) > 1 or number % 2 == 0:
                check.check(image)
        torn = 0
        for number, (point, tree) in enumerate(torn_kills(disk.start, disk.operations, seed=1)):
            if scaled(1) > 1 or number % 4 == 0:
                script.history.check(recover(tree, sync), point, killed=True)
                torn += 1
    tell(record_property, crash_images=check.tried, distinct_ones=check.distinct, torn_stores=torn)


def _frames(engine: Engine) -> dict[str, list[bytes]]:
    """Return the frames of all streams as they lie in their files, without their checksums."""
    found: dict[str, list[bytes]] = {}
    for stream in engine.streams.values():
        frames = found.setdefault(stream.slug, [])
        for segment in stream.parts:
            data = bytes(engine.cache.open(segment)[: segment.position])
            at = FILE_HEADER_SIZE
            while at < len(data):
                end = at + HEADER_SIZE + HEADER.unpack_from(data, at)[2]
                frames.append(data[at + 4 : end])
                at = end
    return found


@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize("limits", [{}, ROOMY], ids=["tight", "roomy"])
def test_the_files_are_those_that_a_plan_makes(limits, sync):
    found = []
    for planned in (False, True):
        with small_limits(**limits):
            script = SmallScript(sync, segment_bytes=ROOM if limits else 1000)
            _prepare(script)
            for _ in range(4):
                _some_of_each(script, planned=planned)
            script.flush()
            script.check()
            found.append(_frames(script.engine))
            script.close()
    assert found[0] == found[1]
    assert sum(map(len, found[0].values())) > 60


@pytest.mark.parametrize("sync", MODES)
def test_small_commits_go_the_short_way(sync):
    with small_limits(**ROOMY):
        script = SmallScript(sync, segment_bytes=ROOM)
        _prepare(script)
        _some_of_each(script)  # which makes the files
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(script.engine.writer, "plan", lambda *_: pytest.fail("a plan was made"))
            _some_of_each(script)
        script.check()
        script.close()


STRUCK: dict[str, Callable[[SmallScript], None]] = {
    "with an event": lambda script: script.small(("a", 20, b"key"), ("b", 30, None), event=True),
    "without": lambda script: script.small(("a", 20, b"key"), ("b", 30, None)),
    "several": lambda script: script.commit(
        ("append", "a", 20, 9), ("append", "b", 30), ("append", "a", 5), ("event",), ("event",)
    ),
    "with a stream that goes": lambda script: script.commit(
        ("append", "c", 20), ("append", "a", 20), ("delete", "c"), ("trim", "a", 1), ("event",)
    ),
}


def _strike(script: SmallScript, at: int, work: str) -> Striker:
    script.open()
    script.small(("a", 20, None), ("b", 20, None), ("c", 20, None), event=True)
    striker = Striker(STORAGE_FOLDER, at)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "_take_claims", lambda: None)  # only the call itself is to be struck
        try:
            with striker.striking():
                STRUCK[work](script)
        except Struck:
            pass
    return striker


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="opcodes are CPython's")
@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize("work", STRUCK)
@pytest.mark.parametrize("limits", [{}, ROOMY], ids=["tight", "roomy"])
def test_a_small_commit_that_is_interrupted_is_done_or_not(limits, work, sync, record_property):
    with small_limits(**limits):
        first = SmallScript(sync, segment_bytes=ROOM)
        _prepare(first)
        first.close()
        tree, known = first.filesystem.disk.image(), first.history.latest

        def again() -> SmallScript:
            script = SmallScript(sync, segment_bytes=ROOM, filesystem=FaultyFileSystem(tree), tag="again-")
            script.history._steps[0].state = known
            return script

        places = _strike(again(), Striker.NEVER, work).seen
        step = max(1, round(places / scaled(STRIKES)))
        tried = range(random.Random(places).randrange(step), places, step)
        for at in tried:
            script = again()
            striker = _strike(script, at, work)
            try:
                script.engine.flush()
                with script.engine.lock:
                    script.engine.begin()  # which settles what became of the interrupted commit
                script.engine.flush()
                script.history.resolve_interrupted(read_state(script.engine))
                script.small(("b", 20, None), ("a", 20, None), event=True)
                script.append("a", 20)
                script.check()
                script.kill()
                script.open()
                script.check()
                script.close()
            except Exception as error:
                raise AssertionError(f"{striker.place}: {type(error).__name__}: {error}") from error
    assert tried
    tell(record_property, strikes=len(tried), places=places)


class _Bell:
    """Whoever waits for records of a stream."""

    def __init__(self) -> None:
        self.rings = 0

    def wake(self) -> None:
        """Count."""
        self.rings += 1


@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize("limits", [{}, ROOMY], ids=["tight", "roomy"])
def test_who_waits_for_a_stream_is_woken_when_a_record_can_be_seen(limits, sync):
    with small_limits(**limits):
        script = SmallScript(sync, segment_bytes=ROOM)
        _prepare(script)
        _some_of_each(script)
        script.flush()
        bells = {name: _Bell() for name in "abc"}
        for name, bell in bells.items():
            script.stream(name).waiters.add(bell)
        script.small(("a", 20, None), ("b", 20, None), event=True, wait=False)
        if sync == "commit":
            assert [bell.rings for bell in bells.values()] == [0, 0, 0]
            script.engine.wait(script.engine.commit_number)
        assert [bell.rings for bell in bells.values()] == [1, 1, 0]
        script.small(event=True)
        assert [bell.rings for bell in bells.values()] == [1, 1, 0]
        script.small(("c", 20, None))
        assert [bell.rings for bell in bells.values()] == [1, 1, 1]
        script.close()


@pytest.mark.parametrize("sync", MODES)
def test_a_small_commit_without_room_leaves_nothing_behind(sync):
    with small_limits():
        script = SmallScript(sync)
        _prepare(script)
        _some_of_each(script)
        disk = script.filesystem.disk
        disk.budget = 0
        for _ in range(3):
            with pytest.raises(DiskFullError) as caught:
                script.small(("a", 20, None), ("b", 9000, None), event=True)
            assert caught.value.outcome == "not_applied"
        script.check()
        disk.budget = None
        script.small(("a", 20, None), ("b", 9000, None), event=True)
        script.check()
        script.close()
        script.open()
        script.check()
        script.close()


def test_a_small_commit_to_a_store_that_failed_is_refused():
    with small_limits():
        script = SmallScript("commit")
        _prepare(script)
        script.filesystem.plan = FaultPlan(Fault.EIO, 0, calls=frozenset({"sync"}))
        with pytest.raises(StoreFailedError):
            script.small(("a", 20, None), ("b", 20, None))
        script.filesystem.plan = None
        for event in (True, False):
            with pytest.raises(StoreFailedError):
                script.small(("a", 20, None), ("b", 20, None), event=event)


# Settlements


def _with_cursors(filesystem: Any, sync: Any) -> Engine:
    options = Options(sync=sync, segment_bytes=ROOM)
    return Engine.open(filesystem, DIRECTORY, options, [CursorModel], ManualClock(), background=False)


def _cursors(engine: Engine) -> dict[int, Cursor[Any]]:
    model = engine.models[CursorModel.section]
    assert isinstance(model, CursorModel)
    return model.cursors


@pytest.mark.parametrize("sync", [*MODES, "memory"])
@pytest.mark.parametrize("limits", [{}, ROOMY], ids=["tight", "roomy"])
def test_a_settlement_by_hand_is_the_event_that_it_stands_for(limits, sync):
    mode = "none" if sync == "memory" else sync
    settlements: Sequence[tuple[int, int]] = [(0, 1), (2, 3), (1, 2), (5, 9), (4, 5), (3, 4), (100, 2000), (9, 100)]
    ends = []
    for by_hand in (True, False):
        with small_limits(**limits):
            filesystem = MemoryFileSystem() if sync == "memory" else FaultyFileSystem()
            engine = _with_cursors(filesystem, mode)
            with engine.lock:
                commit = engine.begin()
                commit.record(CursorModel.section, ["open", 1, 0])
                commit.write()
            cursor = _cursors(engine)[1]
            for first, end in settlements:
                if by_hand:
                    engine.writer.append_settle(cursor, first, end, 7)
                else:
                    event = ["settle", cursor.id, first, end, cursor.next]
                    engine.writer.append_all((), 7, CursorModel.section, event)
            engine.flush()
            packed = cursor.pack()
            frames = _frames(engine)
            if isinstance(filesystem, FaultyFileSystem):
                engine = _with_cursors(filesystem.kill(), mode)
                assert _cursors(engine)[1].pack() == packed
            engine.close()
        ends.append((packed, frames))
    assert ends[0] == ends[1]
    assert ends[0][0][1:3] == [2000, 2000]


OFFSETS = st.integers(0, (1 << 63) - 1)


@given(
    cursor_id=st.integers(0, LARGEST_COUNT),
    first=OFFSETS,
    count=st.integers(0, 1 << 34),
    next_offset=OFFSETS,
)
@example(cursor_id=LARGEST_COUNT, first=0, count=LARGEST_COUNT, next_offset=0)
@example(cursor_id=1, first=0, count=LARGEST_COUNT + 1, next_offset=LARGEST_COUNT + 1)
@example(cursor_id=0, first=(1 << 63) - 1, count=0, next_offset=(1 << 63) - 1)
def test_a_settlement_comes_back_from_its_bytes(cursor_id, first, count, next_offset):
    event = ["settle", cursor_id, first, first + count, next_offset]
    packed = state.pack_event(state.CURSORS, event)
    assert state.unpack_event(packed) == (state.CURSORS, event)
    short = count <= LARGEST_COUNT
    assert state.cost_of(packed) == (state.SHORT_EVENT_COST if short else state.EVENT_COST)
    if short:
        assert packed == state.pack_settle(cursor_id, first, first + count, next_offset)
        assert len(packed) == 25


@given(
    section=st.sampled_from(["broker", "storage", "cursors", "ledger"]),
    kind=st.sampled_from(["settle", "deliver", "open", "close"]),
    fields=st.lists(st.integers(0, (1 << 64) - 1) | st.text(max_size=5) | st.binary(max_size=5), max_size=4),
)
def test_no_other_event_takes_the_short_form(section, kind, fields):
    if (section, kind) == ("cursors", "settle"):
        section = "broker"
    event = [kind, *fields]
    packed = state.pack_event(section, event)
    assert state.unpack_event(packed) == (section, event)
    assert state.cost_of(packed) == state.EVENT_COST

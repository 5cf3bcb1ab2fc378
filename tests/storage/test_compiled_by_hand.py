"""The compiled loops over frames of commits by hand: what they leave is what the Python methods leave, step by step.

As in `test_compiled`, everything here is about files of the operating system or memory.
"""

import gc
import os
import signal
import sys
import threading
import tracemalloc
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

import msglog
from msglog import Store
from msglog.cursors import CursorModel
from msglog.storage import Engine, compiled, encode_body, encode_one
from msglog.storage.index import MIN_TIMESTAMP
from msglog.storage.journal import Journal
from msglog.storage.several import MOST_FRAMES
from msglog.storage.writers import JournalWriter
from msglog.waiting import Waiter
from support.ledger import Ledger
from support.mutants_of_c import compile_mutants, load_mutant
from support.opcodes import Struck, is_finalizing
from support.scale import scaled
from support.session import small_limits
from support.storage_life import Life, differs, files, loaded, without_instruction
from support.telling import tell

try:
    from _testcapi import remove_mem_hooks, set_nomemory
except ImportError:
    remove_mem_hooks = set_nomemory = None

pytestmark = pytest.mark.skipif(
    not compiled.is_compiled(), reason="installed without the compiled hot paths: no compiler, or no headers of Python"
)

FOLDER = os.path.join(os.path.dirname(msglog.__file__), "")
STEPS = 200
FEW_STEPS = 80
SIZES = [0, 1, 7, 8, 9, 100, 100, 100, 1000, 3000, 8100, 8187, 8188, 8189, 8192, 8193]
WAYS = ["none", "memory", "commit"]
PART = "_compiled_hands"
METHODS = ["place_by_hand", "pack_frames", "assign_frames", "show_frames", "store_frames", "show_frame", "store_frame"]


ROOMY = {
    "CHECKPOINT_COMMITS": 1 << 10,
    "DRAFT_COMMITS": 100,
    "FIRST_ALLOCATION": 1 << 14,
    "INDEX_INTERVAL": 3000,
    "JOURNAL_FIRST_BYTES": 1 << 18,
    "JOURNAL_LARGEST_BYTES": 1 << 18,
    "SNAPSHOT_COST": 1 << 10,
    "_FEWEST_OPEN": 64,
    "_MOST_OPEN": 64,
    "_ZERO_AHEAD": 3000,
}
"""Limits with which most commits go by hand."""


class BatchLife(Life):
    """It makes commits of some small batches."""

    def __init__(self, folder: Path, seed: int, way: str, patch: pytest.MonkeyPatch, *, pure: bool) -> None:
        super().__init__(folder, seed, way, patch, pure=pure, streams="abcd", segment_bytes=200_000)
        self._counted = 0
        self.engine.wait(self.engine.commit_number)
        self.entries: list[bytes] = []
        if isinstance(self.engine.writer, JournalWriter):
            journal, add = self.engine.writer._journal, Journal.add

            def note(one: Journal, entry: bytes, *given: Any) -> None:
                if one is journal:
                    self.entries.append(entry)
                add(one, entry, *given)

            patch.setattr(Journal, "add", note)

    def counting(self, text: str) -> list[Any]:
        """Return the next event of the ledger."""
        self._counted += 1
        return ["count", self._counted, text]

    def step(self) -> object:
        """Make a commit at random; return what came of it."""
        dice, engine = self._dice, self.engine
        self.clock.advance(ms=dice.choice([0, 0, 1, 3]))
        woken: list[bool] = []
        waiter = Waiter()
        stream = dice.choice(self.streams)
        if dice.randrange(4):
            stream.waiters.add(waiter)
        try:
            with engine.lock:
                if dice.randrange(20) == 0:
                    stream.configure(
                        dice.choice([20_000, 200_000]), dice.choice([None, None, None, None, None, None, 2])
                    )
                if dice.randrange(30) == 0:
                    engine.roll(stream)
                if dice.randrange(8) == 0:  # as after opening it
                    stream.active.zeroed_position = min(stream.active.position, stream.active.zeroed_position)
                number = self._commit()
            if dice.randrange(3):
                engine.wait(number)
            woken.append(waiter.wait(0))
        finally:
            stream.waiters.discard(waiter)
        return number, woken

    def _commit(self) -> int:
        dice = self._dice
        commit = self.engine.begin()
        same = None
        for _ in range(dice.choice([0, 1, 2, 2, 3, 3, 5, 70])):
            stamp = self.clock.now_ms() - dice.choice([0, 0, 0, 5000])
            if same is None or dice.randrange(3):
                value, key = dice.randbytes(dice.choice(SIZES)), dice.choice([None, b"", b"key"])
                same = encode_one(value, stamp, key)
                if dice.randrange(4) == 0:
                    same = encode_body([value, b"second", None], stamp, timestamps=[stamp, stamp + 7, stamp + 1])
            commit.append(dice.choice(self.streams), same)
        for _ in range(dice.choice([0, 0, 1, 2])):
            if dice.randrange(2):
                commit.record(Ledger.section, self.counting(dice.randbytes(4).hex()))
            else:
                cursor = self.cursor
                cursor.unsettled[cursor.next] = None
                cursor.next += 1
                commit.record(CursorModel.section, ["settle", 1, cursor.next - 1, cursor.next, cursor.next])
        if dice.randrange(20) == 0:
            commit.trim(dice.choice(self.streams), 3)
        return commit.write()

    def state(self) -> object:
        """Return all that commits change in memory."""
        engine = self.engine
        return (
            engine.commit_number,
            engine.published,
            engine.page_slots[2],
            engine.obstacle,
            engine.state_cost,
            self.cursor.pack(),
            self.slots_of_streams(),
            self.slots_of_parts(),
            [area.position for area in engine.journal_areas()],
            self.entries[-1:],
        )


def _live(folder: Path, seed: int, way: str, *, pure: bool, steps: int = STEPS) -> Generator[object]:
    """Yield what a life was like after each step, then its files before it was closed and after."""
    with (
        pytest.MonkeyPatch.context() as patch,
        small_limits(**ROOMY),
    ):
        life = BatchLife(folder, seed, way, patch, pure=pure)
        try:
            assert ("Hands" in repr(life.engine.writer.place_by_hand)) is not pure
            for _ in range(steps):
                yield life.step(), life.state()
            life.engine.wait(life.engine.commit_number)
            yield files(folder)
            life.engine.close()
        finally:
            life.end()
    yield files(folder)


@pytest.mark.parametrize("way", WAYS)
def test_files_and_memory_are_those_that_python_makes(memory_path, way, record_property):
    steps = 0
    for seed in range(scaled(2)):
        expected = list(_live(memory_path / f"{seed}-pure", seed, way, pure=True))
        told = _live(memory_path / f"{seed}", seed, way, pure=False)
        for step, (one, other) in enumerate(zip(told, expected, strict=True)):
            assert one == other, f"step {step} of seed {seed}"
        steps += len(expected) - 2
    assert steps >= 2 * STEPS
    tell(record_property, model_steps=steps)


def _counted(engine: Engine, patch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the name of each call that is left to Python."""
    left: list[str] = []
    writer = engine.writer
    for name in METHODS:
        slow = getattr(type(writer), name, None)
        if slow is not None:
            vars(writer).pop(name, None)
            count = lambda *given, name=name, slow=slow: (left.append(name), slow(writer, *given))[1]  # noqa: E731
            patch.setattr(writer, name, count, raising=False)
    hands = compiled._hands_of(writer, engine)
    for name in compiled._BY_HAND[type(writer)]:
        setattr(writer, name, getattr(hands, name))
    return left


@pytest.mark.parametrize("way", WAYS)
def test_nearly_every_transaction_goes_the_compiled_way(tmp_path, way, monkeypatch):
    with Store(":memory:" if way == "memory" else tmp_path / "s", sync="none" if way == "memory" else way) as store:
        left = _counted(store._core.engine, monkeypatch)
        log, broker = store.log, store.broker
        log.create_topic("t")
        for queue in ("q", "r"):
            broker.declare_queue(queue)
            broker.bind(queue, "amq.fanout")
        broker.publish("amq.fanout", "", b"body")
        for _ in range(300):
            with store.transaction() as tx:
                tx.append("t", b"value", key=b"key")
                tx.publish("amq.fanout", "", b"body")
                tx.ack(broker.get("q"))
        assert len(left) < 300 * 0.2  # of ten loops of each


@pytest.fixture(params=["none", "commit"])
def life(request, tmp_path, monkeypatch):
    made = BatchLife(tmp_path / "s", 1, request.param, monkeypatch, pure=False)
    _write(made, b"value", 7)  # opens their files
    yield made
    made.engine.close()


def _write(life: BatchLife, value: bytes, stamp: int) -> int:
    engine = life.engine
    with engine.lock:
        commit = engine.begin()
        for stream in (*life.streams, life.streams[0]):
            commit.append(stream, encode_one(value, stamp, b"key"))
        commit.record(Ledger.section, life.counting("x"))
        number = commit.write()
    engine.wait(number)
    return number


def _outcome(call: Callable[..., object], given: tuple[object, ...]) -> object:
    """Return what a call returns or raises. Counts of arguments have other words in C."""
    try:
        return call(*given)
    except Exception as error:  # noqa: BLE001 the subject
        return type(error), None if "argument" in str(error) else str(error)


class Bytes(bytes):
    """No plain bytes."""


def _changed(**fields: object) -> Any:
    body = encode_one(b"value", 7)
    for name, value in fields.items():
        setattr(body, name, value)
    return body


def _strange_bodies(life: BatchLife) -> list[Any]:
    stream = life.streams[0]
    plain = encode_one(b"value", 7)
    bodies = [
        _changed(**{name: value})
        for name in ("count", "span", "kind", "timestamp_ms", "max_timestamp_ms", "value_bytes")
        for value in (True, None, "7", -7, 1 << 31, 1 << 32, 1 << 63, 1 << 64, -(1 << 63), 7.0)
    ]
    bodies += [_changed(data=data) for data in (Bytes(b"value"), bytearray(b"value"), "value", None)]
    return [
        None, (), [], [None], [(stream,)], [(stream, None)], [(None, plain)], [[stream, plain]], [(stream, plain, 1)],
        [(stream, plain)] * (MOST_FRAMES + 1), ((stream, plain),),
        *([(stream, plain), (stream, body), (stream, plain)] for body in bodies),
    ]  # fmt: skip


def test_what_is_unusual_is_taken_or_refused_as_python_does_it(life):
    engine, writer = life.engine, life.engine.writer
    before = life.state()
    with engine.lock:
        for bodies in _strange_bodies(life):
            outcome = _outcome(writer.place_by_hand, (bodies,))
            expected = _outcome(type(writer).place_by_hand, (writer, bodies))
            assert (list(outcome) if isinstance(outcome, tuple) else outcome) == (
                list(expected) if isinstance(expected, tuple) else expected
            ), bodies
            assert life.state() == before
    removed = life.streams.pop()
    with engine.lock:
        commit = engine.begin()
        commit.delete_stream(removed)
        commit.write()
        assert writer.place_by_hand([(removed, encode_one(b"value", 7))]) is None


def test_nothing_is_built_of_a_frame_that_is_too_large(life):
    large = encode_one(bytes(1 << 20), 7)
    tracemalloc.start()
    try:
        assert life.engine.writer.place_by_hand([(life.streams[0], large)]) is None
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 10_000


def test_frames_that_are_none_are_refused_as_python_does_it(life):
    engine, writer = life.engine, life.engine.writer
    with engine.lock:
        (frame,) = writer.place_by_hand([(life.streams[0], encode_one(b"value", 7))])
        before = life.state()
        strange: list[Any] = [None, 5, (None,), ((),), (frame[:10],), ((*frame[:1], None, *frame[2:]),)]
        for frames in strange:
            for name in compiled._BY_HAND[type(writer)][1:]:
                given = (0, 1, frames) if name == "pack_frames" else (frames,)
                outcome = _outcome(getattr(writer, name), given)
                assert outcome == _outcome(getattr(type(writer), name), (writer, *given)), (name, frames)
                assert isinstance(outcome, tuple), (name, frames)
        assert life.state() == before


def test_no_method_is_there_that_its_kind_of_writer_has_not(life):
    hands = compiled._hands_of(life.engine.writer, life.engine)
    other = "store_frames" if isinstance(life.engine.writer, JournalWriter) else "assign_frames"
    with pytest.raises(TypeError, match=f"this writer has no {other}"):
        getattr(hands, other)(None)


def test_what_asking_for_room_raises_is_raised_and_nothing_is_written(tmp_path, monkeypatch):
    life = BatchLife(tmp_path / "s", 1, "none", monkeypatch, pure=False)
    _write(life, b"value", 7)
    before = life.state()

    def strike(*_given):
        raise Struck

    writer = life.engine.writer
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "has_room", strike, raising=False)
        hands = compiled._hands_of(writer, life.engine)
    life.streams[1].active.limit = 0
    with life.engine.lock, pytest.raises(Struck):
        hands.place_by_hand([(stream, encode_one(b"value", 7)) for stream in life.streams])
    life.streams[1].active.limit = life.streams[1].active.capacity
    assert life.engine.commit_number == before[0]  # type: ignore[index]
    _write(life, b"value", 7)
    life.engine.close()


def test_a_list_that_gets_shorter_while_room_is_asked_for_is_taken_as_it_is_then(tmp_path, monkeypatch):
    life = BatchLife(tmp_path / "s", 1, "none", monkeypatch, pure=False)
    _write(life, b"value", 7)
    writer = life.engine.writer
    bodies = [(stream, encode_one(b"value", 7)) for stream in life.streams]

    def shorten(*_given):
        del bodies[1:]
        return True

    monkeypatch.setattr(writer, "has_room", shorten, raising=False)
    hands = compiled._hands_of(writer, life.engine)
    life.streams[0].active.limit = 0
    with life.engine.lock:
        placed = hands.place_by_hand(bodies)
    assert placed is not None
    assert [frame[0] for frame in placed] == life.streams[:1]
    life.engine.close()


def test_the_first_frame_of_a_segment_says_when_it_begins(life):
    writer, stream = life.engine.writer, life.streams[0]
    loop = getattr(writer, "assign_frames" if isinstance(writer, JournalWriter) else "store_frames")
    with life.engine.lock:
        placed = writer.place_by_hand([(stream, encode_one(b"value", stamp)) for stamp in (3, 2, 5)])
        for stamp, first in ((MIN_TIMESTAMP, 3), (1, 1)):
            stream.active.first_timestamp_ms = stamp
            loop(placed)
            assert stream.active.first_timestamp_ms == first


def _fails(life: BatchLife, number: int) -> bool:
    """Make a commit whose allocation `number` fails; return whether it had so many."""
    engine, streams, writer = life.engine, life.streams, life.engine.writer
    bodies = [(stream, encode_one(b"value", 7, b"key")) for stream in (*streams, streams[0])]
    with engine.lock:
        before = life.state()
        set_nomemory(number, number + 1)
        try:
            placed = writer.place_by_hand(bodies)
            if isinstance(writer, JournalWriter):
                writer.pack_frames(7, 8, placed)
        except MemoryError:
            remove_mem_hooks()
            assert life.state() == before
            return True
        remove_mem_hooks()
        # From here on nothing may fail.
        set_nomemory(0, 0)
        try:
            if isinstance(writer, JournalWriter):
                writer.assign_frames(placed)
                writer.show_frames(placed)
            else:
                writer.store_frames(placed)
        finally:
            remove_mem_hooks()
        assert [stream.end for stream in streams] == [stream.next_offset for stream in streams]
        return False


@pytest.mark.skipif(set_nomemory is None, reason="this Python has no `_testcapi`")
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="3.13 crashes by itself when it has no memory for a call")
def test_each_allocation_may_fail_before_the_first_step_and_none_is_needed_after_it(life, record_property):
    failed = 0
    for _ in range(3):
        failed += sum(_fails(life, number) for number in range(60))
    gc.collect()
    before = sys.getallocatedblocks()
    failed += sum(_fails(life, number) for number in range(60))
    gc.collect()
    assert sys.getallocatedblocks() - before < 200
    assert failed > 4 * 10
    tell(record_property, failed_allocations=failed)


def test_signal_handlers_that_raise_leave_no_lock_and_no_half_commit(tmp_path, record_property):
    def strike(_number, frame):
        if frame.f_code.co_filename.startswith(FOLDER) and not is_finalizing(frame):
            raise Struck

    done = interrupts = 0
    ended = threading.Event()
    with Store(tmp_path / "s", sync="none") as store:
        log, broker = store.log, store.broker
        log.create_topic("t", partitions=2)
        for queue in "qr":
            broker.declare_queue(queue)
            broker.bind(queue, "amq.fanout")

        def work():
            while not ended.is_set():
                log.append("t", b"other", partition=1)

        thread = threading.Thread(target=work)
        thread.start()
        before = signal.signal(signal.SIGALRM, strike)
        signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)

        def transact():  # one that was interrupted lasts until it is dropped
            with store.transaction() as tx:
                tx.append("t", b"mine", partition=0)
                tx.publish("amq.fanout", "", b"mine")

        try:
            while interrupts < scaled(300):
                try:
                    transact()
                    done += 1
                except Struck:
                    interrupts += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            ended.set()
            thread.join()
        ends = [log.end_offset("t", 0), *(len(broker.peek(queue, 1 << 20)) for queue in "qr")]
        assert len(set(ends)) == 1
        assert done <= ends[0] <= done + interrupts
        # What is interrupted while a file is made may leave the file behind.
        assert {problem.message for problem in store.verify()} <= {"nothing knows this file"}
    tell(record_property, interrupts=interrupts)


def test_nothing_is_leaked(tmp_path):
    with Store(tmp_path / "s", sync="commit") as store:
        log, broker = store.log, store.broker
        log.create_topic("t")
        for queue in "ab":
            broker.declare_queue(queue)
            broker.bind(queue, "amq.fanout")

        def work(times):
            for _ in range(times):
                with store.transaction() as tx:
                    tx.append("t", b"value", key=b"key")
                    tx.publish("amq.fanout", "", b"body")
                for queue in "ab":
                    broker.get(queue).ack()

        work(300)
        before = sys.getallocatedblocks()
        work(300)
        assert sys.getallocatedblocks() - before < 300


MUTATIONS = [
    ("put64(start + AT_KIND, kind);", ""),
    ("put32(start + AT_COUNT, count);", ""),
    ("put32(start + AT_SPAN, span);", ""),
    ("put64(start + AT_TIMESTAMP, number_of(stamp));", ""),
    ("put64(start + AT_LATEST_TIMESTAMP, number_of(latest));", ""),
    ("put32(start + AT_LIFE, life);", ""),
    ("put32(start + AT_FRAMES, frames);", ""),
    ("PyLong_FromLongLong(offset + span)", "PyLong_FromLongLong(offset + 1)"),
    ("PyLong_FromLongLong(total + value_bytes)", "PyLong_FromLongLong(total + size)"),
    ("if (PyTuple_GET_ITEM(frame, STREAM) != stream) continue;", "continue;"),
    ("to <= number_in(stream, stream_slot.segment_bytes)", "1"),
    ("SLOT(segment, segment_slot.announced) == Py_True", "1"),
    ("to <= number_in(segment, segment_slot.limit)", "1"),
    ("PyBytes_GET_SIZE(data) > SMALL_LIMIT - HEADER_SIZE", "0"),
    ("put64(start + AT_ENTRY_SYNCED, synced);", ""),
    ("put32(start + AT_ENTRY_LIFE, life);", ""),
    ("put32(start + AT_ENTRY_BODIES, bodies);", ""),
    ("-size & (ALIGNMENT - 1)", "0"),
    ("memset(start + size, 0, padding);", "memset(start + size, 1, padding);"),
    ("put64(at + 16, bodies);", "put64(at + 16, 0);"),
    ("field_of(frame, LATEST) > latest", "1"),
    ("set_slot(segment, segment_slot.end_offset, PyTuple_GET_ITEM(frame, END_OFFSET));", ""),
    ("set_slot(segment, segment_slot.value_total, PyTuple_GET_ITEM(frame, TOTAL));", ""),
    ("set_slot(stream, stream_slot.value_bytes, PyTuple_GET_ITEM(frame, TOTAL));", ""),
    ("memcpy((char *)view.buf + position, PyBytes_AS_STRING(bytes), end - position)", "0"),
    ("field_of(frame, END) > number_in(segment, segment_slot.zeroed_position)", "0"),
    ("field_of(frame, POSITION) >= number_in(segment, segment_slot.next_index_position)", "0"),
    ("field_of(frame, LATEST) > before", "0"),
    ("set_slot(segment, segment_slot.before_ms, SLOT(segment, segment_slot.max_timestamp_ms));", ""),
    ("set_slot(PyTuple_GET_ITEM(frame, STREAM), stream_slot.end, PyTuple_GET_ITEM(frame, END_OFFSET));", ""),
    ("waiters == NULL || !PySet_Check(waiters) || PySet_GET_SIZE(waiters) > 0", "0"),
]
"""Steps of the source that something depends on, and what stands there when they are forgotten or wrong."""


@pytest.fixture(scope="module")
def mutants(tmp_path_factory):
    return compile_mutants(compiled.FOLDER / f"{PART}.c", MUTATIONS, tmp_path_factory.mktemp("mutants"))


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return {way: list(_live(tmp_path_factory.mktemp(way) / "s", 7, way, pure=True, steps=FEW_STEPS)) for way in WAYS}


def _differs(folder: Path, expected: dict[str, list[object]]) -> bool:
    return any(
        differs(_live(folder / way, 7, way, pure=False, steps=FEW_STEPS), expected[way]) for way in ("commit", "none")
    )


@pytest.mark.parametrize("number", range(-1, len(MUTATIONS)))
def test_each_step_of_the_source_is_missed_when_it_is_wrong(
    number, mutants, expected, memory_path, monkeypatch, record_property
):
    """But for the first one, which is the source as it is."""
    monkeypatch.setattr(compiled, PART, load_mutant(mutants, number, "storage", memory_path))
    assert _differs(memory_path, expected) is (number >= 0), MUTATIONS[number]
    if number >= 0:
        tell(record_property, mutants_killed=1)


def test_without_an_instruction_for_checksums_it_is_the_same(expected, memory_path, monkeypatch):
    monkeypatch.setattr(compiled, PART, loaded(without_instruction(PART, memory_path)))
    assert not _differs(memory_path, expected)

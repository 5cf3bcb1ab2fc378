"""The compiled hot paths: what they leave in files and in memory is what the Python methods leave, step by step.

Everything here is about files of the operating system or memory: other maps, as most tests of crashes have them, are
left to Python.
"""

import gc
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

import msglog
from msglog import Broker, Log, Store
from msglog.errors import ClosedError
from msglog.storage import Deferral, Engine, compiled, in_force
from msglog.storage.commit import Single
from msglog.waiting import Waiter
from support.mutants_of_c import compile_mutants, load_mutant
from support.opcodes import Struck, is_finalizing
from support.scale import scaled
from support.session import small_limits
from support.storage_life import Life, differs, files, loaded, slots, without_instruction
from support.telling import tell

try:
    from _testcapi import remove_mem_hooks, set_nomemory
except ImportError:
    remove_mem_hooks = set_nomemory = None

pytestmark = pytest.mark.skipif(
    not compiled.is_compiled(), reason="installed without the compiled hot paths: no compiler, or no headers of Python"
)

FOLDER = os.path.join(os.path.dirname(msglog.__file__), "")
STEPS = 400
FEW_STEPS = {"none": 100, "commit": 200}
SIZES = [0, 1, 7, 8, 9, 100, 1000, 8100, 8189, 8192, 8193, 20_000]
KEYS = [None, None, b"", b"k", b"key" * 40]
WAYS = ["none", "interval", "memory", "commit"]
PARTS = {"none": "_compiled_direct", "commit": "_compiled_journal"}


class ShortLife(Life):
    """It makes commits by the engine's short ways."""

    def __init__(self, folder: Path, seed: int, way: str, patch: pytest.MonkeyPatch, *, pure: bool) -> None:
        super().__init__(folder, seed, way, patch, pure=pure)
        # Behind a journal: nearly all appends leave their sync to the next call that waits.
        self.put_off = way == "commit"

    def step(self) -> object:
        """Do something at random; return what came of it."""
        dice, engine = self._dice, self.engine
        self.clock.advance(ms=dice.choice([0, 0, 1, 3]))
        stamp = self.clock.now_ms() - dice.choice([0, 0, 0, 5000])
        value = dice.randbytes(dice.choice(SIZES))
        kind = dice.randrange(10)
        if self.put_off and kind < 8:
            return self._put_off(kind, value, stamp)
        if kind < 4:
            return engine.append(dice.choice(self.streams), value, stamp, dice.choice(KEYS))
        if kind < 6:
            streams = dice.sample(self.streams, dice.randint(1, 3))
            return engine.append_copies(streams, value, dice.choice(KEYS) or b"meta", stamp)
        if kind < 9:
            cursor = self.cursor
            for offset in range(cursor.next, cursor.next + 3):
                cursor.unsettled[offset] = None
            cursor.next += 3
            first = dice.randint(cursor.settled, cursor.next)
            return engine.append_settle(cursor, first, min(cursor.next, first + dice.randint(1, 3)), stamp)
        stream = dice.choice(self.streams)
        waiter = Waiter()
        stream.waiters.add(waiter)
        try:
            return engine.append(stream, value, stamp, dice.choice(KEYS)), waiter.wait(0), stream.latest
        finally:
            stream.waiters.discard(waiter)

    def _put_off(self, kind: int, value: bytes, stamp: int) -> object:
        """Append and leave the sync to a later step, or see to some that were left."""
        dice, engine, stream = self._dice, self.engine, self._dice.choice(self.streams)
        if kind == 6:
            if dice.randrange(2):
                engine.wait(engine.commit_number)
            else:
                with engine.lock:
                    engine.writer._publish_up_to(engine.commit_number - dice.randrange(6))
        if kind == 7:
            stream.configure(stream.segment_bytes, dice.choice([None, None, None, 2]))
        deferral = in_force.deferral = Deferral()
        try:
            return engine.append(stream, value, stamp, dice.choice(KEYS)), deferral.commit
        finally:
            in_force.deferral = None

    def state(self) -> object:
        """Return all that commits change in memory."""
        engine = self.engine
        return (
            engine.commit_number,
            engine.published,
            engine.durable_commit,
            engine.checkpoint_requested,
            engine.page_slots[2],
            engine.obstacle,
            engine.state_cost,
            self.cursor.pack(),
            [(slots(area, without=("file", "unwritten")), dict(area.unwritten)) for area in engine.journal_areas()],
            [_plain(one) for one in getattr(engine.writer, "_pending", ())],
            self.slots_of_streams(),
            self.slots_of_parts("announced"),
        )


def _plain(commit: Any) -> object:
    """Return what a commit that is not shown yet is made of."""
    return [part for part in commit if isinstance(part, int | bytes)] if isinstance(commit, Single) else commit.number


def _live(folder: Path, seed: int, way: str, *, pure: bool, steps: int = STEPS) -> Generator[object]:
    """Yield what a life was like after each step, then its files after it was closed."""
    journal = {"JOURNAL_FIRST_BYTES": 192 << 10, "JOURNAL_LARGEST_BYTES": 384 << 10, "SNAPSHOT_COST": 300}
    limits = {"_FEWEST_OPEN": 64, "_MOST_OPEN": 64, **(journal if way == "commit" else {})}
    with pytest.MonkeyPatch.context() as patch, small_limits(**limits):
        life = ShortLife(folder, seed, way, patch, pure=pure)
        try:
            assert ("Ways" in repr(life.engine.append)) is not pure
            assert (getattr(life.engine.writer, "show_singles", None) is None) is (pure or way != "commit")
            for _ in range(steps):
                yield life.step(), life.state()
            life.engine.close()
        finally:
            life.end()
    yield files(folder)


@pytest.mark.parametrize("way", WAYS)
def test_files_and_memory_are_those_that_python_makes(memory_path, way, record_property):
    steps = 0
    seeds = scaled(2 if way == "commit" else 5)
    for seed in range(seeds):
        expected = list(_live(memory_path / f"{seed}-pure", seed, way, pure=True))
        told = _live(memory_path / f"{seed}", seed, way, pure=False)
        for step, (one, other) in enumerate(zip(told, expected, strict=True)):
            assert one == other, f"step {step} of seed {seed}"
        steps += len(expected) - 1
    assert steps == seeds * STEPS
    tell(record_property, model_steps=steps)


def _counted(engine: Engine, patch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the name of each commit that is left to Python."""
    left: list[str] = []
    for name in ("append", "append_settle", "append_copies"):
        slow = getattr(engine.writer, name)
        patch.setattr(engine.writer, name, lambda *given, name=name, slow=slow: (left.append(name), slow(*given))[1])
    patch.setattr(engine.writer, "compiled", None)
    compiled.open_ways(engine)
    return left


@pytest.mark.parametrize("place", ["disk", "memory"])
def test_nearly_every_small_commit_goes_the_compiled_way(tmp_path, place, monkeypatch):
    with Store(":memory:" if place == "memory" else tmp_path / "s", sync="none") as store:
        engine = store._core.engine
        left = _counted(engine, monkeypatch)
        with Broker(store) as broker, Log(store) as log:
            broker._vhost.append_settle = engine.append_settle  # its own, from before
            log.create_topic("t")
            for queue in ("q", "r"):
                broker.declare_queue(queue)
                broker.bind(queue, "amq.fanout")
            for _ in range(1000):
                log.append("t", b"value", key=b"key")
                broker.publish("", "q", b"body")
                broker.publish("amq.fanout", "", b"body")
                broker.get("q").ack()
        assert len(left) < 4000 * 0.15  # an entry of the index, room in the file, a draft
        assert left.count("append_copies") < 10  # of copies without the entries: those are seen to


@pytest.fixture
def life(tmp_path, monkeypatch):
    made = ShortLife(tmp_path / "s", 1, "none", monkeypatch, pure=False)
    made.engine.append_copies(made.streams, b"value", b"key", made.clock.now_ms())  # opens their files
    yield made
    made.engine.close()


@pytest.fixture
def journaled(tmp_path, monkeypatch):
    made = ShortLife(tmp_path / "s", 1, "commit", monkeypatch, pure=False)
    for stream in made.streams:
        made.engine.append(stream, b"value", made.clock.now_ms())  # opens their files
    yield made
    made.engine.close()


def _outcome(call: Callable[..., object], given: tuple[object, ...]) -> object:
    """Return what a call returns or raises. Counts of arguments have other words in C."""
    try:
        return call(*given)
    except Exception as error:  # noqa: BLE001 the subject
        return type(error), None if "positional argument" in str(error) else str(error)


def _not_to_append(stream):
    return [
        (), (stream,), (stream, b"v"), (stream, b"v", 1, None, 2), (stream, "text", 1), (stream, None, 1),
        (b"", b"v", 1), (None, b"v", 1), (stream, b"v", "1"), (stream, b"v", 1.0),
        (stream, b"v", 1, "key"), (stream, b"v", 1, 5), (stream, b"v", 1 << 63), (stream, b"v", 1 << 70),
        (stream, b"v", -(1 << 70)),
    ]  # fmt: skip


def test_what_is_refused_is_refused_alike_and_leaves_nothing_behind(life):
    engine, streams, cursor = life.engine, life.streams, life.cursor
    stream = streams[0]
    unlike = {
        "append": _not_to_append(stream),
        "append_copies": [
            (), (streams,), (streams, b"v", b"k", 1, 2), (None, b"v", b"k", 1), ([*streams, None], b"v", b"k", 1),
            (streams, "text", b"k", 1), (streams, b"v", None, 1), (streams, b"v", b"k", "1"),
            (streams, b"v", b"k", 1 << 63),
        ],
        "append_settle": [
            (), (cursor, 0, 1), (cursor, 0, 1, 1, 1), (None, 0, 1, 1), (cursor, -1, 1, 1), (cursor, 1, 0, 1),
            (cursor, 0, 1 << 32, 1), (cursor, "0", 1, 1), (cursor, 0, None, 1), (cursor, 1 << 64, 1 << 64, 1),
            (cursor, 0, 1, "1"), (cursor, 0, 1, 1 << 63),
        ],
    }  # fmt: skip
    before = life.state()
    for name, cases in unlike.items():
        for given in cases:
            outcome = _outcome(getattr(engine, name), given)
            assert outcome == _outcome(getattr(engine.writer, name), given)
            assert isinstance(outcome, tuple), given
            assert engine.lock.acquire(blocking=False), given
            engine.lock.release()
            assert life.state() == before, given
    engine.close()
    for given in [(stream, b"v", 1), (stream, b"v", -1)]:
        with pytest.raises(ClosedError):
            engine.append(*given)


def test_what_the_journal_refuses_is_refused_alike_and_leaves_nothing_behind(journaled):
    engine, stream, before = journaled.engine, journaled.streams[0], journaled.state()
    for given in _not_to_append(stream):
        assert _outcome(engine.append, given) == _outcome(engine.writer.append, given), given
        assert engine.lock.acquire(blocking=False), given
        engine.lock.release()
        assert journaled.state() == before, given
    engine.close()
    with pytest.raises(ClosedError):
        engine.append(stream, b"v", 1)


def test_a_stream_that_is_gone_gets_nothing_through_the_journal(journaled):
    engine, stream = journaled.engine, journaled.streams[0]
    with engine.lock:
        commit = engine.begin()
        commit.delete_stream(stream)
        number = commit.write()
    with pytest.raises(ClosedError):
        engine.append(stream, b"v", 1)
    assert engine.commit_number == number


def test_nearly_every_record_goes_the_compiled_way_through_the_journal(tmp_path, monkeypatch):
    with Store(tmp_path / "s", sync="commit") as store:
        writer = store._core.engine.writer
        left: list[str] = []
        for name in ("append", "show_single"):
            slow = getattr(writer, name)
            monkeypatch.setattr(
                writer, name, lambda *given, name=name, slow=slow: (left.append(name), slow(*given))[1], raising=True
            )
        monkeypatch.setattr(writer, "compiled", None)
        compiled.open_ways(store._core.engine)
        with Log(store) as log:
            log.create_topic("t")
            deferral = in_force.deferral = Deferral()
            try:
                for _ in range(1000):
                    log.append("t", b"value", key=b"key")
            finally:
                in_force.deferral = None
            store._core.engine.wait(deferral.commit)
            assert len(list(log.read("t"))) == 1000
        assert len(left) < 1000 * 0.1  # a file, an entry of the index


class Bytes(bytes):
    pass


class Number(int):
    pass


@pytest.mark.parametrize("way", ["life", "journaled"])
def test_what_is_no_plain_bytes_or_int_is_taken_as_python_takes_it(way, request):
    life = request.getfixturevalue(way)
    engine, stream = life.engine, life.streams[0]
    for value in (bytearray(b"value"), memoryview(b"value"), Bytes(b"value"), b"value"):
        for stamp in (True, Number(7), -7, 7):
            offset = engine.append(stream, value, stamp, Bytes(b"key"))
            frame = stream.reader(offset).read()
            assert (frame.timestamps, frame.keys, frame.values) == (stamp, [b"key"], [b"value"])


def test_an_error_of_a_cursor_is_the_one_that_is_raised(life):
    class Wrong:
        @property
        def id(self):
            raise Struck

        @property
        def next(self):
            return 1

    before = life.state()
    with pytest.raises(Struck):
        life.engine.append_settle(Wrong(), 0, 1, 1)  # type: ignore[arg-type]
    assert life.state() == before


def _meanwhile(engine: Engine, something: Callable[[], object]) -> None:
    """Have something happen while the lock is waited for, as signal handlers and other threads may have it happen."""

    def acquire():
        something()
        return engine.lock.acquire()

    engine.turns = iter(acquire, None)


def test_a_list_of_streams_that_gets_shorter_while_the_lock_is_waited_for_is_taken_as_it_is_then(life):
    engine, streams = life.engine, list(life.streams)
    _meanwhile(engine, lambda: streams.__delitem__(slice(1, None)))
    ends = [stream.end for stream in life.streams]
    assert engine.append_copies(streams, b"value", b"key", 1) == ends[:1]
    assert [stream.end - end for stream, end in zip(life.streams, ends, strict=True)] == [1, 0, 0]


def _making_way(life: ShortLife, something: Callable[[], object], patch: pytest.MonkeyPatch) -> None:
    """Have something happen while way is made for the next copies."""
    engine = life.engine
    make_way = engine.writer.make_way
    patch.setattr(engine.writer, "make_way", lambda *given: (something(), make_way(*given))[1], raising=False)
    patch.setattr(engine.writer, "compiled", None)
    compiled.open_ways(engine)
    life.streams[1].active.limit = 0


def test_a_list_of_streams_that_gets_shorter_while_way_is_made_is_taken_as_it_is_then(life, monkeypatch):
    engine, streams = life.engine, list(life.streams)
    _making_way(life, lambda: streams.__delitem__(slice(1, None)), monkeypatch)
    ends = [stream.end for stream in life.streams]
    assert engine.append_copies(streams, b"value", b"key", 1) == ends[:1]
    assert [stream.end - end for stream, end in zip(life.streams, ends, strict=True)] == [1, 0, 0]


def test_what_making_way_raises_is_raised_and_nothing_is_written(life, monkeypatch):
    def strike():
        raise Struck

    _making_way(life, strike, monkeypatch)
    before = life.state()
    for _ in range(3):
        with pytest.raises(Struck):
            life.engine.append_copies(life.streams, b"value", b"key", 1)
        assert life.state() == before
        assert life.engine.lock.acquire(blocking=False)
        life.engine.lock.release()


def test_a_lock_that_is_replaced_while_it_is_waited_for_lives_until_then(life):
    """As in a child of a signal handler that forks."""

    def iterators():
        return sum(type(one) is type(life.engine.turns) for one in gc.get_objects())

    def replace():
        life.engine._make_lock()
        seen.append(iterators())

    seen: list[int] = []
    _meanwhile(life.engine, replace)
    before = iterators()
    life.engine.append(life.streams[0], b"value", 1)
    assert seen == [before + 1]
    assert iterators() == before


def _fails(life: ShortLife, number: int, call: Callable[..., object], given: list[Any]) -> bool:
    """Make a call whose allocation `number` fails; return whether it had so many."""
    engine, streams = life.engine, life.streams
    before = [engine.commit_number, *(stream.end for stream in streams)]
    set_nomemory(number, number + 1)
    try:
        call(*given)
    except MemoryError:
        remove_mem_hooks()
    else:
        remove_mem_hooks()
        return False
    with engine.lock:
        engine.clear_obstacle()
    after = [engine.commit_number, *(stream.end for stream in streams)]
    assert after[0] > before[0] or after == before
    return True


def _failures(life: ShortLife) -> int:
    """Let each of the first allocations of each call fail, and return how many did."""
    engine, streams, failures = life.engine, life.streams, 0
    waiter = Waiter()

    def append_with_way_to_make(*given):
        streams[1].active.limit = 0
        engine.append_copies(*given)

    for waited_for in (False, True):
        for stream in streams:
            (stream.waiters.add if waited_for else stream.waiters.discard)(waiter)
        for call, *given in [
            (engine.append, streams[0], b"value", 7, b"key"),
            (engine.append_copies, streams, b"value", b"key", 7),
            (append_with_way_to_make, streams, b"value", b"key", 7),
            (engine.append_settle, life.cursor, 0, 0, 7),
        ]:
            for number in range(25):
                failures += _fails(life, number, call, given)
                call(*given)
    for stream in streams:
        stream.waiters.clear()
    return failures


@pytest.mark.skipif(set_nomemory is None, reason="this Python has no `_testcapi`")
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="3.13 crashes by itself when it has no memory for a call")
def test_each_allocation_may_fail_and_nothing_is_half_done_or_leaked(life, record_property):
    """Where the frame is stored already, what comes next finishes it."""
    failed = sum(_failures(life) for _ in range(4))
    gc.collect()
    before = sys.getallocatedblocks()
    failed += sum(_failures(life) for _ in range(10))
    gc.collect()
    assert sys.getallocatedblocks() - before < 200
    assert failed > 14 * 40
    tell(record_property, failed_allocations=failed)


def _failures_by_journal(life: ShortLife) -> int:
    engine, stream, failures = life.engine, life.streams[0], 0

    def put_off():
        in_force.deferral = deferral
        try:
            engine.append(stream, b"value", 7, b"key")
        finally:
            in_force.deferral = None

    for number in range(25):
        deferral = Deferral()
        failures += _fails(life, number, put_off, [])
        put_off()
        shown = engine.published
        set_nomemory(number, number + 1)
        try:
            engine.writer.show_singles(deferral.commit)
        except MemoryError:
            failures += 1
        finally:
            remove_mem_hooks()
        assert shown <= engine.published <= deferral.commit
        engine.wait(deferral.commit)
        assert engine.published == deferral.commit
    return failures


@pytest.mark.skipif(set_nomemory is None, reason="this Python has no `_testcapi`")
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="3.13 crashes by itself when it has no memory for a call")
def test_each_allocation_of_the_journal_may_fail_and_nothing_is_half_done_or_leaked(journaled, record_property):
    failed = sum(_failures_by_journal(journaled) for _ in range(4))
    gc.collect()
    before = sys.getallocatedblocks()
    failed += sum(_failures_by_journal(journaled) for _ in range(10))
    gc.collect()
    assert sys.getallocatedblocks() - before < 200
    assert failed > 14 * 5
    found = [value for stream in journaled.streams[:1] for value in _values(stream)]
    assert len(found) == journaled.streams[0].end
    tell(record_property, failed_allocations=failed)


def _values(stream) -> list[bytes]:
    reader, values = stream.reader(0), []
    while (frame := reader.read()) is not None:
        values += frame.values
    return values


@pytest.mark.parametrize("sync", ["none", "commit"])
def test_signal_handlers_that_raise_leave_no_lock_and_no_half_commit(tmp_path, sync, record_property):
    """Threads make the lock contended, so that handlers run while it is waited for, too."""

    def strike(_number, frame):
        if frame.f_code.co_filename.startswith(FOLDER) and not is_finalizing(frame):
            raise Struck

    appended = interrupts = 0
    ended = threading.Event()
    with Store(tmp_path / "s", sync=sync) as store:
        log, broker = store.log, store.broker
        log.create_topic("t", partitions=2)
        broker.declare_queue("q")

        def work():
            while not ended.is_set():
                log.append("t", b"other", partition=1)

        thread = threading.Thread(target=work)
        thread.start()
        before = signal.signal(signal.SIGALRM, strike)
        signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
        try:
            while interrupts < scaled(500):
                try:
                    log.append("t", b"mine", partition=0)
                    appended += 1
                    broker.publish("", "q", b"body")
                    if (delivery := broker.get("q")) is not None:
                        delivery.ack()
                except Struck:
                    interrupts += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            ended.set()
            thread.join()
        store.flush()  # so that all is shown that was written
        assert appended <= log.end_offset("t", 0) <= appended + interrupts
        # What is interrupted while a file is made may leave the file behind.
        assert {problem.message for problem in store.verify()} <= {"nothing knows this file"}
        assert len(list(log.read("t", 0))) == log.end_offset("t", 0)
    tell(record_property, interrupts=interrupts)


@pytest.mark.parametrize(("sync", "times"), [("none", 1000), ("commit", 200)])
def test_threads_that_append_at_once_lose_nothing(tmp_path, sync, times):
    with Store(tmp_path / "s", sync=sync) as store:
        log, broker = store.log, store.broker
        log.create_topic("t")
        for queue in "ab":
            broker.declare_queue(queue)
            broker.bind(queue, "amq.fanout")

        def work(number):
            for count in range(times):
                log.append("t", b"%d %d" % (number, count))
                broker.publish("amq.fanout", "", b"%d %d" % (number, count))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for values in ([record.value for record in log.read("t")], [one.body for one in broker.peek("a", 10_000)]):
            for number in range(4):
                own = [value for value in values if value.startswith(b"%d " % number)]
                assert own == [b"%d %d" % (number, count) for count in range(times)]
        assert list(store.verify()) == []


def test_nothing_is_leaked(tmp_path):
    with Store(tmp_path / "s", sync="none") as store:
        log, broker = store.log, store.broker
        log.create_topic("t")
        for queue in "ab":
            broker.declare_queue(queue)
            broker.bind(queue, "amq.fanout")

        def work(times):
            for _ in range(times):
                log.append("t", b"value", key=b"key")
                broker.publish("amq.fanout", "", b"body")
                for queue in "ab":
                    broker.get(queue).ack()

        work(2000)
        before = sys.getallocatedblocks()
        work(2000)
        assert sys.getallocatedblocks() - before < 1000


@pytest.mark.parametrize(
    "part",
    ["_compiled_direct.c", "_compiled_events.c", "_compiled_hands.c", "_compiled_journal.c", "_compiled_frames.h"],
)
def test_a_module_that_was_made_of_another_source_is_not_used(part, monkeypatch, tmp_path):
    assert compiled.is_compiled()
    sources = [path for path in compiled.FOLDER.iterdir() if path.suffix in (".c", ".h")]
    assert part in [path.name for path in sources]
    monkeypatch.setattr(compiled, "FOLDER", tmp_path)
    assert compiled.is_compiled(), "as in a wheel, which has no source"
    for path in sources:
        shutil.copy(path, tmp_path)
    assert compiled.is_compiled()
    (tmp_path / part).write_text((tmp_path / part).read_text() + "/* something else */\n")
    assert not compiled.is_compiled()


MUTATIONS = [
    ("put32(place, frame->crc);", ""),
    ("put_place(place, frame->offset, frame->total);", ""),
    ("put_place(record->bytes, frame->offset, frame->total);", ""),
    ("square = product(square, square);", ""),
    (
        "product((uint32_t)~frame->crc, record->power) ^ record->rest",
        "product((uint32_t)~frame->crc, record->power)",
    ),
    ("like->position == position", "1"),
    ("like->offset == offset", "1"),
    ("like->total == total", "1"),
    ("(uint32_t)~seed", "(uint32_t)seed"),
    ("put64(start + AT_NUMBER, number);", ""),
    ("put64(start + AT_TOTAL, total);", ""),
    ("put32(record->bytes + AT_FRAMES, copies);", ""),
    ("put64(start + AT_TIMESTAMP, timestamp_ms);", ""),
    ("timestamp_ms > number_in(segment, segment_slot.max_timestamp_ms)", "1"),
    ("position + size > limit", "0"),
    ("total + value_size", "total + size"),
    ("set_slot(segment, segment_slot.stored_position, frame->after);", ""),
    ("set_slot(stream, stream_slot.end, frame->next_offset);", ""),
    ("set_slot(segment, segment_slot.value_total, frame->next_total);", ""),
    ("set_slot(known->engine, engine_slot.published, number);", ""),
    ("__atomic_store_n((uint64_t *)page->view.buf + PAGE_COMMIT, (uint64_t)value, __ATOMIC_RELEASE)", "(void)value"),
    ("set_slot(self->known.engine, engine_slot.obstacle, SLOT(self->known.engine, engine_slot.failure));", ""),
    ("set_slot(self->known.engine, engine_slot.state_cost, costs);", ""),
    ("outcome = settle_cursor(cursor, args + 1) < 0 ? FAILED : DONE;", ""),
    ("outcome = tell_waiters(frame, timestamp, key, value, number) < 0 ? wake_all(self) : DONE;", ""),
    ("put32(event + 13, settled);", ""),
]
"""Steps of the source that something depends on, and what stands there when they are forgotten or wrong."""


JOURNAL_MUTATIONS = [
    ("put_crc(&self->known, SLOT(segment, segment_slot.crc_seed), data, HEADER_SIZE + size) < 0", "0"),
    ("put_crc(&self->known, SLOT(area, area_slot.crc_seed), data, length) < 0", "0"),
    ("memset(data + length, 0, padded - length);", ""),
    ("put32(data + 8, length);", ""),
    ("put32(data + 12, self->life);", ""),
    ("put64(data + 24, synced);", ""),
    ("put64(data + 48, file_id);", ""),
    ("put64(data + 56, position);", ""),
    ("SLOT(stream, stream_slot.segment_ms) != Py_None", "0"),
    ("set_slot(area, area_slot.position, entry->area_after);", ""),
    ("set_slot(area, area_slot.last_commit, PART(single, S_NUMBER));", ""),
    ("number_in(segment, segment_slot.first_timestamp_ms) == LLONG_MIN", "1"),
    ("number_of(timestamp) > number_in(segment, segment_slot.max_timestamp_ms)", "1"),
    ("set_slot(segment, segment_slot.end_offset, entry->next_offset);", ""),
    ("set_slot(segment, segment_slot.value_total, PART(single, S_TOTAL));", ""),
    ("set_slot(stream, stream_slot.value_bytes, PART(single, S_TOTAL));", ""),
    ("outcome = look_at_checkpoint(self, &entry);", ""),
    ("behind < self->most_commits", "1"),
    ("number_in(entry->area, area_slot.position) * 2 <= number_in(entry->area, area_slot.size)", "1"),
    ("PyObject_CallOneArg(self->wait, PART(entry.single, S_NUMBER))", "Py_NewRef(Py_None)"),
    ("end > number_in(segment, segment_slot.zeroed_position)", "0"),
    ("position >= number_in(segment, segment_slot.next_index_position)", "0"),
    ("PySet_GET_SIZE(waiters) > 0", "0"),
    ("set_limit(segment);", ""),
    ("number_of(PART(single, S_TIMESTAMP)) > number_in(segment, segment_slot.before_ms)", "1"),
    ("set_slot(segment, segment_slot.stored_position, PART(single, S_END));", ""),
    ("set_slot(stream, stream_slot.end, after);", ""),
    ("number <= target", "1"),
]

OF_WAYS = {"none": MUTATIONS, "commit": JOURNAL_MUTATIONS}


@pytest.fixture(scope="module")
def mutants(tmp_path_factory):
    return {
        way: compile_mutants(compiled.FOLDER / f"{PARTS[way]}.c", mutations, tmp_path_factory.mktemp("mutants"))
        for way, mutations in OF_WAYS.items()
    }


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return {
        way: list(_live(tmp_path_factory.mktemp("expected") / "s", 7, way, pure=True, steps=FEW_STEPS[way]))
        for way in OF_WAYS
    }


@pytest.mark.parametrize(
    ("way", "number"),
    [(way, number) for way, mutations in OF_WAYS.items() for number in range(-1, len(mutations))],
)
def test_each_step_of_the_source_is_missed_when_it_is_wrong(
    way, number, mutants, expected, memory_path, monkeypatch, record_property
):
    """But for the first ones, which are the sources as they are."""
    monkeypatch.setattr(compiled, PARTS[way], load_mutant(mutants[way], number, "storage", memory_path))
    told = _live(memory_path / "s", 7, way, pure=False, steps=FEW_STEPS[way])
    assert differs(told, expected[way]) is (number >= 0), OF_WAYS[way][number]
    if number >= 0:
        tell(record_property, mutants_killed=1)


@pytest.mark.parametrize("has_instruction", ['__builtin_cpu_supports("sse4.2")', "0"])
def test_the_source_as_it_is_passes_the_same_check(has_instruction, expected, memory_path, monkeypatch):
    """On a processor with an instruction for checksums, and on any other."""
    for part in PARTS.values():
        monkeypatch.setattr(compiled, part, loaded(without_instruction(part, memory_path, has_instruction)))
    for way, life in expected.items():
        assert list(_live(memory_path / way, 7, way, pure=False, steps=FEW_STEPS[way])) == life

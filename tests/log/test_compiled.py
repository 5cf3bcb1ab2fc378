"""The compiled short ways of the log: what they return and leave in memory is what the Python methods do."""

import gc
import inspect
import random
import re
import signal
import sys
import threading
import time
from collections import Counter
from functools import partial

import pytest

import msglog
from msglog import Log, Store, TopicPartition
from msglog.clock import ManualClock, SystemClock
from msglog.errors import MsglogError, TopicNotFoundError
from msglog.log import compiled
from msglog.log.fetcher import Fetcher
from msglog.log.group_member import GroupMember
from msglog.log.positions import PartitionCursor
from msglog.waiting import Waiter
from support.brokers import wait_until
from support.mutants_of_c import compile_mutants, load_mutant
from support.opcodes import TELLS_RETURNS, Striker, Struck, is_finalizing
from support.scale import scaled
from support.telling import tell

try:
    from _testcapi import remove_mem_hooks, set_nomemory
except ImportError:
    remove_mem_hooks = set_nomemory = None

pytestmark = pytest.mark.skipif(
    not compiled.is_compiled(), reason="installed without the compiled short ways: no compiler, or no headers of Python"
)

SIZES = [0, 1, 100, 4095, 4096, 4097, 9000]
LIMIT = 8000


@pytest.fixture(scope="module", autouse=True)
def _in_front():
    """The compiled methods, whatever the environment says."""
    with pytest.MonkeyPatch.context() as patch:
        _put_in_front(patch)
        yield


def _put_in_front(patch, module=None):
    for owner, name, method in compiled.short_ways(module or compiled._compiled):
        patch.setattr(owner, name, method)


def _take_away(patch):
    for owner, name, method in compiled.short_ways(compiled._compiled):
        patch.setattr(owner, name, method.__wrapped__)


class _Nobody:
    def wake(self):
        pass


class Life:
    """A log, and a consumer's fetcher, that go through steps, the same for the same seed."""

    def __init__(self, seed=0):
        self._dice = random.Random(seed)
        self.clock = ManualClock()
        self.log = Log(":memory:", clock=self.clock, max_record_bytes=LIMIT)
        for name in ("t", "other"):
            self.log.create_topic(name)
        self.log.create_topic("several", partitions=3)
        self.log.create_topic("compacted", cleanup_policy="compact")
        self.log.append("t", b"0")
        self.stream, self.waiter = self.log._model.topic("t").partition(0), _Nobody()
        self.cursor = self._cursor("t")
        self.fetcher = Fetcher()
        self.fetcher.set_cursors([self.cursor])
        self.runs = [iter(())]
        self.steps = [
            *[self._append] * 5, self._append_plain, *[self.watch] * 3, self.unwatch, *[self.take_latest] * 6,
            *[self.run_latest] * 6, self._use_run, self._use_run, self._take, self._take, self._run, self._pause,
            self._seek, self._delete, self.roll, self._take_back, self._change_cursors, self._append_many,
            self._append_elsewhere,
        ]  # fmt: skip

    def _cursor(self, topic, start="earliest"):
        partition = TopicPartition(topic, 0)
        return PartitionCursor(partition, self.log._model.topic(topic).partition(0), start, None)

    def moments(self):
        """Go through what seldom comes up at random, and yield what came of it."""
        log, cursor = self.log, self.cursor
        self.watch()
        yield self.take_latest(), self.fetcher.take(10), self.state()
        for key in (None, b"key"):
            log.append("t", b"value", key=key)
            yield self.take_latest(), self.state()
            log.append("t", b"value", key=key)
            yield self.run_latest(), self.state(), self.take_latest(), self._use_run(), self.state(), self._use_run()
            log.append("t", b"value", key=key)
            yield self.run_latest(), next(cursor.left, None), self.state(), next(cursor.left, None)
        log.append("t", b"taken back")
        yield self.take_latest(), self.fetcher.take_back(), self.state(), self.take_latest(), self.fetcher.take(9)
        log.append("t", b"not the next one")
        cursor._next_read -= 1
        yield self.take_latest(), self.state()
        cursor._next_read += 1
        yield self.take_latest(), self.state()
        log.append_many("t", [b"1", b"2", b"3"])
        cursor.seek(self.stream.end - 2)
        yield self.fetcher.take(9), self.state()
        log.append("t", b"after a part of a batch")
        yield self.take_latest(), self.state()
        log.append("t", b"in hand")
        yield self._run(), self.state()
        log.append("t", b"behind it")
        yield self.take_latest(), self.state(), self.fetcher.take(9)
        log.append("t", b"not read yet")
        cursor._reader.seek(cursor._next_read)
        yield self.take_latest(), self.fetcher.take(9), self.state()
        log.append("t", b"elsewhere in the file")
        cursor._reader._position += 1
        yield self.take_latest(), self.state()
        cursor._reader._position -= 1
        yield self.take_latest(), self.state()
        yield from self._others()

    def _others(self):
        log, cursor = self.log, self.cursor
        log.append("t", b"latest")
        cursor._reader.offset -= 1
        yield self.take_latest(), self.state()
        cursor._reader.offset += 1
        cursor.paused = True
        yield self.take_latest(), self.run_latest(), self.state()
        cursor.paused, cursor._position, position = False, None, cursor._position
        yield self.take_latest(), self.state()
        cursor._position = position
        other = self._cursor("other")
        self.fetcher.set_cursors([cursor, other])
        yield self.take_latest(), self.run_latest(), self.unwatch(), self.state()
        self.watch()
        self.fetcher.set_cursors([cursor])
        self.fetcher.run()
        yield self.take_latest(), self.state(), self.fetcher.take(9)
        log.append("t", b"last of its file")
        self.unwatch()
        self.roll()
        log.append("t", b"nobody waits")
        yield self.take_latest(), self.state(), self.fetcher.take(9)
        self.watch()
        log.append("t", b"gone")
        log.delete_records("t", 0, self.stream.end)
        yield self.take_latest(), self.state(), self.fetcher.take(9)
        log.append("t", b"value")
        yield self.unwatch(), self.unwatch(), self.take_latest(), self.state()
        yield from self._limits()

    def _limits(self):
        overhead = 72
        for size in (LIMIT - overhead - 1, LIMIT - overhead, LIMIT - 5, LIMIT - 4, LIMIT - 1, LIMIT, LIMIT + 1):
            for key in (None, b"", b"key!"):
                yield _told(lambda: self.log.append("t", bytes(size), key=key)), self.state()  # noqa: B023 called here
                yield _told(lambda: self.log.append_plain("t", bytes(size), key)), self.state()  # noqa: B023
        yield self.log._model.topic("compacted").plain_limit, _told(lambda: self.log.append("compacted", b""))

    def step(self):
        """Do something at random; return what came of it."""
        step = self._dice.choice(self.steps)
        return step.__name__, _told(step)

    def _append(self):
        dice = self._dice
        self.clock.advance(ms=dice.choice([0, 0, 1]))
        return self.log.append("t", bytes(dice.choice(SIZES)), key=dice.choice([None, None, b"", b"key"]))

    def _append_plain(self):
        dice = self._dice
        topic = dice.choice(["t", "t", "t", "several", "compacted", "no"])
        return self.log.append_plain(topic, bytes(dice.choice(SIZES)), dice.choice([None, b"", b"key"]))

    def _append_many(self):
        return self.log.append_many("t", [b"a", b"b"])

    def _append_elsewhere(self):
        dice = self._dice
        more = dice.choice([{}, {"key": b"k"}, {"headers": {"h": b""}}, {"partition": 0}, {"timestamp_ms": 5}])
        return self.log.append(dice.choice(["several", "compacted", "other", "no"]), b"x", **more)

    def watch(self):
        self.fetcher.watch(self.waiter)

    def unwatch(self):
        return self.fetcher.unwatch(self.waiter)

    def take_latest(self):
        return self.fetcher.take_latest()

    def run_latest(self):
        return self._began(self.fetcher.run_latest())

    def _run(self):
        return self._began(self.fetcher.run())

    def _began(self, run):
        if run is not None:
            self.runs.append(run)
        return None if run is None else type(run)

    def _use_run(self):
        """Take a record from a run, an old one perhaps, which has nothing more."""
        return [next(run, None) for run in self.runs[-2:]]

    def _take(self):
        return self.fetcher.take(self._dice.choice([1, 2, 100]))

    def _pause(self):
        self.cursor.paused = not self.cursor.paused
        if self.cursor.paused:
            self.cursor.detach()

    def _seek(self):
        first, end = self.stream.start, self.stream.end
        self.cursor.seek(self._dice.choice([first, end, end, max(first, end - 1)]))

    def _delete(self):
        return self.log.delete_records("t", 0, self._dice.choice([self.stream.start, self.stream.end]))

    def roll(self):
        engine = self.log.store.core.engine
        with engine.lock:
            engine.roll(self.stream)

    def _take_back(self):
        self._dice.choice([self.fetcher.take_back, self.fetcher.finish_hand])()

    def _change_cursors(self):
        self.fetcher.set_cursors([self.cursor, *([self._cursor("other")] if self._dice.random() < 0.3 else [])])

    def state(self):
        """Return all that the steps change in memory."""
        cursor, reader, fetcher = self.cursor, self.cursor._reader, self.fetcher
        return (
            (cursor.position, cursor.remaining, cursor.last_offset, cursor.has_more(), cursor.in_hand()),
            (cursor._first, cursor._size, cursor._stop, cursor._next_read, cursor._position, cursor._frame is None),
            (reader.offset, reader._position, reader._segment is self.stream.active, reader._segment is None),
            (fetcher._run is cursor, fetcher._run is None, list(fetcher._taken.values()), fetcher._turn),
            (len(self.stream.waiters), self.stream.end, gc.is_tracked(cursor)),
            {tp: offset for tp, offset in fetcher.before_hand().items() if tp.topic == "t"},
        )


def _told(call):
    try:
        return call()
    except MsglogError as error:
        return type(error), str(error)


def _live(seed, *, pure, steps, module=None):
    """Return what a life was like after each step, and how often something was left to Python."""
    with pytest.MonkeyPatch.context() as patch:
        left = _left(patch, module)
        if pure:
            _take_away(patch)
        life = Life(seed)
        with life.log:
            story = [*life.moments(), *((life.step(), life.state()) for _ in range(steps))]
            for name, partition in (("t", 0), ("other", 0), *(("several", number) for number in range(3))):
                story += life.log.read(name, partition)
    return story, left


def test_what_is_returned_and_left_is_what_python_makes(record_property):
    steps = 0
    for seed in range(scaled(8)):
        (told, _), (expected, _) = (_live(seed, pure=pure, steps=250) for pure in (False, True))
        for step, (one, other) in enumerate(zip(told, expected, strict=True)):
            assert one == other, f"step {step} of seed {seed}"
        steps += len(told)
    tell(record_property, model_steps=steps)


def _left(patch, module=None):
    """Return a list that gets the name of each call that is left to Python."""
    left = []

    def counted(name, slow):
        return lambda *given, **named: (left.append(name), slow(*given, **named))[1]

    for owner, name, method in compiled.short_ways(compiled._compiled):
        patch.setattr(owner, name, counted(name, method.__wrapped__))
    _put_in_front(patch, module)
    return left


@pytest.mark.parametrize("way", ["poll", "iteration", "callback"])
@pytest.mark.parametrize("sync", ["memory", "none"])
def test_nearly_every_call_goes_the_compiled_way(tmp_path, way, sync, monkeypatch):
    left = _left(monkeypatch)
    here = threading.Semaphore(0)
    options = {} if sync == "memory" else {"sync": sync}
    with Log(":memory:" if sync == "memory" else tmp_path / "s", **options) as log:
        log.create_topic("t")
        stream = log._model.topic("t").partition(0)

        def send(count):
            for number in range(count):
                wait_until(lambda: stream.waiters)
                log.append("t", b"%d" % number, key=b"k" if number % 2 else None)
                assert here.acquire(timeout=10)

        if way == "callback":
            with log.subscribe("t", group="g", callback=lambda _: here.release()):
                send(50)
        else:
            with log.consumer("t", group="g") as consumer:

                def receive():
                    for _ in iter(consumer.poll, []) if way == "poll" else consumer:
                        here.release()

                thread = threading.Thread(target=receive)
                thread.start()
                send(50)
                consumer.stop()
                thread.join()
    # The first record is read, since the reader has no place yet; and when it stops there is none.
    assert Counter(left).keys() <= {"take_latest", "run_latest"}
    assert len(left) <= 4


def test_a_compiled_method_shows_what_the_one_of_python_shows():
    for owner, name, method in compiled.short_ways(compiled._compiled):
        python = method.__wrapped__
        assert method is not python
        assert inspect.isfunction(method)
        assert inspect.signature(method) == inspect.signature(python)
        assert inspect.getdoc(method) == inspect.getdoc(python) != ""
        assert (method.__name__, method.__qualname__) == (name, python.__qualname__)
        assert python.__qualname__ in repr(method)
        assert owner.__dict__[name].__wrapped__ is python


def test_a_class_derived_from_log_may_have_its_own_methods():
    class Counting(Log):
        appended = 0

        def append(self, *given, **named):
            self.appended += 1
            return super().append(*given, **named)

    with Counting(":memory:") as log:
        log.create_topic("t")
        assert log.append("t", b"a").offset == 0
        assert log.append(topic="t", value=b"b", key=b"k").offset == 1
        assert log.appended == 2


WRONG_CALLS = [
    lambda log: log.append(), lambda log: log.append("t"), lambda log: log.append("t", b"", b"k"),
    lambda log: log.append("t", "text"), lambda log: log.append("t", b"", key="text"),
    lambda log: log.append("t", b"", key=5), lambda log: log.append(None, b""), lambda log: log.append([], b""),
    lambda log: log.append("no", b""), lambda log: log.append("t", b"", nothing=1),
    lambda log: log.append("t", b"", partition=7), lambda log: log.append("t", bytes(1 << 21)),
    lambda log: log.append("t", b"", key=bytes(1 << 21)), lambda _: Log.append(None, "t", b""),
    lambda _: Log.append(object(), "t", b""), lambda _: Log.append(),
    lambda log: log.append_plain(), lambda log: log.append_plain("t", b""),
    lambda log: log.append_plain("t", b"", no=1),
    lambda _: Log.append_plain(None, "t", b"", None), lambda _: Log.append_plain(),
]  # fmt: skip


LEFT_TO_THE_LONG_WAY = [
    ("no", b"", None), (None, b"", None), ([], b"", None), ("t", "text", None), ("t", None, None),
    ("t", bytearray(b"x"), None), ("t", b"", "text"), ("t", b"", 5), ("t", bytes(1 << 21), None),
    ("t", b"", bytes(1 << 21)),
]  # fmt: skip


def test_what_takes_more_than_the_short_way_appends_nothing(monkeypatch):
    with Log(":memory:", max_record_bytes=1 << 20) as log:
        log.create_topic("t")
        for pure in (False, True):
            with monkeypatch.context() as patch:
                if pure:
                    _take_away(patch)
                assert [log.append_plain(*given) for given in LEFT_TO_THE_LONG_WAY] == [None] * 10
        assert log.end_offset("t") == 0
    assert log.append_plain("t", b"", None) is None


def test_what_is_refused_is_refused_alike(monkeypatch):
    with Log(":memory:", max_record_bytes=1 << 20) as log:
        log.create_topic("t")
        for call in WRONG_CALLS:
            told = []
            for pure in (False, True):
                with monkeypatch.context() as patch:
                    if pure:
                        _take_away(patch)
                    with pytest.raises(Exception) as caught:  # noqa: PT011 whatever it is
                        call(log)
                told.append((caught.type, str(caught.value)))
            assert told[0] == told[1]
        assert log.end_offset("t") == 0
    with pytest.raises(msglog.ClosedError):
        log.append("t", b"")


@pytest.mark.parametrize("name", ["append", "append_plain"])
@pytest.mark.parametrize("key", [None, b"k"])
def test_a_topic_deleted_and_a_store_closed_before_the_lock_is_there_refuse(name, key):
    with Log(":memory:") as log:
        append = partial(getattr(log, name), key=key)
        log.create_topic("t")
        log._system_time = False
        log._now_ms = lambda: (log.delete_topic("t"), 1)[1]
        with pytest.raises(TopicNotFoundError, match="meanwhile") as caught:
            append("t", b"x")
        assert caught.value.__cause__ is None
        del caught
        log.create_topic("t")
        log._now_ms = lambda: (log.store.close(), 1)[1]
        with pytest.raises(msglog.ClosedError):
            append("t", b"x")


def test_the_machines_clock_is_read_as_python_reads_it():
    with Log(":memory:") as log:
        log.create_topic("t")
        before = time.time_ns() // 1_000_000
        stamps = [log.append("t", b"").timestamp_ms for _ in range(3)]
        assert before <= min(stamps) <= max(stamps) <= time.time_ns() // 1_000_000
        assert [record.timestamp_ms for record in log.read("t")] == stamps


def test_a_poll_that_goes_on_is_noted_as_python_notes_it(log):
    with Log(":memory:") as running:
        for one in (running, log):
            one.create_topic("t")
        with running.consumer("t", group="g") as consumer, log.consumer("t", group="g") as manual:
            member = consumer._member
            seat, before = member.seat, SystemClock.monotonic_ms()
            seat.member.heartbeat_ms = seat.member.poll_ms = 0
            assert member.note_poll() is True
            after = SystemClock.monotonic_ms()
            assert before <= seat.member.heartbeat_ms == seat.member.poll_ms <= after
            member.seat = None
            assert member.note_poll() is False
            member.seat = seat
            log.store.core.clock.advance(ms=7)
            assert manual._member.note_poll() is True  # a clock of its own tells the time
            assert manual._member.seat.member.poll_ms == log.store.core.clock.monotonic_ms()
        with pytest.raises(AttributeError):
            GroupMember.note_poll(object())


@pytest.mark.parametrize("name", ["take_latest", "run_latest"])
def test_what_a_finalizer_does_while_memory_is_taken_counts(name):
    """It moves the position, as the garbage collector comes to it in the middle of the call."""
    life = Life()

    class Moves:
        def __init__(self):
            self.me = self

        def __del__(self):
            if armed:
                life.cursor.seek(0)
                done.append(None)

    with life.log:
        life.watch()
        life.fetcher.take(9)
        gc.collect()
        before = gc.get_threshold()
        for allocations in range(1, 12):
            life.cursor.seek(life.stream.end)
            life.fetcher.take(9)
            life.log.append("t", b"latest")
            life.cursor.seek(0)
            life.fetcher.take(99)
            life.log.append("t", b"latest")
            done, armed = [], False
            call = getattr(life.fetcher, name)
            gc.collect()
            Moves()
            armed = True
            gc.set_threshold(gc.get_count()[0] + allocations, *before[1:])
            try:
                found = call()
            finally:
                gc.set_threshold(*before)
                happened = bool(done)
                armed = False
            if happened and found is not None:
                # It came before: then nothing is skipped. Or after: then the position is where it was moved to.
                assert life.cursor.position in (0, life.stream.end)
            if happened and life.cursor.position == 0:
                assert [record.offset for record in life.fetcher.take(999)] == list(range(life.stream.end))


def _fails(number, call):
    """Make a call whose allocation `number` fails; return whether it had so many, and what it returned."""
    set_nomemory(number, number + 1)
    try:
        found = call()
    except MemoryError:
        remove_mem_hooks()
        return True, None
    remove_mem_hooks()
    return False, found


def _failures(life):
    """Let each of the first allocations of each call fail, and return how many did."""
    failures, log, fetcher, engine = 0, life.log, life.fetcher, life.log.store.core.engine
    for number in range(14):
        failures += _fails(number, lambda: log.append("t", b"value"))[0]
        with engine.lock:
            engine.clear_obstacle()
        fetcher.take(99)
        fetcher.finish_hand()
        for call in (fetcher.take_latest, fetcher.run_latest):
            log.append("t", b"value")
            expected = life.stream.end - 1
            failed, found = _fails(number, call)
            failures += failed
            if failed:
                assert life.cursor.position == expected
                fetcher.take_back()
                found = fetcher.take(9)
            assert [record.offset for record in found] == [expected]
            assert life.cursor.position == expected + 1
            fetcher.finish_hand()
    return failures


@pytest.mark.skipif(set_nomemory is None, reason="this Python has no `_testcapi`")
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="3.12 and 3.13 crash by themselves when they have no memory")
def test_each_allocation_may_fail_and_nothing_is_half_done_or_leaked(record_property):
    life = Life()
    with life.log:
        life.watch()
        failed = sum(_failures(life) for _ in range(4))
        gc.collect()
        before = sys.getallocatedblocks()
        failed += sum(_failures(life) for _ in range(10))
        gc.collect()
        assert sys.getallocatedblocks() - before < 200
        assert failed > 14 * 12
    tell(record_property, failed_allocations=failed)


def test_nothing_is_leaked_or_kept():
    counts = []
    for pure in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if pure:
                _take_away(patch)
            life = Life()
            with life.log:
                life.watch()
                life.fetcher.take(9)

                def work(times, life=life):
                    for number in range(times):
                        life.log.append("t", b"value", key=b"key" if number % 2 else None)
                        found = life.take_latest() if number % 3 else life.fetcher.run_latest()
                        assert [record.value for record in found] == [b"value"]
                        life.fetcher.finish_hand()
                        life.unwatch()
                        life.watch()

                work(300)
                before = sys.getallocatedblocks()
                work(300)
                assert sys.getallocatedblocks() - before < 100
                cursor, reader, partition = life.cursor, life.cursor._reader, life.cursor.partition
                counts.append([sys.getrefcount(part) for part in (cursor, reader, life.stream, partition)])
                value = bytes(50)
                life.log.append("t", value)
                (record,) = life.take_latest()
                counts[-1] += [sys.getrefcount(part) for part in (value, record, None.__class__)][:2]
                assert gc.is_tracked(record)
    assert counts[0] == counts[1]


class _Appending(Waiter):
    """Who waits here appends the next record, and has waited."""

    __slots__ = ("append",)

    def wait(self, timeout):  # noqa: ARG002
        self.append()
        return True


def _poll(consumer, _kept):
    return consumer.poll()


def _iterate(consumer, kept):
    """By an iterator that outlives the blow: what is raised in one that is collected reaches nobody."""
    kept.append(iter(consumer))
    return [next(kept[-1])]


def _interrupted(log, consume, strike_at, patch):
    """Interrupt a poll that waits for its record, and see that each record is handed out once."""
    striker, handed, kept = Striker("msglog/log/", strike_at), [], []
    with log.consumer("t", group=f"g{strike_at}", start="latest") as consumer:
        waiter = _Appending()
        waiter.append = lambda: log.append("t", b"x")
        patch.setattr(consumer, "_waiter", waiter)
        patch.setattr(consumer._bell, "waiter", waiter)
        first = log.end_offset("t")
        consumer.poll(0)
        try:
            with striker.striking():
                for _ in range(2):
                    handed += consume(consumer, kept)
        except Struck:
            assert not log.store.core.engine.lock.locked()
        handed += consumer.poll(0)
    assert [record.offset for record in handed] == list(range(first, log.end_offset("t"))), striker.place
    return striker


@pytest.mark.skipif(not TELLS_RETURNS, reason="where handlers run is known of these versions")
@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize("consume", [_poll, _iterate])
def test_an_interrupt_anywhere_around_a_wake_costs_no_record(log, consume, pure, record_property):
    with pytest.MonkeyPatch.context() as patch:
        if pure:
            _take_away(patch)
        log.create_topic("t")
        places = _interrupted(log, consume, Striker.NEVER, patch).seen
        for at in range(places):
            _interrupted(log, consume, at, patch)
    assert places > 40
    tell(record_property, interrupts=places)


def test_signal_handlers_that_raise_cost_no_record(tmp_path, record_property):
    def strike(_number, frame):
        nonlocal active
        if active and not is_finalizing(frame):
            active = False
            raise Struck

    active, interrupts, taken = False, 0, []
    with Log(tmp_path / "s", sync="none") as log, log.consumer(re.compile("t"), group="g") as consumer:
        log.create_topic("t")
        waiter = _Appending()
        waiter.append = lambda: log.append("t", b"x")
        consumer._waiter = consumer._bell.waiter = waiter
        before = signal.signal(signal.SIGALRM, strike)
        signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.00013)
        try:
            while interrupts < scaled(300):
                records = []
                try:
                    active = True
                    records = consumer.poll()
                    active = False
                except Struck:
                    active = False
                    interrupts += 1
                taken += records
        finally:
            active = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        taken += consumer.poll(0, max_records=1 << 20)
        assert [record.offset for record in taken] == list(range(log.end_offset("t")))
        assert not log.store.core.engine.lock.locked()
    tell(record_property, interrupts=interrupts)


def test_threads_append_and_one_gets_all_in_order(tmp_path):
    with Store(tmp_path / "s", sync="none") as store:
        log, got = store.log, []
        log.create_topic("t")

        def append(number):
            for count in range(300):
                log.append("t", b"%d" % count, key=b"%d" % number)

        with log.consumer("t", group="g") as consumer:
            works = [threading.Thread(target=append, args=(number,)) for number in range(3)]
            for work in works:
                work.start()
            while len(got) < 900:
                got += consumer.poll()
            for work in works:
                work.join()
        assert [record.offset for record in got] == list(range(900))
        for number in range(3):
            assert [int(record.value) for record in got if record.key == b"%d" % number] == list(range(300))


def test_a_module_that_was_made_of_another_source_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setattr(compiled, "SOURCE", tmp_path / "none.c")
    assert compiled.is_compiled(), "as in a wheel, which has no source"
    (tmp_path / "none.c").write_text("something else")
    assert not compiled.is_compiled()


def test_what_is_not_wanted_is_not_put_in_front(monkeypatch):
    _take_away(monkeypatch)
    monkeypatch.setenv("MSGLOG_PURE_PYTHON", "1")
    pure = [Log.append, Log.append_plain, Fetcher.take_latest, GroupMember.note_poll]
    compiled.put_in_front()
    assert [Log.append, Log.append_plain, Fetcher.take_latest, GroupMember.note_poll] == pure


@pytest.mark.parametrize(
    "given",
    [
        ((),),
        (tuple([int] * 15), *[None] * 6),
        (tuple([5] * 16), *[None] * 4, 1, 1),
        (tuple([int] * 16), *[None] * 4, 1, 1),
    ],
)
def test_a_module_is_set_up_with_all_that_it_needs_or_not_at_all(given):
    with pytest.raises((TypeError, ValueError, AttributeError)):
        compiled._compiled.set_up(*given)
    list(compiled.short_ways(compiled._compiled))  # as it was


MUTATIONS = [
    ("PyBytes_GET_SIZE(value) <= number_in(topic, Topic.plain_limit)", "1"),
    ("PyBytes_GET_SIZE(value) + PyBytes_GET_SIZE(key) <= number_in(topic, Topic.keyed_limit)", "1"),
    ("key = args[3];", ""),
    ("Py_SIZE(AT(Fetcher, fetcher, _ring)) != 1", "0"),
    ("AT(Cursor, cursor, paused) != Py_False", "0"),
    ("number_in(cursor, Cursor._position) < 0", "0"),
    ("count_left(AT(Cursor, cursor, _uncounted)) != 0", "0"),
    ("number == number_in(cursor, Cursor._next_read)", "1"),
    ("number >= number_in(stream, Stream.start)", "1"),
    ("number_in(reader, Reader.offset) != sight->next - 1", "0"),
    ("sight->next != number_in(sight->stream, Stream.end)", "0"),
    ("sight->position == number_in(AT(Reader, reader, _segment), Segment.stored_position)", "1"),
    ("sight->position += key_size + PyBytes_GET_SIZE(key);", ""),
    ("swap_slot(reader, Reader._position, made->position, &given_up[0]);", "given_up[0] = NULL;"),
    ("swap_slot(reader, Reader.offset, made->next, &given_up[1]);", "given_up[1] = NULL;"),
    ("swap_slot(cursor, Cursor._frame, Py_None, &given_up[2]);", "given_up[2] = NULL;"),
    ("swap_slot(cursor, Cursor._first, zero, &given_up[3]);", "given_up[3] = NULL;"),
    ("swap_slot(cursor, Cursor._size, one, &given_up[4]);", "given_up[4] = NULL;"),
    ("swap_slot(cursor, Cursor._stop, made->next, &given_up[5]);", "given_up[5] = NULL;"),
    ("swap_slot(cursor, Cursor._next_read, made->next, &given_up[6]);", "given_up[6] = NULL;"),
    ("swap_slot(cursor, Cursor._uncounted, made->uncounted, &given_up[7]);", "given_up[7] = NULL;"),
    ("swap_slot(cursor, Cursor._position, sight->offset, &given_up[8]);", "given_up[8] = NULL;"),
    ("swap_slot(cursor, Cursor.left, made->left, &given_up[9]);", "given_up[9] = NULL;"),
    ("swap_slot(fetcher, Fetcher._run, run, &given_up[10]);", "given_up[10] = NULL;"),
    ("PyDict_SetItem(AT(Fetcher, args[0], _taken), sight.cursor, sight.offset) < 0", "0"),
    ("PySet_Discard(AT(Stream, AT(Cursor, cursor, stream), waiters), args[1]) < 0", "0"),
]
"""Steps of the source that something depends on, and what stands there when they are forgotten or wrong."""


@pytest.fixture(scope="module")
def mutants(tmp_path_factory):
    return compile_mutants(compiled.SOURCE, MUTATIONS, tmp_path_factory.mktemp("mutants"))


@pytest.fixture(scope="module")
def expected():
    return _live(1, pure=False, steps=100)


@pytest.mark.parametrize("number", range(-1, len(MUTATIONS)))
def test_each_step_of_the_source_is_missed_when_it_is_wrong(number, mutants, expected, tmp_path, record_property):
    """But for the first one, which is the source as it is."""
    mutant = load_mutant(mutants, number, "log", tmp_path)
    try:
        found_out = _live(1, pure=False, steps=100, module=mutant) != expected
    except Exception:  # noqa: BLE001 as good as another story
        found_out = True
    assert found_out is (number >= 0), MUTATIONS[number]
    if number >= 0:
        tell(record_property, mutants_killed=1)

"""Interrupts: signals that raise during calls, and an exception at every single place where one may.

Whatever is interrupted, the engine goes on working, and each interrupted call was done as a whole or not at
all.
"""

import random
import signal
import sys
import time
from collections.abc import Callable
from typing import Self

import pytest

from msglog.clock import ManualClock
from msglog.storage import Engine, Options, encode_body
from msglog.storage.filesystem import MemoryFileSystem, OSFileSystem
from support.history import read_entries
from support.ledger import ledger_factory
from support.recovery import MODES
from support.scale import scaled
from support.session import Script, small_limits
from support.striking import places_in, strike
from support.telling import tell

SIGNALS_SECONDS = 0.6
LOST_ALARM_SECONDS = 0.01
STRIKES = 90


class _Alarm:
    """Raises KeyboardInterrupt at random moments while it is armed."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.fired = 0
        self._armed = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGALRM, self._strike)
        # A finalizer that is struck reports it here, and pytest's own report must not be struck in turn.
        self._report, sys.unraisablehook = sys.unraisablehook, lambda _: None
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)
        sys.unraisablehook = self._report

    def _strike(self, *_: object) -> None:
        if self._armed:
            self.fired += 1
            raise KeyboardInterrupt

    def run(self, work: Callable[[], None]) -> None:
        """Run `work` again and again until an alarm interrupts it."""
        try:
            try:
                self._armed = True
                # It repeats, since a finalizer swallows what is raised in it.
                signal.setitimer(signal.ITIMER_REAL, self._chance.uniform(0.0001, 0.002), LOST_ALARM_SECONDS)
                while True:
                    work()
            finally:
                self._armed = False
        except KeyboardInterrupt:
            self._armed = False  # a second alarm may have struck before the first was dealt with
        signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no interval timers")
@pytest.mark.parametrize("sync", [*MODES, "memory"])
@pytest.mark.parametrize("way", ["append", "commit"])
def test_calls_interrupted_by_signals_are_done_or_not(sync, way, tmp_path, record_property):
    chance = random.Random(21)
    filesystem = MemoryFileSystem() if sync == "memory" else OSFileSystem()
    options = Options(sync="none" if sync == "memory" else sync, segment_bytes=1 << 20)
    engine = Engine.open(
        filesystem, str(tmp_path / "store"), options, ledger_factory(), ManualClock(), background=False
    )
    with engine.lock:
        commit = engine.begin()
        ids = [commit.create_stream("a"), commit.create_stream("b")]
        number = commit.write()
    engine.wait(number)
    a, b = (engine.streams[stream_id] for stream_id in ids)
    begun: list[bytes] = []
    returned: set[bytes] = set()

    def step() -> None:
        value = b"%d:" % len(begun) + b"v" * 40
        begun.append(value)
        if way == "append":
            engine.append(a, value, 0)
        else:
            with engine.lock:
                commit = engine.begin()
                commit.append(a, encode_body([value], 0))
                commit.append(b, encode_body([value], 0))
                commit.record("ledger", ["count", a.next_offset + 1])
                number = commit.write()
            engine.wait(number)
        returned.add(value)

    end = time.monotonic() + SIGNALS_SECONDS * scaled(1)
    with _Alarm(chance) as alarm:
        while time.monotonic() < end:
            alarm.run(step)
    step()
    engine.flush()
    found = [entry.value for entry in read_entries(a)]
    _check_order(found, begun, returned)
    if way == "commit":
        assert [entry.value for entry in read_entries(b)] == found
        assert engine.models["ledger"].count == len(found)
    engine.close()
    if sync != "memory":
        engine = Engine.open(filesystem, str(tmp_path / "store"), options, ledger_factory(), ManualClock())
        assert [entry.value for entry in read_entries(engine.streams[ids[0]])] == found
        engine.close()
    tell(record_property, signals=alarm.fired, calls=len(begun), not_done=len(begun) - len(found))


def _check_order(found: list[bytes], begun: list[bytes], returned: set[bytes]) -> None:
    places = {value: place for place, value in enumerate(begun)}
    order = [places[value] for value in found]
    assert order == sorted(set(order)), "records twice, or out of order"
    assert returned <= set(found), "a call returned without having appended"


def _prepared(sync) -> Script:
    script = Script(sync, segment_bytes=1500)
    script.open()
    script.commit(("create", "a"), ("create", "b"))
    script.append("a", 20)
    return script


def _append(script: Script) -> None:
    script.append("a", 20)


def _append_and_roll(script: Script) -> None:
    script.append("a", 1400)


def _commit(script: Script) -> None:
    script.commit(("append", "a", 20), ("append", "b", 20), ("event",))


def _commit_and_change(script: Script) -> None:
    script.commit(("append", "a", 1400), ("trim", "a", 1), ("create", "c"), ("delete", "b"), ("event",))


def _checkpoint(script: Script) -> None:
    script.append("b", 10)
    script.engine.checkpoint()


def _roll(script: Script) -> None:
    script.roll("a")
    script.append("a", 20)


def _rewrite(script: Script) -> None:
    script.commit(("append", "a", 20, 20))
    script.roll("a")
    script.append("a", 20)
    script.rewrite("a")


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="opcodes are CPython's")
@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize("work", [_append, _append_and_roll, _commit, _commit_and_change, _checkpoint, _roll, _rewrite])
def test_an_exception_wherever_a_signal_may_strike(work, sync, record_property):
    with small_limits():
        places = places_in(work, lambda: _prepared(sync))
        step = max(1, round(places / scaled(STRIKES)))
        tried = range(random.Random(places).randrange(step), places, step)
        for at in tried:
            strike(work, lambda: _prepared(sync), at)
    assert tried
    tell(record_property, strikes=len(tried), places=places)

"""An exception at the places in the calls that append where a signal handler may raise one, arguments to sync.

Whatever is interrupted: no lock is leaked, all records of the call are there or none, offsets have no gap, the index by
key knows what the log knows, a producer's retry makes it exactly once, and the next call needs no help.
"""

import os
import random
import sys
from _thread import LockType

import pytest

import msglog
from msglog.clock import ManualClock
from support.broker_session import open_store
from support.disk import Disk
from support.faulty_filesystem import FaultyFileSystem
from support.opcodes import Striker, Struck
from support.recovery import MODES
from support.scale import scaled
from support.session import small_limits
from support.telling import tell

STRIKES = 30
FOLDER = os.path.join(os.path.dirname(msglog.__file__), "")
VALUES = [b"many-%d" % number for number in range(6)]


def one(world):
    world.log.append("t", b"one", partition=0)


def keyed(world):
    world.log.append("t", b"one", key=b"k", headers=[("h", b"1")], expected_key_offset=world.last_of_key)


def many(world):
    world.log.append_many("t", VALUES, keys=[b"%d" % (number % 3) for number in range(6)])


def sequenced(world):
    world.producer.append("t", b"one", partition=1, sequence=1)


WORKS = {one: [b"one"], keyed: [b"one"], many: VALUES, sequenced: [b"one"]}


class World:
    """A store on a disk in memory, with something in it."""

    def __init__(self, image, sync):
        self.filesystem = FaultyFileSystem(Disk(image, recording=False))
        self.store = open_store(self.filesystem, ManualClock(), sync=sync)
        self.log = self.store.log
        if image is None:
            self.log.create_topic("t", partitions=2)
        self.log.append_many("t", [b"before", b"too"], key=b"k")
        self.last_of_key = max(record.offset for record in self.log.read_key("t", b"k"))
        self.producer = self.log.producer("p")
        self.producer.append("t", b"first", partition=1, sequence=0)

    def values(self):
        return [[record.value for record in self.log.read("t", number)] for number in (0, 1)]

    def close(self):
        self.producer.close()
        self.store.close()


def check(world, work, before, struck):
    engine = world.store.core.engine
    for holder in (engine, engine.writer, engine._checkpointer, world.store):
        for name in dir(holder):
            value = getattr(holder, name, None)
            assert not (isinstance(value, LockType) and value.locked()), f"{name} leaked"
    world.log.append("t", b"next", partition=0)  # finishes what was begun
    after = world.values()
    assert after[0].pop() == b"next"
    new = sorted(value for now, old in zip(after, before, strict=True) for value in now[len(old) :])
    assert all(now[: len(old)] == old for now, old in zip(after, before, strict=True))
    assert new in ([], sorted(WORKS[work])) if struck else new == sorted(WORKS[work])
    if work is sequenced:
        again = world.producer.append("t", b"one", partition=1, sequence=1)
        assert again.duplicate == bool(new)
        assert world.values()[1].count(b"one") == 1
    for number in (0, 1):
        records = list(world.log.read("t", number))
        assert [record.offset for record in records] == list(range(len(records)))
        for key in {record.key for record in records} - {None}:
            found = [record.offset for record in world.log.read_key("t", key, partition=number)]
            assert found == [record.offset for record in records if record.key == key]
    world.store.flush()


def attempt(image, sync, work, at):
    world = World(image, sync)
    before = world.values()
    striker = Striker(FOLDER, at)
    struck = False
    try:
        with striker.striking():
            work(world)
    except Struck:
        struck = True
    try:
        check(world, work, before, struck)
        values = world.values()
        world.close()
        reopened = open_store(FaultyFileSystem(world.filesystem.disk), ManualClock(), sync=sync)
        assert [[record.value for record in reopened.log.read("t", number)] for number in (0, 1)] == values
        reopened.close()
    except Exception as error:
        raise AssertionError(f"struck at {striker.place} (number {at}): {type(error).__name__}: {error}") from error
    return striker.seen


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="opcodes are CPython's")
@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.__name__)
def test_an_exception_wherever_a_signal_may_strike(work, sync, record_property):
    with small_limits():
        world = World(None, sync)
        world.close()
        image = world.filesystem.disk.image()
        places = attempt(image, sync, work, Striker.NEVER)
        step = max(1, round(places / scaled(STRIKES)))
        tried = range(random.Random(places).randrange(step), places, step)
        for at in tried:
            attempt(image, sync, work, at)
    assert tried
    tell(record_property, strikes=len(tried), places=places)

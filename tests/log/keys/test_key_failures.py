"""What the disk refuses, and interrupts: an append never fails for its index, and the index stays true."""

import os
import random
import sys
import threading
from contextlib import suppress

import pytest

import msglog
from msglog import Log, OffsetConflictError
from msglog.errors import DiskFullError, MsglogError
from msglog.testing import ManualClock
from support.broker_session import open_store
from support.disk import Image
from support.faults import Fault, FaultPlan
from support.faulty_filesystem import FaultyFileSystem
from support.keyed import check_decisions, check_keys, run_files, small_runs
from support.opcodes import Striker, Struck
from support.recovery import MODES
from support.scale import scaled
from support.session import small_limits
from support.telling import tell

KEYS = [b"k%d" % number for number in range(6)]
FOLDER = os.path.join(os.path.dirname(msglog.__file__), "")
STRIKES = 60


def open_log(filesystem, sync) -> Log:
    return open_store(filesystem, ManualClock(), sync=sync, segment_bytes=2000).log


def end(log):
    log.store.core.engine.closed = True
    log.store.core.timers.close()
    log._closed = log.store._closed = True


def expect(log, number):
    key = KEYS[number % 6]
    record = log.last_record("t", key)
    return log.append("t", b"v", key=key, expected_key_offset=-1 if record is None else record.offset)


class RefusingKeys(FaultyFileSystem):
    """A disk on which nothing under `keys` succeeds, from some call on."""

    left = 0
    error = DiskFullError("no space left", path="/store/keys", requested=1)

    def enter(self, call, path, *, requested=0):
        if "/keys" in path and call not in ("list", "read", "open"):
            self.left -= 1
            if self.left < 0:
                raise self.error
        super().enter(call, path, requested=requested)


@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize("error", [DiskFullError("full", path="/store/keys", requested=1), OSError(5, "broken")])
@pytest.mark.parametrize("left", [0, 1, 2, 3, 5, 9, 14, 30])
def test_appends_do_not_fail_for_a_run_that_cannot_be_written(sync, error, left):
    with small_limits(), small_runs(rows=4, block=2):
        filesystem = RefusingKeys()
        filesystem.left, filesystem.error = left, error
        log = open_log(filesystem, sync)
        log.create_topic("t")
        for number in range(60):
            assert expect(log, number).offset == number
        check_keys(log, "t", KEYS)
        check_decisions(log, "t", KEYS)
        filesystem.left = 1 << 30  # there is space again: what stayed in memory goes to files with what follows
        for number in range(60, 120):
            expect(log, number)
        index = log._model.indexes.find(log._model.topic("t").partitions[0])
        assert all(run.in_file for run in index._stored.runs)
        check_keys(log, "t", KEYS)
        log.close()
        log.store.close()
        log = open_log(FaultyFileSystem(filesystem.disk), sync)
        check_keys(log, "t", KEYS)
        check_decisions(log, "t", KEYS)
        log.close()
        log.store.close()


def test_a_store_closes_when_its_index_cannot_be_written():
    with small_limits(), small_runs(rows=4, block=2):
        filesystem = RefusingKeys()
        log = open_log(filesystem, "none")
        log.create_topic("t")
        for number in range(20):
            expect(log, number)
        log.close()
        log.store.close()
        log = open_log(FaultyFileSystem(filesystem.disk), "none")
        assert log.store.recovery.clean
        check_keys(log, "t", KEYS)
        log.close()
        log.store.close()


@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize("fault", [Fault.EIO, Fault.ENOSPC, Fault.EMFILE, Fault.SHORT_WRITE])
def test_the_nth_call_fails(sync, fault, record_property):
    """Whatever fails, once: what was told holds, and the next opening shows it."""
    with small_limits(), small_runs(rows=4, block=2):
        tried = 0
        at = 0
        while True:
            filesystem = FaultyFileSystem()
            log = open_log(filesystem, sync)
            log.create_topic("t")
            expect(log, 0)
            filesystem.plan = plan = FaultPlan(fault, at)
            done = set()
            for number in range(1, 20):
                try:
                    done.add(expect(log, number).offset)
                except OffsetConflictError:
                    raise
                except MsglogError:
                    continue
            struck = plan.fired
            filesystem.plan = None
            seen = {record.offset for record in log.read("t")}
            assert done <= seen
            check_keys(log, "t", KEYS)
            if log.store.core.engine.failure is None:
                check_decisions(log, "t", KEYS)
            filesystem = filesystem.kill()
            end(log)
            log = open_log(filesystem, sync)
            assert done <= {record.offset for record in log.read("t")}
            check_keys(log, "t", KEYS)
            check_decisions(log, "t", KEYS)
            end(log)
            tried += 1
            if not struck:
                break
            at += 1 if scaled(1) > 1 else 3
    tell(record_property, failures=tried)


def prepared(tree, sync):
    log = open_log(FaultyFileSystem(tree), sync)
    expect(log, 1)
    return log


def tree_of(sync) -> Image:
    filesystem = FaultyFileSystem()
    log = open_log(filesystem, sync)
    log.create_topic("t")
    for number in range(21):
        expect(log, number)
    log.append("t", b"", key=b"k1")
    log.close()
    log.store.close()
    return filesystem.disk.image()


def look_anew(log):
    log.create_topic("u")
    log.append_many("u", [b""] * 30, keys=KEYS * 5)
    log.last_record("u", b"k1")


WORKS = {
    "one": lambda log: expect(log, 2),
    "several": lambda log: [expect(log, number) for number in range(6)],
    "many": lambda log: log.append_many("t", [b""] * 12, keys=KEYS * 2),
    "read": lambda log: list(log.read_key("t", b"k1")),
    "first": look_anew,
    "close": lambda log: log.store.core.services["keys"].close(),
}


def leaked(log):
    """Return the locks of the store that are held although nobody is at work."""
    engine = log.store.core.engine
    indexes = log._model.indexes
    locks = {"engine": engine.lock, "indexes": indexes._lock}
    if indexes._files is not None:
        locks["files"] = indexes._files._lock
    for number, index in indexes._indexes.items():
        locks |= {f"turn {number}": index._turn, f"index {number}": index._lock}
    return [name for name, lock in locks.items() if lock.locked()]


def finish(log):
    """Have an interrupted commit finished, so that reading shows it."""
    engine = log.store.core.engine
    with engine.lock:
        engine.begin()
    engine.wait(engine.commit_number)


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="opcodes are CPython's")
@pytest.mark.parametrize("sync", ["commit", "none"])
@pytest.mark.parametrize("name", WORKS)
def test_a_call_that_is_interrupted_leaves_a_true_index(name, sync, record_property):
    work = WORKS[name]
    with small_limits(), small_runs(rows=4, block=2):
        tree = tree_of(sync)
        counting = Striker(FOLDER)
        log = prepared(tree, sync)
        with counting.striking():
            work(log)
        end(log)
        step = max(1, round(counting.seen / scaled(STRIKES)))
        tried = range(random.Random(counting.seen).randrange(step), counting.seen, step)
        for at in tried:
            log = prepared(tree, sync)
            striker = Striker(FOLDER, at)
            with suppress(Struck), striker.striking():
                work(log)
            try:
                assert leaked(log) == []
                check_keys(log, "t", KEYS)
                finish(log)
                for topic in log.topics():
                    check_keys(log, topic, KEYS)
                    check_decisions(log, topic, KEYS)
                for number in range(12):
                    expect(log, number)
                check_keys(log, "t", KEYS)
            except Exception as error:
                raise AssertionError(f"struck at {striker.place} (number {at}): {error!r}") from error
            finally:
                end(log)
    assert tried
    tell(record_property, strikes=len(tried), places=counting.seen)


def test_a_disk_that_is_really_full(tmp_path):
    """Appends go on while the index has no room for its file, and it is made when there is."""
    with small_runs(rows=4, block=2), Log(tmp_path / "s", sync="none") as log:
        log.create_topic("t")
        keys = tmp_path / "s" / "keys"
        keys.write_bytes(b"")  # no directory can be made here
        for number in range(30):
            expect(log, number)
        check_keys(log, "t", KEYS)
        keys.unlink()
        for number in range(30, 60):
            expect(log, number)
        assert run_files(tmp_path / "s")
        check_keys(log, "t", KEYS)


def test_no_thread_is_left_behind(tmp_path):
    before = threading.active_count()
    with small_runs(rows=4, block=2), Log(tmp_path / "s", sync="none") as log:
        log.create_topic("t")
        during = threading.active_count()
        for number in range(30):
            expect(log, number)
        assert threading.active_count() == during
    assert threading.active_count() == before

"""The journal grows beside commits: no crash, failure, full disk or interrupt in the middle of it breaks the contract.

The workload has every kind of growth: an area that is full is extended under entries that wait for their sync, an entry
larger than any area makes one grow, areas that a checkpoint frees are doubled, and one that became too large is made
anew.
"""

import os

import pytest

import msglog.storage
from msglog.errors import DiskFullError, MsglogError
from msglog.storage.journal import Journal
from support.crash_images import crash_images
from support.faults import Fault, FaultPlan
from support.faulty_filesystem import FaultyFile
from support.recovery import CrashCheck, recover
from support.scale import scaled
from support.session import DIRECTORY, Script, small_limits
from support.striking import places_in, strike
from support.telling import tell

JOURNAL_CODE = os.path.join(os.path.dirname(msglog.storage.__file__), "journal.py")
FAILING = ("allocate", "write", "sync", "create", "rename", "sync_directory")
STRIKES = 40
BUDGET_STEP = 700
FIRST_BYTES = 4096


def growing(script: Script) -> None:
    """Every way an area grows, with commits before it that nobody has waited for yet."""
    script.open()
    script.commit(("create", "a"), ("create", "b"))
    script.engine.checkpoint()
    for _ in range(3):  # both areas fill up
        script.commit(("append", "a", 1500), ("append", "b", 1500), ("event",), wait=False)
    script.commit(("append", "a", 10), wait=False)
    script.commit(("append", "b", 9000), ("event",), wait=False)
    script.append("a", 20)
    for _ in range(3):
        script.commit(("append", "a", 30), ("event",), wait=False)
        script.engine.checkpoint()
        script.append("b", 20)
    script.commit(("append", "a", 7000), wait=False)
    script.append("b", 20)
    script.kill()
    script.open()
    script.append("a", 20)
    script.close()


def test_the_workload_grows_areas_in_every_way(monkeypatch):
    seen = set()
    for name in ("grow", "extend", "_make_anew"):
        owner = Journal if name.startswith("_") else msglog.storage.journal.Area
        method = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *given, method=method, name=name: (seen.add(name), method(*given))[1])
    with small_limits():
        growing(Script())
    assert seen == {"grow", "extend", "_make_anew"}


def test_every_crash_around_a_growth_leaves_a_prefix_that_keeps_all_promises(record_property):
    with small_limits():
        script = Script()
        growing(script)
        disk = script.filesystem.disk
        disk.check_maps()
        check = CrashCheck(script.history)
        check.check_all(crash_images(disk.start, disk.operations, seed=3, each=2, chances=scaled(2)))
    tell(record_property, crash_images=check.tried, distinct_ones=check.distinct)


@pytest.mark.parametrize("fault", [Fault.EIO, Fault.ENOSPC, Fault.EMFILE])
def test_any_call_of_a_growth_may_fail(fault: Fault, record_property):
    with small_limits():
        counting = Script()
        plan = counting.filesystem.plan = FaultPlan(fault, calls=frozenset(FAILING))
        growing(counting)
        calls = plan.seen
        for number in range(calls):
            script = Script()
            script.filesystem.plan = FaultPlan(fault, number, calls=frozenset(FAILING))
            try:
                growing(script)
            except MsglogError:
                pass
            except OSError:
                assert script.opening, f"call {number}: an error that has no type of its own"
            moment, disk = script.moment, script.filesystem.disk
            images = list(crash_images(disk.start, disk.operations, seed=number, first=moment, each=1, chances=1))
            for image in [image for image in images if image.killed] + images[number % 2 :: 2]:
                script.history.check(recover(image.build(), "commit"), moment, killed=image.killed)
    tell(record_property, failed_calls=calls)


def test_an_area_that_cannot_grow_refuses_the_commit_and_nothing_else():
    """Neither a full disk nor an error of the system: entries that wait for their sync lie in front of the growth."""
    with small_limits():
        for call, fault in (("allocate", Fault.EIO), ("write", Fault.EIO), ("allocate", Fault.ENOSPC)):
            script = Script()
            script.open()
            script.commit(("create", "a"))
            script.append("a", 20)
            script.commit(("append", "a", 10), wait=False)
            area = script.engine.journal_areas()[0]
            refuse = _refusing(area.file, call, fault)
            with pytest.raises(MsglogError) as caught:
                script.commit(("append", "a", 9000))
            refuse.undo()
            assert caught.value.outcome == "not_applied"
            script.append("a", 20)
            script.commit(("append", "a", 9000))
            script.check()
            script.close()
            script.open()
            script.check()


@pytest.mark.parametrize("what", [KeyboardInterrupt(), OSError(5, "an error of the disk")])
def test_dropped_segments_go_whatever_becomes_of_the_journal(what, monkeypatch):
    with small_limits():
        script = Script()
        script.open()
        script.commit(("create", "a"))
        for _ in range(3):
            script.commit(("append", "a", 900))
        script.engine.checkpoint()
        script.commit(("trim", "a", 2))

        def fail(*_: object) -> None:
            raise what

        monkeypatch.setattr(Journal, "prepare", fail)
        with pytest.raises((KeyboardInterrupt, MsglogError)):
            script.engine.checkpoint()
        monkeypatch.undo()
        files = script.filesystem.list(f"{DIRECTORY}/segments")
        parts = script.stream("a").parts
        assert {part.path for part in parts} == {
            f"{DIRECTORY}/segments/{name}" for name in files if name.startswith("1-") and not name.endswith(".index")
        }
        script.kill()
        script.open()
        script.check()


class _refusing:  # noqa: N801 read as a verb
    """Has one kind of call to one file fail, until `undo`."""

    def __init__(self, file: FaultyFile, call: str, fault: Fault) -> None:
        self._file, self._call = file, call

        def fail(*_: object) -> None:
            if fault is Fault.ENOSPC:
                raise DiskFullError("full", path=file.path, requested=1)
            raise OSError(fault.value, "refused")

        setattr(file, call, fail)

    def undo(self) -> None:
        delattr(self._file, self._call)


def test_a_disk_that_is_full_at_any_point_of_a_growth(record_property):
    with small_limits():
        whole = Script()
        growing(whole)
        most = sum(inode.size() for inode in whole.filesystem.disk.names.values())
        tried = refused = 0
        for budget in range(FIRST_BYTES * 2, most, BUDGET_STEP):
            script = Script()
            script.filesystem.disk.budget = budget
            tried += 1
            try:
                growing(script)
            except DiskFullError:
                refused += 1
                if script.is_open:
                    script.flush()
                    script.check()
                script.filesystem.disk.budget = None
            script.filesystem.disk.budget = None
            script.kill()
            script.history.check(recover(script.filesystem.disk.image(), "commit"), script.moment, killed=True)
    assert refused > tried // 4
    tell(record_property, disk_sizes=tried, refusals=refused)


def _prepared() -> Script:
    script = Script(segment_bytes=1500)
    script.open()
    script.commit(("create", "a"), ("create", "b"))
    script.append("a", 20)
    return script


def _with_a_large_area() -> Script:
    script = _prepared()
    script.append("a", 9000)
    return script


def _extend(script: Script) -> None:
    script.commit(("append", "a", 9000), ("event",), wait=False)
    script.append("b", 20)


def _double(script: Script) -> None:
    script.append("b", 10)
    script.engine.checkpoint()
    script.append("b", 10)


@pytest.mark.parametrize(
    ("work", "prepare"), [(_extend, _prepared), (_double, _prepared), (_double, _with_a_large_area)]
)
def test_an_exception_wherever_a_signal_may_strike_in_the_journal(work, prepare, record_property):
    with small_limits():
        places = places_in(work, prepare, JOURNAL_CODE)
        tried = range(0, places, max(1, places // scaled(STRIKES)))
        for at in tried:
            strike(work, prepare, at, JOURNAL_CODE)
    assert tried
    tell(record_property, strikes=len(tried), places=places)

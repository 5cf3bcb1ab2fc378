"""A failed sync: the kernel may call pages clean that never reached the disk.

The store takes no more writes, and never tries the sync again. Reopening it, in the same process and over the
same page cache, writes anew whatever was not durable: a loss of power after that keeps it.
"""

import pytest

from msglog.errors import ClosedError, MsglogError, StoreFailedError
from support.crash_images import crash_images
from support.faults import Fault, FaultPlan
from support.history import read_state
from support.recovery import MODES, CrashCheck
from support.scale import scaled
from support.session import Script, small_limits
from support.telling import tell
from support.workloads import lives, many_commits, rewriting, transactions

SYNCS = frozenset({"sync"})


def _fails_at(workload, sync, number: int, fault: Fault) -> tuple[Script, Exception | None]:
    script = Script(sync)
    script.filesystem.plan = FaultPlan(fault, number, calls=SYNCS)
    try:
        workload(script)
    except Exception as error:  # noqa: BLE001 the test looks at it
        return script, error
    return script, None


def _count(workload, sync) -> int:
    script = Script(sync)
    plan = script.filesystem.plan = FaultPlan(Fault.EIO, calls=SYNCS)
    workload(script)
    return plan.seen


@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize("workload", [transactions, rewriting, lives, many_commits])
def test_after_a_failed_sync_reopening_makes_all_durable_again(workload, sync, record_property):
    tried = images = 0
    with small_limits():
        count = _count(workload, sync)
        for number in range(0, count, max(1, round(count / scaled(12)))):
            script, error = _fails_at(workload, sync, number, Fault.EIO)
            if error is None:
                continue
            tried += 1
            assert isinstance(error, StoreFailedError) or script.opening, repr(error)
            if script.is_open:
                engine = script.engine
                with engine.lock, pytest.raises(MsglogError) as refused:
                    engine.begin()
                assert isinstance(refused.value, StoreFailedError | ClosedError)
                script.history.check_visible(read_state(engine))
                engine.close()
            script.kill()
            script.open()
            script.flush()
            script.history.promise(script.history.last, script.moment)
            moment = script.moment
            script.commit(("event",))
            disk = script.filesystem.disk
            check = CrashCheck(script.history)
            check.check_all(crash_images(disk.start, disk.operations, seed=number, first=moment, each=3, chances=6))
            images += check.tried
    assert tried
    tell(record_property, failed_syncs=tried, crash_images_after_reopening=images)


@pytest.mark.parametrize("fault", [Fault.EIO, Fault.ENOSPC, Fault.EDQUOT])
def test_a_failed_sync_stops_all_writing(fault):
    with small_limits():
        script = Script("commit")
        script.open()
        script.commit(("create", "a"))
        script.append("a", 20)
        script.filesystem.plan = FaultPlan(fault, 0, calls=SYNCS)
        with pytest.raises(StoreFailedError) as caught:
            script.append("a", 20)
        assert caught.value.outcome == "unknown"
        assert caught.value.path == "/store"
        for again in (
            lambda: script.append("a", 20),
            lambda: script.commit(("append", "a", 20)),
            script.flush,
            lambda: script.roll("a"),
        ):
            index = script.history.last
            with pytest.raises(StoreFailedError):
                again()
            while script.history.last > index:
                script.history.abandon(script.history.last)
        assert script.filesystem.plan.seen == 1, "a failed sync was tried again"


def _append_and_flush(script: Script) -> None:
    for _ in range(60):
        script.append("a", 900)
        script.flush()


@pytest.mark.parametrize("sync", MODES)
def test_a_failed_sync_in_a_directory_stops_all_writing(sync):
    with small_limits():
        script = Script(sync)
        script.open()
        script.commit(("create", "a"))
        script.append("a", 20)
        script.filesystem.plan = FaultPlan(Fault.EIO, 0, forever=True, calls=frozenset({"sync_directory"}))
        with pytest.raises(StoreFailedError):
            _append_and_flush(script)
        assert script.filesystem.plan.fired == 1


def test_waiting_threads_learn_of_a_failed_sync():
    """A commit that was written but not waited for is not visible and not acknowledged afterwards either."""
    with small_limits():
        script = Script("commit")
        script.open()
        script.commit(("create", "a"))
        script.commit(("append", "a", 20), wait=False)
        with script.engine.lock:
            number = script.engine.begin().engine.commit_number
        script.filesystem.plan = FaultPlan(Fault.EIO, 0, calls=SYNCS)
        for _ in range(2):
            with pytest.raises(StoreFailedError):
                script.engine.wait(number)
        assert script.stream("a").end == 0

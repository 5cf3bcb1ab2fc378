"""Every call to the file system fails in turn, once or for ever: the errors are typed, the contract holds.

After the failure the process ends: the next one finds all that was written, and after a loss of power instead
of it, all that was promised.
"""

import pytest

from msglog.errors import MsglogError
from support.crash_images import crash_images
from support.faults import Fault, FaultPlan
from support.history import read_state
from support.recovery import MODES, recover
from support.scale import scaled
from support.session import Script, small_limits
from support.telling import tell
from support.workloads import Workload

POWER_CUTS = 2


def everything_once(script: Script) -> None:
    """One of each: create, append, roll twice, trim, flush, rewrite, checkpoint, delete, close, reopen."""
    script.open()
    script.commit(("create", "a"), ("create", "b"), ("event",))
    script.append("a", 300)
    script.commit(("append", "a", 300, 300), ("append", "b", 20), ("event",), wait=False)
    script.append("a", 400)
    script.flush()
    script.rewrite("a")
    script.commit(("trim", "a", 2), ("delete", "b"))
    script.append("a", 5000)
    script.roll("a")
    script.close()
    script.open()
    script.append("a", 20)
    script.close()


def _attempt(workload: Workload, script: Script) -> Exception | None:
    try:
        workload(script)
    except Exception as error:  # noqa: BLE001 the test is about which ones come
        return error
    return None


def _is_typed(error: Exception, script: Script) -> bool:
    """Opening may pass on the operating system's error; a store that is open has types of its own."""
    if isinstance(error, MsglogError):
        return True
    return isinstance(error, OSError) and error.errno is not None and script.opening


def _check_after(script: Script, check_seed: int) -> None:
    moment = script.moment
    disk = script.filesystem.disk
    images = list(crash_images(disk.start, disk.operations, seed=check_seed, first=moment, each=1, chances=2))
    killed = next(image for image in images if image.killed)
    script.history.check(recover(killed.build(), script.sync), moment, killed=True)
    others = [image for image in images if not image.killed]
    for image in others[check_seed % 3 :: 3][: scaled(POWER_CUTS)]:
        script.history.check(recover(image.build(), script.sync), moment)


@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize("forever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("fault", Fault)
def test_any_call_may_fail(fault: Fault, forever, sync, record_property):
    with small_limits():
        counting = Script(sync)
        counting.filesystem.plan = FaultPlan(fault)
        everything_once(counting)
        calls = counting.filesystem.plan.seen
        assert calls
        raised: dict[str, int] = {}
        for number in range(calls):
            script = Script(sync)
            script.filesystem.plan = FaultPlan(fault, number, forever=forever)
            error = _attempt(everything_once, script)
            script.filesystem.plan = None
            name = type(error).__name__ if error else "no_error"
            raised[name] = raised.get(name, 0) + 1
            try:
                if error is not None:
                    assert _is_typed(error, script), f"not typed: {error!r}"
                if script.is_open:
                    # What was acknowledged can still be read, and nothing else.
                    script.history.check_visible(read_state(script.engine))
                _check_after(script, number)
            except Exception as failure:
                failure.add_note(f"call number {number} of {calls} failed, and the workload with {error!r}")
                raise
    tell(record_property, failed_calls=calls, **raised)

"""Loss of power, and death of the process, after every single operation of workloads in all three sync modes.

Whatever the disk may hold then, opening it must give a prefix of the commit history that keeps what was
promised.
"""

import pytest

from support.crash_images import crash_images, torn_kills
from support.disk import Image
from support.faulty_filesystem import FaultyFileSystem
from support.recovery import MODES, CrashCheck, recover
from support.scale import scaled
from support.session import Script, small_limits
from support.telling import tell
from support.workloads import WORKLOADS, Workload, appends


def _record(workload: Workload, sync: str) -> Script:
    script = Script(sync)
    workload(script)
    script.filesystem.disk.check_maps()
    return script


@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_crash_leaves_a_prefix_that_keeps_all_promises(workload, sync, record_property):
    with small_limits():
        script = _record(workload, sync)
        disk = script.filesystem.disk
        check = CrashCheck(script.history)
        check.check_all(
            crash_images(disk.start, disk.operations, seed=1, each=2, chances=scaled(6)),
        )
    tell(record_property, crash_images=check.tried, distinct_ones=check.distinct)


@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize("workload", WORKLOADS)
def test_death_in_the_middle_of_a_store_is_a_prefix_too(workload, sync, record_property):
    with small_limits():
        script = _record(workload, sync)
        disk = script.filesystem.disk
        tried = 0
        for point, image in torn_kills(disk.start, disk.operations, seed=1):
            if tried % 4 == 0 or scaled(1) > 1:
                script.history.check(recover(image, MODES[tried % 3]), point, killed=True)
            tried += 1
    tell(record_property, torn_stores=tried)


@pytest.mark.parametrize("sync", MODES)
def test_a_new_store_is_there_with_all_directories_above_it(sync, record_property):
    """Nothing but the root is durable at first: what was promised is not lost with the store's own directory."""
    with small_limits():
        script = Script(sync, filesystem=FaultyFileSystem(Image(frozenset({"/"}))))
        appends(script)
        disk = script.filesystem.disk
        check = CrashCheck(script.history)
        check.check_all(crash_images(disk.start, disk.operations, seed=2, each=3, chances=1))
    tell(record_property, crash_images=check.tried)

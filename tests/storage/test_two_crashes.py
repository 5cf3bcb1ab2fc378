"""A crash, then another one: during recovery, or soon after it.

Recovery that is interrupted and run again must end in the same state. And the frames which the next life
writes where the last one lost its own, of the same size and at the same offsets, must never let the lost ones
come back.
"""

import random
from collections.abc import Sequence

import pytest

from support.crash_images import CrashImage, crash_images
from support.disk import Disk, Image
from support.faulty_filesystem import FaultyFileSystem
from support.history import History
from support.operations import Operation, Sync, SyncDirectory
from support.recovery import MODES, CrashCheck, recover
from support.scale import scaled
from support.session import Script, small_limits
from support.telling import tell
from support.workloads import Workload, lives, many_commits, rewriting, rolls_and_trims

FIRST_CRASHES = 8
KILLS = 12
SMALL, LARGE = 20, 600


def small_frames(script: Script) -> None:
    """Commits that all look alike: whatever is lost of them can be overwritten frame by frame."""
    _equal_commits(script, SMALL)


def large_frames(script: Script) -> None:
    """The same with frames and journal entries that are larger than a sector: one can be lost and the next kept."""
    _equal_commits(script, LARGE)


def _equal_commits(script: Script, size: int) -> None:
    script.open()
    script.commit(("create", "a"), ("create", "b"))
    script.close()
    script.open()
    for _ in range(3):
        _commit_to_all(script, size)
    script.append("a", size)


def _commit_to_all(script: Script, size: int) -> None:
    names = [stream.slug for stream in script.history.latest.streams.values()]
    script.commit(*[("append", name, size) for name in names], ("event",), wait=False)


def _second_life(script: Script, size: int) -> None:
    """Do again what `_equal_commits` did, with other contents."""
    for _ in range(2):
        _commit_to_all(script, size)
    if script.history.latest.streams:
        script.append(next(iter(script.history.latest.streams.values())).slug, size)
    script.check()


def _first_crashes(script: Script, count: int) -> list[tuple[CrashImage, Image]]:
    """Return images of losses of power, drawn from all of them but the ones that lost everything or nothing."""
    disk = script.filesystem.disk
    chance = random.Random(5)
    images = crash_images(disk.start, disk.operations, seed=2, each=2, chances=4)
    chosen: list[tuple[CrashImage, Image]] = []
    holes = (image for image in images if not image.killed and image.label != "nothing")
    for number, image in enumerate(holes):
        place = number if number < count else chance.randrange(number + 1)
        if place < count:
            chosen[place : place + 1] = [(image, image.build())]
    return chosen


@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize(
    ("workload", "size"),
    [(small_frames, SMALL), (large_frames, LARGE), (rolls_and_trims, SMALL), (rewriting, SMALL), (many_commits, SMALL)],
)
def test_a_second_crash_changes_nothing(workload: Workload, size, sync, record_property):
    with small_limits():
        script = Script(sync)
        workload(script)
        tried = 0
        for first, tree in _first_crashes(script, scaled(FIRST_CRASHES)):
            found = recover(tree, sync)
            script.history.check(found, first.point, killed=first.killed)
            second = Script(sync, filesystem=FaultyFileSystem(tree), history=History(found), tag="second-")
            second.open()
            _second_life(second, size)
            disk = second.filesystem.disk
            check = CrashCheck(second.history)
            check.check_all(crash_images(disk.start, disk.operations, seed=tried, each=1, chances=1))
            tried += check.tried
    tell(record_property, second_crash_images=tried)


def _last_moments(operations: Sequence[Operation], count: int) -> list[int]:
    """Return points just before something becomes durable: there a process that dies leaves most to the cache."""
    points = [point for point, operation in enumerate(operations) if isinstance(operation, Sync | SyncDirectory)]
    return random.Random(3).sample(points, min(count, len(points)))


@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize("workload", [small_frames, rolls_and_trims, rewriting, many_commits, lives])
def test_recovery_over_a_page_cache_and_then_a_loss_of_power(workload: Workload, sync, record_property):
    """The process dies, the next one recovers what the cache shows, and only then the power goes.

    Whatever recovery believed, and removed because of it, may never have reached the disk.
    """
    with small_limits():
        script = Script(sync)
        workload(script)
        recorded = script.filesystem.disk
        tried = 0
        for number, point in enumerate(_last_moments(recorded.operations, scaled(KILLS))):
            disk = Disk(recorded.start)
            disk.repeat(recorded.operations[:point])
            history = script.history.until(point)
            second = Script(sync, filesystem=FaultyFileSystem(disk), history=history, tag="second-")
            second.open()
            if number % 6 == 0:
                _second_life(second, SMALL)
            check = CrashCheck(history)
            check.check_all(crash_images(disk.start, disk.operations, seed=point, first=point, each=2, chances=1))
            tried += check.tried
    tell(record_property, second_crash_images=tried)

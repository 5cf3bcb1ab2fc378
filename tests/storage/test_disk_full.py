"""A full disk: `DiskFullError`, nothing acknowledged is lost, and all goes on once there is space again."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from msglog.errors import DiskFullError
from msglog.storage.filesystem import OSFileSystem
from support.children import HAS_FORK_SERVER, fork_server
from support.crash_images import crash_images
from support.filler import main as fill
from support.recovery import MODES, recover
from support.scale import TORTURE, scaled
from support.session import Script, small_limits
from support.telling import tell

BUDGET_STEP = round(1200 / TORTURE)
OWNER = "owner"
"""A file beside a mounted disk with the number of the process that uses it."""
MOUNT_BYTES = 1 << 20
PAGE = 4 << 10
HEADROOMS = 20
# With more there would be too little else on the disk for its removal to leave room for closing.
MOST_HEADROOMS = 120
TRIES_ON_A_FULL_DISK = 2


def _steps(script: Script) -> list[Callable[[], object]]:
    """The work of a small store, step by step: each can be tried again."""
    steps: list[Callable[[], object]] = [
        lambda: script.commit(("create", "a"), ("create", "b"), ("event",)),
        lambda: script.append("a", 300),
        lambda: script.commit(("append", "a", 300), ("append", "b", 300), ("event",)),
        lambda: script.append("a", 6000),
        script.flush,
    ]
    steps += [lambda: script.commit(("append", "a", 400), ("append", "b", 10), ("event",)) for _ in range(6)]
    steps += [
        lambda: script.rewrite("a"),
        lambda: script.commit(("trim", "a", 4)),
        lambda: script.append("b", 9000),
        script.flush,
        script.close,
    ]
    return steps


def _is_refused(step: Callable[[], object]) -> bool:
    """Do a step; return whether the disk was too full for it, and nothing of it was done."""
    try:
        step()
    except DiskFullError as error:
        return error.outcome == "not_applied"
    return False


def _size_of_all(sync) -> int:
    script = Script(sync)
    script.open()
    most = 0
    for step in _steps(script):
        step()
        most = max(most, sum(inode.size() for inode in script.filesystem.disk.names.values()))
    return most


@pytest.mark.parametrize("sync", MODES)
def test_nothing_is_lost_on_a_full_disk_and_work_goes_on(sync, record_property):
    tried = refused = 0
    with small_limits():
        size = _size_of_all(sync)
        for budget in range(0, size + BUDGET_STEP, BUDGET_STEP):
            tried += 1
            script = Script(sync)
            disk = script.filesystem.disk
            disk.budget = budget
            try:
                script.open()
            except DiskFullError:
                disk.budget = None
                script.open()
            for step in _steps(script):
                if _is_refused(step):
                    refused += 1
                    script.check()
                    disk.budget = None
                    for image in crash_images(
                        disk.start, disk.operations, seed=budget, first=script.moment, each=1, chances=1
                    ):
                        found = recover(image.build(), sync)
                        script.history.check(found, script.moment, killed=image.killed)
                    step()
            script.filesystem.kill()
            script.history.check(recover(disk.image(), sync), script.moment, killed=True)
    assert refused > 10
    tell(record_property, disk_sizes=tried, refusals=refused)


@pytest.mark.parametrize("sync", MODES)
def test_retrying_on_a_disk_that_stays_full_changes_nothing(sync):
    with small_limits():
        script = Script(sync)
        script.open()
        script.commit(("create", "a"))
        script.append("a", 20)
        disk = script.filesystem.disk
        disk.budget = 0
        for _ in range(30):
            with pytest.raises(DiskFullError):
                script.append("a", 6000)
        script.check()
        disk.budget = None
        script.append("a", 6000)
        script.close()
        script.open()
        script.check()


def _unmount_leftovers() -> None:
    """Free the memory of disks whose run was killed."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        kind, place = line.split()[:2]
        owner = Path(place).parent / OWNER
        if kind == "tmpfs" and owner.is_file() and not Path("/proc", owner.read_text()).exists():
            subprocess.run(["umount", "-l", place], check=False)


@pytest.fixture
def small_disk(tmp_path: Path):
    """A real file system of one mebibyte."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs Linux and root")
    place = tmp_path / "small"
    place.mkdir()
    _unmount_leftovers()
    place.with_name(OWNER).write_text(str(os.getpid()))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={MOUNT_BYTES}", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.skipif(not HAS_FORK_SERVER, reason="needs a fork server")
@pytest.mark.parametrize("sync", MODES)
def test_a_real_disk_that_is_full_a_page_earlier_each_time(small_disk: Path, sync, record_property):
    # In processes of their own, since a store into a map without space behind it would kill them.
    context = fork_server()
    tried = 0
    for pages in range(min(scaled(HEADROOMS), MOST_HEADROOMS)):
        place = small_disk / "run"
        place.mkdir()
        process = context.Process(target=fill, args=(str(place), sync, pages * PAGE))
        process.start()
        process.join()
        assert process.exitcode == 0, f"with {pages} pages left the process ended with {process.exitcode}"
        shutil.rmtree(place)
        tried += 1
    tell(record_property, full_disks=tried)


def test_a_lock_taken_on_a_full_disk_is_not_lost(small_disk: Path):
    """The pid may not fit any more: whether the lock is refused or given then, it must not stay taken for ever."""
    filesystem, path = OSFileSystem(), str(small_disk / "LOCK")
    filesystem.lock(path).release()
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    for _ in range(TRIES_ON_A_FULL_DISK):
        with contextlib.suppress(DiskFullError):
            filesystem.lock(path).release()
    ballast.unlink()
    filesystem.lock(path).release()


def test_disks_that_a_killed_run_left_are_unmounted(small_disk: Path, tmp_path: Path):
    left = tmp_path / "killed" / "small"
    left.mkdir(parents=True)
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    left.with_name(OWNER).write_text(str(process.pid))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(left)], check=True)
    try:
        _unmount_leftovers()
        assert not left.is_mount()
        assert small_disk.is_mount()
    finally:
        if left.is_mount():
            subprocess.run(["umount", "-l", str(left)], check=True)

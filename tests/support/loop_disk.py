"""A real file system in a file, on a loop device, and the loss of its power: needs root and Linux.

A power cut is the file system shut down as it is: what is in the page cache and in its journal's buffers is lost. Then
it is unmounted and mounted again, as after a boot.
"""

import fcntl
import gc
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

# _IOR('X', 125, __u32), EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN; the flag: do not write the journal out.
_SHUTDOWN = 0x8004587D
_WITHOUT_FLUSHING = 2
_MEGABYTES = {"ext4": 64, "xfs": 320}
_IN_MEMORY = Path("/dev/shm")


class LoopDisk:
    """One mounted image. `close` unmounts and removes it, whatever happened before."""

    def __init__(self, kind: str) -> None:
        _skip_without_means(kind)
        self._kind = kind
        self._folder = Path(tempfile.mkdtemp(prefix="msglog-disk-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None))
        self._image = self._folder / "image"
        self.place = self._folder / "mounted"
        self.place.mkdir()
        self._mounted = False
        try:
            with self._image.open("wb") as file:
                file.truncate(_MEGABYTES[kind] << 20)
            _run(f"mkfs.{kind}", "-q", str(self._image))
            self._mount()
        except BaseException:
            self.close()
            raise

    def _mount(self) -> None:
        done = _try("mount", "-t", self._kind, "-o", "loop", str(self._image), str(self.place))
        if done.returncode:
            pytest.skip(f"no {self._kind} can be mounted on a loop device here: {done.stderr.strip()}")
        self._mounted = True

    def _unmount(self) -> bool:
        """Unmount it; return whether it worked. Maps of this process that nobody needs any more go first."""
        gc.collect()
        self._mounted = _try("umount", str(self.place)).returncode != 0
        return not self._mounted

    def cut(self) -> None:
        """Cut the power: from now on every call on the file system fails."""
        descriptor = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_FLUSHING))
        finally:
            os.close(descriptor)

    def boot(self) -> None:
        """Mount it again. Nobody may have a file of it open."""
        if not self._unmount():
            raise AssertionError(f"somebody uses {self.place}")
        self._mount()

    def close(self) -> None:
        """Unmount, which frees the loop device, too, and remove everything."""
        if self._mounted and not self._unmount():
            _try("umount", "-l", str(self.place))
        shutil.rmtree(self._folder, ignore_errors=True)


def _skip_without_means(kind: str) -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("shutting a file system down needs Linux and root")
    if not Path("/dev/loop-control").exists():
        pytest.skip("there are no loop devices here")
    for tool in (f"mkfs.{kind}", "mount", "umount"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool} here")


def _try(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def _run(*command: str) -> None:
    done = _try(*command)
    if done.returncode:
        raise OSError(done.returncode, f"{' '.join(command)}: {done.stderr.strip()}")

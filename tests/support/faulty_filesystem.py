"""The file system seam over a recording disk, with faults on demand.

`FaultyFileSystem` is what one process sees of a `Disk`. `kill()` ends that process: its locks are free, its
handles are dead, and what it wrote stays in the page cache of the file system returned. A power cut is
another matter: take `disk.operations` to `crash_images`, and open a new file system on one of the images.

Several file systems may share one disk, as processes do.

Limits: failures follow the calls of the seam, so a store through a map never fails; every failed sync is
taken for the worst kind, the one after which pages count as clean.
"""

import os
from functools import lru_cache
from typing import Literal

from msglog.errors import DiskFullError, StoreLockedError
from support.disk import Disk, Image, Inode, Process, RecordedMap
from support.faults import FULL, Fault, FaultPlan
from support.operations import FailedSync, Sync, SyncDirectory

Call = Literal[
    "open", "create", "read", "map", "allocate", "write", "sync",
    "list", "rename", "unlink", "make_directory", "sync_directory", "lock",
]  # fmt: skip

_split = lru_cache(10_000)(os.path.split)
"""Folder and name of a path: a listing asks for those of all files."""


class FaultyFile:
    """One open handle on a file."""

    def __init__(self, filesystem: "FaultyFileSystem", path: str, inode: Inode, *, writable: bool) -> None:
        self.path = path
        self._filesystem = filesystem
        self._inode = inode
        self._writable = writable
        self._open = True

    def size(self) -> int:
        """Return the size in bytes."""
        self._check()
        return self._inode.size()

    def allocate(self, size: int) -> None:
        """Grow to `size` bytes, or raise `DiskFullError` and keep the size."""
        self._check(writing=True)
        missing = size - self._inode.size()
        self._filesystem.enter("allocate", self.path, requested=missing)
        if missing > self._filesystem.disk.free():
            raise _disk_full(self.path, missing)
        self._inode.grow(size)

    def map(self, size: int) -> RecordedMap:
        """Return a map; as of the operating system, one of a size above 0 and within the file."""
        self._check()
        self._filesystem.enter("map", self.path)
        if not 0 < size <= self._inode.size():
            raise ValueError(f"cannot map {size} of the {self._inode.size()} bytes of {self.path}")
        return self._inode.map(size, self._filesystem, writable=self._writable)

    def map_privately(self, size: int) -> bytearray:
        """Return a copy."""
        self._check()
        self._filesystem.enter("map", self.path)
        return bytearray(self._inode.read(0, size))

    def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes from `position`."""
        self._check()
        self._filesystem.enter("read", self.path)
        return self._inode.read(position, size)

    def write(self, position: int, data: bytes | bytearray | memoryview) -> None:
        """Write all of `data`; on a full disk as much as fits, and then raise `DiskFullError`."""
        self._check(writing=True)
        data = bytes(data)
        size = self._inode.size()
        fitting = max(0, size - position) + self._filesystem.disk.free()
        plan = self._filesystem.plan
        if plan is not None and plan.fault is Fault.SHORT_WRITE:
            if plan.strikes("write"):
                fitting = min(fitting, len(data) // 2)
        else:
            self._filesystem.enter("write", self.path, requested=len(data))
        written = data[:fitting]
        if written:
            self._inode.grow(position + len(written))
            self._inode.store(position, written)
        if len(written) < len(data):
            raise _disk_full(self.path, len(data))

    def begin_sync(self, _position: int, _size: int) -> None:
        """Do nothing that counts: what is not synced may be on the disk, or not, in any case."""
        self._check()

    def sync(self) -> None:
        """Record that contents and size are on the disk."""
        self._check()
        disk = self._filesystem.disk
        try:
            self._filesystem.enter("sync", self.path)
        except OSError:
            disk.record(FailedSync(self._inode.number))
            raise
        disk.record(Sync(self._inode.number))

    def close(self) -> None:
        """Give the handle back; maps stay usable."""
        self._open = False

    def _check(self, *, writing: bool = False) -> None:
        if not self._filesystem.alive:
            self._filesystem.check_alive()
        if not self._open or (writing and not self._writable):
            raise OSError(9, f"bad handle on {self.path}")


class FaultyLock:
    """A lock held on a path of a disk by a process."""

    def __init__(self, owners: dict[str, Process], path: str, owner: Process) -> None:
        self._owners = owners
        self._path = path
        self._owner = owner

    def release(self) -> None:
        """Let the lock go."""
        if self._owners.get(self._path) is self._owner:
            del self._owners[self._path]

    def is_current(self) -> bool:
        """Return whether the lock is still this process's."""
        return self._owners.get(self._path) is self._owner

    def abandon(self) -> None:
        """Forget the lock without unlocking."""


class FaultyFileSystem:
    """What one process sees of a disk. `plan` says which call fails; None: none does."""

    durable = True

    def __init__(self, disk: Disk | Image | None = None) -> None:
        self.disk = disk if isinstance(disk, Disk) else Disk(disk)
        self.plan: FaultPlan | None = None
        self.alive = True

    def kill(self) -> "FaultyFileSystem":
        """End the process that uses this file system; return what the next one finds."""
        self.check_alive()
        self.disk.check_maps()
        self.disk.end_process(self)
        self.alive = False
        return FaultyFileSystem(self.disk)

    def check_alive(self) -> None:
        """Refuse calls of a process that was killed."""
        if not self.alive:
            raise OSError(9, "this process was killed")

    def enter(self, call: Call, path: str, *, requested: int = 0) -> None:
        """Count a call, and raise what the plan has for it as the operating system's files would."""
        if not self.alive:
            self.check_alive()
        if self.plan is None or not self.plan.strikes(call):
            return
        fault = self.plan.fault
        if fault in FULL and call in ("create", "allocate", "write"):
            raise _disk_full(path, requested)
        raise OSError(fault.value, os.strerror(fault.value), path)

    def make_directory(self, path: str) -> None:
        """Create a directory and its parents, and sync their names; one that exists is fine."""
        self.check_alive()
        if path in self.disk.directories:
            return
        parent = os.path.dirname(path)
        self.make_directory(parent)
        self.enter("make_directory", path)
        self.disk.make_directory(path)
        self.sync_directory(parent)

    def list(self, path: str) -> dict[str, int]:
        """Return the files in a directory with their sizes."""
        self.enter("list", path)
        files = [(_split(name), inode) for name, inode in list(self.disk.names.items())]
        return {name: inode.size() for (folder, name), inode in files if folder == path}

    def open(self, path: str, *, create: bool = False, writable: bool = True) -> FaultyFile:
        """Open a file, or create it."""
        inode = self.disk.names.get(path)
        if inode is None and not create:
            raise FileNotFoundError(2, "no such file", path)
        self.enter("open" if inode else "create", path)
        return FaultyFile(self, path, inode or self.disk.create(path), writable=writable)

    def rename(self, source: str, destination: str) -> None:
        """Rename a file, replacing the destination."""
        if source not in self.disk.names:
            raise FileNotFoundError(2, "no such file", source)
        self.enter("rename", source)
        self.disk.rename(source, destination)

    def unlink(self, path: str) -> None:
        """Remove a name; one that is missing is fine."""
        self.enter("unlink", path)
        self.disk.unlink(path)

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory. Not an operation: a crash never brings one back."""
        self.check_alive()
        if self.list(path):
            raise OSError(39, "directory not empty", path)
        self.disk.directories.discard(path)

    def sync_directory(self, path: str) -> None:
        """Record that the names of a directory are on the disk."""
        if path not in self.disk.directories:
            raise FileNotFoundError(2, "no such directory", path)
        self.enter("sync_directory", path)
        self.disk.record(SyncDirectory(path))

    def identity(self, path: str) -> tuple[int, int]:
        """Return what tells this file from all others."""
        if path not in self.disk.names:
            raise FileNotFoundError(2, "no such file", path)
        return (id(self.disk), self.disk.names[path].number)

    def lock(self, path: str) -> FaultyLock:
        """Take the lock, creating its file."""
        self.enter("lock", path)
        if path not in self.disk.names:
            self.disk.create(path)
        owners = self.disk.lock_owners
        if path in owners:
            directory = os.path.dirname(path)
            raise StoreLockedError(f"{directory} is locked", path=directory, owner_pid=os.getpid())
        owners[path] = self
        return FaultyLock(owners, path, self)

    def lock_out_writers(self, path: str) -> FaultyLock:
        """Refuse while there is a writer; nothing is held."""
        if path in self.disk.lock_owners:
            directory = os.path.dirname(path)
            raise StoreLockedError(f"{directory} is locked", path=directory, owner_pid=os.getpid())
        return FaultyLock({}, path, self)

    def is_locked(self, path: str) -> bool:
        """Return whether the lock is held."""
        return path in self.disk.lock_owners


def _disk_full(path: str, requested: int) -> DiskFullError:
    return DiskFullError(f"no space left for {path}", path=path, requested=requested)

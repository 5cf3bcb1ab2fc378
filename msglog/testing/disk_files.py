"""Files in memory that lose what was not synced when the power fails: the file system of a simulated disk.

What is written is in the page cache until `sync` of the file, and a name until `sync_directory`. The end of the process
leaves the page cache, a power cut leaves only what was synced: of all that may happen to what was not, the loss of it
all. From the moment of a crash on, nothing that the dead process still does reaches the disk. Imported by `disk`.
"""

import errno
import itertools
import os
from typing import Any

from msglog.errors import StoreLockedError
from msglog.storage.filesystem import Map, MemoryFileSystem

_inodes = itertools.count(1)


class _Pages(bytearray):
    """The bytes of a file, which note what is stored to."""

    def __init__(self, size: int, disk: "DiskFiles", dirty: list[tuple[int, int]]) -> None:
        super().__init__(size)
        self._disk = disk
        self._dirty = dirty

    def __setitem__(self, place: Any, data: Any) -> None:
        if self._disk.crashed:
            return
        super().__setitem__(place, data)
        if isinstance(place, slice):
            start, stop, _ = place.indices(len(self))
            self._dirty.append((start, stop))


class DiskFile:
    """One file, for all who have it open."""

    def __init__(self, path: str, disk: "DiskFiles", data: bytes = b"") -> None:
        self.path = path
        self.inode = next(_inodes)
        self._disk = disk
        self._dirty: list[tuple[int, int]] = []
        self._synced = bytearray(data)
        self._pages = _Pages(len(data), disk, self._dirty)
        bytearray.__setitem__(self._pages, slice(0, len(data)), data)

    def size(self) -> int:
        """Return the size in bytes."""
        return len(self._pages)

    def allocate(self, size: int) -> None:
        """Grow to `size` bytes. Old maps stay readable, and no longer belong to the file."""
        before = self._pages
        if size > len(before) and not self._disk.crashed:
            grown = _Pages(size, self._disk, self._dirty)
            bytearray.__setitem__(grown, slice(0, len(before)), before)
            self._pages = grown

    def map(self, size: int) -> Map:
        """Return the bytes themselves: a store through them is a store into the file."""
        self.allocate(size)
        return self._pages

    def map_privately(self, size: int) -> Map:
        """Return a copy."""
        return bytearray(self._pages[:size])

    def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes from `position`."""
        return bytes(memoryview(self._pages)[position : position + size])

    def write(self, position: int, data: bytes | bytearray | memoryview) -> None:
        """Write `data` at `position`."""
        self.allocate(position + len(data))
        self._pages[position : position + len(data)] = data

    def begin_sync(self, position: int, size: int) -> None:
        """Do nothing: what is not synced is lost."""

    def sync(self) -> None:
        """Make contents and size outlive a power cut. Raises OSError once the process is dead."""
        self._disk.check_alive()
        synced = self._synced
        synced.extend(bytes(len(self._pages) - len(synced)))
        dirty = self._dirty[:]
        for start, stop in dirty:
            synced[start:stop] = self._pages[start:stop]
        del self._dirty[: len(dirty)]

    def close(self) -> None:
        """Do nothing: the file lives as long as its names and its maps."""

    def after(self, disk: "DiskFiles", *, power_loss: bool) -> "DiskFile":
        """Return what a crash leaves of it."""
        return DiskFile(self.path, disk, bytes(self._synced if power_loss else self._pages))


class DiskLock:
    """The lock of one store on a disk."""

    def __init__(self, locks: dict[str, "DiskLock"], path: str) -> None:
        self._locks = locks
        self._path = path
        locks[path] = self

    def release(self) -> None:
        """Let the lock go."""
        if self.is_current():
            del self._locks[self._path]

    def is_current(self) -> bool:
        """Return whether it is held."""
        return self._locks.get(self._path) is self

    def abandon(self) -> None:
        """Do nothing: a forked child has a copy of the disk."""


class DiskFiles(MemoryFileSystem):
    """What one process sees of a disk, up to a crash."""

    durable = True

    def __init__(self) -> None:
        super().__init__()
        self._names: dict[str, DiskFile] = {}
        self._synced_names: dict[str, DiskFile] = {}
        self._locks: dict[str, DiskLock] = {}
        self.crashed = False

    def check_alive(self) -> None:
        """Raise OSError once the process that used this is dead."""
        if self.crashed:
            raise OSError(errno.EIO, "the process was killed")

    def crash(self, *, power_loss: bool) -> "DiskFiles":
        """End the process, perhaps with the power, and return what the next one finds."""
        self.crashed = True  # first of all: from now on nothing reaches the disk
        found = DiskFiles()
        names = self._synced_names if power_loss else self._names
        for path, file in names.items():
            left = file.after(found, power_loss=power_loss)
            left.path = path
            found._names[path] = left
        found._synced_names = dict(found._names)
        return found

    def list(self, path: str) -> dict[str, int]:
        """Return the names directly below `path` with their sizes."""
        return {name[len(path) + 1 :]: file.size() for name, file in tuple(self._names.items()) if _is_in(name, path)}

    def open(self, path: str, *, create: bool = False, writable: bool = True) -> DiskFile:  # type: ignore[override]  # noqa: ARG002 the seam's
        """Open or create a file."""
        file = self._names.get(path)
        if file is None:
            if not create:
                raise FileNotFoundError(path)
            self.check_alive()
            file = self._names[path] = DiskFile(path, self)
        return file

    def rename(self, source: str, destination: str) -> None:
        """Rename a file."""
        self.check_alive()
        file = self._names.pop(source)
        file.path = destination
        self._names[destination] = file

    def unlink(self, path: str) -> None:
        """Forget a name; maps of the file stay readable."""
        if not self.crashed:
            self._names.pop(path, None)

    def sync_directory(self, path: str) -> None:
        """Make the names in a directory outlive a power cut. Raises OSError once the process is dead."""
        self.check_alive()
        kept = {name: file for name, file in self._synced_names.items() if not _is_in(name, path)}
        self._synced_names = kept | {name: file for name, file in self._names.items() if _is_in(name, path)}

    def identity(self, path: str) -> tuple[int, int]:
        """Return what tells this file from all others: no device has this number."""
        file = self._names.get(path)
        if file is None:
            raise FileNotFoundError(path)
        return (-1, file.inode)

    def lock(self, path: str) -> DiskLock:  # type: ignore[override]
        """Lock a store. Raises `StoreLockedError`."""
        self.open(path, create=True)
        self._check_unlocked(path)
        return DiskLock(self._locks, path)

    def lock_out_writers(self, path: str) -> DiskLock:  # type: ignore[override]
        """Keep writers away. Raises `StoreLockedError`."""
        self._check_unlocked(path)
        return DiskLock(self._locks, path)

    def is_locked(self, path: str) -> bool:
        """Return whether somebody holds the lock."""
        return path in self._locks

    def _check_unlocked(self, path: str) -> None:
        if path in self._locks:
            directory = path.rpartition("/")[0]
            raise StoreLockedError(f"the store {directory} is open", path=directory, owner_pid=os.getpid())


def _is_in(name: str, directory: str) -> bool:
    """Return whether a file lies in a directory itself."""
    return name.rpartition("/")[0] == directory

"""The interfaces of the seam. See the package's docstring for the rules behind them."""

import mmap
from typing import Protocol

Map = mmap.mmap | bytearray


class File(Protocol):
    """One open file."""

    path: str

    def size(self) -> int:
        """Return the file's size in bytes."""

    def allocate(self, size: int) -> None:
        """Grow the file to `size` bytes of zeros that are really on the disk. Raises `DiskFullError`."""

    def map(self, size: int) -> Map:
        """Return a shared map of the first `size` bytes, writable if the file is."""

    def map_privately(self, size: int) -> Map:
        """Return a map of the first `size` bytes that takes changes and keeps them from the file."""

    def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes from `position`; fewer only at the end of the file."""

    def write(self, position: int, data: bytes | bytearray | memoryview) -> None:
        """Write all of `data` at `position`, growing the file if need be."""

    def begin_sync(self, position: int, size: int) -> None:
        """Have the system begin to bring these bytes to the disk, and return at once. A hint: it promises nothing."""

    def sync(self) -> None:
        """Return once the file's contents and size are on the disk."""

    def close(self) -> None:
        """Give the descriptor back; maps stay usable."""


class ProcessLock(Protocol):
    """A lock that a process holds on a store until it lets go or ends."""

    def release(self) -> None:
        """Let the lock go."""

    def is_current(self) -> bool:
        """Return whether the locked file is still the one at its path: the directory may have been replaced."""

    def abandon(self) -> None:
        """In a forked child: forget the lock without unlocking the parent's."""


class FileSystem(Protocol):
    """What the engine asks of a directory tree."""

    durable: bool
    """Whether anything outlives the process: without it no journal, checkpoint or sync is worth its cost."""

    def make_directory(self, path: str) -> None:
        """Create the directory and its parents, for the owner only, and sync their names; one that exists is fine."""

    def list(self, path: str) -> dict[str, int]:
        """Return the files in a directory with their sizes; empty when it does not exist."""

    def open(self, path: str, *, create: bool = False, writable: bool = True) -> File:
        """Open a file; `create` makes it when it is missing. Raises FileNotFoundError."""

    def rename(self, source: str, destination: str) -> None:
        """Rename a file, replacing the destination."""

    def unlink(self, path: str) -> None:
        """Remove a name; one that is missing is fine."""

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory; one that is missing is fine."""

    def sync_directory(self, path: str) -> None:
        """Return once the names in the directory are on the disk."""

    def identity(self, path: str) -> tuple[int, int]:
        """Return what tells this file from all others, however it is called (device, inode)."""

    def lock(self, path: str) -> ProcessLock:
        """Lock a store for this process. Raises `StoreLockedError` with the owner's pid."""

    def lock_out_writers(self, path: str) -> ProcessLock:
        """Keep writers away without writing anything. Raises `StoreLockedError` when there is one.

        Where the file is missing nobody has ever written, and nothing is locked.
        """

    def is_locked(self, path: str) -> bool:
        """Return whether some process holds the lock."""

"""Files as far as the disk gives them back: what it refuses to read is zeros, block by block.

Zeros are damage like any other to all that reads a store, and nothing that a checksum covers can be made of them. So
what is read around a bad block is saved, in whatever file it is. A file that cannot be opened for that reason is a
missing one. Only reads are passed on: salvage writes nothing there. Imported by `salvage`.
"""

import errno
from typing import Final

from msglog.storage.filesystem import File, FileSystem, Map, ProcessLock

_BLOCK: Final = 4096


class ReadableFile:
    """One file, opened for reading."""

    def __init__(self, below: File) -> None:
        self._below = below
        self.path = below.path

    def size(self) -> int:
        """Return the file's size in bytes."""
        return self._below.size()

    def allocate(self, size: int) -> None:
        """Pass it on."""
        self._below.allocate(size)

    def map(self, size: int) -> Map:
        """Return a map of the first `size` bytes."""
        return self._below.map(size)

    def map_privately(self, size: int) -> Map:
        """Return a map that keeps changes from the file."""
        return self._below.map_privately(size)

    def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes; zeros for those that the disk does not read."""
        try:
            return self._below.read(position, size)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
        parts: list[bytes] = []
        end = min(position + size, self._below.size())
        while position < end:
            count = min(end - position, _BLOCK - position % _BLOCK)  # to the end of a block: whole ones are read
            try:
                part = self._below.read(position, count)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                part = b""
            parts.append(part.ljust(count, b"\0"))
            position += count
        return b"".join(parts)

    def write(self, position: int, data: bytes | bytearray | memoryview) -> None:
        """Pass it on."""
        self._below.write(position, data)

    def begin_sync(self, position: int, size: int) -> None:
        """Pass it on."""
        self._below.begin_sync(position, size)

    def sync(self) -> None:
        """Pass it on."""
        self._below.sync()

    def close(self) -> None:
        """Give the descriptor back."""
        self._below.close()


class ReadableFileSystem:
    """The tree below, with files of this kind."""

    durable = True

    def __init__(self, below: FileSystem) -> None:
        self._below = below

    def make_directory(self, path: str) -> None:
        """Pass it on."""
        self._below.make_directory(path)

    def list(self, path: str) -> dict[str, int]:
        """Return the files in a directory with their sizes."""
        return self._below.list(path)

    def open(self, path: str, *, create: bool = False, writable: bool = True) -> File:
        """Open a file."""
        try:
            return ReadableFile(self._below.open(path, create=create, writable=writable))
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise FileNotFoundError(errno.ENOENT, "cannot be read", path) from error

    def rename(self, source: str, destination: str) -> None:
        """Pass it on."""
        self._below.rename(source, destination)

    def unlink(self, path: str) -> None:
        """Pass it on."""
        self._below.unlink(path)

    def remove_directory(self, path: str) -> None:
        """Pass it on."""
        self._below.remove_directory(path)

    def sync_directory(self, path: str) -> None:
        """Pass it on."""
        self._below.sync_directory(path)

    def identity(self, path: str) -> tuple[int, int]:
        """Return what tells this file from others."""
        return self._below.identity(path)

    def lock(self, path: str) -> ProcessLock:
        """Pass it on."""
        return self._below.lock(path)

    def lock_out_writers(self, path: str) -> ProcessLock:
        """Keep writers away without writing anything."""
        return self._below.lock_out_writers(path)

    def is_locked(self, path: str) -> bool:
        """Return whether some process holds the lock."""
        return self._below.is_locked(path)

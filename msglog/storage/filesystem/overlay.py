"""Files as they are, with changes that stay in memory: what may be recovered without writing to it.

An overlay shows the tree of another file system. Whoever opens a store on it may write: what is changed is copied into
memory first, and the tree below never notices. So a store that must not be touched is opened by the same code as any
other. Nothing outlives the object. Not safe for several threads at once; memory follows what is changed. Imported by
those who look at stores without opening them (`msglog.store`, `msglog.salvaging`).
"""

import mmap
import os
from collections.abc import Callable
from typing import Final

from msglog.storage.filesystem.memory import MemoryLock
from msglog.storage.filesystem.seam import File, FileSystem, Map

_SMALL: Final = 1 << 20


class OverlayFile:
    """One file: the one below until something is written to it, from then on a private map of it.

    The file below is open only while it is needed: there may be more files than descriptors.
    """

    def __init__(self, path: str, open_below: Callable[[], File] | None) -> None:
        self.path = path
        self._open_below = open_below
        self._opened: File | None = None
        self._private: Map | None = None if open_below is not None else bytearray()
        self._size = 0
        if open_below is not None:
            self._opened = open_below()  # a file that is missing is told at once

    @property
    def _below(self) -> File | None:
        if self._opened is None and self._open_below is not None:
            self._opened = self._open_below()
        return self._opened

    def size(self) -> int:
        """Return the file's size in bytes."""
        if self._private is None and (below := self._below) is not None:
            return below.size()
        return self._size

    def allocate(self, size: int) -> None:
        """Grow to `size` bytes of zeros."""
        before = self.size()
        if size <= before:
            return
        grown = mmap.mmap(-1, size)  # pages take memory only once they are written
        grown[:before] = self.read(0, before)
        self._private = grown
        self._size = size
        self.close()

    def map(self, size: int) -> Map:
        """Return a map; what is written later may need a new one to be seen."""
        if self._private is None and (below := self._below) is not None:
            return below.map(size)
        return self._own()

    def map_privately(self, size: int) -> Map:
        """Return a copy."""
        return bytearray(self.read(0, size))

    def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes from `position`."""
        if self._private is None and (below := self._below) is not None:
            return below.read(position, size)
        return bytes(self._own()[position : min(position + size, self._size)])

    def write(self, position: int, data: bytes | bytearray | memoryview) -> None:
        """Write all of `data` at `position`, into memory."""
        if not data:
            return
        self.allocate(position + len(data))
        self._own()[position : position + len(data)] = data

    def begin_sync(self, position: int, size: int) -> None:
        """Do nothing, like `sync`."""

    def sync(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Close the file below; other handles are this same object, and open it again."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def _own(self) -> Map:
        """Return the map that takes the changes."""
        if self._private is None and (below := self._below) is not None:
            size = below.size()
            # A map may hold a descriptor for as long as it lives.
            small = size <= _SMALL
            self._private = bytearray(below.read(0, size)) if small else below.map_privately(size)
            self._size = size
            self.close()
        if self._private is None:
            raise AssertionError("a file without one below has a map of its own")
        return self._private


class OverlayFileSystem:
    """The tree of `below`, and what was changed of it here."""

    durable = False

    def __init__(self, below: FileSystem) -> None:
        self._below = below
        # None: a file that was removed here.
        self._changed: dict[str, OverlayFile | None] = {}

    def make_directory(self, path: str) -> None:
        """Do nothing: directories are only prefixes of names here."""

    def remove_directory(self, path: str) -> None:
        """Do nothing, as for making one."""

    def list(self, path: str) -> dict[str, int]:
        """Return the files in a directory with their sizes."""
        found = self._below.list(path)
        for name, file in self._changed.items():
            if os.path.dirname(name) == path:
                if file is None:
                    found.pop(os.path.basename(name), None)
                else:
                    found[os.path.basename(name)] = file.size()
        return found

    def open(self, path: str, *, create: bool = False, writable: bool = True) -> File:
        """Open a file. Read only, it is the one below unless it was opened for writing before."""
        changed = self._changed.get(path)
        if changed is not None:
            return changed
        if path in self._changed and not create:
            raise FileNotFoundError(path)
        if path not in self._changed:
            if not writable and not create:
                return self._below.open(path, writable=False)
            try:
                file = OverlayFile(path, lambda: self._below.open(path, writable=False))
            except FileNotFoundError:
                if not create:
                    raise
            else:
                self._changed[path] = file
                return file
        file = self._changed[path] = OverlayFile(path, None)
        return file

    def rename(self, source: str, destination: str) -> None:
        """Rename a file."""
        file = self.open(source)
        if not isinstance(file, OverlayFile):
            raise TypeError("a file opened for writing is of the overlay")
        file.path = destination
        self._changed[destination] = file
        self._changed[source] = None

    def unlink(self, path: str) -> None:
        """Hide a name."""
        self._changed[path] = None

    def sync_directory(self, path: str) -> None:
        """Do nothing."""

    def identity(self, path: str) -> tuple[int, int]:
        """Return what tells this file from others: as long as it is the one below, what that one has."""
        changed = self._changed.get(path)
        return (0, id(changed)) if changed is not None else self._below.identity(path)

    def lock(self, path: str) -> MemoryLock:
        """Return a lock at once: nobody else sees the changes."""
        self.open(path, create=True)
        return MemoryLock()

    def lock_out_writers(self, path: str) -> MemoryLock:  # noqa: ARG002 the seam's
        """Return a lock at once, as for writers."""
        return MemoryLock()

    def is_locked(self, path: str) -> bool:  # noqa: ARG002 the seam's
        """Return False."""
        return False

"""Files in memory: the store of `":memory:"`. Nothing outlives the object; syncs do nothing."""

import os

from msglog.storage.filesystem.seam import Map


class MemoryFile:
    """One file: a bytearray that is replaced by a larger one when it grows, so that old maps stay readable."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._data = bytearray()

    def size(self) -> int:
        """Return the size in bytes."""
        return len(self._data)

    def allocate(self, size: int) -> None:
        """Grow to `size` bytes."""
        if size > len(self._data):
            grown = bytearray(size)
            grown[: len(self._data)] = self._data
            self._data = grown

    def map(self, size: int) -> Map:
        """Return the bytes themselves: a store through them is a store into the file."""
        self.allocate(size)
        return self._data

    def map_privately(self, size: int) -> Map:
        """Return a copy."""
        return self._data[:size]

    def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes from `position`."""
        return bytes(memoryview(self._data)[position : position + size])

    def write(self, position: int, data: bytes | bytearray | memoryview) -> None:
        """Write `data` at `position`."""
        self.allocate(position + len(data))
        self._data[position : position + len(data)] = data

    def begin_sync(self, position: int, size: int) -> None:
        """Do nothing, like `sync`."""

    def sync(self) -> None:
        """Do nothing: memory has nowhere to sync to."""

    def close(self) -> None:
        """Do nothing: the file lives as long as its name or its maps."""


class MemoryLock:
    """The lock of a private store: nobody else can ask for it."""

    def release(self) -> None:
        """Do nothing."""

    def is_current(self) -> bool:
        """Return True: nobody else can replace the tree."""
        return True

    def abandon(self) -> None:
        """Do nothing."""


class MemoryFileSystem:
    """A directory tree in memory, private to one store."""

    durable = False

    def __init__(self) -> None:
        self._files: dict[str, MemoryFile] = {}

    def make_directory(self, path: str) -> None:
        """Do nothing: directories are only prefixes of names here."""

    def list(self, path: str) -> dict[str, int]:
        """Return the names directly below `path` with their sizes."""
        prefix = os.path.join(path, "")
        names = [name for name in self._files if name.startswith(prefix) and os.sep not in name[len(prefix) :]]
        return {name[len(prefix) :]: self._files[name].size() for name in names}

    def open(self, path: str, *, create: bool = False, writable: bool = True) -> MemoryFile:  # noqa: ARG002 the seam's
        """Open or create a file."""
        file = self._files.get(path)
        if file is None:
            if not create:
                raise FileNotFoundError(path)
            file = self._files[path] = MemoryFile(path)
        return file

    def rename(self, source: str, destination: str) -> None:
        """Rename a file."""
        file = self._files.pop(source)
        file.path = destination
        self._files[destination] = file

    def unlink(self, path: str) -> None:
        """Forget a name; maps of the file stay readable."""
        self._files.pop(path, None)

    def remove_directory(self, path: str) -> None:
        """Do nothing, as for making one."""

    def sync_directory(self, path: str) -> None:
        """Do nothing."""

    def identity(self, path: str) -> tuple[int, int]:
        """Return the identity of the object behind the name."""
        return (0, id(self._files[path]))

    def lock(self, path: str) -> MemoryLock:
        """Return a lock at once: the tree is private."""
        self.open(path, create=True)
        return MemoryLock()

    def lock_out_writers(self, path: str) -> MemoryLock:  # noqa: ARG002 the seam's
        """Return a lock at once: the tree is private."""
        return MemoryLock()

    def is_locked(self, path: str) -> bool:  # noqa: ARG002 the seam's
        """Return False: no other process can see the tree."""
        return False

"""A machine's file tree in memory, as its processes see it, with a list of all that was done to it.

The tree shows the page cache: everything written is visible at once. What of it is on the platter is not
decided here but by `crash_images`, from the recorded operations. An `Image` is a tree that is durable as a
whole, such as a disk holds after a crash.

Maps behave as on Linux: a store through any map or a write is seen at once by all maps and reads of the file.
Limits: changes through the buffer protocol are noticed in small maps only, and only before the next
operation; no hard links, no directory is ever removed, a file never shrinks.
"""

import itertools
import os
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, NoReturn, Protocol

from support.operations import Create, MakeDirectory, Operation, Rename, Resize, Store, Unlink

SMALL = 4096
WORD = 8
BLOCK = 32 * WORD


class Process(Protocol):
    """Who has maps: a process that may have ended."""

    def check_alive(self) -> None:
        """Raise OSError if the process ended."""


@dataclass(frozen=True)
class Image:
    """A durable tree: its directories, and the files with their contents by path."""

    directories: frozenset[str] = frozenset({"/", "/store"})
    files: Mapping[str, bytes] = field(default_factory=dict)


class Inode:
    """One file, whatever its names are. Contents stay the image's own bytes until something changes them."""

    __slots__ = ("_contents", "_disk", "_maps", "number")

    def __init__(self, disk: "Disk", number: int, contents: bytes = b"") -> None:
        self.number = number
        self._disk = disk
        self._contents: bytes | bytearray = contents
        self._maps: list[weakref.ref[RecordedMap]] = []

    def size(self) -> int:
        """Return the size in bytes."""
        return len(self._contents)

    def contents(self) -> bytes:
        """Return all bytes."""
        return bytes(self._contents)

    def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes from `position`."""
        contents = self._contents
        if isinstance(contents, bytes):
            return contents[position : position + size]
        return bytes(memoryview(contents)[position : position + size])

    def grow(self, size: int) -> None:
        """Grow to `size` bytes of zeros; a smaller size is no change."""
        with self._disk.lock:
            if size > len(self._contents):
                self._disk.record(Resize(self.number, size))
                self._own().extend(bytes(size - len(self._contents)))

    def store(self, position: int, data: bytes) -> None:
        """Change bytes inside of the file, in all maps of it too."""
        with self._disk.lock:
            end = position + len(data)
            if end > len(self._contents):
                raise AssertionError("a store beyond the end of the file")
            self._disk.record(Store(self.number, position, data))
            self._own()[position:end] = data
            for reference in self._maps:
                if (mapped := reference()) is not None:
                    mapped.show(position, data)

    def map(self, size: int, owner: "Process", *, writable: bool) -> "RecordedMap":
        """Return a map of the first `size` bytes, in a process."""
        with self._disk.lock:
            mapped = RecordedMap(memoryview(self._contents)[:size])
            mapped.attach(self, owner, writable=writable)
            self._maps = [reference for reference in self._maps if reference() is not None]
            self._maps.append(weakref.ref(mapped))
            if writable and size <= SMALL:
                self._disk.watch(mapped)
            return mapped

    def _own(self) -> bytearray:
        if not isinstance(self._contents, bytearray):
            self._contents = bytearray(self._contents)
        return self._contents

    def drop_maps(self, owner: "Process") -> None:
        """Part with the maps of a process that ended: they keep what they show."""
        self._maps = [ref for ref in self._maps if (mapped := ref()) is not None and mapped.owner is not owner]

    def notice(self, mapped: "RecordedMap") -> None:
        """Record what was changed in a map by other means than slice assignment, word by word."""
        for block in range(0, len(mapped), BLOCK):
            if mapped[block : block + BLOCK] == self._contents[block : min(block + BLOCK, len(mapped))]:
                continue
            for start in range(block, min(block + BLOCK, len(mapped)), WORD):
                word = bytes(memoryview(mapped)[start : start + WORD])
                if word != self._contents[start : start + WORD]:
                    self.store(start, word)

    def check_maps(self) -> None:
        """Fail when a map was changed behind the recording's back, through the buffer protocol."""
        for reference in self._maps:
            mapped = reference()
            if mapped is not None and not mapped.is_as_file():
                raise AssertionError("a map was changed other than by slice assignment")


class RecordedMap(bytearray):
    """A map of a file. Only `map[a:b] = data` of equal length changes it, and the disk records that.

    A writable one of at most `SMALL` bytes may also be changed through a memoryview: the disk notices that later.
    """

    __slots__ = ("__weakref__", "inode", "owner", "writable")

    def attach(self, inode: Inode, owner: "Process", *, writable: bool) -> None:
        """Tie the map to its file and to the process that has it."""
        self.inode = inode
        self.owner = owner
        self.writable = writable

    def is_as_file(self) -> bool:
        """Return whether it shows what the file holds: nothing was changed behind the recording's back."""
        return self.inode._contents.startswith(self)

    def show(self, position: int, data: bytes) -> None:
        """Let bytes that reached the file appear here."""
        data = data[: max(0, len(self) - position)]
        super().__setitem__(slice(position, position + len(data)), data)

    def __setitem__(self, where: Any, data: Any) -> None:
        self.owner.check_alive()
        if not self.writable:
            raise TypeError("the map is read-only")
        if not isinstance(where, slice):
            raise TypeError("only slices of a map may be assigned")
        start, stop, step = where.indices(len(self))
        data = bytes(data)
        if step != 1 or len(data) != max(0, stop - start):
            raise IndexError("the slice and the bytes stored into it differ in length")
        if data:
            self.inode.store(start, data)

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("a map has no such operation")

    __delitem__ = __iadd__ = __imul__ = _refuse
    append = extend = insert = pop = remove = reverse = clear = _refuse


class Disk:
    """The tree, its recording, and the space it has. `budget` is the sum of file sizes it can hold."""

    def __init__(self, image: Image | None = None, *, recording: bool = True) -> None:
        image = image or Image()
        self.lock = RLock()
        self.operations: list[Operation] = []
        self.budget: int | None = None
        self.lock_owners: dict[str, Process] = {}
        self.start = image
        self.directories = set(image.directories)
        self.names: dict[str, Inode] = {}
        self._numbers = itertools.count(1)
        self._watched: list[weakref.ref[RecordedMap]] = []
        self._recording = recording
        for path, contents in image.files.items():
            self.names[path] = Inode(self, next(self._numbers), contents)

    def record(self, operation: Operation) -> None:
        """Write an operation down, behind what happened in small maps before it."""
        if self._watched:
            self.notice()
        if self._recording:
            self.operations.append(operation)

    def watch(self, mapped: RecordedMap) -> None:
        """Look at this map before each operation."""
        self._watched.append(weakref.ref(mapped))

    def notice(self) -> None:
        """Record what was done to small maps without telling."""
        watched, self._watched = self._watched, []
        gone = False
        for reference in watched:
            mapped = reference()
            if mapped is None:
                gone = True
            elif not mapped.is_as_file():
                mapped.inode.notice(mapped)
        self._watched = [reference for reference in watched if reference() is not None] if gone else watched

    def end_process(self, process: "Process") -> None:
        """Free the locks of a process that ended, and let its maps have no effect any more."""
        self.notice()
        self.lock_owners = {path: owner for path, owner in self.lock_owners.items() if owner is not process}
        self._watched = [ref for ref in self._watched if (mapped := ref()) and mapped.owner is not process]
        for inode in self.names.values():
            inode.drop_maps(process)

    def free(self) -> int:
        """Return how many bytes files may still grow by."""
        if self.budget is None:
            return 1 << 62
        return max(0, self.budget - sum(inode.size() for inode in self.names.values()))

    def make_directory(self, path: str) -> None:
        """Create a directory in one that exists."""
        if os.path.dirname(path) not in self.directories:
            raise FileNotFoundError(path)
        self.record(MakeDirectory(path))
        self.directories.add(path)

    def create(self, path: str) -> Inode:
        """Create an empty file."""
        if os.path.dirname(path) not in self.directories:
            raise FileNotFoundError(path)
        inode = Inode(self, next(self._numbers))
        self.record(Create(path, inode.number))
        self.names[path] = inode
        return inode

    def rename(self, source: str, destination: str) -> None:
        """Give a file another name."""
        if os.path.dirname(destination) not in self.directories:
            raise FileNotFoundError(destination)
        inode = self.names[source]
        self.record(Rename(source, destination, inode.number))
        del self.names[source]
        self.names[destination] = inode

    def unlink(self, path: str) -> None:
        """Remove a name, if it is there."""
        if path in self.names:
            self.record(Unlink(path, self.names.pop(path).number))

    def repeat(self, operations: Iterable[Operation]) -> None:
        """Do recorded operations again, on the image that their recording started from."""
        inodes = {inode.number: inode for inode in self.names.values()}
        for operation in operations:
            match operation:
                case MakeDirectory(path):
                    self.make_directory(path)
                case Create(path, number):
                    inodes[number] = self.create(path)
                case Rename(source, destination, _):
                    self.rename(source, destination)
                case Unlink(path, _):
                    self.unlink(path)
                case Resize(number, size):
                    inodes[number].grow(size)
                case Store(number, position, data):
                    inodes[number].store(position, data)
                case _:
                    self.record(operation)

    def image(self) -> Image:
        """Return the tree as it looks now, as if all of it were durable."""
        return Image(frozenset(self.directories), {path: inode.contents() for path, inode in self.names.items()})

    def check_maps(self) -> None:
        """Fail when some map was changed behind the recording's back."""
        self.notice()
        for inode in self.names.values():
            inode.check_maps()

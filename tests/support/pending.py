"""What of a disk is durable after some recorded operations, and what is still open: contents, sizes, names.

`Pending` follows the operations one by one. Contents are kept by page: a page that was stored to has versions, one for
each store since it was last durable, and one for each store cut in the middle. Names are kept as the operations that no
directory sync covers yet. `crash_images` chooses among all that is open, and says what the choices are.
"""

import os
import zlib
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from support.disk import Image
from support.operations import (
    Create,
    FailedSync,
    MakeDirectory,
    NameOperation,
    Operation,
    Rename,
    Resize,
    Store,
    Sync,
    SyncDirectory,
    Unlink,
)

PAGE = 4096
_PATHS = 10_000
"""Of so many paths it is remembered what is above them."""


@dataclass(frozen=True)
class Recipe:
    """How to make the contents of a file: the durable ones, and blocks that came to them."""

    durable: bytes | bytearray
    size: int
    patches: Sequence[tuple[int, bytes]]

    def make(self) -> bytes:
        """Make them."""
        if not self.patches and len(self.durable) == self.size:
            return bytes(self.durable)
        contents = bytearray(self.durable)
        contents.extend(bytes(max(0, self.size - len(contents))))
        for start, block in self.patches:
            contents[start : start + len(block)] = block
        return bytes(memoryview(contents)[: self.size])


@dataclass(frozen=True)
class ContentChoice:
    """Of one file: which growth (None: none) and which blocks (page, offset, length, version) happened."""

    size: int | None
    blocks: Sequence[tuple[int, int, int, int]]


class Contents:
    """One file: what is durable, what the cache shows, and what its dirty pages showed in between."""

    def __init__(self, durable: bytes, size: int = 0) -> None:
        self.cache = bytearray(durable)
        self.versions: dict[int, list[bytes]] = {}
        self.sizes: list[int] = []
        self._durable: bytes | bytearray = durable
        self._durable_size = size or len(durable)
        self._called_clean: set[int] = set()
        self._epoch = 0
        # Blocks that are not durable as they are, by their size: as long as nothing changes, they are the same.
        self._changed: dict[int, list[tuple[int, int, int]]] = {}

    def resize(self, size: int) -> None:
        """Grow in the cache."""
        self.sizes.append(size)
        self.cache.extend(bytes(size - len(self.cache)))

    def store(self, position: int, data: bytes) -> None:
        """Change bytes in the cache; what changes nothing leaves no version."""
        if self.cache[position : position + len(data)] == data and not self._called_clean:
            return
        self._changed.clear()
        cut = zlib.crc32(data) % len(data)
        for part in (data[:cut], data) if cut else (data,):
            self.cache[position : position + len(part)] = part
            for page in _pages(position, len(part)):
                self.versions.setdefault(page, []).append(bytes(self.cache[page * PAGE : (page + 1) * PAGE]))
        self._called_clean.difference_update(_pages(position, len(data)))

    def sync(self) -> None:
        """Make size and pages durable, but for pages that count as clean since a failed sync."""
        if self.sizes:
            self._durable_size = self.sizes[-1]
            self.sizes.clear()
        written = self.versions.keys() - self._called_clean
        if not written:
            return
        self._changed.clear()
        durable = bytearray(self._durable)
        durable.extend(bytes(max(0, self._durable_size - len(durable))))
        for page in written:
            last = self.versions.pop(page)[-1]
            durable[page * PAGE : page * PAGE + len(last)] = last
        self._durable = bytes(durable)
        self._epoch += 1

    def fail_sync(self) -> None:
        """Count all pages as clean: whether they are durable stays open."""
        self._called_clean.update(self.versions)

    def changed_blocks(self, size: int) -> list[tuple[int, int, int]]:
        """Return (page, offset in it, versions) of the blocks that are not durable as they are."""
        if size not in self._changed:
            self._changed[size] = list(self._look_for_changed(size))
        return self._changed[size]

    def _look_for_changed(self, size: int) -> Iterator[tuple[int, int, int]]:
        for page, versions in self.versions.items():
            durable = self._durable[page * PAGE : (page + 1) * PAGE].ljust(PAGE, b"\0")
            for offset in range(0, PAGE, size):
                block = durable[offset : offset + size]
                if any(version[offset : offset + size].ljust(size, b"\0") != block for version in versions):
                    yield page, offset, len(versions)

    def image(self, choice: ContentChoice) -> tuple[Hashable, Recipe]:
        """Return an identity of the contents chosen and how to make them."""
        size = self.sizes[choice.size] if choice.size is not None and self.sizes else self._durable_size
        patches = []
        for page, offset, length, version in choice.blocks:
            start = page * PAGE + offset
            block = self.versions[page][version][offset : offset + length]
            if start < size and block != self._durable[start : start + length].ljust(len(block), b"\0"):
                patches.append((start, block))
        key = (self._epoch, size, frozenset(patches))
        return key, Recipe(self._durable, size, patches)


class Names:
    """The durable names, and the operations on names not synced yet, in order."""

    def __init__(self, directories: Iterable[str], files: Mapping[str, int]) -> None:
        self.pending: list[NameOperation] = []
        self._directories = set(directories)
        self._files = dict(files)

    def sync(self, directory: str) -> None:
        """Make durable what happened in a directory, and before it to the same names."""
        names: set[str] = set()
        durable: list[NameOperation] = []
        waiting: list[NameOperation] = []
        for operation in reversed(self.pending):
            touched = _names_of(operation)
            if any(_directory_of(name) == directory for name in touched) or not names.isdisjoint(touched):
                names.update(touched)
                durable.append(operation)
            else:
                waiting.append(operation)
        self.pending = waiting[::-1]
        for operation in reversed(durable):
            _apply(operation, self._directories, self._files)

    def image(self, kept: Iterable[int]) -> tuple[frozenset[str], dict[str, int]]:
        """Return the directories and names with these of the pending operations done."""
        directories, files = set(self._directories), dict(self._files)
        for place in sorted(kept):
            _apply(self.pending[place], directories, files)
        reachable = {path for path in directories if directories.issuperset(_parents(path))}
        return frozenset(reachable), {path: file for path, file in files.items() if _directory_of(path) in reachable}


@dataclass
class Pending:
    """The contents by inode, the names, which file was stored to last, and how many operations were followed."""

    contents: dict[int, Contents]
    names: Names
    last_stored: int = 0
    followed: int = 0

    @classmethod
    def of(cls, start: Image) -> "Pending":
        """Return what is open on a durable tree: nothing."""
        numbers = {path: number for number, path in enumerate(start.files, 1)}
        contents = {numbers[path]: Contents(data) for path, data in start.files.items()}
        return cls(contents, Names(start.directories, numbers))

    def apply(self, operation: Operation) -> None:
        """Follow one more operation."""
        self.followed += 1
        match operation:
            case Store(inode, position, data):
                self.contents[inode].store(position, data)
                self.last_stored = inode
            case Resize(inode, size):
                self.contents[inode].resize(size)
            case Sync(inode):
                self.contents[inode].sync()
            case FailedSync(inode):
                self.contents[inode].fail_sync()
            case SyncDirectory(path):
                self.names.sync(path)
            case _:
                if isinstance(operation, Create):
                    self.contents[operation.inode] = Contents(b"")
                self.names.pending.append(operation)

    def current_names(self) -> dict[str, int]:
        """Return the files' inodes by name, as the cache shows them."""
        return self.names.image(range(len(self.names.pending)))[1]


def _pages(position: int, size: int) -> range:
    return range(position // PAGE, (position + size - 1) // PAGE + 1)


@lru_cache(_PATHS)
def _directory_of(path: str) -> str:
    return os.path.dirname(path)


@lru_cache(_PATHS)
def _parents(path: str) -> tuple[str, ...]:
    parent = _directory_of(path)
    return () if parent == path else (parent, *_parents(parent))


def _names_of(operation: NameOperation) -> tuple[str, ...]:
    if isinstance(operation, Rename):
        return (operation.source, operation.destination)
    return (operation.path,)


def _apply(operation: NameOperation, directories: set[str], files: dict[str, int]) -> None:
    match operation:
        case MakeDirectory(path):
            directories.add(path)
        case Create(path, inode):
            files[path] = inode
        case Rename(source, destination, inode):
            files.pop(source, None)
            files[destination] = inode
        case Unlink(path, _):
            files.pop(path, None)

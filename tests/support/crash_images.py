"""What a disk may hold after a crash: trees made from the recorded operations of a `Disk`.

A crash point is a number of operations that were done. For each point there are many images, since whatever
was not synced by then may or may not have reached the disk, in any order:

- contents: a block (512 bytes or 4 KiB) of a page that was stored to since the file's last sync holds what it
  held at that sync, or what it held after any store since; a store cut in the middle counts as one, too;
- sizes: growth since the file's last sync happened in full, in part, or not at all;
- names: a file or directory made, renamed or unlinked since its directory's last sync may be so or not. A
  rename is atomic: it is durable with the first sync of either directory.

After a failed sync each page that was dirty stays open to all of this for ever, until it is stored to again
and that is synced.

Limits: blocks do not tear at less than a store's own cuts; a file whose name was lost is lost; the sync of a
file says nothing about its name (real systems are kinder).
"""

import os
import random
import zlib
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

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
SECTOR = 512

_Block = tuple[int, int, int, int, int]
"""Inode, page, offset in the page, length, version."""


class _Contents:
    """One file: what is durable, what the cache shows, and what its dirty pages showed in between."""

    def __init__(self, durable: bytes, size: int = 0) -> None:
        self.cache = bytearray(durable)
        self.versions: dict[int, list[bytes]] = {}
        self.sizes: list[int] = []
        self._durable: bytes | bytearray = durable
        self._durable_size = size or len(durable)
        self._called_clean: set[int] = set()
        self._epoch = 0

    def resize(self, size: int) -> None:
        self.sizes.append(size)
        self.cache.extend(bytes(size - len(self.cache)))

    def store(self, position: int, data: bytes) -> None:
        if self.cache[position : position + len(data)] == data and not self._called_clean:
            return
        cut = zlib.crc32(data) % len(data)
        for part in (data[:cut], data) if cut else (data,):
            self.cache[position : position + len(part)] = part
            for page in _pages(position, len(part)):
                self.versions.setdefault(page, []).append(bytes(self.cache[page * PAGE : (page + 1) * PAGE]))
        self._called_clean.difference_update(_pages(position, len(data)))

    def sync(self) -> None:
        if self.sizes:
            self._durable_size = self.sizes[-1]
            self.sizes.clear()
        written = self.versions.keys() - self._called_clean
        if not written:
            return
        durable = bytearray(self._durable)
        durable.extend(bytes(max(0, self._durable_size - len(durable))))
        for page in written:
            last = self.versions.pop(page)[-1]
            durable[page * PAGE : page * PAGE + len(last)] = last
        self._durable = bytes(durable)
        self._epoch += 1

    def fail_sync(self) -> None:
        self._called_clean.update(self.versions)

    def changed_blocks(self, size: int) -> Iterator[tuple[int, int, int]]:
        """Yield (page, offset in it, versions) of the blocks that are not durable as they are."""
        for page, versions in self.versions.items():
            durable = self._durable[page * PAGE : (page + 1) * PAGE].ljust(PAGE, b"\0")
            for offset in range(0, PAGE, size):
                block = durable[offset : offset + size]
                if any(version[offset : offset + size].ljust(size, b"\0") != block for version in versions):
                    yield page, offset, len(versions)

    def image(self, choice: "_ContentChoice") -> tuple[Hashable, "_Recipe"]:
        """Return an identity of the contents chosen and how to make them."""
        size = self.sizes[choice.size] if choice.size is not None and self.sizes else self._durable_size
        patches = []
        for page, offset, length, version in choice.blocks:
            start = page * PAGE + offset
            block = self.versions[page][version][offset : offset + length]
            if start < size and block != self._durable[start : start + length].ljust(len(block), b"\0"):
                patches.append((start, block))
        key = (self._epoch, size, frozenset(patches))
        return key, _Recipe(self._durable, size, patches)


@dataclass(frozen=True)
class _Recipe:
    durable: bytes | bytearray
    size: int
    patches: Sequence[tuple[int, bytes]]

    def make(self) -> bytes:
        if not self.patches and len(self.durable) == self.size:
            return bytes(self.durable)
        contents = bytearray(self.durable)
        contents.extend(bytes(max(0, self.size - len(contents))))
        for start, block in self.patches:
            contents[start : start + len(block)] = block
        return bytes(memoryview(contents)[: self.size])


@dataclass(frozen=True)
class _ContentChoice:
    """Of one file: which growth (None: none) and which blocks (page, offset, length, version) happened."""

    size: int | None
    blocks: Sequence[tuple[int, int, int, int]]


class _Names:
    """The durable names, and the operations on names not synced yet, in order."""

    def __init__(self, image: Image) -> None:
        self.pending: list[NameOperation] = []
        self._directories = set(image.directories)
        self._files: dict[str, int] = {}

    def sync(self, directory: str) -> None:
        """Make durable what happened in a directory, and before it to the same names."""
        names: set[str] = set()
        durable: list[NameOperation] = []
        waiting: list[NameOperation] = []
        for operation in reversed(self.pending):
            touched = _names_of(operation)
            if any(os.path.dirname(name) == directory for name in touched) or not names.isdisjoint(touched):
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
        reachable = {path for path in directories if all(parent in directories for parent in _parents(path))}
        return frozenset(reachable), {path: file for path, file in files.items() if os.path.dirname(path) in reachable}


class CrashImage:
    """One thing a disk may hold. Valid until the iterator that made it goes on.

    `point` operations were done; `label` says how the image was chosen; equal keys mean equal trees. `killed`
    is True where everything done was kept, as after the death of the process alone.
    """

    def __init__(
        self,
        point: int,
        label: str,
        directories: frozenset[str],
        files: Mapping[str, tuple[Hashable, _Recipe]],
        *,
        killed: bool,
    ) -> None:
        self.point = point
        self.label = label
        self.killed = killed
        self.key: Hashable = (directories, frozenset((path, key) for path, (key, _) in files.items()))
        self._directories = directories
        self._files = files

    def __repr__(self) -> str:
        return f"<CrashImage after {self.point} operations, {self.label}>"

    def build(self) -> Image:
        """Make the tree."""
        return Image(self._directories, {path: recipe.make() for path, (_, recipe) in self._files.items()})


@dataclass
class _Tracker:
    """The state of the disk's contents and names after some operations."""

    contents: dict[int, _Contents] = field(default_factory=dict)
    names: _Names = field(default_factory=lambda: _Names(Image()))
    last_stored: int = 0

    @classmethod
    def of(cls, start: Image) -> "_Tracker":
        tracker = cls(names=_Names(start))
        for inode, (path, contents) in enumerate(start.files.items(), 1):
            tracker.contents[inode] = _Contents(contents)
            tracker.names._files[path] = inode
        return tracker

    def apply(self, operation: Operation) -> None:
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
                    self.contents[operation.inode] = _Contents(b"")
                self.names.pending.append(operation)


class _Chooser:
    """Makes the images of one crash point."""

    def __init__(self, tracker: _Tracker, point: int, chance: random.Random) -> None:
        self._tracker = tracker
        self._point = point
        self._chance = chance
        self._all_names = range(len(tracker.names.pending))
        self._blocks: dict[int, list[_Block]] = {}

    def everything(self) -> CrashImage:
        return self._image("everything", self._all_names, 1.0, self._last_blocks(PAGE), killed=True)

    def systematic(self, limit: int) -> Iterator[CrashImage]:
        """Yield the images that are not left to chance, at most `limit` of those made block by block."""
        blocks = self._last_blocks(SECTOR)
        names = self._all_names
        yield self._image("nothing", [], 0.0, [])
        if blocks:
            yield self._image("names and sizes only", names, 1.0, [])
            yield self._image("contents and sizes only", [], 1.0, blocks)
            yield self._image("only the file stored to last", names, 1.0, self._of_last_file(blocks))
            yield self._image("all but the file stored to last", names, 1.0, self._but_last_file(blocks))
            yield self._image("the second half, without the first", names, 1.0, blocks[len(blocks) // 2 :])
        if any(contents.sizes for contents in self._tracker.contents.values()):
            yield self._image("all but sizes", names, 0.0, blocks)
        for place in self._some(range(len(blocks)), limit):
            yield self._image(f"all but block {place}", names, 1.0, blocks[:place] + blocks[place + 1 :])
            yield self._image(f"only block {place}", names, 1.0, [blocks[place]])
        for place in self._some(names, limit):
            kept = [name for name in names if name != place]
            yield self._image(f"all but the change of a name {place}", kept, 1.0, blocks)
            yield self._image(f"only the change of a name {place}", [place], 1.0, blocks)
        for count in self._some(range(1, len(names)), limit):
            yield self._image(f"the first {count} changes of names", range(count), 1.0, blocks)

    def random(self) -> CrashImage:
        chance = self._chance
        names: Sequence[int] = self._all_names
        match chance.randrange(3):
            case 0:
                names = range(chance.randint(0, len(names)))
            case 1:
                names = [name for name in names if chance.random() < 0.5]
        size = chance.choice((SECTOR, PAGE))
        share = chance.choice((0.1, 0.5, 0.9))
        stale = chance.choice((0.0, 0.5))
        blocks = [block for block in self._last_blocks(size) if chance.random() < share]
        blocks = [self._older(block) if chance.random() < stale else block for block in blocks]
        return self._image("chance", names, chance.choice((0.0, 0.5, 1.0, 1.0)), blocks)

    def _last_blocks(self, size: int) -> list[_Block]:
        """Return the blocks that may or may not have been written, each as it was stored last."""
        if size not in self._blocks:
            self._blocks[size] = [
                (inode, page, offset, size, versions - 1)
                for inode, contents in self._tracker.contents.items()
                for page, offset, versions in contents.changed_blocks(size)
            ]
        return self._blocks[size]

    def _older(self, block: _Block) -> _Block:
        return (*block[:4], self._chance.randint(0, block[4]))

    def _of_last_file(self, blocks: Iterable[_Block]) -> list[_Block]:
        return [block for block in blocks if block[0] == self._tracker.last_stored]

    def _but_last_file(self, blocks: Iterable[_Block]) -> list[_Block]:
        return [block for block in blocks if block[0] != self._tracker.last_stored]

    def _some(self, places: range, limit: int) -> Sequence[int]:
        return places if len(places) <= limit else self._chance.sample(places, limit)

    def _image(
        self,
        label: str,
        names: Iterable[int],
        grown: float,
        blocks: Iterable[_Block],
        *,
        killed: bool = False,
    ) -> CrashImage:
        """`grown` is the chance of each file to have its new size: with 1 in full, else perhaps in part."""
        chosen: dict[int, list[tuple[int, int, int, int]]] = {}
        for inode, page, offset, length, version in blocks:
            chosen.setdefault(inode, []).append((page, offset, length, version))
        directories, files = self._tracker.names.image(names)
        made = {}
        for path, inode in files.items():
            contents = self._tracker.contents[inode]
            size = None
            if contents.sizes and grown > 0 and (grown >= 1 or self._chance.random() < grown):
                size = len(contents.sizes) - 1 if grown >= 1 else self._chance.randrange(len(contents.sizes))
            key, recipe = contents.image(_ContentChoice(size, chosen.get(inode, ())))
            made[path] = ((inode, key), recipe)
        return CrashImage(self._point, label, directories, made, killed=killed)


def crash_images(
    start: Image,
    operations: Sequence[Operation],
    *,
    seed: int,
    first: int = 0,
    each: int = 4,
    chances: int = 4,
) -> Iterator[CrashImage]:
    """Yield images of every crash point from `first` on: the systematic ones and `chances` random ones.

    `each` bounds the systematic ones made block by block or name by name; where there are more, some are
    drawn.
    """
    tracker = _Tracker.of(start)
    chance = random.Random(seed)
    for point in range(len(operations) + 1):
        if point >= first:
            chooser = _Chooser(tracker, point, chance)
            yield chooser.everything()
            yield from chooser.systematic(each)
            for _ in range(chances):
                yield chooser.random()
        if point < len(operations):
            tracker.apply(operations[point])


def torn_kills(start: Image, operations: Sequence[Operation], *, seed: int) -> Iterator[tuple[int, Image]]:
    """Yield (point, tree) of processes that died in the middle of the store after `point` operations."""
    tracker = _Tracker.of(start)
    chance = random.Random(seed)
    for point, operation in enumerate(operations):
        if isinstance(operation, Store) and len(operation.data) > 1:
            whole = _Chooser(tracker, point, chance).everything().build()
            paths = [path for path, inode in _current_names(tracker).items() if inode == operation.inode]
            for cut in {1, len(operation.data) - 1, chance.randrange(1, len(operation.data))}:
                files = dict(whole.files)
                for path in paths:
                    contents = bytearray(files[path])
                    contents[operation.position : operation.position + cut] = operation.data[:cut]
                    files[path] = bytes(contents)
                yield point, Image(whole.directories, files)
        tracker.apply(operation)


def _current_names(tracker: _Tracker) -> dict[str, int]:
    return tracker.names.image(range(len(tracker.names.pending)))[1]


def _pages(position: int, size: int) -> range:
    return range(position // PAGE, (position + size - 1) // PAGE + 1)


def _parents(path: str) -> Iterator[str]:
    while (parent := os.path.dirname(path)) != path:
        yield parent
        path = parent


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

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

import hashlib
import random
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial

from support.disk import Image
from support.operations import Operation, Store
from support.pending import PAGE, ContentChoice, Pending, Recipe

SECTOR = 512

_Block = tuple[int, int, int, int, int]
"""Inode, page, offset in the page, length, version."""

_Files = Mapping[str, tuple[Hashable, Recipe]]
"""By path: an identity of the contents, and how to make them."""

_Tree = tuple[frozenset[str], _Files]
"""Directories and files."""

_Digests = dict[Hashable, bytes]
"""Digests of contents that were made, by the identities of how."""


class CrashImage:
    """One thing a disk may hold. Valid until the iterator that made it goes on.

    `point` operations were done; `label` says how the image was chosen. `killed` is True where everything done was
    kept, as after the death of the process alone. What it holds is only worked out when it is asked for: some tests
    pass over most images.
    """

    def __init__(self, point: int, label: str, choose: Callable[[], _Tree], digests: _Digests, *, killed: bool) -> None:
        self.point = point
        self.label = label
        self.killed = killed
        self._choose = choose
        self._digests = digests

    def __repr__(self) -> str:
        return f"<CrashImage after {self.point} operations, {self.label}>"

    @property
    def key(self) -> Hashable:
        """What equal trees have in common, and no others."""
        directories, files = self._tree
        return (directories, frozenset((path, self._digest(*made)) for path, made in files.items()))

    @cached_property
    def _tree(self) -> _Tree:
        return self._choose()

    def _digest(self, identity: Hashable, recipe: Recipe) -> bytes:
        digest = self._digests.get(identity)
        if digest is None:
            digest = self._digests[identity] = hashlib.blake2b(recipe.make(), digest_size=16).digest()
        return digest

    def build(self) -> Image:
        """Make the tree."""
        directories, files = self._tree
        return Image(directories, {path: recipe.make() for path, (_, recipe) in files.items()})


class _Chooser:
    """Makes the images of one crash point."""

    def __init__(self, pending: Pending, point: int, chance: random.Random, digests: _Digests) -> None:
        self._pending = pending
        self._followed = pending.followed
        self._point = point
        self._chance = chance
        self._digests = digests
        self._all_names = range(len(pending.names.pending))
        self._blocks: dict[int, list[_Block]] = {}
        self._trees: dict[tuple[int, ...], tuple[frozenset[str], dict[str, int]]] = {}
        # Files without a block that is left to choose, by inode and size.
        self._plain: dict[tuple[int, int | None], tuple[Hashable, Recipe]] = {}

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
        if any(contents.sizes for contents in self._pending.contents.values()):
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
                for inode, contents in self._pending.contents.items()
                for page, offset, versions in contents.changed_blocks(size)
            ]
        return self._blocks[size]

    def _older(self, block: _Block) -> _Block:
        return (*block[:4], self._chance.randint(0, block[4]))

    def _of_last_file(self, blocks: Iterable[_Block]) -> list[_Block]:
        return [block for block in blocks if block[0] == self._pending.last_stored]

    def _but_last_file(self, blocks: Iterable[_Block]) -> list[_Block]:
        return [block for block in blocks if block[0] != self._pending.last_stored]

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
        names = tuple(names)
        sizes = None
        if 0 < grown < 1:
            sizes = {inode: self._some_size(inode, grown) for inode in self._tree(names)[1].values()}
        choose = partial(self._choose, names, blocks, sizes, grown=grown > 0)
        return CrashImage(self._point, label, choose, self._digests, killed=killed)

    def _choose(
        self,
        names: tuple[int, ...],
        blocks: Iterable[_Block],
        sizes: dict[int, int | None] | None,
        *,
        grown: bool,
    ) -> _Tree:
        """Return what these choices make; without `sizes` all files have grown in full, or none."""
        if self._pending.followed != self._followed:
            raise AssertionError("the iterator that made this image has gone on")
        chosen: dict[int, list[tuple[int, int, int, int]]] = {}
        for inode, page, offset, length, version in blocks:
            chosen.setdefault(inode, []).append((page, offset, length, version))
        directories, files = self._tree(names)
        made = {}
        for path, inode in files.items():
            size = sizes[inode] if sizes is not None else self._last_size(inode, grown=grown)
            made[path] = self._made(inode, size, chosen[inode]) if inode in chosen else self._unchanged(inode, size)
        return directories, made

    def _some_size(self, inode: int, grown: float) -> int | None:
        sizes = self._pending.contents[inode].sizes
        return self._chance.randrange(len(sizes)) if sizes and self._chance.random() < grown else None

    def _last_size(self, inode: int, *, grown: bool) -> int | None:
        sizes = self._pending.contents[inode].sizes
        return len(sizes) - 1 if sizes and grown else None

    def _tree(self, names: tuple[int, ...]) -> tuple[frozenset[str], dict[str, int]]:
        if names not in self._trees:
            self._trees[names] = self._pending.names.image(names)
        return self._trees[names]

    def _unchanged(self, inode: int, size: int | None) -> tuple[Hashable, Recipe]:
        if (inode, size) not in self._plain:
            self._plain[inode, size] = self._made(inode, size, ())
        return self._plain[inode, size]

    def _made(
        self, inode: int, size: int | None, blocks: Sequence[tuple[int, int, int, int]]
    ) -> tuple[Hashable, Recipe]:
        key, recipe = self._pending.contents[inode].image(ContentChoice(size, blocks))
        return (inode, key), recipe


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
    pending = Pending.of(start)
    chance = random.Random(seed)
    digests: _Digests = {}
    for point in range(len(operations) + 1):
        if point >= first:
            chooser = _Chooser(pending, point, chance, digests)
            yield chooser.everything()
            yield from chooser.systematic(each)
            for _ in range(chances):
                yield chooser.random()
        if point < len(operations):
            pending.apply(operations[point])


def any_crash_image(start: Image, operations: Sequence[Operation], chance: random.Random) -> Image:
    """Return one of the trees that a power cut after all of these operations may leave, drawn at random."""
    pending = Pending.of(start)
    for operation in operations:
        pending.apply(operation)
    return _Chooser(pending, len(operations), chance, {}).random().build()


def torn_kills(start: Image, operations: Sequence[Operation], *, seed: int) -> Iterator[tuple[int, Image]]:
    """Yield (point, tree) of processes that died in the middle of the store after `point` operations."""
    pending = Pending.of(start)
    chance = random.Random(seed)
    for point, operation in enumerate(operations):
        if isinstance(operation, Store) and len(operation.data) > 1:
            whole = _Chooser(pending, point, chance, {}).everything().build()
            paths = [path for path, inode in pending.current_names().items() if inode == operation.inode]
            for cut in {1, len(operation.data) - 1, chance.randrange(1, len(operation.data))}:
                files = dict(whole.files)
                for path in paths:
                    contents = bytearray(files[path])
                    contents[operation.position : operation.position + cut] = operation.data[:cut]
                    files[path] = bytes(contents)
                yield point, Image(whole.directories, files)
        pending.apply(operation)

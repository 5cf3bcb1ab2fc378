"""The operations a recording disk writes down, in order: changes of contents, sizes and names, and syncs.

A file is known by its inode number, which its names come and go for. Reads and calls that changed nothing are
not operations. A crash is a position in this list plus a choice of what was not yet synced there
(`crash_images`).
"""

from typing import NamedTuple


class MakeDirectory(NamedTuple):
    """A directory came into being."""

    path: str


class Create(NamedTuple):
    """An empty file came into being under a name."""

    path: str
    inode: int


class Rename(NamedTuple):
    """A file changed its name, replacing what had the destination's."""

    source: str
    destination: str
    inode: int


class Unlink(NamedTuple):
    """A name went."""

    path: str
    inode: int


class Resize(NamedTuple):
    """A file grew to `size` bytes; what is new is zeros."""

    inode: int
    size: int


class Store(NamedTuple):
    """Bytes changed, through a write or through a map."""

    inode: int
    position: int
    data: bytes


class Sync(NamedTuple):
    """Contents and size of a file reached the disk."""

    inode: int


class FailedSync(NamedTuple):
    """A sync failed: the dirty pages now count as clean, and each may have reached the disk or not."""

    inode: int


class SyncDirectory(NamedTuple):
    """The names in a directory reached the disk."""

    path: str


Operation = MakeDirectory | Create | Rename | Unlink | Resize | Store | Sync | FailedSync | SyncDirectory
NameOperation = MakeDirectory | Create | Rename | Unlink

"""What a recording disk tells of files that were made in one go: whether all of it is durable, and in which order."""

import os

from support.disk import Disk
from support.operations import Create, Resize, Store, Sync, SyncDirectory


def check_synced(disk: Disk, directory: str, last: str) -> None:
    """Make sure that every file under a directory is synced, its name, too, and all others before `last` is made."""
    disk.notice()
    paths = {inode.number: path for path, inode in disk.names.items() if path.startswith(directory)}
    dirty: set[int] = set()
    unnamed: dict[str, set[str]] = {}
    for operation in disk.operations:
        match operation:
            case Create(path, _) if path.startswith(directory):
                if os.path.basename(path).startswith(last):
                    _check_nothing_left(dirty, unnamed, paths, f"before {path} was made")
                unnamed.setdefault(os.path.dirname(path), set()).add(path)
            case Store(number, _, _) | Resize(number, _) if number in paths:
                dirty.add(number)
            case Sync(number):
                dirty.discard(number)
            case SyncDirectory(path):
                unnamed.pop(path, None)
    _check_nothing_left(dirty, unnamed, paths, "at the end")


def _check_nothing_left(dirty: set[int], unnamed: dict[str, set[str]], paths: dict[int, str], when: str) -> None:
    left = [paths[number] for number in dirty] + [path for names in unnamed.values() for path in names]
    if left:
        raise AssertionError(f"{when} these were not durable: {sorted(left)}")

"""Checks that kill mutants of what verifies, copies and salvages stores."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import msglog
from msglog.errors import CorruptionError
from msglog.salvaging.salvage import salvage_to
from msglog.store.backing_up import backup_to
from msglog.store.looking import open_overlay
from msglog.store.verifying import verify_directory
from support.disk import Disk, Image
from support.everything import DIRECTORY, damaged, disk, image_of
from support.faulty_filesystem import FaultyFileSystem
from support.synced import check_synced

COPY = "/copy"


def _image() -> Image:
    with tempfile.TemporaryDirectory() as path:
        with msglog.Store(Path(path) / "s", sync="none") as store:
            store.log.create_topic("plain")
            store.log.create_topic("batches")
            for number in range(1000):
                store.log.append("plain", b"plain-%d" % number + b"." * 60)
            store.log.append_many("batches", [b"batch-1", b"batch-two"])
            store.log.append_many("batches", [b"batch-3", b"batch-four"])
        return image_of(Path(path) / "s")


def _backup(image: Image) -> FaultyFileSystem:
    target = FaultyFileSystem(Disk())
    engine = open_overlay(disk(image), DIRECTORY)
    try:
        backup_to(engine, target, COPY, None, was_there=False)
    finally:
        engine.close()
    return target


def _flipped(image: Image, find: bytes) -> Image:
    for path, contents in image.files.items():
        if find in contents:
            return damaged(image, path, contents.replace(find, find.swapcase()))
    raise AssertionError("nothing to damage")


def backups_are_synced() -> None:
    """Everything of a backup is durable when it returns, and all else before its checkpoint."""
    target = _backup(_image())
    check_synced(target.disk, COPY, "checkpoint")
    open_overlay(target, COPY).close()


def salvaged_stores_are_synced() -> None:
    """So is everything of a salvaged store, whose segments are made anew where they were damaged."""
    for find in (b"plain-500", b"batch-3"):
        target = FaultyFileSystem(Disk())
        salvage_to(disk(_flipped(_image(), find)), DIRECTORY, target, COPY, was_there=False)
        check_synced(target.disk, COPY, "checkpoint")


def backups_refuse_damage() -> None:
    """A record that is damaged makes no backup."""
    try:
        _backup(_flipped(_image(), b"plain-500"))
    except CorruptionError:
        return
    raise AssertionError("a damaged record was copied")


def flips_are_verified() -> None:
    """A flip in a record is found, in a frame of one as in a batch."""
    image = _image()
    for find in (b"plain-500", b"batch-3"):
        if [problem.kind for problem in verify_directory(disk(_flipped(image, find)), DIRECTORY, None)] != ["frame"]:
            raise AssertionError(f"a flip in {find!r} was not found")


def snapshots_are_verified() -> None:
    """A flip in the snapshot of the state is found."""
    image = _image()
    (path,) = [path for path in image.files if "/state-" in path]
    broken = damaged(image, path, image.files[path][:-1] + bytes([image.files[path][-1] ^ 1]))
    if not any(problem.kind == "snapshot" for problem in verify_directory(disk(broken), DIRECTORY, None)):
        raise AssertionError("a flip in the snapshot was not found")


KILLERS: dict[str, Callable[[], None]] = {
    "backups are synced": backups_are_synced,
    "salvaged stores are synced": salvaged_stores_are_synced,
    "backups refuse damage": backups_refuse_damage,
    "flips are verified": flips_are_verified,
    "snapshots are verified": snapshots_are_verified,
}

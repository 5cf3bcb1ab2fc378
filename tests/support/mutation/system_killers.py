"""Checks that kill mutants of the operating system's file system: which calls it makes, and with what."""

import errno
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from msglog.errors import DiskFullError, StoreLockedError
from msglog.storage.filesystem import OSFileSystem
from msglog.storage.filesystem import posix as module


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@contextmanager
def _calls_to(name: str) -> Iterator[list[str]]:
    """List the files that a call of `os` is given the descriptors of."""
    paths: list[str] = []
    real = getattr(os, name)

    def call(descriptor: int) -> None:
        paths.append(str(os.fstat(descriptor).st_ino))
        real(descriptor)

    with mock.patch.object(os, name, call):
        yield paths


def _inode(path: Path) -> str:
    return str(path.stat().st_ino)


def syncs_of_the_system() -> None:
    """A sync reaches the file, the sync of a directory the directory, and new directories the ones above them."""
    filesystem = OSFileSystem()
    with _scratch() as directory:
        file = filesystem.open(str(directory / "file"), create=True)
        if sys.platform != "darwin":
            with _calls_to("fdatasync") as synced:
                file.sync()
            if synced != [_inode(directory / "file")]:
                raise AssertionError(f"a sync reached {synced}")
        with mock.patch.object(module, "sys", SimpleNamespace(platform="darwin", version_info=sys.version_info)):
            fcntl = mock.Mock(F_FULLFSYNC=51)
            with mock.patch.object(module, "fcntl", fcntl):
                file.sync()
        if len(fcntl.fcntl.mock_calls) != 1 or fcntl.fcntl.call_args.args[1] != 51:
            raise AssertionError("on macOS a sync is a full one")
        with _calls_to("fsync") as synced:
            filesystem.sync_directory(str(directory))
        if synced != [_inode(directory)]:
            raise AssertionError(f"the sync of a directory reached {synced}")
        with _calls_to("fsync") as synced:
            filesystem.make_directory(str(directory / "a" / "b"))
        if synced != [_inode(directory), _inode(directory / "a")]:
            raise AssertionError(f"names of new directories were synced in {synced}")


def a_directory_whose_name_cannot_be_synced() -> None:
    """It is removed again: the next try must not take it for a durable one."""
    filesystem = OSFileSystem()
    with _scratch() as directory:
        with mock.patch.object(os, "fsync", side_effect=OSError(errno.EIO, "no")):
            try:
                filesystem.make_directory(str(directory / "a"))
            except OSError:
                pass
            else:
                raise AssertionError("a failed sync passes in silence")
        if (directory / "a").exists():
            raise AssertionError("a directory whose name is not durable stays")


def space_of_the_system() -> None:
    """Space is there before it is used, or the file is as it was; writes that stop half-way are gone on with."""
    filesystem = OSFileSystem()
    with _scratch() as directory:
        path = directory / "file"
        file = filesystem.open(str(path), create=True)
        file.allocate(1 << 20)
        if path.stat().st_blocks * 512 < 1 << 20:
            raise AssertionError("the file has holes: a store into its map may kill the process")
        real = os.pwrite
        with mock.patch.object(os, "pwrite", lambda fd, data, at: real(fd, bytes(data)[:1000], at)):
            file.write(100, b"x" * 5000)
            file.write(100, b"y" * 5000)
        if path.read_bytes()[100:5100] != b"y" * 5000:
            raise AssertionError("a write stopped half-way")
        _partly_grown(file, path)
        short = os.pread
        with mock.patch.object(os, "pread", lambda fd, size, at: short(fd, min(size, 700), at)):
            if file.read(100, 5000) != b"y" * 5000:
                raise AssertionError("a read stopped half-way")


def _partly_grown(file: module.OSFile, path: Path) -> None:
    def partly(descriptor: int, position: int, size: int) -> None:
        os.pwrite(descriptor, b"z" * min(size, 10), position)
        raise OSError(errno.ENOSPC, "full")

    before = path.stat().st_size
    with mock.patch.object(os, "posix_fallocate", partly, create=True):
        try:
            file.allocate(before + 4096)
        except DiskFullError:
            pass
        else:
            raise AssertionError("a full disk is no error")
    if path.stat().st_size != before:
        raise AssertionError("a growth that failed left a part")


def locks_of_the_system() -> None:
    """A second owner is refused, and a lock on a file that was replaced is none."""
    filesystem = OSFileSystem()
    with _scratch() as directory, mock.patch.object(module, "_LOCK_TRIES", 1):
        path = str(directory / "LOCK")
        held = filesystem.lock(path)
        try:
            filesystem.lock(path)
        except StoreLockedError:
            pass
        else:
            raise AssertionError("two own the same lock")
        if not filesystem.is_locked(path) or not held.is_current():
            raise AssertionError("a lock that is held is none")
        os.rename(path, path + ".old")
        filesystem.open(path, create=True).close()
        if held.is_current():
            raise AssertionError("nobody noticed that the lock file was replaced")
        held.release()


KILLERS: dict[str, Callable[[], None]] = {
    check.__name__.replace("_", " "): check
    for check in (
        syncs_of_the_system,
        a_directory_whose_name_cannot_be_synced,
        space_of_the_system,
        locks_of_the_system,
    )
}

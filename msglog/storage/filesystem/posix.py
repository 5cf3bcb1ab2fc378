"""The operating system's files (Linux and macOS).

Space is allocated with `posix_fallocate` before it is mapped, since a store into a sparse map on a full disk kills the
process. Where a call is missing (macOS) zeros are written instead, and `F_FULLFSYNC` syncs. Files are 0600, directories
0700. The process lock is a `flock` on a file that is never mapped and never unlinked; a descriptor that the child of a
fork inherited is closed there but never unlocked.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import sys
import time

from msglog.errors import DiskFullError, StoreLockedError
from msglog.storage.filesystem.seam import Map

_FULL = {errno.ENOSPC, errno.EDQUOT}
_ZEROS = bytes(1 << 20)
_LOCK_TRIES = 10
_LOCK_PAUSE_SECONDS = 0.005


class OSFile:
    """One open descriptor. Closed when collected, too."""

    __slots__ = ("_descriptor", "_writable", "path")

    def __init__(self, path: str, descriptor: int, *, writable: bool) -> None:
        self.path = path
        self._descriptor = descriptor
        self._writable = writable

    def size(self) -> int:
        """Return the file's size in bytes."""
        return os.fstat(self._descriptor).st_size

    def allocate(self, size: int) -> None:
        """Grow the file to `size` bytes backed by the disk; on failure it keeps its size."""
        before = self.size()
        if size <= before:
            return
        try:
            self._reserve(before, size - before)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, before)
            if error.errno in _FULL:
                raise DiskFullError(
                    f"no space left to grow {self.path} from {before} to {size} bytes",
                    path=self.path,
                    requested=size - before,
                ) from error
            raise

    def _reserve(self, position: int, size: int) -> None:
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self._descriptor, position, size)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
            else:
                return
        while size > 0:
            written = os.pwrite(self._descriptor, _ZEROS[:size], position)
            position += written
            size -= written

    def map(self, size: int) -> Map:
        """Return a shared map of the first `size` bytes."""
        return self._map(size, mmap.ACCESS_WRITE if self._writable else mmap.ACCESS_READ)

    def map_privately(self, size: int) -> Map:
        """Return a copy-on-write map of the first `size` bytes: memory is taken for the pages that are changed."""
        return self._map(size, mmap.ACCESS_COPY)

    def _map(self, size: int, access: int) -> Map:
        if sys.version_info >= (3, 13):
            return mmap.mmap(self._descriptor, size, access=access, trackfd=False)
        return mmap.mmap(self._descriptor, size, access=access)

    def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes from `position`."""
        data = os.pread(self._descriptor, size, position)
        if len(data) == size or not data:
            return data
        parts = [data]
        while data and (missing := size - sum(map(len, parts))):
            data = os.pread(self._descriptor, missing, position + size - missing)
            parts.append(data)
        return b"".join(parts)

    def write(self, position: int, data: bytes | bytearray | memoryview) -> None:
        """Write all of `data`: near a full disk the system writes less than asked without an error."""
        try:
            written = os.pwrite(self._descriptor, data, position)
            while written < len(data):
                written += os.pwrite(self._descriptor, memoryview(data)[written:], position + written)
        except OSError as error:
            if error.errno in _FULL:
                raise DiskFullError(
                    f"no space left to write {len(data)} bytes to {self.path}", path=self.path, requested=len(data)
                ) from error
            raise

    def begin_sync(self, position: int, size: int) -> None:
        """Let Linux write these pages back already, so that `sync` finds it done, or on its way.

        It does so where it is told that pages are not needed any more, and keeps those that are not written yet.
        """
        if sys.platform == "linux":
            try:
                os.posix_fadvise(self._descriptor, position, size, os.POSIX_FADV_DONTNEED)
            except OSError:
                pass  # a hint that is not taken

    def sync(self) -> None:
        """Sync contents and size; a store through a map counts, as `fdatasync` covers its pages."""
        if sys.platform == "darwin":
            fcntl.fcntl(self._descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Give the descriptor back."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):  # an interrupt may strike before it is set
            self.close()


class OSLock:
    """A held `flock`. The file keeps the owner's pid for the error of whoever comes second."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def is_current(self) -> bool:
        """Compare device and inode of the descriptor and of the path."""
        try:
            found = os.stat(self._path)
        except OSError:
            return False
        held = os.fstat(self._descriptor)
        return (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)

    def release(self) -> None:
        """Unlock by closing: the lock goes with the last descriptor of this open file."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.ftruncate(descriptor, 0)
            os.close(descriptor)

    def abandon(self) -> None:
        """Close this process's copy of the descriptor; the parent's keeps the lock."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _locked(path: str, owner: bytes) -> StoreLockedError:
    pid = int(owner) if owner.isdigit() else None
    directory = os.path.dirname(path)
    return StoreLockedError(
        f"the store {directory} is open for writing in process {'?' if pid is None else pid}; "
        "open it with readonly=True, or close it there",
        path=directory,
        owner_pid=pid,
    )


def _flock(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Try to lock for some milliseconds; return whether it worked."""
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE_SECONDS)
        else:
            return True
    return False


class OSSharedLock(OSLock):
    """A shared `flock`, which keeps writers away; the file stays as it is. A descriptor of -1 holds nothing."""

    def release(self) -> None:
        """Unlock by closing."""
        self.abandon()


class OSFileSystem:
    """Directories and files of the operating system."""

    durable = True

    def make_directory(self, path: str) -> None:
        """Create the directory for the owner only, and its parents alike; their names are synced."""
        if os.path.isdir(path):
            return
        parent = os.path.dirname(path)
        if parent and parent != path:
            self.make_directory(parent)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            return
        try:
            self.sync_directory(parent or os.curdir)
        except OSError:
            os.rmdir(path)  # the next try must not take an unsynced name for a durable one
            raise

    def list(self, path: str) -> dict[str, int]:
        """Return the files in a directory with their sizes."""
        try:
            entries = os.scandir(path)
        except FileNotFoundError:
            return {}
        found: dict[str, int] = {}
        with entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # unlinked by another process since it was listed
                    if entry.is_file():
                        found[entry.name] = entry.stat(follow_symlinks=False).st_size
        return found

    def open(self, path: str, *, create: bool = False, writable: bool = True) -> OSFile:
        """Open a file, close-on-exec."""
        flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        try:
            return OSFile(path, os.open(path, flags, 0o600), writable=writable)
        except OSError as error:
            if error.errno in _FULL:
                raise DiskFullError(f"no space left to create {path}", path=path, requested=0) from error
            raise

    def rename(self, source: str, destination: str) -> None:
        """Rename a file."""
        os.replace(source, destination)

    def unlink(self, path: str) -> None:
        """Remove a name."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(path)

    def sync_directory(self, path: str) -> None:
        """Sync the names in a directory."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def identity(self, path: str) -> tuple[int, int]:
        """Return device and inode."""
        status = os.stat(path)
        return (status.st_dev, status.st_ino)

    def lock(self, path: str) -> OSLock:
        """Take the `flock` of this file, creating it if it is missing.

        A reader in another process holds it for a moment while it looks for a writer: so a refusal is tried again
        for a few milliseconds before it is believed.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if _flock(descriptor):
                with contextlib.suppress(OSError):  # the pid is a courtesy: a full disk must not refuse the lock
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
                return OSLock(path, descriptor)
            owner = os.pread(descriptor, 32, 0).strip()
        except BaseException:
            os.close(descriptor)  # with it goes a lock that was taken
            raise
        os.close(descriptor)
        raise _locked(path, owner)

    def lock_out_writers(self, path: str) -> OSSharedLock:
        """Take the `flock` of this file as one of any number of readers."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return OSSharedLock(path, -1)
        try:
            if _flock(descriptor, fcntl.LOCK_SH):
                return OSSharedLock(path, descriptor)
            owner = os.pread(descriptor, 32, 0).strip()
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        raise _locked(path, owner)

    def is_locked(self, path: str) -> bool:
        """Return whether a process holds the lock, by trying a shared one for a moment."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)

"""The bounded set of open segments.

Descriptors are scarce (RLIMIT_NOFILE), so only so many segments are open at a time. The one used longest ago is closed
first; what it holds unsynced is synced before, since a later descriptor might not be told of a write error. A segment
that a checkpoint is syncing stays open.
All methods but `map` and `index` are called under the store lock; these two take it when they must open a
segment, and may then have to wait for a sync of another.
"""

import errno
import itertools
from collections.abc import Callable
from threading import Lock
from typing import TypeVar

from msglog.errors import ClosedError, CorruptionError, MsglogError, StoreFailedError
from msglog.storage.filesystem import FileSystem, Map
from msglog.storage.index import SparseIndex
from msglog.storage.segment import Segment

T = TypeVar("T")

_FEWEST_OPEN = 16
_MOST_OPEN = 4096
_DEFAULT_LIMIT = 256
NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


def open_segment_limit() -> int:
    """Return how many segments may be open: each takes up to two descriptors, and half are left to the application."""
    try:
        import resource  # noqa: PLC0415 not on every system
    except ImportError:
        return _DEFAULT_LIMIT
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MOST_OPEN
    return max(_FEWEST_OPEN, min(_MOST_OPEN, soft // 4))


def _to_read(segment: Segment, action: Callable[[], T]) -> T:
    """Do what reading needs. Raises `StoreFailedError` for want of descriptors, of memory, or of a disk that reads."""
    try:
        return action()
    except OSError as error:
        if isinstance(error, MsglogError):
            raise
        raise StoreFailedError(
            f"{segment.path} cannot be read: {error}", path=segment.path, outcome="not_applied"
        ) from error


def _missing(segment: Segment) -> CorruptionError:
    return CorruptionError(
        f"{segment.path}: the segment is missing",
        path=segment.path,
        position=0,
        first_offset=segment.base_offset,
        next_offset=segment.end_offset,
    )


class SegmentCache:
    """Opens segments when they are needed and closes the ones that were not for longest."""

    def __init__(self, filesystem: FileSystem, lock: Lock, limit: int, *, writable: bool) -> None:
        self._filesystem = filesystem
        self._lock = lock
        self._limit = limit
        self._writable = writable
        self._open: dict[int, Segment] = {}
        self._closed = False
        self._ticks = itertools.count(1)
        self.on_sync_error: Callable[[OSError], object] | None = None
        # A reader in another process looks again when a file is gone: the writer may have dropped it.
        self.on_missing: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._open)

    def open_files(self) -> set[int]:
        """Return the ids of the segments that are open, new ones among them. Under the lock."""
        return set(self._open)

    def refuse(self, lock: Lock) -> None:
        """Open nothing any more; `lock` replaces one that a thread of a forked child's parent may hold for ever."""
        self._lock = lock
        self._closed = True

    def map(self, segment: Segment) -> Map:
        """Return a map that covers all stored frames of the segment. Call it without the lock.

        Raises `ClosedError` when it would have to be opened after the store was closed, `CorruptionError`, and
        `StoreFailedError` where the file cannot be opened now.
        """
        mapped = segment.map
        if mapped is not None and segment.stored_position <= len(mapped):
            segment.used = next(self._ticks)
            return mapped
        with self._lock:
            return _to_read(segment, lambda: self.open(segment))

    def index(self, segment: Segment) -> SparseIndex:
        """Return the segment's index, building it if need be. Call it without the lock."""
        index = segment.index
        if index is not None:
            return index
        with self._lock:
            _to_read(segment, lambda: self.open(segment))
            return _to_read(segment, lambda: segment.load_index(self._filesystem))

    def open(self, segment: Segment) -> Map:
        """Open a segment, under the lock, closing others if too many are open."""
        segment.used = next(self._ticks)
        mapped = segment.map
        if mapped is not None and segment.stored_position <= len(mapped):
            return mapped
        if self._closed:
            raise ClosedError("the store is closed, or was opened before a fork")
        if mapped is not None:
            segment.close()
        self._make_place(self._limit)
        # A sealed segment may still have frames on their way to it.
        complete = segment.sealed and segment.stored_position >= segment.position
        writable = self._writable and not complete
        try:
            self.with_descriptors(lambda: segment.open(self._filesystem, writable=writable))
        except FileNotFoundError as error:
            raise _missing(segment) from error
        self._open[segment.file_id] = segment
        if segment.map is None:
            raise AssertionError("an opened segment has a map")
        return segment.map

    def with_descriptors(self, action: Callable[[], T], keep: Segment | None = None) -> T:
        """Do something that needs descriptors; where the process has none left, give some up and try once more.

        `keep` stays open.
        """
        try:
            return action()
        except OSError as error:
            if error.errno not in NO_DESCRIPTORS or not self._open:
                raise
        self._make_place(len(self._open) // 2 + 1, keep)
        return action()

    def open_for_append(self, segment: Segment) -> None:
        """Open a segment so that `map`, `file` and `index` are there."""
        self.open(segment)
        segment.load_index(self._filesystem)

    def adopt(self, segment: Segment) -> None:
        """Count a segment that was opened elsewhere (a new one)."""
        segment.used = next(self._ticks)
        self._make_place(self._limit)
        self._open[segment.file_id] = segment

    def forget(self, segment: Segment) -> None:
        """Close a segment that no stream holds any more."""
        self._open.pop(segment.file_id, None)
        segment.close()

    def close(self) -> None:
        """Close all, for good."""
        self._closed = True
        for segment in list(self._open.values()):
            self.forget(segment)

    def _make_place(self, limit: int, keep: Segment | None = None) -> None:
        """Close idle segments but `keep` until fewer than `limit` are open."""
        while len(self._open) >= limit:
            idle = [segment for segment in self._open.values() if not segment.syncing and segment is not keep]
            if not idle:
                return  # more are pinned than the limit allows: the system's limit is still far
            oldest = min(idle, key=lambda segment: segment.used)
            self._sync(oldest)
            if self._writable:
                oldest.advance_checksum(self._filesystem)
                oldest.save_index(self._filesystem)
            self.forget(oldest)

    def _sync(self, segment: Segment) -> None:
        if not segment.dirty or segment.file is None or not self._filesystem.durable:
            return
        position = segment.stored_position
        try:
            segment.file.sync()
        except OSError as error:
            if self.on_sync_error is not None:
                self.on_sync_error(error)
            raise
        segment.synced_position = position

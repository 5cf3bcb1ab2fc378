"""The published page: one mapped page that tells readers in other processes how far the store can be read.

    position  size  field
    0         8     magic and version
    8         8     life of the writer
    16        8     number of the last published commit
    24        8     1 after a sync failed in this life

A frame is readable when its commit is at or below the published one: so one eight-byte store publishes a commit over
all streams at once, and a reader in another process never sees half of a transaction. The page is never synced and
means nothing after a crash of the machine; recovery only looks at the failure mark.
"""

from msglog.errors import CorruptionError
from msglog.storage.filesystem import File, FileSystem

PAGE_SIZE = 4096
MAGIC_AND_VERSION = 0x0001_4745_5050_4C4D
_SLOTS = PAGE_SIZE // 8
_LIFE, _COMMIT, _FAILED = 1, 2, 3


class PublishedPage:
    """The page, mapped. One writer; readers in any process."""

    def __init__(self, file: File) -> None:
        self._map = file.map(PAGE_SIZE)
        self.slots = memoryview(self._map).cast("Q")

    @classmethod
    def open(cls, filesystem: FileSystem, path: str, *, writable: bool) -> "PublishedPage":
        """Open the page; a writer makes it when it is missing."""
        file = filesystem.open(path, create=writable, writable=writable)
        try:
            if writable:
                file.allocate(PAGE_SIZE)
            if file.size() < PAGE_SIZE:
                raise CorruptionError(f"{path}: shorter than a page", path=path, position=file.size())
            return cls(file)
        finally:
            file.close()

    @property
    def life(self) -> int:
        """The life of the writer that published last."""
        return self.slots[_LIFE] if self.slots[0] == MAGIC_AND_VERSION else 0

    @property
    def commit(self) -> int:
        """The last published commit."""
        return self.slots[_COMMIT]

    @property
    def failed(self) -> bool:
        """Whether a sync failed in that life."""
        return self.slots[0] == MAGIC_AND_VERSION and self.slots[_FAILED] == 1

    def begin(self, life: int, commit: int) -> None:
        """Start a life: readers of an older one notice the change and load anew."""
        self.slots[0] = MAGIC_AND_VERSION
        self.slots[_FAILED] = 0
        self.slots[_COMMIT] = commit
        self.slots[_LIFE] = life

    def mark_failed(self) -> None:
        """Remember that a sync failed: a store into a page that is there cannot fail itself."""
        self.slots[_FAILED] = 1

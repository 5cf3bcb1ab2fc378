"""The seam to files: everything the storage engine asks of an operating system, and nothing more.

`OSFileSystem` is the real one, `MemoryFileSystem` keeps everything in memory for `":memory:"`,
`OverlayFileSystem` keeps changes of another one's files in memory. Tests put one more behind the same seam that loses,
tears and reorders writes. All names are absolute or relative path strings.

Rules every implementation keeps:
- Space is allocated before it is mapped; a file only grows, and a failed growth leaves it as it was.
- Bytes change only through `File.write` and through slice assignment on a map (`map[a:b] = data`), never through
  the buffer protocol: so a recording implementation sees every change. Only the published page, which means nothing
  after a crash, is stored to through a view.
- A map stays readable after the file has grown, was closed or unlinked. Growth needs a new map to be seen.
- `sync` covers contents and size of that file, stores through maps included; names are durable only after
  `sync_directory`.
- A full disk raises `DiskFullError`, anything else the operating system's `OSError`.
"""

from msglog.storage.filesystem.memory import MemoryFileSystem
from msglog.storage.filesystem.overlay import OverlayFileSystem
from msglog.storage.filesystem.posix import OSFileSystem
from msglog.storage.filesystem.seam import File, FileSystem, Map, ProcessLock

__all__ = ["File", "FileSystem", "Map", "MemoryFileSystem", "OSFileSystem", "OverlayFileSystem", "ProcessLock"]

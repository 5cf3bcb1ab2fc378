"""Mutations of what verifies, copies and salvages stores."""

from support.mutation.mutant import Mutation, cut, not_raised, swap

_COPYING, _SCAN = "storage/copying.py", "storage/checking/scan.py"

TOOLS: tuple[Mutation, ...] = (
    cut(
        _COPYING,
        "target.sync()\n            finally:\n                target.close()\n        finally:",
        "backups are synced",
        "a copied segment is not synced",
    ),
    cut(
        _COPYING,
        "target.sync()\n            finally:\n                target.close()\n\n",
        "backups are synced",
        "a copied index is not synced",
    ),
    cut(
        _COPYING,
        "file.sync()\n            self.bytes += position",
        "salvaged stores are synced",
        "a segment made anew is not synced",
    ),
    cut(
        _COPYING,
        "file.sync()\n            finally:\n                file.close()\n            self.bytes += len(snapshot)",
        "backups are synced",
        "the snapshot of a copy is not synced",
    ),
    cut(
        _COPYING,
        "filesystem.sync_directory(self._segments)",
        "backups are synced",
        "names of copied segments are not synced",
    ),
    cut(
        _COPYING,
        "filesystem.sync_directory(self.directory)",
        "backups are synced",
        "the name of a copy's snapshot is not synced",
    ),
    swap(
        _COPYING,
        "crc32c(snapshot, len(snapshot))",
        "len(snapshot)",
        "backups are synced",
        "the checksum of a copy's snapshot is wrong",
    ),
    not_raised(
        _COPYING, 'raise CorruptionError(\n                f"{view.path}: {problem.message}', "backups refuse damage"
    ),
    swap(
        _SCAN,
        "or crc32c(piece[at + 4 : following], seed) != checksum",
        "or not checksum",
        "flips are verified",
        "checksums of single records are not verified",
    ),
    swap(
        _SCAN,
        "if crc32c(raw[_MAGIC_POSITION:], self._seed) != header[0]:",
        "if not header[0]:",
        "flips are verified",
        "checksums of frames are not verified",
    ),
    swap(
        "storage/checking/files.py",
        'if crc32c(data[4:], max(0, len(data) - 4)).to_bytes(4, "little") != data[:4]:',
        "if not data:",
        "snapshots are verified",
        "the checksum of a snapshot is not verified",
    ),
)

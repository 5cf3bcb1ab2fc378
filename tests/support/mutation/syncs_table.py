"""Mutations of what syncs: every call in the storage engine and its file system, each left out in turn."""

from support.mutation.mutant import Mutation, cut, swap

_SYSTEM_CALLS, _SPACE, _LOCKS = "syncs of the system", "space of the system", "locks of the system"

SYNCS: tuple[Mutation, ...] = (
    cut(
        "storage/checkpoint.py",
        "file.sync()\n    finally:\n        file.close()\n    if checkpoint.sequence",
        "power cuts, appends, interval",
        "a checkpoint is not synced",
    ),
    cut(
        "storage/checkpoint.py",
        "filesystem.sync_directory(directory)",
        "power cuts, appends, commit",
        "the name of a checkpoint is not synced",
    ),
    cut(
        "storage/checkpointer.py",
        "engine.filesystem.sync_directory(engine.path(SEGMENTS))",
        "power cuts, appends, interval",
        "names of new segments are not synced",
    ),
    cut(
        "storage/checkpointer.py",
        "file.sync()\n                return",
        "power cuts, appends, interval",
        "an open segment is not synced",
    ),
    cut(
        "storage/checkpointer.py",
        "file.sync()\n            finally:",
        "power cuts, rolled_and_killed, interval",
        "a segment that is not open is not synced",
    ),
    cut(
        "storage/checkpointer.py",
        "file.sync()\n        finally:\n            file.close()\n        filesystem.sync_directory",
        "power cuts, snapshots, interval",
        "a snapshot is not synced",
    ),
    cut(
        "storage/checkpointer.py",
        "filesystem.sync_directory(os.path.dirname(path))",
        "power cuts, snapshots, interval",
        "the name of a snapshot is not synced",
    ),
    cut(
        "storage/writers.py",
        "area.file.sync()",
        "power cuts, appends, commit",
        "the journal is not synced",
    ),
    cut(
        "storage/journal.py",
        "file.sync()\n        return cls(file, seed, size)",
        "power cuts, transactions, commit",
        "a new journal area is not synced",
    ),
    cut(
        "storage/journal.py",
        "self._filesystem.sync_directory(os.path.dirname(path))",
        "power cuts, large_entries, commit",
        "the name of an area made anew is not synced",
    ),
    cut(
        "storage/engine.py",
        "self.filesystem.sync_directory(self.directory)",
        "power cuts, appends, commit",
        "names of new areas are not synced",
    ),
    cut(
        "storage/recovery.py",
        "file.sync()\n        finally",
        "ends and power cuts, commit",
        "a checkpoint that was read is not synced",
    ),
    cut(
        "storage/recovery.py",
        "engine.filesystem.sync_directory(engine.directory)",
        "ends and power cuts, interval",
        "the name of a checkpoint that was read is not synced",
    ),
    cut(
        "storage/remains.py",
        "file.sync()\n    finally",
        "quarantined copies",
        "a copy in quarantine is not synced",
    ),
    cut(
        "storage/remains.py",
        "engine.filesystem.sync_directory(os.path.dirname(path))",
        "quarantined copies",
        "the name of a copy in quarantine is not synced",
    ),
    cut(
        "storage/compaction.py",
        "new.file.sync()",
        "power cuts, rewritten, commit",
        "a rewritten segment is not synced",
    ),
    cut(
        "storage/compaction.py",
        "engine.filesystem.sync_directory(engine.path(SEGMENTS))",
        "power cuts, rewritten, commit",
        "the name of a rewritten segment is not synced",
    ),
    cut(
        "storage/remains.py",
        "filesystem.sync_directory(engine.path(KEYS))",
        "runs of a lost past",
        "the removal of untrue runs of an index by key is not synced",
    ),
    cut(
        "storage/cache.py",
        "segment.file.sync()",
        "power cuts, many_streams, interval",
        "a segment is closed unsynced",
    ),
)

SYSTEM: tuple[Mutation, ...] = (
    cut("storage/filesystem/posix.py", "os.fdatasync(self._descriptor)", _SYSTEM_CALLS, "a sync does nothing"),
    cut(
        "storage/filesystem/posix.py",
        "fcntl.fcntl(self._descriptor, fcntl.F_FULLFSYNC)",
        _SYSTEM_CALLS,
        "a full sync does nothing",
    ),
    cut("storage/filesystem/posix.py", "os.fsync(descriptor)", _SYSTEM_CALLS, "the sync of a directory does nothing"),
    cut(
        "storage/filesystem/posix.py",
        "self.sync_directory(parent or os.curdir)",
        _SYSTEM_CALLS,
        "the name of a new directory is not synced",
    ),
    cut(
        "storage/filesystem/posix.py",
        "os.rmdir(path)  # the next try must not take an unsynced name for a durable one",
        "a directory whose name cannot be synced",
        "a directory whose name was not synced stays",
    ),
    swap(
        "storage/filesystem/posix.py",
        "os.posix_fallocate(self._descriptor, position, size)",
        "os.ftruncate(self._descriptor, position + size)",
        _SPACE,
        "a file grows without space behind it",
    ),
    cut(
        "storage/filesystem/posix.py",
        "os.ftruncate(self._descriptor, before)",
        _SPACE,
        "a growth that failed leaves a part",
    ),
    swap(
        "storage/filesystem/posix.py",
        "while written < len(data):",
        "while False:",
        _SPACE,
        "a write that stopped half-way is not gone on with",
    ),
    swap(
        "storage/filesystem/posix.py",
        "if len(data) == size or not data:",
        "if data:",
        _SPACE,
        "a read that stopped half-way is not gone on with",
    ),
    cut(
        "storage/filesystem/posix.py",
        "fcntl.flock(descriptor, kind | fcntl.LOCK_NB)",
        _LOCKS,
        "a store is not locked",
    ),
    swap(
        "storage/filesystem/posix.py",
        "return (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)",
        "return True",
        _LOCKS,
        "nobody looks whether the lock file was replaced",
    ),
)

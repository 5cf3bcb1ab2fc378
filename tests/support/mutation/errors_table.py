"""Mutations of what tells damage: every error, each made and not raised."""

from support.mutation.mutant import Mutation, not_raised, swap

ERRORS: tuple[Mutation, ...] = (
    swap(
        "storage/replay.py",
        'raise CorruptionError(f"{path}: the snapshot of the state is missing", path=path, position=0) from error',
        'return b"\\x80"',
        "snapshots",
        "a missing snapshot counts as an empty one",
    ),
    not_raised(
        "storage/replay.py", 'raise CorruptionError(f"{path}: the snapshot of the state is damaged"', "snapshots"
    ),
    swap(
        "storage/replay.py",
        'raise CorruptionError(f"{path}: the snapshot makes no sense: {_told(error)}", path=path',
        'raise ValueError(f"{path}: the snapshot makes no sense: {_told(error)}", path=path',
        "senseless states",
        "a snapshot that makes no sense is no damage",
    ),
    swap(
        "storage/replay.py",
        'raise CorruptionError(\n            f"{path}: the event at offset {at} makes no sense',
        'raise ValueError(\n            f"{path}: the event at offset {at} makes no sense',
        "senseless states",
        "an event that makes no sense is no damage",
    ),
    not_raised(
        "storage/redo.py",
        'raise CorruptionError(\n                f"{entry.path}: an entry of life',
        "lives without a checkpoint",
    ),
    not_raised(
        "storage/redo.py",
        'raise CorruptionError(\n                f"{entry.path}: commit {last + 1} was synced',
        "journal entries",
    ),
    not_raised("storage/redo.py", 'raise CorruptionError(f"{path}: not the name of a segment"', "journal entries"),
    not_raised(
        "storage/redo.py",
        'raise CorruptionError(\n                f"{entry.path}: commit {entry.commit} belongs into',
        "journal entries",
    ),
    not_raised("storage/published.py", 'raise CorruptionError(f"{path}: shorter than a page"', "short pages"),
    not_raised(
        "storage/walk.py",
        'raise CorruptionError(\n                f"{segment.path}: a frame of life',
        "lives without a checkpoint",
    ),
    not_raised(
        "storage/walk.py",
        'raise CorruptionError(\n                    f"{path}: a segment of life',
        "lives without a checkpoint",
    ),
    swap(
        "storage/walk.py",
        'raise CorruptionError(\n                f"{path}: {error} at',
        'raise ValueError(\n                f"{path}: {error} at',
        "senseless states",
        "columns of a last frame that do not fit are no damage",
    ),
    not_raised(
        "storage/recovery.py",
        'raise CorruptionError(\n                f"{path}: stream {stream.id} begins',
        "starts behind ends",
    ),
    not_raised("storage/recovery.py", 'raise CorruptionError(f"{path}: there are data in', "checkpoints"),
    not_raised(
        "storage/recovery.py",
        'raise CorruptionError(\n                    f"{segment.path}: the segment {problem}"',
        "listed files",
    ),
    not_raised(
        "storage/segment.py", 'raise CorruptionError(f"{path}: the header of the segment is damaged"', "forged headers"
    ),
    not_raised("storage/segment.py", 'raise CorruptionError(f"{path}: not a segment"', "forged headers"),
    not_raised(
        "storage/segment.py", 'raise CorruptionError(\n                f"{self.path}: the file ends at', "listed files"
    ),
    not_raised(
        "storage/segment.py", 'raise CorruptionError(f"{self.path}: the file is not the one listed"', "listed files"
    ),
    not_raised(
        "storage/journal.py", 'raise CorruptionError(f"{path}: the header of the journal is damaged"', "journal entries"
    ),
    swap(
        "storage/cache.py",
        'return CorruptionError(\n        f"{segment.path}: the segment is missing"',
        'return FileNotFoundError(\n        f"{segment.path}: the segment is missing"',
        "listed files",
        "a missing segment is no damage",
    ),
    swap(
        "storage/reader.py",
        'return CorruptionError(\n            f"{segment.path}: {what}',
        'return ValueError(\n            f"{segment.path}: {what}',
        "frames",
        "damage is no damage",
    ),
    not_raised(
        "storage/reader.py", "raise self._damage(segment, position, \"a frame's header reaches", "headers of frames"
    ),
    not_raised("storage/reader.py", 'raise self._damage(segment, position, "there is no frame")', "headers of frames"),
    not_raised("storage/reader.py", 'raise self._damage(segment, position, "the checksum', "headers of frames"),
    not_raised("storage/reader.py", 'raise self._damage(segment, position, f"offset', "headers of frames"),
    swap(
        "storage/reader.py",
        "raise self._damage(segment, position, str(error)) from error",
        "raise",
        "damaged columns",
        "columns that do not fit are not told as damage",
    ),
    swap(
        "storage/frame.py",
        'raise FrameError(f"columns of a frame of {length} bytes do not fit: {error}") from error',
        "raise",
        "forged frames",
        "columns that do not fit are no error of the frame",
    ),
    not_raised("storage/frame.py", 'raise FrameError(f"a frame claims', "forged frames"),
    not_raised("storage/frame.py", 'raise FrameError(f"{len(raw) - position} bytes do not hold', "forged frames"),
    not_raised("storage/frame.py", 'raise FrameError("a compressed frame without', "forged frames"),
    not_raised("storage/frame.py", 'raise FrameError(f"a compressed frame claims', "forged frames"),
    swap(
        "storage/frame.py",
        'raise FrameError(f"cannot be decompressed: {error}") from error',
        "raise",
        "forged frames",
        "what cannot be decompressed is no error of the frame",
    ),
    not_raised("storage/frame.py", 'raise FrameError(f"decompressed to', "sizes of compressed frames"),
)

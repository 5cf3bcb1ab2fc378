"""Names of the files in a store's directory. Imported by the rest of the storage layer.

    LOCK                     held by the writing process; its pid inside
    published                one page: life and number of the last published commit, for readers in other processes
    checkpoint-0, -1         written in turn
    draft-0, -1              written in turn, never synced
    journal-0, -1            filled in turn (sync="commit" only)
    state-<commit>           snapshot of the state after that commit
    segments/<stream>-<slug>.<base offset>.<file id>     and .index beside a sealed one
    keys/<stream>.<first>.<end>.<commit>     a run of a partition's index by key
    quarantine/              what recovery cut out or could not place, for a person to look at
    FAILED                   a sync failed in the last life: the tail is rewritten at the next opening

All segments lie in one directory: one listing finds them at opening and one directory sync covers any number of new
ones. A user's string never becomes a path: the slug only helps a person who looks.
"""

import os
import re
from functools import lru_cache

LOCK = "LOCK"
PUBLISHED = "published"
CHECKPOINTS = ("checkpoint-0", "checkpoint-1")
DRAFTS = ("draft-0", "draft-1")
JOURNALS = ("journal-0", "journal-1")
SEGMENTS = "segments"
KEYS = "keys"
QUARANTINE = "quarantine"
FAILED = "FAILED"
STATE_PREFIX = "state-"
INDEX_SUFFIX = ".index"

_DIRECTORIES = 64
_SLUG_LENGTH = 40
_RUN_NAME = re.compile(r"(\d+)\.(\d+)\.(\d+)\.(\d+)")
_SEGMENT_NAME = re.compile(r"(\d{1,18})-([a-z0-9-]*)\.(\d{20})\.(\d{1,18})")


def slug_of(name: str) -> str:
    """Return a short form of a name that is safe in a path on every system."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_SLUG_LENGTH]


def segment_name(stream_id: int, slug: str, base_offset: int, file_id: int) -> str:
    """Return the name of a segment's file."""
    return f"{stream_id}-{slug}.{base_offset:020d}.{file_id}"


def parse_segment_name(name: str) -> tuple[int, str, int, int] | None:
    """Return (stream id, slug, base offset, file id) of a segment's name, None for any other name."""
    match = _SEGMENT_NAME.fullmatch(name)
    if match is None:
        return None
    return int(match[1]), match[2], int(match[3]), int(match[4])


def state_name(commit: int) -> str:
    """Return the name of the state snapshot taken after `commit`."""
    return f"{STATE_PREFIX}{commit:020d}"


def in_store(directory: str, name: str) -> str:
    """Return the path of a file that lies in the directory itself."""
    return _beginning(directory, "") + name


def in_segments(directory: str, name: str) -> str:
    """Return the path of a segment's file."""
    return _beginning(directory, SEGMENTS) + name


def run_name(stream_id: int, first: int, end: int, commit: int) -> str:
    """Return the name of a run of an index by key: of a stream's offsets `first` to before `end`, as of a commit."""
    return f"{stream_id}.{first}.{end}.{commit}"


def parse_run_name(name: str) -> tuple[int, int, int, int] | None:
    """Return (stream id, first, end, commit) of a run's name, None for any other name."""
    match = _RUN_NAME.fullmatch(name)
    if match is None or name != run_name(*map(int, match.groups())):
        return None
    stream_id, first, end, commit = map(int, match.groups())
    return (stream_id, first, end, commit) if first < end else None


def in_keys(directory: str, name: str) -> str:
    """Return the path of a run's file."""
    return _beginning(directory, KEYS) + name


@lru_cache(_DIRECTORIES)
def _beginning(directory: str, folder: str) -> str:
    """Return what the paths of a folder's files begin with: opening a store makes dozens of them."""
    return os.path.join(directory, folder, "")

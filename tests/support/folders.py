"""Where tests have their files: in memory where they can, so that no test waits for the disk without being about it.

Tests of the storage engine and of whole stores have theirs on the disk, by the fixtures of their folders. Imported by
`conftest` files, and by what starts children.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.scale import TORTURE

_DISK = tempfile.gettempdir()
_MEMORY = Path("/dev/shm")
_ENOUGH = 1 << 30
"""Bytes. Tests remove what they made, so that there is never much."""


def _is_enough_memory() -> bool:
    """Whether files in memory may be as many as tests make, and be executed: some tests compile modules."""
    if not _MEMORY.is_dir() or not os.access(_MEMORY, os.W_OK):
        return False
    facts = os.statvfs(_MEMORY)
    return facts.f_bavail * facts.f_frsize >= _ENOUGH and not facts.f_flag & os.ST_NOEXEC


def use_memory() -> None:
    """Let temporary folders be in memory from now on, unless TMPDIR says where they are to be."""
    if "TMPDIR" not in os.environ and TORTURE <= 1 and _is_enough_memory():
        tempfile.tempdir = str(_MEMORY)


@contextmanager
def folder_on_disk() -> Iterator[Path]:
    """Make a folder that is on the disk wherever others are, and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="msglog-test-", dir=_DISK) as folder:
        yield Path(folder)

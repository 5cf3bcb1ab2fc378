"""An engine of one's own on a directory that this process does not write: to look at it, and for nothing else.

While another process writes, it is a reader that follows; otherwise the store is recovered on an overlay, which leaves
the directory as it is. Imported by what verifies and copies stores.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from msglog.clock import SystemClock
from msglog.errors import CorruptionError, ReadOnlyError
from msglog.storage import Engine, Options
from msglog.storage.filesystem import FileSystem, OverlayFileSystem
from msglog.storage.layout import LOCK
from msglog.store.registration import model_factories
from msglog.waiting import Waiter

LOOKS: Final = 8
PAUSE_SECONDS: Final = 0.02


@contextmanager
def reading(filesystem: FileSystem, directory: str) -> Iterator[Engine]:
    """Open a store to look at it. Raises what opening raises: `CorruptionError`, `UnsupportedFormatError`."""
    engine = _open(filesystem, directory)
    try:
        yield engine
    finally:
        engine.close()


def _open(filesystem: FileSystem, directory: str) -> Engine:
    tries = 0
    while True:
        try:
            if filesystem.is_locked(f"{directory}/{LOCK}"):
                return open_reader(filesystem, directory)
            return open_overlay(filesystem, directory)
        except (CorruptionError, ReadOnlyError, FileNotFoundError):
            # Between two looks a writer came, went, or removed what it no longer needs.
            tries += 1
            if tries >= LOOKS:
                raise
            Waiter().wait(PAUSE_SECONDS)


def open_reader(filesystem: FileSystem, directory: str) -> Engine:
    """Return an engine that follows the writer."""
    return Engine.open(filesystem, directory, Options(readonly=True), model_factories(), SystemClock())


def open_overlay(filesystem: FileSystem, directory: str) -> Engine:
    """Return an engine that has recovered the store for itself alone."""
    overlay = OverlayFileSystem(filesystem)
    return Engine.open(overlay, directory, Options(sync="none"), model_factories(), SystemClock(), background=False)

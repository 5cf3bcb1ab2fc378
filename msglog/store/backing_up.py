"""Backing up a store while it is in use.

Under the store lock everything committed is noted, as for a checkpoint; what it refers to never changes, so it is
copied without any lock. Files that are dropped meanwhile are not unlinked before the copy is complete (`hold_files`).
From a store that another process writes they may go all the same: then what is there now is noted, and only what is
missing is copied. Segments are copied, not linked: a backup must not share blocks, and their fate, with what it is a
backup of, and the active segment still grows. Imported by `store`.
"""

import os
import time
from pathlib import Path
from typing import Final

from msglog.checks import refused, wrong_type
from msglog.errors import CorruptionError, MsglogError, StoreFailedError
from msglog.storage import Engine
from msglog.storage.copying import NewStore, NotedStore, note_store
from msglog.storage.filesystem import FileSystem
from msglog.store.core import StoreCore, filesystem
from msglog.store.looking import reading
from msglog.store.options import MEMORY, Progress
from msglog.types import BackupReport

_MOST_ROUNDS: Final = 100


def backup(core: StoreCore, directory: object, progress: Progress | None) -> BackupReport:
    """Copy a store; see `Store.backup`."""
    path, was_there = check_target(directory, core.path)
    parents = missing_parents(path)
    return backup_to(core.engine, filesystem(path), path, progress, was_there=was_there, parents=parents)


def backup_to(
    engine: Engine,
    target: FileSystem,
    directory: str,
    progress: Progress | None,
    *,
    was_there: bool,
    parents: tuple[str, ...] = (),
) -> BackupReport:
    """Copy the store of an engine into a directory of a file system."""
    started = time.perf_counter()
    copy = NewStore(target, directory, was_there=was_there, parents=parents)
    try:
        copy.begin()
        noted = _copy_followed(engine, copy, progress) if engine.readonly else _copy_held(engine, copy, progress)
        copy.finish(noted.checkpoint, noted.snapshot)
        copy.release()
    except BaseException as error:
        copy.give_up()
        if isinstance(error, OSError) and not isinstance(error, MsglogError):
            engine.check_open()
            raise StoreFailedError(
                f"no backup in {directory}: {error}", path=directory, outcome="not_applied"
            ) from error
        raise
    duration_ms = (time.perf_counter() - started) * 1000
    return BackupReport(directory, noted.checkpoint.commit, copy.files, copy.bytes, duration_ms)


def check_target(directory: object, source: str) -> tuple[str, bool]:
    """Return the absolute path of a directory for a new store, and whether it is there already.

    Raises `InvalidTypeError`, and `InvalidOptionError` for a directory that is not empty, and for `source` and
    everything inside of it.
    """
    allowed = "the path of a new or empty directory"
    if not isinstance(directory, str | os.PathLike) or not isinstance(plain := os.fspath(directory), str):
        raise wrong_type("directory", directory, allowed)
    if not plain or "\0" in plain or plain == MEMORY:
        raise refused("directory", plain, allowed)
    path = Path(plain).absolute()
    if source != MEMORY and path.resolve().is_relative_to(Path(source).resolve()):
        raise refused("directory", plain, f"{allowed}, outside of the store {source}")
    try:
        was_there = path.exists()
        # A link that leads nowhere is something, too.
        taken = os.path.lexists(path) and (not path.is_dir() or any(path.iterdir()))
    except OSError as error:
        raise refused("directory", plain, f"{allowed}; it cannot be looked at: {error.strerror}") from error
    if taken:
        raise refused("directory", plain, f"{allowed}; this one is not")
    return str(path), was_there


def missing_parents(path: str) -> tuple[str, ...]:
    """Return the directories above a path that are not there, the innermost first; of the operating system's only."""
    if filesystem(path) is not filesystem():
        return ()
    return tuple(str(parent) for parent in Path(path).parents if not os.path.lexists(parent))


def _copy_held(engine: Engine, copy: NewStore, progress: Progress | None) -> NotedStore:
    """Copy a store that this process writes: no file goes before the end."""
    token = object()
    try:
        engine.hold_files(token)
        noted = note_store(engine)
        _copy_all(engine, noted, copy, progress)
    finally:
        engine.release_files(token)
    return noted


def _copy_followed(engine: Engine, copy: NewStore, progress: Progress | None) -> NotedStore:
    """Copy a store that perhaps another process writes, until nothing is missing."""
    for _ in range(_MOST_ROUNDS):
        # Another engine each time: what it finds at opening is all there is.
        with reading(engine.filesystem, engine.directory) as reader:
            newest = reader.life or reader.recovery.life - 1
            noted = note_store(reader, (newest, reader.commit_number + 1))
            copy.drop_others(noted.segments)
            try:
                _copy_all(reader, noted, copy, progress)
            except FileNotFoundError:
                engine.check_open()
                continue  # dropped meanwhile
            return noted
    raise CorruptionError(
        f"{engine.directory}: files that are listed are missing again and again", path=engine.directory, position=0
    )


def _copy_all(engine: Engine, noted: NotedStore, copy: NewStore, progress: Progress | None) -> None:
    done, total = 0, noted.size

    def report(count: int) -> None:
        nonlocal done
        done += count
        engine.check_open()
        if progress is not None:
            progress(done, total)

    report(0)
    for view in noted.segments:
        before = done
        copy.copy_segment(engine.filesystem, view, report)
        report(view.position - (done - before))

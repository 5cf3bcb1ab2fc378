"""Verifying a store: everything that can be checked, without changing anything and while it is in use.

Three ways to look, by who writes. A store that this process writes is looked at through its own engine, under its
locks for moments only. One that another process writes is followed by a readonly engine of our own. One that nobody
writes is recovered on an overlay (`OverlayFileSystem`), so that what a crash left is seen as the next opening will see
it, and nothing is written. Where a look finds something that somebody's work at that moment may explain, it is looked
at again in a way that rules this out. Imported by `store`.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from msglog.checks import check_callable, refused
from msglog.errors import CorruptionError, MsglogError, ReadOnlyError, StoreFailedError, UnsupportedFormatError
from msglog.storage import Engine
from msglog.storage.checking import (
    StreamsCheck,
    check_checkpoints,
    check_journal,
    check_names,
    check_rest,
    check_unlisted,
    check_unopened,
    newest_checkpoint,
    settle,
)
from msglog.storage.filesystem import FileSystem
from msglog.storage.layout import CHECKPOINTS, JOURNALS, LOCK, SEGMENTS
from msglog.storage.state import STATE_STREAM
from msglog.store import core as cores
from msglog.store.core import StoreCore
from msglog.store.looking import LOOKS, PAUSE_SECONDS, open_overlay, open_reader
from msglog.store.options import MEMORY, Progress, check_path
from msglog.store.registration import Check, Claim, make_checks
from msglog.types import Problem
from msglog.waiting import Waiter

Ward = tuple[str, int]


def verify(path: str | os.PathLike[str], *, progress: Progress | None = None) -> Iterator[Problem]:
    """Check a store that may not even open, and yield what is wrong with it; a sound one yields nothing.

    Arguments:
        path: the directory of a store. Nobody needs to have it open; whoever has may go on.
        progress: called with the bytes that were checked and those that there are, now and then.

    All is checked that `Store.verify` checks. Nothing is written, recovered or locked: what a crash has left is judged
    as the next opening will find it. Raises `InvalidOptionError` or `InvalidTypeError` for a path without a store,
    `StoreFailedError` for one that may not be read, never for damage. Cost and memory as of `Store.verify`.
    """
    check_callable("progress", progress)
    directory = check_path(path)
    if directory == MEMORY:
        raise refused("path", path, "the directory of a store")
    filesystem = cores.filesystem(directory)
    with cores.typed_errors(directory):
        there = is_store(filesystem, directory)
    if not there:
        raise refused("path", path, "a directory with a store")
    core = cores.find_open(directory)
    if core is not None and not core.engine.readonly:
        return verify_core(core, progress)
    return verify_directory(filesystem, directory, progress)


def verify_core(core: StoreCore, progress: Progress | None) -> Iterator[Problem]:
    """Check a store that this process has open."""
    engine = core.engine
    if engine.readonly:
        # An engine of our own: nobody loads it anew while it is looked at.
        yield from verify_directory(engine.filesystem, engine.directory, progress)
        return
    if engine.filesystem.durable:
        yield from _check_files_at_work(engine)
    yield from _check_engine(engine, make_checks(engine, core.services), progress)


def verify_directory(filesystem: FileSystem, directory: str, progress: Progress | None) -> Iterator[Problem]:
    """Check a directory that this process does not write."""
    while True:
        if filesystem.is_locked(f"{directory}/{LOCK}"):
            try:
                yield from _check_followed(filesystem, directory, progress)
            except ReadOnlyError:
                continue  # the writer has gone meanwhile
            return
        before = _state_of(filesystem, directory)
        for problem in _check_alone(filesystem, directory, progress):
            if _state_of(filesystem, directory) != before:
                break  # a writer has come meanwhile: what was seen may be its doing
            yield problem
        else:
            return


def is_store(filesystem: FileSystem, directory: str) -> bool:
    """Return whether there is anything of a store in a directory."""
    names = filesystem.list(directory)
    return any(name in names for name in (*CHECKPOINTS, *JOURNALS)) or bool(filesystem.list(f"{directory}/{SEGMENTS}"))


def _state_of(filesystem: FileSystem, directory: str) -> tuple[bool, list[tuple[str, bytes]]]:
    """Return what changes when somebody opens a store for writing."""
    locked = filesystem.is_locked(f"{directory}/{LOCK}")
    heads: list[tuple[str, bytes]] = []
    for name in CHECKPOINTS:
        with contextlib.suppress(OSError):
            file = filesystem.open(f"{directory}/{name}", writable=False)
            try:
                heads.append((name, file.read(0, 32)))
            finally:
                file.close()
    return locked, heads


# A store that nobody writes


def _check_alone(filesystem: FileSystem, directory: str, progress: Progress | None) -> Iterator[Problem]:
    found = _safely(directory, lambda: _check_files(filesystem, directory))
    checkpoint = newest_checkpoint(filesystem, directory)
    if checkpoint is not None and checkpoint.clean and not found:
        found += check_unlisted(filesystem, directory, checkpoint)
    yield from found
    try:
        engine = open_overlay(filesystem, directory)
    except Exception as error:  # noqa: BLE001 models may raise anything when the events they get make no sense
        problem = _problem_of(error, directory)
        if all(problem.path != known.path for known in found):
            yield problem
        yield from check_unopened(filesystem, directory, progress)
        return
    try:
        yield from _check_engine(engine, make_checks(engine, {}), progress)
    finally:
        engine.close()


def _check_files(filesystem: FileSystem, directory: str) -> list[Problem]:
    return check_checkpoints(filesystem, directory) + check_rest(filesystem, directory)


def _problem_of(error: Exception, directory: str) -> Problem:
    """Return what keeps a store from being opened."""
    if isinstance(error, CorruptionError):
        name = error.path.rpartition("/")[2]
        kind = "journal" if name in JOURNALS else "checkpoint" if name in CHECKPOINTS else "segment"
        text = str(error).removeprefix(f"{error.path}: ")
        return Problem(
            kind,
            error.path,
            error.position,
            text,
            first_offset=error.first_offset,
            next_offset=error.next_offset,
        )
    if isinstance(error, UnsupportedFormatError):
        return Problem("file", error.path, 0, str(error).removeprefix(f"{error.path}: "))
    if isinstance(error, StoreFailedError):
        return Problem("file", str(error.path or directory), 0, f"it cannot be read: {error}")
    if isinstance(error, OSError) and not isinstance(error, MsglogError):
        return Problem("file", str(error.filename or directory), 0, f"it cannot be read: {error.strerror or error}")
    return Problem("state", directory, 0, f"the state cannot be replayed: {type(error).__name__}")


def _safely(directory: str, look: Callable[[], list[Problem]]) -> list[Problem]:
    """Look; what cannot be read at all is a problem, too."""
    try:
        return look()
    except OSError as error:
        return [_problem_of(error, directory)]


# A store that another process writes


def _check_followed(filesystem: FileSystem, directory: str, progress: Progress | None) -> Iterator[Problem]:
    yield from _look_again(lambda: _safely(directory, lambda: _check_files(filesystem, directory)))
    engine: Engine | None = None
    failure: Exception | None = None
    for _ in range(LOOKS):
        try:
            engine = open_reader(filesystem, directory)
            break
        except ReadOnlyError:
            raise
        except Exception as error:  # noqa: BLE001 as above
            failure = error
            Waiter().wait(PAUSE_SECONDS)
    if engine is None:
        if failure is not None:
            yield _problem_of(failure, directory)
        return
    try:
        yield from _check_engine(engine, make_checks(engine, {}), progress)
    finally:
        engine.close()


def _look_again(look: Callable[[], list[Problem]]) -> list[Problem]:
    """Look some times, and keep what is wrong each time: what a writer has half done it has done a moment later."""
    found = look()
    for _ in range(LOOKS):
        if not found:
            break
        Waiter().wait(PAUSE_SECONDS)
        wrong = {(problem.kind, problem.path) for problem in found}
        found = [problem for problem in look() if (problem.kind, problem.path) in wrong]
    return found


# The engine


def _check_files_at_work(engine: Engine) -> Iterator[Problem]:
    filesystem, directory = engine.filesystem, engine.directory

    def look() -> list[Problem]:
        return _safely(directory, lambda: _check_files(filesystem, directory))

    found = look()
    if found:
        with engine.checkpoints:
            engine.check_open()
            found = look()
    yield from found
    yield from _safely(directory, lambda: check_journal(engine))
    yield from _safely(directory, lambda: check_names(engine))


def _check_engine(engine: Engine, checks: Sequence[Check], progress: Progress | None) -> Iterator[Problem]:
    labels: dict[int, Mapping[str, Any]] = {}
    for claim in _claims(checks):
        if claim.what == "stream":
            labels[claim.id] = claim.labels
    yield from _check_owners(engine, checks)
    for check in checks:
        for piece in check.pieces():
            engine.check_open()
            yield from _look_at(engine, check, piece)
    yield from StreamsCheck(engine, labels, progress).run()


def _claims(checks: Sequence[Check]) -> Iterator[Claim]:
    for check in checks:
        yield from check.claims()


def _look_at(engine: Engine, check: Check, piece: object) -> list[Problem]:
    try:
        if not list(check.look(piece)):
            return []
    except Exception:  # noqa: BLE001, S110 somebody may be changing it: under the locks it is at rest
        pass
    with contextlib.ExitStack() as locks:
        if check.lock is not None:
            locks.enter_context(check.lock)
        locks.enter_context(engine.lock)
        settle(engine)
        try:
            return list(check.look(piece))
        except Exception as error:  # noqa: BLE001 what is so wrong that it cannot be looked at
            return [Problem("state", engine.directory, 0, f"{type(check).__name__} fails: {type(error).__name__}")]


def _check_owners(engine: Engine, checks: Sequence[Check]) -> list[Problem]:
    """Check that every stream and every cursor belongs to exactly one thing."""
    with engine.lock:
        settle(engine)
        wards = _wards(engine, checks)
    try:
        claimed = Counter((claim.what, claim.id) for claim in _claims(checks))
    except RuntimeError:  # a dictionary changed while it was looked through
        claimed = Counter()
    suspects = {ward for ward in wards if claimed[ward] != 1}
    suspects |= {ward for ward, count in claimed.items() if count > 1}
    if not suspects:
        return []
    with engine.lock:
        settle(engine)
        suspects &= _wards(engine, checks)
        if suspects:
            claimed = Counter((claim.what, claim.id) for claim in _claims(checks))
    path = engine.path(SEGMENTS)
    return [
        Problem(what, path, 0, f"{what} {number} belongs to {'nothing' if not claimed[what, number] else 'several'}")
        for what, number in sorted(suspects)
        if claimed[what, number] != 1
    ]


def _wards(engine: Engine, checks: Sequence[Check]) -> set[Ward]:
    """Under the lock: everything that somebody must claim."""
    wards: set[Ward] = {("stream", stream_id) for stream_id in engine.streams if stream_id != STATE_STREAM}
    for check in checks:
        wards.update(check.wards())
    return wards

"""One open directory in this process, shared by all handles on it.

Invariants: a directory, known by device and inode of its lock file, has at most one core in this process; a
core is closed with its last handle, in the order services, timers, engine. A store in memory has a core of
its own. Handles that were collected without being closed only leave a note here (a finalizer may run
anywhere, even inside the store lock); the next opening or closing in this process acts on it. A forked child
starts with no core: the inherited handles refuse to work, and what it opens is its own. Imported by `store`
and the models; never by users.
"""

import atexit
import contextlib
import logging
import os
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from threading import Lock, current_thread
from threading import enumerate as threads
from typing import Final
from weakref import WeakValueDictionary

from msglog.checks import refused
from msglog.clock import Clock, SystemClock
from msglog.errors import CorruptionError, MsglogError, StoreFailedError
from msglog.storage import Engine, Options
from msglog.storage.filesystem import FileSystem, MemoryFileSystem, OSFileSystem
from msglog.storage.layout import LOCK
from msglog.storage.replay import SENSELESS, makes_no_sense
from msglog.store.options import MEMORY, differences
from msglog.store.registration import Service, model_factories, start_services
from msglog.waiting import Timers

logger = logging.getLogger("msglog.store")


class StoreCore:
    """The engine of one directory with its clock, its timers and the services that go with it.

    `path` is the directory, `pid` the process that opened it. Handles get and give back a core through
    `acquire` and `release`.
    """

    def __init__(self, filesystem: FileSystem, path: str, options: Options, clock: Clock) -> None:
        self.path = path
        self.pid = os.getpid()
        self.clock = clock
        self.engine = Engine.open(filesystem, path, options, model_factories(), clock)
        self.timers = Timers(clock)
        self.holders = 1
        self.services: dict[str, Service] = {}
        try:
            self.services.update(start_services(self))
        except (MsglogError, *SENSELESS) as error:
            self.close()
            if not makes_no_sense(error):
                raise
            what = f"{path}: the state contradicts itself ({type(error).__name__}); `msglog.verify` tells where"
            raise CorruptionError(what, path=path, position=0) from error
        except BaseException:
            self.close()
            raise

    def is_foreign(self) -> bool:
        """Whether it belongs to the parent of this forked process."""
        return self.pid != os.getpid()

    def close(self) -> None:
        """Close everything, last the engine; called once, when no handle is left."""
        with contextlib.ExitStack() as closing:
            closing.callback(self.engine.close)
            closing.callback(self.timers.close)
            for service in self.services.values():
                closing.callback(service.close)


class _Registry:
    """The cores of this process. The lock is held while one opens or closes: a second opening waits."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.cores: dict[tuple[int, int], StoreCore] = {}
        # Only a SimpleQueue may be filled from a finalizer: its put is safe against itself.
        self.abandoned: SimpleQueue[StoreCore] = SimpleQueue()


OWN_THREADS: Final = frozenset({"msglog-sync", "msglog-timers"})
"""Threads of stores, which end with them; those of subscriptions run what is the user's."""

_registry = _Registry()
_filesystem = OSFileSystem()
# Disks that tests made up, by the path of the store on them, as long as somebody holds them.
_mounted: WeakValueDictionary[str, FileSystem] = WeakValueDictionary()


def acquire(path: str, options: Options, clock: Clock | None, given: frozenset[str]) -> StoreCore:
    """Return the core of a directory, opening it if this process has not done so yet.

    `given` names the options that were asked for explicitly: those of a core that is shared must not differ.
    Raises `InvalidOptionError` when they do, and what the engine raises on opening.
    """
    core, opened = _acquire(path, options, clock, given)
    if opened:  # told without the lock: a handler may open a store of its own
        try:
            _tell_opened(core)
        except BaseException:
            release(core)
            raise
    return core


def _acquire(path: str, options: Options, clock: Clock | None, given: frozenset[str]) -> tuple[StoreCore, bool]:
    """Return the core, and whether it was opened just now."""
    with _registry.lock:
        _release_abandoned()
        if path == MEMORY:
            return StoreCore(MemoryFileSystem(), path, options, clock or SystemClock()), True
        with typed_errors(path):
            core = _find(path)
            if core is not None:
                _check_agreement(core, options, clock, given)
                core.holders += 1
                return core, False
            files = filesystem(path)
            core = StoreCore(files, path, options, clock or SystemClock())
            _registry.cores[files.identity(f"{path}/{LOCK}")] = core
            return core, True


def _tell_opened(core: StoreCore) -> None:
    report = core.engine.recovery
    extra: dict[str, object] = {"path": core.path, "commit": report.commit, "duration_ms": report.duration_ms}
    if report.clean or core.engine.readonly:
        logger.debug("opened %s at commit %d", core.path, report.commit, extra={"event": "opened", **extra})
    else:
        logger.info(
            "recovered %s up to commit %d in %.0f ms: %d commits were found behind the last checkpoint",
            core.path,
            report.commit,
            report.duration_ms,
            report.replayed_commits,
            extra={"event": "recovered", "replayed_commits": report.replayed_commits, **extra},
        )
    if report.quarantined:
        logger.warning(
            "%d files of %s were left out, %d bytes of frames; copies: %s",
            len(report.quarantined),
            core.path,
            report.cut_bytes,
            ", ".join(report.quarantined),
            extra={"event": "quarantined", "cut_bytes": report.cut_bytes, "files": list(report.quarantined), **extra},
        )


@contextlib.contextmanager
def typed_errors(path: str) -> Iterator[None]:
    """Turn what the operating system refuses about a path into a typed error."""
    try:
        yield
    except MsglogError:
        raise
    except OSError as error:
        raise StoreFailedError(f"cannot open a store in {path!r}: {error}", path=path, outcome="not_applied") from error
    except UnicodeEncodeError as error:
        raise refused("path", path, "a path that the file system can name") from error


def filesystem(path: str = "") -> FileSystem:
    """Return the file system of a store on disk: the operating system's, unless a test has made up another."""
    return _mounted.get(path, _filesystem)


def mount(path: str, files: FileSystem) -> None:
    """Have a path lie on another file system, as long as somebody else holds that."""
    _mounted[path] = files


def find_open(path: str) -> StoreCore | None:
    """Return the core of a directory that this process has open, None without one."""
    with _registry.lock:
        return _find(path)


def release(core: StoreCore) -> None:
    """Give a core back; the last one to do so closes it. A forked child leaves its parent's alone."""
    if core.pid != os.getpid():
        return
    with _registry.lock:
        _release_abandoned()
        _release(core)
    if not core.holders:
        logger.debug("closed %s", core.path, extra={"event": "closed", "path": core.path})


def kill(core: StoreCore) -> None:
    """Have the engine begin no commit any more, as if the process were dead, and leave everything as it is.

    Whoever waits for a commit hears that its outcome is unknown. `bury` is to follow.
    """
    engine = core.engine
    with engine.lock:
        engine.failure = StoreFailedError(f"the store {core.path} was killed", path=core.path)
        engine.refuse_more()


def bury(core: StoreCore) -> None:
    """Let go of a core whose engine was killed: nothing is written, and its handles refuse."""
    with _registry.lock:
        _forget(core)
        core.close()


def abandon(core: StoreCore) -> None:
    """Note that a handle was collected unclosed. Takes no lock."""
    _registry.abandoned.put(core)


def _find(path: str) -> StoreCore | None:
    try:
        return _registry.cores.get(filesystem(path).identity(f"{path}/{LOCK}"))
    except FileNotFoundError:
        return None


def _check_agreement(core: StoreCore, options: Options, clock: Clock | None, given: frozenset[str]) -> None:
    found = differences(core.engine.options, options, given)
    if clock is not None and clock is not core.clock:
        found.append(("clock", core.clock, clock))
    if found:
        name, have, want = found[0]
        raise refused(name, want, f"{have!r}, with which {core.path} is open in this process already")


def _release(core: StoreCore) -> None:
    core.holders -= 1
    if core.holders:
        return
    _forget(core)
    core.close()


def _forget(core: StoreCore) -> None:
    for identity in [identity for identity, known in _registry.cores.items() if known is core]:
        del _registry.cores[identity]


def _release_abandoned() -> None:
    with contextlib.suppress(Empty):
        while True:
            core = _registry.abandoned.get_nowait()
            try:
                _release(core)
            except Exception:
                # Not the fault of whoever opens or closes something else right now.
                logger.exception(
                    "closing %s, which was collected unclosed, failed",
                    core.path,
                    extra={"event": "close_failed", "path": core.path},
                )


def _end_all() -> None:
    # At the end of the process: what is still open is closed, so that the next opening finds it clean. Daemon threads
    # run on until the process is gone, and nobody catches what they raise: as long as there are any, what they may be
    # in the middle of stays open, and is made durable.
    alone = all(thread is current_thread() or thread.name in OWN_THREADS for thread in threads())
    with _registry.lock:
        cores = list(_registry.cores.values())
        if alone:
            _registry.cores.clear()
    with contextlib.ExitStack() as ending:
        for core in cores:
            ending.callback(core.close if alone else core.engine.flush)


def _forget_all() -> None:
    global _registry  # noqa: PLW0603 - the child of a fork has none of its parent's stores, and maybe a held lock
    _registry = _Registry()


atexit.register(_end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)

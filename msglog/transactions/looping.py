"""Waiting for syncs without blocking an event loop: whatever waits at a time shares them.

The tasks of a loop that wait for commits of a store are one waiter to the engine: one call of `Engine.wait` for the
latest commit, in a thread, then all whose commits are covered go on. It begins behind what the loop has ready to run,
so that a thousand tasks that write in one turn of the loop wait for one sync. Imported by `transaction` and by `aio`.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, ref

from msglog.storage import Engine

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

_MOST_THREADS: Final = 32


async def wait_off_the_loop(engine: Engine, commit: int) -> None:
    """Return when a commit is as durable as `sync` promises.

    Cancelling it ends the wait, not the commit, which is written already. Raises what `Engine.wait` raises.
    """
    future = durable(engine, commit)
    if future is not None:
        await future


def durable(engine: Engine, commit: int) -> "Future[None] | None":
    """Return what is done when a commit is as durable as `sync` promises, None when it is already.

    In the thread of the running loop, whose tasks it is for.
    """
    if engine.published >= commit and not engine.checkpoint_requested:
        return None
    loop = sys.modules["asyncio"].get_running_loop()  # whoever awaits has imported it; a plain import is slow
    return _syncs_of(loop, engine).wait(engine, commit)


def threads() -> ThreadPoolExecutor:
    """Return the threads in which the package does for event loops what may take its time.

    They are not the loops' own: an application may fill those with work that waits for messages.
    """
    global _threads  # noqa: PLW0603 - the child of a fork has none of its parent's threads
    if _threads is None or _threads[0] != os.getpid():
        _threads = os.getpid(), ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="msglog-aio")
    return _threads[1]


_threads: tuple[int, ThreadPoolExecutor] | None = None


class _Syncs:
    """The tasks of one loop that wait for commits of one engine."""

    def __init__(self, loop: "AbstractEventLoop") -> None:
        self._loop = loop
        self._waiting: list[tuple[int, Future[None]]] = []
        self._at_work = False

    def wait(self, engine: Engine, commit: int) -> "Future[None]":
        """Return what is done when the commit is as durable as it is to be."""
        future = self._loop.create_future()
        self._waiting.append((commit, future))
        if not self._at_work:
            self._at_work = True
            self._loop.call_soon(self._begin, engine)
        return future

    def _begin(self, engine: Engine) -> None:
        latest = max(commit for commit, _ in self._waiting)
        job = self._loop.run_in_executor(threads(), engine.wait, latest)
        job.add_done_callback(lambda done: self._end(engine, latest, done))

    def _end(self, engine: Engine, latest: int, job: "Future[None]") -> None:
        error = job.exception() if not job.cancelled() else None
        left: list[tuple[int, Future[None]]] = []
        for commit, future in self._waiting:
            if future.done():  # cancelled
                continue
            if error is not None:
                future.set_exception(error)
            elif commit <= latest:
                future.set_result(None)
            else:
                left.append((commit, future))
        self._waiting = left
        self._at_work = bool(left)
        if left:
            self._begin(engine)


_syncs: "WeakKeyDictionary[Any, WeakKeyDictionary[Engine, _Syncs]]" = WeakKeyDictionary()


# The last one that was asked for: finding it in dictionaries of weak keys costs more than all else here.
_last: "tuple[Any, Any, _Syncs] | None" = None


def _syncs_of(loop: "AbstractEventLoop", engine: Engine) -> _Syncs:
    global _last  # noqa: PLW0603 - a cache of one entry
    if _last is not None and _last[0]() is loop and _last[1]() is engine:
        return _last[2]
    of_loop = _syncs.setdefault(loop, WeakKeyDictionary())
    known = of_loop.get(engine)
    if known is None:
        known = of_loop[engine] = _Syncs(loop)
    _last = ref(loop), ref(engine), known
    return known

"""Waiting for syncs without blocking an event loop: whatever waits at a time shares them.

The tasks of a loop that wait for commits of a store are one waiter to the engine: one call of `Engine.wait` for the
latest commit, in a thread, then all whose commits are covered go on. It begins behind what the loop has ready to run,
so that a thousand tasks that write in one turn of the loop wait for one sync. Imported by `transaction` and by `aio`.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakKeyDictionary, ref

from msglog.errors import NoEventLoopError
from msglog.storage import Engine

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future, ThreadPoolExecutor

R = TypeVar("R")

_MOST_THREADS: Final = 32


def running_loop() -> "asyncio.AbstractEventLoop":
    """Return the event loop that runs in this thread. Raises `NoEventLoopError`."""
    global _find_loop  # noqa: PLW0603 - bound once
    if _find_loop is None:  # a plain import is slow, and whoever runs a loop has made it; another thread may be at it
        _find_loop = getattr(sys.modules.get("asyncio"), "_get_running_loop", None)  # it raises nothing
    found = None if _find_loop is None else _find_loop()
    if found is None:
        raise NoEventLoopError(
            "no running event loop of asyncio in this thread: what is awaited works under asyncio, and under anyio on "
            "its asyncio backend; elsewhere use the classes for threads"
        )
    return found


_find_loop: "Callable[[], asyncio.AbstractEventLoop | None] | None" = None


async def wait_off_the_loop(engine: Engine, commit: int) -> None:
    """Return when a commit is as durable as `sync` promises.

    Cancelling it ends the wait, not the commit, which is written already. Raises what `Engine.wait` raises.
    """
    future = durable(engine, commit)
    if future is not None:
        await future


def durable(engine: Engine, commit: int) -> "asyncio.Future[None] | None":
    """Return what is done when a commit is as durable as `sync` promises, None when it is already.

    In the thread of the running loop, whose tasks it is for. Raises `NoEventLoopError`.
    """
    if engine.published >= commit and not engine.checkpoint_requested:
        return None
    return next_sync(engine)


def next_sync(engine: Engine) -> "asyncio.Future[None]":
    """Return what is done when all that is written by now is as durable as `sync` promises. Raises as `durable`."""
    loop = None if _find_loop is None else _find_loop()
    if loop is None:
        try:
            loop = running_loop()
        except NoEventLoopError as error:
            error.outcome = "unknown"  # it is written, and will be synced
            raise
    last = _last
    syncs = last[2] if last is not None and last[0]() is loop and last[1]() is engine else _syncs_of(loop, engine)
    future = new_wait(loop)
    syncs.waiting.append(future)
    if not syncs.begun:
        syncs.begin(loop, engine)
    return future


def new_wait(loop: "asyncio.AbstractEventLoop") -> "asyncio.Future[None]":
    """Return what one task can await."""
    return loop.create_future()


def end_waits(waits: "list[asyncio.Future[None]]", error: BaseException | None) -> None:
    """Have the tasks go on that wait, with an error if there is one; in the thread of their loop.

    Those go on already that were cancelled, and those for whom it was done before.
    """
    for future in waits:
        if not future.done():
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)


def in_thread(call: Callable[[], R]) -> "Future[R]":
    """Have a call made in a thread of the package, which does there for event loops what may take its time.

    When the interpreter ends it gives no more threads, nor does a system that is full of them: then the call is made
    here, nobody else being left to block.
    """
    from concurrent.futures import Future  # noqa: PLC0415 see `_pool`

    job: Future[R] = Future()
    job.set_running_or_notify_cancel()
    calls = [call]
    try:
        _pool().submit(_make, calls, job)
    except RuntimeError:
        _make(calls, job)
    return job


def _make(calls: list[Callable[[], R]], job: "Future[R]") -> None:
    """Make the call, unless another thread has: what the pool has no new thread for it keeps for those it has."""
    try:
        call = calls.pop()
    except IndexError:
        return
    try:
        job.set_result(call())
    except BaseException as error:
        job.set_exception(error)  # for whoever looks at it
        del job  # the error knows this frame
        if not isinstance(error, Exception):
            raise


def _pool() -> "ThreadPoolExecutor":
    """Return the threads. They are not the loops' own: those may be full of work that waits for messages."""
    global _threads  # noqa: PLW0603 - the child of a fork has none of its parent's threads
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 stores without event loops need none

    if _threads is None or _threads[0] != os.getpid():
        _threads = os.getpid(), ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="msglog-aio")
    return _threads[1]


_threads: "tuple[int, ThreadPoolExecutor] | None" = None


class _Syncs:
    """The tasks of one loop that wait for commits of one engine, in the order in which they came.

    A job waits for all that is written when it begins, which is what those wait for who have come by then. Each step is
    asked for twice, and finds the second time what of it was done: an exception of a signal handler ends one callback
    of the loop, and must not leave those stuck who wait. Invariants: while somebody is in `waiting`, a callback is
    still to come that begins a job, or the end of `_job` is; whoever was covered by a job goes on at its end. The loop
    is not held, so that one that has ended can go.
    """

    def __init__(self) -> None:
        # Those whom no job covers.
        self.waiting: list[asyncio.Future[None]] = []
        self.begun = False
        # Held by who makes it, since it holds the loop.
        self._job: ref[Future[None]] | None = None

    def begin(self, loop: "asyncio.AbstractEventLoop", engine: Engine) -> None:
        """Have somebody see to those who wait, who are the first since nobody did."""
        loop.call_soon(self._begin, loop, engine)
        loop.call_soon(self._begin, loop, engine)
        self.begun = True

    def _begin(self, loop: "asyncio.AbstractEventLoop", engine: Engine) -> None:
        if self._job is None and self.waiting:
            self._start(loop, engine)

    def _start(self, loop: "asyncio.AbstractEventLoop", engine: Engine) -> None:
        covered = self.waiting[:]  # interrupted before the end of this they are covered by the next, too
        job = in_thread(partial(engine.wait, engine.commit_number))
        job.add_done_callback(partial(self._tell, loop, partial(self._end, loop, engine, covered)))
        begun = ref(job)
        # Last, since until then it counts as not begun; no signal is handled between stores.
        self.waiting = []
        self._job = begun

    def _tell(
        self, loop: "asyncio.AbstractEventLoop", end: "Callable[[Future[None]], None]", job: "Future[None]"
    ) -> None:
        """Have the loop hear of the end of a job; in the job's thread."""
        try:
            loop.call_soon_threadsafe(end, job)
            loop.call_soon_threadsafe(end, job)
        except RuntimeError:  # the loop was closed: nobody waits any more
            self.waiting = []

    def _end(
        self,
        loop: "asyncio.AbstractEventLoop",
        engine: Engine,
        covered: "list[asyncio.Future[None]]",
        job: "Future[None]",
    ) -> None:
        """Have a job begin for those who came meanwhile, then those go on who were covered by this one."""
        if self._job is not None and self._job() is job:
            if self.waiting:
                self._start(loop, engine)
            else:
                self.begun = False
                self._job = None
        end_waits(covered, job.exception())


_syncs: "WeakKeyDictionary[Any, WeakKeyDictionary[Engine, _Syncs]]" = WeakKeyDictionary()


# The last one that was asked for: finding it in dictionaries of weak keys costs more than all else here.
_last: "tuple[Any, Any, _Syncs] | None" = None


def _syncs_of(loop: "asyncio.AbstractEventLoop", engine: Engine) -> _Syncs:
    global _last  # noqa: PLW0603 - a cache of one entry
    if _last is not None and _last[0]() is loop and _last[1]() is engine:
        return _last[2]
    of_loop = _syncs.setdefault(loop, WeakKeyDictionary())
    known = of_loop.get(engine)
    if known is None:
        known = of_loop[engine] = _Syncs()
        _forget_closed()
    _last = ref(loop), ref(engine), known
    return known


def _forget_closed() -> None:
    """Let loops go that were closed while somebody waited, who holds them."""
    for reference in _syncs.keyrefs():
        loop = reference()
        if loop is not None and loop.is_closed():
            _syncs.pop(loop, None)

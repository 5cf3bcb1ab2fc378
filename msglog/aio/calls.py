"""How a call of the threaded classes is made from an event loop.

`write` makes it here, in the thread of the loop: a write to memory and to files that the system keeps in memory, behind
locks that are held for moments; its sync is awaited. `begin` leaves that to the caller, `now` to nobody. `run` makes it
in another thread, for what may read or sync files: opening, closing, definitions. What is begun is done, even if the
task that waits is cancelled. Imported by the rest of `aio`.
"""

import asyncio
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

from msglog.errors import MsglogError
from msglog.showing import one_line
from msglog.storage import Deferral, Engine, in_force
from msglog.transactions.looping import durable, in_thread, running_loop, wait_off_the_loop

P = ParamSpec("P")
R = TypeVar("R")


async def write(engine: Engine, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Make a call that writes, and return what it returns when that is as durable as it would be by the call itself.

    What it raises is raised after the sync of what it saw.
    """
    deferral, outer = Deferral(), in_force.deferral
    try:
        try:
            in_force.deferral = deferral
            result = call(*args, **kwargs)
        finally:
            in_force.deferral = outer
    except MsglogError:
        await wait_off_the_loop(engine, deferral.commit)
        raise
    if deferral.commit:
        future = durable(engine, deferral.commit)
        if future is not None:
            await future
    return result


def now(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Make a call whose sync nobody has to wait for: what it does is covered by that of whatever follows from it."""
    outer = in_force.deferral
    try:
        in_force.deferral = Deferral()
        return call(*args, **kwargs)
    finally:
        in_force.deferral = outer


def begin(engine: Engine, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> "Written[R]":
    """Make a call that writes now, and return what can be awaited for its sync."""
    deferral, outer = Deferral(), in_force.deferral
    try:
        in_force.deferral = deferral
        result = call(*args, **kwargs)
    finally:
        in_force.deferral = outer
    return Written(engine, deferral.commit, result)


async def run(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Make a call in another thread."""
    loop = running_loop()  # raises before anything is begun
    job = asyncio.wrap_future(in_thread(partial(call, *args, **kwargs)), loop=loop)
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        job.add_done_callback(_hear)
        raise


def _hear(job: "asyncio.Future[Any]") -> None:
    """Take note of how a job ended that nobody waits for any more, so that asyncio does not complain."""
    if not job.cancelled():
        job.exception()


class Written(Generic[R]):
    """What was written by the time it is returned; awaiting it waits until that is as durable as `sync` promises.

    It need not be awaited. `result`: what the call of the threaded class would have returned.
    """

    __slots__ = ("_commit", "_engine", "result")

    def __init__(self, engine: Engine, commit: int, result: R) -> None:
        self._engine = engine
        self._commit = commit
        self.result = result

    def __await__(self) -> Generator[Any, None, R]:
        if self._commit:
            yield from wait_off_the_loop(self._engine, self._commit).__await__()
        return self.result

    @one_line
    def __repr__(self) -> str:
        return f"<msglog.aio.Written commit={self._commit}>"

"""The tasks of a subscription: their common end. Imported by the subscriptions."""

import asyncio
import inspect
from collections.abc import Coroutine, Iterable
from types import TracebackType
from typing import Any, Final, Self
from weakref import WeakSet

from msglog.checks import check_handler, check_integer, check_timeout, wrong_type
from msglog.transactions.looping import running_loop

MOST_TASKS: Final = 10_000


def check_callback(option: str, given: Any, *takes: str) -> None:
    """Make sure that a callback gives something to await, and takes these arguments. Raises `InvalidTypeError`."""
    functions = (given, type(given).__call__)
    if not any(inspect.iscoroutinefunction(function) for function in functions):
        raise wrong_type(option, given, f"a coroutine function that takes {' and '.join(takes)}")
    check_handler(option, given, *takes, awaited=True)


def check_concurrency(concurrency: int) -> None:
    """Make sure that it is a number of tasks."""
    check_integer("concurrency", concurrency, 1, MOST_TASKS)


# Those of all subscriptions: none waits for the end of others, which may wait for its own.
_all_tasks: "WeakSet[asyncio.Task[None]]" = WeakSet()


def in_callback() -> bool:
    """Whether the running task is one of a subscription."""
    return asyncio.current_task() in _all_tasks


def cancels_itself() -> bool:
    """Whether the running task was not cancelled, so that a `CancelledError` comes from what it awaited."""
    task = asyncio.current_task()
    return task is not None and not task.cancelling()


class Cancellations:
    """Those of the running task from now on: also one that the user's code lost, as by raising another error for it.

    Whoever cancels waits for the end of the task; one that works in a loop must not go on then.
    """

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._before = 0 if self._task is None else self._task.cancelling()

    async def raise_lost(self) -> None:
        """Raise `CancelledError` when the task was cancelled, unless that was taken back (`Task.uncancel`)."""
        if self._task is not None and self._task.cancelling() > self._before:
            await asyncio.sleep(0)  # anyio cancels again, with a message that it knows its own cancellations by
            raise asyncio.CancelledError


class Tasks:
    """Tasks that work until they are told to stop. The loop holds them, so nobody else has to."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, works: Iterable[Coroutine[Any, Any, None]]) -> None:
        """Have these run as tasks of the running loop."""
        for work in works:
            task = asyncio.get_running_loop().create_task(work)
            self._tasks.add(task)
            _all_tasks.add(task)

    def alive(self) -> int:
        """Return how many have not ended."""
        return sum(not task.done() for task in self._tasks)

    def _of_this_loop(self) -> "set[asyncio.Task[None]]":
        """Return those to wait for: a loop that another one runs after, or that a fork left behind, ends none."""
        loop, running = asyncio.get_running_loop(), asyncio.current_task()
        return {task for task in self._tasks if task is not running and not task.done() and task.get_loop() is loop}

    async def join(self, timeout: float | None) -> bool:
        """Wait up to `timeout` seconds (None: for ever) for all to end; return whether they have."""
        check_timeout(timeout)
        others = self._of_this_loop()
        if others:
            await asyncio.wait(others, timeout=timeout)
        return not self.alive()

    async def cancel(self) -> None:
        """Cancel those that have not ended, and wait until they have."""
        for task in self._of_this_loop():
            task.cancel()
        await self.join(None)


class Subscribed:
    """What both subscriptions are: tasks with `stop`, `close`, `join` and a context manager."""

    def __init__(self) -> None:
        running_loop()  # raises without one, before there is anything to leave behind
        self._tasks = Tasks()

    def stop(self) -> None:
        """Have each task end after the message in hand; returns at once.

        From any thread, and from a signal handler: it takes no lock.
        """
        raise NotImplementedError

    async def _release(self) -> None:
        """Give back what is in hand, once no task is at work."""

    async def join(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds (None: for ever) for all tasks to end; return whether they have."""
        return await self._tasks.join(timeout)

    async def close(self, timeout: float | None = None) -> None:
        """Stop, and wait up to `timeout` seconds for the callbacks that run (None: for ever).

        Those that take longer are cancelled, and what they have in hand goes back. Called by a callback, of whatever
        subscription, it only stops: those it would wait for may be closing, too. Calling again does nothing.
        """
        check_timeout(timeout)
        self.stop()
        if in_callback():
            return
        if not await self._tasks.join(timeout):
            await self._tasks.cancel()
        await self._release()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

"""What a task sleeps on where a thread sleeps on a `msglog.waiting.Waiter`. Imported by the rest of `aio`."""

import asyncio
from time import monotonic

from msglog.transactions.looping import running_loop

__all__ = ["TaskWaiter", "left_until"]


class TaskWaiter:
    """A binary semaphore for one task: any number of `wake` calls let one `wait` pass.

    `wake` takes no lock and may come from any thread and from a signal handler. Only the first one since the last
    `wait` costs the loop anything.
    """

    __slots__ = ("__weakref__", "_asked", "_future", "_loop", "_woken")

    def __init__(self) -> None:
        self._loop = running_loop()
        self._future: asyncio.Future[None] | None = None
        # From the first `wake` on; and from when the loop has heard of it.
        self._asked = self._woken = False

    def wake(self) -> None:
        """Let the present or the next `wait` return at once."""
        if not self._asked:
            self._asked = True
            try:
                self._ask()
            except BaseException:  # of a signal handler: whoever wakes next is not to believe that it was done
                self._asked = False
                raise

    def _ask(self) -> None:
        if self._is_awake():
            self._ring()
            return
        try:
            self._loop.call_soon_threadsafe(self._ring)
        except RuntimeError:
            pass  # the loop was closed: nobody waits any more

    def _is_awake(self) -> bool:
        """Whether this is called by a task of the loop: then it need not be called out of its sleep.

        A signal handler may run while it is about to sleep; then no task runs.
        """
        try:
            return asyncio.get_running_loop() is self._loop and asyncio.current_task() is not None
        except RuntimeError:
            return False

    def _ring(self) -> None:
        self._woken = True
        future = self._future
        if future is not None and not future.done():
            future.set_result(None)

    async def wait(self, seconds: float | None) -> None:
        """Sleep until woken, at most so long (None: for ever)."""
        if not self._woken:
            future = self._future = self._loop.create_future()
            timer = None if seconds is None else self._loop.call_later(seconds, self._ring)
            try:
                await future
            finally:
                self._future = None
                if timer is not None:
                    timer.cancel()
        self._asked = self._woken = False


def left_until(deadline: float | None) -> float | None:
    """Return the seconds that are left, at least 0; None for ever."""
    return None if deadline is None else max(0.0, deadline - monotonic())

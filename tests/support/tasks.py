"""What the tests of asyncio share: loops that are watched, and calls that are cancelled at a chosen await.

`Cancelled` passes on what a coroutine awaits, and cancels its task at one of these points: as soon as it sleeps, or
when what it sleeps on is done, but before it hears of it.
"""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Literal, TypeVar

T = TypeVar("T")

When = Literal["early", "late"]


class CountingSelector(selectors.DefaultSelector):
    """A selector that counts how often the loop went to sleep."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Count, and wait."""
        self.turns += 1
        return super().select(timeout)


def run(work: Coroutine[Any, Any, T], selector: selectors.BaseSelector | None = None) -> T:
    """Run a coroutine in debug mode; whatever the loop's handler of exceptions hears of fails the call."""
    heard: list[Any] = []
    with asyncio.Runner(debug=True, loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        loop = runner.get_loop()
        loop.set_exception_handler(lambda _, context: heard.append(context))
        loop.slow_callback_duration = 10.0  # seconds: it warns, and machines may be as slow as they like
        result = runner.run(work)
    assert not heard
    return result


class Cancelled:
    """Awaits a coroutine whose task is cancelled at await number `step`, from 1 on. `steps`: how many there were."""

    def __init__(self, work: Coroutine[Any, Any, Any], step: int, when: When) -> None:
        self._work = work
        self._step = step
        self._when = when
        self.steps = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        task = asyncio.current_task()
        assert task is not None
        inner = self._work.__await__()
        send: Callable[[], Any] = lambda: inner.send(None)  # noqa: E731 replaced by a throw below
        while True:
            try:
                awaited = send()
            except StopIteration as end:
                return end.value
            self.steps += 1
            if self.steps == self._step:
                if awaited is None or self._when == "early":
                    asyncio.get_running_loop().call_soon(task.cancel)
                else:
                    awaited.add_done_callback(lambda _: task.cancel())
            try:
                yield awaited
                send = lambda: inner.send(None)  # noqa: E731
            except BaseException as error:  # noqa: BLE001 passed on
                send = lambda error=error: inner.throw(error)  # noqa: E731


async def cancel_at(work: Coroutine[Any, Any, Any], step: int, when: When) -> tuple[bool, Any]:
    """Run work in a task that is cancelled at an await; return whether it got as far, and what it returned."""
    cancelled = Cancelled(work, step, when)

    async def wrapped() -> Any:
        return await cancelled

    task = asyncio.create_task(wrapped())
    await asyncio.wait([task], timeout=PATIENCE_SECONDS)
    assert task.done(), "stuck"
    if task.cancelled():
        return True, None
    return cancelled.steps >= step, task.result()


PATIENCE_SECONDS = 10.0
"""How long a test waits for what must happen; reached only by one that fails."""


async def soon(awaitable: Awaitable[T]) -> T:
    """Return what must come without a wait worth mentioning."""
    return await asyncio.wait_for(awaitable, PATIENCE_SECONDS)


async def turns(count: int = 5) -> None:
    """Let the other tasks have their turns."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that other tasks and threads bring about."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 threads bring it about, too
            await asyncio.sleep(0.001)

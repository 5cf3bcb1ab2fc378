"""Asynchronous iteration that lets other tasks have their turn. Imported by the rest of `aio`."""

from asyncio import sleep
from collections.abc import Iterator
from typing import Final, Generic, Self, TypeVar

T = TypeVar("T")

STEPS_IN_A_ROW: Final = 64
"""After so many steps without a wait other tasks have their turn: some tenths of a millisecond."""


class Stepping:
    """The base of asynchronous iterators whose steps may go on for long without waiting for anything."""

    _left = STEPS_IN_A_ROW

    def __aiter__(self) -> Self:
        return self

    async def _breathe(self) -> None:
        """Let other tasks have their turn, now and then; at the beginning of each step."""
        self._left -= 1
        if self._left <= 0:
            self._left = STEPS_IN_A_ROW
            await sleep(0)


class Steps(Stepping, Generic[T]):
    """An asynchronous iterator over an iterator that never waits."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items

    async def __anext__(self) -> T:
        await self._breathe()
        for item in self._items:
            return item
        raise StopAsyncIteration

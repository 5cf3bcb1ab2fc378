"""Asynchronous iteration over what need not be waited for. Imported by the rest of `aio`."""

from asyncio import sleep
from collections.abc import Iterator
from typing import Final, Generic, Self, TypeVar

T = TypeVar("T")

STEPS_IN_A_ROW: Final = 64
"""After so many steps without a wait other tasks have their turn: some tenths of a millisecond."""


class Steps(Generic[T]):
    """An asynchronous iterator over an iterator that never waits."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._left = STEPS_IN_A_ROW

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        self._left -= 1
        if self._left <= 0:
            self._left = STEPS_IN_A_ROW
            await sleep(0)
        for item in self._items:
            return item
        raise StopAsyncIteration

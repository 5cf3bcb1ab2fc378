"""What can be a callback of one argument, and what looks like one but cannot."""

import asyncio
import functools
import operator
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msglog


async def _coroutine(_: object) -> None:
    pass


def _generator(_: object) -> Iterator[None]:
    yield


async def _asynchronous_generator(_: object) -> AsyncIterator[None]:
    yield


class _Coroutine:
    async def __call__(self, _: object) -> None:
        pass


class _Object:
    def __call__(self, message: object) -> None:
        pass

    def method(self, message: object) -> None:
        pass

    async def coroutine(self, message: object) -> None:
        pass


NO_CALLBACKS: list[Any] = [
    _coroutine,
    functools.partial(_coroutine),
    _generator,
    _asynchronous_generator,
    _Coroutine(),
    _Object().coroutine,
    lambda: None,
    lambda _first, _second: None,
    lambda _first, *, _named: None,
    threading.Event().set,
    _Object.method,
]
"""Callables that begin nothing when they are called with one argument, or cannot be."""

RETURN_COROUTINES: list[Any] = [
    lambda message: _Object().coroutine(message),
    functools.wraps(print)(lambda message: _Object().coroutine(message)),
]
"""Callables that look like others: only their call tells that nobody does the work."""

CALLBACKS: list[Any] = [
    print,
    repr,
    operator.itemgetter(slice(0)),
    _Object(),
    _Object().method,
    functools.partial(print, "seen"),
    lambda *_all: None,
    lambda _first, _second=None: None,
    [].append,
    dict,
]
"""Callables that can be called with one argument, and some that do not tell what they take."""


class OwnError(Exception):
    """What a user defines."""


class OwnBaseError(BaseException):
    """What a user defines, too."""


EXCEPTIONS: list[Exception] = [
    OwnError(),
    StopIteration("a value"),
    StopAsyncIteration(),
    RecursionError(),
    MemoryError(),
    msglog.ClosedError("another store"),
    msglog.ConsumerCancelledError("another queue", queue="other"),
    msglog.SettlementError("another delivery"),
    msglog.OffsetOutOfRangeError("another topic"),
    msglog.FencedError("another group"),
]
"""What a failed callback may raise: the errors that mean something to who calls it are not about its own work."""

ENDS: list[BaseException] = [
    OwnBaseError(),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    asyncio.CancelledError(),
]
"""What ends a thread."""


def name_of(error: BaseException) -> str:
    """Return the name of a test case."""
    return type(error).__name__

"""What can be a callback of one argument, and what looks like one but cannot."""

import functools
import operator
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any


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

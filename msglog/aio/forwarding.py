"""Methods of the asyncio classes made from those of the threaded ones, with their signatures and docstrings.

    create_topic = in_thread(msglog.Log.create_topic)       made in another thread
    read = iterated(msglog.Log.read)                        an asynchronous iterator
    topics = plain(msglog.Log.topics)                       no waiting at all: not `async`

A class that has such methods has the threaded object as `_sync`. Imported by the classes of `aio`.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from msglog.aio.calls import run
from msglog.aio.iterating import Steps

P = ParamSpec("P")
R = TypeVar("R")


def plain(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """Return a method that makes the call at once."""

    @wraps(method)
    def forward(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return method(self._sync, *args, **kwargs)

    return forward


def in_thread(
    method: Callable[Concatenate[Any, P], R],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """Return a coroutine method that makes the call in another thread."""

    @wraps(method)
    async def forward(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await run(method, self._sync, *args, **kwargs)

    return forward


def iterated(
    method: Callable[Concatenate[Any, P], Iterator[R]],
) -> Callable[Concatenate[Any, P], AsyncIterator[R]]:
    """Return a method that gives an asynchronous iterator over what the call's iterator has."""

    @wraps(method)
    def forward(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
        return Steps(method(self._sync, *args, **kwargs))

    return forward

"""Calls that publish: after their sync the queues are looked after, as the threaded calls do. Imported by `broker`."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from msglog.aio.calls import now, write
from msglog.broker.vhost import VirtualHost

P = ParamSpec("P")
R = TypeVar("R")


async def publish(vhost: VirtualHost, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Make a call that publishes, and return what it returns when that is as durable as it would be by the call."""
    try:
        return await write(vhost.engine, call, *args, **kwargs)
    finally:
        if not vhost.closed:
            now(vhost.wait_and_attend, 0)


def published(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """Return a coroutine method that publishes as the threaded one does."""

    @wraps(method)
    async def forward(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await publish(self._vhost, method, self._sync, *args, **kwargs)

    return forward

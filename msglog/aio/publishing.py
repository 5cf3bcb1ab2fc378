"""Calls that publish: after their sync the queues are looked after, as the threaded calls do. Imported by `broker`."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from msglog.aio.calls import now, write
from msglog.broker.vhost import VirtualHost
from msglog.errors import MsglogError
from msglog.storage import Deferral, in_force
from msglog.transactions.looping import durable, wait_off_the_loop

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
        # `publish` and `write` in place: of many publications at a time their calls would be a quarter.
        sync = self._made or self.sync
        vhost, engine = self._host, self._engine
        deferral, outer = Deferral(), in_force.deferral
        try:
            try:
                try:
                    in_force.deferral = deferral
                    result = method(sync, *args, **kwargs)
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
        finally:
            if (vhost.news or vhost.has_abandoned) and not vhost.closed:
                now(vhost.wait_and_attend, 0)

    return forward

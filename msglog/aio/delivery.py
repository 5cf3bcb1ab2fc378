"""A message in a task's hand. Exported by `msglog.aio`."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import msglog
from msglog.aio.calls import Written, begin
from msglog.broker import Properties


class Delivery(msglog.Delivery):
    """A message that was handed out, as a `msglog.Delivery`: settling it never waits.

    `async with delivery:` does what `with delivery:` does; so a task that is cancelled in it returns the message.
    """

    __slots__ = ()

    def reply(  # type: ignore[override]
        self, body: bytes, *, headers: Mapping[str, Any] | None = None, properties: Properties | None = None
    ) -> Written[bool]:
        """Answer to the message: sent when this returns, and durable once what it returns was awaited.

        Arguments and errors as for `msglog.Delivery.reply`. It need not be awaited; that gives whether the answer
        reached somebody who waits, or a queue.
        """
        return begin(self.vhost.engine, super().reply, body, headers=headers, properties=properties)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

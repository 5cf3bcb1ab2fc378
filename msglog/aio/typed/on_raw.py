"""What the consumers with objects have in common: each ends with the consumer that it stands on.

Imported by them.
"""

from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar


class Raw(Protocol):
    """A consumer of tasks that hands out bytes."""

    def stop(self) -> None:
        """Have it hand out nothing more."""

    async def close(self) -> None:
        """End it; calling again does nothing."""

    async def __aenter__(self) -> Any: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


R = TypeVar("R", bound=Raw)


class OnRaw(Generic[R]):
    """The base of the consumers with objects."""

    raw: R

    def stop(self) -> None:
        """Hand out nothing more: iterations end after what is in hand, waiting calls return. See `raw.stop`."""
        self.raw.stop()

    async def close(self) -> None:
        """End the consumer; what it has in hand goes back to where it came from. Calling again does nothing."""
        await self.raw.close()

    async def __aenter__(self) -> Self:
        await self.raw.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.raw.__aexit__(kind, error, trace)

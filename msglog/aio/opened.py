"""What `await` or `async with` opens, and leaving closes. Imported by the store, the faces and the producer."""

from abc import ABC, abstractmethod
from collections.abc import Generator
from types import TracebackType
from typing import Any, Self


class Opened(ABC):
    """`await it` and `async with it`, for a class with `open` and `close`."""

    @abstractmethod
    async def open(self) -> Self:
        """Open it and return this; what is open stays as it is."""

    @abstractmethod
    async def close(self) -> None:
        """Close it. Calling again does nothing."""

    def __await__(self) -> Generator[Any, None, Self]:
        return self.open().__await__()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

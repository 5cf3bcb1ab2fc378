# What `_compiled_direct.c` makes.
from collections.abc import Callable
from typing import Any, Self

from msglog.storage.engine import Engine
from msglog.storage.stream import Stream
from msglog.storage.writers import DirectWriter

SOURCE_CRC: int

class DirectWays:
    def __new__(
        cls,
        writer: DirectWriter,
        engine: Engine,
        known: tuple[type, type, type, Callable[..., int]],
        headers: tuple[bytes, bytes],
        state: Stream,
        event_mark: int,
        event_cost: int,
        /,
    ) -> Self: ...
    def append(self, stream: Stream, value: bytes, timestamp_ms: int, key: bytes | None = None, /) -> int: ...
    def append_settle(self, cursor: Any, first: int, end: int, timestamp_ms: int, /) -> int: ...
    def append_copies(self, streams: list[Stream], value: bytes, key: bytes, timestamp_ms: int, /) -> list[int]: ...

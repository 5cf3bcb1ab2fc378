# What `_compiled_journal.c` makes.
from collections.abc import Callable
from typing import Self

from msglog.storage.engine import Engine
from msglog.storage.stream import Stream
from msglog.storage.writers import Lent

SOURCE_CRC: int

class JournalWays:
    def __new__(
        cls,
        engine: Engine,
        known: tuple[type, type, type, Callable[..., int]],
        headers: tuple[bytes, bytes],
        lent: Lent,
        /,
    ) -> Self: ...
    def append(self, stream: Stream, value: bytes, timestamp_ms: int, key: bytes | None = None, /) -> int: ...
    def append_unwaited(self, stream: Stream, value: bytes, timestamp_ms: int, key: bytes | None = None, /) -> int: ...
    def show_singles(self, commit: int, /) -> int: ...

# What `_compiled.c` makes.
from collections import deque
from collections.abc import Callable
from typing import Any, Self

from msglog.storage.commit import Single
from msglog.storage.engine import Engine
from msglog.storage.frame import Body
from msglog.storage.journal import Area, Journal
from msglog.storage.several import SmallFrame
from msglog.storage.stream import Stream
from msglog.storage.writers import DirectWriter, JournalWriter

SOURCE_CRC: int

class Ways:
    def __new__(
        cls,
        writer: DirectWriter | JournalWriter,
        engine: Engine,
        state: Stream,
        segment_type: type,
        map_type: type,
        crc32c: Callable[..., int],
        plain_header: bytes,
        keyed_header: bytes,
        event_mark: int,
        event_cost: int,
        /,
    ) -> Self: ...
    def append(self, stream: Stream, value: bytes, timestamp_ms: int, key: bytes | None = None, /) -> int: ...
    def append_settle(self, cursor: Any, first: int, end: int, timestamp_ms: int, /) -> int: ...
    def append_copies(self, streams: list[Stream], value: bytes, key: bytes, timestamp_ms: int, /) -> list[int]: ...
    def append_journaled(self, stream: Stream, value: bytes, timestamp_ms: int, key: bytes | None = None, /) -> int: ...
    def append_unwaited(self, stream: Stream, value: bytes, timestamp_ms: int, key: bytes | None = None, /) -> int: ...
    def show_singles(self, commit: int, /) -> int: ...
    def use_journal(
        self,
        journal: Journal,
        area_type: type[Area],
        single_type: type[Single],
        pending: deque[Any],
        append_unwaited: Callable[..., int],
        wait: Callable[[int], None],
        request_checkpoint: Callable[[int], None],
        life: int,
        most_commits: int,
        most_state_cost: int,
        /,
    ) -> None: ...

class Hands:
    def __new__(
        cls,
        writer: DirectWriter | JournalWriter,
        engine: Engine,
        stream_type: type,
        segment_type: type,
        body_type: type,
        map_type: type,
        crc32c: Callable[..., int],
        entry_magic: int,
        entry_version: int,
        journaled: bool,
        /,
    ) -> Self: ...
    def place_by_hand(self, bodies: list[tuple[Stream, Body]], /) -> tuple[SmallFrame, ...] | None: ...
    def pack_frames(self, seed: int, number: int, frames: tuple[SmallFrame, ...], /) -> bytes: ...
    def assign_frames(self, frames: tuple[SmallFrame, ...], /) -> None: ...
    def show_frames(self, frames: tuple[SmallFrame, ...], /) -> bool: ...
    def store_frames(self, frames: tuple[SmallFrame, ...], /) -> None: ...

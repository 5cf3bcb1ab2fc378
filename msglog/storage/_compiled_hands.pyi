# What `_compiled_hands.c` makes.
from collections.abc import Callable
from typing import Self

from msglog.storage.engine import Engine
from msglog.storage.frame import Body
from msglog.storage.several import SmallFrame
from msglog.storage.stream import Stream
from msglog.storage.writers import DirectWriter, JournalWriter

SOURCE_CRC: int

class Hands:
    def __new__(
        cls,
        writer: DirectWriter | JournalWriter,
        engine: Engine,
        known: tuple[type, type, type, Callable[..., int]],
        body_type: type,
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

"""A model for tests of the engine: it counts its events and keeps a checksum over all of them, in order."""

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from msglog.storage import Engine, Model


class Ledger:
    """State that shows any event that is missing, invented, repeated or out of order."""

    section = "ledger"

    def __init__(self) -> None:
        self.count = 0
        self.digest = 0
        self.repeats = 0
        self._loads = 0

    def load(self, snapshot: Any) -> None:
        """Begin with a snapshot, or empty; a reader that follows a writer may do so again."""
        self._loads += 1
        self.count, self.digest = snapshot or (0, 0)

    def apply(self, event: list[Any]) -> None:
        """Count one event. One that is known, as an interrupted commit has them, counts in `repeats`."""
        if not self._loads:
            raise AssertionError("events come after load")
        number = event[1]
        if number <= self.count:
            self.repeats += 1
            return
        if number != self.count + 1:
            raise AssertionError(f"event {number} after event {self.count}")
        self.count, self.digest = number, digest_after(self.digest, event)

    def snapshot(self) -> Any:
        """Return count and checksum."""
        return [self.count, self.digest]


def digest_after(digest: int, event: list[Any]) -> int:
    """Return the checksum of all events once `event` was added."""
    packed: bytes = msgpack.packb(event)
    return zlib.crc32(packed, digest)


def ledger_factory() -> Sequence[Callable[[Engine], Model]]:
    """Return the factories that `Engine.open` wants."""
    return [lambda _: Ledger()]

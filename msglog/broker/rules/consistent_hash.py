"""Which destination a value belongs to, by weight, so that changes of the destinations move little.

Weighted rendezvous hashing: every destination draws a waiting time for the value, exponentially distributed with
the weight as its rate, and the earliest wins; that gives each its share by weight. A draw depends on the value and
the one destination alone. So a new destination takes only what it wins, one that goes leaves the rest where
it is, and the choice depends on which destinations there are, not on the history of how they came: it is
the same after a restart. RabbitMQ's choices for the same keys are others, its shares the same.

Imported by the exchange types.
"""

import hashlib
import math
import re
from collections.abc import Hashable, Mapping
from typing import Any, Final, Generic, TypeVar

from msglog.broker.rules.field_values import comparable
from msglog.broker.rules.names import binary
from msglog.errors import PreconditionFailedError

HASH_HEADER: Final = "hash-header"
HASH_PROPERTY: Final = "hash-property"
_HASHED_PROPERTIES: Final = ("correlation_id", "message_id", "timestamp")

_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_SHOWN_LENGTH: Final = 60
_MASK: Final = (1 << 64) - 1
_UNIT: Final = 2.0**-64

T = TypeVar("T", bound=Hashable)


class ConsistentHash(Generic[T]):
    """Destinations with weights. A choice costs about half a microsecond for each of them."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[T, tuple[int, int]] = {}

    def add(self, entry: T, identity: str, weight: int) -> None:
        """Add an entry of `weight`, 1 or more, for the destination called `identity`.

        Entries of the same identity draw alike: of them the heaviest counts.
        """
        self._entries[entry] = (_hash(identity.encode()), weight)

    def remove(self, entry: T) -> None:
        """Remove an entry, if it is there."""
        self._entries.pop(entry, None)

    def choose(self, value: bytes) -> T | None:
        """Return the entry that `value` belongs to, None when there are no entries."""
        hashed = _hash(value)
        chosen: T | None = None
        earliest = math.inf
        for entry, (seed, weight) in self._entries.items():
            # The finalizer of MurmurHash3: each of its 64 bits depends on each bit that goes in.
            mixed = hashed ^ seed
            mixed = (mixed ^ mixed >> 33) * 0xFF51AFD7ED558CCD & _MASK
            mixed = (mixed ^ mixed >> 33) * 0xC4CEB9FE1A85EC53 & _MASK
            mixed ^= mixed >> 33
            waiting = -math.log((mixed + 1) * _UNIT) / weight
            if waiting < earliest:
                chosen, earliest = entry, waiting
        return chosen


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def hash_input(value: Any) -> bytes:
    """Return the bytes to hash for a field value. None, also for what is missing, gives b"" like the empty text."""
    stand_in = comparable(value)
    if isinstance(stand_in, bytes):
        return stand_in
    return b"" if stand_in is None else repr(stand_in).encode()


def weight_of(routing_key: str) -> int:
    """Return the weight that a binding key spells.

    Raises `PreconditionFailedError` unless it is an integer above 0 in decimal digits.
    """
    if _INTEGER.fullmatch(routing_key) is None:
        raise PreconditionFailedError(f"The binding key must be an integer: {binary(routing_key[:_SHOWN_LENGTH])}")
    weight = int(routing_key)
    if weight < 1:
        raise PreconditionFailedError("The binding key must be greater than 0")
    return weight


def check_hash_arguments(arguments: Mapping[str, Any]) -> None:
    """Check the arguments of an x-consistent-hash exchange that say what it hashes; neither means the routing key.

    Raises `PreconditionFailedError` for both at once, for a property that cannot be hashed and for names that are
    not text.
    """
    given = [name for name in (HASH_HEADER, HASH_PROPERTY) if name in arguments]
    for name in given:
        if not isinstance(arguments[name], str):
            raise PreconditionFailedError(f"invalid arg '{name}': expected longstr")
    if len(given) > 1:
        raise PreconditionFailedError("hash-header and hash-property are mutually exclusive")
    if given == [HASH_PROPERTY] and arguments[HASH_PROPERTY] not in _HASHED_PROPERTIES:
        raise PreconditionFailedError(f"Unsupported property: {arguments[HASH_PROPERTY][:_SHOWN_LENGTH]}")

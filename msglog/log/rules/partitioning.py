"""Which partition a record goes to: by its key's hash, or sticky when it has no key.

Imported by the log's append path, where every call counts: a cached key and a sticky choice each cost
about as much as one Python call.
"""

import functools
import random
import struct
from typing import Final

DEFAULT_BATCH_BYTES: Final = 16 * 1024
"""Kafka's default `batch.size`: how much a keyless producer sends to one partition before it moves on."""

_SEED: Final = 0x9747B28C
_MULTIPLIER: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF
_POSITIVE: Final = 0x7FFFFFFF
_CACHED_KEYS: Final = 8192
_LONGEST_CACHED_KEY: Final = 256


def murmur2(data: bytes) -> int:
    """Hash `data` to a signed 32-bit integer as the Java client's `Utils.murmur2` does.

    Cost grows with the length, about 50 nanoseconds a byte.
    """
    length = len(data)
    words = length >> 2
    value = _SEED ^ length
    for word in struct.unpack_from(f"<{words}I", data):
        mixed = word * _MULTIPLIER & _MASK
        mixed = (mixed ^ mixed >> 24) * _MULTIPLIER & _MASK
        value = value * _MULTIPLIER & _MASK ^ mixed
    tail = data[words << 2 :]
    if tail:
        value = (value ^ int.from_bytes(tail, "little")) * _MULTIPLIER & _MASK
    value = (value ^ value >> 13) * _MULTIPLIER & _MASK
    value ^= value >> 15
    return value - (value >> 31 << 32)


@functools.lru_cache(maxsize=_CACHED_KEYS)
def _cached_hash(key: bytes) -> int:
    return murmur2(key) & _POSITIVE


def partition_for_key(key: bytes, partitions: int) -> int:
    """Return the partition in `range(partitions)` for `key`, as Kafka's default partitioner does.

    `b""` is a key like any other. `partitions` is the number of all partitions of the topic, at least 1.
    Hashes of recent short keys are remembered; long keys are not, so the memory this takes is bounded.
    """
    if len(key) > _LONGEST_CACHED_KEY:
        return (murmur2(key) & _POSITIVE) % partitions
    return _cached_hash(key) % partitions


class StickyPartitioner:
    """Chooses partitions for keyless records: one partition for a batch, then another one at random.

    The rule of Kafka's sticky partitioning (KIP-480, KIP-794). Not safe for threads: the caller holds a lock
    or keeps one per thread. When a topic gains partitions, make a new one.
    """

    __slots__ = ("_batch_bytes", "_partition", "_partitions", "_random", "_room")

    def __init__(self, partitions: int, *, seed: int, batch_bytes: int = DEFAULT_BATCH_BYTES) -> None:
        """Choose among `partitions` (at least 1), moving on each time `batch_bytes` went to one of them.

        The same `seed` gives the same choices.
        """
        self._random = random.Random(seed)  # noqa: S311 - spreads load, guards nothing
        self._partitions = partitions
        self._batch_bytes = batch_bytes
        self._partition = self._random.randrange(partitions)
        self._room = batch_bytes

    def choose(self, size: int) -> int:
        """Return the partition for a record, or for a batch kept together, of `size` bytes.

        What fills the batch still goes with it; the next choice falls on another partition.
        """
        partition = self._partition
        self._room -= size
        if self._room <= 0:
            self._move_on()
        return partition

    def _move_on(self) -> None:
        self._room = self._batch_bytes
        if self._partitions > 1:
            step = 1 + self._random.randrange(self._partitions - 1)
            self._partition = (self._partition + step) % self._partitions

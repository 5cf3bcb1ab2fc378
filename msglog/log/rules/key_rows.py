"""The arithmetic of an index by key: what of a key is kept, how rows sort, which runs belong together.

A *row* says that the record at an offset has a key: 16 bytes of the key's hash and 8 of the offset, most significant
byte first, so that rows sort as the bytes they are: by hash, then by offset. A *run* holds the rows of consecutive
offsets, sorted. Pure functions; imported by `keys`.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

DIGEST_BYTES: Final = 16
ROW_BYTES: Final = 24


class RunSpan(NamedTuple):
    """Which offsets of a stream a run knows all keys of, and the last commit that it saw."""

    stream_id: int
    first: int
    end: int
    commit: int


def digest_of(key: bytes) -> bytes:
    """Return what stands for a key: 128 bits, so many that no two keys ever share them."""
    return blake2b(key, digest_size=DIGEST_BYTES).digest()


def rows_of(offsets_by_digest: Iterable[tuple[bytes, Sequence[int]]], end: int) -> list[bytes]:
    """Return the sorted rows of all offsets below `end`."""
    rows = [
        digest + offset.to_bytes(8, "big")
        for digest, offsets in offsets_by_digest
        for offset in offsets
        if offset < end
    ]
    rows.sort()
    return rows


def split_rows(data: bytes) -> list[bytes]:
    """Return the rows that were joined."""
    return [data[start : start + ROW_BYTES] for start in range(0, len(data), ROW_BYTES)]


def offsets_in(data: bytes, digest: bytes) -> list[int]:
    """Return the offsets of a key in joined rows, rising."""
    place = data.find(digest)
    while place >= 0 and place % ROW_BYTES:  # the same bytes, but across two rows
        place = data.find(digest, place + 1)
    offsets: list[int] = []
    while place >= 0 and data.startswith(digest, place):
        offsets.append(offset_of(data[place : place + ROW_BYTES]))
        place += ROW_BYTES
    return offsets


def offset_of(row: bytes) -> int:
    """Return the offset in a row."""
    return int.from_bytes(row[DIGEST_BYTES:], "big")


def runs_to_merge(counts: Sequence[int], count: int) -> int:
    """Return how many of the newest runs become one with a new run of `count` rows; `counts`: oldest first.

    A run stays apart while it has more than twice the rows of all that came after it: so their number grows with the
    logarithm of the rows, and so does how often each row is written.
    """
    merged = 0
    while merged < len(counts) and 2 * count >= counts[-1 - merged]:
        merged += 1
        count += counts[-merged]
    return merged


def candidates(spans: Iterable[RunSpan], position: int, *, at_start: bool) -> Iterator[RunSpan]:
    """Yield the runs with which an index may go on at an offset, the one that reaches farthest first.

    `at_start`: nothing was taken yet, so that a run may begin before it.
    """
    fitting = [
        span
        for span in spans
        if span.end > position and (span.first == position or (at_start and span.first < position))
    ]
    yield from sorted(fitting, key=lambda span: (span.end, span.commit), reverse=True)

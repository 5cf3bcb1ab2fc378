"""A set of offsets, kept as half-open ranges.

Pure. Invariants: ranges are in order, are not empty, do not overlap and do not touch. They lie in chunks of some
hundreds, none of them empty. All of it is one tuple that is replaced, and no chunk is ever changed: an interrupt, or a
thread that looks without a lock, finds the set before a change or after it. Memory follows the number of ranges, not
of offsets; a change copies the chunk it falls into and the list of chunks. Imported by `cursor`.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

Chunk = tuple[list[int], list[int]]
Spans = tuple[list[int], list[Chunk], int]

_EMPTY: Final[Spans] = ([], [], 0)
_MOST_IN_CHUNK: Final = 256


class OffsetRanges:
    """Offsets as ranges `[first, end)`. Looking costs O(log n) for n ranges, a change O(1) up to a million of them."""

    __slots__ = ("spans",)

    spans: Spans
    """The first offset of each chunk; the chunks, each the first offsets of its ranges and their ends; and the number
    of offsets in all of them. Never changed in place."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self.spans = _EMPTY
        for first, end in ranges:
            self.add(first, end)

    @property
    def count(self) -> int:
        """How many offsets are in the set."""
        return self.spans[2]

    def add(self, first: int, end: int) -> None:
        """Put the offsets `[first, end)` in; those that are there already stay."""
        if first >= end:
            return
        spans = self.spans
        at, stop, firsts, ends = _chunks(spans, first, bisect_right(spans[0], end))
        low, high = bisect_left(ends, first), bisect_right(firsts, end)
        gone = 0
        if low < high:
            # All ranges that overlap or touch become one.
            gone = sum(ends[low:high]) - sum(firsts[low:high])
            first, end = min(first, firsts[low]), max(end, ends[high - 1])
        more = end - first - gone
        self._replace(at, stop, [*firsts[:low], first, *firsts[high:]], [*ends[:low], end, *ends[high:]], more)

    def remove(self, first: int, end: int) -> None:
        """Take the offsets `[first, end)` out; those that are not there are no error."""
        spans = self.spans
        lows = spans[0]
        if first >= end or not lows or end <= lows[0]:
            return
        at, stop, firsts, ends = _chunks(spans, first, bisect_left(lows, end))
        low, high = bisect_right(ends, first), bisect_left(firsts, end)
        if low >= high:
            return
        more = sum(firsts[low:high]) - sum(ends[low:high])
        new_firsts, new_ends = firsts[:low], ends[:low]
        for start, until in ((firsts[low], first), (end, ends[high - 1])):
            if start < until:  # what is left on this side
                new_firsts.append(start)
                new_ends.append(until)
                more += until - start
        self._replace(at, stop, new_firsts + firsts[high:], new_ends + ends[high:], more)

    def _replace(self, at: int, stop: int, firsts: list[int], ends: list[int], more: int) -> None:
        """Put these ranges in the place of some chunks; `more`: how many offsets that adds."""
        lows, chunks, count = self.spans
        if 0 < len(firsts) <= _MOST_IN_CHUNK:
            new_lows, new = [firsts[0]], [(firsts, ends)]
        else:
            size = _MOST_IN_CHUNK // 2
            new = [(firsts[n : n + size], ends[n : n + size]) for n in range(0, len(firsts), size)]
            new_lows = [chunk[0][0] for chunk in new]
        self.spans = (lows[:at] + new_lows + lows[stop:], chunks[:at] + new + chunks[stop:], count + more)

    def within(self, first: int, end: int) -> list[tuple[int, int]]:
        """Return the ranges that overlap `[first, end)`, cut to it."""
        if first >= end:
            return []
        spans = self.spans
        _, _, firsts, ends = _chunks(spans, first, bisect_left(spans[0], end))
        low, high = bisect_right(ends, first), bisect_left(firsts, end)
        return [
            (max(start, first), min(stop, end)) for start, stop in zip(firsts[low:high], ends[low:high], strict=True)
        ]

    def gaps(self, first: int, end: int) -> list[tuple[int, int]]:
        """Return the ranges of `[first, end)` that are not in the set."""
        missing: list[tuple[int, int]] = []
        for start, stop in self.within(first, end):
            if start > first:
                missing.append((first, start))
            first = stop
        if first < end:
            missing.append((first, end))
        return missing

    def first(self) -> int | None:
        """Return the lowest offset, None when there is none."""
        lows = self.spans[0]
        return lows[0] if lows else None

    def end_from(self, offset: int) -> int:
        """Return the end of the range that begins at `offset`; `offset` itself when there is none."""
        lows, chunks, _ = self.spans
        if not lows or offset < lows[0]:
            return offset
        firsts, ends = chunks[bisect_right(lows, offset) - 1]
        place = bisect_left(firsts, offset)
        return ends[place] if place < len(firsts) and firsts[place] == offset else offset

    def __contains__(self, offset: int) -> bool:
        lows, chunks, _ = self.spans
        if not lows or offset < lows[0]:
            return False
        firsts, ends = chunks[bisect_right(lows, offset) - 1]
        return ends[bisect_right(firsts, offset) - 1] > offset

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return chain.from_iterable(zip(firsts, ends, strict=True) for firsts, ends in self.spans[1])

    def __bool__(self) -> bool:
        return self.spans[2] > 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OffsetRanges) and self.count == other.count and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        ranges = sum(len(firsts) for firsts, _ in self.spans[1])
        return f"<OffsetRanges {self.count} offsets in {ranges} ranges>"


def _chunks(spans: Spans, first: int, stop: int) -> tuple[int, int, list[int], list[int]]:
    """Return the chunks from the one that `first` falls into to before `stop`, and all their ranges."""
    lows, chunks, _ = spans
    at = max(bisect_right(lows, first) - 1, 0)
    if stop > at + 1:
        found = chunks[at:stop]
        return at, stop, [one for firsts, _ in found for one in firsts], [one for _, ends in found for one in ends]
    if not lows:
        return 0, 0, [], []
    firsts, ends = chunks[at]
    return at, at + 1, firsts, ends

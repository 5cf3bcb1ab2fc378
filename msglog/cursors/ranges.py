"""A set of offsets, kept as half-open ranges.

Pure. Invariants: ranges are in order, are not empty, do not overlap and do not touch. All of it is one tuple that is
replaced, never changed: an interrupt, or a thread that looks without a lock, finds the set before a change or after it.
Memory follows the number of ranges, not of offsets; a change copies them. Imported by `cursor`.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Final

Spans = tuple[list[int], list[int], int]

_EMPTY: Final[Spans] = ([], [], 0)


class OffsetRanges:
    """Offsets as ranges `[first, end)`. Looking costs O(log n) for n ranges, a change O(n), by copies of memory."""

    __slots__ = ("spans",)

    spans: Spans
    """The first offsets of the ranges, their ends, and the number of offsets in them. Never changed in place."""

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
        if first < end:
            firsts, ends, _ = self.spans
            # All ranges that overlap or touch become one.
            low, high = bisect_left(ends, first), bisect_right(firsts, end)
            if low < high:
                first, end = min(first, firsts[low]), max(end, ends[high - 1])
            self._replace(low, high, [first], [end])

    def remove(self, first: int, end: int) -> None:
        """Take the offsets `[first, end)` out; those that are not there are no error."""
        firsts, ends, _ = self.spans
        low, high = bisect_right(ends, first), bisect_left(firsts, end)
        if first >= end or low >= high:
            return
        kept = [(firsts[low], first), (end, ends[high - 1])]
        left = [(start, stop) for start, stop in kept if start < stop]
        self._replace(low, high, [start for start, _ in left], [stop for _, stop in left])

    def _replace(self, low: int, high: int, new_firsts: list[int], new_ends: list[int]) -> None:
        firsts, ends, count = self.spans
        gone = sum(ends[low:high]) - sum(firsts[low:high])
        come = sum(new_ends) - sum(new_firsts)
        self.spans = (
            [*firsts[:low], *new_firsts, *firsts[high:]],
            [*ends[:low], *new_ends, *ends[high:]],
            count - gone + come,
        )

    def within(self, first: int, end: int) -> list[tuple[int, int]]:
        """Return the ranges that overlap `[first, end)`, cut to it."""
        if first >= end:
            return []
        firsts, ends, _ = self.spans
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
        firsts = self.spans[0]
        return firsts[0] if firsts else None

    def end_from(self, offset: int) -> int:
        """Return the end of the range that begins at `offset`; `offset` itself when there is none."""
        firsts, ends, _ = self.spans
        place = bisect_left(firsts, offset)
        return ends[place] if place < len(firsts) and firsts[place] == offset else offset

    def __contains__(self, offset: int) -> bool:
        firsts, ends, _ = self.spans
        place = bisect_right(firsts, offset)
        return bool(place) and ends[place - 1] > offset

    def __iter__(self) -> Iterator[tuple[int, int]]:
        firsts, ends, _ = self.spans
        return zip(firsts, ends, strict=True)

    def __bool__(self) -> bool:
        return self.spans[2] > 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OffsetRanges) and self.spans == other.spans

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        firsts, _, count = self.spans
        return f"<OffsetRanges {count} offsets in {len(firsts)} ranges>"

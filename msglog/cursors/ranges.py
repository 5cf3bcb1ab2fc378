"""A set of offsets, kept as half-open ranges.

Pure. Invariants: ranges are not empty, do not overlap and do not touch; `count` is the number of offsets in them.
Memory follows the number of ranges, not of offsets. Imported by `cursor`.
"""

from collections.abc import Iterable, Iterator

from sortedcontainers import SortedDict


class OffsetRanges:
    """Offsets as ranges `[first, end)`, in order. Every operation costs O(log n) for n ranges, and what it joins."""

    __slots__ = ("_ends", "count")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._ends: SortedDict[int, int] = SortedDict()  # from the first offset of a range to its end
        self.count = 0
        for first, end in ranges:
            self.add(first, end)

    def add(self, first: int, end: int) -> None:
        """Put the offsets `[first, end)` in; those that are there already stay."""
        if first >= end:
            return
        ends = self._ends
        place = ends.bisect_right(first)
        if place:
            before = ends.keys()[place - 1]
            if ends[before] >= first:  # it touches or reaches into the new range
                first, end = before, max(end, ends[before])
                self.count -= ends.pop(before) - before
                place -= 1
        while place < len(ends) and (found := ends.keys()[place]) <= end:
            end = max(end, ends[found])
            self.count -= ends.pop(found) - found
        ends[first] = end
        self.count += end - first

    def remove(self, first: int, end: int) -> None:
        """Take the offsets `[first, end)` out; those that are not there are no error."""
        if first >= end:
            return
        for found_first, found_end in self.within(first, end, clipped=False):
            del self._ends[found_first]
            self.count -= found_end - found_first
            if found_first < first:
                self._put(found_first, first)
            if found_end > end:
                self._put(end, found_end)

    def _put(self, first: int, end: int) -> None:
        self._ends[first] = end
        self.count += end - first

    def within(self, first: int, end: int, *, clipped: bool = True) -> list[tuple[int, int]]:
        """Return the ranges that overlap `[first, end)`, cut to it unless `clipped` is False."""
        found: list[tuple[int, int]] = []
        if first >= end:
            return found
        ends = self._ends
        place = max(0, ends.bisect_right(first) - 1)
        for start in ends.islice(place):
            if start >= end:
                break
            if ends[start] > first:
                found.append((max(start, first), min(ends[start], end)) if clipped else (start, ends[start]))
        return found

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
        return self._ends.keys()[0] if self._ends else None

    def take_from(self, offset: int) -> int:
        """Take the range that begins at `offset` out and return its end; `offset` itself when there is none."""
        end = self._ends.pop(offset, offset)
        self.count -= end - offset
        return end

    def __contains__(self, offset: int) -> bool:
        place = self._ends.bisect_right(offset)
        return bool(place) and self._ends.peekitem(place - 1)[1] > offset

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(list(self._ends.items()))

    def __bool__(self) -> bool:
        return bool(self._ends)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OffsetRanges) and self._ends == other._ends

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"<OffsetRanges {self.count} offsets in {len(self._ends)} ranges>"

"""Offsets as ranges: against a plain set, and what the ranges themselves must be."""

from random import Random
from unittest.mock import patch

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from msglog.cursors import OffsetRanges

TOP = 40
OFFSETS = st.integers(0, TOP)


def ranges_of(offsets):
    """Return a set's offsets as the ranges that they must be kept in."""
    found = []
    for offset in sorted(offsets):
        if found and found[-1][1] == offset:
            found[-1] = (found[-1][0], offset + 1)
        else:
            found.append((offset, offset + 1))
    return found


class RangesMachine(RuleBasedStateMachine):
    """Every operation beside the same one on a set."""

    def __init__(self):
        super().__init__()
        self.ranges = OffsetRanges()
        self.plain = set()

    def change(self, change, first, end):
        """Change the ranges; who still looks at what they were before sees no difference."""
        looking, expected = iter(self.ranges), list(self.ranges)
        change(first, end)
        assert list(looking) == expected

    @rule(first=OFFSETS, end=OFFSETS)
    def add(self, first, end):
        self.change(self.ranges.add, first, end)
        self.plain |= set(range(first, end))

    @rule(first=OFFSETS, end=OFFSETS)
    def remove(self, first, end):
        self.change(self.ranges.remove, first, end)
        self.plain -= set(range(first, end))

    @rule(offset=OFFSETS)
    def end_from(self, offset):
        end = offset
        if offset - 1 not in self.plain:  # else no range begins here
            while end in self.plain:
                end += 1
        assert self.ranges.end_from(offset) == end

    @rule(first=OFFSETS, end=OFFSETS)
    def look(self, first, end):
        inside = self.plain & set(range(first, end))
        assert self.ranges.within(first, end) == ranges_of(inside)
        assert self.ranges.gaps(first, end) == ranges_of(set(range(first, end)) - self.plain)

    @rule(offset=OFFSETS)
    def contains(self, offset):
        assert (offset in self.ranges) == (offset in self.plain)

    @invariant()
    def same(self):
        assert list(self.ranges) == ranges_of(self.plain)
        assert self.ranges.count == len(self.plain)
        assert self.ranges.first() == min(self.plain, default=None)
        assert bool(self.ranges) == bool(self.plain)


class SmallChunksMachine(RangesMachine):
    """The same where ranges are kept in chunks of no more than a few."""

    def __init__(self):
        super().__init__()
        self.small = patch("msglog.cursors.ranges._MOST_IN_CHUNK", 3)
        self.small.start()

    def teardown(self):
        self.small.stop()

    @invariant()
    def no_chunk_is_large_or_empty(self):
        lows, chunks, _ = self.ranges.spans
        assert lows == [firsts[0] for firsts, _ in chunks]
        assert all(len(firsts) == len(ends) <= 3 for firsts, ends in chunks)


RangesMachine.TestCase.settings = settings(max_examples=settings.default.max_examples * 3 // 2)  # its steps are quick
TestRanges = RangesMachine.TestCase
TestSmallChunks = SmallChunksMachine.TestCase


@given(st.lists(st.tuples(OFFSETS, OFFSETS)))
def test_equal_sets_of_offsets_are_equal(pairs):
    made = OffsetRanges(pairs)
    assert made == OffsetRanges(ranges_of({offset for first, end in pairs for offset in range(first, end)}))
    assert made != list(made)


def test_looping_sees_the_ranges_as_they_were():
    ranges = OffsetRanges([(0, 2), (4, 6)])
    seen = []
    for first, end in ranges:
        seen.append((first, end))
        ranges.remove(first, end)
    assert seen == [(0, 2), (4, 6)]
    assert not ranges


def test_a_million_offsets_are_one_range():
    ranges = OffsetRanges()
    for first in range(0, 1000, 2):
        ranges.add(first * 1000, (first + 2) * 1000)
    assert list(ranges) == [(0, 1_000_000)]
    assert repr(ranges) == "<OffsetRanges 1000000 offsets in 1 ranges>"


def test_thousands_of_ranges_come_and_go_in_any_order():
    offsets = list(range(0, 10_000, 2))
    Random(1).shuffle(offsets)
    ranges = OffsetRanges()
    for offset in offsets:
        ranges.add(offset, offset + 1)
    assert list(ranges) == [(offset, offset + 1) for offset in sorted(offsets)]
    assert ranges.gaps(0, 10_000) == [(offset + 1, offset + 2) for offset in sorted(offsets)]
    for offset in offsets[:4000]:
        ranges.remove(offset, offset + 1)
    left = sorted(offsets[4000:])
    assert list(ranges) == [(offset, offset + 1) for offset in left]
    assert ranges == OffsetRanges((offset, offset + 1) for offset in left)
    for offset in offsets[4000:]:
        assert offset in ranges
        ranges.remove(offset, offset + 1)
    assert not ranges


def test_it_cannot_be_hashed():
    with pytest.raises(TypeError):
        hash(OffsetRanges())

"""A cursor beside a plain model of each offset's state, with crashes; and single rules by example."""

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from msglog.cursors import Cursor, OffsetRanges


class CursorMachine(RuleBasedStateMachine):
    """What a queue or a share group does with a cursor, and the events that it writes.

    The model knows of each offset whether it is settled, in somebody's hand, or neither. A crash keeps what was
    written: a snapshot, perhaps, and the events behind it, each applied once or twice in a row.
    """

    def __init__(self):
        super().__init__()
        self.cursor = Cursor(7)
        self.settled = set()
        self.held = {}
        self.times = {}
        self.next = self.end = 0
        self.snapshot = self.cursor.pack()
        self.events = []
        self.written_next = 0

    def write(self, *event):
        self.events.append(event)
        reached = event[2] if event[0] == "settle" and event[2] > event[1] else 0
        self.written_next = max(self.written_next, event[-1], reached)

    @rule(count=st.integers(1, 10))
    def grow(self, count):
        self.end += count

    @rule(visible=st.integers(0, 3))
    def take(self, visible):
        end = max(0, self.end - visible)
        waiting = [offset for offset in range(end) if offset not in self.settled and offset not in self.held]
        assert self.cursor.peek(end) == (waiting[0] if waiting else None)
        if waiting:
            holder = object()
            self.cursor.take(waiting[0], holder)
            self.held[waiting[0]] = holder
            self.next = max(self.next, waiting[0] + 1)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give_back(self, data):
        offset = data.draw(st.sampled_from(sorted(self.held)))
        self.cursor.give_back(offset)
        del self.held[offset]

    @rule(offset=st.integers(0, 60))
    def give_back_what_nobody_has(self, offset):
        if offset not in self.held:
            self.cursor.give_back(offset)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def ack(self, data):
        offset = data.draw(st.sampled_from(sorted(self.held)))
        self.settle_range(offset, offset + 1)

    @precondition(lambda self: self.end)
    @rule(data=st.data())
    def settle(self, data):
        """Whatever is there: expired, dropped or purged messages were never delivered, perhaps."""
        first = data.draw(st.integers(0, self.end - 1))
        self.settle_range(first, data.draw(st.integers(first, min(self.end, first + 12))))

    def settle_range(self, first, end):
        self.write("settle", first, end, self.cursor.next)
        self.cursor.settle(first, end, self.cursor.next)
        for offset in range(first, end):
            self.settled.add(offset)
            self.held.pop(offset, None)
            self.times.pop(offset, None)
        if end > first:
            self.next = max(self.next, end)

    @precondition(lambda self: self.next < self.end)
    @rule(count=st.integers(1, 5))
    def skip(self, count):
        first, end = self.next, min(self.end, self.next + count)
        self.write("settle", first, end, end)
        self.cursor.settle(first, end)
        self.settled |= set(range(first, end))
        self.next = end

    @precondition(lambda self: self.held)
    @rule(data=st.data(), times=st.integers(1, 5))
    def count(self, data, times):
        offset = data.draw(st.sampled_from(sorted(self.held)))
        self.write("deliver", offset, times, self.cursor.next)
        self.cursor.count_delivery(offset, times, self.cursor.next)
        self.times[offset] = times

    @rule()
    def note_how_far_delivery_came(self):
        following = self.cursor.next
        self.write("settle", following, following, following)
        self.cursor.settle(following, following, following)

    @rule()
    def write_a_snapshot(self):
        self.snapshot = self.cursor.pack()
        self.events = []  # it holds what they told, and no more

    @rule()
    def look_again(self):
        self.cursor.look_again()

    @rule(data=st.data())
    def crash(self, data):
        self.cursor = Cursor.unpack(self.snapshot)
        for kind, *fields in self.events:
            for _ in range(data.draw(st.integers(1, 2))):
                (self.cursor.settle if kind == "settle" else self.cursor.count_delivery)(*fields)
        self.held = {}
        self.next = self.written_next

    @invariant()
    def same(self):
        cursor = self.cursor
        assert cursor.next == self.next
        lowest = next(offset for offset in range(self.end + 1) if offset not in self.settled)
        assert cursor.settled == lowest
        assert cursor.done == OffsetRanges((offset, offset + 1) for offset in self.settled if offset > lowest)
        assert cursor.unsettled == self.held
        free = [offset for offset in range(self.next) if offset not in self.settled and offset not in self.held]
        assert cursor.returned == OffsetRanges((offset, offset + 1) for offset in free)
        assert cursor.ready(self.end) == self.end - len(self.settled) - len(self.held)
        assert cursor.deliveries == self.times
        unsettled = [range(*one) for one in cursor.unsettled_ranges(self.end)]
        assert {offset for one in unsettled for offset in one} == set(range(self.end)) - self.settled


CursorMachine.TestCase.settings = settings(max_examples=settings.default.max_examples * 3 // 2)  # its steps are quick
TestCursor = CursorMachine.TestCase


@pytest.fixture
def cursor():
    return Cursor(1, 10)


def take(cursor, count, end=100):
    taken = []
    for _ in range(count):
        offset = cursor.peek(end)
        cursor.take(offset, "me")
        taken.append(offset)
    return taken


def test_it_begins_where_it_was_told_to(cursor):
    assert cursor.peek(10) is None
    assert take(cursor, 2) == [10, 11]
    assert cursor.ready(20) == 8


def test_what_comes_back_is_delivered_before_the_rest(cursor):
    take(cursor, 4)
    cursor.give_back(12)
    cursor.give_back(11)
    assert take(cursor, 3) == [11, 12, 14]


def test_settling_in_order_leaves_no_exceptions(cursor):
    for offset in take(cursor, 50):
        cursor.settle(offset, offset + 1, cursor.next)
    assert (cursor.settled, cursor.next, cursor.done.count, cursor.unsettled) == (60, 60, 0, {})


def test_settling_out_of_order_joins(cursor):
    take(cursor, 5)
    for offset in (14, 12, 13):
        cursor.settle(offset, offset + 1, cursor.next)
    assert (cursor.settled, list(cursor.done)) == (10, [(12, 15)])
    cursor.settle(10, 12, cursor.next)
    assert (cursor.settled, list(cursor.done)) == (15, [])


def test_below_the_start_nothing_happens(cursor):
    cursor.settle(3, 8)
    cursor.count_delivery(5, 2)
    assert (cursor.settled, cursor.next, cursor.deliveries) == (10, 10, {})


def test_a_range_across_the_next_offset(cursor):
    take(cursor, 2)
    cursor.settle(15, 18, cursor.next)
    assert (cursor.next, cursor.settled) == (18, 10)
    assert list(cursor.returned) == [(12, 15)]
    assert take(cursor, 4) == [12, 13, 14, 18]


def test_counts_go_with_what_is_settled(cursor):
    take(cursor, 3)
    for offset in (10, 11, 12):
        cursor.count_delivery(offset, 2, cursor.next)
    cursor.settle(11, 12, cursor.next)
    assert cursor.deliveries == {10: 2, 12: 2}
    cursor.settle(10, 13, cursor.next)
    assert cursor.deliveries == {}


def test_nobody_s_count_is_kept_for_what_is_settled(cursor):
    take(cursor, 3)
    cursor.settle(11, 12, cursor.next)
    cursor.count_delivery(11, 4, cursor.next)
    assert cursor.deliveries == {}


def test_how_far_delivery_came_is_known_after_a_crash(cursor):
    take(cursor, 3)
    unknown = Cursor.unpack(cursor.pack())
    assert (unknown.next, list(unknown.returned)) == (10, [])  # no event told of it
    cursor.settle(10, 10, cursor.next)
    again = Cursor.unpack(cursor.pack())
    assert (again.id, again.next, again.noted_next, list(again.returned)) == (1, 13, 13, [(10, 13)])


def test_repr_tells_where_it_stands(cursor):
    take(cursor, 2)
    assert repr(cursor) == "<Cursor 1 settled=10 next=12 unsettled=2>"

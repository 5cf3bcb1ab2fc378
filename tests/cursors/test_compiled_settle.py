"""The compiled `Cursor.settle`: it leaves what the one of Python leaves, whatever state a cursor is in."""

import random
import sys

import pytest

from msglog.cursors import Cursor, compiled
from support.scale import scaled
from support.telling import tell

pytestmark = pytest.mark.skipif(not compiled.is_compiled(), reason="installed without the compiled method")


def _state(cursor):
    return (cursor.pack(), cursor.next, dict(cursor.unsettled), list(cursor.returned), dict(cursor.deliveries))


def _step(cursor, dice, settle):
    kind = dice.randrange(10)
    if kind < 4:
        offset = cursor.peek(cursor.next + 1)
        cursor.take(offset, dice.choice(["holder", "other", None]))
    elif kind < 5 and cursor.unsettled:
        cursor.give_back(dice.choice(list(cursor.unsettled)))
    elif kind < 6:
        cursor.count_delivery(dice.randint(0, cursor.next + 1), 2)
    else:
        first = dice.choice([cursor.settled, cursor.settled, dice.randint(0, cursor.next + 2)])
        end = first + dice.choice([0, 1, 1, 1, 2, 5])
        more = dice.choice([(), (), (), (0,), (cursor.next + 1,)])
        return settle(cursor, first, end, *more)
    return None


@pytest.mark.parametrize("counts", [False, True])
def test_a_cursor_is_what_python_makes_of_it(counts, record_property):
    settle = compiled.short_way(compiled._compiled)
    steps = 0
    for seed in range(scaled(40)):
        one, other = Cursor(1), Cursor(1)
        dice, other_dice = random.Random(seed), random.Random(seed)
        for _ in range(60):
            told = _step(one, dice, settle)
            assert told == _step(other, other_dice, settle.__wrapped__)
            assert _state(one) == _state(other)
            steps += 1
            if not counts:
                one.deliveries.clear()
                other.deliveries.clear()
    tell(record_property, model_steps=steps)


class Offset(int):
    pass


@pytest.mark.parametrize(
    "given",
    [
        (),
        (0,),
        (0, 1, 0, 0),
        ("0", 1),
        (0, "1"),
        (None, None),
        (-1, 0),
        (0, 1 << 70),
        (True, 2),
        (Offset(0), Offset(1)),
    ],
)
def test_what_is_unusual_is_left_to_python(given):
    settle = compiled.short_way(compiled._compiled)
    told = []
    for method in (settle, settle.__wrapped__):
        cursor = Cursor(1)
        cursor.take(0, "holder")
        try:
            told.append((method(cursor, *given), _state(cursor)))
        except TypeError as error:
            told.append((str(error), _state(cursor)))
    assert told[0] == told[1]
    with pytest.raises((AttributeError, TypeError)):
        settle(None, 0, 1)


def test_who_had_it_in_hand_is_let_go_and_nothing_else_is():
    class Holder:
        pass

    settle, holder = compiled.short_way(compiled._compiled), Holder()
    before = sys.getrefcount(holder)
    cursor = Cursor(1)
    for offset in range(100):
        cursor.take(offset, holder)
        settle(cursor, offset, offset + 1)
    assert sys.getrefcount(holder) == before
    assert (cursor.settled, cursor.noted_next) == (100, 100)

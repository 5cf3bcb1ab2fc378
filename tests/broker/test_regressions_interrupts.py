"""What an interrupt in the middle of a change once left wrong."""

from collections.abc import Iterator

import pytest

from msglog.cursors import Cursor


class _Interrupted(dict[int, str]):
    """Deliveries in hand whose listing is struck by Ctrl-C after the first."""

    def __iter__(self) -> Iterator[int]:
        yield next(super().__iter__())
        raise KeyboardInterrupt


def test_what_is_in_hand_is_never_among_the_returned_when_finding_that_out_is_interrupted() -> None:
    cursor: Cursor[str] = Cursor(1)
    for offset in range(4):
        cursor.take(offset, "holder")
    cursor.give_back(0)
    cursor.look_again()
    cursor.unsettled = _Interrupted(cursor.unsettled)
    with pytest.raises(KeyboardInterrupt):
        cursor.peek(4)
    cursor.unsettled = dict(cursor.unsettled.items())

    cursor.settle(3, 4)

    assert list(cursor.returned) == [(0, 1)]
    assert cursor.peek(4) == 0

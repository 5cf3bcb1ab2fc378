"""The clock that a test moves by hand takes whole milliseconds, and only forward."""

import pytest

import msglog
from msglog.testing import ManualClock


@pytest.mark.parametrize(
    "step",
    [
        {"ms": 1.5},
        {"ms": "1"},
        {"ms": None},
        {"ms": True},
        {"ms": -1},
        {"ms": 1 << 62},
        {"seconds": -1},
        {"seconds": 1, "ms": -1},
        {"seconds": float("nan")},
        {"seconds": float("inf")},
        {"seconds": "1"},
    ],
)
def test_a_step_that_makes_no_sense_is_refused(step):
    clock = ManualClock(5)
    with msglog.Store(":memory:", clock=clock) as store:
        store.log.create_topic("t")
        with pytest.raises(msglog.InvalidOptionError, match=r"ms|seconds"):
            clock.advance(**step)
        assert store.log.append("t", b"v").timestamp_ms == clock.now_ms() == 5


def test_seconds_are_counted_to_the_millisecond():
    clock = ManualClock(0)
    clock.advance(seconds=0.0015, ms=1)
    clock.advance(seconds=1.2344)
    clock.advance()
    assert clock.now_ms() == 3 + 1234
    assert type(clock.now_ms()) is int

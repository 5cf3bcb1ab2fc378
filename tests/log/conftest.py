"""A log in memory on a clock that stands still."""

import pytest

import msglog
from msglog.testing import ManualClock


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def log(clock):
    with msglog.Log(":memory:", clock=clock) as opened:
        yield opened

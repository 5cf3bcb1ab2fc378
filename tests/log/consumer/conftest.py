"""A log on a clock that is moved by hand, with a topic of one and a topic of two partitions."""

import pytest

from msglog import Log
from msglog.testing import ManualClock


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def log(clock):
    with Log(":memory:", clock=clock) as log:
        log.create_topic("one")
        log.create_topic("two", partitions=2)
        yield log


@pytest.fixture
def real_log():
    """A log on the machine's clock."""
    with Log(":memory:") as log:
        log.create_topic("one")
        log.create_topic("two", partitions=2)
        yield log

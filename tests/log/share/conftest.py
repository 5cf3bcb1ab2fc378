"""A log with a topic `t` on a clock that is moved by hand: in memory, and on disk in two sync modes."""

import pytest

from msglog import Log
from msglog.testing import ManualClock
from support.shares import LogDisk


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def log(clock):
    with Log(":memory:", clock=clock) as opened:
        opened.create_topic("t")
        yield opened


@pytest.fixture(params=["none", "commit"])
def disk(request, tmp_path, clock):
    """A log on disk that can be closed and opened again."""
    disk = LogDisk(tmp_path, sync=request.param, clock=clock)
    disk.log.create_topic("t")
    yield disk
    disk.log.close()


@pytest.fixture(params=["reopen", "crash"])
def again(request, disk):
    """A function that ends the log of `disk`, in an orderly way or not, and returns its successor."""
    return getattr(disk, request.param)

"""Brokers on a clock that stands still: in memory, and on disk in the sync modes that differ most."""

import pytest

import msglog
from msglog.testing import ManualClock
from support.brokers import Disk


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def broker(clock):
    with msglog.Broker(":memory:", clock=clock) as opened:
        yield opened


@pytest.fixture
def q(broker):
    """The name of a plain queue."""
    return broker.declare_queue("q").name


@pytest.fixture
def dlq(broker):
    """The name of the queue that dead letters go to when a queue is declared with `DEAD_LETTERED`."""
    return broker.declare_queue("dlq").name


@pytest.fixture
def store(clock):
    """A store for several brokers, each a connection of its own."""
    with msglog.Store(":memory:", clock=clock) as opened:
        yield opened


@pytest.fixture(params=["memory", "none", "commit"])
def any_broker(request, tmp_path, clock):
    """A broker in memory, and on disk in two sync modes."""
    options = {} if request.param == "memory" else {"sync": request.param}
    path = ":memory:" if request.param == "memory" else tmp_path / "store"
    with msglog.Broker(path, clock=clock, **options) as opened:
        yield opened


@pytest.fixture(params=["none", "commit"])
def disk(request, tmp_path, clock):
    """A broker on disk that can be closed and opened again."""
    disk = Disk(tmp_path, sync=request.param, clock=clock)
    yield disk
    disk.broker.close()


@pytest.fixture(params=["reopen", "crash"])
def again(request, disk):
    """A function that ends the broker of `disk`, in an orderly way or not, and returns its successor."""
    return getattr(disk, request.param)

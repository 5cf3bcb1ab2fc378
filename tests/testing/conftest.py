"""A store that is watched, in memory and on a disk that is made up, and what its users call."""

import pytest

import msglog
from msglog.testing import Faults, ManualClock, SimulatedDisk, record


@pytest.fixture(params=["memory", "commit", "interval"])
def store(request):
    """A store in memory, and on disk in the two sync modes that write in different ways."""
    if request.param == "memory":
        with msglog.Store(":memory:", clock=ManualClock()) as opened:
            yield opened
    else:
        with SimulatedDisk() as disk:
            yield disk.open(sync=request.param, clock=ManualClock())


@pytest.fixture
def log(store):
    store.log.create_topic("t")
    return store.log


@pytest.fixture
def broker(store):
    """A broker with a queue `q` whose dead letters go to `dead`."""
    store.broker.declare_queue("dead")
    store.broker.declare_queue("q", dead_letter_exchange="", dead_letter_routing_key="dead")
    return store.broker


@pytest.fixture
def recorder(store):
    with record(store) as opened:
        yield opened


@pytest.fixture
def faults(store):
    with Faults(store) as opened:
        yield opened

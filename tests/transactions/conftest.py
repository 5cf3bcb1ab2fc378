"""Stores on a clock that stands still: in memory, and on disk in the sync modes that differ most."""

import pytest

import msglog
from msglog.testing import ManualClock


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture(params=["memory", "none", "commit"])
def any_store(request, tmp_path, clock):
    """A store in memory, and on disk in two sync modes."""
    options = {} if request.param == "memory" else {"sync": request.param}
    path = ":memory:" if request.param == "memory" else tmp_path / "store"
    with msglog.Store(path, clock=clock, **options) as opened:
        yield opened


@pytest.fixture
def store(clock):
    """A store in memory, where the kind of disk makes no difference."""
    with msglog.Store(":memory:", clock=clock) as opened:
        yield opened


@pytest.fixture
def log(store):
    return store.log


@pytest.fixture
def broker(store):
    return store.broker

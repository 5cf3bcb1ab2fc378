"""A store in memory on a clock that stands still."""

import pytest

import msglog
from msglog.testing import ManualClock


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store(clock):
    with msglog.Store(":memory:", clock=clock) as opened:
        yield opened


@pytest.fixture
def log(store):
    store.log.create_topic("t")
    return store.log


@pytest.fixture
def broker(store):
    store.broker.declare_queue("dlq")
    store.broker.declare_queue("q", dead_letter_exchange="", dead_letter_routing_key="dlq")
    return store.broker

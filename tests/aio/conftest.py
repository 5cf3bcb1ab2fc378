"""Stores for the tests of asyncio: one in memory, and one on disk whose commits wait for syncs."""

import inspect

import pytest

import msglog
from msglog import aio
from msglog.testing import ManualClock
from support.dumps import check_counts
from support.tasks import run


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture(params=["memory", "commit"])
def store(request, tmp_path, clock):
    """An open threaded store with a topic `t`, one of two partitions, and a queue `q`."""
    path = ":memory:" if request.param == "memory" else tmp_path / "store"
    with msglog.Store(path, clock=clock) as opened:
        opened.log.create_topic("t")
        opened.log.create_topic("two", partitions=2)
        opened.broker.declare_queue("q")
        yield opened
        if not opened.closed:
            check_counts(opened)


@pytest.fixture
def own(store):
    """The same store for tasks. Tests of tasks are coroutine functions: each runs in a loop in debug mode."""
    return aio.Store(store)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run a test that is a coroutine function, unless anyio does."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj) or pyfuncitem.get_closest_marker("anyio"):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    run(pyfuncitem.obj(**arguments))
    return True

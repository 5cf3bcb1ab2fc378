"""The pytest plugin of msglog: fixtures for stores that last as long as one test.

Loaded by pytest wherever msglog is installed; `-p no:msglog` keeps it away. It is a package of its own because pytest
loads it first of all: nothing of msglog is imported, and so missed by a measurement of coverage, before a test asks for
a fixture. What the fixtures do is in `msglog.testing.fixtures`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from msglog import Broker, Log, Store
    from msglog.testing import Faults, ManualClock, Recorder, SimulatedDisk

__all__ = [
    "msglog_broker",
    "msglog_clock",
    "msglog_disk",
    "msglog_faults",
    "msglog_log",
    "msglog_recorder",
    "msglog_store",
]

_INI = {
    "storage": "where the stores of fixtures are: memory (default) or disk",
    "sync": "when stores of fixtures sync: commit (default), interval or none",
    "background_errors": "what becomes of a test whose callbacks raised in the background: fail (default) or ignore",
}


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the plugin's options for the configuration file."""
    # pytest would rewrite the assertions of whatever is installed together with a plugin: importing msglog would take
    # six times as long. There is no public way to say so; where this one is gone it only takes longer.
    getattr(pluginmanager.rewrite_hook, "_must_rewrite", set()).discard("msglog")
    for name, text in _INI.items():
        parser.addini(f"msglog_{name}", text, default="")


def pytest_configure(config: pytest.Config) -> None:
    """Make the plugin's marker known."""
    config.addinivalue_line(
        "markers",
        "msglog(storage='memory', background_errors='fail', **options): "
        "how the msglog_store of a test is opened; options are those of msglog.Store",
    )


@pytest.fixture
def msglog_clock() -> "ManualClock":
    """Return the clock of the test's store: it stands still until the test moves it."""
    from msglog.testing import ManualClock  # noqa: PLC0415 not before a test asks for it

    return ManualClock()


@pytest.fixture
def msglog_disk() -> "Iterator[SimulatedDisk]":
    """Return a disk that loses power on demand; the test's `msglog_store` is then on it."""
    from msglog.testing import SimulatedDisk  # noqa: PLC0415

    with SimulatedDisk() as disk:
        yield disk


@pytest.fixture
def msglog_store(request: pytest.FixtureRequest, msglog_clock: "ManualClock") -> "Iterator[Store]":
    """Return an open store of the test's own, by default in memory and on `msglog_clock`."""
    from msglog.errors import InvalidOptionError  # noqa: PLC0415
    from msglog.testing.fixtures import StoreOfTest, options_of  # noqa: PLC0415

    marks = list(request.node.iter_markers("msglog"))
    if any(mark.args for mark in marks):
        pytest.fail('@pytest.mark.msglog takes options by name only, as in storage="disk"', pytrace=False)
    configured = {name: request.config.getini(f"msglog_{name}") for name in _INI}
    try:
        options = options_of([mark.kwargs for mark in marks], configured)
        path = disk = None
        if "msglog_disk" in request.fixturenames:
            disk = request.getfixturevalue("msglog_disk")
            path = disk.path
        elif options.storage == "disk":
            path = str(request.getfixturevalue("tmp_path_factory").mktemp("msglog") / "store")
        opened = StoreOfTest(path, msglog_clock, options)
    except InvalidOptionError as error:
        pytest.fail(f"the store of the test: {error}", pytrace=False)
    yield opened.store
    complaint = opened.end(crashed=disk is not None and disk.crashes > 0)
    if complaint:
        pytest.fail(complaint, pytrace=False)


@pytest.fixture
def msglog_log(msglog_store: "Store") -> "Log":
    """Return the topics of the test's store."""
    return msglog_store.log


@pytest.fixture
def msglog_broker(msglog_store: "Store") -> "Broker":
    """Return the exchanges and queues of the test's store."""
    return msglog_store.broker


@pytest.fixture
def msglog_recorder(msglog_store: "Store") -> "Iterator[Recorder]":
    """Return a recorder of all that is written to the test's store."""
    from msglog.testing import record  # noqa: PLC0415

    with record(msglog_store) as recorder:
        yield recorder


@pytest.fixture
def msglog_faults(msglog_store: "Store") -> "Iterator[Faults]":
    """Return what makes writes to the test's store fail; nothing fails before the test says so."""
    from msglog.testing import Faults  # noqa: PLC0415

    with Faults(msglog_store) as faults:
        yield faults

"""A full disk below a broker: `DiskFullError`, nothing lost or half done, and all goes on once there is space again."""

from collections.abc import Callable

import pytest

from msglog.errors import DiskFullError
from support.broker_session import DEAD, BrokerSession, check_view, recover_view, small_broker_limits
from support.crash_images import crash_images
from support.recovery import MODES
from support.scale import TORTURE
from support.telling import tell

BUDGET_STEP = round(2600 / TORTURE)
ACKNOWLEDGEMENTS = 60


def _steps(session: BrokerSession) -> list[Callable[[], object]]:
    """A short life in steps, each of which can be tried again."""
    steps: list[Callable[[], object]] = [
        lambda: session.declare_exchange("all", "fanout"),
        lambda: session.declare("dlq"),
        lambda: session.declare("q", dead=DEAD),
        lambda: session.declare("short", most=1, dead=DEAD),
        lambda: session.declare("poison", limit=3, dead=DEAD),
        lambda: session.bind("q", "all"),
        lambda: session.bind("short", "all"),
    ]
    steps += [lambda: session.publish("all", "", size=200) for _ in range(4)]
    steps += [
        lambda: session.publish_many("", *["q"] * 6, "poison", size=300),
        lambda: session.get("q"),
        lambda: session.get("q"),
        lambda: session.get("poison"),
        lambda: session.ack("q", 1),
        lambda: session.reject("q"),
        lambda: session.nack("poison"),
        lambda: session.send("q", delay_ms=10),
        lambda: session.purge("short"),
        session.flush,
    ]
    for _ in range(6):
        steps += [lambda: session.get("q"), lambda: session.ack("q")]
    return [*steps, lambda: session.delete("short"), session.flush]


def _is_refused(step: Callable[[], object]) -> bool:
    """Do a step; return whether the disk was too full for it, and nothing of it was done."""
    try:
        step()
    except DiskFullError as error:
        if error.outcome != "not_applied":
            raise
        return True
    return False


def _size_of_all(sync) -> int:
    session = BrokerSession(sync)
    session.open()
    for step in _steps(session):
        step()
    session.end()
    return sum(inode.size() for inode in session.filesystem.disk.names.values())


@pytest.mark.parametrize("sync", MODES)
def test_nothing_is_lost_on_a_full_disk_and_work_goes_on(sync, record_property):
    tried = refused = 0
    with small_broker_limits():
        size = _size_of_all(sync)
        for budget in range(0, size + BUDGET_STEP, BUDGET_STEP):
            tried += 1
            session = BrokerSession(sync)
            disk = session.filesystem.disk
            disk.budget = budget
            try:
                session.open()
            except DiskFullError:
                disk.budget = None
                session.open()
            for step in _steps(session):
                if _is_refused(step):
                    refused += 1
                    disk.budget = None
                    session.check_open(session.paper)
                    for image in crash_images(
                        disk.start, disk.operations, seed=budget, first=session.moment, each=0, chances=1
                    ):
                        now_ms = session.now_at(image.point)
                        found = recover_view(image.build(), now_ms, sync)
                        check_view(session.history, found, session.moment, now_ms, killed=image.killed)
                    step()
            session.check()
            session.close()
            session.open()
            session.check()
            session.end()
    assert refused > 10
    tell(record_property, disk_sizes=tried, refusals=refused)


@pytest.mark.parametrize("sync", MODES)
def test_acknowledgements_on_a_disk_that_is_full_lose_nothing_and_can_be_repeated(sync):
    """Acknowledging takes space, too: it is refused, the delivery stays in hand and can be settled later."""
    with small_broker_limits():
        session = BrokerSession(sync)
        session.open()
        session.declare("q")
        session.publish_many("", *["q"] * ACKNOWLEDGEMENTS)
        session.get("q", ACKNOWLEDGEMENTS)
        disk = session.filesystem.disk
        disk.budget = 0
        refused = 0
        while session.held["q"]:
            if _is_refused(lambda: session.ack("q", len(session.held["q"]) // 2)):
                refused += 1
                delivery = session.held["q"][len(session.held["q"]) // 2][0]
                assert not delivery.settled
                for _ in range(3):
                    with pytest.raises(DiskFullError):
                        delivery.ack()
                disk.budget = None
                session.ack("q", len(session.held["q"]) // 2)
                disk.budget = 0
        assert refused
        disk.budget = None
        session.check()
        session.close()
        session.open()
        assert session.broker.get("q") is None
        session.end()

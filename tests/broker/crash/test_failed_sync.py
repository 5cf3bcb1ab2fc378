"""A failed sync below a broker: it takes nothing more, settles nothing more, and is whole again once reopened.

The kernel may call pages clean that never reached the disk. So reopening, over the same page cache, writes anew
whatever was not durable: a loss of power after that keeps all of it.
"""

import warnings

import pytest

from msglog.errors import MsglogError, StoreFailedError
from support.broker_session import BrokerCrashCheck, BrokerSession, check_view, recover_view, small_broker_limits
from support.broker_workloads import BrokerWorkload, draining, limiting, settling, spreading
from support.crash_images import crash_images
from support.faults import Fault, FaultPlan
from support.recovery import MODES
from support.scale import scaled, stride
from support.telling import tell

SYNCS = frozenset({"sync"})
FAILURES = 3
STRIDE = 3
"""Of the images of a normal run, one of so many is opened; of a longer one, more."""


def _run(workload: BrokerWorkload, session: BrokerSession) -> MsglogError | OSError | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # closing a broker whose store has failed
            workload(session)
    except (MsglogError, OSError) as error:
        return error
    return None


def _count(workload: BrokerWorkload, sync) -> int:
    session = BrokerSession(sync)
    plan = session.filesystem.plan = FaultPlan(Fault.EIO, calls=SYNCS)
    workload(session)
    session.end()
    return plan.seen


def _refuses(session: BrokerSession) -> None:
    broker = session.broker
    for call in (
        lambda: broker.declare_queue("other"),
        lambda: broker.publish_many("", [("dlq", b"")]),
        lambda: broker.send("dlq", b""),
        lambda: broker.send("dlq", b"", delay_ms=10),
        broker.store.flush,
    ):
        with pytest.raises(StoreFailedError):
            call()
    for deliveries in session.held.values():
        for delivery, _, _ in deliveries:
            for settle in (delivery.ack, delivery.reject):
                if not delivery.settled:
                    with pytest.raises(StoreFailedError):
                        settle()
                    assert not delivery.settled


def _reopen(session: BrokerSession) -> None:
    """Begin the next life with what the page cache shows."""
    session.filesystem.plan = None
    moment = session.moment
    now_ms = session.now_at(moment)
    found = recover_view(session.filesystem.disk.image(), now_ms, session.sync)
    index = check_view(session.history, found, moment, now_ms, killed=True)
    if session.is_open:
        session.kill()
    else:
        session.filesystem = session.filesystem.kill()
    state = session.history._steps[index].state
    session.paper = state.copy()  # type: ignore[attr-defined]  # its states are papers here
    session.paper.now_ms = now_ms
    session.opening = False
    session.open()
    session.check()


@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize("workload", [settling, spreading, limiting, draining])
def test_after_a_failed_sync_reopening_makes_all_durable_again(workload, sync, record_property):
    failed = images = 0
    with small_broker_limits():
        count = _count(workload, sync)
        for number in range(0, count, max(1, round(count / scaled(FAILURES)))):
            session = BrokerSession(sync)
            session.filesystem.plan = FaultPlan(Fault.EIO, number, calls=SYNCS)
            error = _run(workload, session)
            if error is None and (not session.is_open or session.engine.failure is None):
                session.end()
                continue
            failed += 1
            assert error is None or isinstance(error, StoreFailedError) or session.opening, repr(error)
            if session.is_open and session.engine.failure is not None and "dlq" in session.paper.queues:
                _refuses(session)
            _reopen(session)
            moment = session.moment
            session.declare("more")
            session.send("more")
            session.end()
            disk = session.filesystem.disk
            check = BrokerCrashCheck(session)
            later = crash_images(disk.start, disk.operations, seed=number, first=moment, each=1, chances=1)
            for place, image in enumerate(later):
                if place % stride(STRIDE) == 0:
                    check.check(image)
            images += check.tried
    assert failed
    tell(record_property, failed_syncs=failed, crash_images_after_reopening=images)

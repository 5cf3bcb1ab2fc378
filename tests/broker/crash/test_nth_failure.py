"""Every call to the file system below a broker fails in turn, once or for ever.

Errors are typed. What was refused is not there, neither wholly nor in part; what is uncertain is there as a whole or
not at all. A broker whose store goes on works without help afterwards, one whose store has failed is right when it is
opened again; and a loss of power then keeps all promises.
"""

import warnings

import pytest

from msglog.errors import MsglogError, StoreFailedError
from support.broker_afterwards import check_afterwards, leaked_locks
from support.broker_session import DEAD, BrokerSession, check_view, recover_view, small_broker_limits
from support.crash_images import crash_images
from support.faults import Fault, FaultPlan
from support.recovery import MODES
from support.scale import scaled, stride
from support.telling import tell

POWER_CUTS = 1
STRIDE = 13
"""In a normal run, one of so many calls fails; in a longer one, all."""


def _everything_once(session: BrokerSession) -> None:
    session.open()
    session.declare_exchange("all", "fanout")
    session.declare("dlq")
    session.declare("q", dead=DEAD)
    session.declare("short", most=1, dead=DEAD)
    session.declare("poison", limit=0, dead=DEAD)
    for name in ("q", "short", "dlq"):
        session.bind(name, "all")
    session.publish("all", "", size=300)
    session.publish_many("all", "", "", size=300)
    session.get("q", 3)
    session.ack("q", 1)
    session.nack("q", 1)
    session.send("poison")
    session.get("poison")
    session.nack("poison")
    session.send("q", size=1500)
    session.reject("q")
    session.publish("", "q", priority=1, persistent=False)
    session.send("q", delay_ms=50)
    session.get("q", 2)
    session.flush()
    session.ack("q")
    session.set_policy("few", "q", 9)
    session.purge("short")
    session.delete("poison")
    session.advance(60)
    session.close()
    session.open()
    session.get("q")
    session.ack("q")
    session.close()


def _attempt(session: BrokerSession) -> Exception | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # closing a broker whose store has failed
            _everything_once(session)
    except AssertionError:
        raise
    except Exception as error:  # noqa: BLE001 the test is about which ones come
        return error
    return None


def _is_typed(error: Exception, session: BrokerSession) -> bool:
    """Opening may pass on the operating system's error; a store that is open has types of its own."""
    if isinstance(error, MsglogError):
        return True
    return isinstance(error, OSError) and error.errno is not None and session.opening


def _check_failed(session: BrokerSession) -> None:
    """A store that failed refuses whatever would change it, and leaves no delivery half settled."""
    with pytest.raises(StoreFailedError):
        session.broker.declare_queue("other")
    for delivery, _, _ in [one for held in session.held.values() for one in held]:
        if not delivery.settled:
            with pytest.raises(StoreFailedError):
                delivery.ack()
            assert not delivery.settled


def _check_after_crashes(session: BrokerSession, number: int) -> None:
    moment = session.moment
    now_ms = session.now_at(moment)
    disk = session.filesystem.disk
    images = list(crash_images(disk.start, disk.operations, seed=number, first=moment, each=1, chances=1))
    killed = next(image for image in images if image.killed)
    found = recover_view(killed.build(), now_ms, session.sync)
    check_view(session.history, found, moment, now_ms, killed=True)
    others = [image for image in images if not image.killed]
    for image in others[number % 3 :: 3][: scaled(POWER_CUTS)]:
        check_view(session.history, recover_view(image.build(), now_ms, session.sync), moment, now_ms)


@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize("forever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("fault", Fault)
def test_any_call_may_fail(fault: Fault, forever, sync, record_property):
    with small_broker_limits():
        counting = BrokerSession(sync)
        counting.filesystem.plan = FaultPlan(fault)
        assert _attempt(counting) is None
        calls = counting.filesystem.plan.seen
        assert calls
        step = stride(STRIDE)
        raised: dict[str, int] = {}
        survived = 0
        for number in range(fault.value % step if isinstance(fault.value, int) else 0, calls, step):
            session = BrokerSession(sync)
            session.filesystem.plan = FaultPlan(fault, number, forever=forever)
            first = None
            try:
                error = _attempt(session)
                session.filesystem.plan = None
                name = type(error).__name__ if error else "no_error"
                raised[name] = raised.get(name, 0) + 1
                if error is not None:
                    assert _is_typed(error, session), f"not typed: {error!r}"
                    first = error
                _check_after_crashes(session, number)
                if error is not None and session.is_open:
                    assert not leaked_locks(session)
                    if session.engine.failure is not None:
                        _check_failed(session)
                    elif "all" in session.paper.exchanges and not session.broker.closed:
                        survived += 1
                        states = [step.state for step in session.history._steps]
                        check_afterwards(session, [session.paper, *states[states.index(session.paper) + 1 :]])
            except Exception as failure:
                failure.add_note(f"call number {number} of {calls} failed, and the workload with {first!r}")
                raise
            finally:
                session.end()
    tell(record_property, failed_calls=sum(raised.values()), went_on=survived, **raised)

"""What must hold after a call to a broker that did not return: it was interrupted, or it failed."""

from _thread import LockType
from collections import Counter
from typing import Any

import msglog
from support.broker_session import BrokerSession, see, view_of
from support.disk import Disk
from support.faulty_filesystem import FaultyFileSystem
from support.paper import FAR_MS, Paper, View

PROBE = b"probe"


def leaked_locks(session: BrokerSession) -> list[str]:
    """Return which locks are held, although nobody is at work."""
    vhost, engine = session.broker._vhost, session.engine
    holders = (vhost, vhost.core, vhost.core.timers, engine, engine.writer, engine._checkpointer, session.broker.store)
    found = []
    for holder in holders:
        for name in dir(holder):
            value = getattr(holder, name, None)
            value = getattr(value, "_lock", value)  # of a condition
            if isinstance(value, LockType) and value.locked():
                found.append(f"{type(holder).__name__}.{name}")
    return found


def _check_counts(session: BrokerSession) -> None:
    """Every consumer counts what it has in hand, or knows that it must; every queue counts its waiting bytes."""
    broker = session.broker
    for queue in broker._vhost.queues.values():
        holders: Counter[Any] = Counter()
        for lane in queue.lanes:
            holders.update(lane.cursor.unsettled.values())
        getter = broker._connection.getters.get(queue)
        for holder in {*holders, *([getter] if getter else [])}:
            told = f"{queue}: {holder.unsettled} counted, {holders[holder]} in hand"
            assert holder.unsettled == holders[holder] or holder.miscounted, told
        waiting = sum(len(message.body) for message in broker.peek(queue.name, 1 << 20))
        assert queue.ready_bytes() == waiting, f"{queue} counts {queue.ready_bytes()} bytes, {waiting} wait"


def _plain(view: View) -> list[Any]:
    """Return what of a view does not depend on who had what in hand, nor on when: bodies, deaths, definitions."""
    bare = {
        name: sorted((one[0], one[3]) for one in [*seen, *view.later.get(name, ())])
        for name, seen in view.queues.items()
    }
    return [bare, view.exchanges, view.bindings, view.policies]


def _probed(paper: Paper) -> Paper:
    """Return what is on paper after one more publication."""
    other = paper.copy()
    other.publish("all", "", PROBE)
    other.settle_down()
    return other


def _in_life(paper: Paper) -> View:
    """Return what is seen in a broker that lives on when all hands have given back what they had."""
    other = paper.copy()
    other.give_all_back()
    now = other.take_all()
    other.advance(FAR_MS)
    exchanges = {(name, kind) for name, (kind, _) in other.exchanges.items()}
    return View(now, other.take_all(), exchanges, other.bindings, set(other.policies))


def check_afterwards(session: BrokerSession, candidates: list[Paper]) -> None:
    """Go on after a call of which nobody knows whether it was done: it must be in one of these states.

    The broker needs no help: the next publication must succeed, and what is in hand can be settled. The session's store
    is closed then. `session` must have an exchange "all".
    """
    broker, store = session.broker, session.broker.store
    # It goes to queues that the interrupted call may have been about: that commit is finished first.
    broker.publish("all", "", PROBE)
    candidates = [_probed(paper) for paper in candidates]
    store.flush()
    _check_counts(session)
    # Death at this moment.
    tree = session.filesystem.disk.image()
    found = view_of(FaultyFileSystem(Disk(tree, recording=False)), session.clock.now_ms(), session.sync)
    wanted = [_plain(paper.view(session.clock.now_ms())) for paper in candidates]
    assert _plain(found) in wanted, f"after a kill: {candidates[0].view(session.clock.now_ms()).difference(found)}"
    # Life goes on: what is in hand can be settled, once.
    broker.close()
    other = msglog.Broker(store)
    keep: list[Any] = []
    found = see(other, session.clock, keep)
    wanted = [_plain(_in_life(paper)) for paper in candidates]
    assert _plain(found) in wanted, f"alive: {_in_life(candidates[0]).difference(found)}"
    for delivery in keep:
        delivery.ack()
    assert all(queue.message_count == 0 for queue in other.queues())
    other.close()
    store.close()

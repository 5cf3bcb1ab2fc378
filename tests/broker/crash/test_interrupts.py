"""An exception at every place in a broker's calls where a signal handler may raise one.

Whatever is interrupted, no lock is leaked, the broker goes on working without any help, and the call was done as a
whole or not at all: every message is in one place, consumers count what they have in hand, and what a call had in hand
comes back when its consumer is closed.
"""

import os
import random
import sys
from collections.abc import Callable
from typing import Any

import pytest

import msglog
from support.broker_afterwards import check_afterwards, leaked_locks
from support.broker_session import DEAD, BrokerSession, small_broker_limits
from support.disk import Image
from support.faulty_filesystem import FaultyFileSystem
from support.opcodes import Striker, Struck
from support.paper import Paper
from support.recovery import MODES
from support.scale import scaled
from support.telling import tell

STRIKES = 10
ROOM = 1 << 16
ROOMY = {"DRAFT_COMMITS": 1 << 20, "FIRST_ALLOCATION": ROOM, "_FEWEST_OPEN": 64, "_MOST_OPEN": 64}
"""Limits with which small commits go the short way."""
FOLDER = os.path.join(os.path.dirname(msglog.__file__), "")

Work = Callable[[BrokerSession], None]


def _tree(sync) -> tuple[Image, Paper]:
    """Return a closed store and what is in it."""
    session = BrokerSession(sync, segment_bytes=ROOM)
    session.open()
    session.declare("probe")
    session.declare("dlq")
    session.declare("q", dead=DEAD)
    session.declare("empty")
    session.declare("short", most=2, dead=DEAD)
    session.declare("brief", ttl_ms=50, dead=DEAD)
    session.declare("poison", limit=1, dead=DEAD)
    session.declare("ranked", levels=3)
    session.declare_exchange("all", "fanout")
    session.declare_exchange("some", "direct")
    for name in ("q", "empty", "dlq", "probe"):
        session.bind(name, "all")
    session.send("q", 5)
    session.send("short", 2)
    session.send("brief")
    session.send("poison", 2)
    session.get("poison")
    session.nack("poison")
    session.send("q", delay_ms=20)
    session.close()
    return session.filesystem.disk.image(), session.paper


def _prepared(tree: Image, paper: Paper, sync) -> BrokerSession:
    session = BrokerSession(sync, filesystem=FaultyFileSystem(tree), paper=paper.copy(), tag="new-", segment_bytes=ROOM)
    session.open()
    session.publish_many("all", "", "")  # which makes room: what follows goes the short way
    session.get("q", 3)
    session.ack("q", 1)
    session.get("short")
    session.get("poison")
    session.claiming = False  # only the call itself is to be struck
    return session


def _publish(session: BrokerSession) -> None:
    session.publish("all", "")


def _publish_too_much(session: BrokerSession) -> None:
    session.send("short", 2)


def _publish_many(session: BrokerSession) -> None:
    session.publish_many("all", "", "")


def _publish_ranked(session: BrokerSession) -> None:
    session.send("ranked", priority=2)


def _publish_later(session: BrokerSession) -> None:
    session.send("q", delay_ms=10)


def _get(session: BrokerSession) -> None:
    session.get("q")


def _get_counted(session: BrokerSession) -> None:
    session.get("poison")


def _get_settled(session: BrokerSession) -> None:
    after = session.paper.copy()
    place = after.take("q")
    assert place is not None
    after.ack("q", place)
    with session._step(after, durable=False):
        session.broker.get("q", no_ack=True)


def _ack(session: BrokerSession) -> None:
    session.ack("q")


def _nack(session: BrokerSession) -> None:
    session.nack("q", 1)


def _nack_too_much(session: BrokerSession) -> None:
    session.nack("short")


def _nack_once_too_often(session: BrokerSession) -> None:
    session.nack("poison")


def _nack_for_later(session: BrokerSession) -> None:
    session.nack("q", delay_ms=30)


def _reject(session: BrokerSession) -> None:
    session.reject("q")


def _let_time_pass(session: BrokerSession) -> None:
    session.advance(60)


def _define(session: BrokerSession) -> None:
    session.declare("new", levels=2)
    session.bind("new", "some", "key")
    session.set_policy("few", "q", 1)


def _purge_and_delete(session: BrokerSession) -> None:
    session.purge("q")
    session.delete("short")


WORKS = [
    _publish,
    _publish_too_much,
    _publish_many,
    _publish_ranked,
    _publish_later,
    _get,
    _get_counted,
    _get_settled,
    _ack,
    _nack,
    _nack_too_much,
    _nack_once_too_often,
    _nack_for_later,
    _reject,
    _let_time_pass,
    _define,
    _purge_and_delete,
]


def _strike(work: Work, session: BrokerSession, at: int) -> None:
    first = session.history.last
    striker = Striker(FOLDER, at)
    struck = False
    try:
        with striker.striking():
            work(session)
    except Struck:
        struck = True
    try:
        assert not leaked_locks(session), f"{leaked_locks(session)} leaked"
        states: list[Any] = [step.state for step in session.history._steps]
        candidates = states[first if struck else -1 :]
        check_afterwards(session, candidates)
    except Exception as error:
        raise AssertionError(f"struck at {striker.place} (number {at}): {type(error).__name__}: {error}") from error
    finally:
        session.end()


def _places_in(work: Work, session: BrokerSession) -> int:
    counting = Striker(FOLDER)
    with counting.striking():
        work(session)
    session.end()
    return counting.seen


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="opcodes are CPython's")
@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize("work", WORKS)
def test_a_call_that_is_interrupted_was_done_or_not(work, sync, record_property):
    with small_broker_limits(**ROOMY):
        tree, paper = _tree(sync)
        places = _places_in(work, _prepared(tree, paper, sync))
        step = max(1, round(places / scaled(STRIKES)))
        tried = range(random.Random(places).randrange(step), places, step)
        for at in tried:
            _strike(work, _prepared(tree, paper, sync), at)
    assert tried
    tell(record_property, strikes=len(tried), places=places)


def test_what_follows_an_interrupted_commit_is_not_taken_for_what_that_stored(monkeypatch):
    with msglog.Broker(":memory:") as broker:
        broker.declare_queue("q")
        broker.publish("", "q", b"0")  # its segment is ready
        writer = broker.store.core.engine.writer

        def strike(_):
            raise Struck

        with monkeypatch.context() as patch:
            patch.setattr(writer, "store_frames", strike)
            with pytest.raises(Struck):
                broker.publish_many("", [("q", b"1"), ("q", b"2")])
        broker.publish("", "q", b"3", headers={"long": "way"})
        assert [broker.get("q").body for _ in range(4)] == [b"0", b"1", b"2", b"3"]

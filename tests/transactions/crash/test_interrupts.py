"""An exception at the places in a transaction where a signal handler may raise one, from entering to having left.

Whatever is interrupted: no lock is leaked, the transaction was done as a whole or not at all, consumers count what they
have in hand, nothing is held by a transaction that is over, and the next one succeeds.
"""

import gc
import os
import random
import sys

import pytest

import msglog
from support.broker_afterwards import leaked_locks
from support.broker_session import small_broker_limits
from support.dumps import check_counts
from support.opcodes import Striker, Struck
from support.recovery import MODES
from support.scale import scaled
from support.telling import tell
from support.transacting import EVERYTHING, World, append, prepared, publish, recover, reject, share_ack

STRIKES = 24
FOLDER = os.path.join(os.path.dirname(msglog.__file__), "")
WORKS = {
    "everything": EVERYTHING,
    "log": (append("t", 0, 2), append("u", 0)),
    "broker": (publish("e", "", "a", "b"), reject),
    "share": (share_ack,),
}


def _world(sync, tree, books) -> World:
    world = World(sync, tree, books)
    world.open()
    world.transact(*EVERYTHING)  # which makes lanes and buckets
    world.take()
    world.claiming = False  # only the transaction itself is to be struck
    return world


def _strike(world: World, parts, at: int, *, sequenced: bool) -> bool:
    before = world.books.copy()
    striker = Striker(FOLDER, at)
    struck = False
    try:
        with striker.striking():
            world.transact(*parts, sequenced=sequenced)
    except Struck:
        struck = True
    after = world.history._steps[-1].state
    try:
        _check(world, [before, after] if struck else [after])
    except Exception as error:
        raise AssertionError(f"struck at {striker.place} (number {at}): {type(error).__name__}: {error}") from error
    return struck


def _check(world: World, candidates) -> None:
    assert not leaked_locks(world), f"{leaked_locks(world)} leaked"
    gc.collect()  # the frames of what was struck
    with world.store.transaction() as tx:
        tx.append("t", b"probe", partition=1)
        tx.publish("e", "", b"probe")
    probed = [books.copy() for books in candidates]
    for books in probed:
        books.topics["t", 1].append(b"probe")
        for name in ("a", "b"):
            books.queues[name] = sorted([*books.queues[name], b"probe"])
    world.store.flush()
    check_counts(world.store)
    found = recover(world.filesystem.disk.image(), world.clock.now_ms(), world.sync)
    assert found in probed, f"after a kill: {probed[0].difference(found)}"

    # What was given back is settled, and there.
    for delivery in world.held:
        assert delivery.settled != delivery.pending
        assert delivery.settled or delivery.body in found.queues["work"]
        if delivery.pending:
            delivery.ack()
            found.queues["work"].remove(delivery.body)
    for record in world.records:
        assert record.settled != record.pending
        assert record.settled or record.offset in found.shared
        if record.pending:
            record.ack()
            found.shared.remove(record.offset)
    alive = world.look_alive()
    alive.shared, found.shared = sorted(alive.shared), sorted(found.shared)
    assert alive == found, f"alive: {found.difference(alive)}"


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="opcodes are CPython's")
@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize("name", WORKS)
def test_an_interrupted_transaction_was_done_or_not(name, sync, record_property):
    parts = WORKS[name]
    sequenced = name == "log"
    struck = 0
    with small_broker_limits():
        tree, books = prepared(sync)
        world = _world(sync, tree, books)
        counting = Striker(FOLDER)
        with counting.striking():
            world.transact(*parts, sequenced=sequenced)
        world.end()
        step = max(1, round(counting.seen / scaled(STRIKES if name == "everything" else STRIKES // 3)))
        for at in range(random.Random().randrange(step), counting.seen, step):
            world = _world(sync, tree, books)
            struck += _strike(world, parts, at, sequenced=sequenced)
            world.end()
    assert struck
    tell(record_property, strikes=struck, places=counting.seen)

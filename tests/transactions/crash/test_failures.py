"""The file system fails below transactions: once or for ever, at any call, at any sync.

Whoever gets an error that says "not applied" finds nothing of the transaction, then and after every crash; one of
unknown outcome is there as a whole or not at all.
"""

# It is leaving the block that must raise, with all that is in it.
# ruff: noqa: PT012

import pytest

import msglog
from msglog.errors import MsglogError, StoreFailedError
from support.broker_session import small_broker_limits
from support.crash_images import crash_images
from support.dumps import check_counts, difference, dump
from support.faults import Fault, FaultPlan
from support.recovery import MODES
from support.scale import scaled
from support.telling import tell
from support.transacting import (
    EVERYTHING,
    World,
    WorldCheck,
    append,
    attempt,
    check_books,
    prepared,
    publish,
    recover,
    work,
)

SYNCS = frozenset({"sync"})
STRIDE = 23
"""Of the calls that can fail, one of so many does in a normal run; in a longer one, all."""
FAILED_SYNCS = 2
IMAGES = 4


def _check_after_crashes(world: World, number: int) -> int:
    moment, now_ms = world.moment, world.clock.now_ms()
    disk = world.filesystem.disk
    found = recover(disk.image(), now_ms, world.sync)
    check_books(world.history, found, moment, killed=True)
    check = WorldCheck(world)
    images = [
        image
        for image in crash_images(disk.start, disk.operations, seed=number, first=moment, each=1, chances=1)
        if not image.killed
    ]
    for image in images[number % 3 :: 3][: scaled(IMAGES)]:
        check.check(image)
    return check.tried + 1


def _goes_on(world: World) -> None:
    """A store that did not fail takes the next transaction; nothing of what was refused is left in the way."""
    for delivery in world.held:
        if not delivery.settled:
            delivery.ack()
            world.books.queues["work"].remove(delivery.body)
    check_counts(world.store)
    before = {key: len(values) for key, values in world.books.topics.items()}
    with world.store.transaction() as tx:
        for (topic, partition), end in before.items():
            tx.append(topic, b"after", partition=partition, expected_offset=end)
        tx.publish("e", "", b"after")
    check_counts(world.store)


def _stays_failed(world: World) -> None:
    before = dump(world.store)
    with pytest.raises(StoreFailedError), world.store.transaction() as tx:
        tx.append("t", b"x", partition=0)
        for delivery in world.held:
            if not delivery.settled:
                tx.ack(delivery)
    assert not difference(before, dump(world.store))


@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize("forever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("fault", Fault)
def test_any_call_may_fail(fault: Fault, forever, sync, record_property):
    with small_broker_limits():
        tree, books = prepared(sync)
        counting = World(sync, tree, books)
        counting.filesystem.plan = FaultPlan(fault)
        assert attempt(counting, work) is None
        calls = counting.filesystem.plan.seen
        counting.end()
        step = 1 if scaled(1) > 1 else STRIDE
        images = went_on = 0
        raised: dict[str, int] = {}
        for number in range(len(fault.name) % step, calls, step):
            world = World(sync, tree, books)
            world.filesystem.plan = FaultPlan(fault, number, forever=forever)
            error = attempt(world, work)
            world.filesystem.plan = None
            name = type(error).__name__ if error else "no_error"
            raised[name] = raised.get(name, 0) + 1
            try:
                if error is not None:
                    passed_on = isinstance(error, OSError) and (world.reading or not world.is_open)
                    assert isinstance(error, MsglogError) or passed_on, f"not typed: {error!r}"
                images += _check_after_crashes(world, number)
                if error is not None and world.is_open and world.producer is not None and world.records:
                    if world.engine.failure is not None:
                        _stays_failed(world)
                    elif isinstance(error, MsglogError) and error.outcome == "not_applied":
                        went_on += 1
                        _goes_on(world)
            except Exception as failure:
                failure.add_note(f"call number {number} of {calls} failed, and the workload with {error!r}")
                raise
            finally:
                world.end()
    tell(record_property, failed_calls=sum(raised.values()), crash_images=images, went_on=went_on, **raised)


@pytest.mark.parametrize("sync", MODES)
def test_after_a_failed_sync_all_that_is_found_is_made_durable_anew(sync, record_property):
    failed = images = 0
    with small_broker_limits():
        tree, books = prepared(sync)
        counting = World(sync, tree, books)
        plan = counting.filesystem.plan = FaultPlan(Fault.EIO, calls=SYNCS)
        assert attempt(counting, work) is None
        counting.end()
        for number in range(0, plan.seen, max(1, round(plan.seen / scaled(FAILED_SYNCS)))):
            world = World(sync, tree, books)
            world.filesystem.plan = FaultPlan(Fault.EIO, number, calls=SYNCS)
            error = attempt(world, work)
            if error is None or not world.is_open:
                world.end()
                continue
            failed += 1
            assert isinstance(error, StoreFailedError)
            _stays_failed(world)
            world.filesystem.plan = None
            moment = world.moment
            found = recover(world.filesystem.disk.image(), world.clock.now_ms(), sync)
            check_books(world.history, found, moment, killed=True)
            world.end()
            filesystem = world.filesystem.kill()
            again = World(sync, tree, found, filesystem)
            again.moment  # noqa: B018 notices what the maps of the dead hold
            again.open()
            opened = again.moment
            again.history.promise(0, opened)
            again.transact(append("t", 0), publish("e", "", "a", "b"))
            again.end()
            disk = filesystem.disk
            check = WorldCheck(again)
            later = crash_images(disk.start, disk.operations, seed=number, first=opened, each=1, chances=1)
            for place, image in enumerate(later):
                if scaled(1) > 1 or place % 8 == 0:
                    check.check(image)
            images += check.tried
    assert failed or sync != "commit"
    tell(record_property, failed_syncs=failed, crash_images=images)


@pytest.mark.parametrize("sync", MODES)
def test_a_full_disk_refuses_and_takes_it_once_there_is_room(sync):
    with small_broker_limits():
        world = World(sync, *prepared(sync))
        world.open()
        world.transact(*EVERYTHING)
        world.take()
        world.filesystem.plan = FaultPlan(Fault.ENOSPC, 0, forever=True, calls=frozenset({"allocate", "create"}))
        before = dump(world.store)
        refused = 0
        for size in (10, 500, 1500, 1500):
            try:
                world.transact(*EVERYTHING, append("u", 0, size=size))
            except msglog.DiskFullError:
                refused += 1
                assert not difference(before, dump(world.store))
                assert not any(delivery.settled for delivery in world.held)
                break
            world.take()
            before = dump(world.store)
        assert refused
        world.filesystem.plan = None
        world.transact(*EVERYTHING, append("u", 0, size=1500))
        check_counts(world.store)
        world.store.flush()
        found = recover(world.filesystem.disk.image(), world.clock.now_ms(), sync)
        assert found == world.books, world.books.difference(found)

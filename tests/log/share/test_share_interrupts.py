"""Ctrl-C anywhere inside a poll or a settlement: no record is lost, none is settled that was not."""

import asyncio
import gc
from contextlib import suppress

import pytest

from msglog import Log, SettlementError, StoreFailedError, aio
from msglog.testing import ManualClock
from support.broker_session import open_store
from support.faults import Fault, FaultPlan
from support.faulty_filesystem import FaultyFileSystem
from support.opcodes import Striker, Struck
from support.scale import stride
from support.shares import offsets

RECORDS = 6
STEP = 7


def attempt(at, folder):
    """Interrupt a member's work once; whatever was not acknowledged must come again, and nothing else."""
    striker = Striker(folder, at)
    acknowledged, unsure = set(), set()
    with Log(":memory:") as log:
        log.create_topic("t")
        log.append_many("t", [b"x"] * RECORDS)
        with log.share_consumer("t", group="g", delivery_limit=100) as worker:
            try:
                with striker.striking():
                    for record in worker.poll(0, max_records=4):
                        unsure = {record.offset}
                        if record.offset == 1:
                            record.release()
                        else:
                            record.ack()
                            acknowledged.add(record.offset)
                        unsure = set()
                    for record in worker.poll(0, max_records=2):
                        unsure = {record.offset}
                        record.ack()
                        acknowledged.add(record.offset)
                        unsure = set()
            except Struck:
                record = None
                for lock in (log.store.core.engine.lock, worker._sharing.lock):
                    assert not lock.locked(), striker.place
        with log.share_consumer("t", group="g", delivery_limit=100) as worker:
            rest = worker.poll(0)
            for record in rest:
                record.ack()
            assert worker.poll(0) == [], striker.place
        again = set(offsets(rest))
        assert again | acknowledged | unsure == set(range(RECORDS)), striker.place
        assert not again & (acknowledged - unsure), striker.place
        with pytest.raises(SettlementError):
            rest[0].ack()
    return striker


@pytest.mark.parametrize("folder", ["msglog/log/share/", "msglog/cursors/"])
def test_an_interrupt_anywhere(folder):
    places = attempt(Striker.NEVER, folder).seen
    assert places > 100
    for at in range(0, places, STEP):
        attempt(at, folder)


def poll_once_struck(at, *, in_task):
    """Interrupt one poll; the next one of the same member must have everything, as if it came for the first time."""
    striker = Striker("msglog/", at)
    with Log(":memory:") as log:
        log.create_topic("t")
        log.append_many("t", [b"x"] * RECORDS)
        worker = (aio.Log(log.store) if in_task else log).share_consumer("t", group="g", delivery_limit=2)
        poll = (lambda most: finished(worker.poll(0, most))) if in_task else (lambda most: worker.poll(0, most))
        for record in poll(1):
            record.ack()
        records = []
        with suppress(Struck), striker.striking():
            records = poll(3)
        records += poll(RECORDS)
        assert sorted(offsets(records)) == list(range(1, RECORDS)), striker.place
        assert {record.delivery_count for record in records} == {1}, striker.place
        (worker.sync if in_task else worker).close()
    return striker


def finished(coroutine):
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as result:
        return result.value
    finally:
        coroutine.close()
    raise AssertionError("it waits")


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # struck between its call and its await
@pytest.mark.parametrize("in_task", [False, True])
def test_what_an_interrupted_poll_has_taken_comes_with_the_next(in_task):
    async def main():
        places = poll_once_struck(Striker.NEVER, in_task=in_task).seen
        assert places > 50
        for at in range(0, places, stride(2)):
            poll_once_struck(at, in_task=in_task)

    asyncio.run(main())  # those for tasks need a loop


def test_a_consumer_that_could_not_be_made_is_no_member():
    filesystem = FaultyFileSystem()
    store = open_store(filesystem, ManualClock())
    store.log.create_topic("t")
    filesystem.plan = FaultPlan(Fault.EIO, 0, calls=frozenset({"sync"}))
    with pytest.raises(StoreFailedError):
        store.log.share_consumer("t", group="g")
    gc.collect()  # nothing warns of a consumer that was not closed
    assert store.log.describe_group("g").members == ()
    store.close()

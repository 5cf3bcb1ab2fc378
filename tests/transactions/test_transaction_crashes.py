"""Loss of power, death of the process and failing calls while transactions commit: each is there as a whole or not.

A transaction appends to two partitions, publishes to two queues, acknowledges a message and commits an offset. So six
places must agree on how many there were, whatever happened.
"""

from collections.abc import Iterator
from typing import Any

import pytest

import msglog
from msglog import TopicPartition
from msglog.clock import ManualClock
from msglog.errors import MsglogError
from support.broker_session import bury, open_store
from support.crash_images import CrashImage, crash_images
from support.disk import Disk, Image
from support.faults import Fault, FaultPlan
from support.faulty_filesystem import FaultyFileSystem
from support.recovery import MODES
from support.scale import scaled, stride
from support.session import small_limits
from support.telling import tell

TRANSACTIONS = 8
ROLLED_BACK = 3
SOURCE = TopicPartition("source", 0)
QUEUES = ("left", "right")
IMAGES, FAILURES = 4, 13
"""Of crash images and of calls that may fail a normal run tries one of so many."""


class _Work:
    """A store and what was done to it: operations recorded when transactions began and when they were promised."""

    def __init__(self, sync: Any) -> None:
        self.filesystem = FaultyFileSystem()
        self.sync = sync
        self.began: list[int] = []
        self.returned = 0
        self.promised: list[tuple[int, int]] = [(0, 0)]
        self.prepared = 0

    @property
    def moment(self) -> int:
        self.filesystem.disk.notice()
        return len(self.filesystem.disk.operations)

    def run(self, plan: FaultPlan | None = None) -> None:
        """Do all of it; the process is as good as dead afterwards."""
        store = open_store(self.filesystem, ManualClock(1_000_000), sync=self.sync)
        try:
            self._run(store, plan)
        finally:
            bury(store.broker)

    def _run(self, store: msglog.Store, plan: FaultPlan | None) -> None:
        log, broker = store.log, store.broker
        log.create_topic("moved", partitions=2)
        log.create_topic("source")
        log.append_many("source", [b"%d" % number for number in range(TRANSACTIONS)])
        broker.declare_exchange("all", "fanout")
        for queue in QUEUES:
            broker.declare_queue(queue)
            broker.bind(queue, "all")
        broker.declare_queue("work")
        for number in range(1, TRANSACTIONS + 1):
            broker.send("work", b"%d" % number)
        store.flush()
        self.prepared = self.moment
        self.filesystem.plan = plan
        for number in range(1, TRANSACTIONS + 1):
            if number == ROLLED_BACK:
                with pytest.raises(ZeroDivisionError):
                    self._commit(store, 99, fails=True)
            self.began.append(self.moment)
            self._commit(store, number)
            self.returned = number
            if self.sync == "commit":
                self.promised.append((self.moment, number))
            if number % 4 == 0:
                store.flush()
                self.promised.append((self.moment, number))

    def _commit(self, store: msglog.Store, number: int, *, fails: bool = False) -> None:
        value = b"%d" % number
        delivery = store.broker.get("work")
        assert delivery is not None
        try:
            with store.transaction() as transaction:
                for partition in (0, 1):
                    transaction.append("moved", value, partition=partition)
                transaction.publish("all", "", value)
                transaction.ack(delivery)
                transaction.commit_offsets("group", {SOURCE: number})
                if fails:
                    raise ZeroDivisionError
        finally:
            if fails:
                delivery.nack()

    def least(self, moment: int) -> int:
        return max(number for time, number in self.promised if time <= moment)

    def most(self, moment: int) -> int:
        return sum(began <= moment for began in self.began)


def _count_in(image: Image, sync: Any) -> int:
    """Open a store; return how many transactions all six places agree on."""
    filesystem = FaultyFileSystem(Disk(image, recording=False))
    store = open_store(filesystem, ManualClock(1_000_000), sync=sync)
    try:
        return _count(store.log, store.broker)
    finally:
        bury(store.broker)


def _count(log: msglog.Log, broker: msglog.Broker) -> int:
    found = [[int(record.value or b"") for record in log.read("moved", partition)] for partition in (0, 1)]
    found += [[int(message.body) for message in broker.peek(queue, 100)] for queue in QUEUES]
    count = len(found[0])
    assert found == [list(range(1, count + 1))] * 4
    assert [int(message.body) for message in broker.peek("work", 100)] == list(range(count + 1, TRANSACTIONS + 1))
    if count:
        assert log.describe_group("group").offsets == {SOURCE: count}
    else:
        assert "group" not in log.groups()
    return count


def _counts(images: Iterator[CrashImage], sync: Any) -> Iterator[tuple[CrashImage, int]]:
    """Yield images and what is in them; equal trees are opened once."""
    known: dict[object, int] = {}
    for image in images:
        if image.key not in known:
            known[image.key] = _count_in(image.build(), MODES[len(known) % 3] if image.point else sync)
        yield image, known[image.key]


@pytest.mark.parametrize("sync", MODES)
def test_every_crash_leaves_whole_transactions(sync, record_property):
    tried = 0
    with small_limits():
        work = _Work(sync)
        work.run()
        disk = work.filesystem.disk
        images = crash_images(disk.start, disk.operations, seed=1, first=work.prepared, each=1, chances=scaled(2))
        chosen = (image for number, image in enumerate(images) if number % stride(IMAGES) == 0)
        for image, count in _counts(chosen, sync):
            tried += 1
            least = work.least(image.point)
            assert least <= count <= work.most(image.point), image
    tell(record_property, crash_images=tried)


@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize("forever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("fault", Fault)
def test_any_call_may_fail(fault: Fault, forever, sync, record_property):
    """The error is typed, and what is left is whole: with the transaction that failed, or without it."""
    tried = 0
    with small_limits():
        counting = _Work(sync)
        plan = FaultPlan(fault)
        counting.run(plan)
        for number in range(0, plan.seen, stride(FAILURES)):
            work = _Work(sync)
            failure = None
            try:
                work.run(FaultPlan(fault, number, forever=forever))
            except MsglogError as error:
                failure = error
            work.filesystem.plan = None
            count = _count_in(work.filesystem.kill().disk.image(), sync)
            most = work.returned if failure is None or failure.outcome == "not_applied" else len(work.began)
            assert work.returned <= count <= most, f"call number {number} of {plan.seen} failed: {failure!r}"
            tried += 1
    tell(record_property, failed_calls=tried)

"""Settling any number of deliveries in one commit.

Called under the broker's lock. What is acknowledged is written as ranges; what is rejected is settled together with its
dead letter; what is requeued goes back in memory once the commit is written, or is dead-lettered in it when it was
delivered too often. Imported by the channel and by `staging`.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from msglog.broker.batch import Batch
from msglog.broker.lane import Lane
from msglog.broker.subscriber import Subscriber, Taken
from msglog.broker.vhost import VirtualHost
from msglog.cursors import OffsetRanges

Outcome = Literal["ack", "reject", "requeue"]
Unsettled = tuple[Subscriber, Taken]


class Settlement(NamedTuple):
    """What becomes of one delivery. `delay_ms`: how long after the commit one that is requeued comes back."""

    subscriber: Subscriber
    taken: Taken
    outcome: Outcome
    delay_ms: int = 0

    def is_in_hand(self) -> bool:
        """Whether the delivery is not settled yet."""
        return is_in_hand(self.subscriber, self.taken)


def is_in_hand(holder: Subscriber, taken: Taken) -> bool:
    """Whether a delivery is not settled yet."""
    return taken.lane.cursor.unsettled.get(taken.stored.offset) is holder


def add_settlements(vhost: VirtualHost, batch: Batch, settlements: Iterable[Settlement]) -> "Settled":
    """Add settlements to a commit. What went already, with its queue, is left out."""
    settled = Settled(vhost)
    for settlement in settlements:
        settled.add(batch, settlement)
    settled.record(batch)
    return settled


class Settled:
    """Deliveries that a commit settles, and those that return after it."""

    __slots__ = ("_gone", "_offsets", "_returning", "_vhost")

    def __init__(self, vhost: VirtualHost) -> None:
        self._vhost = vhost
        self._gone: list[Unsettled] = []
        self._returning: list[Settlement] = []
        self._offsets: dict[Lane, list[int]] = {}

    def add(self, batch: Batch, settlement: Settlement) -> bool:
        """Add one delivery; return False when it is not in hand any more."""
        subscriber, taken, outcome, _ = settlement
        queue, lane, stored = subscriber.queue, taken.lane, taken.stored
        offset = stored.offset
        if queue.deleted or lane.cursor.unsettled.get(offset) is not subscriber:
            return False
        if outcome != "ack":
            if outcome == "requeue" and not self._vhost.delivered_too_often(queue, lane, stored):
                self._returning.append(settlement)
                return True
            self._vhost.dead_letter(batch, queue, stored, "rejected" if outcome == "reject" else "delivery_limit")
        self._gone.append((subscriber, taken))
        offsets = self._offsets.get(lane)
        if offsets is None:
            self._offsets[lane] = [offset]
        else:
            offsets.append(offset)
        return True

    def record(self, batch: Batch) -> None:
        """Add what is settled to the commit, neighbours together."""
        for lane, offsets in self._offsets.items():
            if len(offsets) == 1:
                batch.settle(lane, offsets[0], offsets[0] + 1)
                continue
            ranges = OffsetRanges()
            for offset in offsets:
                ranges.add(offset, offset + 1)
            for first, end in ranges:
                batch.settle(lane, first, end)

    @property
    def count(self) -> int:
        """How many were in hand and so were added."""
        return len(self._gone) + len(self._returning)

    def fail(self) -> None:
        """The commit was not written, or only half is known of it: have its holders count anew."""
        for subscriber, _ in self._gone:
            subscriber.miscounted = True

    def finish(self) -> None:
        """After the commit: give back what returns, and what space the queues no longer need."""
        for subscriber, _ in self._gone:
            subscriber.unsettled -= 1
            if subscriber.queue.watchers:
                self._vhost.news[subscriber.queue] = None
        for subscriber, (lane, stored, *_), _, delay_ms in self._returning:
            self._vhost.hold_back(subscriber.queue, lane, subscriber, stored, delay_ms)
        for lane in self._offsets:
            if lane.cursor.next >= lane.trim_check:
                self._vhost.tidy(lane)


def write(vhost: VirtualHost, batch: Batch, settled: Settled) -> int:
    """Write a commit with settlements; return its number. The caller attends to the queues."""
    try:
        number = vhost.write(batch)
        settled.finish()
    except BaseException:
        settled.fail()
        raise
    return number

"""The virtual host of a store that is watched: it tells what is published and settled, before and after.

The vhost of an open store becomes one of these as long as somebody watches, see `tapping`. What a commit of the broker
is about is collected in its `Batch`, and told once that is written, whoever writes it. Everything here runs under the
broker's lock. Imported by `tapping`.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Any

import msgpack

from msglog.broker.batch import Batch
from msglog.broker.lane import Holder, Lane, Stored
from msglog.broker.properties import Properties
from msglog.broker.queue import Queue
from msglog.broker.rules.dead_letters import Reason
from msglog.broker.rules.message_codec import unpack_meta
from msglog.broker.subscriber import Subscriber
from msglog.broker.vhost import Publication, VirtualHost
from msglog.broker.vhost.publishing import Published as Result
from msglog.broker.vhost.publishing import Route
from msglog.storage import Commit, Stream
from msglog.storage.small_commit import Settles
from msglog.testing.events import Outcome, Published, Settled
from msglog.testing.watching import Watcher, tell_all


class _Batch(Batch):
    """A commit that knows what it is about."""

    __slots__ = ("_vhost", "landed", "published", "removed_by", "settled", "taken")

    def __init__(self, vhost: "TappedVirtualHost") -> None:
        super().__init__(vhost.engine, vhost.now_ms())
        self._vhost = vhost
        # The queues that took a publication, at once or for later, and the lanes that got a dead letter.
        self.taken: list[str] = []
        self.landed: list[Lane] = []
        self.published: list[Published] = []
        self.settled: list[Settled] = []
        # What is settled for another reason than that it was acknowledged.
        self.removed_by: dict[tuple[int, Stored], Settled] = {}

    def add(self, lane: Lane, meta: bytes, body: bytes) -> None:
        super().add(lane, meta, body)
        self.landed.append(lane)

    def delay(self, stream: Stream, due_ms: int, key: bytes, body: bytes) -> None:
        super().delay(stream, due_ms, key, body)
        ids, _ = msgpack.unpackb(key)
        self.taken += [self._vhost.model.queue_ids[queue_id].name for queue_id in ids]

    def settle(self, lane: Lane, first: int, end: int) -> None:
        self.settled += self._vhost.settlements(lane, first, end, self.removed_by)
        super().settle(lane, first, end)

    def fill(self, commit: Commit) -> None:
        super().fill(commit)
        self._vhost.filled = (commit, self)

    def write(self) -> int:
        number = super().write()
        tell_all(self.calls())
        return number

    def calls(self) -> list[Callable[[], None]]:
        """The commit is written: return the calls that tell what it was about, once."""
        published, self.published = self.published, []
        settled, self.settled = self.settled, []
        watchers = self._vhost.watchers
        return [
            *(partial(watcher.published, one) for watcher in watchers for one in published),
            *(partial(watcher.settled, one) for watcher in watchers for one in settled),
        ]


class TappedVirtualHost(VirtualHost):
    """See the module. `watchers` are told; what they raise beforehand refuses the change.

    `filled`: the batch that is part of a larger commit, and that commit: it is told of when the whole is written.
    """

    watchers: tuple[Watcher, ...]
    filled: tuple[Commit, _Batch] | None = None

    def batch(self) -> Batch:
        """Return a commit that knows what it is about."""
        return _Batch(self)

    def route(self, exchange: str, routing_key: str) -> Route | None:  # noqa: ARG002 the base's
        """Return None: everything goes the long way."""
        return None

    # Publishing

    def add_publication(self, batch: Batch, publication: Publication, *, mandatory: bool = False) -> Result:
        """Route a message and add it to a commit; tell of it once that is written."""
        if isinstance(batch, _Batch):
            batch.taken.clear()
        result = super().add_publication(batch, publication, mandatory=mandatory)
        self._note(batch, publication, result.refused, 0)
        return result

    def add_delayed(self, batch: Batch, publication: Publication, delay_ms: int, *, mandatory: bool = False) -> Result:
        """Do the same for a message that its queues get later."""
        if isinstance(batch, _Batch):
            batch.taken.clear()
        result = super().add_delayed(batch, publication, delay_ms, mandatory=mandatory)
        self._note(batch, publication, (), delay_ms)
        return result

    def enqueue(self, batch: Batch, queue: Queue, meta: bytes, body: bytes, properties: Properties) -> bool:
        """Add a message for one queue to a commit, and note that the queue took it."""
        taken = super().enqueue(batch, queue, meta, body, properties)
        if taken and isinstance(batch, _Batch):
            batch.taken.append(queue.name)
        return taken

    def _note(self, batch: Batch, publication: Publication, refused: tuple[str, ...], delay_ms: int) -> None:
        queues = tuple(batch.taken) if isinstance(batch, _Batch) else ()
        published = Published(*publication, queues, refused, delay_ms)
        for watcher in self.watchers:
            watcher.publishing(published)
        if isinstance(batch, _Batch):
            batch.published.append(published)

    def written(self, batch: Batch) -> None:
        """A commit is written: tell what it was about, on top of the rest."""
        super().written(batch)
        if isinstance(batch, _Batch):
            tell_all(batch.calls())

    # Settling

    def dead_letter(
        self, batch: Batch, queue: Queue, stored: Stored, reason: Reason, only: Collection[str] | None = None
    ) -> None:
        """Add a dead letter to a commit, and note why and to where."""
        if not isinstance(batch, _Batch):
            super().dead_letter(batch, queue, stored, reason, only)
            return
        batch.landed.clear()
        super().dead_letter(batch, queue, stored, reason, only)
        targets = tuple(found.name for lane in batch.landed if (found := self._queue_of(lane)) is not None)
        settled = self._settled(queue, stored, reason, self._holder_of(queue, stored), targets)
        if stored.offset >= 0:
            batch.removed_by[queue.id, stored] = settled
        else:  # it never came to lie in the queue
            batch.settled.append(settled)

    def settlements(
        self, lane: Lane, first: int, end: int, removed_by: dict[tuple[int, Stored], Settled]
    ) -> list[Settled]:
        """Return what becomes of messages that are settled, and ask whether they may be."""
        queue = self._queue_of(lane)
        if queue is None:
            return []
        in_hand = lane.cursor.unsettled
        found: list[Settled] = []
        # Whatever else goes is purged: nobody had it in hand, and no reason was given.
        for offset in range(first, end):
            if offset not in in_hand and not removed_by:
                continue
            stored = lane.read(offset)
            known = removed_by.get((queue.id, stored))
            if known is None and offset in in_hand:
                known = self._settled(queue, stored, "acked", in_hand[offset])
            if known is not None:
                found.append(known)
        self._ask(found)
        return found

    def settle_one(self, cursor: Settles, first: int, end: int, timestamp_ms: int) -> int:
        """Write that one message is settled: acknowledged, or handed out to somebody who acknowledges nothing."""
        found: list[Settled] = []
        for queue in self.queues.values():
            for lane in queue.lanes:
                if lane.cursor is cursor:
                    holder = lane.cursor.unsettled.get(first)
                    settled = self._settled(queue, lane.read(first), "acked", holder)
                    found.append(settled if holder is not None else replace(settled, by="no_ack"))
        self._ask(found)
        number = self.engine.append_settle(cursor, first, end, timestamp_ms)
        self._tell(found)
        return number

    def give_back(self, queue: Queue, lane: Lane, holder: Holder, stored: Stored) -> bool:
        """Return a delivery to its queue, and tell of it."""
        returns = self._returns(lane, holder, stored) and not self.delivered_too_often(queue, lane, stored)
        found = [self._settled(queue, stored, "requeued", holder)] if returns else []
        done = super().give_back(queue, lane, holder, stored)
        self._tell(found)
        return done

    def hold_back(self, queue: Queue, lane: Lane, holder: Holder, stored: Stored, delay_ms: int) -> bool:
        """Return a delivery after a while, and tell of it now."""
        returns = self._returns(lane, holder, stored)
        found = [self._settled(queue, stored, "requeued", holder)] if returns else []
        done = super().hold_back(queue, lane, holder, stored, delay_ms)
        if lane.cursor.unsettled.get(stored.offset) not in (None, holder):  # else it went back, or is a dead letter
            self._tell(found)
        return done

    @staticmethod
    def _holder_of(queue: Queue, stored: Stored) -> Holder | None:
        offset = stored.offset
        for lane in queue.lanes:
            holder = lane.cursor.unsettled.get(offset)
            if holder is not None and lane.read(offset) == stored:  # lanes of other priorities have such an offset, too
                return holder
        return None

    @staticmethod
    def _returns(lane: Lane, holder: Holder, stored: Stored) -> bool:
        """Whether somebody has it in hand; one that is held back is in nobody's."""
        return isinstance(holder, Subscriber) and lane.cursor.unsettled.get(stored.offset) is holder

    @staticmethod
    def _settled(
        queue: Queue, stored: Stored, outcome: Outcome, holder: Holder | None, targets: tuple[str, ...] = ()
    ) -> Settled:
        meta = unpack_meta(stored.meta)
        return Settled(queue.name, outcome, meta.exchange, meta.routing_key, stored.body, _name_of(holder), targets)

    def _ask(self, found: list[Settled]) -> None:
        for watcher in self.watchers:
            for settled in found:
                watcher.settling(settled)

    def _tell(self, found: list[Settled]) -> None:
        tell_all(partial(watcher.settled, settled) for watcher in self.watchers for settled in found)


def _name_of(holder: Any) -> str:
    if not isinstance(holder, Subscriber):
        return ""
    return str(getattr(holder, "tag", "consumer" if holder.registered else "get"))

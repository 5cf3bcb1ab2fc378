"""The part of the virtual host that takes messages out of queues unasked: expired, too many, dead-lettered, purged.

Each step is one commit of bounded size: what is removed is settled in the same commit in which its dead letter is
published, so it is never lost and never there twice. Only a dead letter with copies for so many queues that one commit
does not hold them goes to the queues in several; the message is settled with the last. Imported by `handing`.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice, takewhile
from typing import Final, NamedTuple

from msglog.broker.batch import Batch
from msglog.broker.lane import Lane, Stored
from msglog.broker.properties import Properties
from msglog.broker.queue import Queue
from msglog.broker.rules.dead_letters import Reason, dead_letter, is_cycle
from msglog.broker.rules.message_codec import pack_meta
from msglog.broker.vhost.state import VhostState
from msglog.errors import TransactionTooLargeError
from msglog.storage.options import MAX_COMMIT_BYTES

# What one commit moves at the most: so many messages, and not many more bytes than these.
STEP_MESSAGES: Final = 1000
STEP_BYTES: Final = 8 << 20


class _Letter(NamedTuple):
    """A dead letter, and the queues that are to get it."""

    exchange: str
    targets: list[Queue]
    meta: bytes
    properties: Properties


class Removing(VhostState):
    """Expiry, length limits, dead letters, purging."""

    def remove(self, queue: Queue, found: Sequence[tuple[Lane, Stored]], reason: Reason) -> None:
        """Settle messages that wait or are in somebody's hand and publish their dead letters.

        In one commit; in several, each whole, when copies for many queues make that too large.
        """
        try:
            self._remove_together(queue, found, reason)
        except TransactionTooLargeError:
            if len(found) == 1:
                self._remove_in_pieces(queue, *found[0], reason)
                return
            half = len(found) // 2
            self.remove(queue, found[:half], reason)
            self.remove(queue, found[half:], reason)

    def _remove_in_pieces(self, queue: Queue, lane: Lane, stored: Stored, reason: Reason) -> None:
        """Settle a message whose dead letter goes to more queues than one commit holds copies for.

        What fails on the way is gone on with by the next try, as long as the process lives; a crash in between has some
        queues get it twice.
        """
        letter = self._letter(queue, stored, reason)
        names = [] if letter is None else [target.name for target in letter.targets]
        there = lane.sent_ahead.setdefault(stored.offset, set())
        left = [name for name in names if name not in there]
        size = len(stored.body) + len(stored.meta)
        most = max(1, MAX_COMMIT_BYTES // 2 // size)
        while len(left) > most:
            piece, left = left[:most], left[most:]
            batch = self.batch()
            self.dead_letter(batch, queue, stored, reason, piece)
            batch.write()
            there.update(piece)
        self._remove_together(queue, [(lane, stored)], reason, left)
        lane.sent_ahead.pop(stored.offset, None)

    def _remove_together(
        self,
        queue: Queue,
        found: Sequence[tuple[Lane, Stored]],
        reason: Reason,
        only: Collection[str] | None = None,
    ) -> None:
        batch = self.batch()
        for lane, stored in found:
            self.dead_letter(batch, queue, stored, reason, only)
            batch.settle(lane, stored.offset, stored.offset + 1)
        for lane, stored in found:
            if stored.offset not in lane.cursor.unsettled:
                lane.leave(stored.offset, len(stored.body))
        try:
            batch.write()
        except BaseException:
            for lane, _ in found:
                lane.forget_buffer()  # the counts of bytes are found anew
            raise
        for lane in {lane for lane, _ in found}:
            self.look_for_space(lane)
        if queue.watchers:
            self.news[queue] = None

    def look_for_space(self, lane: Lane) -> None:
        """Give up what a lane no longer needs, if it is time to look. Under the lock."""
        if lane.cursor.next >= lane.trim_check:
            self.tidy(lane)

    def tidy(self, lane: Lane) -> None:
        """Give up what a lane no longer needs; see `housekeeping`."""
        raise NotImplementedError

    def dead_letter(
        self, batch: Batch, queue: Queue, stored: Stored, reason: Reason, only: Collection[str] | None = None
    ) -> None:
        """Add the dead letter of a message to a commit, if its queue has an exchange for them.

        `only`: for the queues of these names, of all that it is routed to.
        """
        letter = self._letter(queue, stored, reason)
        if letter is None:
            return
        self.tell(
            logging.DEBUG,
            "a message of queue %r goes to exchange %r: %s",
            queue.name,
            letter.exchange,
            reason,
            extra={"event": "dead_lettered", "queue": queue.name, "exchange": letter.exchange, "reason": reason},
        )
        for target in letter.targets:
            if only is not None and target.name not in only:
                continue
            if not self.is_full(target, batch, len(stored.body)) and not self.expires_at_once(
                target, letter.properties.expiration
            ):
                batch.add(self.lane_for(target, letter.properties.priority), letter.meta, stored.body)
                self.news[target] = None

    def _letter(self, queue: Queue, stored: Stored, reason: Reason) -> "_Letter | None":
        """Return a message's dead letter, None where its queue has no exchange for them."""
        exchange = queue.effective.dead_letter_exchange
        if exchange is None or not self.model.topology.has_exchange(exchange):
            return None
        letter = dead_letter(
            self.meta_of(stored),
            queue=queue.name,
            reason=reason,
            now_ms=self.now_ms(),
            exchange=exchange,
            routing_key=queue.effective.dead_letter_routing_key,
        )
        properties = letter.properties
        names = self.model.topology.route(exchange, letter.routing_keys, properties.headers, properties)
        targets = [
            self.queues[name]
            for name in names
            if name in self.queues and not is_cycle(properties.headers, name, reason)
        ]
        meta = b""
        if targets:
            meta = pack_meta(
                letter.exchange,
                letter.routing_keys[0],
                properties,
                dead_lettered=True,
                blind_copies=letter.blind_copies,
            )
        return _Letter(exchange, targets, meta, properties)

    # Limits of length

    def is_full(self, queue: Queue, batch: Batch, size: int) -> bool:
        """Whether a queue refuses a message with a body of `size` bytes beside what it has and gets by a batch.

        As in RabbitMQ, one for which the limits leave no place at all is refused even if a consumer waits for it.
        """
        options = queue.effective
        most, most_bytes = options.max_length, options.max_length_bytes
        if options.overflow == "drop-head" or (most is None and most_bytes is None):
            return False
        messages, added = batch.added_to(queue.lanes)
        awaited = self.awaited(queue)
        if most is not None and (not most or queue.ready() + messages >= most + awaited):
            return True
        if most_bytes is None:
            return False
        waiting = 0 if messages < awaited else self.ready_bytes(queue) + added
        return waiting + size > most_bytes

    def ready_bytes(self, queue: Queue) -> int:
        """Return the bytes of the bodies that wait in a queue."""
        if queue.has_unseen() and not all(lane.counts_bytes for lane in queue.lanes):
            # Counting anew reads the stream, and what is not synced cannot be read. Once for each queue with a limit.
            with self.engine.lock:
                self.engine.writer.drain_locked()
        return queue.ready_bytes()

    @staticmethod
    def awaited(queue: Queue) -> int:
        """Return how many calls wait for a message: theirs never lies in the queue."""
        if not queue.line:
            return 0
        return sum(1 for taker in queue.line if taker.may_take())

    def drop_excess(self, queue: Queue) -> bool:
        """Drop from the head what is beyond the queue's limits; return whether anything went."""
        options = queue.effective
        if options.overflow != "drop-head" or (options.max_length is None and options.max_length_bytes is None):
            return False
        dropped = False
        while excess := self._excess(queue):
            self.remove(queue, excess, "maxlen")
            dropped = True
        return dropped

    def _excess(self, queue: Queue) -> list[tuple[Lane, Stored]]:
        options = queue.effective
        most, most_bytes = options.max_length, options.max_length_bytes
        too_many = 0 if most is None else queue.ready() - most
        if too_many <= 0 and (most_bytes is None or self.ready_bytes(queue) <= most_bytes):
            return []
        too_large = 0 if most_bytes is None else self.ready_bytes(queue) - most_bytes
        excess: list[tuple[Lane, Stored]] = []
        if too_many <= 1 and most_bytes is None:  # as after each publish: the head is in memory
            head = queue.head()
            return [head] if head is not None else []
        size = 0
        for lane, stored in islice(_waiting(queue), STEP_MESSAGES):
            if (too_many <= 0 and too_large <= 0) or size > STEP_BYTES:
                break
            too_many -= 1
            too_large -= len(stored.body)
            size += len(stored.body)
            excess.append((lane, stored))
        return excess

    def make_room(self, batch: Batch, queue: Queue) -> list[Lane]:
        """Drop from the head, in the same commit, what a batch leaves no room for; return the lanes that it concerns.

        What cannot be seen yet, and what the batch itself has too much of, is left for `drop_excess`.
        """
        options = queue.effective
        if options.overflow != "drop-head" or (options.max_length is None and options.max_length_bytes is None):
            return []
        messages, size = batch.added_to(queue.lanes)
        if not messages:
            return []
        too_many = too_large = 0
        if options.max_length is not None:
            too_many = queue.ready() + messages - options.max_length - self.awaited(queue)
        if options.max_length_bytes is not None:
            too_large = self.ready_bytes(queue) + size - options.max_length_bytes
        lanes: dict[Lane, None] = {}
        if too_many <= 0 and too_large <= 0:
            return []  # without a look at what waits
        for lane, stored in islice(_waiting(queue), STEP_MESSAGES):
            if too_many <= 0 and too_large <= 0:
                break
            too_many -= 1
            too_large -= len(stored.body)
            self.dead_letter(batch, queue, stored, "maxlen")
            batch.settle(lane, stored.offset, stored.offset + 1)
            lanes[lane] = None
        return list(lanes)

    # Expiry

    def may_expire(self, queue: Queue) -> bool:
        """Whether messages of a queue can expire."""
        return queue.may_expire or queue.effective.message_ttl_ms is not None

    def expires_at_once(self, queue: Queue, expiration: str | None) -> bool:
        """Whether a message for a queue would expire before anybody could take it: time to live 0, nobody waits."""
        ttl_ms = self.time_to_live(queue, expiration)
        return ttl_ms == 0 and not self.awaited(queue)

    @staticmethod
    def time_to_live(queue: Queue, expiration: str | None) -> int | None:
        """Return the smaller of the queue's and the message's time to live, None for ever."""
        ttl_ms = queue.effective.message_ttl_ms
        if expiration is None:
            return ttl_ms
        own_ms = int(expiration)  # it was checked when it was published
        return own_ms if ttl_ms is None else min(ttl_ms, own_ms)

    def expiry_of(self, queue: Queue, stored: Stored) -> int | None:
        """Return when a message expires on the wall clock, None for never."""
        expiration = self.meta_of(stored).properties.expiration if queue.may_expire else None
        ttl_ms = self.time_to_live(queue, expiration)
        return None if ttl_ms is None else stored.timestamp_ms + ttl_ms

    def drop_expired(self, queue: Queue) -> bool:
        """Remove expired messages from the head; return whether anything went."""
        if not self.may_expire(queue):
            return False
        dropped = False
        now_ms = self.now_ms()
        while (head := queue.head()) is not None and self.is_expired(queue, head[1], now_ms):
            lane = head[0]
            expired = takewhile(lambda stored: self.is_expired(queue, stored, now_ms), lane.waiting())
            self.remove(queue, [(lane, stored) for stored in bounded(expired)], "expired")
            dropped = True
        return dropped

    def is_expired(self, queue: Queue, stored: Stored, now_ms: int) -> bool:
        """Whether a message's time is over."""
        expiry_ms = self.expiry_of(queue, stored)
        return expiry_ms is not None and expiry_ms <= now_ms

    # Purging

    def purge(self, queue: Queue) -> int:
        """Settle everything that waits, without dead letters; return how many messages that were."""
        count = queue.ready()
        batch = self.batch()
        for lane in queue.lanes:
            cursor, end = lane.cursor, lane.stream.next_offset
            for first, stop in [*cursor.returned, (cursor.next, end)]:
                if first < stop:
                    batch.settle(lane, first, stop)
        batch.write()
        for lane in queue.lanes:
            lane.forget_buffer()
            self.look_for_space(lane)
        self.news[queue] = None
        return count


def bounded(messages: Iterable[Stored]) -> Iterator[Stored]:
    """Yield messages until there are enough for one commit; one at least, if there is any."""
    size = 0
    for stored in islice(messages, STEP_MESSAGES):
        yield stored
        size += len(stored.body)
        if size > STEP_BYTES:
            return


def _waiting(queue: Queue) -> Iterable[tuple[Lane, Stored]]:
    for lane in queue.lanes:
        for stored in lane.waiting():
            yield lane, stored

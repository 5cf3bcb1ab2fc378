"""The part of the virtual host that holds messages until they are due.

Where a delayed message goes is decided when it is published. It lies in the stream of a *bucket*: all messages due in
one span of time, of a minute when they are due within two hours, of an hour within four days, of a day beyond. A bucket
is opened when its span begins: only then its due times are in memory. Messages leave in order of their
due times, and each step notes in the same commit how far it came; a bucket that is through goes with its stream.

A delay of `nack` is kept in memory only: the message stays where it is, in nobody's hand. Imported by `housekeeping`.
"""

import logging
from array import array
from bisect import insort
from typing import Final

import msgpack

from msglog.broker.batch import Batch
from msglog.broker.lane import Holder, Lane, Stored, messages_of, missing_offset
from msglog.broker.model import BrokerModel, Bucket
from msglog.broker.queue import Queue
from msglog.broker.rules.dead_letters import blind_copies, routing_keys, without_bcc
from msglog.broker.rules.expiration import expiration_ms
from msglog.broker.rules.message_codec import Meta, pack_meta, unpack_meta
from msglog.broker.vhost.handing import RETRY_MS
from msglog.broker.vhost.publishing import Publication, Published, Publishing, unroutable
from msglog.broker.vhost.removing import STEP_BYTES, STEP_MESSAGES
from msglog.errors import ClosedError, CorruptionError, MsglogError, TransactionTooLargeError
from msglog.storage import Stream
from msglog.storage.options import MAX_COMMIT_BYTES
from msglog.waiting import Timer

logger = logging.getLogger("msglog.broker")

_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 60 * _MINUTE_MS
_DAY_MS: Final = 24 * _HOUR_MS
# What is released with one message, and what goes with it at the most, fit in one commit.
_MOST_RELEASED: Final = MAX_COMMIT_BYTES // 2
# How far ahead a message may be due for its bucket to have this width.
_WIDTHS: Final = ((2 * _HOUR_MS, _MINUTE_MS), (4 * _DAY_MS, _HOUR_MS))


class OpenBucket:
    """A bucket whose span has begun: what lies in it. `due` holds pairs of due time and offset, in order."""

    __slots__ = ("bucket", "damage", "due", "read_to", "stream")

    def __init__(self, bucket: Bucket, stream: Stream) -> None:
        self.bucket = bucket
        self.stream = stream
        self.due: list[tuple[int, int]] = []
        self.read_to = 0
        # Something of it cannot be read: it is left alone until the store is opened again.
        self.damage: CorruptionError | None = None

    def catch_up(self) -> None:
        """Read the due times of what was added since, up to the first damage."""
        reader = self.stream.reader(self.read_to)
        fresh = array("q")
        try:
            while (frame := reader.read()) is not None:
                stamps = frame.timestamps
                for place, offset in enumerate(frame.offsets):
                    fresh.extend((stamps if isinstance(stamps, int) else stamps[place], offset))
        except CorruptionError as error:
            self.damage = error
        self.read_to = max(self.read_to, reader.offset)
        released = self.bucket.released
        pairs = zip(fresh[::2], fresh[1::2], strict=True)
        # An interrupted `add` may have left one of them already.
        self.due = sorted({*self.due, *(pair for pair in pairs if pair > released)})

    def forget_released(self) -> None:
        """Drop what was released in a commit that an exception followed."""
        released = self.bucket.released
        if self.due and self.due[0] <= released:
            self.due = [pair for pair in self.due if pair > released]

    def add(self, due_ms: int, offset: int) -> None:
        """Take in one that was published just now, if all before it are known."""
        if offset == self.read_to:
            insort(self.due, (due_ms, offset))
            self.read_to = offset + 1


class Delaying(Publishing):
    """`publish_delayed`, `hold_back`, and the release of what is due."""

    _open_buckets: dict[int, OpenBucket]
    _delay_timer: Timer | None

    def publish_delayed(
        self, publication: Publication, delay_ms: int, *, mandatory: bool = False, wait: bool = True
    ) -> Published:
        """Publish a message that its queues get `delay_ms` from now on the store's clock. Without the lock."""
        with self.lock:
            batch = self.batch()
            published = self.add_delayed(batch, publication, delay_ms, mandatory=mandatory)
            number = self.write(batch)
        if wait:
            self.engine.wait(number)
        return published

    def add_delayed(
        self, batch: Batch, publication: Publication, delay_ms: int, *, mandatory: bool = False
    ) -> Published:
        """Route a message and add it to a commit that its queues get it later. Under the lock."""
        exchange, routing_key, body, properties = publication
        self.check_exchange_to_publish(exchange)
        expiration_ms(properties.expiration)
        keys = routing_keys(Meta(exchange, routing_key, properties))
        names = self.model.topology.route(exchange, keys, properties.headers, properties)
        ids = [self.queues[name].id for name in names if name in self.queues]
        if not ids:
            if mandatory:
                raise unroutable(exchange, routing_key)
            return Published(0)
        meta = pack_meta(exchange, routing_key, without_bcc(properties), blind_copies=blind_copies(properties))
        self.check_size(len(meta) + len(body))
        self._check_release(len(ids) * (len(meta) + len(body)))
        due_ms = self.now_ms() + delay_ms
        bucket = self._bucket_for(due_ms)
        due_ms = max(due_ms, bucket.released[0] + 1)  # a clock that went back must not put it among the released
        self._watch_at(due_ms)  # first of all: what is stored is released, whatever strikes afterwards
        packed: bytes = msgpack.packb([ids, meta])
        batch.delay(self.engine.streams[bucket.stream_id], due_ms, packed, body)
        return Published(len(ids))

    def written(self, batch: Batch) -> None:
        """Note on top of the rest where delayed messages are."""
        super().written(batch)
        for stream_id, due_ms, offset in batch.delayed_at:
            opened = self._open_buckets.get(stream_id)
            if opened is not None:
                opened.add(due_ms, offset)

    @staticmethod
    def _check_release(size: int) -> None:
        """Raise `TransactionTooLargeError` for what could not go to all its queues in one commit once it is due."""
        if size > _MOST_RELEASED:
            raise TransactionTooLargeError(
                f"the copies for all queues have {size} bytes, at most {_MOST_RELEASED} fit",
                size=size,
                limit=_MOST_RELEASED,
            )

    def _bucket_for(self, due_ms: int) -> Bucket:
        ahead_ms = due_ms - self.now_ms()
        width_ms = next((width for most, width in _WIDTHS if ahead_ms <= most), _DAY_MS)
        first_ms = due_ms - due_ms % width_ms
        for bucket in self.model.buckets.values():
            if bucket.first_due_ms == first_ms and bucket.width_ms == width_ms:
                return bucket
        with self.engine.lock:
            commit = self.engine.begin()
            stream_id = commit.create_stream("delayed")
            commit.record(BrokerModel.section, ["bucket", stream_id, first_ms, width_ms])
            commit.write()
        return self.model.buckets[stream_id]

    def delayed(self) -> int:
        """Return how many messages wait until they are due, beside those that `nack` delays. Under the lock."""
        count = 0
        for bucket in self.model.buckets.values():
            opened = self._open_buckets.get(bucket.stream_id)
            stream = self.engine.streams.get(bucket.stream_id)
            if stream is None:  # just being loaded anew by a reader
                continue
            count += stream.next_offset - (opened.read_to if opened is not None else stream.start)
            count += len(opened.due) if opened is not None else 0
        return count

    # Release

    def _watch_due(self) -> None:
        """Have the timers look when the next message is due, or the next bucket is to be opened. Under the lock."""
        due_ms: int | None = None
        for bucket in self.model.buckets.values():
            opened = self._open_buckets.get(bucket.stream_id)
            at = bucket.first_due_ms
            if opened is not None:
                if opened.damage is not None and not opened.due:
                    continue
                at = opened.due[0][0] if opened.due else bucket.first_due_ms + bucket.width_ms
            due_ms = at if due_ms is None else min(due_ms, at)
        if due_ms is not None and not self.closed:
            self._watch_at(due_ms)

    def _watch_at(self, due_ms: int) -> None:
        """Have the timers look at this time of the wall clock, if not earlier. Under the lock."""
        due_ms = self.core.clock.monotonic_ms() + max(0, due_ms - self.now_ms())
        before = self._delay_timer
        if before is None or before.callback is None or before.due_ms > due_ms:
            self._delay_timer = self.core.timers.schedule(due_ms, self._release_due)
            if before is not None:
                before.cancel()

    def release_overdue(self) -> None:
        """After opening: release what became due meanwhile, and watch the rest. Under the lock."""
        self._release_buckets()
        self._watch_due()

    def _release_due(self) -> None:
        try:
            if self.journaled:
                # What is released is read first, so it must be synced: here, before anybody has to wait for the locks.
                self.engine.wait(self.engine.commit_number)
            with self.lock:
                self._delay_timer = None
                if not self.closed:
                    self._release_buckets()
                    self._watch_due()
            if self.journaled:
                self.wait_and_attend(self.engine.commit_number)
        except ClosedError:
            return
        except MsglogError as error:
            logger.warning(
                "delayed messages of %s are put off: %s",
                self.core.path,
                error,
                extra={"event": "put_off", "path": self.core.path},
            )
            with self.lock:
                if not self.closed:
                    self._delay_timer = self.core.timers.schedule(
                        self.core.clock.monotonic_ms() + RETRY_MS, self._release_due
                    )

    def _release_buckets(self) -> None:
        now_ms = self.now_ms()
        for bucket in tuple(self.model.buckets.values()):
            if bucket.first_due_ms <= now_ms:
                self._open_bucket(bucket)
        while (first := self._first_due(now_ms)) is not None:
            self._release(*first)
        for opened in tuple(self._open_buckets.values()):
            bucket = opened.bucket
            read = opened.read_to >= opened.stream.next_offset
            if read and not opened.due and bucket.first_due_ms + bucket.width_ms <= now_ms:
                self._remove_bucket(bucket, opened.stream)

    def _open_bucket(self, bucket: Bucket) -> None:
        """Have all due times of a bucket in memory."""
        stream = self.engine.streams[bucket.stream_id]
        opened = self._open_buckets.get(bucket.stream_id)
        if opened is None:
            opened = self._open_buckets[bucket.stream_id] = OpenBucket(bucket, stream)
        if stream.end < stream.next_offset:
            with self.engine.lock:
                self.engine.writer.drain_locked()
        if opened.read_to < stream.next_offset and opened.damage is None:
            opened.catch_up()
            if opened.damage is not None:
                self.tell(
                    logging.WARNING,
                    "delayed messages are left where they are: %s",
                    opened.damage,
                    extra={"event": "delayed_damaged", "path": self.core.path},
                )
        opened.forget_released()

    def _first_due(self, now_ms: int) -> tuple[OpenBucket, int] | None:
        """Return the bucket whose message is due first, and up to when no other one has any."""
        waiting = sorted(
            (opened.due[0], stream_id)
            for stream_id, opened in self._open_buckets.items()
            if opened.due and opened.due[0][0] <= now_ms
        )
        if not waiting:
            return None
        until_ms = waiting[1][0][0] if len(waiting) > 1 else now_ms
        return self._open_buckets[waiting[0][1]], until_ms

    def _release(self, opened: OpenBucket, until_ms: int) -> None:
        """Put some messages that are due by then into their queues."""
        batch = self.batch()
        count = size = 0
        while count < STEP_MESSAGES and size <= STEP_BYTES and count < len(opened.due):
            due_ms, offset = opened.due[count]
            if due_ms > until_ms:
                break
            size += self._release_one(batch, opened.stream, offset)
            count += 1
        due_ms, offset = opened.due[count - 1]
        batch.record(BrokerModel.section, ["released", opened.bucket.stream_id, due_ms, offset])
        self.write(batch)
        del opened.due[:count]
        if not self.journaled:
            self.attend()

    def _release_one(self, batch: Batch, stream: Stream, offset: int) -> int:
        frame = stream.reader(offset).read()
        if frame is None or offset not in frame.offsets:
            raise missing_offset(stream, offset)
        stored = next(messages_of(frame, offset))
        try:
            ids, meta = msgpack.unpackb(stored.meta)
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise missing_offset(stream, offset) from error
        if type(ids) is not list or type(meta) is not bytes:
            raise missing_offset(stream, offset)
        properties = unpack_meta(meta).properties
        for queue_id in ids:
            queue = self.model.queue_ids.get(queue_id)
            if queue is not None:
                self.enqueue(batch, queue, meta, stored.body, properties)
        return len(stored.body) * len(ids)

    def _remove_bucket(self, bucket: Bucket, stream: Stream) -> None:
        batch = self.batch()
        batch.record(BrokerModel.section, ["delete-bucket", bucket.stream_id])
        batch.removed.append(stream)
        batch.write()
        self._open_buckets.pop(bucket.stream_id, None)

    # Delays of nack

    def hold_back(self, queue: Queue, lane: Lane, holder: Holder, stored: Stored, delay_ms: int) -> bool:
        """Return a delivery to its queue after a while; return False when the holder does not have it any more."""
        cursor, offset = lane.cursor, stored.offset
        if cursor.unsettled.get(offset) is not holder:
            return False
        limit = queue.effective.delivery_limit
        if delay_ms <= 0 or (limit is not None and cursor.deliveries.get(offset, 1) > limit):
            return self.give_back(queue, lane, holder, stored)
        keeper = Holder()
        keeper.unsettled = 1
        due_ms = self.core.clock.monotonic_ms() + delay_ms
        # First of all: whatever strikes from here on, the message comes back.
        self.core.timers.schedule(due_ms, lambda: self._end_delay(queue, lane, keeper, stored))
        try:
            cursor.unsettled[offset] = keeper
            holder.unsettled -= 1
        except BaseException:
            holder.miscounted = True
            raise
        self.news[queue] = None  # there may be room for another one now
        return True

    def _end_delay(self, queue: Queue, lane: Lane, keeper: Holder, stored: Stored) -> None:
        try:
            with self.lock:
                if not self.closed and not queue.deleted and self.give_back(queue, lane, keeper, stored):
                    self.attend()
        except ClosedError:
            return
        except MsglogError as error:
            self.put_off("a message of queue %r comes back later: %s", queue, error)
            due_ms = self.core.clock.monotonic_ms() + RETRY_MS
            self.core.timers.schedule(due_ms, lambda: self._end_delay(queue, lane, keeper, stored))

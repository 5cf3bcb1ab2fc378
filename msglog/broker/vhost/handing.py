"""The part of the virtual host that hands messages out and takes them back: delivery, settlement, requeueing.

    waits ──take──> in hand ──settle──> gone
      ^                │
      └───give back────┘      reject, or one delivery too many: settled, with a dead letter in the same commit

Whatever changes a queue puts it on `news`; `attend` hands out what waits to those in line, then removes what expired or
is too much, until there is no news. It is called before the lock is let go. Imported by `publishing`.
"""

import logging
from functools import partial
from typing import Final

from msglog.broker.lane import Holder, Lane, Stored
from msglog.broker.line import Taker
from msglog.broker.queue import Queue
from msglog.broker.rules.dead_letters import Reason
from msglog.broker.subscriber import Subscriber, Taken
from msglog.broker.vhost.removing import Removing
from msglog.cursors import CursorModel
from msglog.errors import ClosedError, MsglogError

logger = logging.getLogger("msglog.broker")

SECTION: Final = CursorModel.section
# When work that failed, on a full disk perhaps, is tried again.
RETRY_MS: Final = 1000


class Handing(Removing):
    """`take`, `settle`, `give_back`, `reject`, `attend`."""

    _follows_up = False

    def take(self, queue: Queue, subscriber: Subscriber) -> Taken | None:
        """Hand out the next message that can be seen, None when there is none. Under the lock."""
        if not subscriber.no_ack and (plain := self.take_next(queue, subscriber)) is not None:
            try:
                return Taken(*plain, redelivered=False, deliveries=0)
            except BaseException:
                self.undo_take(plain[0], subscriber, plain[1][0])
                raise
        expiring = queue.may_expire or queue.effective.message_ttl_ms is not None
        if expiring and self._head_expired(queue):
            self.drop_expired(queue)
        head = queue.head()
        limit = queue.effective.delivery_limit
        while limit is not None and head is not None and head[0].cursor.deliveries.get(head[1][0], 0) > limit:
            # It killed the process that had it, once too often.
            self.remove(queue, [head], "delivery_limit")
            if expiring and self._head_expired(queue):
                self.drop_expired(queue)
            head = queue.head()
        if head is None:
            return None
        if expiring:
            self.news[queue] = None  # another message comes to the head, and has a time of its own
        return self._hand_out(queue, subscriber, head[0], head[1])

    def _hand_out(self, queue: Queue, subscriber: Subscriber, lane: Lane, stored: Stored) -> Taken:
        offset = stored[0]
        cursor = lane.cursor
        deliveries = cursor.deliveries.get(offset, 0)
        redelivered = offset < cursor.next
        if redelivered and not deliveries:
            deliveries = 1  # it was in somebody's hand before the store was opened
        if subscriber.no_ack:
            lane.leave(offset, len(stored[3]))
            self._settle_offset(lane, offset)
            if queue.watchers:
                self.news[queue] = None
            return Taken(lane, stored, redelivered, deliveries)
        try:
            lane.take(offset, subscriber, len(stored[3]))
            if queue.effective.delivery_limit is not None:
                self._note_delivery(lane, stored, deliveries + 1)
            elif deliveries:
                cursor.deliveries[offset] = deliveries
            return Taken(lane, stored, redelivered, deliveries)
        except BaseException:
            self.undo_take(lane, subscriber, offset)
            raise

    def take_plain(self, queue: Queue, subscriber: Subscriber) -> tuple[Lane, Stored] | None:
        """Hand out the next message of a queue where nothing else is to be thought of, None in every other case.

        Under the lock. Nothing was returned, nothing expires, no delivery is counted, nobody waits in line.
        """
        if queue.line.front is not None or self.has_abandoned or self.closed:
            return None
        return self.take_next(queue, subscriber)

    def take_next(self, queue: Queue, subscriber: Subscriber) -> tuple[Lane, Stored] | None:
        """Do so whoever waits: for a consumer whose turn it is and that acknowledges. Under the lock."""
        lane = queue.simple
        if lane is None:
            return None
        cursor = lane.cursor
        offset = cursor.next
        if offset >= lane.stream.end or (
            cursor.settled != offset and cursor.settled + cursor.done.count + len(cursor.unsettled) != offset
        ):
            return None
        buffer, stored = lane.buffer, None
        while buffer:
            stored = buffer.popleft()
            if stored[0] >= offset:  # what was handed out from the front is still there
                break
        if stored is None or stored[0] != offset:
            stored = lane.head()
            if stored is None or stored[0] != offset:
                return None
        try:
            cursor.unsettled[offset] = subscriber
            cursor.next = offset + 1
            subscriber.unsettled += 1
        except BaseException:
            self.undo_take(lane, subscriber, offset)
            raise
        return lane, stored

    @staticmethod
    def undo_take(lane: Lane, subscriber: Subscriber, offset: int) -> None:
        """After an interrupt: what was to be handed out is nobody's. Under the lock."""
        if lane.cursor.unsettled.get(offset) is subscriber:
            del lane.cursor.unsettled[offset]
        lane.cursor.look_again()
        lane.forget_buffer()
        subscriber.miscounted = True

    def put_back(self, subscriber: Subscriber, lane: Lane, stored: Stored) -> None:
        """After an interrupt: what a call has taken comes back at once, for it never reached whoever called.

        Not under the lock. A second interrupt in here leaves it to the next call that looks after queues.
        """
        self.abandon(partial(self.return_unseen, subscriber, lane, stored), subscriber.queue.line)
        with self.lock:
            if not self.closed:
                self.attend()

    def return_unseen(self, subscriber: Subscriber, lane: Lane, stored: Stored) -> None:
        """Return what nobody has seen to its place; it does not count as handed out. Under the lock."""
        offset, cursor = stored[0], lane.cursor
        if subscriber.queue.deleted or cursor.unsettled.get(offset) is not subscriber:
            return
        if cursor.deliveries.get(offset, 0) > 1:
            cursor.deliveries[offset] -= 1
        else:
            cursor.deliveries.pop(offset, None)
        lane.give_back(offset, len(stored[3]))
        self.news[subscriber.queue] = None

    def _head_expired(self, queue: Queue) -> bool:
        head = queue.head()
        if head is None:
            return False
        expiry_ms = self.expiry_of(queue, head[1])
        if expiry_ms == head[1].timestamp_ms and queue.line.front is not None:
            return False  # with a time to live of 0 it came because somebody waits: they have it, however late it is
        return expiry_ms is not None and expiry_ms <= self.now_ms()

    def _note_delivery(self, lane: Lane, stored: Stored, times: int) -> None:
        """Write down that a message is handed out, before it is seen: so one that kills its process is counted."""
        cursor = lane.cursor
        event = ["deliver", cursor.id, stored.offset, times, cursor.next]
        self.engine.writer.append_all((), self.now_ms(), SECTION, event)

    # Settling

    def settle(self, lane: Lane, holder: Subscriber, offset: int) -> bool:
        """Settle one delivery; return False when the holder does not have it any more. Under the lock."""
        cursor = lane.cursor
        if cursor.unsettled.get(offset) is not holder:
            return False
        try:
            self.append_settle(cursor, offset, offset + 1, self.now_ms())
            holder.unsettled -= 1
        except BaseException:
            holder.miscounted = True
            raise
        if offset >= lane.trim_check:
            self.tidy(lane)
        if holder.queue.watchers:
            self.news[holder.queue] = None
        return True

    def _settle_offset(self, lane: Lane, offset: int) -> None:
        cursor = lane.cursor
        self.append_settle(cursor, offset, offset + 1, self.now_ms())
        if offset >= lane.trim_check:
            self.tidy(lane)

    def reject(self, queue: Queue, lane: Lane, holder: Holder, stored: Stored, reason: Reason = "rejected") -> bool:
        """Settle one delivery with a dead letter; return False when the holder does not have it any more."""
        if lane.cursor.unsettled.get(stored.offset) is not holder:
            return False
        try:
            self.remove(queue, [(lane, stored)], reason)
            holder.unsettled -= 1
        except BaseException:
            holder.miscounted = True
            raise
        return True

    def give_back(self, queue: Queue, lane: Lane, holder: Holder, stored: Stored) -> bool:
        """Return one delivery to its place in the queue, or dead-letter it when it was delivered too often.

        Returns False when the holder does not have it any more.
        """
        cursor, offset = lane.cursor, stored.offset
        if cursor.unsettled.get(offset) is not holder:
            return False
        if self.delivered_too_often(queue, lane, stored):
            return self.reject(queue, lane, holder, stored, "delivery_limit")
        if queue.effective.delivery_limit is None:
            cursor.deliveries[offset] = cursor.deliveries.get(offset, 0) + 1
        lane.give_back(offset, len(stored.body))
        queue.returned = True
        self.news[queue] = None
        return True

    @staticmethod
    def delivered_too_often(queue: Queue, lane: Lane, stored: Stored) -> bool:
        """Whether a message in somebody's hand has come to its queue's delivery limit: it does not go back."""
        limit = queue.effective.delivery_limit
        return limit is not None and lane.cursor.deliveries.get(stored.offset, 1) > limit

    def give_back_all(self, subscriber: Subscriber) -> int:
        """Return everything a subscriber has in hand to its queue; return how many messages that were."""
        queue = subscriber.queue
        returned = 0
        if queue.deleted or not (subscriber.unsettled or subscriber.miscounted):
            return 0
        for lane in queue.lanes:
            held = [offset for offset, holder in lane.cursor.unsettled.items() if holder is subscriber]
            for offset in sorted(held):
                self.give_back(queue, lane, subscriber, lane.read(offset))
            returned += len(held)
        return returned

    # Consumers

    def attend(self) -> None:
        """Look after all queues with news, until there is none. Under the lock; every change ends with it."""
        if self.has_abandoned:
            self._release_abandoned()
        while self.news:
            queue, _ = self.news.popitem()
            # Else: nobody waits, nothing expires, nothing is too much.
            if not queue.deleted and (queue.line or queue.may_expire or not queue.plain):
                try:
                    self._look_after(queue)
                except BaseException:  # an interrupt: whoever is in line looks again
                    self.news[queue] = None
                    queue.line.wake_all()
                    raise
            if queue.watchers:
                queue.tell_watchers()

    def _look_after(self, queue: Queue) -> None:
        removes = queue.may_expire or not queue.plain
        # What is published is for whoever waits first, what came back is expired or too much first, as in RabbitMQ.
        if queue.returned:
            queue.returned = False
            if removes:
                self._remove_from_head(queue)
        if queue.line:
            self.dispatch(queue)
        if removes:
            self._remove_from_head(queue)
        if self.journaled and (queue.line or not queue.plain) and queue.has_unseen():
            if queue.pushed_to and queue.line.front is not None:
                queue.line.front.subscriber.note_unseen()
            self._follow_up(queue)

    def _remove_from_head(self, queue: Queue) -> None:
        try:
            if self.may_expire(queue):
                self.drop_expired(queue)
                self.watch_expiry(queue)
            if self.drop_excess(queue) and self.may_expire(queue):
                self.news[queue] = None  # there is another head: when it expires, and whether it has, is to be seen
        except MsglogError as error:
            # Whoever published or settled is not to blame, and what they did is done.
            self.put_off("queue %r was not looked after: %s", queue, error)
            self._look_again_later(queue)

    def dispatch(self, queue: Queue) -> None:
        """Hand out what waits to those in line, in turn."""
        line, only = queue.line, queue.only
        while (taker := line.look()) is not None:
            if only is not None and only.is_drained():
                return
            try:
                taken = self.take(queue, taker.subscriber)
            except MsglogError:
                taker.wake()  # it meets the error itself: whoever published or settled is not to blame
                return
            if taken is None:
                return
            try:
                line.pass_on(taker)
                taker.receive(taken)
            except BaseException:
                self._not_received(taker, taken)
                raise
            if not taker.may_take():
                queue.leave_line(taker)

    def _not_received(self, taker: Taker, taken: Taken) -> None:
        """After an interrupt: what did not reach the one in line that it was taken for is nobody's."""
        if taker.kept(taken):
            taker.wake()
        elif not taker.subscriber.no_ack:
            self.undo_take(taken.lane, taker.subscriber, taken.stored[0])

    def _follow_up(self, queue: Queue) -> None:
        """Have the timers sync what nobody waits for, and attend to the queues that it went to."""
        if self.clock.manual:
            # No thread would do it before the clock is moved.
            with self.engine.lock:
                self.engine.writer.drain_locked()
            self.news[queue] = None
        elif not self._follows_up:
            self._follows_up = True
            self.core.timers.schedule(self.core.clock.monotonic_ms(), self._attend_to_unseen)

    def _attend_to_unseen(self) -> None:
        self._follows_up = False
        try:
            self.engine.wait(self.engine.commit_number)
            with self.lock:
                self.news.update((queue, None) for queue in self.queues.values() if queue.line or not queue.plain)
                if not self.closed:
                    self.attend()
        except MsglogError as error:
            logger.warning(
                "messages of %s are handed out later: %s",
                self.core.path,
                error,
                extra={"event": "put_off", "path": self.core.path},
            )

    def add_subscriber(self, subscriber: Subscriber) -> None:
        """Register a consumer with its queue. Under the lock; the caller has checked that it may."""
        queue = subscriber.queue
        queue.consumers.append(subscriber)
        if subscriber.exclusive:
            queue.exclusive_consumer = subscriber
        if queue.options.single_active_consumer and queue.active is None:
            queue.active = subscriber
        if subscriber.pushed_to:
            queue.pushed_to += 1
            queue.look_plain()
            self.model.version += 1

    def remove_subscriber(self, subscriber: Subscriber) -> bool:
        """Let a consumer go; return whether the queue is to be deleted with it. What it has in hand stays there."""
        queue = subscriber.queue
        subscriber.cancelled = True
        if subscriber not in queue.consumers:
            return False
        queue.consumers.remove(subscriber)
        if queue.exclusive_consumer is subscriber:
            queue.exclusive_consumer = None
        if queue.active is subscriber:
            queue.active = max(queue.consumers, key=lambda other: other.priority, default=None)
        if subscriber.pushed_to:
            queue.pushed_to -= 1
            queue.look_plain()
            self.model.version += 1
        self.news[queue] = None
        return queue.options.auto_delete and not queue.consumers and not queue.deleted

    def _release_abandoned(self) -> None:
        self.has_abandoned = False
        while not self.abandoned.empty():
            release = self.abandoned.get_nowait()
            try:
                release()
            except MsglogError:
                raise
            except BaseException:  # an interrupt: the next one does it
                self.abandon(release)
                raise

    def release(self, subscriber: Subscriber) -> None:
        """End a consumer: what it has in hand goes back to its queue."""
        raise NotImplementedError

    # Timers

    def watch_expiry(self, queue: Queue) -> None:
        """Have the timers look when the message at the head expires."""
        if queue.deleted or self.closed:
            return
        head = queue.head()
        expiry_ms = None if head is None else self.expiry_of(queue, head[1])
        if expiry_ms is None:
            return
        due_ms = self.core.clock.monotonic_ms() + max(0, expiry_ms - self.now_ms())
        before = queue.expiry_timer
        if before is None or before.callback is None or before.due_ms > due_ms:
            queue.expiry_timer = self.core.timers.schedule(due_ms, lambda: self._expire(queue))
            if before is not None:
                before.cancel()

    def _look_again_later(self, queue: Queue) -> None:
        if not self.closed and self.engine.failure is None:
            due_ms = self.core.clock.monotonic_ms() + RETRY_MS
            queue.expiry_timer = self.core.timers.schedule(due_ms, lambda: self._expire(queue))

    def _expire(self, queue: Queue) -> None:
        try:
            with self.lock:
                queue.expiry_timer = None
                if not self.closed and not queue.deleted:
                    self.news[queue] = None
                    self.attend()
        except ClosedError:
            return
        except MsglogError as error:
            self.put_off("expiry in queue %r was put off: %s", queue, error)

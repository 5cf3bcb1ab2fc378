"""A message in a consumer's hand, and what can be done with it.

Settling is idempotent nowhere: a second `ack` is an error, as in AMQP. Imported by the classes that hand messages out.
"""

from collections.abc import Mapping
from contextlib import suppress
from time import time_ns
from types import TracebackType
from typing import Any, Literal, Self

from msglog.broker.lane import Lane, Stored
from msglog.broker.message import Message, check_body, combined, with_mode
from msglog.broker.properties import Properties
from msglog.broker.settling import Outcome, Settlement
from msglog.broker.subscriber import Subscriber, Taken
from msglog.broker.vhost import Publication, VirtualHost
from msglog.checks import MAX_DELAY_MS, check_flag, check_integer
from msglog.errors import InvalidOptionError, SettlementError
from msglog.retry import Retry
from msglog.showing import one_line

OnError = Retry | Literal["requeue", "reject"]


_new_tuple = tuple.__new__  # half of what the constructor costs


class Terms:
    """What all deliveries of one consumer, or of one connection's calls of `get` on a queue, have in common."""

    __slots__ = ("no_ack", "on_error", "queue", "subscriber", "vhost")

    def __init__(self, vhost: VirtualHost, subscriber: Subscriber, on_error: OnError) -> None:
        self.vhost = vhost
        self.subscriber = subscriber
        self.queue = subscriber.queue
        self.no_ack = subscriber.no_ack
        self.on_error: OnError = on_error


class Delivery(Message):
    """A message that was handed out: settle it by `ack`, `nack` or `reject`, or by leaving `with delivery:`.

    `redelivered`: it was in somebody's hand before. `delivery_count`: how often, as far as is known; 0 at first. As a
    context manager it is acknowledged on a normal end; an `Exception` applies the consumer's `on_error`, any other
    exception returns it to the queue; what is settled already is left alone, and the exception goes on.

    Settling never waits: it is written when it returns, survives a kill of the process, and is synced with the next
    sync, at most `sync_interval_ms` later; a power cut before that delivers the message again. Safe for any thread.
    """

    __slots__ = ("_keeper", "_lane", "_settled", "_terms", "delivery_count", "redelivered")

    delivery_count: int
    redelivered: bool

    def __init__(
        self,
        terms: Terms,
        keeper: object,
        lane: Lane,
        stored: Stored,
        redelivered: bool,  # noqa: FBT001 as it stands in `Taken`
        deliveries: int,
    ) -> None:
        self.body = stored[3]
        self.redelivered = redelivered
        self.delivery_count = deliveries
        self._stored = stored
        self._meta = None
        self._lane = lane
        self._terms = terms
        # It lives as long as the delivery: a consumer is not collected while somebody works on its messages.
        self._keeper = keeper
        # True, or the transaction that will settle it: that, too, leaves nothing to be done here.
        self._settled: object = terms.no_ack

    @property
    def queue(self) -> str:
        """The name of the queue it came from."""
        return self._terms.queue.name

    @property
    def settled(self) -> bool:
        """Whether this delivery was settled, here or in a transaction that was committed."""
        return self._settled is True

    def ack(self) -> None:
        """Settle it: the message is done with.

        Raises `SettlementError` when it was settled, or went back to its queue because its consumer was closed.
        """
        terms = self._terms
        vhost = terms.vhost
        lane, subscriber, offset = self._lane, terms.subscriber, self._stored[0]
        cursor = lane.cursor
        try:
            with vhost.lock:
                if self._settled or cursor.unsettled.get(offset) is not subscriber:
                    raise self._refusal()  # noqa: TRY301 a step of its own would cost
                now_ms = time_ns() // 1_000_000 if vhost.system_time else vhost.now_ms()
                try:
                    vhost.append_settle(cursor, offset, offset + 1, now_ms)
                    subscriber.unsettled -= 1
                    self._settled = True
                except BaseException:
                    subscriber.miscounted = True  # an interrupt may have struck in between
                    raise
                if offset >= lane.trim_check:
                    vhost.tidy(lane)
                queue = terms.queue
                if (
                    subscriber.waits
                    or vhost.news
                    or vhost.has_abandoned
                    or queue.line.front is not None
                    or queue.watchers
                ):
                    vhost.news[queue] = None
                    vhost.attend()
        except BaseException:
            terms.queue.line.wake_all()
            raise

    def nack(self, requeue: bool = True, *, delay_ms: int = 0) -> None:  # noqa: FBT001, FBT002 as AMQP has it
        """Give it back to its place in the queue, or without `requeue` dead-letter it.

        `delay_ms`: it comes back so many milliseconds later on the store's clock, 0 to ten years; the delay is kept in
        memory, so after a crash it is back at once. A queue with a delivery limit dead-letters what was delivered too
        often. Raises `SettlementError` as `ack` does.
        """
        check_flag("requeue", requeue)
        check_integer("delay_ms", delay_ms, 0, MAX_DELAY_MS)
        terms = self._terms
        vhost = terms.vhost
        try:
            with vhost.lock:
                if self._settled:
                    raise self._refusal()  # noqa: TRY301 a step of its own would cost
                place = (terms.queue, self._lane, terms.subscriber, self._stored)
                if not requeue:
                    done = vhost.reject(*place)
                elif delay_ms:
                    done = vhost.hold_back(*place, delay_ms)
                else:
                    done = vhost.give_back(*place)
                if not done:
                    raise self._refusal()  # noqa: TRY301 a step of its own would cost
                self._settled = True
                vhost.news[terms.queue] = None  # there may be room for another one now
                vhost.attend()
        except BaseException:
            terms.queue.line.wake_all()
            raise

    def reject(self) -> None:
        """Dead-letter it; a queue without a dead-letter exchange drops it. Raises `SettlementError` as `ack` does."""
        self.nack(requeue=False)

    def reply(
        self,
        body: bytes,
        *,
        headers: Mapping[str, Any] | None = None,
        properties: Properties | None = None,
    ) -> bool:
        """Answer to the message's `reply_to`, with its `correlation_id`; this does not settle it.

        Returns whether the answer reached somebody who waits, or a queue. Raises `InvalidOptionError` when the message
        wants no answer, and what publishing raises.
        """
        asked = self.properties
        if asked.reply_to is None:
            allowed = "a message with the property reply_to"
            raise InvalidOptionError(f"the message wants no reply; allowed: {allowed}", option="reply_to",
                                     given=None, allowed=allowed)  # fmt: skip
        own = combined(properties, headers, None, None)
        if own.correlation_id is None:
            own = own._replace(correlation_id=asked.correlation_id)
        own = with_mode(own, persistent=asked.delivery_mode != 1)
        publication = Publication("", asked.reply_to, check_body(body), own)
        return self._terms.vhost.publish(publication).queues > 0

    def lose(self) -> None:
        """Return it to its queue as a broken connection would, so that it cannot be settled any more; not public.

        Raises `SettlementError` as `ack` does.
        """
        terms = self._terms
        vhost = terms.vhost
        try:
            with vhost.lock:
                if self._settled or not vhost.give_back(terms.queue, self._lane, terms.subscriber, self._stored):
                    raise self._refusal()  # noqa: TRY301 a step of its own would cost
                # Its consumer may get the message again: this delivery is not that one.
                self._terms = Terms(vhost, Subscriber(terms.queue), terms.on_error)
                vhost.attend()
        except BaseException:
            terms.queue.line.wake_all()
            raise

    def put_back(self) -> None:
        """Return it as if it had never been taken, if it was: for calls that cannot hand it out; not public."""
        lane: Lane | None = getattr(self, "_lane", None)
        if lane is not None:
            self._terms.vhost.put_back(self._terms.subscriber, lane, self._stored)

    @property
    def vhost(self) -> VirtualHost:
        """The virtual host that it comes from; not public."""
        return self._terms.vhost

    @property
    def pending(self) -> bool:
        """Whether it is still to be settled: not settled, nor part of a transaction; not public."""
        return self._settled is False

    def stage(self, transaction: object, outcome: Outcome, delay_ms: int = 0) -> Settlement:
        """Leave it to a transaction to settle this; not public. `staged` is to follow. Raises `SettlementError`."""
        if self._settled or self._terms.queue.deleted:
            raise self._refusal()
        self._settled = transaction
        taken = _new_tuple(Taken, (self._lane, self._stored, self.redelivered, self.delivery_count))
        return _new_tuple(Settlement, (self._terms.subscriber, taken, outcome, delay_ms))

    def staged(self, transaction: object, *, settled: bool) -> None:
        """Hear what became of the transaction, if it was this one that was to settle it; not public."""
        if self._settled is transaction:
            self._settled = settled

    def _refusal(self) -> SettlementError:
        if self._settled is not True and self._settled is not False:
            return SettlementError("the delivery is part of a transaction that has not ended")
        if self._settled:
            return SettlementError("the delivery was settled already")
        if self._terms.queue.deleted:
            return SettlementError(f"the delivery is gone with its queue {self._terms.queue.name!r}")
        return SettlementError("the delivery went back to its queue: its consumer, broker or store was closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._settled:
            return
        if error is None:
            self.ack()
        else:
            with suppress(SettlementError):  # it went back meanwhile: the exception of the block is what counts
                self.apply(self._terms.on_error if isinstance(error, Exception) else "requeue")

    def apply(self, on_error: OnError) -> None:
        """Do what is to be done after a failure: back off, requeue or reject; not public."""
        delay_ms = self._back_off(on_error)
        if delay_ms is None:
            self.reject()
        else:
            self.nack(delay_ms=delay_ms)

    @property
    def back_off_ms(self) -> int | None:
        """How long it waits when the work on it fails, None when it is rejected then; not public."""
        return self._back_off(self._terms.on_error)

    def _back_off(self, on_error: OnError) -> int | None:
        if isinstance(on_error, Retry):
            return on_error.delay_for(self.delivery_count + 1)
        return 0 if on_error == "requeue" else None

    @one_line
    def __repr__(self) -> str:
        return (
            f"<msglog.Delivery queue={self._terms.queue.name!r} exchange={self.exchange!r} "
            f"routing_key={self.routing_key!r} {self._tell()} delivery_count={self.delivery_count} "
            f"body=<{len(self.body)} bytes>>"
        )

    def _tell(self) -> str:
        if self._settled is not True and self._settled is not False:
            return "in a transaction"
        return "settled" if self._settled else "unsettled"

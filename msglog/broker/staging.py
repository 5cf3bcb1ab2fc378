"""The broker's part of a transaction: what is to be published and settled, and how it becomes part of one commit.

Collecting checks what can be checked and changes nothing. `decide`, `fill` and `written` follow each other under the
broker's lock; everything is decided there, against the queues as they are. Invariant: until the commit is written,
dropping it leaves nothing behind but lanes and buckets that nothing lies in. Imported by the transactions.
"""

from collections.abc import Iterable, Mapping, Sequence
from threading import Lock
from typing import Any, Final, NamedTuple

from msglog.broker.batch import Batch
from msglog.broker.delivery import Delivery
from msglog.broker.lane import Lane
from msglog.broker.message import Message, check_body, check_routing_key, combined, with_mode
from msglog.broker.properties import Properties
from msglog.broker.publications import check_delay, check_exchange, check_queue, check_refused, publications_of
from msglog.broker.rules.names import queue_not_found
from msglog.broker.settling import Outcome, Settled, Settlement
from msglog.broker.vhost import PERSISTENT, Publication, Route, VirtualHost
from msglog.checks import check_flag
from msglog.errors import SettlementError
from msglog.storage import Commit

_STALE: Final = "the delivery went back to its queue, or was settled elsewhere, before the transaction was committed"


_new_tuple = tuple.__new__  # half of what the constructor costs


class Wish(NamedTuple):
    """One publication: `send` wants the queue that it names to be there.

    `route`: the way of a plain message when it was taken in, which may hold no longer.
    """

    publication: Publication
    delay_ms: int
    mandatory: bool
    send: bool
    route: Route | None = None


class BrokerStage:
    """Publications and settlements of one transaction."""

    __slots__ = ("_batch", "_claimed", "_cut", "_replies", "_settled", "_settlements", "_vhost", "_wishes")

    def __init__(self, vhost: VirtualHost) -> None:
        self._batch: Batch | None = None
        self._settled: Settled | None = None
        # What loses its oldest messages to the length limits of their queues.
        self._cut: Sequence[Lane] = ()
        # Answers to direct reply-to addresses, between the commit and the moment when it can be seen.
        self._replies: Sequence[Publication] = ()
        self._vhost = vhost
        self._wishes: list[Wish] = []
        self._claimed: list[Delivery] = []
        self._settlements: list[tuple[Delivery, Settlement]] = []

    @property
    def lock(self) -> Lock:
        """The broker's lock, which comes before all others that a commit takes."""
        return self._vhost.lock

    # Collecting, in a store that is open for writing: the transaction sees to that

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        headers: Mapping[str, Any] | None,
        properties: Properties | None,
        priority: int | None,
        expiration_ms: int | None,
        delay_ms: int | None,
        persistent: bool,  # noqa: FBT001 by name takes twice as long
        mandatory: bool,  # noqa: FBT001
        *,
        send: bool = False,
    ) -> int:
        """Take a publication in; return its size in bytes. Raises as publishing does, but for what routing finds."""
        vhost = self._vhost
        if send:
            check_queue(vhost, routing_key)
        if (
            headers is None
            and properties is None
            and priority is None
            and expiration_ms is None
            and delay_ms is None
            and persistent is True
            and type(body) is bytes
        ):
            # What `plain_route` does first.
            known = type(exchange) is str and type(routing_key) is str
            route = vhost.routes.get((exchange, routing_key)) if known else None
            if route is None or route.version != vhost.model.version:
                route = vhost.plain_route(exchange, routing_key)
            if route is not None and len(body) <= route.limit:  # then nothing is left to check
                publication = _new_tuple(Publication, (exchange, routing_key, body, PERSISTENT))
                if mandatory is not False:
                    check_flag("mandatory", mandatory)
                self._wishes.append(_new_tuple(Wish, (publication, 0, mandatory, send, route)))
                return len(route.meta) + len(body)
        own = with_mode(combined(properties, headers, priority, expiration_ms), persistent=persistent)
        publication = Publication(check_exchange(exchange), check_routing_key(routing_key), check_body(body), own)
        flag = check_flag("mandatory", mandatory)
        delay = 0 if delay_ms is None else check_delay(delay_ms)
        size = vhost.check_publication(publication)
        self._wishes.append(Wish(publication, delay, flag, send))
        return size

    def publish_many(
        self, exchange: str, messages: Iterable[tuple[str, bytes] | Message], *, persistent: bool, mandatory: bool
    ) -> int:
        """Take publications in, all or none; return their size in bytes. Raises as `publish` does."""
        vhost = self._vhost
        flag = check_flag("mandatory", mandatory)
        publications = publications_of(exchange, messages, persistent=persistent)
        size = sum(map(vhost.check_publication, publications))
        self._wishes.extend(Wish(publication, 0, flag, send=False) for publication in publications)
        return size

    def settle(self, delivery: Delivery, outcome: Outcome, delay_ms: int = 0) -> None:
        """Take the settlement of a delivery in. Raises `SettlementError`, also for one of another store."""
        if delivery.vhost is not self._vhost:
            raise SettlementError("the delivery is of another store than the transaction")
        self._claimed.append(delivery)  # first of all: whatever strikes, the end lets go of it
        self._settlements.append((delivery, delivery.stage(self, outcome, delay_ms)))

    # The commit, under the broker's lock

    def decide(self) -> None:
        """Route everything, and settle what is still in hand.

        Raises what publishing raises, `SettlementError` for a delivery that is no longer in its consumer's hand,
        `PublishRejectedError` when a queue refuses a message.
        """
        vhost = self._vhost
        if vhost.engine.closed or vhost.engine.readonly:
            vhost.check_writable()
        batch = self._batch = vhost.batch()
        settled = self._settled = Settled(vhost)
        for _, settlement in self._settlements:
            if not settled.add(batch, settlement):
                raise SettlementError(_STALE)
        settled.record(batch)
        refused: dict[str, None] = {}
        for wish in self._wishes:
            route = wish[4]
            if route is not None and route.version == vhost.model.version:
                vhost.add_plain(batch, route, wish[0][2])
                continue
            for name in self._route(batch, wish):
                refused[name] = None
        if refused:
            check_refused(tuple(refused))
        self._cut = ()
        if vhost.news:
            self._make_room(batch)

    def _make_room(self, batch: Batch) -> None:
        vhost = self._vhost
        self._cut = [lane for queue in tuple(vhost.news) for lane in vhost.make_room(batch, queue)]

    def _route(self, batch: Batch, wish: Wish) -> tuple[str, ...]:
        """Add a publication to the commit; return the names of the queues that refuse it."""
        vhost, (publication, delay_ms, mandatory, send, _) = self._vhost, wish
        if send and publication.routing_key not in vhost.queues:
            raise queue_not_found(publication.routing_key)
        if delay_ms:
            return vhost.add_delayed(batch, publication, delay_ms, mandatory=mandatory).refused
        return vhost.add_similar(batch, publication, mandatory=mandatory).refused

    def fill(self, commit: Commit) -> None:
        """Make what was decided part of a commit. Under the store lock, too."""
        if self._batch is not None:
            self._batch.fill(commit)

    def written(self) -> None:
        """The commit is written: let queues, consumers and deliveries follow."""
        batch, settled = self._batch, self._settled
        if batch is None or settled is None:
            return
        if batch.replies:
            self._replies, batch.replies = batch.replies, []  # whoever gets one must be able to see the rest
        for delivery, _ in self._settlements:
            delivery.staged(self, settled=True)
        batch.keep()
        if batch.delayed_at:
            self._vhost.written(batch)
        settled.finish()
        for lane in self._cut:
            lane.forget_bytes()
            self._vhost.look_for_space(lane)
        news = self._vhost.news
        for _, (subscriber, _, outcome, _) in self._settlements:
            queue = subscriber.queue
            # As after an acknowledgement alone: often nobody waits for room, or for the queue to be idle.
            if outcome != "ack" or subscriber.waits or queue.line.front is not None or queue.watchers:
                news[queue] = None
        if not self._vhost.journaled:
            self._vhost.attend()

    def failed(self) -> None:
        """An exception struck, before the commit or after it: what is in whose hand is counted anew."""
        settled = self._settled
        if settled is not None:
            settled.fail()
            if settled.count == len(self._settlements):  # all were in hand when it was decided
                for delivery, settlement in self._settlements:
                    if not settlement.is_in_hand():
                        delivery.staged(self, settled=True)
        for lane in self._cut:
            lane.forget_bytes()
        for _, settlement in self._settlements:  # whoever may have a message for it looks
            queue = settlement.subscriber.queue
            self._vhost.news[queue] = None
            queue.line.wake_all()

    # Without the lock

    def attend(self) -> None:
        """The commit can be seen, or nobody waits for that any more: hand out what came by it."""
        vhost = self._vhost
        if (
            vhost.news or vhost.has_abandoned
        ) and not vhost.engine.closed:  # in a forked child, somebody may have the lock
            with vhost.lock:
                if not vhost.closed:
                    vhost.attend()

    def forget(self) -> None:
        """Nothing more is to be written: leave what it did not settle to others, and keep nothing but its answers."""
        for delivery in self._claimed:
            delivery.staged(self, settled=False)
        self._claimed.clear()
        self._settlements.clear()  # a delivery keeps its consumer alive
        self._wishes.clear()  # and whoever keeps the transaction, the bodies
        self._batch = self._settled = None

    def end(self) -> None:
        """The transaction is over: send its answers, and forget the rest. Called again it does nothing."""
        if self._claimed or self._wishes or self._batch is not None:
            self.forget()
        if not self._replies:
            return
        vhost, replies, self._replies = self._vhost, self._replies, ()
        if vhost.engine.closed or vhost.engine.failure is not None:
            return
        with vhost.lock:
            for publication in replies:
                vhost.replies.send(publication.routing_key, publication)

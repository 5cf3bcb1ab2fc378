"""The part of the virtual host that takes messages in: routing, limits, one commit for all queues.

A message that only has to be appended to its queues goes by a remembered `Route`, which holds as long as nothing about
routing changes. Everything else is added to a `Batch`: so several publications, settlements and dead letters can share
one commit. Imported by `delaying`.
"""

from typing import Final, NamedTuple

from msglog.broker.batch import Batch
from msglog.broker.lane import Lane, Stored
from msglog.broker.model import BrokerModel
from msglog.broker.properties import Properties
from msglog.broker.queue import Queue
from msglog.broker.replies import Replies
from msglog.broker.rules.dead_letters import blind_copies, routing_keys, without_bcc
from msglog.broker.rules.expiration import expiration_ms
from msglog.broker.rules.message_codec import Meta, pack_meta
from msglog.broker.rules.names import exchange_not_found
from msglog.broker.vhost.handing import Handing
from msglog.errors import AccessRefusedError, UnroutableError

PERSISTENT: Final = Properties(delivery_mode=2)
MOST_ROUTES: Final = 4096
NO_ROUTE_CODE: Final = 312


class Publication(NamedTuple):
    """One message on its way in."""

    exchange: str
    routing_key: str
    body: bytes
    properties: Properties


class Published(NamedTuple):
    """What became of a publication: how many queues it went to, and the names of those that refused it."""

    queues: int
    refused: tuple[str, ...] = ()


class Route:
    """Where a plain persistent message goes while `version` is the model's: appended to `lanes`, with `meta`.

    `only`: the lane when there is no other one. `limit`: the most bytes of its body. `pushed`: the queues among them
    whose messages are handed out as soon as they come.
    """

    __slots__ = ("lanes", "limit", "meta", "only", "pushed", "streams", "version")

    def __init__(
        self, version: int, lanes: tuple[Lane, ...], meta: bytes, limit: int, pushed: tuple[Queue, ...]
    ) -> None:
        self.version = version
        self.lanes = lanes
        self.streams = [lane.stream for lane in lanes]
        self.only = lanes[0] if len(lanes) == 1 else None
        self.meta = meta
        self.limit = limit
        self.pushed = pushed


class Publishing(Handing):
    """`route`, `append_to_all`, `append_plain`, `add_publication`, `publish`."""

    routes: dict[tuple[str, str], Route]
    replies: Replies
    _routes_version = 0

    # The short way

    def route(self, exchange: str, routing_key: str) -> Route | None:
        """Return the way of plain persistent messages, None when they cannot go the short way. Under the lock."""
        routes = self.routes
        found = routes.get((exchange, routing_key))
        if found is None or found.version != self.model.version:
            found = self._find_route(exchange, routing_key)
            if found is not None:
                if len(routes) >= MOST_ROUTES or self._routes_version != self.model.version:
                    routes.clear()  # they hold the queues that they lead to
                self._routes_version = self.model.version
                routes[exchange, routing_key] = found
        return found

    def plain_route(self, exchange: object, routing_key: object) -> Route | None:
        """Return what `route` returns, whatever it is asked for. Takes the lock, where the way is not known yet."""
        if not isinstance(exchange, str) or not isinstance(routing_key, str):
            return None
        found = self.routes.get((exchange, routing_key))
        if found is None or found.version != self.model.version:
            with self.lock:
                found = self.route(exchange, routing_key)
        return found

    def _find_route(self, exchange: str, routing_key: str) -> Route | None:
        version = self.model.version
        topology = self.model.topology
        if self.engine.readonly or not isinstance(exchange, str) or not topology.has_exchange(exchange):
            return None  # the long way tells what is wrong
        options = self.model.exchanges.get(exchange)
        if (options is not None and options.internal) or not topology.depends_on_key_only(exchange):
            return None
        lanes: list[Lane] = []
        pushed: list[Queue] = []
        for name in topology.route(exchange, (routing_key,)):
            queue = self.queues[name]
            if not queue.plain or queue.only is None:
                return None
            lanes.append(queue.only)
            if queue.pushed_to:
                pushed.append(queue)
        if not lanes:
            return None  # what happens to it then is decided on the long way
        meta = pack_meta(exchange, routing_key, PERSISTENT)
        return Route(version, tuple(lanes), meta, self.engine.options.max_record_bytes - len(meta), tuple(pushed))

    def append_to_all(self, route: Route, body: bytes, now_ms: int) -> int:
        """Append a plain message to several queues in one commit; return how many. Without the lock.

        Durable as `sync` says when it returns.
        """
        with self.lock:
            number = self._append(route, route.meta, body, now_ms)
        if self.journaled:
            self.engine.wait(number)
        if route.pushed or route.version != self.model.version:
            self.look_after(route)
        return len(route.lanes)

    def _append(self, route: Route, meta: bytes, body: bytes, now_ms: int) -> int:
        offsets = self.append_copies(route.streams, body, meta, now_ms)
        for lane, offset in zip(route.lanes, offsets, strict=True):
            if lane.buffered == offset:
                lane.appended((offset, now_ms, meta, body))
        return self.engine.commit_number

    def append_plain(self, route: Route, meta: bytes, body: bytes) -> int | None:
        """Append a message with metadata of its own to the queues of a route; None when the route no longer holds.

        Returns the number of the commit, which is not waited for. Without the lock.
        """
        with self.lock:
            if route.version != self.model.version:
                return None
            lane = route.only
            if lane is None or self.journaled:  # with a journal, appending to one stream waits for the sync
                number = self._append(route, meta, body, self.now_ms())
            else:
                now_ms = self.now_ms()
                offset = self.engine.append(lane.stream, body, now_ms, meta)
                number = self.engine.commit_number
                if lane.buffered == offset:
                    lane.appended((offset, now_ms, meta, body))
            if not self.journaled:
                for queue in route.pushed:
                    self.news[queue] = None
                if self.news:
                    self.attend()
        return number

    def queues_of(self, route: Route) -> list[Queue]:
        """Return the queues that a route leads to. Under the lock."""
        return [queue for queue in self.queues.values() if queue.only in route.lanes]

    def look_after(self, route: Route) -> None:
        """A message went the short way: hand it out where it is pushed, and see what changed meanwhile."""
        with self.lock:
            self.news.update(dict.fromkeys(route.pushed))
            if route.version != self.model.version:
                self.news.update(dict.fromkeys(self.queues_of(route)))
            self.attend()

    # The long way

    def publish(self, publication: Publication, *, mandatory: bool = False, wait: bool = True) -> Published:
        """Publish one message in a commit of its own. Without the lock.

        Raises `ExchangeNotFoundError`, `AccessRefusedError`, `PreconditionFailedError`, `RecordTooLargeError`, with
        `mandatory` `UnroutableError`, with nothing published; and what a commit raises.
        """
        with self.lock:
            batch = self.batch()
            published = self.add_publication(batch, publication, mandatory=mandatory)
            number = self.commit(batch)
        if wait:
            self.wait_and_attend(number)
        elif self.journaled:
            with self.lock:
                self.attend()
        return published

    def write(self, batch: Batch) -> int:
        """Write a batch and do what follows; return the commit's number. Under the lock."""
        number = batch.write()
        self.written(batch)
        return number

    def written(self, batch: Batch) -> None:
        """A commit with this batch is written: send the answers in it. Under the lock."""
        for publication in batch.replies:
            self.replies.send(publication.routing_key, publication)

    def commit(self, batch: Batch) -> int:
        """Write a batch and look after the queues it changed, as far as they can be seen. Under the lock."""
        number = self.write(batch)
        if not self.journaled:
            self.attend()
        return number

    def wait_and_attend(self, number: int) -> None:
        """Wait until a commit is as durable as `sync` promises, then look after the queues. Without the lock.

        Where the waiting is put off (`Deferral`), so is the rest: whoever waits calls this again.
        """
        if number:
            self.engine.wait(number)
            if self.engine.published < number:
                return
        if self.news or self.has_abandoned:
            with self.lock:
                self.attend()

    def check_exchange_to_publish(self, exchange: str) -> None:
        """Raise `ExchangeNotFoundError`, or `AccessRefusedError` for an internal exchange."""
        if not exchange:
            return
        options = self.model.exchanges.get(exchange)
        if options is None:
            raise exchange_not_found(exchange)
        if options.internal:
            raise AccessRefusedError(f"cannot publish to internal exchange '{exchange}' in vhost '/'")

    def check_publication(self, publication: Publication) -> int:
        """Check what can be checked before a publication is routed; return its size in bytes. Without the lock.

        Raises `ExchangeNotFoundError`, `AccessRefusedError`, `PreconditionFailedError`, `RecordTooLargeError`.
        """
        exchange, routing_key, body, properties = publication
        with self.lock:
            self.check_exchange_to_publish(exchange)
        expiration_ms(properties.expiration)
        routing_keys(Meta(exchange, routing_key, properties))
        size = len(pack_meta(exchange, routing_key, properties)) + len(body)
        self.check_size(size)
        return size

    def add_publication(self, batch: Batch, publication: Publication, *, mandatory: bool = False) -> Published:
        """Route a message and add it to a commit; decided against the queues as they are. Under the lock."""
        exchange, routing_key, body, properties = publication
        self.check_exchange_to_publish(exchange)
        expiration_ms(properties.expiration)
        if not exchange and self.replies.knows(routing_key):
            batch.replies.append(publication)
            return Published(1)
        names = self.model.topology.route(
            exchange,
            routing_keys(Meta(exchange, routing_key, properties)),
            properties.headers,
            properties,
        )
        queues = [self.queues[name] for name in names if name in self.queues]
        if not queues:
            if mandatory:
                raise unroutable(exchange, routing_key)
            return Published(0)
        meta = pack_meta(exchange, routing_key, without_bcc(properties), blind_copies=blind_copies(properties))
        self.check_size(len(meta) + len(body))
        refused = [queue.name for queue in queues if not self.enqueue(batch, queue, meta, body, properties)]
        return Published(len(queues) - len(refused), tuple(refused))

    def add_similar(self, batch: Batch, publication: Publication, *, mandatory: bool = False) -> Published:
        """Add one of many messages to a commit: plain ones by their remembered route. Under the lock."""
        own = publication.properties
        if own is PERSISTENT or own == PERSISTENT:
            route = self.route(publication.exchange, publication.routing_key)
            if route is not None and len(publication.body) <= route.limit:
                self.add_plain(batch, route, publication.body)
                return Published(len(route.lanes))
        return self.add_publication(batch, publication, mandatory=mandatory)

    def add_plain(self, batch: Batch, route: Route, body: bytes) -> None:
        """Add a plain message that fits to a commit, by a route that holds. Under the lock."""
        batch.add_copies(route.lanes, route.meta, body)
        for queue in route.pushed:
            self.news[queue] = None

    def enqueue(self, batch: Batch, queue: Queue, meta: bytes, body: bytes, properties: Properties) -> bool:
        """Add a message for one queue to a commit; return False when the queue is full and refuses it."""
        if self.is_full(queue, batch, len(body)):
            if queue.effective.overflow == "reject-publish-dlx":
                self.dead_letter(batch, queue, Stored(-1, self.now_ms(), meta, body), "maxlen")
            return False
        if self.expires_at_once(queue, properties.expiration):
            self.dead_letter(batch, queue, Stored(-1, self.now_ms(), meta, body), "expired")
            return True
        if properties.expiration is not None and not queue.may_expire and queue.id not in batch.expiring:
            batch.expiring.add(queue.id)
            batch.record(BrokerModel.section, ["expiring", queue.id])
        batch.add(self.lane_for(queue, properties.priority), meta, body)
        self.news[queue] = None
        return True


def unroutable(exchange: str, routing_key: str) -> UnroutableError:
    """Return the error for a mandatory message that no queue gets."""
    return UnroutableError(
        f"no queue gets a message published to exchange {exchange!r} with routing key {routing_key!r}",
        exchange=exchange,
        routing_key=routing_key,
    )

"""The part of `Broker` that publishes.

A plain persistent message to queues without limits takes the short way: one lookup and one commit by hand. Imported by
`broker`.
"""

from collections.abc import Iterable, Mapping
from itertools import islice
from time import time_ns
from typing import Any

from msglog.broker.handle import BrokerHandle
from msglog.broker.message import Message, check_body, check_routing_key, combined, waits_for_sync, with_mode
from msglog.broker.properties import Properties
from msglog.broker.publications import check_delay, check_exchange, check_queue, check_refused, publications_of
from msglog.broker.rules.message_codec import pack_meta
from msglog.broker.vhost.publishing import MOST_ROUTES, PERSISTENT, Publication, Published, Route
from msglog.checks import check_flag
from msglog.errors import ClosedError


class Publishing(BrokerHandle):
    """`publish`, `send`, `publish_many`."""

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        headers: Mapping[str, Any] | None = None,
        properties: Properties | None = None,
        priority: int | None = None,
        expiration_ms: int | None = None,
        delay_ms: int | None = None,
        persistent: bool = True,
        mandatory: bool = False,
    ) -> int:
        """Publish a message and return how many queues got it: all of them in one commit, or none.

        Arguments:
            exchange: its name; "" is the default exchange, which routes by the names of queues.
            routing_key: a str of at most 255 bytes.
            body: bytes; never looked into.
            headers: names and AMQP field values (None, bool, int, float, Decimal, str, bytes, datetime, list, dict),
                which come back exactly; added to those of `properties`. `CC` and `BCC` are lists of more routing keys.
            properties: the other basic properties.
            priority: 0 to 255, for queues with `max_priority`.
            expiration_ms: how long it may wait in a queue; 0: only if somebody waits for it.
            delay_ms: its queues get it so many milliseconds from now on the store's clock; survives closing the store.
            persistent: wait until it is as durable as the store's `sync` promises, which confirms the publication. If
                False it is written, survives a kill of the process, and is synced within `sync_interval_ms`.
            mandatory: no queue for it is an error.

        Raises `ExchangeNotFoundError`, `AccessRefusedError` for an internal exchange, `UnroutableError`,
        `PublishRejectedError` when a queue is full and refuses it (the others have it), `PreconditionFailedError`,
        `InvalidTypeError`, `InvalidOptionError`, `RecordTooLargeError`, `ReadOnlyError`, `ClosedError`,
        `DiskFullError`, and `StoreFailedError` (outcome unknown). Safe for any number of threads.
        """
        if (
            headers is None
            and properties is None
            and priority is None
            and expiration_ms is None
            and delay_ms is None
            and persistent is True
            and (mandatory is False or mandatory is True)
            and type(body) is bytes
        ):
            try:
                route = self._routes[exchange, routing_key]
            except (KeyError, TypeError):
                route = None
            if route is None or route.version != self._model.version:
                route = self._find_route(exchange, routing_key)
            if route is not None and len(body) <= route.limit:
                now_ms = time_ns() // 1_000_000 if self._system_time else self._now_ms()
                lane = route.only
                try:
                    if lane is None:
                        return self._vhost.append_to_all(route, body, now_ms)
                    meta = route.meta
                    append = self._append  # a method to the compiler: calling it in place costs more
                    offset = append(lane.stream, body, now_ms, meta)
                except ClosedError:
                    pass  # the queue was deleted at this moment, or the store was closed: the long way tells
                else:
                    if lane.buffered == offset:
                        lane.appended((offset, now_ms, meta, body))
                    if route.pushed or route.version != self._model.version:
                        self._vhost.look_after(route)
                    return 1
        own = with_mode(combined(properties, headers, priority, expiration_ms), persistent=persistent)
        return self._publish(exchange, routing_key, body, own, delay_ms, mandatory)

    def send(
        self,
        queue: str,
        body: bytes,
        *,
        headers: Mapping[str, Any] | None = None,
        properties: Properties | None = None,
        priority: int | None = None,
        expiration_ms: int | None = None,
        delay_ms: int | None = None,
        persistent: bool = True,
    ) -> None:
        """Publish a message to one queue, by name. Arguments and errors as for `publish`; `QueueNotFoundError`."""
        check_queue(self._vhost_to_write(), queue)
        self.publish(
            "",
            queue,
            body,
            headers=headers,
            properties=properties,
            priority=priority,
            expiration_ms=expiration_ms,
            delay_ms=delay_ms,
            persistent=persistent,
        )

    def publish_many(
        self,
        exchange: str,
        messages: Iterable[tuple[str, bytes] | Message],
        *,
        persistent: bool = True,
        mandatory: bool = False,
    ) -> int:
        """Publish many messages in one commit, all or nothing, and return how many copies queues got.

        `messages`: pairs of routing key and body, or `Message`s. Order is kept within each queue. Raises what `publish`
        raises, with nothing published; `PublishRejectedError` when a queue refuses some of them, which leaves those to
        the other queues; `TransactionTooLargeError` above 256 MiB. Cost: far below that of as many calls of `publish`.
        """
        vhost = self._vhost_to_write()
        check_flag("mandatory", mandatory)
        publications = publications_of(exchange, messages, persistent=persistent)
        if not publications:
            return 0
        copies = 0
        refused: dict[str, None] = {}
        with vhost.lock:
            batch = vhost.batch()
            for publication in publications:
                published = vhost.add_similar(batch, publication, mandatory=mandatory)
                copies += published.queues
                refused.update(dict.fromkeys(published.refused))
            number = vhost.commit(batch)
        if any(waits_for_sync(publication.properties) for publication in publications):
            vhost.wait_and_attend(number)
        check_refused(tuple(refused))
        return copies

    def _publish_short(self, exchange: str, routing_key: str, body: bytes, content_type: str | None) -> int:
        """Publish a plain persistent message with a content type; 0 when it has to go the long way.

        For views: it is published as by `publish`, whose short way is for messages with no properties at all.
        """
        try:
            route = self._typed_routes[exchange, routing_key, content_type]
        except (KeyError, TypeError):
            route = None
        if route is None or route.version != self._model.version:
            route = self._find_typed_route(exchange, routing_key, content_type)
        if route is None or len(body) > route.limit:
            return 0
        now_ms = self._now_ms()
        lane = route.only
        try:
            if lane is None:
                return self._vhost.append_to_all(route, body, now_ms)
            offset = self._append(lane.stream, body, now_ms, route.meta)
        except ClosedError:
            return 0  # the queue was deleted at this moment, or the store was closed: the long way tells
        if lane.buffered == offset:
            lane.appended((offset, now_ms, route.meta, body))
        if route.pushed or route.version != self._model.version:
            self._vhost.look_after(route)
        return 1

    def _find_typed_route(self, exchange: str, routing_key: str, content_type: str | None) -> Route | None:
        """Return the short way for a message with a content type, and remember it."""
        plain = self._find_route(exchange, routing_key)
        if plain is None:
            return None
        meta = pack_meta(exchange, routing_key, PERSISTENT.replace(content_type=content_type))
        route = Route(plain.version, plain.lanes, meta, plain.limit + len(plain.meta) - len(meta), plain.pushed)
        routes = self._typed_routes
        if len(routes) >= MOST_ROUTES or any(known.version != route.version for known in islice(routes.values(), 1)):
            routes.clear()  # they hold the queues that they lead to
        routes[exchange, routing_key, content_type] = route
        return route

    def _find_route(self, exchange: str, routing_key: str) -> Route | None:
        """Return the short way for a message, None when it has to go the long one."""
        if self._closed or not isinstance(exchange, str):
            return None
        check_routing_key(routing_key)
        vhost = self._vhost
        with vhost.lock:
            return vhost.route(exchange, routing_key)

    def _publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: Properties,
        delay_ms: int | None,
        mandatory: object,
    ) -> int:
        """Publish the long way: every check, and whatever the short way leaves out."""
        vhost = self._vhost_to_write()
        flag = check_flag("mandatory", mandatory)
        publication = Publication(
            check_exchange(exchange), check_routing_key(routing_key), check_body(body), properties
        )
        wait = waits_for_sync(properties)
        published: Published
        if delay_ms is not None and check_delay(delay_ms):
            published = vhost.publish_delayed(publication, delay_ms, mandatory=flag, wait=wait)
        else:
            published = vhost.publish(publication, mandatory=flag, wait=wait)
        check_refused(published.refused)
        return published.queues

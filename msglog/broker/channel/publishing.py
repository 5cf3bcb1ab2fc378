"""The part of `Channel` that publishes: returns and confirms.

A message that needs nothing but to be appended to its queues goes the short way, as in `Broker.publish`, with whatever
properties it has. Imported by `channel`.
"""

from typing import Final

from msglog.broker.channel.base import ChannelBase
from msglog.broker.channel.confirms import Confirms
from msglog.broker.channel.events import Returned
from msglog.broker.channel.transactions import ChannelTransaction
from msglog.broker.message import check_body, check_routing_key
from msglog.broker.properties import Properties
from msglog.broker.replies import REPLY_TO
from msglog.broker.rules.dead_letters import without_bcc
from msglog.broker.rules.message_codec import pack_meta
from msglog.broker.vhost import Publication
from msglog.broker.vhost.publishing import Route
from msglog.checks import check_flag, check_timeout, wrong_type
from msglog.errors import NotSupportedError, PreconditionFailedError, UnroutableError

_PERSISTENT_MODE: Final = 2
_NO_PROPERTIES: Final = Properties()


class Publishing(ChannelBase):
    """`basic_publish`, `confirm_select`, `wait_for_confirms`."""

    _last_properties: Properties | None = None
    _last_route: Route | None = None
    _last_meta: bytes = b""

    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: Properties | None = None,
        *,
        mandatory: bool = False,
        immediate: bool = False,
    ) -> int | None:
        """Publish a message; return its sequence number in confirm mode, else None.

        Arguments:
            exchange: its name; "" is the default exchange, which routes by the names of queues.
            routing_key: a str of at most 255 bytes.
            body: bytes; never looked into.
            properties: all basic properties. With `delivery_mode` 2 a confirm waits for the sync that `sync="commit"`
                promises; without, it means that the message is written.
            mandatory: a message that no queue gets comes back as `Returned`.
            immediate: must be False; RabbitMQ does not support it either.

        Never waits for a sync: what is published is written when it returns, and synced and handed out soon after. In
        a transaction it is put off until `tx_commit`. Raises `ExchangeNotFoundError`, `AccessRefusedError` for an
        internal exchange, `PreconditionFailedError` (a bad `expiration`, a `user_id` that is not the channel's user,
        `CC` that is no list, `reply_to` without a reply consumer), `NotSupportedError`, `InvalidTypeError`,
        `InvalidOptionError`, `RecordTooLargeError`, `DiskFullError`, `StoreFailedError` (outcome unknown),
        `ClosedError`.
        """
        session = self._session
        if session.closed:
            session.refuse()
        with self._guard:
            if (
                session.transaction is None
                and immediate is False
                and (mandatory is False or mandatory is True)
                and type(body) is bytes
                and type(routing_key) is str
                and (properties is None or (type(properties) is Properties and _is_plain(properties)))
            ):
                number = self._publish_plain(exchange, routing_key, body, properties)
                if number is not None:
                    if session.confirms is None:
                        return None
                    return session.confirms.add(self._awaited(number, properties), ack=True)
            publication = self._publication(exchange, routing_key, body, properties)
            check_flag("mandatory", mandatory)
            if check_flag("immediate", immediate):
                raise NotSupportedError("immediate=true")
            if session.transaction is not None:
                self._put_off(publication, mandatory=mandatory)
                return None
            return self._publish(publication, mandatory=mandatory)

    def _publish_plain(self, exchange: str, routing_key: str, body: bytes, properties: Properties | None) -> int | None:
        """Append a message to its queues; None when it has to go the long way."""
        vhost = self._vhost
        try:
            route = vhost.routes.get((exchange, routing_key))
            if route is None or route.version != vhost.model.version:
                with vhost.lock:
                    route = vhost.route(exchange, routing_key)
        except TypeError:
            return None  # a key that cannot be one: the long way tells
        if route is None:
            return None
        if route is self._last_route and properties is self._last_properties:
            meta = self._last_meta
        else:
            meta = pack_meta(exchange, routing_key, _NO_PROPERTIES if properties is None else properties)
            self._last_route, self._last_properties, self._last_meta = route, properties, meta
        if len(body) + len(meta) - len(route.meta) > route.limit:
            return None
        number = vhost.append_plain(route, meta, body)
        if number is not None and vhost.journaled:
            self._follow(route)
        return number

    def _follow(self, route: Route) -> None:
        """See that a message that nobody waits for is soon synced and handed out, if somebody would have it."""
        vhost = self._vhost
        if any(lane.stream.waiters for lane in route.lanes):
            with vhost.lock:
                vhost.news.update(dict.fromkeys(route.pushed or vhost.queues_of(route)))
                vhost.attend()

    def _publication(self, exchange: object, routing_key: object, body: object, properties: object) -> Publication:
        """Check a message. Raises as `basic_publish` does."""
        if not isinstance(exchange, str):
            raise wrong_type("exchange", exchange, "the name of an exchange")
        if properties is None:
            properties = _NO_PROPERTIES
        elif not isinstance(properties, Properties):
            raise wrong_type("properties", properties, "a Properties")
        key, content = check_routing_key(routing_key), check_body(body)
        session = self._session
        if properties.user_id is not None and properties.user_id != session.user:
            raise PreconditionFailedError(
                f"user_id property set to '{properties.user_id}' but authenticated user was '{session.user}'"
            )
        if properties.reply_to == REPLY_TO:
            if session.reply_consumer is None:
                raise PreconditionFailedError("fast reply consumer does not exist")
            properties = properties._replace(reply_to=session.reply_consumer.address)
        return Publication(exchange, key, content, properties)

    def _awaited(self, commit: int, properties: Properties | None) -> int:
        """Return the commit that a message's confirm waits for, 0 for none."""
        if not self._vhost.journaled or properties is None or properties.delivery_mode != _PERSISTENT_MODE:
            return 0
        return commit

    def _publish(self, publication: Publication, *, mandatory: bool) -> int | None:
        vhost, session = self._vhost, self._session
        refused = False
        commit = 0
        with vhost.lock:
            session.check_open()
            batch = vhost.batch()
            try:
                published = vhost.add_publication(batch, publication, mandatory=mandatory)
            except UnroutableError as error:
                self._return(publication, error)
            else:
                commit = vhost.commit(batch)
                refused = bool(published.refused)
                if vhost.journaled:
                    vhost.attend()
        if session.confirms is None:
            return None
        return session.confirms.add(self._awaited(commit, publication.properties), ack=not refused)

    def _return(self, publication: Publication, error: UnroutableError) -> None:
        exchange, routing_key, body, properties = publication
        session = self._session
        if session.confirms is not None:
            session.confirms.end_group()
        code = error.reply_code or 0
        seen = without_bcc(properties)
        session.inbox.put(Returned(code, error.reply_text, exchange, routing_key, seen, body))

    def _transaction(self) -> ChannelTransaction:
        transaction = self._session.transaction
        if transaction is None:
            raise PreconditionFailedError("channel is not transactional")
        return transaction

    def _put_off(self, publication: Publication, *, mandatory: bool) -> None:
        """Check what can be checked now, and keep a publication for the commit."""
        self._vhost.check_publication(publication)
        self._transaction().publications.append((publication, mandatory))

    # Confirms

    def confirm_select(self) -> None:
        """Turn on confirms: each message published from now on is counted, and its `Confirmed` comes out of `poll`.

        Raises `PreconditionFailedError` on a channel with transactions. Calling again does nothing.
        """
        with self._use:
            session = self._session
            if session.transaction is not None:
                raise PreconditionFailedError("cannot switch from tx to confirm mode")
            if session.confirms is None:
                session.confirms = Confirms(session.inbox)

    def wait_for_confirms(self, timeout: float | None = None) -> bool:
        """Wait until all that was published is confirmed; return whether nothing was refused since the last call.

        Many publications and one `wait_for_confirms` are the fast way to publish durably: one sync covers them all.
        The `Confirmed` events of what is waited for are not polled any more; `Returned` events are. `timeout`: 0 does
        not wait, and returns False while something is unconfirmed; anything else waits for the sync, which takes as
        long as it takes. Raises `PreconditionFailedError` without confirm mode, `StoreFailedError`, `ClosedError`.
        """
        check_timeout(timeout)
        confirms = self._session.confirms
        refused = confirms is not None and confirms.refused
        try:
            with self._use:
                return self._all_taken_over(timeout)
        except BaseException:
            if confirms is not None and refused:
                confirms.refused = True  # nobody has heard of it
            raise

    def _all_taken_over(self, timeout: float | None) -> bool:
        session, engine = self._session, self._vhost.engine
        confirms = session.confirms
        if confirms is None:
            raise PreconditionFailedError("channel is not in confirm mode")
        awaited = confirms.awaited()
        if awaited > engine.published and timeout == 0:
            return False
        self._sync(awaited)
        with self._vhost.lock:
            session.inbox.drop(lambda entry: type(entry) is list)
        confirms.end_group()
        refused, confirms.refused = confirms.refused, False
        return not refused

    def _sync(self, commit: int) -> None:
        """Wait for a commit, then confirm what it covers and hand out what can be seen."""
        self._vhost.wait_and_attend(commit)
        confirms = self._session.confirms
        if confirms is not None:
            confirms.synced(self._vhost.engine.published)


def _is_plain(properties: Properties) -> bool:
    return (
        properties.headers is None
        and properties.expiration is None
        and properties.user_id is None
        and properties.reply_to != REPLY_TO
    )

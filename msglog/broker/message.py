"""The messages that users hand in and get.

Plain data: a body that is never looked into, and metadata that is unpacked when somebody asks for it. Imported by the
public classes of the broker.
"""

from collections.abc import Mapping
from typing import Any, Self

from msglog.broker.lane import Stored
from msglog.broker.properties import Properties
from msglog.broker.rules import option_checks
from msglog.broker.rules.field_table import SURELY_SHORT
from msglog.broker.rules.message_codec import Meta, check_headers, unpack_meta
from msglog.broker.vhost import Publication
from msglog.checks import check_flag, check_integer, wrong_payload, wrong_type
from msglog.showing import one_line

_TRANSIENT_MODE = 1
_PERSISTENT_MODE = 2
_NO_PROPERTIES = Properties()
_MOST_MS = (1 << 32) - 1


class Message:
    """A message: `body`, `routing_key`, `exchange`, `headers`, `properties`, and when it was enqueued.

    Made by users for `publish_many`; arguments as in `Broker.publish`. `timestamp_ms` is 0 for one that was in no queue
    yet. Raises `InvalidTypeError` or `InvalidOptionError`. A `repr` shows sizes, never contents.
    """

    __slots__ = ("_meta", "_stored", "body")

    body: bytes
    _meta: Meta | None
    _stored: Stored

    def __init__(
        self,
        body: bytes,
        *,
        routing_key: str = "",
        headers: Mapping[str, Any] | None = None,
        properties: Properties | None = None,
        priority: int | None = None,
        expiration_ms: int | None = None,
    ) -> None:
        self.body = check_body(body)
        self._stored = Stored(-1, 0, b"", body)
        own = combined(properties, headers, priority, expiration_ms)
        self._meta = Meta("", check_routing_key(routing_key), own)

    @classmethod
    def stored(cls, stored: Stored, meta: Meta | None = None) -> Self:
        """Return the message as it lies in a queue; `meta` is given for one that was in none; not public."""
        message = cls.__new__(cls)
        message.body = stored[3]
        message._stored = stored  # noqa: SLF001 its own class
        message._meta = meta  # noqa: SLF001 its own class
        return message

    @classmethod
    def published(cls, publication: Publication, now_ms: int) -> Self:
        """Return the message that an answer brought, which was in no queue; not public."""
        meta = Meta(publication.exchange, publication.routing_key, publication.properties)
        return cls.stored(Stored(-1, now_ms, b"", publication.body), meta)

    def _metadata(self) -> Meta:
        meta = self._meta
        if meta is None:
            # Kept: headers are made anew for every caller, and this message's are its own.
            meta = self._meta = unpack_meta(self._stored[2])
        return meta

    @property
    def timestamp_ms(self) -> int:
        """When it was enqueued, in milliseconds since 1970."""
        return self._stored[1]

    @property
    def exchange(self) -> str:
        """The exchange it was published to; "" for the default one."""
        return self._metadata().exchange

    @property
    def routing_key(self) -> str:
        """The routing key it was published with."""
        return self._metadata().routing_key

    @property
    def properties(self) -> Properties:
        """All basic properties, the headers among them."""
        return self._metadata().properties

    @property
    def headers(self) -> dict[str, Any]:
        """The headers, {} when there are none."""
        headers = self._metadata().properties.headers
        return {} if headers is None else headers

    @one_line
    def __repr__(self) -> str:
        meta = self._metadata()
        return (
            f"<msglog.{type(self).__name__} exchange={meta.exchange!r} routing_key={meta.routing_key!r} "
            f"body=<{len(self.body)} bytes>>"
        )


def check_body(body: object) -> bytes:
    """Return a body. Raises `InvalidTypeError` for anything but bytes."""
    if not isinstance(body, bytes):
        raise wrong_payload("body", body, "bytes")
    return body


def check_routing_key(routing_key: object) -> str:
    """Return a routing key: a str of at most 255 bytes. Raises `InvalidTypeError` or `InvalidOptionError`."""
    if routing_key.__class__ is str and len(routing_key) <= SURELY_SHORT and routing_key.isascii():
        return routing_key
    return option_checks.check_routing_key("routing_key", routing_key)


def combined(
    properties: Properties | None,
    headers: Mapping[str, Any] | None,
    priority: int | None,
    expiration_ms: int | None,
) -> Properties:
    """Return properties with what was given beside them. Raises `InvalidTypeError` or `InvalidOptionError`."""
    if properties is None:
        properties = _NO_PROPERTIES
    elif not isinstance(properties, Properties):
        raise wrong_type("properties", properties, "a Properties")
    changes: dict[str, Any] = {}
    if headers is not None:
        changes["headers"] = {**(properties.headers or {}), **check_headers(headers)}
    if priority is not None:
        changes["priority"] = priority
    if expiration_ms is not None:
        changes["expiration"] = str(check_integer("expiration_ms", expiration_ms, 0, _MOST_MS))
    return properties.replace(**changes) if changes else properties


def with_mode(properties: Properties, *, persistent: bool) -> Properties:
    """Return properties with a delivery mode: their own, or what `persistent` says."""
    check_flag("persistent", persistent)
    if properties.delivery_mode is not None:
        return properties
    return properties._replace(delivery_mode=_PERSISTENT_MODE if persistent else _TRANSIENT_MODE)


def waits_for_sync(properties: Properties) -> bool:
    """Whether publishing waits until the message is durable."""
    return properties.delivery_mode != _TRANSIENT_MODE

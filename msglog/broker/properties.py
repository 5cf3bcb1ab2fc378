"""The properties of a message: AMQP's basic properties, as one immutable value.

A tuple underneath, so that making one for a delivery costs little; its order is private. Imported by the broker,
its rules and every layer above; imports the rules for headers, `checks` and `errors`.
"""

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple, Self

from msglog.broker.rules.field_table import MAX_SHORT_BYTES, SURELY_SHORT, check_headers, utf8_length
from msglog.checks import MAX_INT64, check_integer, refused, wrong_type

_MAX_OCTET: Final = 255
_PERSISTENT: Final = 2
_SHORT_TEXT: Final = f"a str of at most {MAX_SHORT_BYTES} bytes in UTF-8"


class _Fields(NamedTuple):
    # The order in which they are stored: what is set most often comes first, so that the rest can be left out.
    delivery_mode: int | None = None
    headers: dict[str, Any] | None = None
    content_type: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    message_id: str | None = None
    type: str | None = None
    timestamp: int | None = None
    content_encoding: str | None = None
    priority: int | None = None
    expiration: str | None = None
    app_id: str | None = None
    user_id: str | None = None
    cluster_id: str | None = None


class Properties(_Fields):
    """All basic properties of a message; None where one is not set.

    `delivery_mode`: 1 transient, 2 persistent. `priority`: 0 to 255. `expiration`: milliseconds, as text.
    `timestamp`: seconds since 1970, or an aware datetime, which becomes seconds. `headers`: names and AMQP field
    values, copied. The others are str of at most 255 bytes in UTF-8. Whether the text of `expiration` is a number is
    checked where the message is published, as RabbitMQ does. Raises `InvalidTypeError` or `InvalidOptionError`.

    Two are equal when all their properties are; one without headers can be hashed.
    """

    __slots__ = ()

    def __new__(  # noqa: D102 - the class docstring tells
        cls,
        *,
        content_type: str | None = None,
        content_encoding: str | None = None,
        headers: Mapping[str, Any] | None = None,
        delivery_mode: int | None = None,
        priority: int | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
        expiration: str | None = None,
        message_id: str | None = None,
        timestamp: int | datetime | None = None,
        type: str | None = None,
        user_id: str | None = None,
        app_id: str | None = None,
        cluster_id: str | None = None,
    ) -> Self:
        return tuple.__new__(
            cls,
            (
                delivery_mode if delivery_mode is None else _delivery_mode(delivery_mode),
                headers if headers is None else check_headers(headers),
                content_type if content_type is None else _short("content_type", content_type),
                correlation_id if correlation_id is None else _short("correlation_id", correlation_id),
                reply_to if reply_to is None else _short("reply_to", reply_to),
                message_id if message_id is None else _short("message_id", message_id),
                type if type is None else _short("type", type),
                timestamp if timestamp is None else _seconds(timestamp),
                content_encoding if content_encoding is None else _short("content_encoding", content_encoding),
                priority if priority is None else _priority(priority),
                expiration if expiration is None else _short("expiration", expiration),
                app_id if app_id is None else _short("app_id", app_id),
                user_id if user_id is None else _short("user_id", user_id),
                cluster_id if cluster_id is None else _short("cluster_id", cluster_id),
            ),
        )

    @classmethod
    def trusted(cls, **properties: Any) -> Self:
        """Return properties that are known to be valid: nothing is checked nor copied; not public."""
        return tuple.__new__(cls, map(properties.get, cls._fields))

    def replace(self, **changes: Any) -> Self:
        """Return these properties with `changes`, which are checked. Raises as the class does.

        The copy shares nothing that can change with this one.
        """
        return type(self)(**{**self._asdict(), **changes})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Properties) and tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return tuple.__hash__(self)

    def __repr__(self) -> str:
        shown = [
            f"headers=<{', '.join(self.headers or ())}>" if name == "headers" else f"{name}={value!r}"
            for name, value in zip(self._fields, self, strict=True)
            if value is not None
        ]
        return f"Properties({', '.join(shown)})"

    def __reduce__(self) -> tuple[Callable[..., "Properties"], tuple[tuple[Any, ...]]]:
        return Properties._make, (tuple(self),)


def _short(option: str, given: object) -> str:
    if not isinstance(given, str):
        raise wrong_type(option, given, _SHORT_TEXT)
    if (len(given) > SURELY_SHORT or not given.isascii()) and utf8_length(given) > MAX_SHORT_BYTES:
        raise refused(option, given, _SHORT_TEXT)
    return given if given.__class__ is str else str.__str__(given)


def _delivery_mode(given: object) -> int:
    return int(check_integer("delivery_mode", given, 1, _PERSISTENT))


def _priority(given: object) -> int:
    return int(check_integer("priority", given, 0, _MAX_OCTET))


def _seconds(given: object) -> int:
    if isinstance(given, datetime):
        if given.utcoffset() is None:
            raise wrong_type("timestamp", given, "int seconds since 1970 or an aware datetime")
        given = math.floor(given.timestamp())
    return int(check_integer("timestamp", given, 0, MAX_INT64))

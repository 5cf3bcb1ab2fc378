"""The metadata of a message, exchange, routing key and properties, as bytes.

It is stored beside the body, which it never touches: reading a queue by the batch costs nothing per message for
metadata that was seen before. What comes back is equal to what was packed, in type and value. Metadata that
messages are likely to share is remembered and handed out again, which is sound because it is immutable; headers
are not, so metadata with headers is made anew for every caller. Imported by the broker; bytes that
`pack_meta` did not make are a `DecodeError`, as far as their form goes.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from msglog.broker.properties import Properties
from msglog.broker.rules.field_table import check_headers, is_flat, pack, pack_table, unpack, unpack_table
from msglog.errors import DecodeError

__all__ = ["Meta", "check_headers", "pack_meta", "pack_table", "unpack_meta", "unpack_table"]

_NOTHING: Final = (None,) * len(Properties._fields)
_NOTHING_BUT_DELIVERY_MODE: Final = _NOTHING[1:]

_MAX_REMEMBERED: Final = 4096
_MAX_REMEMBERED_BYTES: Final = 512


class Meta(NamedTuple):
    """What a message carries besides its body.

    `exchange` and `routing_key` are what it was published with, or, for a dead letter, what it was dead-lettered
    with. `dead_lettered`: the broker wrote the x-death header; otherwise it is the publisher's and means nothing.
    `blind_copies`: the keys of the header BCC, which nobody sees any more, but dead letters are routed by them, too.
    """

    exchange: str
    routing_key: str
    properties: Properties
    dead_lettered: bool = False
    blind_copies: tuple[str, ...] = ()


def pack_meta(
    exchange: str,
    routing_key: str,
    properties: Properties,
    *,
    dead_lettered: bool = False,
    blind_copies: tuple[str, ...] = (),
) -> bytes:
    """Return the bytes of a message's metadata.

    The headers are checked once more, for they may have changed since the `Properties` were made: raises
    `InvalidTypeError` or `InvalidOptionError` as `check_headers` does. All else is trusted.
    """
    if properties[1:] == _NOTHING_BUT_DELIVERY_MODE and not dead_lettered and not blind_copies:
        return pack((exchange, routing_key, properties.delivery_mode))
    meta = Meta(exchange, routing_key, properties, dead_lettered, blind_copies)
    if properties.headers is None or is_flat(properties.headers):
        try:
            return pack(_stored(meta))
        except (OverflowError, UnicodeEncodeError):
            pass  # One of the headers: the check says which.
    return pack(_stored(meta._replace(properties=properties.replace(headers=properties.headers))))


def _stored(meta: Meta) -> tuple[Any, ...]:
    exchange, routing_key, properties, dead_lettered, blind_copies = meta
    if blind_copies:
        return (exchange, routing_key, *properties, dead_lettered, *blind_copies)
    if dead_lettered:
        return (exchange, routing_key, *properties, True)
    end = len(properties)
    while properties[end - 1] is None:
        end -= 1
    return (exchange, routing_key, *properties[:end])


def _unpack(data: bytes) -> Meta:
    try:
        exchange, routing_key, *values = unpack(data)
        missing = len(_NOTHING) - len(values)
        if missing < 0:
            return _with_more(exchange, routing_key, values)
        return Meta(exchange, routing_key, Properties._make((*values, *_NOTHING[:missing])))
    except DecodeError:
        raise
    except (TypeError, ValueError) as error:  # too many of them, too few, or nothing like it
        raise DecodeError("the metadata of a message makes no sense") from error


def _with_more(exchange: str, routing_key: str, values: list[Any]) -> Meta:
    own = len(_NOTHING)
    dead_lettered, *blind_copies = values[own:]
    if type(dead_lettered) is not bool or not all(type(key) is str for key in blind_copies):
        raise TypeError("what follows the properties")
    return Meta(exchange, routing_key, Properties._make(values[:own]), dead_lettered, tuple(blind_copies))


class _Remembered(dict[bytes, Meta]):
    """Metadata by its bytes; what is missing is unpacked, and kept if other messages are likely to have the same."""

    def __missing__(self, data: bytes) -> Meta:
        meta = _unpack(data)
        properties = meta.properties
        if (
            len(data) <= _MAX_REMEMBERED_BYTES
            and properties.headers is None
            and properties.message_id is None
            and properties.correlation_id is None
            and properties.timestamp is None
        ):
            # Emptied as a whole when it is full: what is in use is back at once, and a lookup stays one step of C.
            if len(self) >= _MAX_REMEMBERED:
                self.clear()
            self[data] = meta
        return meta


# Returns the metadata that `pack_meta` made bytes of. Its headers, if any, belong to the caller.
unpack_meta: Final[Callable[[bytes], Meta]] = _Remembered().__getitem__

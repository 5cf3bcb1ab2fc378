"""AMQP field values in JSON, and back: each in its exact type.

    JSON                              stands for
    null, true, false, string, list   themselves; int and float as JSON tells them apart
    {"table": {...}}                  a dict
    {"base64": "..."}                 bytes
    {"decimal": "..."}                a Decimal
    {"datetime": ["...", offset]}     a datetime in ISO format, its offset from UTC in microseconds or null
    {"float": "..."}                  a float that JSON has no number for: nan, inf, -inf

Pure; imported by the broker.
"""

import base64
import binascii
import math
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from msglog.errors import DecodeError

_MICROSECOND: Final = timedelta(microseconds=1)


def pack_field(value: Any) -> Any:
    """Return a checked field value as JSON can hold it."""
    packer = _PACKERS.get(type(value))
    return value if packer is None else packer(value)


def _pack_datetime(value: datetime) -> dict[str, Any]:
    offset = value.utcoffset()
    text = value.replace(tzinfo=None).isoformat()
    return {"datetime": [text, None if offset is None else offset // _MICROSECOND]}


def pack_fields(table: dict[str, Any]) -> dict[str, Any]:
    """Return a table as JSON can hold it."""
    return {name: pack_field(value) for name, value in table.items()}


_PACKERS: Final[dict[type, Callable[[Any], Any]]] = {
    float: lambda value: value if math.isfinite(value) else {"float": repr(value)},
    bytes: lambda value: {"base64": base64.b64encode(value).decode()},
    Decimal: lambda value: {"decimal": str(value)},
    datetime: _pack_datetime,
    dict: lambda value: {"table": pack_fields(value)},
    list: lambda value: [pack_field(item) for item in value],
}


def unpack_field(value: Any) -> Any:
    """Read a field value back. Raises `DecodeError`."""
    if isinstance(value, list):
        return [unpack_field(item) for item in value]
    if not isinstance(value, dict):
        return value
    try:
        ((kind, contents),) = value.items()
        return _KINDS[kind](contents)
    except (KeyError, ValueError, TypeError, OverflowError, AttributeError, InvalidOperation, binascii.Error) as error:
        raise DecodeError(f"an object in a table must have one of the keys {', '.join(_KINDS)}") from error


def unpack_fields(table: dict[str, Any]) -> dict[str, Any]:
    """Read a table back. Raises `DecodeError`."""
    return {name: unpack_field(value) for name, value in table.items()}


def _unpack_datetime(contents: Any) -> datetime:
    text, offset = contents
    zone = None if offset is None else timezone(offset * _MICROSECOND)
    return datetime.fromisoformat(text).replace(tzinfo=zone)


_KINDS: Final[dict[str, Callable[[Any], Any]]] = {
    "table": unpack_fields,
    "base64": lambda contents: base64.b64decode(contents, validate=True),
    "decimal": Decimal,
    "datetime": _unpack_datetime,
    "float": float,
}

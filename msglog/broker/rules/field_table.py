"""AMQP field tables: which values headers and arguments may hold, and their bytes.

The bytes are msgpack with two extension types, and give back every value in its exact type: bool is not int,
bytes are not str, decimals keep their exponent, datetimes their microseconds and offset. What is given is checked
and copied before it is kept. Errors name the field and tell types and sizes, never values. Imported by the
broker's values and rules; imports `errors` and `checks` only.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from types import UnionType
from typing import Any, Final, cast

import msgpack

from msglog.checks import wrong_payload
from msglog.errors import DecodeError, InvalidOptionError

MAX_SHORT_BYTES: Final = 255
_MAX_CHARACTER_BYTES: Final = 4
# As many characters fit into a short string whatever they are: no need to encode them to know.
SURELY_SHORT: Final = MAX_SHORT_BYTES // _MAX_CHARACTER_BYTES
MAX_DEPTH: Final = 64

_LEAST_INT: Final = -(1 << 63)
_MOST_INT: Final = (1 << 64) - 1
_MOST_INT32: Final = (1 << 31) - 1
# Values of exactly these types need no look and no copy.
_ATOMS: Final = frozenset({type(None), bool, float, bytes})
_FLAT: Final = _ATOMS | {int, str}
_NAMES: Final = frozenset({str})
_ALLOWED: Final = "None, bool, int, float, Decimal, str, bytes, datetime, a list or a dict"

_DATETIME: Final = 1
_MICROSECOND: Final = timedelta(microseconds=1)
_DECIMAL: Final = 2


def check_headers(headers: object, option: str = "headers") -> dict[str, Any]:
    """Return a copy of `headers`, nested lists and dicts included, in AMQP's types.

    Names are str of at most 255 bytes. Values are None, bool, int from -2**63 to 2**64-1, float, Decimal, str, bytes,
    datetime, and lists and dicts of these up to 64 deep; tuples become lists, instances of subclasses their plain
    type. Raises `InvalidTypeError` or `InvalidOptionError`, which name the field by its path from `option`.
    """
    if not isinstance(headers, Mapping):
        raise wrong_payload(option, headers, "a dict of names and values")
    return _checked_table(headers, option, 0)


def pack_table(table: Mapping[str, Any]) -> bytes:
    """Return the bytes of a table. Raises what `check_headers` raises when it is not one."""
    return pack(check_headers(table, "arguments"))


def unpack_table(data: bytes) -> dict[str, Any]:
    """Return a new table from the bytes of `pack_table`. Raises `DecodeError` for others."""
    table = unpack(data)
    if type(table) is not dict:
        raise DecodeError(f"a table that is {type(table).__name__}")
    return cast(dict[str, Any], table)


def is_flat(table: object) -> bool:
    """Whether `table` is a dict of short names and plain values, by their types alone; False says nothing.

    Numbers may yet be too large and texts not fit UTF-8, which `pack` finds by itself.
    """
    return (
        type(table) is dict
        and _FLAT.issuperset(map(type, table.values()))
        and _NAMES.issuperset(map(type, table))
        and max(map(len, table), default=0) <= SURELY_SHORT
    )


def pack(value: object) -> bytes:
    """Return the bytes of checked values, or of a flat table's.

    Raises `OverflowError` or `UnicodeEncodeError` for the value of a flat table that a check would have refused.
    """
    return msgpack.packb(value, default=_pack_special)


def unpack(data: bytes) -> Any:
    """Return new values from the bytes of `pack`. Raises `DecodeError` for others."""
    try:
        return msgpack.unpackb(data, ext_hook=_unpack_special)
    except (ValueError, TypeError, ArithmeticError, msgpack.UnpackException) as error:
        raise DecodeError(f"values that are not as they were packed: {type(error).__name__}") from error


def field_type(value: object) -> str:
    """Return RabbitMQ's name for the type in which a client sends `value`."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "signedint" if -_MOST_INT32 - 1 <= value <= _MOST_INT32 else "long"
    for kind, name in _TYPE_NAMES:
        if isinstance(value, kind):
            return name
    return "void"


_TYPE_NAMES: Final[tuple[tuple[type, str], ...]] = (
    (str, "longstr"),
    (float, "double"),
    (Decimal, "decimal"),
    (bytes, "binary"),
    (datetime, "timestamp"),
    (list, "array"),
    (dict, "table"),
)


def _checked_table(table: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
    result = {}
    for name, value in table.items():
        plain = name
        # The common case in one look: the errors and conversions are the other branch's.
        if type(name) is not str or len(name) > SURELY_SHORT or not name.isascii():
            plain = _checked_name(name, path)
        kind = type(value)
        if kind in _ATOMS or (kind is str and value.isascii()):
            result[plain] = value
        else:
            result[plain] = _checked(value, f"{path}[{plain!r}]", depth)
    return result


def _checked_name(name: object, path: str) -> str:
    if not isinstance(name, str):
        raise wrong_payload(f"a name in {path}", name, "a str")
    if utf8_length(name) > MAX_SHORT_BYTES:
        raise _refusal(f"a name in {path}", f"UTF-8 of at most {MAX_SHORT_BYTES} bytes", name)
    return str.__str__(name)


def _checked(value: object, path: str, depth: int) -> Any:
    """Return the value in a plain type."""
    if value is None or isinstance(value, bool):
        return value
    for kind, check in _CHECKS:
        if isinstance(value, kind):
            return check(value, path, depth)
    raise wrong_payload(path, value, _ALLOWED)


def _checked_text(value: str, path: str, _depth: int) -> str:
    if utf8_length(value) > _MAX_CHARACTER_BYTES * len(value):
        raise _refusal(path, "text that UTF-8 can hold", value)
    return str.__str__(value)


def _checked_int(value: int, path: str, _depth: int) -> int:
    if not _LEAST_INT <= value <= _MOST_INT:
        raise _refusal(path, "an int from -2**63 to 2**64-1", value)
    return int(value)


def _checked_dict(value: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
    _check_depth(path, depth)
    return _checked_table(value, path, depth + 1)


def _checked_list(value: Sequence[Any], path: str, depth: int) -> list[Any]:
    _check_depth(path, depth)
    return [_checked(item, f"{path}[{number}]", depth + 1) for number, item in enumerate(value)]


def _checked_datetime(value: datetime, _path: str, _depth: int) -> datetime:
    return value if type(value) is datetime else datetime.combine(value.date(), value.timetz())


def _check_depth(path: str, depth: int) -> None:
    if depth >= MAX_DEPTH:
        allowed = f"lists and dicts up to {MAX_DEPTH} deep"
        option = path.partition("[")[0]
        message = f"{option} is nested too deep; allowed: {allowed}"
        raise InvalidOptionError(message, option=option, given=f"more than {MAX_DEPTH}", allowed=allowed)


# The first type that fits decides. None and bool are dealt with before: a bool is an int to isinstance.
_CHECKS: Final[tuple[tuple[type | UnionType, Callable[[Any, str, int], Any]], ...]] = (
    (str, _checked_text),
    (int, _checked_int),
    (float, lambda value, _path, _depth: float(value)),
    (bytes | bytearray | memoryview, lambda value, _path, _depth: bytes(value)),
    (Mapping, _checked_dict),
    (list | tuple, _checked_list),
    (datetime, _checked_datetime),
    (Decimal, lambda value, _path, _depth: Decimal(value)),
)


def utf8_length(text: str) -> int:
    """Return the bytes of `text` in UTF-8, more than any text can have when it cannot be encoded."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return _MAX_CHARACTER_BYTES * len(text) + MAX_SHORT_BYTES + 1


def _refusal(path: str, allowed: str, given: object) -> InvalidOptionError:
    shown = f"an int of {given.bit_length()} bits" if isinstance(given, int) else f"a {type(given).__name__}"
    return InvalidOptionError(f"{path} must be {allowed}, not {shown}", option=path, given=shown, allowed=allowed)


def _pack_special(value: object) -> msgpack.ExtType:
    if isinstance(value, datetime):
        text = value.replace(tzinfo=None).isoformat()
        offset = value.utcoffset()
        if offset is not None:
            # On its own: `fromisoformat` takes an offset of less than a second for none.
            text += f" {offset // _MICROSECOND}"
        return msgpack.ExtType(_DATETIME, text.encode())
    if isinstance(value, Decimal):
        return msgpack.ExtType(_DECIMAL, str(value).encode())
    raise OverflowError("an int too large")  # What was not checked is flat, and of its types only an int gets here.


def _unpack_special(code: int, data: bytes) -> datetime | Decimal:
    text = data.decode()
    if code == _DECIMAL:
        return Decimal(text)
    if code != _DATETIME:
        raise ValueError(f"an extension of type {code}")
    time, _, offset = text.partition(" ")
    return datetime.fromisoformat(time).replace(tzinfo=timezone(int(offset) * _MICROSECOND) if offset else None)

"""From objects to bytes and back: what typed views of topics and queues are made with.

A codec is anything with `encode` and `decode`. Invariants: what leaves a `SafeCodec` is bytes, or an `EncodeError`
before anything is written; what comes in is an object, or a `DecodeError` to which the caller adds whose bytes they
were. Knows neither records nor messages. Imported by both models; the codecs are exported by `msglog`.
"""

import json
from collections.abc import Callable
from importlib import import_module
from inspect import iscoroutinefunction
from typing import Any, Final, Generic, NoReturn, Protocol, TypeVar, overload, runtime_checkable

import msgpack

from msglog.checks import wrong_type
from msglog.errors import DecodeError, EncodeError, InvalidOptionError

T = TypeVar("T")

_MANY: Final = {"key": "keys", "value": "values", "body": "bodies"}
ENCODES: Final = "an object that the codec encodes"
_DATETIMES: Final = 3  # how msgpack gives times back: as aware datetimes


@runtime_checkable
class Codec(Protocol[T]):
    """Turns objects into bytes, and those bytes into equal objects again.

    Both methods may raise any `Exception`: a view raises `EncodeError` or `DecodeError` from it. They are called by all
    threads that use a view. Optional attributes: `content_type`, a str, becomes the property of published messages;
    `name`, a str, is how errors call the codec. None never reaches the codec of a topic: as a key it is no key, as a
    value a tombstone.
    """

    def encode(self, obj: T, /) -> bytes:
        """Return an object's bytes."""

    def decode(self, data: bytes, /) -> T:
        """Return the object that these bytes stand for."""


class _Bytes:
    """Bytes as they are."""

    name = "BYTES"

    def encode(self, obj: bytes, /) -> bytes:
        """Return them as they are."""
        return obj

    def decode(self, data: bytes, /) -> bytes:
        """Return them as they are."""
        return data

    def __repr__(self) -> str:
        return f"msglog.{self.name}"


class _Text:
    """A str, as UTF-8."""

    name = "TEXT"
    content_type = "text/plain"

    def encode(self, obj: str, /) -> bytes:
        """Return the UTF-8 of a str. Raises `UnicodeEncodeError` for one that has none."""
        return obj.encode()

    def decode(self, data: bytes, /) -> str:
        """Return the str. Raises `UnicodeDecodeError`."""
        return data.decode()

    def __repr__(self) -> str:
        return f"msglog.{self.name}"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


class _Json:
    """JSON by the standard library: compact, in UTF-8, without the NaN and Infinity that JSON does not know."""

    name = "JSON"
    content_type = "application/json"

    def __init__(self) -> None:
        self._dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
        self._loads = json.JSONDecoder(parse_constant=_refuse_constant).decode

    def encode(self, obj: Any, /) -> bytes:
        """Return the JSON of dicts, lists, str, int, float, bool and None. Raises `TypeError`, `ValueError`."""
        return self._dumps(obj).encode()

    def decode(self, data: bytes, /) -> Any:
        """Return what the JSON says. Raises `ValueError`."""
        return self._loads(data.decode())

    def __repr__(self) -> str:
        return f"msglog.{self.name}"


class _Msgpack:
    """MessagePack: what JSON knows, and bytes, keys that are no str, and aware datetimes, which come back in UTC."""

    name = "MSGPACK"
    content_type = "application/x-msgpack"  # by this name other clients of RabbitMQ know it

    def encode(self, obj: Any, /) -> bytes:
        """Return the bytes of an object. Raises `TypeError`, `ValueError`, `OverflowError`."""
        packed: bytes = msgpack.packb(obj, datetime=True)
        return packed

    def decode(self, data: bytes, /) -> Any:
        """Return the object. Raises `ValueError` and what else msgpack raises."""
        return msgpack.unpackb(data, timestamp=_DATETIMES, strict_map_key=False)

    def __repr__(self) -> str:
        return f"msglog.{self.name}"


BYTES: Final[Codec[bytes]] = _Bytes()
"""Bytes as they are: what a view has where no codec is given."""

TEXT: Final[Codec[str]] = _Text()
"""A str, as UTF-8."""

JSON: Final[Codec[Any]] = _Json()
"""Whatever JSON knows, by the standard library. Tuples come back as lists, keys of dicts as str."""

MSGPACK: Final[Codec[Any]] = _Msgpack()
"""Whatever MessagePack knows: JSON's types, bytes, and aware datetimes. Tuples come back as lists."""


class _Structured(Generic[T]):
    """A type by `msgspec`: what is decoded is checked against it, and so is what is encoded.

    That by reading it back: in C it costs no more than a check of fields in Python, and misses nothing, not even a NaN
    that JSON makes null of.
    """

    def __init__(self, kind: Any, encode: Callable[[Any], bytes], decode: Callable[[bytes], T], how: str) -> None:
        self.name = f"{how}_of({kind.__name__ if isinstance(kind, type) else kind})"
        self.content_type = _CONTENT_TYPES[how]
        self.decode = decode
        self._encode = encode
        # A class with fields: an object of another one would be written, and could never be read.
        self._kind = kind if isinstance(kind, type) and hasattr(kind, "__match_args__") else object

    def encode(self, obj: T, /) -> bytes:
        """Return the bytes of an object. Raises `TypeError` for one of another class, `ValueError` for its fields."""
        if not isinstance(obj, self._kind):
            raise TypeError(f"expected {self._kind.__name__}, got {type(obj).__name__}")
        data = self._encode(obj)
        self.decode(data)
        return data

    def __repr__(self) -> str:
        return f"msglog.{self.name}"


_CONTENT_TYPES: Final = {"json": _Json.content_type, "msgpack": _Msgpack.content_type}


@overload
def json_of(kind: type[T], /) -> Codec[T]: ...
@overload
def json_of(kind: Any, /) -> Codec[Any]: ...
def json_of(kind: Any, /) -> Codec[Any]:
    """Return a codec that writes objects of a type as JSON, and checks what it reads and writes against the type.

    `kind`: a dataclass, a `msgspec.Struct`, an attrs class, a NamedTuple or TypedDict, or `list[Order]`, `A | B` and
    the like, with fields of these types or str, int, float, bool, bytes, datetime, date, time, timedelta, Decimal,
    UUID, enums, list, dict, set, tuple, Literal, Optional. Fields that a class does not know are passed over; those
    that are missing take their default. What is written is read back at once, so a field of a wrong type is refused
    before it can spoil a topic; a `__post_init__` runs then, too. Needs the extra `msglog[msgspec]`. For type checkers
    say what a union makes: `EVENT: Codec[A | B] = json_of(A | B)`.

    Raises `InvalidOptionError` without the extra, `InvalidTypeError` for a type that msgspec does not take.
    """
    return _structured("json", kind)


@overload
def msgpack_of(kind: type[T], /) -> Codec[T]: ...
@overload
def msgpack_of(kind: Any, /) -> Codec[Any]: ...
def msgpack_of(kind: Any, /) -> Codec[Any]:
    """Return a codec that writes objects of a type as MessagePack: smaller and faster than `json_of`, else the same."""
    return _structured("msgpack", kind)


def _structured(how: str, kind: Any) -> Codec[Any]:
    try:
        module = import_module(f"msgspec.{how}")
    except ImportError as error:
        raise InvalidOptionError(
            f"{how}_of needs an extra: pip install 'msglog[msgspec]'",
            option="kind",
            given=f"{how}_of",
            allowed="with msgspec installed",
        ) from error
    try:
        decoder = module.Decoder(kind)
    except (TypeError, ValueError, NameError) as error:
        raise wrong_type("kind", kind, f"a type that msgspec takes ({error})") from error
    return _Structured(kind, module.Encoder().encode, decoder.decode, how)


class SafeCodec(Generic[T]):
    """A codec of whoever's making, held to its promises; `part` is what it is for: "key", "value" or "body".

    Not public. Raises `InvalidTypeError` for what is no codec.
    """

    def __init__(self, part: str, codec: Codec[T]) -> None:
        if isinstance(codec, type) or not isinstance(codec, Codec):
            raise wrong_type(part, codec, "a codec: an object with encode(obj) and decode(data)")
        if iscoroutinefunction(codec.encode) or iscoroutinefunction(codec.decode):
            raise wrong_type(part, codec, "a codec whose encode and decode are plain functions, for asyncio, too")
        content_type = getattr(codec, "content_type", None)
        if content_type is not None and not isinstance(content_type, str):
            raise wrong_type("content_type", content_type, "None or a str")
        self.part = part
        self.codec = codec
        self.name = str(getattr(codec, "name", type(codec).__name__))
        self.content_type: str | None = content_type
        self._encode = codec.encode
        # Returns the object of some bytes; raises what the codec raises.
        self.decode = codec.decode

    def encode(self, obj: T, place: int | None = None) -> bytes:
        """Return an object's bytes. `place`: which one of many it is. Raises `EncodeError`."""
        try:
            data = self._encode(obj)
        except MemoryError:
            raise
        except Exception as error:
            raise self._encode_error(obj, place, type(error).__name__) from error
        if not isinstance(data, bytes):
            raise self._encode_error(obj, place, f"it made a {type(data).__name__}")
        return data

    def refusal(self, data: bytes, error: Exception, where: str, **whose: Any) -> DecodeError:
        """Return the error for what `decode` raised. `where` says in words whose bytes they are, `whose` carries it."""
        what = f"the {self.part} of {where} ({len(data)} bytes)"
        text = f"{what} does not decode with {self.name}: {type(error).__name__}"
        return DecodeError(text, part=self.part, codec=self.name, **whose)

    def _encode_error(self, obj: object, place: int | None, reason: str) -> EncodeError:
        option = self.part if place is None else f"{_MANY[self.part]}[{place}]"
        given = f"a {type(obj).__name__}"
        return EncodeError(
            f"{option}: {self.name} does not encode {given}: {reason}",
            option=option,
            given=given,
            allowed=f"{ENCODES}, {self.name}",
            part=self.part,
            codec=self.name,
        )


def told(function: Callable[[DecodeError], object], error: DecodeError) -> object:
    """Call what was given as `on_decode_error`. A `StopIteration` that it raises must not pass for the end of reading.

    Not public. Raises what it raises, and `RuntimeError` for that, as Python does for generators.
    """
    try:
        return function(error)
    except StopIteration as stop:
        raise RuntimeError("on_decode_error raised StopIteration") from stop

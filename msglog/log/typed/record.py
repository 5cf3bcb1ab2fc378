"""Records with objects in them, and the step between them and bytes.

Pure: `RecordCodec` takes records and gives records, whoever reads or appends them, in whatever manner they wait.
Exported by `msglog` (`TypedRecord`); imported by the typed views.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

from msglog.checks import check_handler, check_ran, wrong_type
from msglog.codecs import Codec, SafeCodec, told
from msglog.errors import DecodeError
from msglog.log.arguments import as_sequence
from msglog.log.records import fields_of
from msglog.log.share.record import ShareRecord
from msglog.types import Headers, Record

logger = logging.getLogger("msglog.typed")

K = TypeVar("K")
V = TypeVar("V")

OnDecodeError = Literal["raise", "skip"] | Callable[[DecodeError], object]
"""What becomes of a record whose bytes do not decode: see `Log.topic`."""

_ON_DECODE_ERROR: Final = "'raise', 'skip' or a callable that takes a DecodeError"


class TypedRecord(NamedTuple, Generic[K, V]):
    """A record of a typed topic: `key` and `value` are objects, None where the record has none.

    `raw`: the record with the bytes. A `value` of None is a tombstone, unless the codec makes None of some bytes;
    `tombstone` tells. Like the payloads of a `Record`, the objects are never shown by `repr`.
    """

    key: K | None
    value: V | None
    raw: Record

    @property
    def topic(self) -> str:
        """The topic."""
        return self.raw.topic

    @property
    def partition(self) -> int:
        """The partition."""
        return self.raw.partition

    @property
    def offset(self) -> int:
        """The offset."""
        return self.raw.offset

    @property
    def timestamp_ms(self) -> int:
        """The producer's time or the append time, as the topic says."""
        return self.raw.timestamp_ms

    @property
    def headers(self) -> Headers:
        """The headers, as bytes."""
        return self.raw.headers

    @property
    def tombstone(self) -> bool:
        """Whether the record has no value."""
        return self.raw.value is None

    def __repr__(self) -> str:
        return f"Typed{self.raw!r}"


class RecordCodec(Generic[K, V]):
    """The codecs of a topic's keys and values, and what is done with records that they do not decode.

    `awaited`: whoever reads awaits what a callable returns, if it can be awaited. Raises `InvalidTypeError` for what
    is no codec and for an `on_decode_error` that is not known.
    """

    def __init__(
        self, key: Codec[K], value: Codec[V], on_decode_error: OnDecodeError, *, awaited: bool = False
    ) -> None:
        self._key = SafeCodec("key", key)
        self._value = SafeCodec("value", value)
        if callable(on_decode_error):
            check_handler("on_decode_error", on_decode_error, "a DecodeError", awaited=awaited)
        elif on_decode_error not in ("raise", "skip"):
            raise wrong_type("on_decode_error", on_decode_error, _ON_DECODE_ERROR)
        self.on_decode_error: OnDecodeError = on_decode_error

    @property
    def names(self) -> str:
        """The codecs by name, for a `repr`."""
        return f"key={self._key.name} value={self._value.name}"

    # To bytes

    def encode_key(self, key: K | None) -> bytes | None:
        """Return the bytes of a key, None for none. Raises `EncodeError`."""
        return None if key is None else self._key.encode(key)

    def encode_value(self, value: V | None) -> bytes | None:
        """Return the bytes of a value, None for a tombstone. Raises `EncodeError`."""
        return None if value is None else self._value.encode(value)

    def encode_keys(self, keys: Iterable[K | None] | None) -> list[bytes | None] | None:
        """Return the bytes of keys, None for None. Raises `EncodeError`, which says for which, `InvalidTypeError`."""
        return None if keys is None else _encode_all("keys", self._key, keys)

    def encode_values(self, values: Iterable[V | None]) -> list[bytes | None]:
        """Return the bytes of values. Raises `EncodeError`, which says for which, `InvalidTypeError`."""
        return _encode_all("values", self._value, values)

    # To objects

    def decode(self, record: Record) -> TypedRecord[K, V]:
        """Return a record with objects. Raises `DecodeError`, whatever is done with those elsewhere."""
        key = value = None
        part: SafeCodec[Any] = self._key
        data = record.key
        try:
            if data is not None:
                key = self._key.decode(data)
            part, data = self._value, record.value
            if data is not None:
                value = self._value.decode(data)
        except MemoryError:
            raise
        except Exception as error:
            where = f"topic {record.topic!r} partition {record.partition} offset {record.offset}"
            raise part.refusal(data or b"", error, where, raw=record, record=record) from error
        return tuple.__new__(TypedRecord, (key, value, record))

    def tell(self, error: DecodeError) -> object:
        """Tell of a record that does not decode; return what the user's callable does, if there is one.

        Raises the error itself, or what that raises; else the record is to be left out (`leave_out`).
        """
        if self.on_decode_error == "raise":
            raise error
        if callable(self.on_decode_error):
            return told(self.on_decode_error, error)
        record = error.record
        logger.warning(
            "left out: %s",
            error,
            exc_info=error,
            extra={"event": "not_decoded", **({} if record is None else fields_of(record))},
        )
        return None

    @staticmethod
    def leave_out(error: DecodeError) -> None:
        """Be done with a record that was told of: one of a share group is rejected."""
        record = error.record
        if isinstance(record, ShareRecord) and record.pending:
            record.reject()

    def decode_or_handle(self, record: Record) -> TypedRecord[K, V] | None:
        """Return a record with objects, None for one that is left out. Raises as `tell` does."""
        try:
            return self.decode(record)
        except DecodeError as error:
            check_ran("on_decode_error", self.tell(error))
            self.leave_out(error)
            return None

    def iterate(self, records: Iterator[Record]) -> Iterator[TypedRecord[K, V]]:
        """Return an iterator over records with objects, without those that are left out.

        One that has raised goes on with the next record, as `map` and `filter` do: a generator would be at its end.
        """
        if self.on_decode_error == "raise":
            return map(self.decode, records)
        return filter(None, map(self.decode_or_handle, records))

    def callback(self, function: Callable[[TypedRecord[K, V]], object]) -> Callable[[Record], object]:
        """Return a callback for records that calls one for records with objects."""
        check_handler("callback", function, "a record")
        return partial(self._call, function)

    def _call(self, function: Callable[[TypedRecord[K, V]], object], record: Record) -> object:
        decoded = self.decode_or_handle(record)
        return None if decoded is None else function(decoded)


def _encode_all(option: str, codec: SafeCodec[Any], objects: Iterable[Any]) -> list[bytes | None]:
    column = as_sequence(option, objects, "an iterable of objects or None")
    return [None if obj is None else codec.encode(obj, place) for place, obj in enumerate(column)]

"""The frame: a batch of records in columns, the unit on disk. This file is the whole format, for writers and readers.

    position  size  field
    0         4     crc           CRC-32C of all that follows, body included, seeded with the file's seed
    4         2     magic         0x4C4D ("ML")
    6         1     version       1
    7         1     codec         0 none, 1 zlib, 2 zstd, 3 lz4: of the body
    8         2     flags         which columns the body has, see `Flag`
    10        2     reserved      0
    12        4     length        bytes of the body
    16        4     count         records, at least 1
    20        4     span          offsets covered, at least count (more after compaction)
    24        8     base_offset   of the first record
    32        8     timestamp     milliseconds, signed: of all records, or the base of the timestamp column
    40        8     max_timestamp the largest one
    48        8     commit        store-wide number of the commit the frame belongs to
    56        4     life          number of the opening for writing that made the commit
    60        4     frames        frames in that commit, over all streams
    64        8     value_total   bytes of values in the stream before this frame
    72        -     body          columns, each only if its flag says so, then the bytes:
                                  value lengths u32[count] (absent: UNIFORM), key lengths u32[count] (one: SAME_KEY),
                                  header lengths u32[count], timestamp deltas i64[count], offset deltas u32[count],
                                  keys, headers (msgpack), values. A length of 0xFFFFFFFF is None.
                                  Compressed: u32 size of the columns and bytes, then their compressed form.

Everything is little-endian. Pure functions: no files, no clock. Imported by the rest of the storage layer.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Final

import msgpack

from msglog.checksum import crc32c
from msglog.errors import TransactionTooLargeError
from msglog.storage.codecs import CODEC_IDS, codec_named, codec_numbered
from msglog.types import Headers

MAGIC = 0x4C4D
VERSION = 1
HEADER_SIZE = 72
NULL = 0xFFFFFFFF
MAX_BODY_BYTES = 1 << 30
# Records without a byte of their own take none in the file, and a place in memory each.
MAX_RECORDS = 1 << 24

CRC = struct.Struct("<I")
# magic, version, codec, flags and the reserved field travel as one integer, `kind`: it halves the cost of packing.
REST = struct.Struct("<QIIIQqqQIIQ")
HEADER = struct.Struct("<IQIIIQqqQIIQ")
# The same bytes for a frame of one record. What never changes from one to the next is bytes already, which pack in half
# the time that integers take: kind; count and span; the two timestamps, equal and packed by `STAMPS`; life and frames.
REST_OF_ONE = struct.Struct("<8sI8sQ16sQ8sQ")
ONE_RECORD = 1 | 1 << 32
PACKED_ONE_RECORD = ONE_RECORD.to_bytes(8, "little")
STAMPS = struct.Struct("<qq")
LIFE_OF_ONE = struct.Struct("<II")


class Flag:
    """Which columns a body has. Plain integers: combining members of an enumeration takes longer than packing."""

    KEYS: Final = 1
    SAME_KEY: Final = 2
    HEADERS: Final = 4
    TIMESTAMPS: Final = 8
    OFFSETS: Final = 16
    UNIFORM: Final = 32
    APPEND_TIME: Final = 64


def kind_of(flags: int, codec: int = 0) -> int:
    """Return the header's first eight bytes after the checksum as one integer."""
    return MAGIC | VERSION << 16 | codec << 24 | flags << 32


KIND_PLAIN = kind_of(Flag.UNIFORM)
KIND_KEYED = kind_of(Flag.UNIFORM | Flag.KEYS)
KIND_UNEVEN = kind_of(0)
# The columns of lengths of a few records: making the format takes as long as packing them.
_LENGTHS = tuple(struct.Struct(f"<{count}I") for count in range(9))
PACKED_PLAIN = KIND_PLAIN.to_bytes(8, "little")
PACKED_KEYED = KIND_KEYED.to_bytes(8, "little")
MAGIC_AND_VERSION = MAGIC | VERSION << 16
_UNIFORM_STRUCT_MAX = 2048


class Body:
    """The columns of one batch, packed and ready: all of a frame that does not depend on its place."""

    __slots__ = ("count", "data", "kind", "max_timestamp_ms", "span", "timestamp_ms", "value_bytes")

    def __init__(
        self,
        data: bytes,
        count: int,
        span: int,
        kind: int,
        timestamp_ms: int,
        max_timestamp_ms: int,
        value_bytes: int,
    ) -> None:
        self.data = data
        self.count = count
        self.span = span
        self.kind = kind
        self.timestamp_ms = timestamp_ms
        self.max_timestamp_ms = max_timestamp_ms
        self.value_bytes = value_bytes

    @property
    def append_time(self) -> bool:
        """Whether the records have the time of appending: `stamp` sets it when they get their places."""
        return bool(self.kind >> 32 & Flag.APPEND_TIME)

    @property
    def size(self) -> int:
        """Bytes of the frame on disk."""
        return HEADER_SIZE + len(self.data)

    def stamp(self, timestamp_ms: int) -> None:
        """Set the append time of all records."""
        self.timestamp_ms = self.max_timestamp_ms = timestamp_ms


def header_of(body: Body, seed: int, base_offset: int, commit: int, life: int, frames: int, value_total: int) -> bytes:
    """Return the 72 bytes that go before the body, checksum included."""
    rest = REST.pack(
        body.kind,
        len(body.data),
        body.count,
        body.span,
        base_offset,
        body.timestamp_ms,
        body.max_timestamp_ms,
        commit,
        life,
        frames,
        value_total,
    )
    return CRC.pack(crc32c(body.data, crc32c(rest, seed))) + rest


def encode_body(
    values: Sequence[bytes | None],
    timestamp_ms: int,
    *,
    keys: Sequence[bytes | None] | None = None,
    key: bytes | None = None,
    headers: Sequence[Headers] | None = None,
    timestamps: Sequence[int] | None = None,
    offsets: Sequence[int] | None = None,
    span: int | None = None,
    append_time: bool = False,
    codec: str | None = None,
) -> Body:
    """Pack a batch into columns.

    `timestamp_ms` holds for all records unless `timestamps` is given; `key` is one key for all, `keys` one for each.
    Raises `TransactionTooLargeError` for more than `MAX_RECORDS` of them.
    `offsets` are relative to the base offset and strictly rising, for batches with gaps; `span` is then how many
    offsets the batch covers. Values and keys must be bytes or None: the caller has checked them.
    """
    count = len(values)
    if count > MAX_RECORDS:
        raise TransactionTooLargeError(
            f"{count} records are more than one batch takes, which is {MAX_RECORDS}", size=count, limit=MAX_RECORDS
        )
    flags = Flag.APPEND_TIME if append_time else 0
    columns: list[bytes] = []
    tail: list[bytes] = []
    lengths, joined = _pack_values(values)
    if lengths is None:
        flags |= Flag.UNIFORM
    else:
        columns.append(lengths)
    if keys is not None or key is not None:
        flags |= Flag.KEYS
        if keys is None:
            flags |= Flag.SAME_KEY
            keys = (key,)
        columns.append(_lengths_of(keys))
        tail.append(b"".join([item for item in keys if item]))
    if headers is not None:
        flags |= Flag.HEADERS
        packed = [msgpack.packb(item) if item else b"" for item in headers]
        columns.append(struct.pack(f"<{count}I", *map(len, packed)))
        tail.extend(packed)
    max_timestamp_ms = timestamp_ms
    if timestamps is not None:
        flags |= Flag.TIMESTAMPS
        timestamp_ms = timestamps[0]
        max_timestamp_ms = max(timestamps)
        columns.append(struct.pack(f"<{count}q", *[stamp - timestamp_ms for stamp in timestamps]))
    if offsets is not None:
        flags |= Flag.OFFSETS
        columns.append(struct.pack(f"<{count}I", *offsets))
    tail.append(joined)
    data = b"".join(columns + tail) if columns or len(tail) > 1 else joined
    if codec is not None:
        data = CRC.pack(len(data)) + codec_named(codec).compress(data)
    return Body(
        data,
        count=count,
        span=count if span is None else span,
        kind=kind_of(flags, CODEC_IDS[codec]),
        timestamp_ms=timestamp_ms,
        max_timestamp_ms=max_timestamp_ms,
        value_bytes=len(joined),
    )


def encode_one(value: bytes, timestamp_ms: int, key: bytes | None = None) -> Body:
    """Pack one record without headers: what `encode_body` returns for it, in a fifth of the time."""
    if key is None:
        return Body(value, 1, 1, KIND_PLAIN, timestamp_ms, timestamp_ms, len(value))  # by name it takes twice as long
    data = CRC.pack(len(key)) + key + value
    return Body(data, 1, 1, KIND_KEYED, timestamp_ms, timestamp_ms, len(value))


def encode_values(values: Sequence[bytes], timestamp_ms: int) -> Body:
    """Pack some values without keys and headers: what `encode_body` returns for them, in half the time."""
    lengths = list(map(len, values))
    count, joined = len(lengths), b"".join(values)
    if lengths.count(lengths[0]) == count:
        return Body(joined, count, count, KIND_PLAIN, timestamp_ms, timestamp_ms, len(joined))
    packed = _LENGTHS[count].pack(*lengths) if count < len(_LENGTHS) else struct.pack(f"<{count}I", *lengths)
    return Body(packed + joined, count, count, KIND_UNEVEN, timestamp_ms, timestamp_ms, len(joined))


def _pack_values(values: Sequence[bytes | None]) -> tuple[bytes | None, bytes]:
    """Return the packed length column, None if all values are as long as the first, and the joined values."""
    try:
        lengths = list(map(len, values))  # type: ignore[arg-type]
        joined = b"".join(values)  # type: ignore[arg-type]
    except TypeError:  # a tombstone is among them
        return _lengths_of(values), b"".join([value for value in values if value])
    first = lengths[0]
    if lengths.count(first) == len(lengths):
        return None, joined
    return struct.pack(f"<{len(lengths)}I", *lengths), joined


def _lengths_of(items: Sequence[bytes | None]) -> bytes:
    return struct.pack(f"<{len(items)}I", *[NULL if item is None else len(item) for item in items])


def value_bytes_of_one(frame: bytes) -> int:
    """Return the size of the value in an uncompressed frame of one record with or without a key."""
    size = len(frame) - HEADER_SIZE
    (kind,) = struct.unpack_from("<Q", frame, CRC.size)
    if kind == KIND_PLAIN:
        return size
    (key_size,) = CRC.unpack_from(frame, HEADER_SIZE)
    return size - CRC.size - int(key_size)


class Frame:
    """The decoded columns of one frame. Lists are as long as `count`; None stands for an absent column."""

    __slots__ = (
        "append_time",
        "base_offset",
        "codec",
        "commit",
        "count",
        "headers",
        "keys",
        "max_timestamp_ms",
        "next_offset",
        "offsets",
        "timestamps",
        "value_total",
        "values",
    )

    base_offset: int
    next_offset: int
    count: int
    commit: int
    codec: int
    append_time: bool
    max_timestamp_ms: int
    value_total: int
    offsets: range | list[int]
    timestamps: int | list[int]
    values: list[bytes | None]
    keys: list[bytes | None] | None
    headers: list[Headers] | None


Latest = tuple[int, int, bytes | None, bytes, int, int]
"""A single record: offset, timestamp, key, value; and of its frame the commit and `value_total`."""


def frame_of_one(
    offset: int, timestamp_ms: int, key: bytes | None, value: bytes, commit: int, value_total: int
) -> Frame:
    """Return the frame of one record without headers from what is in it."""
    frame = Frame()
    frame.base_offset = offset
    frame.next_offset = offset + 1
    frame.count = 1
    frame.commit = commit
    frame.codec = 0
    frame.append_time = False
    frame.max_timestamp_ms = timestamp_ms
    frame.value_total = value_total
    frame.offsets = range(offset, offset + 1)
    frame.timestamps = timestamp_ms
    frame.values = [value]
    frame.keys = None if key is None else [key]
    frame.headers = None
    return frame


class FrameError(Exception):
    """A frame that does not hold together; becomes a `CorruptionError` where path and position are known."""


def decode(raw: bytes, path: str) -> Frame:
    """Decode a frame whose checksum was verified; `raw` is the frame without the four bytes of its checksum.

    Raises `FrameError` when the columns do not fit each other, `UnsupportedFormatError` for a newer version.
    """
    kind, length, count, span, base_offset, timestamp, max_timestamp, commit, _, _, value_total = REST.unpack_from(raw)
    if not 0 < count <= MAX_RECORDS:
        raise FrameError(f"a frame claims {count} records")
    flags = kind >> 32 & 0xFFFF
    frame = Frame()
    frame.base_offset = base_offset
    frame.next_offset = base_offset + span
    frame.count = count
    frame.max_timestamp_ms = max_timestamp
    frame.commit = commit
    frame.value_total = value_total
    frame.append_time = bool(flags & Flag.APPEND_TIME)
    position = REST.size
    frame.codec = codec = kind >> 24 & 0xFF
    if codec:
        raw = _decompress(raw, position, codec, path)
        position = 0
    if flags == Flag.UNIFORM:
        frame.timestamps = timestamp
        frame.keys = frame.headers = None
        frame.offsets = range(base_offset, base_offset + count)
        frame.values = [raw[position:]] if count == 1 else _uniform(raw, position, count)
        return frame
    try:
        _decode_columns(frame, raw, position, flags, timestamp)
    except (struct.error, ValueError, TypeError, msgpack.UnpackException) as error:
        raise FrameError(f"columns of a frame of {length} bytes do not fit: {error}") from error
    return frame


def _decode_columns(frame: Frame, raw: bytes, position: int, flags: int, timestamp: int) -> None:
    count = frame.count
    value_lengths: tuple[int, ...] | None = None
    key_lengths: tuple[int, ...] = ()
    header_lengths: tuple[int, ...] = ()
    if not flags & Flag.UNIFORM:
        value_lengths = struct.unpack_from(f"<{count}I", raw, position)
        position += 4 * count
    if flags & Flag.KEYS:
        keys = 1 if flags & Flag.SAME_KEY else count
        key_lengths = struct.unpack_from(f"<{keys}I", raw, position)
        position += 4 * keys
    if flags & Flag.HEADERS:
        header_lengths = struct.unpack_from(f"<{count}I", raw, position)
        position += 4 * count
    frame.timestamps = timestamp
    if flags & Flag.TIMESTAMPS:
        frame.timestamps = [timestamp + delta for delta in struct.unpack_from(f"<{count}q", raw, position)]
        position += 8 * count
    frame.offsets = range(frame.base_offset, frame.base_offset + count)
    if flags & Flag.OFFSETS:
        frame.offsets = [frame.base_offset + delta for delta in struct.unpack_from(f"<{count}I", raw, position)]
        position += 4 * count
    frame.keys = frame.headers = None
    if flags & Flag.KEYS:
        found, position = _slices(raw, position, key_lengths)
        frame.keys = found * count if flags & Flag.SAME_KEY else found
    if flags & Flag.HEADERS:
        packed, position = _slices(raw, position, header_lengths)
        frame.headers = [msgpack.unpackb(item, use_list=False) if item else () for item in packed]
    if value_lengths is None:
        frame.values = _uniform(raw, position, count)
        return
    frame.values, position = _slices(raw, position, value_lengths)
    if position != len(raw):
        raise ValueError("values end before the frame does")


def _slices(raw: bytes, position: int, lengths: tuple[int, ...]) -> tuple[list[bytes | None], int]:
    if NULL in lengths:
        return _slices_with_nulls(raw, position, lengths)
    bounds = list(accumulate(lengths, initial=position))
    if bounds[-1] > len(raw):
        raise ValueError("a length points beyond the frame")
    return [raw[start:end] for start, end in pairwise(bounds)], bounds[-1]


def _slices_with_nulls(raw: bytes, position: int, lengths: tuple[int, ...]) -> tuple[list[bytes | None], int]:
    found: list[bytes | None] = []
    for length in lengths:
        if length == NULL:
            found.append(None)
            continue
        found.append(raw[position : position + length])
        position += length
    if position > len(raw):
        raise ValueError("a length points beyond the frame")
    return found, position


def _uniform(raw: bytes, position: int, count: int) -> list[bytes | None]:
    size, rest = divmod(len(raw) - position, count)
    if rest:
        raise FrameError(f"{len(raw) - position} bytes do not hold {count} values of one size")
    if not size:
        return [b""] * count
    if count > _UNIFORM_STRUCT_MAX:
        return [raw[start : start + size] for start in range(position, position + size * count, size)]
    return list(_uniform_struct(size, count).unpack_from(raw, position))


@lru_cache(maxsize=32)
def _uniform_struct(size: int, count: int) -> struct.Struct:
    # One unpack call for all values costs a third of slicing them one by one; the bound keeps the cache small.
    return struct.Struct(f"{size}s" * count)


def _decompress(raw: bytes, position: int, codec: int, path: str) -> bytes:
    if len(raw) < position + 4:
        raise FrameError("a compressed frame without its size")
    (size,) = CRC.unpack_from(raw, position)
    if size > MAX_BODY_BYTES:
        raise FrameError(f"a compressed frame claims {size} bytes")
    try:
        data = codec_numbered(codec, path).decompress(raw[position + 4 :], size)
    except Exception as error:
        if type(error).__module__.startswith("msglog"):
            raise
        raise FrameError(f"cannot be decompressed: {error}") from error
    if len(data) != size:
        raise FrameError(f"decompressed to {len(data)} bytes instead of {size}")
    return data

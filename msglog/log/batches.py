"""From arguments to packed batches: all of an append that needs no lock.

A call becomes one `Batch`: records checked, assigned to partitions, cut into frames of bounded size and
packed. It is all or nothing, whatever the number of frames. Imported by `placing`, `appending` and
`producer`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeVar

from msglog.checks import check_integer, refused
from msglog.errors import TransactionTooLargeError
from msglog.log import arguments
from msglog.log.keys.index import Sight
from msglog.log.rules.partitioning import partition_for_key
from msglog.log.topic import Topic
from msglog.storage import Body, encode_body, encode_one
from msglog.storage.options import MAX_COMMIT_BYTES
from msglog.types import Headers, RecordMetadata

T = TypeVar("T")

NO_RECORD: Final = -1
"""What stands for the offset of a key's last record when the key has none."""
FRAME_RECORDS: Final = 10_000
FRAME_BYTES: Final = 4 << 20


@dataclass(slots=True)
class Batch:
    """The packed records of one call: `pieces` are (partition, body) in the order of writing.

    `keys` has one key, or those of all records, for each piece, and `places` which of the call's records these are.
    `timestamps` are those given for each record, None where a piece has one for all. `digest` and `sight` are what
    `placing` found out about the key that is expected to have its last record at `expected_key_offset`. `plain`: one
    record that has its time and expects nothing, so that there is nothing to find out.
    """

    topic: Topic
    count: int
    pieces: list[tuple[int, Body]]
    keys: list[bytes | Sequence[bytes | None] | None]
    places: list[Sequence[int]]
    expected_offset: int | None = None
    expected_key_offset: int | None = None
    timestamps: Sequence[int] | None = None
    digest: bytes = b""
    sight: Sight | None = None
    plain: bool = False

    def drop_data(self) -> None:
        """Keep what `metadata` needs, and not the records."""
        self.keys.clear()
        pieces: list[tuple[int, Body]] = []
        for partition, body in self.pieces:  # new ones: a commit that was interrupted may still need those
            kept = Body(b"", body.count, body.span, body.kind, body.timestamp_ms, body.max_timestamp_ms, 0)
            pieces.append((partition, kept))
        self.pieces = pieces

    def metadata(self, placed: Mapping[int, range]) -> list[RecordMetadata]:
        """Return where each record is, in the order of the call."""
        found: dict[int, RecordMetadata] = {}
        bases = {partition: offsets.start for partition, offsets in placed.items()}
        for (partition, body), places in zip(self.pieces, self.places, strict=True):
            for offset, place in enumerate(places, bases[partition]):
                stamp = body.timestamp_ms if self.timestamps is None else self.timestamps[place]
                found[place] = RecordMetadata(self.topic.name, partition, offset, stamp)
            bases[partition] += body.count
        return [found[place] for place in range(self.count)]


@dataclass
class Columns:
    """Checked records side by side: `sizes` are the bytes of each one's key, value and headers.

    `key` is one key for all, `keys` one for each; `timestamps` None stands for `now_ms` for all.
    """

    values: Sequence[bytes | None]
    sizes: Sequence[int]
    now_ms: int
    key: bytes | None = None
    keys: Sequence[bytes | None] | None = None
    headers: Sequence[Headers] | None = None
    timestamps: Sequence[int] | None = None

    @cached_property
    def total(self) -> int:
        """The bytes of all records; first asked for when the columns are complete."""
        return sum(self.sizes)

    def chosen(self, places: Sequence[int]) -> "Columns":
        """Return the records at these places."""

        def pick(column: Sequence[T]) -> list[T]:
            return list(map(column.__getitem__, places))

        keys = None if self.keys is None else pick(self.keys)
        headers = None if self.headers is None else pick(self.headers)
        timestamps = None if self.timestamps is None else pick(self.timestamps)
        return Columns(pick(self.values), pick(self.sizes), self.now_ms, self.key, keys, headers, timestamps)

    def cut(self, start: int, stop: int) -> "Columns":
        """Return the records from place `start` to before `stop`."""
        part = slice(start, stop)
        keys = None if self.keys is None else self.keys[part]
        headers = None if self.headers is None else self.headers[part]
        timestamps = None if self.timestamps is None else self.timestamps[part]
        return Columns(self.values[part], self.sizes[part], self.now_ms, self.key, keys, headers, timestamps)

    def frames(self) -> Iterator["Columns"]:
        """Cut the records so that no piece is larger than a frame should be; a larger record gets its own."""
        if len(self.values) <= FRAME_RECORDS and self.total <= FRAME_BYTES:
            yield self
            return
        start = 0
        for stop in _cuts(self.sizes):
            yield self.cut(start, stop)
            start = stop

    def packed(self, topic: Topic) -> Body:
        """Return the records as one frame's body."""
        config = topic.config
        append_time = config.timestamp_type == "append"
        if len(self.values) == 1 and not (append_time or self.headers or config.compression):
            value, stamp = self.values[0], self.now_ms if self.timestamps is None else self.timestamps[0]
            if value is not None:
                return encode_one(value, stamp, self.key if self.keys is None else self.keys[0])
        return encode_body(
            self.values,
            self.now_ms,
            key=self.key,
            keys=self.keys,
            headers=self.headers,
            timestamps=None if append_time else self.timestamps,
            append_time=append_time,
            codec=topic.config.compression,
        )


def _cuts(sizes: Sequence[int]) -> Iterator[int]:
    """Yield the places after which a frame is full."""
    start = total = 0
    for place, size in enumerate(sizes):
        if place > start and (place - start >= FRAME_RECORDS or total + size > FRAME_BYTES):
            yield place
            start, total = place, 0
        total += size
    yield len(sizes)


def plain_batch(topic: Topic, now_ms: int, value: object, key: object, partition: int | None) -> Batch | None:
    """Return a record about which there is nothing to ask, None where it has to be checked."""
    if type(value) is not bytes:
        return None
    size = len(value)
    if key is None:
        if size > topic.plain_limit:
            return None
        number = 0 if partition is None and topic.sticky is None else choose_partition(topic, None, partition, size)
        piece = (number, encode_one(value, now_ms))
    elif type(key) is bytes and size + len(key) <= topic.keyed_limit:
        piece = (choose_partition(topic, key, partition, size + len(key)), encode_one(value, now_ms, key))
    else:
        return None
    return Batch(topic, 1, [piece], [key], [(0,)], None, None, None, b"", None, True)  # noqa: FBT003


def batch_of_one(
    topic: Topic,
    now_ms: int,
    value: bytes | None,
    *,
    key: bytes | None,
    headers: object,
    partition: int | None,
    timestamp_ms: int | None,
    expected_offset: int | None,
    expected_key_offset: int | None,
) -> Batch:
    """Check and pack one record. Raises the errors of `arguments`."""
    bare = type(headers) is tuple and not headers and timestamp_ms is None
    if bare and expected_offset is None and expected_key_offset is None:
        plain = plain_batch(topic, now_ms, value, key, partition)
        if plain is not None:
            return plain
    arguments.check_bytes("value", value)
    arguments.check_bytes("key", key)
    arguments.check_key_rule(topic, has_key=key is not None)
    checked = arguments.check_headers(headers)
    size = len(value or b"") + len(key or b"") + arguments.headers_size(checked)
    arguments.check_size(topic, size)
    timestamps = None
    if timestamp_ms is not None:
        arguments.check_timestamps(topic, "timestamp_ms", (timestamp_ms,), now_ms)
        now_ms = timestamp_ms
    columns = Columns((value,), (size,), now_ms, key, None, (checked,) if checked else None, timestamps)
    _check_expectation(topic, expected_offset, partition, has_key=key is not None)
    _check_key_expectation(expected_key_offset, key)
    number = choose_partition(topic, key, partition, size)
    pieces = [(number, columns.packed(topic))]
    return Batch(topic, 1, pieces, [key], [(0,)], expected_offset, expected_key_offset)


def batch_of_many(
    topic: Topic,
    now_ms: int,
    values: object,
    *,
    key: bytes | None,
    keys: object,
    headers: object,
    partition: int | None,
    timestamps_ms: object,
    expected_offset: int | None,
    expected_key_offset: int | None,
) -> Batch:
    """Check, assign to partitions, cut and pack many records. Raises the errors of `arguments`.

    `TransactionTooLargeError` when they are more than one commit writes.
    """
    checked = arguments.check_column("values", values)
    columns = Columns(checked, _lengths(checked), now_ms)
    _take_keys(columns, topic, key, keys)
    _take_headers(columns, headers)
    _take_timestamps(columns, topic, timestamps_ms)
    _check_expectation(topic, expected_offset, partition, has_key=key is not None)
    _check_key_expectation(expected_key_offset, key)
    if partition is not None:
        arguments.check_partition(topic, partition)
    timestamps = None if topic.config.timestamp_type == "append" else columns.timestamps
    batch = Batch(topic, len(checked), [], [], [], expected_offset, expected_key_offset, timestamps)
    if checked:
        if columns.total > topic.limit:  # otherwise no single record can be too large
            arguments.check_size(topic, max(columns.sizes))
        _check_total(columns.total)
        for number, part, places in _assign(topic, columns, partition):
            batch.pieces.append((number, part.packed(topic)))
            batch.keys.append(part.key if part.keys is None else part.keys)
            batch.places.append(places)
    return batch


def joined(topic: Topic, parts: Iterable[Batch]) -> Batch:
    """Return the records of several batches, without expectations, as those of one."""
    whole = Batch(topic, 0, [], [], [], timestamps=[])
    for part in parts:
        whole.pieces += part.pieces
        whole.keys += part.keys
        whole.places += [[whole.count + place for place in places] for places in part.places]
        whole.count += part.count
        both = whole.timestamps is not None and part.timestamps is not None
        whole.timestamps = [*(whole.timestamps or ()), *(part.timestamps or ())] if both else None
    return whole


def choose_partition(topic: Topic, key: bytes | None, partition: int | None, size: int) -> int:
    """Return the partition for a record: the one asked for, else by its key, else the sticky choice."""
    if partition is not None:
        return arguments.check_partition(topic, partition)
    if topic.sticky is None:
        return 0
    if key is not None:
        return partition_for_key(key, len(topic.partitions))
    return topic.sticky.choose(size)


def _check_expectation(topic: Topic, expected_offset: object, partition: int | None, *, has_key: bool) -> None:
    if expected_offset is None:
        return
    check_integer("expected_offset", expected_offset, 0)
    if partition is None and not has_key and topic.sticky is not None:
        raise refused("partition", None, "the partition that expected_offset is about: the topic has several")


def _check_key_expectation(expected_key_offset: object, key: bytes | None) -> None:
    if expected_key_offset is None:
        return
    check_integer("expected_key_offset", expected_key_offset, NO_RECORD)
    if key is None:
        raise refused("key", None, "the key that expected_key_offset is about, one for all records")


def _check_total(size: int) -> None:
    if size > MAX_COMMIT_BYTES:
        raise TransactionTooLargeError(
            f"{size} bytes in one call are more than one commit writes, which is {MAX_COMMIT_BYTES}",
            size=size,
            limit=MAX_COMMIT_BYTES,
        )


def _take_keys(columns: Columns, topic: Topic, key: bytes | None, keys: object) -> None:
    arguments.check_bytes("key", key)
    if keys is not None:
        if key is not None:
            raise refused("keys", keys, "None when key gives one for all records")
        columns.keys = arguments.check_column("keys", keys, len(columns.values))
        columns.sizes = _added(columns.sizes, _lengths(columns.keys))
        arguments.check_key_rule(topic, has_key=None not in columns.keys)
    elif key is not None:
        columns.key = key
        columns.sizes = [size + len(key) for size in columns.sizes]
    elif columns.values:
        arguments.check_key_rule(topic, has_key=False)


def _take_headers(columns: Columns, headers: object) -> None:
    if headers is not None:
        columns.headers = arguments.check_header_column(headers, len(columns.values))
        columns.sizes = _added(columns.sizes, [arguments.headers_size(item) for item in columns.headers])


def _take_timestamps(columns: Columns, topic: Topic, given: object) -> None:
    if given is None:
        return
    timestamps = arguments.as_sequence("timestamps_ms", given, "None or an iterable with an int for each record")
    arguments.check_count("timestamps_ms", timestamps, len(columns.values))
    if timestamps:
        arguments.check_timestamps(topic, "timestamps_ms", timestamps, columns.now_ms)
        columns.timestamps = timestamps


def _lengths(column: Sequence[bytes | None]) -> list[int]:
    try:
        return list(map(len, column))  # type: ignore[arg-type]
    except TypeError:  # None is among them
        return [0 if item is None else len(item) for item in column]


def _added(sizes: Sequence[int], more: Sequence[int]) -> list[int]:
    return [size + extra for size, extra in zip(sizes, more, strict=True)]


def _assign(topic: Topic, columns: Columns, partition: int | None) -> Iterator[tuple[int, Columns, Sequence[int]]]:
    """Yield (partition, records, their places in the call) for each frame, keeping the order within each partition."""
    if partition is None and topic.sticky is not None and columns.keys is not None:
        for number, places in _places_by_key(topic, columns.keys, columns.sizes).items():
            start = 0
            for part in columns.chosen(places).frames():
                stop = start + len(part.values)
                yield number, part, places[start:stop]
                start = stop
        return
    start = 0
    for part in columns.frames():
        stop = start + len(part.values)
        yield choose_partition(topic, columns.key, partition, part.total), part, range(start, stop)
        start = stop


def _places_by_key(topic: Topic, keys: Sequence[bytes | None], sizes: Sequence[int]) -> dict[int, list[int]]:
    """Return the places of the records for each partition; those without a key stay together."""
    partitions = len(topic.partitions)
    keyless = topic.sticky.choose(sum(sizes)) if topic.sticky is not None and None in keys else 0
    # Keys come again and again: each is hashed once, and the loop over the records stays short.
    choices = {key: keyless if key is None else partition_for_key(key, partitions) for key in set(keys)}
    places: defaultdict[int, list[int]] = defaultdict(list)
    for place, number in enumerate(map(choices.__getitem__, keys)):
        places[number].append(place)
    return places

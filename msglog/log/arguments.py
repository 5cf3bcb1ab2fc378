"""Checks of what users pass with records: values, keys, headers, timestamps, partitions.

Only `bytes` are taken for bytes: a str needs an encoding, and a bytearray or memoryview could change between
the check and the write. Errors tell types and sizes, never contents. Pure functions; imported by the log's
write paths.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msglog.checks import MAX_INT64, check_integer, refused, show, wrong_payload, wrong_type
from msglog.errors import InvalidOptionError, RecordTooLargeError
from msglog.log.topic import Topic
from msglog.types import Headers

_BYTES: Final = "bytes or None"
_HEADERS: Final = "a dict or an iterable of (str, bytes or None) pairs"
_BYTES_OR_NONE: Final = frozenset((bytes, type(None)))


def check_bytes(option: str, given: object) -> None:
    """Make sure that a key or a value is bytes or None. Raises `InvalidTypeError`."""
    if given is not None and not isinstance(given, bytes):
        raise wrong_payload(option, given, _BYTES)


def check_column(option: str, given: object, count: int | None = None) -> Sequence[bytes | None]:
    """Return keys or values as a sequence of bytes or None, of `count` items if that is given.

    Any iterable is taken but bytes and str, which are iterables of something else. Raises `InvalidTypeError`
    or `InvalidOptionError`.
    """
    column = as_sequence(option, given, "an iterable of bytes or None")
    types = set(map(type, column))
    if not types <= _BYTES_OR_NONE:
        _refuse_column(option, column)
    check_count(option, column, count)
    return column


def _refuse_column(option: str, column: Sequence[Any]) -> None:
    for place, item in enumerate(column):
        check_bytes(f"{option}[{place}]", item)


def as_sequence(option: str, given: object, allowed: str) -> Sequence[Any]:
    """Return a list or tuple as it is, other iterables as a list. Raises `InvalidTypeError`."""
    if isinstance(given, list | tuple):
        return given
    if not isinstance(given, Iterable) or isinstance(given, bytes | bytearray | memoryview | str | Mapping):
        raise wrong_payload(option, given, allowed)
    return list(given)


def check_count(option: str, column: Sequence[Any], count: int | None) -> None:
    """Make sure that a column has an item for each record. Raises `InvalidOptionError`."""
    if count is not None and len(column) != count:
        raise refused(option, column, f"as many items as there are values, which are {count}")


def check_headers(given: object, option: str = "headers") -> Headers:
    """Return headers as a tuple of (str, bytes or None); order and repeated names stay.

    Raises `InvalidTypeError`, or `InvalidOptionError` for a name that UTF-8 cannot hold.
    """
    if not isinstance(given, tuple | list):  # the common types first: asking an abstract class costs a microsecond
        if isinstance(given, Mapping):
            given = given.items()
        elif isinstance(given, bytes | bytearray | str) or not isinstance(given, Iterable):
            raise wrong_payload(option, given, _HEADERS)
    return tuple([_check_header(option, pair) for pair in given])


def _check_header(option: str, pair: object) -> tuple[str, bytes | None]:
    if not isinstance(pair, tuple | list):
        raise wrong_payload(option, pair, _HEADERS)
    try:
        name, value = pair
    except ValueError:
        raise wrong_payload(option, pair, _HEADERS) from None
    if not isinstance(name, str):
        raise wrong_type(f"a name in {option}", name, "str")
    if not name.isascii() and not _fits_utf8(name):
        raise refused(f"a name in {option}", name, "a str that UTF-8 can encode")
    if value is not None and not isinstance(value, bytes):
        check_bytes(f"the value of header {show(name)}", value)
    return (name, value)


def _fits_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_header_column(given: object, count: int) -> list[Headers]:
    """Return the headers of each of `count` records; None stands for none. Raises as `check_headers` does."""
    column = as_sequence("headers", given, "an iterable with the headers of each record")
    check_count("headers", column, count)
    try:
        return [() if item is None else check_headers(item) for item in column]
    except InvalidOptionError:
        for place, item in enumerate(column):  # once more, to say which record's headers are refused
            check_headers(() if item is None else item, f"headers[{place}]")
        raise


def headers_size(headers: Headers) -> int:
    """Return the bytes of names and values."""
    return sum(len(name.encode()) + (len(value) if value is not None else 0) for name, value in headers)


def check_size(topic: Topic, size: int) -> None:
    """Make sure that a record of `size` bytes (key, value, headers) fits. Raises `RecordTooLargeError`."""
    if size > topic.limit:
        raise RecordTooLargeError(
            f"a record of {size} bytes is larger than topic {topic.name!r} takes, which is {topic.limit}",
            size=size,
            limit=topic.limit,
        )


def check_key_rule(topic: Topic, *, has_key: bool) -> None:
    """Make sure that a record for a compacted topic has a key, as in Kafka. Raises `InvalidOptionError`."""
    if not has_key and topic.config.compacts:
        raise refused("key", None, f"bytes: topic {topic.name!r} is compacted and keeps the last record of each key")


def check_timestamps(topic: Topic, option: str, given: Sequence[Any], now_ms: int) -> None:
    """Make sure that each timestamp is an int of 0 or more milliseconds, in the topic's bounds around now.

    With append time the bounds do not matter, since the timestamps are replaced. Raises `InvalidTypeError` or
    `InvalidOptionError`.
    """
    if set(map(type, given)) != {int}:
        for stamp in given:
            check_integer(option, stamp, 0)
    least, most = 0, MAX_INT64
    if topic.config.timestamp_type == "create":
        before, after = (
            topic.config.message_timestamp_before_max_ms,
            topic.config.message_timestamp_after_max_ms,
        )
        least = max(0, now_ms - before) if before is not None else 0
        most = min(MAX_INT64, now_ms + after) if after is not None else MAX_INT64
    if min(given) < least or max(given) > most:
        wrong = next(stamp for stamp in given if not least <= stamp <= most)
        raise refused(option, wrong, f"{least} to {most} in topic {topic.name!r}, the clock being at {now_ms}")


def check_partition(topic: Topic, partition: object) -> int:
    """Return the number of a partition that exists. Raises `InvalidTypeError` or `PartitionNotFoundError`."""
    if type(partition) is not int:
        raise wrong_type("partition", partition, "None or the number of a partition")
    topic.partition(partition)
    return partition


def only_partition(topic: Topic, partition: object) -> int:
    """Return `partition`, or for None the only one. Raises `InvalidOptionError` when there are several."""
    if partition is not None:
        return check_partition(topic, partition)
    if len(topic.partitions) > 1:
        raise refused("partition", None, f"0 to {len(topic.partitions) - 1}: topic {topic.name!r} has several")
    return 0

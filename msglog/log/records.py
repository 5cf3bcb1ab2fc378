"""From frames to records: the hot path of reading, shared by `read` and the consumers.

Records are built by C code from the frame's columns, since a Python-level step for each record would cost
more than decoding it. Imported by the log's read paths.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import repeat
from typing import Any, TypeVar

from msglog.storage import Frame
from msglog.types import Headers, Record

T = TypeVar("T")

_new_record: Callable[[tuple[Any, ...]], Record] = partial(tuple.__new__, Record)


def records_of(frame: Frame, topic: str, partition: int, start: int, stop: int) -> list[Record]:
    """Return the records of a frame with offsets from `start` to before `stop`, in offset order."""
    return list(iterate_records(frame, topic, partition, start, stop))


def iterate_records(frame: Frame, topic: str, partition: int, start: int, stop: int) -> Iterator[Record]:
    """Return an iterator over the same records, made one at a time.

    Where records are used up as they come this takes two thirds of the time: a list of new objects sets off the garbage
    collector again and again.
    """
    offsets, values, stamps = frame.offsets, frame.values, frame.timestamps
    if frame.count == 1 and start <= offsets[0] < stop:
        stamp = stamps if isinstance(stamps, int) else stamps[0]
        key = None if frame.keys is None else frame.keys[0]
        only = (topic, partition, offsets[0], stamp, key, values[0], () if frame.headers is None else frame.headers[0])
        return iter((_new_record(only),))
    keys: Iterable[bytes | None] = repeat(None) if frame.keys is None else frame.keys
    headers: Iterable[Headers] = repeat(()) if frame.headers is None else frame.headers
    timestamps: Iterable[int] = repeat(stamps) if isinstance(stamps, int) else stamps
    if frame.base_offset < start or frame.next_offset > stop:
        part = slice(bisect_left(offsets, start), bisect_left(offsets, stop))
        offsets, values = offsets[part], values[part]
        keys, headers, timestamps = _part(keys, part), _part(headers, part), _part(timestamps, part)
    columns = zip(repeat(topic), repeat(partition), offsets, timestamps, keys, values, headers, strict=False)
    return map(_new_record, columns)


def _part(column: Iterable[T], part: slice) -> Iterable[T]:
    return column[part] if isinstance(column, list) else column


def fields_of(record: Record) -> dict[str, object]:
    """Return what `logging` is told of a record, beside a text."""
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}

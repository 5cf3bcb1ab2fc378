"""The part of `Log` that writes records to JSON Lines and reads them back. Imported by `log`.

    {"partition":0,"offset":7,"timestamp_ms":1700000000000,"key":"k","value":"v","headers":[["name","text"]]}

`offset` is there to be looked at; `headers` is left out where there are none. How bytes stand there is told in
`msglog.store.lines`.
"""

import os
from typing import Any, Final, NamedTuple, TextIO

from msglog.checks import check_flag, refused
from msglog.errors import DecodeError, MsglogError, PartitionNotFoundError
from msglog.log import arguments, batches, placing
from msglog.log.arguments import check_partition
from msglog.log.reading import Reading
from msglog.log.topic import Topic
from msglog.store.lines import at_line, export_lines, field, import_lines, pack_bytes, refuse_others, unpack_bytes
from msglog.types import Headers, Record

_FIELDS: Final = frozenset({"partition", "offset", "timestamp_ms", "key", "value", "headers"})
_PAIR: Final = 2


class _Line(NamedTuple):
    partition: int | None
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Exporting(Reading):
    """`export_records`, `import_records`."""

    def export_records(
        self,
        topic: str,
        target: str | os.PathLike[str] | TextIO,
        *,
        partition: int | None = None,
        start: int | None = None,
        stop: int | None = None,
    ) -> int:
        """Write records as JSON Lines and return how many: one partition after the other, in offset order.

        Arguments:
            topic: the name of a topic that exists.
            target: a path, whose file is replaced once all is written, or a file opened for text.
            partition: only this one.
            start: the first offset, for one partition only; None for the start offset.
            stop: the offset to end before, for one partition only; None for the end.

        Reads up to the ends as they are now; memory is bounded by one frame. Raises what `read` raises, `OSError` from
        the file, `InvalidTypeError`.
        """
        found = self._topic_to_read(topic)
        numbers = list(range(len(found.partitions))) if partition is None else [check_partition(found, partition)]
        if len(numbers) > 1 and not start is stop is None:
            raise refused("partition", None, "the partition that start and stop are about: the topic has several")
        sources = [self.read(topic, number, start=start, stop=stop) for number in numbers]
        return export_lines(target, (record_line(record) for records in sources for record in records))

    def import_records(
        self, topic: str, source: str | os.PathLike[str] | TextIO, *, keep_partitions: bool = True
    ) -> int:
        """Append the records of JSON Lines, as `export_records` writes them, and return how many.

        Arguments:
            topic: the name of a topic that exists. Offsets are new; a topic with append time sets new timestamps.
            source: a path, or a file opened for text.
            keep_partitions: each goes to the partition that its line names; without one, and with False, they go where
                `append_many` puts them.

        Up to 10,000 records or 16 MiB are one commit: so many are imported as a whole or not at all. Of more, whole
        commits are there when an error is raised, and nothing after the last of them: `imported` of the error says how
        many records. A line that is not as it should be is a `DecodeError` with its number as `line`; errors of
        `append_many` about one record have it, too. Raises what `append_many` raises, `OSError` from the file. Durable
        as `sync` says on return.
        """
        found = self._topic_to_write(topic)
        check_flag("keep_partitions", keep_partitions)

        def parse(line: dict[str, Any]) -> tuple[_Line, int]:
            return _unpack(found, line, keep_partitions=keep_partitions)

        return import_lines(source, parse, lambda lines: self._take(found, lines))

    def _take(self, topic: Topic, lines: list[tuple[int, _Line]]) -> None:
        """Append some records in one commit."""
        by_partition: dict[int | None, list[tuple[int, _Line]]] = {}
        for number, line in lines:
            by_partition.setdefault(line.partition, []).append((number, line))
        parts: list[batches.Batch] = []
        now_ms = self._now_ms()
        for partition, chosen in by_partition.items():
            for number, line in chosen:
                _check(topic, number, line, now_ms)
            records = [line for _, line in chosen]
            part = batches.batch_of_many(
                topic,
                now_ms,
                [line.value for line in records],
                key=None,
                keys=[line.key for line in records] if any(line.key is not None for line in records) else None,
                headers=[line.headers for line in records] if any(line.headers for line in records) else None,
                partition=partition,
                timestamps_ms=[line.timestamp_ms for line in records],
                expected_offset=None,
                expected_key_offset=None,
            )
            parts.append(part)
        placing.write(self._engine, batches.joined(topic, parts))


def record_line(record: Record) -> dict[str, Any]:
    """Return a record as it stands in a line."""
    line: dict[str, Any] = {
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": pack_bytes(record.key),
        "value": pack_bytes(record.value),
    }
    if record.headers:
        line["headers"] = [[name, pack_bytes(value)] for name, value in record.headers]
    return line


def _unpack(topic: Topic, line: dict[str, Any], *, keep_partitions: bool) -> tuple[_Line, int]:
    refuse_others(line, _FIELDS)
    partition = field(line, "partition", int, None) if keep_partitions else None
    if partition is not None and not 0 <= partition < len(topic.partitions):
        raise PartitionNotFoundError(
            f"topic {topic.name!r} has partitions 0 to {len(topic.partitions) - 1}, not {partition}",
            topic=topic.name,
            partition=partition,
            partitions=len(topic.partitions),
        )
    value = unpack_bytes("value", field(line, "value", (str, dict), None))
    key = unpack_bytes("key", field(line, "key", (str, dict), None))
    headers = tuple([_unpack_header(pair) for pair in field(line, "headers", list, ())])
    stamp = field(line, "timestamp_ms", int)
    size = len(value or b"") + len(key or b"") + arguments.headers_size(headers)
    return _Line(partition, stamp, key, value, headers), size


def _unpack_header(pair: object) -> tuple[str, bytes | None]:
    if not isinstance(pair, list) or len(pair) != _PAIR or not isinstance(pair[0], str):
        raise DecodeError("headers must be pairs of a name and a value")
    unpack_bytes("the name of a header", pair[0])
    return pair[0], unpack_bytes("the value of a header", pair[1])


def _check(topic: Topic, number: int, line: _Line, now_ms: int) -> None:
    """Make sure that the topic takes a record; errors have its line."""
    try:
        size = len(line.value or b"") + len(line.key or b"") + arguments.headers_size(line.headers)
        arguments.check_size(topic, size)
        arguments.check_key_rule(topic, has_key=line.key is not None)
        arguments.check_timestamps(topic, "timestamp_ms", (line.timestamp_ms,), now_ms)
    except MsglogError as error:
        raise at_line(error, number) from error

"""The part of `Broker` that writes messages to JSON Lines and reads them back. Imported by `broker`.

    {"exchange":"","routing_key":"q","timestamp_ms":1700000000000,"properties":{"delivery_mode":2},"body":"text"}

`timestamp_ms` is when the message was enqueued, to be looked at. `properties` has those that are set; how field values
stand in its headers is told in `rules.field_lines`, how bytes in `msglog.store.lines`. `"dead_lettered":true` is there
where the broker wrote the header x-death, `"blind_copies":["key"]` where the publisher sent a header BCC.
"""

import os
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, TextIO

from msglog.broker.handle import BrokerHandle
from msglog.broker.lane import Stored, read_range
from msglog.broker.message import check_body, check_routing_key
from msglog.broker.properties import Properties
from msglog.broker.queue import Queue
from msglog.broker.rules.dead_letters import DEATHS, are_deaths
from msglog.broker.rules.expiration import expiration_ms
from msglog.broker.rules.field_lines import pack_fields, unpack_fields
from msglog.broker.rules.message_codec import Meta, pack_meta, unpack_meta
from msglog.checks import MAX_INT64, check_integer
from msglog.errors import DecodeError, PublishRejectedError
from msglog.storage import Stream
from msglog.store.lines import at_line, export_lines, field, import_lines, pack_bytes, refuse_others, unpack_bytes

_FIELDS: Final = frozenset(
    {"exchange", "routing_key", "timestamp_ms", "properties", "body", "dead_lettered", "blind_copies"}
)
_PROPERTIES: Final = frozenset(Properties._fields)


class Exporting(BrokerHandle):
    """`export_messages`, `import_messages`."""

    def export_messages(self, queue: str, target: str | os.PathLike[str] | TextIO, *, limit: int | None = None) -> int:
        """Write the messages that wait in a queue as JSON Lines, in the order of delivery, and return how many.

        Arguments:
            queue: its name.
            target: a path, whose file is replaced once all is written, or a file opened for text.
            limit: the most messages to write.

        Nothing is taken: the messages stay. It is what waited at the call; what is in somebody's hand is not written,
        for it may be settled at any moment, nor what is delayed. Memory is bounded by one frame, and by the number of
        messages that came back. Raises `QueueNotFoundError`, `ResourceLockedError`, `CorruptionError`, `OSError` from
        the file, `InvalidOptionError`, `InvalidTypeError`, `ClosedError`.
        """
        most = MAX_INT64 if limit is None else check_integer("limit", limit, 0)
        found = self._queue_to_look_at(queue)
        with self._vhost.lock:
            ranges = [part for lane in found.lanes for part in _waiting(lane.stream, lane.waiting_ranges())]
        return export_lines(target, map(message_line, islice(_read(ranges), most)))

    def import_messages(self, queue: str, source: str | os.PathLike[str] | TextIO) -> int:
        """Put the messages of JSON Lines, as `export_messages` writes them, into a queue, and return how many.

        Arguments:
            queue: its name; exchanges and bindings have no part in it.
            source: a path, or a file opened for text.

        Exchange, routing key and properties stay as they were; the messages are enqueued now, so that times to live
        begin anew. Up to 10,000 messages or 16 MiB are one commit: so many are imported as a whole or not at all. Of
        more, whole commits are there when an error is raised, and nothing after the last of them: `imported` of the
        error says how many messages. A line that is not as it should be is a `DecodeError`, or the error of `publish`,
        with its number as `line`; a queue that is full and refuses messages raises `PublishRejectedError`. Raises
        `QueueNotFoundError`, `ResourceLockedError`, `RecordTooLargeError`, `OSError` from the file, `DiskFullError`,
        `StoreFailedError`, `ReadOnlyError`, `ClosedError`. Durable as `sync` says on return.
        """
        vhost = self._vhost_to_write()
        with vhost.lock:
            vhost.queue(queue, self._connection)
        last = 0

        def parse(line: dict[str, Any]) -> tuple[tuple[bytes, bytes, Properties], int]:
            meta, body, properties = _unpack(line)
            size = len(meta) + len(body)
            vhost.check_size(size)
            return (meta, body, properties), size

        def take(lines: list[tuple[int, tuple[bytes, bytes, Properties]]]) -> None:
            nonlocal last
            last = self._take(queue, lines)

        count = import_lines(source, parse, take)
        vhost.wait_and_attend(last)
        return count

    def _take(self, name: str, lines: list[tuple[int, tuple[bytes, bytes, Properties]]]) -> int:
        """Enqueue some messages in one commit; return its number."""
        vhost = self._vhost
        with vhost.lock:
            queue: Queue = vhost.queue(name, self._connection)
            batch = vhost.batch()
            for number, (meta, body, properties) in lines:
                if not vhost.enqueue(batch, queue, meta, body, properties):
                    refusal = PublishRejectedError(f"full and refusing messages: {name!r}", queues=(name,))
                    raise at_line(refusal, number)
            return vhost.commit(batch)


def _waiting(stream: Stream, ranges: list[tuple[int, int]]) -> Iterator[tuple[Stream, int, int]]:
    return ((stream, first, end) for first, end in ranges)


def _read(ranges: list[tuple[Stream, int, int]]) -> Iterator[Stored]:
    for stream, first, end in ranges:
        yield from read_range(stream, first, end)


def message_line(stored: Stored) -> dict[str, Any]:
    """Return a message as it stands in a line."""
    meta = unpack_meta(stored.meta)
    properties = {name: value for name, value in meta.properties._asdict().items() if value is not None}
    if meta.properties.headers is not None:
        properties["headers"] = pack_fields(meta.properties.headers)
    line = {
        "exchange": meta.exchange,
        "routing_key": meta.routing_key,
        "timestamp_ms": stored.timestamp_ms,
        "properties": properties,
        "body": pack_bytes(stored.body),
    }
    if meta.dead_lettered:
        line["dead_lettered"] = True
    if meta.blind_copies:
        line["blind_copies"] = list(meta.blind_copies)
    return line


def _unpack(line: dict[str, Any]) -> tuple[bytes, bytes, Properties]:
    refuse_others(line, _FIELDS)
    body = unpack_bytes("body", field(line, "body", (str, dict)))
    given = dict(field(line, "properties", dict, {}))
    refuse_others(given, _PROPERTIES)
    if given.get("headers") is not None:
        given["headers"] = unpack_fields(field(given, "headers", dict))
    properties = Properties(**given)
    expiration_ms(properties.expiration)
    exchange = check_routing_key(field(line, "exchange", str, ""))
    flag = field(line, "dead_lettered", bool, default=False)
    copies = tuple(check_routing_key(key) for key in field(line, "blind_copies", list, []))
    meta = Meta(exchange, check_routing_key(field(line, "routing_key", str, "")), properties, flag, copies)
    if body is None:
        raise DecodeError("body must not be null")
    if flag and not are_deaths((properties.headers or {}).get(DEATHS)):
        raise DecodeError("dead_lettered is for messages with a header x-death as the broker writes it")
    packed = pack_meta(meta.exchange, meta.routing_key, properties, dead_lettered=flag, blind_copies=copies)
    return packed, check_body(body), properties

"""The part of `Log` that appends.

A plain record (no headers, nothing given but a key) takes the short way: a few checks and one call of the
engine. Everything else becomes a packed batch outside of the store lock and is written under it. Imported by
`log`.
"""

from collections.abc import Iterable, Mapping
from time import time_ns
from typing import Any

from msglog.checks import wrong_payload
from msglog.errors import ClosedError
from msglog.log import batches, placing
from msglog.log.handle import LogHandle
from msglog.log.rules.partitioning import partition_for_key
from msglog.types import RecordMetadata

HeadersArgument = Iterable[tuple[str, bytes | None]] | Mapping[str, bytes | None]

# The empty tuple is one object: comparing by identity is what the shortest way can afford.
_NO_HEADERS = ()
_new_tuple = tuple.__new__


class Appending(LogHandle):
    """`append`, `append_many`, `partition_for`."""

    def append(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: HeadersArgument = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
        expected_offset: int | None = None,
        expected_key_offset: int | None = None,
    ) -> RecordMetadata:
        """Append one record and return where it is.

        Arguments:
            topic: the name of a topic that exists.
            value: the record's bytes; None is a tombstone.
            key: chooses the partition (murmur2, as Kafka's Java client does); None goes to the sticky choice.
                A compacted topic takes no record without a key.
            headers: a dict or an iterable of (str, bytes or None); order and repeated names stay.
            partition: the partition, whatever the key.
            timestamp_ms: the record's time, 0 or more; None is now. A topic with append time replaces it.
            expected_offset: the offset the record must get; needs one partition, by number, by key, or
                because the topic has no other.
            expected_key_offset: the offset that the key's last record in the partition must have, -1 when there
                must be none. Needs a key. Records of other keys are of no concern to it; one that retention or
                compaction removed does not count. The first use in a process finds the topic's records by key,
                from an index on the disk or by reading them once; from then on its appends take a longer way.

        Raises `TopicNotFoundError`, `PartitionNotFoundError`, `RecordTooLargeError`, `InvalidTypeError`,
        `InvalidOptionError`, `OffsetConflictError`, `ReadOnlyError`, `ClosedError`, `DiskFullError` with
        nothing appended, also `CorruptionError` when records must be read to know the key's last one and cannot,
        and `StoreFailedError` (outcome unknown). Durable as the store's `sync` says when it returns. Safe for any
        number of threads.
        """
        try:
            found = self._topics[topic]
        except (KeyError, TypeError):
            found = self._topic_to_write(topic)
        if (
            type(value) is bytes
            and headers is _NO_HEADERS
            and partition is None
            and timestamp_ms is None
            and expected_offset is None
            and expected_key_offset is None
        ):
            try:
                if key is None:
                    if len(value) <= found.plain_limit:
                        number, stream = 0, found.only
                        if stream is None:
                            number = found.choose_sticky(len(value))
                            stream = found.partitions[number]
                        now_ms = time_ns() // 1_000_000 if self._system_time else self._now_ms()
                        append = self._append  # a method to the compiler: calling it in place costs more
                        offset = append(stream, value, now_ms, None)
                        return _new_tuple(RecordMetadata, (topic, number, offset, now_ms, False))
                elif type(key) is bytes and len(value) + len(key) <= found.keyed_limit:
                    streams = found.partitions
                    number = 0 if found.sticky is None else partition_for_key(key, len(streams))
                    now_ms = time_ns() // 1_000_000 if self._system_time else self._now_ms()
                    offset = self._append(streams[number], value, now_ms, key)
                    return _new_tuple(RecordMetadata, (topic, number, offset, now_ms, False))
            except ClosedError:
                if found.deleted:  # between finding it and taking the store lock
                    raise placing.deleted_meanwhile(found) from None
                raise
        return self._append_batch(
            topic,
            value,
            key=key,
            headers=headers,
            partition=partition,
            timestamp_ms=timestamp_ms,
            expected_offset=expected_offset,
            expected_key_offset=expected_key_offset,
        )

    def append_plain(self, topic: str, value: bytes | None, key: bytes | None) -> RecordMetadata | None:
        """Append a record as `append` does, without waiting for its sync; not public.

        Returns None, with nothing appended, where that takes more than the short way. For event loops, which wait for
        the engine's `commit_number` in their own way.
        """
        try:
            found = self._topics[topic]
        except (KeyError, TypeError):
            return None
        if type(value) is not bytes:
            return None
        if key is None:
            if len(value) > found.plain_limit:
                return None
            number = 0 if found.sticky is None else found.choose_sticky(len(value))
        elif type(key) is bytes and len(value) + len(key) <= found.keyed_limit:
            number = 0 if found.sticky is None else partition_for_key(key, len(found.partitions))
        else:
            return None
        now_ms = time_ns() // 1_000_000 if self._system_time else self._now_ms()
        append = self._append_unwaited
        try:
            offset = append(found.partitions[number], value, now_ms, key)
        except ClosedError:
            if found.deleted:
                raise placing.deleted_meanwhile(found) from None
            raise
        return _new_tuple(RecordMetadata, (topic, number, offset, now_ms, False))

    def append_many(
        self,
        topic: str,
        values: Iterable[bytes | None],
        *,
        key: bytes | None = None,
        keys: Iterable[bytes | None] | None = None,
        headers: Iterable[HeadersArgument | None] | None = None,
        partition: int | None = None,
        timestamps_ms: Iterable[int] | None = None,
        expected_offset: int | None = None,
        expected_key_offset: int | None = None,
    ) -> dict[int, range]:
        """Append many records in one commit, all or nothing, and return the offsets each partition got.

        Input order is kept within each partition. `key` is one key for all records; `keys`, `headers` and
        `timestamps_ms` have one item for each. Records without a key go to one partition until a frame's
        worth (10,000 records or 4 MiB) is full. `expected_offset` is the offset the first record must get;
        `expected_key_offset`, as of `append`, is about the one `key` of all: so several events of one aggregate
        are appended together, if nothing came in between.

        Raises what `append` raises, and `TransactionTooLargeError` above 256 MiB. Cost: far below that of as
        many calls of `append`; memory about twice the records' size.
        """
        found = self._topic_to_write(topic)
        batch = batches.batch_of_many(
            found,
            self._now_ms(),
            values,
            key=key,
            keys=keys,
            headers=headers,
            partition=partition,
            timestamps_ms=timestamps_ms,
            expected_offset=expected_offset,
            expected_key_offset=expected_key_offset,
        )
        return placing.write(self._engine, batch)

    def partition_for(self, topic: str, key: bytes) -> int:
        """Return the partition of records with this key; it changes when the topic gets partitions.

        Raises `TopicNotFoundError`, `InvalidTypeError`, `ClosedError`.
        """
        found = self._topic_to_read(topic)
        if not isinstance(key, bytes):
            raise wrong_payload("key", key, "bytes")
        return partition_for_key(key, len(found.partitions))

    def _append_batch(self, topic: str, value: bytes | None, **options: Any) -> RecordMetadata:
        """Append one record the long way: every check, and whatever the short way leaves out."""
        found = self._topic_to_write(topic)
        batch = batches.batch_of_one(found, self._now_ms(), value, **options)
        ((number, offsets),) = placing.write(self._engine, batch).items()
        return RecordMetadata(found.name, number, offsets.start, batch.pieces[0][1].timestamp_ms)

"""The public class for one topic with objects, for tasks. Exported by `msglog.aio`; imported by `log`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

import msglog
from msglog.aio.log_subscription import Subscription
from msglog.aio.producer import Producer
from msglog.aio.tasks import check_callback
from msglog.aio.typed.consumer import TypedConsumer
from msglog.aio.typed.decoding import Decoding, decoded
from msglog.aio.typed.producer import TypedProducer
from msglog.aio.typed.share import TypedShareConsumer
from msglog.log.appending import HeadersArgument
from msglog.log.rules.membership import AssignorName
from msglog.log.share.consumer import DEFAULT_DELIVERY_LIMIT, DEFAULT_LOCK_MS
from msglog.log.typed import TypedRecord
from msglog.types import Record, RecordMetadata

if TYPE_CHECKING:  # the log makes its views
    from msglog.aio.log import Log, RebalanceCallback
    from msglog.aio.store import Store

K = TypeVar("K")
V = TypeVar("V")


class TypedTopic(Generic[K, V]):
    """One topic with objects as keys and values, for tasks; made by `Log.topic`.

    As `msglog.TypedTopic`, with `await` where `Log` of `msglog.aio` has it. In a transaction the view stands where the
    name does: `tx.append(orders, order)`. Holds nothing that needs closing.
    """

    def __init__(self, log: "Log", sync: msglog.TypedTopic[K, V]) -> None:
        self._log = log
        self._sync = sync
        self._name = sync.name
        self._codec = sync.codec

    @property
    def sync(self) -> msglog.TypedTopic[K, V]:
        """The threaded view; what a transaction takes as well as this one."""
        return self._sync

    @property
    def name(self) -> str:
        """The name of the topic."""
        return self._name

    @property
    def store(self) -> "Store":
        """The store that the topic is in."""
        return self._log.store

    async def append(
        self,
        value: V | None,
        *,
        key: K | None = None,
        headers: HeadersArgument = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
        expected_offset: int | None = None,
        expected_key_offset: int | None = None,
    ) -> RecordMetadata:
        """Append one record and return where it is. As `Log.append`, cancelling included; raises `EncodeError`, too."""
        return await self._log.append(
            self._name,
            self._codec.encode_value(value),
            key=self._codec.encode_key(key),
            headers=headers,
            partition=partition,
            timestamp_ms=timestamp_ms,
            expected_offset=expected_offset,
            expected_key_offset=expected_key_offset,
        )

    async def append_many(
        self,
        values: Iterable[V | None],
        *,
        key: K | None = None,
        keys: Iterable[K | None] | None = None,
        headers: Iterable[HeadersArgument | None] | None = None,
        partition: int | None = None,
        timestamps_ms: Iterable[int] | None = None,
        expected_offset: int | None = None,
        expected_key_offset: int | None = None,
    ) -> dict[int, range]:
        """Append many records in one commit, all or nothing, and return the offsets each partition got.

        As `Log.append_many`; raises `EncodeError`, too, which says which object it is, with nothing appended.
        """
        return await self._log.append_many(
            self._name,
            self._codec.encode_values(values),
            key=self._codec.encode_key(key),
            keys=self._codec.encode_keys(keys),
            headers=headers,
            partition=partition,
            timestamps_ms=timestamps_ms,
            expected_offset=expected_offset,
            expected_key_offset=expected_key_offset,
        )

    def partition_for(self, key: K) -> int:
        """Return the partition of records with this key. Raises as `Log.partition_for` does, and `EncodeError`."""
        return self._sync.partition_for(key)

    def read(
        self,
        partition: int | None = None,
        *,
        start: int | None = None,
        stop: int | None = None,
        max_records: int | None = None,
    ) -> AsyncIterator[TypedRecord[K, V]]:
        """Return the records of a partition up to its end now, in offset order; never waits for more.

        Arguments as for `Log.read`. The iterator raises what that of `Log.read` does, and `DecodeError` as
        `on_decode_error` says; the next step after one goes on with the next record.
        """
        records = self._log.read(self._name, partition, start=start, stop=stop, max_records=max_records)
        return Decoding(records, self._decoded)

    def read_key(
        self, key: K, *, partition: int | None = None, start: int | None = None
    ) -> AsyncIterator[TypedRecord[K, V]]:
        """Return the records of one key up to the partition's end now, as `Log.read_key` and `read` do."""
        records = self._log.read_key(self._name, self._sync.key_bytes(key), partition=partition, start=start)
        return Decoding(records, self._decoded)

    async def last_record(self, key: K, *, partition: int | None = None) -> TypedRecord[K, V] | None:
        """Return the newest record of a key, perhaps a tombstone, None when there is none, or when it is left out.

        Raises as `Log.last_record` does, and `DecodeError`, `EncodeError`.
        """
        record = await self._log.last_record(self._name, self._sync.key_bytes(key), partition=partition)
        return None if record is None else await self._decoded(record)

    async def _decoded(self, record: Record) -> TypedRecord[K, V] | None:
        return await decoded(self._codec, record)

    def start_offset(self, partition: int | None = None) -> int:
        """Return the first offset that can be read, as `Log.start_offset` does."""
        return self._sync.start_offset(partition)

    def end_offset(self, partition: int | None = None) -> int:
        """Return the offset after the last readable record, as `Log.end_offset` does."""
        return self._sync.end_offset(partition)

    def offset_at(self, timestamp_ms: int, *, partition: int | None = None) -> int:
        """Return the earliest offset with a timestamp of `timestamp_ms` or later, as `Log.offset_at` does."""
        return self._sync.offset_at(timestamp_ms, partition=partition)

    def consumer(
        self,
        *,
        group: str | None = None,
        start: Literal["earliest", "latest", "error"] = "earliest",
        auto_commit: bool = False,
        assignor: AssignorName = "range",
        instance_id: str | None = None,
        session_timeout_ms: int = 45_000,
        max_poll_interval_ms: int = 300_000,
        on_assign: "RebalanceCallback | None" = None,
        on_revoke: "RebalanceCallback | None" = None,
        on_lost: "RebalanceCallback | None" = None,
    ) -> TypedConsumer[K, V]:
        """Return a consumer of the topic, for the tasks of the running loop. Arguments and errors as of `Log.consumer`.

        The callbacks get the `Consumer` inside it (`TypedConsumer.raw`): they may commit and seek.
        """
        consumer = self._log.consumer(
            self._name,
            group=group,
            start=start,
            auto_commit=auto_commit,
            assignor=assignor,
            instance_id=instance_id,
            session_timeout_ms=session_timeout_ms,
            max_poll_interval_ms=max_poll_interval_ms,
            on_assign=on_assign,
            on_revoke=on_revoke,
            on_lost=on_lost,
        )
        return TypedConsumer(consumer, self._codec)

    def share_consumer(
        self,
        *,
        group: str,
        start: Literal["earliest", "latest"] = "earliest",
        lock_ms: int = DEFAULT_LOCK_MS,
        delivery_limit: int = DEFAULT_DELIVERY_LIMIT,
    ) -> TypedShareConsumer[K, V]:
        """Return a member of a share group of the topic. Arguments and errors as of `Log.share_consumer`."""
        consumer = self._log.share_consumer(
            self._name, group=group, start=start, lock_ms=lock_ms, delivery_limit=delivery_limit
        )
        return TypedShareConsumer(consumer, self._codec)

    def subscribe(
        self,
        *,
        group: str,
        callback: Callable[[TypedRecord[K, V]], Awaitable[object]],
        concurrency: int = 1,
        on_error: msglog.Retry | None = None,
    ) -> Subscription:
        """Await `callback(record)` for each record of the topic, in `concurrency` tasks. See `Log.subscribe`.

        A record that does not decode counts as one whose callback failed, unless `on_decode_error` says otherwise.
        """
        check_callback("callback", callback, "a record")

        async def decode_and_call(record: Record) -> None:
            found = await self._decoded(record)
            if found is not None:
                await callback(found)

        return self._log.subscribe(
            self._name, group=group, callback=decode_and_call, concurrency=concurrency, on_error=on_error
        )

    def producer(self, name_or_producer: str | Producer) -> TypedProducer[K, V]:
        """Return a named producer for the topic: by its name, as `Log.producer` does, or one that is there.

        `await` it, or use `async with`. Closing what was made from a name closes the producer.
        """
        if isinstance(name_or_producer, Producer):
            return TypedProducer(name_or_producer, self._name, self._codec, owns=False)
        return TypedProducer(self._log.producer(name_or_producer), self._name, self._codec, owns=True)

    def decode(self, record: Record) -> TypedRecord[K, V]:
        """Return a record that was read otherwise, with objects.

        Raises `DecodeError`, whatever `on_decode_error` says.
        """
        return self._codec.decode(record)

    def __repr__(self) -> str:
        return f"<msglog.aio.TypedTopic {self._name!r} {self._codec.names}>"

"""The log for tasks. Exported by `msglog.aio`."""

import re
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Literal, TypeVar, overload

import msglog
from msglog.aio.calls import run, write
from msglog.aio.consumer import Consumer, ShareConsumer
from msglog.aio.face import Face
from msglog.aio.forwarding import in_thread, iterated, plain
from msglog.aio.log_subscription import Subscription
from msglog.aio.producer import Producer
from msglog.aio.typed import TypedTopic
from msglog.codecs import BYTES, Codec
from msglog.log.appending import HeadersArgument
from msglog.log.rules.membership import AssignorName
from msglog.log.share.consumer import DEFAULT_DELIVERY_LIMIT, DEFAULT_LOCK_MS
from msglog.log.typed import OnDecodeError, RecordCodec
from msglog.transactions.looping import next_sync
from msglog.types import Record, RecordMetadata, TopicPartition

K = TypeVar("K")
V = TypeVar("V")

# The empty tuple is one object.
_NO_HEADERS = ()

RebalanceCallback = Callable[[Consumer, frozenset[TopicPartition]], None]


class Log(Face[msglog.Log]):
    """Topics as those of `msglog.Log`, for tasks: the same names, arguments and errors.

    Made from a path or from a store, see `Face`. What appends, makes, changes and deletes is awaited; appends that are
    awaited together share syncs. What only looks returns at once. Reading is asynchronous iteration.
    """

    def _make(self, store: msglog.Store) -> msglog.Log:
        made = msglog.Log(store)
        self._append_plain = made.append_plain  # type: ignore[method-assign]
        return made

    def _append_plain(self, topic: str, value: bytes | None, key: bytes | None) -> RecordMetadata | None:
        """Stand for the threaded method until the store is open; raises."""
        return self.sync.append_plain(topic, value, key)

    async def append(
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
        """Append one record and return where it is, durable as the store's `sync` says. See `msglog.Log.append`.

        Appends of tasks that wait at the same time share syncs. When it is cancelled the record is there nevertheless,
        or will be: the outcome is unknown to the task, as after a timeout.
        """
        if (
            headers is _NO_HEADERS
            and partition is None
            and timestamp_ms is None
            and expected_offset is None
            and expected_key_offset is None
        ):
            metadata = self._append_plain(topic, value, key)
            if metadata is not None:
                engine = self._engine
                if engine.published < engine.commit_number:
                    await next_sync(engine)
                return metadata
        call = partial(
            self.sync.append,
            topic,
            value,
            key=key,
            headers=headers,
            partition=partition,
            timestamp_ms=timestamp_ms,
            expected_offset=expected_offset,
            expected_key_offset=expected_key_offset,
        )
        if expected_key_offset is not None:  # it may have to read records, and to wait for a sync before it decides
            return await run(call)
        return await write(self._engine, call)

    async def append_many(
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
        """Append many records in one commit and return the offsets each partition got.

        Arguments and errors as for `msglog.Log.append_many`; cancelling as for `append`.
        """
        call = partial(
            self.sync.append_many,
            topic,
            values,
            key=key,
            keys=keys,
            headers=headers,
            partition=partition,
            timestamps_ms=timestamps_ms,
            expected_offset=expected_offset,
            expected_key_offset=expected_key_offset,
        )
        if expected_key_offset is not None:
            return await run(call)
        return await write(self._engine, call)

    create_topic = in_thread(msglog.Log.create_topic)
    delete_topic = in_thread(msglog.Log.delete_topic)
    add_partitions = in_thread(msglog.Log.add_partitions)
    alter_topic = in_thread(msglog.Log.alter_topic)
    delete_records = in_thread(msglog.Log.delete_records)
    clean = in_thread(msglog.Log.clean)
    export_records = in_thread(msglog.Log.export_records)
    import_records = in_thread(msglog.Log.import_records)
    reset_offsets = in_thread(msglog.Log.reset_offsets)
    delete_group = in_thread(msglog.Log.delete_group)
    last_record = in_thread(msglog.Log.last_record)
    topics = plain(msglog.Log.topics)
    describe_topic = plain(msglog.Log.describe_topic)
    partition_for = plain(msglog.Log.partition_for)
    start_offset = plain(msglog.Log.start_offset)
    end_offset = plain(msglog.Log.end_offset)
    offset_at = plain(msglog.Log.offset_at)
    groups = plain(msglog.Log.groups)
    describe_group = plain(msglog.Log.describe_group)
    read = iterated(msglog.Log.read)
    read_key = iterated(msglog.Log.read_key)

    def consumer(
        self,
        *topics: str | re.Pattern[str],
        group: str | None = None,
        start: Literal["earliest", "latest", "error"] = "earliest",
        auto_commit: bool = False,
        assignor: AssignorName = "range",
        instance_id: str | None = None,
        session_timeout_ms: int = 45_000,
        max_poll_interval_ms: int = 300_000,
        on_assign: RebalanceCallback | None = None,
        on_revoke: RebalanceCallback | None = None,
        on_lost: RebalanceCallback | None = None,
    ) -> Consumer:
        """Return a consumer for the tasks of the running loop. Arguments and errors as for `msglog.Log.consumer`."""
        consumer = Consumer(
            self.sync,
            *topics,
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
        self._attach(consumer)
        return consumer

    def share_consumer(
        self,
        *topics: str | re.Pattern[str],
        group: str,
        start: Literal["earliest", "latest"] = "earliest",
        lock_ms: int = DEFAULT_LOCK_MS,
        delivery_limit: int = DEFAULT_DELIVERY_LIMIT,
    ) -> ShareConsumer:
        """Return a member of a share group for the tasks of the running loop. See `msglog.Log.share_consumer`."""
        consumer = ShareConsumer(
            self.sync, *topics, group=group, start=start, lock_ms=lock_ms, delivery_limit=delivery_limit
        )
        self._attach(consumer)
        return consumer

    def producer(self, name: str) -> Producer:
        """Return a named producer; `await` it, or use `async with`, to become the holder of the name.

        See `msglog.Log.producer`.
        """
        return Producer(self.sync, name)

    @overload
    def topic(self, name: str, *, on_decode_error: OnDecodeError = "raise") -> TypedTopic[bytes, bytes]: ...
    @overload
    def topic(self, name: str, *, key: Codec[K], on_decode_error: OnDecodeError = "raise") -> TypedTopic[K, bytes]: ...
    @overload
    def topic(
        self, name: str, *, value: Codec[V], on_decode_error: OnDecodeError = "raise"
    ) -> TypedTopic[bytes, V]: ...
    @overload
    def topic(
        self, name: str, *, key: Codec[K], value: Codec[V], on_decode_error: OnDecodeError = "raise"
    ) -> TypedTopic[K, V]: ...
    def topic(
        self,
        name: str,
        *,
        key: Codec[Any] = BYTES,
        value: Codec[Any] = BYTES,
        on_decode_error: OnDecodeError = "raise",
    ) -> TypedTopic[Any, Any]:
        """Return a view of a topic with objects as keys and values. The topic need not exist yet.

        Arguments and errors as for `msglog.Log.topic`. A callable as `on_decode_error` may be a coroutine function:
        what it returns is awaited.
        """
        codec = RecordCodec(key, value, on_decode_error, awaited=True)
        return TypedTopic(self, self.sync.view(name, codec))

    def subscribe(
        self,
        *topics: str | re.Pattern[str],
        group: str,
        callback: Callable[[Record], Awaitable[object]],
        concurrency: int = 1,
        on_error: msglog.Retry | None = None,
    ) -> Subscription:
        """Await `callback(record)` for each record of the group's topics, in `concurrency` tasks.

        Each is a member of the group, so partitions are handled at the same time, and the records of one in order; more
        tasks than partitions are idle. See `Subscription`. Raises as `consumer` does.
        """
        retry = msglog.Retry() if on_error is None else on_error
        subscription = Subscription(self.sync, topics, group, callback, concurrency, retry)
        self._attach(subscription)
        return subscription

"""The public class for one topic with objects as keys and values. Exported by `msglog`; imported by `log`."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from msglog.checks import wrong_type
from msglog.codecs import ENCODES
from msglog.log.appending import HeadersArgument
from msglog.log.producer import Producer
from msglog.log.rules.membership import AssignorName
from msglog.log.share.consumer import DEFAULT_DELIVERY_LIMIT, DEFAULT_LOCK_MS
from msglog.log.subscription import Subscription
from msglog.log.typed.consumer import TypedConsumer
from msglog.log.typed.producer import TypedProducer
from msglog.log.typed.record import RecordCodec, TypedRecord
from msglog.log.typed.share import TypedShareConsumer
from msglog.retry import Retry
from msglog.store import Store
from msglog.types import Record, RecordMetadata

if TYPE_CHECKING:  # the log makes its views
    from msglog.log.grouping import RebalanceCallback
    from msglog.log.log import Log

K = TypeVar("K")
V = TypeVar("V")

_DEFAULT_RETRY = Retry()


class TypedTopic(Generic[K, V]):
    """One topic with objects as keys and values; made by `Log.topic`.

    Its methods are those of `Log` without the topic's name, with objects where those have bytes. `None` as a value is a
    tombstone, as a key no key. What a codec does not encode raises `EncodeError` before anything is written. In a
    transaction the view stands where the name does: `tx.append(orders, order)`.

    Holds nothing that needs closing. As safe for threads as its codecs are; msglog's are for any number.
    """

    def __init__(self, log: "Log", name: str, codec: RecordCodec[K, V]) -> None:
        self._log = log
        self._name = name
        self._codec = codec

    @property
    def name(self) -> str:
        """The name of the topic."""
        return self._name

    @property
    def store(self) -> Store:
        """The store that the topic is in."""
        return self._log.store

    @property
    def codec(self) -> RecordCodec[K, V]:
        """The step between records and objects; not public."""
        return self._codec

    def append(
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
        """Append one record and return where it is. Arguments as for `Log.append`; raises that, and `EncodeError`."""
        return self._log.append(
            self._name,
            self._codec.encode_value(value),
            key=self._codec.encode_key(key),
            headers=headers,
            partition=partition,
            timestamp_ms=timestamp_ms,
            expected_offset=expected_offset,
            expected_key_offset=expected_key_offset,
        )

    def append_many(
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

        Arguments as for `Log.append_many`; raises that, and `EncodeError`, which says which object it is, with nothing
        appended.
        """
        return self._log.append_many(
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
        return self._log.partition_for(self._name, self.key_bytes(key))

    def read(
        self,
        partition: int | None = None,
        *,
        start: int | None = None,
        stop: int | None = None,
        max_records: int | None = None,
    ) -> Iterator[TypedRecord[K, V]]:
        """Return the records of a partition up to its end now, in offset order; never waits for more.

        Arguments as for `Log.read`. The iterator raises what that of `Log.read` does, and `DecodeError` as
        `on_decode_error` says; the next step after one goes on with the next record.
        """
        return self._codec.iterate(
            self._log.read(self._name, partition, start=start, stop=stop, max_records=max_records)
        )

    def read_key(
        self, key: K, *, partition: int | None = None, start: int | None = None
    ) -> Iterator[TypedRecord[K, V]]:
        """Return the records of one key up to the partition's end now, as `Log.read_key` and `read` do."""
        return self._codec.iterate(
            self._log.read_key(self._name, self.key_bytes(key), partition=partition, start=start)
        )

    def last_record(self, key: K, *, partition: int | None = None) -> TypedRecord[K, V] | None:
        """Return the newest record of a key, perhaps a tombstone, None when there is none, or when it is left out.

        Raises as `Log.last_record` does, and `DecodeError`, `EncodeError`.
        """
        record = self._log.last_record(self._name, self.key_bytes(key), partition=partition)
        return None if record is None else self._codec.decode_or_handle(record)

    def start_offset(self, partition: int | None = None) -> int:
        """Return the first offset that can be read, as `Log.start_offset` does."""
        return self._log.start_offset(self._name, partition)

    def end_offset(self, partition: int | None = None) -> int:
        """Return the offset after the last readable record, as `Log.end_offset` does."""
        return self._log.end_offset(self._name, partition)

    def offset_at(self, timestamp_ms: int, *, partition: int | None = None) -> int:
        """Return the earliest offset with a timestamp of `timestamp_ms` or later, as `Log.offset_at` does."""
        return self._log.offset_at(self._name, timestamp_ms, partition=partition)

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
        """Return a consumer of the topic. Arguments and errors as of `Log.consumer`.

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
        callback: Callable[[TypedRecord[K, V]], object],
        workers: int = 1,
        on_error: Retry = _DEFAULT_RETRY,
    ) -> Subscription:
        """Call `callback` for each record of the topic, on `workers` daemon threads. See `Log.subscribe`.

        A record that does not decode counts as one whose callback failed, unless `on_decode_error` says otherwise.
        """
        function = self._codec.callback(callback)
        return self._log.subscribe(self._name, group=group, callback=function, workers=workers, on_error=on_error)

    def producer(self, name_or_producer: str | Producer) -> TypedProducer[K, V]:
        """Return a named producer for the topic: by its name, as `Log.producer` does, or one that is there.

        One producer can append to several topics so. Closing what was made from a name closes the producer. Raises as
        `Log.producer` does.
        """
        if isinstance(name_or_producer, Producer):
            return TypedProducer(name_or_producer, self._name, self._codec, owns=False)
        return TypedProducer(self._log.producer(name_or_producer), self._name, self._codec, owns=True)

    def decode(self, record: Record) -> TypedRecord[K, V]:
        """Return a record that was read otherwise, with objects.

        Raises `DecodeError`, whatever `on_decode_error` says.
        """
        return self._codec.decode(record)

    def key_bytes(self, key: K) -> bytes:
        """Return the bytes of a key that must be one; not public. Raises `EncodeError`, `InvalidTypeError`."""
        encoded = self._codec.encode_key(key)
        if encoded is None:
            raise wrong_type("key", None, ENCODES)
        return encoded

    def __repr__(self) -> str:
        return f"<msglog.TypedTopic {self._name!r} {self._codec.names}>"

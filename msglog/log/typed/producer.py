"""A named producer that appends objects to one topic. Exported by `msglog`; imported by `topic`."""

from collections.abc import Iterable
from types import TracebackType
from typing import Generic, Self, TypeVar

from msglog.log.appending import HeadersArgument
from msglog.log.producer import Producer
from msglog.log.typed.record import RecordCodec
from msglog.types import RecordMetadata

K = TypeVar("K")
V = TypeVar("V")


class TypedProducer(Generic[K, V]):
    """The holder of a producer's name, for objects; made by `TypedTopic.producer`. See `Producer`.

    `raw`: the producer itself. A context manager.
    """

    def __init__(self, producer: Producer, topic: str, codec: RecordCodec[K, V], *, owns: bool) -> None:
        self.raw: Producer = producer
        self._topic = topic
        self._codec = codec
        self._owns = owns

    @property
    def name(self) -> str:
        """The producer's name."""
        return self.raw.name

    @property
    def last_sequence(self) -> int:
        """The last sequence number written under this name, over all topics; see `Producer.last_sequence`."""
        return self.raw.last_sequence

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
        sequence: int | None = None,
    ) -> RecordMetadata:
        """Append one record, at most once for each sequence number. See `Producer.append`; raises `EncodeError`, too.

        An object that is sent again must be encoded into the same bytes.
        """
        return self.raw.append(
            self._topic,
            self._codec.encode_value(value),
            key=self._codec.encode_key(key),
            headers=headers,
            partition=partition,
            timestamp_ms=timestamp_ms,
            expected_offset=expected_offset,
            expected_key_offset=expected_key_offset,
            sequence=sequence,
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
        first_sequence: int | None = None,
    ) -> dict[int, range]:
        """Append many records, at most once. See `Producer.append_many`; raises `EncodeError`, too."""
        return self.raw.append_many(
            self._topic,
            self._codec.encode_values(values),
            key=self._codec.encode_key(key),
            keys=self._codec.encode_keys(keys),
            headers=headers,
            partition=partition,
            timestamps_ms=timestamps_ms,
            expected_offset=expected_offset,
            expected_key_offset=expected_key_offset,
            first_sequence=first_sequence,
        )

    def close(self) -> None:
        """End the producer, unless it was there before. Calling again does nothing."""
        if self._owns:
            self.raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<msglog.TypedProducer topic={self._topic!r} {self.raw!r}>"

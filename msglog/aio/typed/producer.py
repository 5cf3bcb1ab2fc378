"""A named producer for tasks that appends objects to one topic. Exported by `msglog.aio`; imported by `topic`."""

from collections.abc import Iterable
from typing import Generic, Self, TypeVar

from msglog.aio.opened import Opened
from msglog.aio.producer import Producer
from msglog.log.appending import HeadersArgument
from msglog.log.typed import RecordCodec
from msglog.types import RecordMetadata

K = TypeVar("K")
V = TypeVar("V")


class TypedProducer(Opened, Generic[K, V]):
    """The holder of a producer's name, for objects; made by `TypedTopic.producer`.

    It holds the name once it was awaited or entered by `async with`. `raw`: the `Producer` itself.
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

    async def open(self) -> Self:
        """Become the holder of the name, unless that is so already. See `Producer.open`."""
        await self.raw.open()
        return self

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
        sequence: int | None = None,
    ) -> RecordMetadata:
        """Append one record, at most once for each sequence number. See `Producer.append`; raises `EncodeError`, too.

        An object that is sent again must be encoded into the same bytes.
        """
        return await self.raw.append(
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
        first_sequence: int | None = None,
    ) -> dict[int, range]:
        """Append many records, at most once. See `Producer.append_many`; raises `EncodeError`, too."""
        return await self.raw.append_many(
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

    async def close(self) -> None:
        """End the producer, unless it was there before. Calling again does nothing."""
        if self._owns:
            await self.raw.close()

    def __repr__(self) -> str:
        return f"<msglog.aio.TypedProducer topic={self._topic!r} {self.raw!r}>"

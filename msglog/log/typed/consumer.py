"""Consumers that hand out records with objects in them. Exported by `msglog`; imported by `topic`."""

from collections.abc import Iterator, Mapping
from time import monotonic
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from msglog.checks import check_timeout
from msglog.errors import OffsetOutOfRangeError
from msglog.log.consumer import MAX_RECORDS, Consumer
from msglog.log.typed.record import RecordCodec, TypedRecord
from msglog.types import Record, TopicPartition
from msglog.waiting import deadline_after

K = TypeVar("K")
V = TypeVar("V")


class TypedConsumer(Generic[K, V]):
    """Reads a topic in order, with objects; made by `TypedTopic.consumer`. See `Consumer`.

    `raw`: the consumer itself, which shares everything with this one. A record that does not decode counts as handed
    out: positions are behind it once its `DecodeError` was raised, and reading goes on with the next one. To read it
    again, `seek`. For one thread at a time, but for `stop` and `close`; a context manager.
    """

    def __init__(self, consumer: Consumer, codec: RecordCodec[K, V]) -> None:
        self.raw: Consumer = consumer
        self._codec = codec

    def typed(self, record: Record) -> TypedRecord[K, V] | None:
        """Return a record of `raw` with objects, None for one that is left out; not public."""
        return self._codec.decode_or_handle(record)

    @property
    def group(self) -> str | None:
        """The name of its group, None without one."""
        return self.raw.group

    @property
    def auto_commit(self) -> bool:
        """Whether it commits by itself what was finished."""
        return self.raw.auto_commit

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self.raw.stopped

    # Reading

    def poll(self, timeout: float | None = None, max_records: int = MAX_RECORDS) -> list[TypedRecord[K, V]]:
        """Return the next records, waiting up to `timeout` seconds for the first; an empty list after that.

        See `Consumer.poll`. Raises `DecodeError`, as `on_decode_error` says, when no record came before; the next call
        goes on behind it.
        """
        seconds = check_timeout(timeout)
        deadline = deadline_after(seconds)
        while True:
            left = seconds if deadline is None or not seconds else max(0.0, deadline - monotonic())
            polled = self.raw.poll(left, max_records)
            records = self._decode_all(polled)
            if records or not polled:
                return records

    def _decode_all(self, polled: list[Record]) -> list[TypedRecord[K, V]]:
        """Decode what was polled; at an error go back to the first record that nobody has got or heard of."""
        records: list[TypedRecord[K, V]] = []
        for place, record in enumerate(polled):
            try:
                decoded = self._codec.decode_or_handle(record)
            except Exception:
                go_back_to(self.raw, polled[place:] if records else polled[place + 1 :])
                if records:
                    return records  # the error comes with the next call
                raise
            except BaseException:  # an interrupt: nobody gets any of them
                go_back_to(self.raw, polled)
                raise
            if decoded is not None:
                records.append(decoded)
        return records

    def iter(self, timeout: float | None = None) -> Iterator[TypedRecord[K, V]]:
        """Return an iterator over the records from the position on, as `Consumer.iter` does.

        Raises what `poll` raises; after a `DecodeError` the next step goes on with the next record.
        """
        return self._codec.iterate(self.raw.iter(timeout))

    def __iter__(self) -> Iterator[TypedRecord[K, V]]:
        return self.iter()

    def stop(self) -> None:
        """Hand out nothing more. See `Consumer.stop`."""
        self.raw.stop()

    # Committing

    def commit(self, upto: TypedRecord[Any, Any] | Record | Mapping[TopicPartition, int] | None = None) -> None:
        """Commit the group's offsets: the positions, those up to and with a record, or others. See `Consumer.commit`.

        Without `upto` that covers a record whose `DecodeError` was raised.
        """
        self.raw.commit(upto.raw if isinstance(upto, TypedRecord) else upto)

    def committed(self, tp: TopicPartition) -> int | None:
        """Return the group's committed offset in a partition. See `Consumer.committed`."""
        return self.raw.committed(tp)

    # Positions

    def assignment(self) -> frozenset[TopicPartition]:
        """Return the partitions this consumer reads now."""
        return self.raw.assignment()

    def position(self, tp: TopicPartition) -> int:
        """Return the offset after the last record handed out. See `Consumer.position`."""
        return self.raw.position(tp)

    def lag(self) -> dict[TopicPartition, int]:
        """Return how far the position in each assigned partition is behind the end."""
        return self.raw.lag()

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Go on at `offset`. See `Consumer.seek`."""
        self.raw.seek(tp, offset)

    def seek_to_time(self, timestamp_ms: int) -> None:
        """Go to the first offset whose timestamp is at or after `timestamp_ms`. See `Consumer.seek_to_time`."""
        self.raw.seek_to_time(timestamp_ms)

    def seek_to_beginning(self, *tps: TopicPartition) -> None:
        """Go to the start offset of these partitions, of all assigned ones if none are named."""
        self.raw.seek_to_beginning(*tps)

    def seek_to_end(self, *tps: TopicPartition) -> None:
        """Go to the end offset of these partitions, of all assigned ones if none are named."""
        self.raw.seek_to_end(*tps)

    def seek_to_committed(self) -> None:
        """Go back to the group's committed offset in each assigned partition. See `Consumer.seek_to_committed`."""
        self.raw.seek_to_committed()

    def pause(self, *tps: TopicPartition) -> None:
        """Hand out nothing from these partitions until `resume`. See `Consumer.pause`."""
        self.raw.pause(*tps)

    def resume(self, *tps: TopicPartition) -> None:
        """Undo `pause` for these partitions, for all assigned ones if none are named."""
        self.raw.resume(*tps)

    # Ending

    def close(self) -> None:
        """Commit what is finished (with `auto_commit`), leave the group. See `Consumer.close`."""
        self.raw.close()

    def __enter__(self) -> Self:
        self.raw.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.raw.__exit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"<msglog.TypedConsumer {self.raw!r}>"


def go_back_to(consumer: Consumer, records: list[Record]) -> None:
    """Have a consumer hand out records again that it has handed out."""
    firsts = {TopicPartition(record.topic, record.partition): record.offset for record in reversed(records)}
    for partition, offset in firsts.items():
        try:
            consumer.seek(partition, offset)
        except OffsetOutOfRangeError as error:  # retention has removed it meanwhile
            consumer.seek(partition, error.start_offset)

"""Consumers for tasks that hand out records with objects in them. Exported by `msglog.aio`; imported by `topic`."""

from asyncio import sleep
from collections.abc import AsyncIterator, Mapping
from typing import Any, Generic, TypeVar

import msglog
from msglog.aio.calls import Written
from msglog.aio.consumer import Consumer
from msglog.aio.forwarding import plain
from msglog.aio.typed.decoding import Decoding, decoded
from msglog.aio.typed.on_raw import OnRaw
from msglog.aio.waiting import left_until
from msglog.checks import check_timeout
from msglog.log.consumer import MAX_RECORDS
from msglog.log.typed import RecordCodec, TypedRecord
from msglog.log.typed.consumer import go_back_to
from msglog.types import Record, TopicPartition
from msglog.waiting import deadline_after

K = TypeVar("K")
V = TypeVar("V")


class TypedConsumer(OnRaw[Consumer], Generic[K, V]):
    """Reads a topic in order, with objects, for one task at a time; made by `TypedTopic.consumer`.

    As `msglog.TypedConsumer`. `raw`: the `Consumer` itself, which shares everything with this one. A record that does
    not decode counts as handed out; one that a task was cancelled for, while `on_decode_error` was awaited, does not. A
    context manager.
    """

    def __init__(self, consumer: Consumer, codec: RecordCodec[K, V]) -> None:
        self.raw: Consumer = consumer
        self._codec = codec
        self._sync = msglog.TypedConsumer(consumer.sync, codec)

    @property
    def sync(self) -> msglog.TypedConsumer[K, V]:
        """The threaded consumer that this one stands for; what a transaction takes as well as this one."""
        return self._sync

    async def typed(self, record: Record) -> TypedRecord[K, V] | None:
        """Return a record of `raw` with objects, None for one that is left out; not public."""
        return await decoded(self._codec, record)

    @property
    def group(self) -> str | None:
        """The name of its group, None without one."""
        return self.raw.group

    @property
    def auto_commit(self) -> bool:
        """Whether it commits by itself what was finished."""
        return self.raw.auto_commit

    # Reading

    async def poll(self, timeout: float | None = None, max_records: int = MAX_RECORDS) -> list[TypedRecord[K, V]]:
        """Return the next records, waiting up to `timeout` seconds for the first; an empty list after that.

        See `Consumer.poll`. Raises `DecodeError`, as `on_decode_error` says, when no record came before; the next call
        goes on behind it. When it is cancelled no record is lost: the next call has them.
        """
        deadline = deadline_after(check_timeout(timeout))
        with self.raw.tasks:
            while polled := await self.raw.poll(left_until(deadline), max_records):
                records = await self._decode_all(polled)
                if records:
                    return records
                await sleep(0)  # whatever has to be left out, others have their turn
        return []

    async def _decode_all(self, polled: list[Record]) -> list[TypedRecord[K, V]]:
        """Decode what was polled; at an error go back to the first record that nobody has got or heard of."""
        records: list[TypedRecord[K, V]] = []
        for place, record in enumerate(polled):
            try:
                found = await decoded(self._codec, record)
            except Exception:
                go_back_to(self.raw.sync, polled[place:] if records else polled[place + 1 :])
                if records:
                    return records  # the error comes with the next call
                raise
            except BaseException:  # a cancellation: nobody gets any of them
                go_back_to(self.raw.sync, polled)
                raise
            if found is not None:
                records.append(found)
        return records

    def iter(self, timeout: float | None = None) -> AsyncIterator[TypedRecord[K, V]]:
        """Return an asynchronous iterator over the records from the position on, as `Consumer.iter` does.

        Raises what `poll` raises; after a `DecodeError` the next step goes on with the next record.
        """
        return Decoding(self.raw.iter(timeout), self.typed, self._put_back)

    def _put_back(self, record: Record) -> None:
        go_back_to(self.raw.sync, [record])

    def __aiter__(self) -> AsyncIterator[TypedRecord[K, V]]:
        return self.iter()

    # Committing

    def commit(
        self, upto: TypedRecord[Any, Any] | Record | Mapping[TopicPartition, int] | None = None
    ) -> Written[None]:
        """Commit the group's offsets: the positions, those up to and with a record, or others. See `Consumer.commit`.

        Written when this returns, and durable once what it returns was awaited. Without `upto` that covers a record
        whose `DecodeError` was raised.
        """
        return self.raw.commit(upto.raw if isinstance(upto, TypedRecord) else upto)

    committed = plain(msglog.TypedConsumer.committed)
    assignment = plain(msglog.TypedConsumer.assignment)
    position = plain(msglog.TypedConsumer.position)
    lag = plain(msglog.TypedConsumer.lag)
    seek = plain(msglog.TypedConsumer.seek)
    seek_to_time = plain(msglog.TypedConsumer.seek_to_time)
    seek_to_beginning = plain(msglog.TypedConsumer.seek_to_beginning)
    seek_to_end = plain(msglog.TypedConsumer.seek_to_end)
    seek_to_committed = plain(msglog.TypedConsumer.seek_to_committed)
    pause = plain(msglog.TypedConsumer.pause)
    resume = plain(msglog.TypedConsumer.resume)

    def __repr__(self) -> str:
        return f"<msglog.aio.TypedConsumer {self.raw!r}>"

"""Members of share groups, for tasks, that get records with objects. Exported by `msglog.aio`; imported by `topic`."""

from asyncio import sleep
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

import msglog
from msglog.aio.consumer import ShareConsumer
from msglog.aio.typed.decoding import Calling, decoded
from msglog.aio.typed.on_raw import OnRaw
from msglog.aio.waiting import left_until
from msglog.checks import check_integer, check_timeout
from msglog.log import ShareRecord, TypedShareRecord
from msglog.log.consumer import MAX_RECORDS
from msglog.log.typed import RecordCodec
from msglog.waiting import deadline_after

K = TypeVar("K")
V = TypeVar("V")


class TypedShareConsumer(OnRaw[ShareConsumer], Generic[K, V]):
    """A member of a share group, for objects and tasks; made by `TypedTopic.share_consumer`.

    As `msglog.TypedShareConsumer`. `raw`: the `ShareConsumer` itself. A record that does not decode is in hand:
    `error.record` of the `DecodeError` can be settled or released. Where `on_decode_error` leaves it out, it is
    rejected. A context manager.
    """

    def __init__(self, consumer: ShareConsumer, codec: RecordCodec[K, V]) -> None:
        self.raw: ShareConsumer = consumer
        self._codec = codec
        self._sync = msglog.TypedShareConsumer(consumer.sync, codec)

    @property
    def sync(self) -> msglog.TypedShareConsumer[K, V]:
        """The threaded consumer that this one stands for."""
        return self._sync

    async def typed(self, record: ShareRecord) -> TypedShareRecord[K, V] | None:
        """Return a record of `raw` with objects, None for one that is left out; not public."""
        found = await decoded(self._codec, record)
        return None if found is None else TypedShareRecord(found, record)

    async def poll(self, timeout: float | None = None, max_records: int = MAX_RECORDS) -> list[TypedShareRecord[K, V]]:
        """Return the next records, waiting up to `timeout` seconds for the first; an empty list after that.

        See `ShareConsumer.poll`. Raises `DecodeError`, as `on_decode_error` says, when no record came before; the next
        call goes on behind it. When it is cancelled no record is lost: the next call has them.
        """
        deadline = deadline_after(check_timeout(timeout))
        check_integer("max_records", max_records, 1)
        with self.raw.tasks:
            while taken := self._sync.take_held(max_records) or await self.raw.poll(left_until(deadline), max_records):
                records = await self._decode_all(taken)
                if records:
                    return records
                await sleep(0)  # whatever has to be left out, others have their turn
        return []

    async def _decode_all(self, taken: list[ShareRecord]) -> list[TypedShareRecord[K, V]]:
        records: list[TypedShareRecord[K, V]] = []
        for place, record in enumerate(taken):
            try:
                found = await self.typed(record)
            except Exception:
                self._sync.hold(taken[place:] if records else taken[place + 1 :])
                if records:
                    return records  # the error comes with a later call
                raise
            except BaseException:  # a cancellation: nobody gets any of them
                self._sync.hold(taken)
                raise
            if found is not None:
                records.append(found)
        return records

    def iter(self, timeout: float | None = None) -> AsyncIterator[TypedShareRecord[K, V]]:
        """Return an asynchronous iterator over records, as `ShareConsumer.iter` does.

        Raises what `poll` raises; after a `DecodeError` the next step goes on with the next record.
        """
        seconds = check_timeout(timeout)

        async def step() -> TypedShareRecord[K, V] | None:
            return next(iter(await self.poll(seconds, 1)), None)

        return Calling(step)

    def __aiter__(self) -> AsyncIterator[TypedShareRecord[K, V]]:
        return self.iter()

    def __repr__(self) -> str:
        return f"<msglog.aio.TypedShareConsumer {self.raw!r}>"

"""Taking deliveries with objects in them, for tasks. Exported by `msglog.aio`; imported by `queue`."""

from asyncio import sleep
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import Generic, TypeVar

import msglog
from msglog.aio.delivery import Delivery
from msglog.aio.queue_consumer import QueueConsumer
from msglog.aio.typed.decoding import Calling
from msglog.aio.typed.delivery import TypedDelivery, delivered
from msglog.aio.typed.on_raw import OnRaw
from msglog.broker.typed import MessageCodec
from msglog.checks import check_timeout
from msglog.errors import DecodeError, SettlementError

T = TypeVar("T")


class TypedQueueConsumer(OnRaw[QueueConsumer], Generic[T]):
    """Takes messages with objects from one queue, for tasks; made by `TypedQueue.consume`.

    As `msglog.TypedQueueConsumer`. `raw`: the `QueueConsumer` itself. A message that does not decode is in hand until
    it is settled: by `error.delivery` of the `DecodeError`, or as `on_decode_error` says. For any number of tasks of
    the loop; a context manager.
    """

    def __init__(self, consumer: QueueConsumer, codec: MessageCodec[T]) -> None:
        self.raw: QueueConsumer = consumer
        self._codec = codec
        self._sync = msglog.TypedQueueConsumer(consumer.sync, codec)

    @property
    def sync(self) -> msglog.TypedQueueConsumer[T]:
        """The threaded consumer that this one stands for."""
        return self._sync

    async def typed(self, delivery: Delivery) -> TypedDelivery[T] | None:
        """Return a delivery of `raw` with an object, None for one that was dealt with; not public."""
        return await delivered(self._codec, delivery)

    @property
    def queue(self) -> str:
        """The name of the queue."""
        return self.raw.queue

    @property
    def no_ack(self) -> bool:
        """Whether its messages are settled as they are taken."""
        return self.raw.no_ack

    @property
    def closed(self) -> bool:
        """Whether the consumer was closed."""
        return self.raw.closed

    async def get(self, timeout: float | None = None) -> TypedDelivery[T] | None:
        """Return the next message; None after `timeout` seconds of real time without one, or after `stop()`.

        See `QueueConsumer.get`. Raises `DecodeError` as `on_decode_error` says. When it is cancelled no message is
        lost.
        """
        return await take(self.raw.get, self._codec, timeout)

    def iter(self, timeout: float | None = None) -> AsyncIterator[TypedDelivery[T]]:
        """Return an asynchronous iterator over messages, which ends when none has come for `timeout` seconds.

        As `QueueConsumer.iter`. Raises what `get` raises; after a `DecodeError` the next step goes on with the next
        message.
        """
        self.raw.iter(timeout)  # raises what there is to raise now

        async def step() -> TypedDelivery[T] | None:
            return await self.get(timeout)

        return Calling(step)

    def __aiter__(self) -> AsyncIterator[TypedDelivery[T]]:
        return self.iter()

    def __repr__(self) -> str:
        return f"<msglog.aio.TypedQueueConsumer {self.raw!r}>"


async def take(
    get: Callable[..., Awaitable[Delivery | None]], codec: MessageCodec[T], timeout: float | None
) -> TypedDelivery[T] | None:
    """Return the next delivery that decodes; the timeout is for all of them together."""
    seconds = left = check_timeout(timeout)
    started = monotonic() if seconds else 0.0
    while (delivery := await get(timeout=left)) is not None:
        try:
            found = await delivered(codec, delivery)
        except DecodeError:
            raise
        except BaseException:  # nothing must keep the message from everybody
            if delivery.pending:
                with suppress(SettlementError):
                    delivery.nack()
            raise
        if found is not None:
            return found
        if seconds:
            left = max(0.0, started + seconds - monotonic())
        await sleep(0)  # whatever has to be dealt with, others have their turn
    return None

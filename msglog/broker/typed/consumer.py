"""Consumers of a queue that hand out deliveries with objects in them. Exported by `msglog`; imported by `queue`."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Generic, Self, TypeVar

from msglog.broker.consumer import QueueConsumer
from msglog.broker.delivery import Delivery
from msglog.broker.typed.message import MessageCodec, TypedDelivery
from msglog.errors import DecodeError, SettlementError

T = TypeVar("T")


class TypedQueueConsumer(Generic[T]):
    """Takes messages with objects from one queue; made by `TypedQueue.consume`. See `QueueConsumer`.

    `raw`: the consumer itself. A message that does not decode is in hand until it is settled: by `error.delivery` of
    the `DecodeError`, or as `on_decode_error` says; taking goes on with the next one. Safe for any number of threads; a
    context manager.
    """

    def __init__(self, consumer: QueueConsumer, codec: MessageCodec[T]) -> None:
        self.raw: QueueConsumer = consumer
        self._codec = codec

    def typed(self, delivery: Delivery) -> TypedDelivery[T] | None:
        """Return a delivery of `raw` with an object, None for one that was dealt with; not public."""
        return self._codec.delivered_or_handled(delivery)

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

    def get(self, timeout: float | None = None) -> TypedDelivery[T] | None:
        """Return the next message; None after `timeout` seconds of real time without one, or after `stop()`.

        See `QueueConsumer.get`. Raises `DecodeError` as `on_decode_error` says.
        """
        return take(self.raw.get, self._codec, timeout)

    def iter(self, timeout: float | None = None) -> Iterator[TypedDelivery[T]]:
        """Yield messages until none has come for `timeout` seconds, as `QueueConsumer.iter` does.

        Raises what `get` raises; after a `DecodeError` the next step goes on with the next message.
        """
        self.raw.iter(timeout)  # raises what there is to raise now
        return iter(lambda: self.get(timeout), None)

    def __iter__(self) -> Iterator[TypedDelivery[T]]:
        return self.iter()

    def stop(self) -> None:
        """End iterations after the message in hand and make waiting calls return None. See `QueueConsumer.stop`."""
        self.raw.stop()

    def close(self) -> None:
        """End the consumer; what it has unsettled goes back to the queue. Calling again does nothing."""
        self.raw.close()

    def __enter__(self) -> Self:
        self.raw.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<msglog.TypedQueueConsumer {self.raw!r}>"


def take(get: Callable[..., Delivery | None], codec: MessageCodec[T], timeout: float | None) -> TypedDelivery[T] | None:
    """Return the next delivery that decodes; the timeout, which `get` checks, is for all of them together."""
    started = monotonic() if timeout else 0.0
    left = timeout
    while (delivery := get(timeout=left)) is not None:
        try:
            decoded = codec.delivered_or_handled(delivery)
        except DecodeError:
            raise
        except BaseException:  # an interrupt must not keep the message from everybody
            if delivery.pending:
                with suppress(SettlementError):
                    delivery.nack()
            raise
        if decoded is not None:
            return decoded
        if timeout:
            left = max(0.0, started + timeout - monotonic())
    return None

"""The public class for one queue with objects as bodies, for tasks. Exported by `msglog.aio`; imported by `broker`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import msglog
from msglog.aio.delivery import Delivery
from msglog.aio.publishing import publish
from msglog.aio.queue_subscription import QueueSubscription
from msglog.aio.tasks import check_callback
from msglog.aio.typed.decoding import Decoding, looked_at
from msglog.aio.typed.delivery import TypedDelivery, delivered
from msglog.aio.typed.exchange import TypedExchange
from msglog.aio.typed.queue_consumer import TypedQueueConsumer, take
from msglog.broker import Message, TypedMessage
from msglog.broker.delivery import OnError
from msglog.broker.vhost import VirtualHost
from msglog.codecs import Codec

if TYPE_CHECKING:  # the broker makes its views
    from msglog.aio.broker import Broker
    from msglog.aio.store import Store

T = TypeVar("T")
R = TypeVar("R")

_DEFAULT_RETRY = msglog.Retry()


class TypedQueue(Generic[T]):
    """One queue with objects as bodies, for tasks; made by `Broker.queue`.

    As `msglog.TypedQueue`, with `await` where `Broker` of `msglog.aio` has it. In a transaction the view stands where
    the name does: `tx.send(mails, mail)`. Holds nothing that needs closing.
    """

    def __init__(self, broker: "Broker", sync: msglog.TypedQueue[T]) -> None:
        self._broker = broker
        self._sync = sync
        self._name = sync.name
        self._codec = sync.codec
        self._vhost = VirtualHost.of(sync.store.core)
        self._default_exchange = TypedExchange(broker, sync.default_exchange)

    @property
    def sync(self) -> msglog.TypedQueue[T]:
        """The threaded view; what a transaction takes as well as this one."""
        return self._sync

    @property
    def name(self) -> str:
        """The name of the queue."""
        return self._name

    @property
    def store(self) -> "Store":
        """The store that the queue is in."""
        return self._broker.store

    # Publishing

    async def send(
        self,
        body: T,
        *,
        headers: Mapping[str, Any] | None = None,
        properties: msglog.Properties | None = None,
        priority: int | None = None,
        expiration_ms: int | None = None,
        delay_ms: int | None = None,
        persistent: bool = True,
    ) -> None:
        """Publish a message to the queue. Arguments as for `Broker.send`; raises that, and `EncodeError`.

        The property `content_type` is the codec's, unless `properties` has one.
        """
        await publish(
            self._vhost,
            self._sync.send,
            body,
            headers=headers,
            properties=properties,
            priority=priority,
            expiration_ms=expiration_ms,
            delay_ms=delay_ms,
            persistent=persistent,
        )

    async def send_many(self, bodies: Iterable[T], *, persistent: bool = True) -> None:
        """Publish many messages to the queue in one commit, all or nothing, in their order.

        Raises as `Broker.publish_many` does, `QueueNotFoundError`, and `EncodeError`, which says which body it is.
        """
        await publish(self._vhost, self._sync.send_many, bodies, persistent=persistent)

    @overload
    async def request(
        self,
        body: T,
        *,
        timeout: float | None,
        reply: Codec[R],
        headers: Mapping[str, Any] | None = None,
        properties: msglog.Properties | None = None,
    ) -> TypedMessage[R]: ...
    @overload
    async def request(
        self,
        body: T,
        *,
        timeout: float | None,
        headers: Mapping[str, Any] | None = None,
        properties: msglog.Properties | None = None,
    ) -> TypedMessage[T]: ...
    async def request(
        self,
        body: T,
        *,
        timeout: float | None,
        reply: Codec[Any] | None = None,
        headers: Mapping[str, Any] | None = None,
        properties: msglog.Properties | None = None,
    ) -> TypedMessage[Any]:
        """Publish a message to the queue and wait for the answer to it. See `Broker.request`.

        `reply`: the codec of the answer, None for the same one. Raises `DecodeError` for an answer that it does not
        decode.
        """
        return await self._default_exchange.ask(
            self._name, body, timeout=timeout, reply=reply, headers=headers, properties=properties
        )

    # Taking

    async def get(self, *, timeout: float | None = 0, no_ack: bool = False) -> TypedDelivery[T] | None:
        """Take the next message; None when none comes within `timeout` seconds of real time. See `Broker.get`.

        Raises `DecodeError` as `on_decode_error` says; its `delivery` is in hand, to be settled.
        """
        return await take(partial(self._broker.get, self._name, no_ack=no_ack), self._codec, timeout)

    def consume(
        self,
        *,
        prefetch_count: int = 100,
        no_ack: bool = False,
        exclusive: bool = False,
        priority: int = 0,
        on_error: OnError = _DEFAULT_RETRY,
    ) -> TypedQueueConsumer[T]:
        """Return a consumer of the queue, for tasks. Arguments and errors as of `Broker.consume`."""
        consumer = self._broker.consume(
            self._name,
            prefetch_count=prefetch_count,
            no_ack=no_ack,
            exclusive=exclusive,
            priority=priority,
            on_error=on_error,
        )
        return TypedQueueConsumer(consumer, self._codec)

    def subscribe(
        self,
        callback: Callable[[TypedDelivery[T]], Awaitable[object]],
        *,
        concurrency: int = 1,
        on_error: OnError = _DEFAULT_RETRY,
    ) -> QueueSubscription:
        """Await `callback(delivery)` for each message, for up to `concurrency` at a time. See `Broker.subscribe`.

        A body that does not decode counts as a callback that failed, so `on_error` applies, unless `on_decode_error`
        says otherwise.
        """
        check_callback("callback", callback, "a delivery")

        async def decode_and_call(delivery: Delivery) -> None:
            found = await delivered(self._codec, delivery)
            if found is not None:
                await callback(found)

        return self._broker.subscribe(self._name, decode_and_call, concurrency=concurrency, on_error=on_error)

    # Looking

    async def peek(self, limit: int = 10) -> list[TypedMessage[T]]:
        """Return up to `limit` messages that wait, in the order of delivery, without taking them. See `Broker.peek`.

        Raises `DecodeError` for the first one that does not decode, unless `on_decode_error` leaves those out.
        """
        found = [await self._looked_at(message) for message in await self._broker.peek(self._name, limit)]
        return [message for message in found if message is not None]

    def history(self, *, since_ms: int | None = None, limit: int | None = None) -> AsyncIterator[TypedMessage[T]]:
        """Return an asynchronous iterator over settled messages that are still there, oldest first.

        See `Broker.history`. Raises `DecodeError` unless `on_decode_error` leaves those out; the next step goes on with
        the next message.
        """
        messages = self._broker.history(self._name, since_ms=since_ms, limit=limit)
        return Decoding(messages, self._looked_at)

    async def _looked_at(self, message: Message) -> TypedMessage[T] | None:
        return await looked_at(self._codec, message)

    def decode(self, message: Message) -> TypedMessage[T]:
        """Return a message that was come by otherwise, with an object.

        Raises `DecodeError`, whatever `on_decode_error` says.
        """
        return self._codec.decode(message)

    def __repr__(self) -> str:
        return f"<msglog.aio.TypedQueue {self._name!r} {self._codec.names}>"

"""The public class for one queue with objects as bodies. Exported by `msglog`; imported by `broker`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from msglog.broker.delivery import OnError
from msglog.broker.message import Message
from msglog.broker.properties import Properties
from msglog.broker.rules.names import queue_not_found
from msglog.broker.subscription import QueueSubscription
from msglog.broker.typed.consumer import TypedQueueConsumer, take
from msglog.broker.typed.exchange import PublishShort, TypedExchange
from msglog.broker.typed.message import MessageCodec, TypedDelivery, TypedMessage
from msglog.checks import wrong_payload
from msglog.codecs import Codec
from msglog.errors import UnroutableError
from msglog.retry import Retry
from msglog.store import Store

if TYPE_CHECKING:  # the broker makes its views
    from msglog.broker.broker import Broker

T = TypeVar("T")
R = TypeVar("R")

_DEFAULT_RETRY = Retry()


class TypedQueue(Generic[T]):
    """One queue with objects as bodies; made by `Broker.queue`.

    Its methods are those of `Broker` without the queue's name, with objects where those have bytes. What the codec does
    not encode raises `EncodeError` before anything is published. In a transaction the view stands where the name does:
    `tx.send(mails, mail)`.

    Holds nothing that needs closing. As safe for threads as its codec is; msglog's are for any number.
    """

    def __init__(self, broker: "Broker", name: str, codec: MessageCodec[T], publish_short: PublishShort) -> None:
        self._broker = broker
        self._publish_short = publish_short
        self._name = name
        self._codec = codec
        self._default_exchange = TypedExchange(broker, "", codec, publish_short)

    @property
    def name(self) -> str:
        """The name of the queue."""
        return self._name

    @property
    def store(self) -> Store:
        """The store that the queue is in."""
        return self._broker.store

    @property
    def default_exchange(self) -> TypedExchange[T]:
        """The view of the exchange that leads to the queue by its name; not public."""
        return self._default_exchange

    @property
    def codec(self) -> MessageCodec[T]:
        """The step between messages and objects; not public."""
        return self._codec

    # Publishing

    def send(
        self,
        body: T,
        *,
        headers: Mapping[str, Any] | None = None,
        properties: Properties | None = None,
        priority: int | None = None,
        expiration_ms: int | None = None,
        delay_ms: int | None = None,
        persistent: bool = True,
    ) -> None:
        """Publish a message to the queue. Arguments as for `Broker.send`; raises that, and `EncodeError`.

        The property `content_type` is the codec's, unless `properties` has one.
        """
        data = self._codec.encode(body)
        if (
            headers is None
            and properties is None
            and priority is None
            and expiration_ms is None
            and delay_ms is None
            and persistent is True
            and self._publish_short("", self._name, data, self._codec.content_type)
        ):
            return
        self._broker.send(
            self._name,
            data,
            headers=headers,
            properties=self._codec.properties(properties),
            priority=priority,
            expiration_ms=expiration_ms,
            delay_ms=delay_ms,
            persistent=persistent,
        )

    def send_many(self, bodies: Iterable[T], *, persistent: bool = True) -> None:
        """Publish many messages to the queue in one commit, all or nothing, in their order.

        Raises as `Broker.publish_many` does, `QueueNotFoundError`, and `EncodeError`, which says which body it is.
        """
        if isinstance(bodies, str | bytes | Mapping) or not isinstance(bodies, Iterable):
            raise wrong_payload("bodies", bodies, "an iterable of objects")
        messages = self._codec.messages((self._name, body) for body in bodies)
        try:
            self._broker.publish_many("", messages, persistent=persistent, mandatory=True)
        except UnroutableError:
            raise queue_not_found(self._name) from None

    @overload
    def request(
        self,
        body: T,
        *,
        timeout: float | None,
        reply: Codec[R],
        headers: Mapping[str, Any] | None = None,
        properties: Properties | None = None,
    ) -> TypedMessage[R]: ...
    @overload
    def request(
        self,
        body: T,
        *,
        timeout: float | None,
        headers: Mapping[str, Any] | None = None,
        properties: Properties | None = None,
    ) -> TypedMessage[T]: ...
    def request(
        self,
        body: T,
        *,
        timeout: float | None,
        reply: Codec[Any] | None = None,
        headers: Mapping[str, Any] | None = None,
        properties: Properties | None = None,
    ) -> TypedMessage[Any]:
        """Publish a message to the queue and wait for the answer to it. See `Broker.request`.

        `reply`: the codec of the answer, None for the same one. Raises `DecodeError` for an answer that it does not
        decode.
        """
        return self._default_exchange.ask(
            self._name, body, timeout=timeout, reply=reply, headers=headers, properties=properties
        )

    # Taking

    def get(self, *, timeout: float | None = 0, no_ack: bool = False) -> TypedDelivery[T] | None:
        """Take the next message; None when none comes within `timeout` seconds of real time. See `Broker.get`.

        Raises `DecodeError` as `on_decode_error` says; its `delivery` is in hand, to be settled.
        """
        return take(partial(self._broker.get, self._name, no_ack=no_ack), self._codec, timeout)

    def consume(
        self,
        *,
        prefetch_count: int = 100,
        no_ack: bool = False,
        exclusive: bool = False,
        priority: int = 0,
        on_error: OnError = _DEFAULT_RETRY,
    ) -> TypedQueueConsumer[T]:
        """Return a consumer of the queue. Arguments and errors as of `Broker.consume`."""
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
        self, callback: Callable[[TypedDelivery[T]], object], *, workers: int = 1, on_error: OnError = _DEFAULT_RETRY
    ) -> QueueSubscription:
        """Call `callback` for each message of the queue, on `workers` daemon threads. See `Broker.subscribe`.

        A body that does not decode counts as a callback that failed, so `on_error` applies, unless `on_decode_error`
        says otherwise.
        """
        return self._broker.subscribe(self._name, self._codec.callback(callback), workers=workers, on_error=on_error)

    # Looking

    def peek(self, limit: int = 10) -> list[TypedMessage[T]]:
        """Return up to `limit` messages that wait, in the order of delivery, without taking them. See `Broker.peek`.

        Raises `DecodeError` for the first one that does not decode, unless `on_decode_error` leaves those out.
        """
        decoded = map(self._codec.decode_or_handle, self._broker.peek(self._name, limit))
        return [message for message in decoded if message is not None]

    def history(self, *, since_ms: int | None = None, limit: int | None = None) -> Iterator[TypedMessage[T]]:
        """Yield settled messages that are still there, oldest first. See `Broker.history`.

        Raises `DecodeError` unless `on_decode_error` leaves those out; the next step goes on with the next message.
        """
        messages = self._broker.history(self._name, since_ms=since_ms, limit=limit)
        return filter(None, map(self._codec.decode_or_handle, messages))

    def decode(self, message: Message) -> TypedMessage[T]:
        """Return a message that was come by otherwise, with an object.

        Raises `DecodeError`, whatever `on_decode_error` says.
        """
        return self._codec.decode(message)

    def __repr__(self) -> str:
        return f"<msglog.TypedQueue {self._name!r} {self._codec.names}>"

"""Messages and deliveries with objects in them, and the step between them and bytes.

Pure but for the settling of what does not decode, which never waits: `MessageCodec` takes messages and gives messages,
whoever takes or publishes them. Exported by `msglog` (`TypedMessage`, `TypedDelivery`); imported by the typed views.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, Literal, Self, TypeVar, cast, overload

from msglog.broker.delivery import Delivery
from msglog.broker.message import Message
from msglog.broker.properties import Properties
from msglog.checks import check_handler, check_ran, wrong_payload, wrong_type
from msglog.codecs import Codec, SafeCodec, told
from msglog.errors import DecodeError, SettlementError

logger = logging.getLogger("msglog.typed")

T = TypeVar("T")
R = TypeVar("R")

OnBadBody = Literal["raise", "reject"] | Callable[[DecodeError], object]
"""What becomes of a message whose body does not decode: see `Broker.queue`."""

_ON_BAD_BODY: Final = "'raise', 'reject' or a callable that takes a DecodeError"
_PAIRS: Final = "an iterable of pairs of routing key and object"
_PAIR: Final = 2
_NO_PROPERTIES: Final = Properties()


class TypedMessage(Generic[T]):
    """A message whose `body` is an object, which `repr` never shows; all else as of `Message`."""

    __slots__ = ("_raw", "body")

    def __init__(self, body: T, raw: Message) -> None:
        self.body: T = body
        self._raw = raw

    @property
    def raw(self) -> Message:
        """The message with the bytes."""
        return self._raw

    @property
    def timestamp_ms(self) -> int:
        """When it was enqueued, in milliseconds since 1970."""
        return self.raw.timestamp_ms

    @property
    def exchange(self) -> str:
        """The exchange it was published to; "" for the default one."""
        return self.raw.exchange

    @property
    def routing_key(self) -> str:
        """The routing key it was published with."""
        return self.raw.routing_key

    @property
    def properties(self) -> Properties:
        """All basic properties, the headers among them."""
        return self.raw.properties

    @property
    def headers(self) -> dict[str, Any]:
        """The headers, {} when there are none."""
        return self.raw.headers

    def __repr__(self) -> str:
        return f"<msglog.Typed{repr(self.raw).removeprefix('<msglog.')}"


class TypedDelivery(TypedMessage[T]):
    """A message in hand whose `body` is an object: settle it as a `Delivery`, or by leaving `with delivery:`."""

    __slots__ = ()

    @property
    def raw(self) -> Delivery:
        """The delivery with the bytes."""
        return cast(Delivery, self._raw)

    @property
    def queue(self) -> str:
        """The name of the queue it came from."""
        return self.raw.queue

    @property
    def redelivered(self) -> bool:
        """Whether it was in somebody's hand before."""
        return self.raw.redelivered

    @property
    def delivery_count(self) -> int:
        """How often it was delivered before, as far as is known; 0 at first."""
        return self.raw.delivery_count

    @property
    def settled(self) -> bool:
        """Whether it was settled."""
        return self.raw.settled

    def ack(self) -> None:
        """Settle it: the message is done with. See `Delivery.ack`."""
        self.raw.ack()

    def nack(self, requeue: bool = True, *, delay_ms: int = 0) -> None:  # noqa: FBT001, FBT002 as AMQP has it
        """Give it back, or without `requeue` dead-letter it. See `Delivery.nack`."""
        self.raw.nack(requeue, delay_ms=delay_ms)

    def reject(self) -> None:
        """Dead-letter it. See `Delivery.reject`."""
        self.raw.reject()

    @overload
    def reply(
        self,
        body: R,
        codec: Codec[R],
        *,
        headers: Mapping[str, Any] | None = None,
        properties: Properties | None = None,
    ) -> bool: ...
    @overload
    def reply(
        self, body: bytes, *, headers: Mapping[str, Any] | None = None, properties: Properties | None = None
    ) -> bool: ...
    def reply(
        self,
        body: Any,
        codec: Codec[Any] | None = None,
        *,
        headers: Mapping[str, Any] | None = None,
        properties: Properties | None = None,
    ) -> bool:
        """Answer to the message's `reply_to` with an object and its codec, or with bytes. See `Delivery.reply`.

        Raises `EncodeError`, too.
        """
        if codec is not None:
            safe = SafeCodec("body", codec)
            body, properties = safe.encode(body), with_content_type(properties, safe.content_type)
        return self.raw.reply(body, headers=headers, properties=properties)

    def __enter__(self) -> Self:
        self.raw.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.raw.__exit__(kind, error, trace)


class MessageCodec(Generic[T]):
    """The codec of a queue's or exchange's bodies, and what is done with messages that it does not decode.

    `awaited`: whoever takes awaits what a callable returns, if it can be awaited. Raises `InvalidTypeError` for what
    is no codec and for an `on_decode_error` that is not known.
    """

    def __init__(self, body: Codec[T], on_decode_error: OnBadBody = "raise", *, awaited: bool = False) -> None:
        self._body = SafeCodec("body", body)
        if callable(on_decode_error):
            check_handler("on_decode_error", on_decode_error, "a DecodeError", awaited=awaited)
        elif on_decode_error not in ("raise", "reject"):
            raise wrong_type("on_decode_error", on_decode_error, _ON_BAD_BODY)
        self._on_decode_error = on_decode_error

    @property
    def names(self) -> str:
        """The codec by name, for a `repr`."""
        return f"body={self._body.name}"

    @property
    def content_type(self) -> str | None:
        """The content type that messages get."""
        return self._body.content_type

    # To bytes

    def encode(self, body: T) -> bytes:
        """Return the bytes of a body. Raises `EncodeError`."""
        return self._body.encode(body)

    def properties(self, given: Properties | None) -> Properties | None:
        """Return properties with the codec's content type, unless they have one."""
        return with_content_type(given, self._body.content_type)

    def messages(self, pairs: Iterable[tuple[str, T]]) -> list[Message]:
        """Return messages of pairs of routing key and body.

        Raises `EncodeError`, which says for which, `InvalidTypeError`, `InvalidOptionError`.
        """
        if isinstance(pairs, str | bytes | Mapping) or not isinstance(pairs, Iterable):
            raise wrong_payload("messages", pairs, _PAIRS)
        properties = self.properties(None)
        return [self._message(pair, place, properties) for place, pair in enumerate(pairs)]

    def _message(self, pair: object, place: int, properties: Properties | None) -> Message:
        if not isinstance(pair, tuple) or len(pair) != _PAIR:
            raise wrong_payload(f"messages[{place}]", pair, "a pair of routing key and object")
        routing_key, body = pair
        return Message(self._body.encode(body, place), routing_key=routing_key, properties=properties)

    # To objects

    def decode(self, message: Message) -> TypedMessage[T]:
        """Return a message with an object. Raises `DecodeError`, whatever is done with those elsewhere."""
        return TypedMessage(self._decode(message, None), message)

    def delivered(self, delivery: Delivery) -> TypedDelivery[T]:
        """Return a delivery with an object. Raises `DecodeError`, whatever is done with those elsewhere."""
        return TypedDelivery(self._decode(delivery, delivery), delivery)

    def _decode(self, message: Message, delivery: Delivery | None) -> T:
        try:
            return self._body.decode(message.body)
        except MemoryError:
            raise
        except Exception as error:
            where = "a message" if delivery is None else f"a message of queue {delivery.queue!r}"
            raise self._body.refusal(message.body, error, where, raw=message, delivery=delivery) from error

    def decode_or_handle(self, message: Message) -> TypedMessage[T] | None:
        """Return a message that was only looked at, None for one that is left out."""
        try:
            return self.decode(message)
        except DecodeError as error:
            check_ran("on_decode_error", self.tell(error))
            return None

    def delivered_or_handled(self, delivery: Delivery) -> TypedDelivery[T] | None:
        """Return a delivery with an object, None for one that was dealt with: it is settled.

        Raises the `DecodeError`, with the delivery in hand, or what the user's callable raises.
        """
        try:
            return self.delivered(delivery)
        except DecodeError as error:
            if not callable(self._on_decode_error):
                self.reject_or_raise(delivery, error)
            else:
                with delivery:
                    check_ran("on_decode_error", told(self._on_decode_error, error))
            return None

    @property
    def asks(self) -> bool:
        """Whether a callable of the user's says what becomes of a message (`tell`), inside `with delivery:`."""
        return callable(self._on_decode_error)

    def tell(self, error: DecodeError) -> object:
        """Tell of a message that does not decode; return what the user's callable does, if there is one.

        Raises the error itself, or what that raises; else the message is to be left out.
        """
        if self._on_decode_error == "raise":
            raise error
        return told(self._on_decode_error, error) if callable(self._on_decode_error) else None

    def reject_or_raise(self, delivery: Delivery, error: DecodeError) -> None:
        """Reject a message that does not decode, or raise the error with the message in hand."""
        if self._on_decode_error == "raise":
            raise error
        logger.warning(
            "rejected: %s",
            error,
            exc_info=error,
            extra={"event": "not_decoded", "queue": delivery.queue},
        )
        with suppress(SettlementError):  # it was settled as it was taken, or has gone back meanwhile
            delivery.reject()

    def callback(self, function: Callable[[TypedDelivery[T]], object]) -> Callable[[Delivery], object]:
        """Return a callback for deliveries that calls one for deliveries with objects."""
        check_handler("callback", function, "a delivery")
        return partial(self._call, function)

    def _call(self, function: Callable[[TypedDelivery[T]], object], delivery: Delivery) -> object:
        decoded = self.delivered_or_handled(delivery)
        return None if decoded is None else function(decoded)


def with_content_type(properties: Properties | None, content_type: str | None) -> Properties | None:
    """Return properties with a content type, unless they have one or there is none to set."""
    if content_type is None or (properties is not None and properties.content_type is not None):
        return properties
    return (properties or _NO_PROPERTIES).replace(content_type=content_type)

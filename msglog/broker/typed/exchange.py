"""The public class for one exchange with objects as bodies. Exported by `msglog`; imported by `broker`."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from msglog.broker.properties import Properties
from msglog.broker.typed.message import MessageCodec, TypedMessage
from msglog.codecs import Codec
from msglog.store import Store

if TYPE_CHECKING:  # the broker makes its views
    from msglog.broker.broker import Broker

T = TypeVar("T")
R = TypeVar("R")

PublishShort = Callable[[str, str, bytes, str | None], int]
"""The broker's short way for plain messages with a content type; it returns 0 where that does not lead there."""


class TypedExchange(Generic[T]):
    """One exchange with objects as bodies; made by `Broker.exchange`.

    Its methods are those of `Broker` without the exchange's name. What the codec does not encode raises `EncodeError`
    before anything is published. In a transaction the view stands where the name does: `tx.publish(events, key, obj)`.
    """

    def __init__(self, broker: "Broker", name: str, codec: MessageCodec[T], publish_short: PublishShort) -> None:
        self._broker = broker
        self._publish_short = publish_short
        self._name = name
        self._codec = codec

    @property
    def name(self) -> str:
        """The name of the exchange."""
        return self._name

    @property
    def store(self) -> Store:
        """The store that the exchange is in."""
        return self._broker.store

    @property
    def codec(self) -> MessageCodec[T]:
        """The step between messages and objects; not public."""
        return self._codec

    def publish(
        self,
        routing_key: str,
        body: T,
        *,
        headers: Mapping[str, Any] | None = None,
        properties: Properties | None = None,
        priority: int | None = None,
        expiration_ms: int | None = None,
        delay_ms: int | None = None,
        persistent: bool = True,
        mandatory: bool = False,
    ) -> int:
        """Publish a message and return how many queues got it. Arguments as for `Broker.publish`.

        The property `content_type` is the codec's, unless `properties` has one. Raises that, and `EncodeError`.
        """
        data = self._codec.encode(body)
        if (
            headers is None
            and properties is None
            and priority is None
            and expiration_ms is None
            and delay_ms is None
            and persistent is True
            and (mandatory is False or mandatory is True)
        ):
            copies = self._publish_short(self._name, routing_key, data, self._codec.content_type)
            if copies:
                return copies
        return self._broker.publish(
            self._name,
            routing_key,
            data,
            headers=headers,
            properties=self._codec.properties(properties),
            priority=priority,
            expiration_ms=expiration_ms,
            delay_ms=delay_ms,
            persistent=persistent,
            mandatory=mandatory,
        )

    def publish_many(
        self, messages: Iterable[tuple[str, T]], *, persistent: bool = True, mandatory: bool = False
    ) -> int:
        """Publish pairs of routing key and object in one commit, all or nothing; return how many copies queues got.

        Raises as `Broker.publish_many` does, and `EncodeError`, which says which one it is, with nothing published.
        """
        encoded = self._codec.messages(messages)
        return self._broker.publish_many(self._name, encoded, persistent=persistent, mandatory=mandatory)

    @overload
    def request(
        self,
        routing_key: str,
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
        routing_key: str,
        body: T,
        *,
        timeout: float | None,
        headers: Mapping[str, Any] | None = None,
        properties: Properties | None = None,
    ) -> TypedMessage[T]: ...
    def request(
        self,
        routing_key: str,
        body: T,
        *,
        timeout: float | None,
        reply: Codec[Any] | None = None,
        headers: Mapping[str, Any] | None = None,
        properties: Properties | None = None,
    ) -> TypedMessage[Any]:
        """Publish a message and wait for the answer to it. See `Broker.request`.

        `reply`: the codec of the answer, None for the same one. Raises `DecodeError` for an answer that it does not
        decode.
        """
        return self.ask(routing_key, body, timeout=timeout, reply=reply, headers=headers, properties=properties)

    def ask(
        self,
        routing_key: str,
        body: T,
        *,
        timeout: float | None,
        reply: Codec[Any] | None,
        headers: Mapping[str, Any] | None,
        properties: Properties | None,
    ) -> TypedMessage[Any]:
        """Do what `request` says; not public."""
        answer: MessageCodec[Any] = self._codec if reply is None else MessageCodec(reply)
        message = self._broker.request(
            self._name,
            routing_key,
            self._codec.encode(body),
            timeout=timeout,
            headers=headers,
            properties=self._codec.properties(properties),
        )
        return answer.decode(message)

    def __repr__(self) -> str:
        return f"<msglog.TypedExchange {self._name!r} {self._codec.names}>"

"""The public class for one exchange with objects as bodies, for tasks. Exported by `msglog.aio`."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import msglog
from msglog.aio.publishing import publish
from msglog.broker import TypedMessage
from msglog.broker.typed import MessageCodec
from msglog.broker.vhost import VirtualHost
from msglog.codecs import Codec

if TYPE_CHECKING:  # the broker makes its views
    from msglog.aio.broker import Broker
    from msglog.aio.store import Store

T = TypeVar("T")
R = TypeVar("R")


class TypedExchange(Generic[T]):
    """One exchange with objects as bodies, for tasks; made by `Broker.exchange`.

    As `msglog.TypedExchange`, with `await`. In a transaction the view stands where the name does:
    `tx.publish(events, key, obj)`.
    """

    def __init__(self, broker: "Broker", sync: msglog.TypedExchange[T]) -> None:
        self._broker = broker
        self._sync = sync
        self._vhost = VirtualHost.of(sync.store.core)

    @property
    def sync(self) -> msglog.TypedExchange[T]:
        """The threaded view; what a transaction takes as well as this one."""
        return self._sync

    @property
    def name(self) -> str:
        """The name of the exchange."""
        return self._sync.name

    @property
    def store(self) -> "Store":
        """The store that the exchange is in."""
        return self._broker.store

    async def publish(
        self,
        routing_key: str,
        body: T,
        *,
        headers: Mapping[str, Any] | None = None,
        properties: msglog.Properties | None = None,
        priority: int | None = None,
        expiration_ms: int | None = None,
        delay_ms: int | None = None,
        persistent: bool = True,
        mandatory: bool = False,
    ) -> int:
        """Publish a message and return how many queues got it. Arguments as for `Broker.publish`.

        The property `content_type` is the codec's, unless `properties` has one. Raises that, and `EncodeError`.
        """
        return await publish(
            self._vhost,
            self._sync.publish,
            routing_key,
            body,
            headers=headers,
            properties=properties,
            priority=priority,
            expiration_ms=expiration_ms,
            delay_ms=delay_ms,
            persistent=persistent,
            mandatory=mandatory,
        )

    async def publish_many(
        self, messages: Iterable[tuple[str, T]], *, persistent: bool = True, mandatory: bool = False
    ) -> int:
        """Publish pairs of routing key and object in one commit, all or nothing; return how many copies queues got.

        Raises as `Broker.publish_many` does, and `EncodeError`, which says which one it is, with nothing published.
        """
        return await publish(self._vhost, self._sync.publish_many, messages, persistent=persistent, mandatory=mandatory)

    @overload
    async def request(
        self,
        routing_key: str,
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
        routing_key: str,
        body: T,
        *,
        timeout: float | None,
        headers: Mapping[str, Any] | None = None,
        properties: msglog.Properties | None = None,
    ) -> TypedMessage[T]: ...
    async def request(
        self,
        routing_key: str,
        body: T,
        *,
        timeout: float | None,
        reply: Codec[Any] | None = None,
        headers: Mapping[str, Any] | None = None,
        properties: msglog.Properties | None = None,
    ) -> TypedMessage[Any]:
        """Publish a message and wait for the answer to it. See `Broker.request`.

        `reply`: the codec of the answer, None for the same one. Raises `DecodeError` for an answer that it does not
        decode.
        """
        return await self.ask(routing_key, body, timeout=timeout, reply=reply, headers=headers, properties=properties)

    async def ask(
        self,
        routing_key: str,
        body: T,
        *,
        timeout: float | None,
        reply: Codec[Any] | None,
        headers: Mapping[str, Any] | None,
        properties: msglog.Properties | None,
    ) -> TypedMessage[Any]:
        """Do what `request` says; not public."""
        own = self._sync.codec
        answer: MessageCodec[Any] = own if reply is None else MessageCodec(reply)
        message = await self._broker.request(
            self.name,
            routing_key,
            own.encode(body),
            timeout=timeout,
            headers=headers,
            properties=own.properties(properties),
        )
        return answer.decode(message)

    def __repr__(self) -> str:
        return f"<msglog.aio.TypedExchange {self.name!r} {self._sync.codec.names}>"

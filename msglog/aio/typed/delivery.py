"""A message with an object in a task's hand. Exported by `msglog.aio`; imported by the views that take messages."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, cast, overload

import msglog
from msglog.aio.calls import Written
from msglog.aio.delivery import Delivery
from msglog.aio.typed.decoding import answer
from msglog.broker.typed import MessageCodec
from msglog.codecs import Codec
from msglog.errors import DecodeError

R = TypeVar("R")
T = TypeVar("T")


class TypedDelivery(msglog.TypedDelivery[T]):
    """A message in hand whose `body` is an object, as a `msglog.TypedDelivery`: settling it never waits.

    `async with delivery:` does what `with delivery:` does; so a task that is cancelled in it returns the message.
    """

    __slots__ = ()

    @property
    def raw(self) -> Delivery:
        """The delivery with the bytes."""
        return cast(Delivery, self._raw)

    @overload  # type: ignore[override]
    def reply(
        self,
        body: R,
        codec: Codec[R],
        *,
        headers: Mapping[str, Any] | None = None,
        properties: msglog.Properties | None = None,
    ) -> Written[bool]: ...
    @overload
    def reply(
        self,
        body: bytes,
        *,
        headers: Mapping[str, Any] | None = None,
        properties: msglog.Properties | None = None,
    ) -> Written[bool]: ...
    def reply(
        self,
        body: Any,
        codec: Codec[Any] | None = None,
        *,
        headers: Mapping[str, Any] | None = None,
        properties: msglog.Properties | None = None,
    ) -> Written[bool]:
        """Answer to the message with an object and its codec, or with bytes. See `Delivery.reply`.

        Sent when this returns; it need not be awaited. Raises `EncodeError`, too.
        """
        reply: Any = super().reply
        written: Written[bool] = reply(body, codec, headers=headers, properties=properties)  # begun by `raw`
        return written

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


async def delivered(codec: MessageCodec[T], delivery: Delivery) -> TypedDelivery[T] | None:
    """Return a delivery with an object, None for one that was dealt with: it is settled.

    What `MessageCodec.delivered_or_handled` is to threads. A task that is cancelled in between returns the message.
    """
    try:
        return TypedDelivery(codec.delivered(delivery).body, delivery)
    except DecodeError as error:
        if not codec.asks:
            codec.reject_or_raise(delivery, error)
        else:
            with delivery:
                await answer(codec.tell(error))
        return None

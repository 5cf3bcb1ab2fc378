"""The public class of the broker, put together from its parts.

Exported by `msglog`; imported by the layers above.
"""

from typing import Any, TypeVar, overload

from msglog.broker.consuming import Consuming
from msglog.broker.exporting import Exporting
from msglog.broker.opening import Opening
from msglog.broker.publications import check_exchange
from msglog.broker.publishing import Publishing
from msglog.broker.typed import MessageCodec, OnBadBody, TypedExchange, TypedQueue
from msglog.checks import wrong_type
from msglog.codecs import BYTES, Codec

T = TypeVar("T")


class Broker(Opening, Publishing, Consuming, Exporting):
    """Exchanges, queues and acknowledgements, in the shape of RabbitMQ's, in one directory or in memory.

    Arguments:
        path_or_store: the path of a store, `":memory:"`, or an open `Store`. A broker made from a path owns its store
            and closes it; one made from a store does not.
        store_options: what `Store` takes, with a path only.

    A handle is one AMQP connection: its exclusive queues and what it has unsettled go with it. Raises what `Store`
    raises. Safe for any number of threads; a context manager.
    """

    @overload
    def queue(self, name: str, *, on_decode_error: OnBadBody = "raise") -> TypedQueue[bytes]: ...
    @overload
    def queue(self, name: str, *, body: Codec[T], on_decode_error: OnBadBody = "raise") -> TypedQueue[T]: ...
    def queue(self, name: str, *, body: Codec[Any] = BYTES, on_decode_error: OnBadBody = "raise") -> TypedQueue[Any]:
        """Return a view of a queue with objects as bodies. The queue need not exist yet.

        Arguments:
            name: the name of the queue.
            body: the codec of the bodies.
            on_decode_error: what becomes of a message whose body does not decode. "raise": a `DecodeError` that carries
                the delivery, which is to be settled; whoever takes on gets the next one. "reject": it is logged and
                rejected, so that it goes to the queue's dead-letter exchange, if it has one. A callable is called with
                the `DecodeError` inside `with error.delivery:`, so when it returns the message is acknowledged, if it
                did not settle it. Looking at messages leaves those out that are not to raise.

        Raises `InvalidTypeError`, `ClosedError`. Cheap: every part of a program may make its own.
        """
        return self.queue_view(name, MessageCodec(body, on_decode_error))

    def queue_view(self, name: str, codec: MessageCodec[T]) -> TypedQueue[T]:
        """Return a view of a queue through a codec that was checked; not public. Raises as `queue` does."""
        self._check_open()
        if not isinstance(name, str):
            raise wrong_type("name", name, "the name of a queue")
        return TypedQueue(self, name, codec, self._publish_short)

    @overload
    def exchange(self, name: str) -> TypedExchange[bytes]: ...
    @overload
    def exchange(self, name: str, *, body: Codec[T]) -> TypedExchange[T]: ...
    def exchange(self, name: str, *, body: Codec[Any] = BYTES) -> TypedExchange[Any]:
        """Return a view of an exchange with objects as bodies, to publish them. The exchange need not exist yet.

        `body`: the codec of the bodies. Raises `InvalidTypeError`, `ClosedError`.
        """
        self._check_open()
        return TypedExchange(self, check_exchange(name), MessageCodec(body), self._publish_short)

"""Messages with objects in them: views of a queue and of an exchange, and who consumes, through a codec.

    message     messages and deliveries with objects; the step between them and bytes, pure
    queue       the view of a queue; exchange: of an exchange
    consumer    who takes

A view holds a name and a codec, and calls what the untyped classes offer. Imported by `broker`.
"""

from msglog.broker.typed.consumer import TypedQueueConsumer
from msglog.broker.typed.exchange import TypedExchange
from msglog.broker.typed.message import MessageCodec, OnBadBody, TypedDelivery, TypedMessage
from msglog.broker.typed.queue import TypedQueue

__all__ = [
    "MessageCodec",
    "OnBadBody",
    "TypedDelivery",
    "TypedExchange",
    "TypedMessage",
    "TypedQueue",
    "TypedQueueConsumer",
]

"""Views of topics, queues and exchanges for tasks: objects in place of bytes.

    decoding        what `RecordCodec` and `MessageCodec` do with bytes that do not decode, with awaits
    topic, consumer, share, producer        records; queue, exchange, queue_consumer, delivery: messages

As the views for threads (`msglog.log.typed`, `msglog.broker.typed`), which each of these has as `sync`: what is pure is
theirs. Imported by `log` and `broker` of `aio`.
"""

from msglog.aio.typed.consumer import TypedConsumer
from msglog.aio.typed.delivery import TypedDelivery
from msglog.aio.typed.exchange import TypedExchange
from msglog.aio.typed.producer import TypedProducer
from msglog.aio.typed.queue import TypedQueue
from msglog.aio.typed.queue_consumer import TypedQueueConsumer
from msglog.aio.typed.share import TypedShareConsumer
from msglog.aio.typed.topic import TypedTopic

__all__ = [
    "TypedConsumer",
    "TypedDelivery",
    "TypedExchange",
    "TypedProducer",
    "TypedQueue",
    "TypedQueueConsumer",
    "TypedShareConsumer",
    "TypedTopic",
]

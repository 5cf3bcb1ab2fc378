"""msglog for asyncio: the same classes, names, arguments and errors, with `await` where a thread would wait.

    calls       how a call is made from a loop: here and now, with its sync awaited; or in another thread
    waiting     what a task sleeps on; iterating: loops that let the event loop breathe
    forwarding, publishing      methods made from those of the threaded classes
    opened, store, face, log, broker    the public classes; producer, consumer (polling), queue_consumer, delivery
    log_subscription, queue_subscription (tasks, record_loop)       coroutines that are called for messages
    typed       views of topics, queues and exchanges with objects
    processing, sources         consume, transform, produce: coroutines with a transaction for each message

A write to memory is made in the loop's own thread, behind locks that are held for moments. Syncs, opening, closing and
definitions run in other threads. Tasks that wait at the same time share syncs. No consumer that waits has a thread, and
none polls. Cancelling a call is safe: what takes messages loses none; what writes has written, or will have.

Public is what `__all__` names.
"""

from msglog.aio.broker import Broker
from msglog.aio.calls import Written
from msglog.aio.consumer import Consumer, ShareConsumer
from msglog.aio.delivery import Delivery
from msglog.aio.log import Log
from msglog.aio.log_subscription import Subscription
from msglog.aio.producer import Producer
from msglog.aio.queue_consumer import QueueConsumer
from msglog.aio.queue_subscription import QueueSubscription
from msglog.aio.store import Store
from msglog.aio.typed import (
    TypedConsumer,
    TypedDelivery,
    TypedExchange,
    TypedProducer,
    TypedQueue,
    TypedQueueConsumer,
    TypedShareConsumer,
    TypedTopic,
)

__all__ = [
    "Broker",
    "Consumer",
    "Delivery",
    "Log",
    "Producer",
    "QueueConsumer",
    "QueueSubscription",
    "ShareConsumer",
    "Store",
    "Subscription",
    "TypedConsumer",
    "TypedDelivery",
    "TypedExchange",
    "TypedProducer",
    "TypedQueue",
    "TypedQueueConsumer",
    "TypedShareConsumer",
    "TypedTopic",
    "Written",
]

"""The RabbitMQ-shaped model: exchanges, queues, acknowledgements.

Importing it makes it known to the store: its model, `store.broker`, and the virtual host that goes with an open
directory. Imported by `msglog` and the layers above; imports the cursors, the store and below, never the log.
"""

from typing import TYPE_CHECKING

from msglog.broker.checking import BrokerCheck
from msglog.broker.measuring import measure_broker
from msglog.broker.model import BrokerModel
from msglog.broker.tables import broker_tables
from msglog.broker.vhost import VirtualHost
from msglog.lazily import importer
from msglog.store import (
    register_check,
    register_face,
    register_measure,
    register_model,
    register_service,
    register_tables,
)

if TYPE_CHECKING:
    from msglog.broker.broker import Broker
    from msglog.broker.channel import Cancelled, Channel, ChannelEvent, Closed, Confirmed, Deliver, GetOk, Returned
    from msglog.broker.consumer import QueueConsumer
    from msglog.broker.declaring import ExchangeInfo, QueueInfo
    from msglog.broker.delivery import Delivery
    from msglog.broker.message import Message
    from msglog.broker.properties import Properties
    from msglog.broker.rules.bindings import Binding
    from msglog.broker.subscription import QueueSubscription
    from msglog.broker.typed import TypedDelivery, TypedExchange, TypedMessage, TypedQueue, TypedQueueConsumer

__all__ = [
    "Binding",
    "Broker",
    "Cancelled",
    "Channel",
    "ChannelEvent",
    "Closed",
    "Confirmed",
    "Deliver",
    "Delivery",
    "ExchangeInfo",
    "GetOk",
    "Message",
    "Properties",
    "QueueConsumer",
    "QueueInfo",
    "QueueSubscription",
    "Returned",
    "TypedDelivery",
    "TypedExchange",
    "TypedMessage",
    "TypedQueue",
    "TypedQueueConsumer",
]

if not TYPE_CHECKING:
    __getattr__ = importer(
        __name__,
        {
            "msglog.broker.broker": "Broker",
            "msglog.broker.channel": "Cancelled Channel ChannelEvent Closed Confirmed Deliver GetOk Returned",
            "msglog.broker.consumer": "QueueConsumer",
            "msglog.broker.declaring": "ExchangeInfo QueueInfo",
            "msglog.broker.delivery": "Delivery",
            "msglog.broker.message": "Message",
            "msglog.broker.properties": "Properties",
            "msglog.broker.rules.bindings": "Binding",
            "msglog.broker.subscription": "QueueSubscription",
            "msglog.broker.typed": "TypedDelivery TypedExchange TypedMessage TypedQueue TypedQueueConsumer",
        },
    )


register_model(BrokerModel)
register_check(BrokerCheck)
register_face("broker", "msglog.broker.broker:Broker")
register_measure(measure_broker)
register_tables(broker_tables)
register_service(VirtualHost.name, VirtualHost)

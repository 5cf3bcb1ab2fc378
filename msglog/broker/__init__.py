"""The RabbitMQ-shaped model: exchanges, queues, acknowledgements.

Importing it makes it known to the store: its model, `store.broker`, and the virtual host that goes with an open
directory. Imported by `msglog` and the layers above; imports the cursors, the store and below, never the log.
"""

from msglog.broker.broker import Broker
from msglog.broker.channel import Cancelled, Channel, ChannelEvent, Closed, Confirmed, Deliver, GetOk, Returned
from msglog.broker.checking import BrokerCheck
from msglog.broker.compiled import put_in_front
from msglog.broker.consumer import QueueConsumer
from msglog.broker.declaring import ExchangeInfo, QueueInfo
from msglog.broker.delivery import Delivery
from msglog.broker.measuring import measure_broker
from msglog.broker.message import Message
from msglog.broker.model import BrokerModel
from msglog.broker.properties import Properties
from msglog.broker.rules.bindings import Binding
from msglog.broker.subscription import QueueSubscription
from msglog.broker.tables import broker_tables
from msglog.broker.typed import TypedDelivery, TypedExchange, TypedMessage, TypedQueue, TypedQueueConsumer
from msglog.broker.vhost import VirtualHost
from msglog.store import (
    register_check,
    register_face,
    register_measure,
    register_model,
    register_service,
    register_tables,
)

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

register_model(BrokerModel)
register_check(BrokerCheck)
register_face("broker", Broker)
register_measure(measure_broker)
register_tables(broker_tables)
register_service(VirtualHost.name, VirtualHost)
put_in_front()

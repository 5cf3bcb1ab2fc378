"""The Kafka-shaped model: topics, producers, consumer groups.

Importing it makes it known to the store: its models, `store.log`, and background cleaning. Imported by
`msglog` and the layers above; imports `store` and below, never the broker.
"""

from msglog.log.background import BackgroundCleaning
from msglog.log.checking import LogCheck
from msglog.log.compiled import put_in_front
from msglog.log.consumer import Consumer
from msglog.log.groups import GroupsModel
from msglog.log.keys.checking import KeysCheck
from msglog.log.keys.service import KeyIndexing
from msglog.log.log import Log
from msglog.log.measuring import measure_log
from msglog.log.model import LogModel
from msglog.log.producer import Producer
from msglog.log.share.checking import ShareCheck
from msglog.log.share.consumer import ShareConsumer
from msglog.log.share.model import ShareModel
from msglog.log.share.record import ShareRecord
from msglog.log.subscription import Subscription
from msglog.log.tables import log_tables
from msglog.log.typed import (
    TypedConsumer,
    TypedProducer,
    TypedRecord,
    TypedShareConsumer,
    TypedShareRecord,
    TypedTopic,
)
from msglog.store import (
    register_check,
    register_face,
    register_measure,
    register_model,
    register_service,
    register_tables,
)

__all__ = [
    "Consumer",
    "Log",
    "Producer",
    "ShareConsumer",
    "ShareRecord",
    "Subscription",
    "TypedConsumer",
    "TypedProducer",
    "TypedRecord",
    "TypedShareConsumer",
    "TypedShareRecord",
    "TypedTopic",
]

register_model(LogModel)
register_model(GroupsModel)
register_model(ShareModel)
register_check(LogCheck)
register_check(KeysCheck)
register_check(ShareCheck)
register_face("log", Log)
register_measure(measure_log)
register_tables(log_tables)
register_service(BackgroundCleaning.name, BackgroundCleaning)
register_service(KeyIndexing.name, KeyIndexing)
put_in_front()

"""Embedded messaging: a Kafka-shaped log and a RabbitMQ-shaped broker in one directory, or in memory.

Public is what `__all__` names here and in `msglog.testing`; everything else is internal and may change.
"""

from importlib import import_module

from msglog.broker import (
    Binding,
    Broker,
    Delivery,
    ExchangeInfo,
    Message,
    Properties,
    QueueConsumer,
    QueueInfo,
    QueueSubscription,
)
from msglog.clock import Clock, SystemClock
from msglog.errors import (
    AccessRefusedError,
    ClosedError,
    CommandInvalidError,
    ConsumerCancelledError,
    CorruptionError,
    DecodeError,
    DiskFullError,
    ExchangeNotFoundError,
    FencedError,
    GroupError,
    InvalidNameError,
    InvalidOptionError,
    InvalidTypeError,
    MsglogError,
    NotAllowedError,
    NotSupportedError,
    OffsetConflictError,
    OffsetOutOfRangeError,
    PartitionNotFoundError,
    PreconditionFailedError,
    PublishRejectedError,
    QueueNotFoundError,
    ReadOnlyError,
    RebalanceError,
    RecordTooLargeError,
    RequestTimeoutError,
    ResourceLockedError,
    SettlementError,
    StoreFailedError,
    StoreLockedError,
    TopicExistsError,
    TopicNotFoundError,
    TransactionTooLargeError,
    UnknownDeliveryTagError,
    UnroutableError,
    UnsupportedFormatError,
)
from msglog.log import Consumer, Log, Producer, Subscription
from msglog.retry import Retry
from msglog.store import Store
from msglog.types import (
    CleanReport,
    GroupDescription,
    MemberDescription,
    PartitionDescription,
    Record,
    RecordMetadata,
    RecoveryReport,
    TopicDescription,
    TopicPartition,
)

__version__: str

__all__ = [
    "AccessRefusedError",
    "Binding",
    "Broker",
    "CleanReport",
    "Clock",
    "ClosedError",
    "CommandInvalidError",
    "Consumer",
    "ConsumerCancelledError",
    "CorruptionError",
    "DecodeError",
    "Delivery",
    "DiskFullError",
    "ExchangeInfo",
    "ExchangeNotFoundError",
    "FencedError",
    "GroupDescription",
    "GroupError",
    "InvalidNameError",
    "InvalidOptionError",
    "InvalidTypeError",
    "Log",
    "MemberDescription",
    "Message",
    "MsglogError",
    "NotAllowedError",
    "NotSupportedError",
    "OffsetConflictError",
    "OffsetOutOfRangeError",
    "PartitionDescription",
    "PartitionNotFoundError",
    "PreconditionFailedError",
    "Producer",
    "Properties",
    "PublishRejectedError",
    "QueueConsumer",
    "QueueInfo",
    "QueueNotFoundError",
    "QueueSubscription",
    "ReadOnlyError",
    "RebalanceError",
    "Record",
    "RecordMetadata",
    "RecordTooLargeError",
    "RecoveryReport",
    "RequestTimeoutError",
    "ResourceLockedError",
    "Retry",
    "SettlementError",
    "Store",
    "StoreFailedError",
    "StoreLockedError",
    "Subscription",
    "SystemClock",
    "TopicDescription",
    "TopicExistsError",
    "TopicNotFoundError",
    "TopicPartition",
    "TransactionTooLargeError",
    "UnknownDeliveryTagError",
    "UnroutableError",
    "UnsupportedFormatError",
    "__version__",
]


def __getattr__(name: str) -> str:
    # Looked up when asked for: reading the installed package's metadata costs more than importing msglog.
    if name == "__version__":
        version: str = import_module("importlib.metadata").version("msglog")
        return version
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

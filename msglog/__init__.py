"""Embedded messaging: a Kafka-shaped log and a RabbitMQ-shaped broker in one directory, or in memory.

Public is what `__all__` names here, in `msglog.testing` and in `msglog.prometheus`; everything else is internal and may
change. What stands here is imported when it is first asked for: who only catches an error pays for that alone.
"""

from importlib import import_module

TYPE_CHECKING = False  # type checkers take the name for True; `typing` would cost more than all that is done here
if TYPE_CHECKING:
    from msglog.broker import (
        Binding,
        Broker,
        Cancelled,
        Channel,
        ChannelEvent,
        Closed,
        Confirmed,
        Deliver,
        Delivery,
        ExchangeInfo,
        GetOk,
        Message,
        Properties,
        QueueConsumer,
        QueueInfo,
        QueueSubscription,
        Returned,
        TypedDelivery,
        TypedExchange,
        TypedMessage,
        TypedQueue,
        TypedQueueConsumer,
    )
    from msglog.clock import Clock, SystemClock
    from msglog.codecs import BYTES, JSON, MSGPACK, TEXT, Codec, json_of, msgpack_of
    from msglog.errors import (
        AccessRefusedError,
        ClosedError,
        CommandInvalidError,
        ConsumerCancelledError,
        CorruptionError,
        DecodeError,
        DiskFullError,
        EncodeError,
        ExchangeNotFoundError,
        FencedError,
        GroupError,
        InvalidNameError,
        InvalidOptionError,
        InvalidTypeError,
        MsglogError,
        NoEventLoopError,
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
        TransactionError,
        TransactionTooLargeError,
        UnknownDeliveryTagError,
        UnroutableError,
        UnsupportedFormatError,
    )
    from msglog.log import (
        Consumer,
        Log,
        Producer,
        ShareConsumer,
        ShareRecord,
        Subscription,
        TypedConsumer,
        TypedProducer,
        TypedRecord,
        TypedShareConsumer,
        TypedShareRecord,
        TypedTopic,
    )
    from msglog.retry import Retry
    from msglog.salvaging import salvage
    from msglog.store import Store
    from msglog.store.verifying import verify
    from msglog.transactions import Transaction
    from msglog.types import (
        BackupReport,
        CleanReport,
        Gap,
        GroupDescription,
        MemberDescription,
        PartitionDescription,
        Problem,
        Record,
        RecordMetadata,
        RecoveryReport,
        SalvageReport,
        TopicDescription,
        TopicPartition,
    )

__version__: str

__all__ = [
    "BYTES",
    "JSON",
    "MSGPACK",
    "TEXT",
    "AccessRefusedError",
    "BackupReport",
    "Binding",
    "Broker",
    "Cancelled",
    "Channel",
    "ChannelEvent",
    "CleanReport",
    "Clock",
    "Closed",
    "ClosedError",
    "Codec",
    "CommandInvalidError",
    "Confirmed",
    "Consumer",
    "ConsumerCancelledError",
    "CorruptionError",
    "DecodeError",
    "Deliver",
    "Delivery",
    "DiskFullError",
    "EncodeError",
    "ExchangeInfo",
    "ExchangeNotFoundError",
    "FencedError",
    "Gap",
    "GetOk",
    "GroupDescription",
    "GroupError",
    "InvalidNameError",
    "InvalidOptionError",
    "InvalidTypeError",
    "Log",
    "MemberDescription",
    "Message",
    "MsglogError",
    "NoEventLoopError",
    "NotAllowedError",
    "NotSupportedError",
    "OffsetConflictError",
    "OffsetOutOfRangeError",
    "PartitionDescription",
    "PartitionNotFoundError",
    "PreconditionFailedError",
    "Problem",
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
    "Returned",
    "SalvageReport",
    "SettlementError",
    "ShareConsumer",
    "ShareRecord",
    "Store",
    "StoreFailedError",
    "StoreLockedError",
    "Subscription",
    "SystemClock",
    "TopicDescription",
    "TopicExistsError",
    "TopicNotFoundError",
    "TopicPartition",
    "Transaction",
    "TransactionError",
    "TransactionTooLargeError",
    "TypedConsumer",
    "TypedDelivery",
    "TypedExchange",
    "TypedMessage",
    "TypedProducer",
    "TypedQueue",
    "TypedQueueConsumer",
    "TypedRecord",
    "TypedShareConsumer",
    "TypedShareRecord",
    "TypedTopic",
    "UnknownDeliveryTagError",
    "UnroutableError",
    "UnsupportedFormatError",
    "__version__",
    "json_of",
    "msgpack_of",
    "salvage",
    "verify",
]

if not TYPE_CHECKING:  # for type checkers a name that is not above is a mistake
    _NAMES = {
        "msglog.broker": (
            "Binding Broker Cancelled Channel ChannelEvent Closed Confirmed Deliver Delivery ExchangeInfo GetOk "
            "Message Properties QueueConsumer QueueInfo QueueSubscription Returned TypedDelivery TypedExchange "
            "TypedMessage TypedQueue TypedQueueConsumer"
        ),
        "msglog.clock": "Clock SystemClock",
        "msglog.codecs": "BYTES JSON MSGPACK TEXT Codec json_of msgpack_of",
        "msglog.errors": (
            "AccessRefusedError ClosedError CommandInvalidError ConsumerCancelledError CorruptionError "
            "DecodeError DiskFullError EncodeError ExchangeNotFoundError FencedError GroupError InvalidNameError "
            "InvalidOptionError InvalidTypeError MsglogError NoEventLoopError NotAllowedError NotSupportedError "
            "OffsetConflictError OffsetOutOfRangeError PartitionNotFoundError PreconditionFailedError "
            "PublishRejectedError QueueNotFoundError ReadOnlyError RebalanceError RecordTooLargeError "
            "RequestTimeoutError ResourceLockedError SettlementError StoreFailedError StoreLockedError "
            "TopicExistsError TopicNotFoundError TransactionError TransactionTooLargeError "
            "UnknownDeliveryTagError UnroutableError UnsupportedFormatError"
        ),
        "msglog.log": (
            "Consumer Log Producer ShareConsumer ShareRecord Subscription TypedConsumer TypedProducer TypedRecord "
            "TypedShareConsumer TypedShareRecord TypedTopic"
        ),
        "msglog.retry": "Retry",
        "msglog.salvaging": "salvage",
        "msglog.store": "Store",
        "msglog.store.verifying": "verify",
        "msglog.transactions": "Transaction",
        "msglog.types": (
            "BackupReport CleanReport Gap GroupDescription MemberDescription PartitionDescription Problem Record "
            "RecordMetadata RecoveryReport SalvageReport TopicDescription TopicPartition"
        ),
    }
    # Modules that need no import of their own: the public ones, and those whose names stand above.
    _MODULES = {"aio", "clock", "codecs", "errors", "prometheus", "retry", "testing", "types"}
    _PLACE_OF = {name: place for place, names in _NAMES.items() for name in names.split()}

    # What these need is known without the rest.
    _SMALL = {"msglog.clock", "msglog.codecs", "msglog.errors", "msglog.retry", "msglog.types"}

    def _import(place: str) -> object:
        """Import what is behind a public name; all but the small ones after the packages that they build on, in order.

        Else Python would fail two threads of which one comes to a package by its name, the other one by a module in it.
        """
        if place not in _SMALL:
            for package in ("storage", "store", "broker", "log", "transactions"):
                import_module(f"{__name__}.{package}")
        return import_module(place)

    def __getattr__(name: str) -> object:
        """Import what a public name stands for. The version is read from the installed package's metadata."""
        if name == "__version__":
            return import_module("importlib.metadata").version(__name__)
        if name in _MODULES:
            return _import(f"{__name__}.{name}")
        place = _PLACE_OF.get(name)
        if place is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(_import(place), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})

"""An embedded message log: topics, groups and producers on one storage engine, in a directory or in memory.

Public is what `__all__` names here and in `msglog.testing`; everything else is internal and may change.
"""

from importlib import import_module

from msglog.clock import Clock, SystemClock
from msglog.errors import (
    ClosedError,
    CorruptionError,
    DecodeError,
    DiskFullError,
    FencedError,
    GroupError,
    InvalidNameError,
    InvalidOptionError,
    InvalidTypeError,
    MsglogError,
    OffsetConflictError,
    OffsetOutOfRangeError,
    PartitionNotFoundError,
    ReadOnlyError,
    RebalanceError,
    RecordTooLargeError,
    StoreFailedError,
    StoreLockedError,
    TopicExistsError,
    TopicNotFoundError,
    TransactionTooLargeError,
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
    "CleanReport",
    "Clock",
    "ClosedError",
    "Consumer",
    "CorruptionError",
    "DecodeError",
    "DiskFullError",
    "FencedError",
    "GroupDescription",
    "GroupError",
    "InvalidNameError",
    "InvalidOptionError",
    "InvalidTypeError",
    "Log",
    "MemberDescription",
    "MsglogError",
    "OffsetConflictError",
    "OffsetOutOfRangeError",
    "PartitionDescription",
    "PartitionNotFoundError",
    "Producer",
    "ReadOnlyError",
    "RebalanceError",
    "Record",
    "RecordMetadata",
    "RecordTooLargeError",
    "RecoveryReport",
    "Retry",
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
    "UnsupportedFormatError",
    "__version__",
]


def __getattr__(name: str) -> str:
    # Looked up when asked for: reading the installed package's metadata costs more than importing msglog.
    if name == "__version__":
        version: str = import_module("importlib.metadata").version("msglog")
        return version
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

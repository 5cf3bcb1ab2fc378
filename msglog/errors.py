"""Every error msglog raises, in one tree under `MsglogError`.

Imported by every layer; imports nothing. An error says in words what was given and what is allowed, and
repeats the facts as typed attributes for code. Sizes, names and offsets appear, payloads never do. Where
clients of RabbitMQ match on a text, the broker's errors have RabbitMQ's wording.
"""

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

if TYPE_CHECKING:  # what an error carries is named for type checkers only
    from msglog.broker.delivery import Delivery
    from msglog.broker.message import Message
    from msglog.types import Record

Outcome = Literal["not_applied", "unknown"]
Closes = Literal["channel", "connection"]

# AMQP's names for its reply codes: what a reply text begins with.
_REPLY_NAMES: Final = {
    312: "NO_ROUTE",
    403: "ACCESS_REFUSED",
    404: "NOT_FOUND",
    405: "RESOURCE_LOCKED",
    406: "PRECONDITION_FAILED",
    503: "COMMAND_INVALID",
    530: "NOT_ALLOWED",
    540: "NOT_IMPLEMENTED",
}
_MAX_REPLY_BYTES: Final = 255  # a short string of AMQP


class MsglogError(Exception):
    """Base of all errors of msglog.

    `outcome` tells what became of the call: "not_applied" (nothing happened) or "unknown" (it may have
    happened: look, or retry through a named producer). `reply_code` is AMQP's code where it has one, and
    `closes` what such an error ends on an AMQP connection: "channel", "connection", or None for neither.
    """

    outcome: Outcome = "not_applied"
    reply_code: ClassVar[int | None] = None
    closes: ClassVar[Closes | None] = None

    def __init__(self, message: str = "", **details: Any) -> None:
        super().__init__(message)
        self.__dict__.update(details)

    @property
    def reply_text(self) -> str:
        """The text as a server sends it, with the name of its reply code in front.

        Cut as RabbitMQ cuts it, because AMQP has room for 255 bytes: long names make long texts.
        """
        name = "" if self.reply_code is None else f"{_REPLY_NAMES[self.reply_code]} - "
        text = f"{name}{self}"
        encoded = text.encode(errors="replace")
        if len(encoded) <= _MAX_REPLY_BYTES:
            return text
        return encoded[: _MAX_REPLY_BYTES - 3].decode(errors="ignore") + "..."

    def __reduce__(self) -> tuple[Callable[..., "MsglogError"], tuple[Any, ...]]:
        return _rebuild, (type(self), str(self), dict(self.__dict__))


def _rebuild(cls: type[MsglogError], message: str, details: dict[str, Any]) -> MsglogError:
    return cls(message, **details)


# The life of a store


class ClosedError(MsglogError, ValueError):
    """The object was closed, or belongs to the parent of this forked process."""


class StoreLockedError(MsglogError, OSError):
    """Another process has the store open for writing."""

    path: str
    owner_pid: int | None


class ReadOnlyError(MsglogError, OSError):
    """The store was opened with `readonly=True`, or must first be opened once for writing."""

    path: str


class StoreFailedError(MsglogError, OSError):
    """A sync or write failed: the store takes no more writes until it is reopened."""

    outcome: Outcome = "unknown"
    path: str


class DiskFullError(MsglogError, OSError):
    """No space, or no quota, is left; nothing of the call was applied."""

    path: str
    requested: int

    def __init__(self, message: str = "", **details: Any) -> None:
        super().__init__(message, **details)
        self.errno = errno.ENOSPC


class CorruptionError(MsglogError, OSError):
    """Data that was acknowledged as durable cannot be read back.

    `path` and `position` (a byte in that file) say where, `first_offset` and `next_offset` which records of the
    stream are affected (half-open; None where no record is).
    """

    path: str
    position: int
    first_offset: int | None = None
    next_offset: int | None = None


class UnsupportedFormatError(MsglogError, OSError):
    """The files were written by a newer format, or need a codec that is not installed."""

    path: str
    found: object
    supported: object


# Bad input


class InvalidOptionError(MsglogError, ValueError):
    """An option's value is outside of what is allowed."""

    option: str
    given: object
    allowed: str


class InvalidTypeError(InvalidOptionError, TypeError):
    """An argument has the wrong type."""


class EncodeError(InvalidTypeError):
    """An object could not be turned into bytes by its codec; nothing of the call was applied.

    `part`: whether it was to be a "key", a "value" or a "body"; `option` says which one of many, too. `codec`: the name
    of the codec. What the codec raised is the `__cause__`.
    """

    part: Literal["key", "value", "body"]
    codec: str


class InvalidNameError(MsglogError, ValueError):
    """A name of a topic, group, producer, queue or exchange breaks the rules for names."""

    name: object
    allowed: str


class RecordTooLargeError(MsglogError, ValueError):
    """One record is larger than the store or the topic allows."""

    size: int
    limit: int


class TransactionTooLargeError(MsglogError, ValueError):
    """One commit carries more than the store writes in one piece."""

    size: int
    limit: int


class TransactionError(MsglogError, RuntimeError):
    """A transaction was used inside another one, before or after its block, or by another thread or task."""


class NoEventLoopError(MsglogError, RuntimeError):
    """A call of `msglog.aio` found no event loop of asyncio running in its thread: only under one can it wait.

    `outcome` is "unknown" where something was written before: it stays, and its sync follows.
    """


# The log


class TopicNotFoundError(MsglogError, LookupError):
    """There is no such topic."""

    topic: str


class TopicExistsError(MsglogError, ValueError):
    """A topic of this name is there already."""

    topic: str


class PartitionNotFoundError(MsglogError, LookupError):
    """The topic has no such partition."""

    topic: str
    partition: int
    partitions: int


class OffsetOutOfRangeError(MsglogError, LookupError):
    """The offset is below the partition's start or beyond its end."""

    topic: str
    partition: int
    offset: int
    start_offset: int
    end_offset: int


class OffsetConflictError(MsglogError, ValueError):
    """The next offset is not the expected one: somebody else appended first."""

    topic: str
    partition: int
    expected: int
    actual: int


class GroupError(MsglogError, RuntimeError):
    """A consumer group, or a named producer, refuses the call in its present state."""


class FencedError(GroupError):
    """A newer holder of this identity exists, or the group no longer knows this member."""


class RebalanceError(GroupError):
    """The group is rebalancing: the call belongs to an assignment that has ended."""


class DecodeError(MsglogError, ValueError):
    """A record's bytes could not be turned into the object its codec promises, or a line of an import into a record.

    `part`: whether it is the "key", the "value" or the "body"; `codec`: the name of the codec. `raw`: the record or
    message with the bytes. `record`: that, if it is a record, in a share group with `ack`, `release` and `reject`.
    `delivery`: that, if it is a message in hand, which is still to be settled. What the codec raised is the
    `__cause__`. A pickled error carries no message: that belongs to its process.

    Of an import, `line` is its number, from 1, and `imported` how many records were appended before.
    """

    part: Literal["key", "value", "body"] | None = None
    codec: str | None = None
    raw: "Record | Message | None" = None
    record: "Record | None" = None
    delivery: "Delivery | None" = None
    line: int | None = None
    imported: int | None = None

    def __reduce__(self) -> tuple[Callable[..., MsglogError], tuple[Any, ...]]:
        details = {name: value for name, value in self.__dict__.items() if name not in ("raw", "delivery")}
        details["raw"] = self.record
        return _rebuild, (type(self), str(self), details)


# The broker


class QueueNotFoundError(MsglogError, LookupError):
    """There is no such queue."""

    reply_code: ClassVar[int | None] = 404
    closes: ClassVar[Closes | None] = "channel"
    queue: str


class ExchangeNotFoundError(MsglogError, LookupError):
    """There is no such exchange."""

    reply_code: ClassVar[int | None] = 404
    closes: ClassVar[Closes | None] = "channel"
    exchange: str


class PreconditionFailedError(MsglogError, ValueError):
    """What was asked for contradicts what is there, or an argument that RabbitMQ checks is not valid."""

    reply_code: ClassVar[int | None] = 406
    closes: ClassVar[Closes | None] = "channel"


class ResourceLockedError(MsglogError):
    """The queue is exclusive to another connection."""

    reply_code: ClassVar[int | None] = 405
    closes: ClassVar[Closes | None] = "channel"
    queue: str


class AccessRefusedError(MsglogError):
    """The name is reserved, the exchange is internal, or a consumer has the queue to itself."""

    reply_code: ClassVar[int | None] = 403
    closes: ClassVar[Closes | None] = "channel"


class UnroutableError(MsglogError):
    """A mandatory message reached no queue: it was not stored."""

    reply_code: ClassVar[int | None] = 312
    exchange: str
    routing_key: str

    @property
    def reply_text(self) -> str:
        """What a returned message carries: the name alone."""
        return _REPLY_NAMES[312]


class PublishRejectedError(MsglogError):
    """Full queues refused the message; the other queues it was routed to, if any, have stored it."""

    queues: tuple[str, ...]


class SettlementError(MsglogError, RuntimeError):
    """The delivery cannot be settled: that was done already, or it went back to its queue."""


class UnknownDeliveryTagError(SettlementError):
    """The channel has no unsettled delivery with this tag."""

    reply_code: ClassVar[int | None] = 406
    closes: ClassVar[Closes | None] = "channel"
    delivery_tag: int


class ConsumerCancelledError(MsglogError):
    """The broker ended the consumer: its queue is gone."""

    queue: str


class RequestTimeoutError(MsglogError, TimeoutError):
    """No reply came in time. The request was published and may yet be worked on."""

    outcome: Outcome = "unknown"


class NotAllowedError(MsglogError):
    """The protocol forbids it: a consumer tag is in use already, say."""

    reply_code: ClassVar[int | None] = 530
    closes: ClassVar[Closes | None] = "connection"


class NotSupportedError(MsglogError):
    """A part of AMQP that RabbitMQ does not implement either."""

    reply_code: ClassVar[int | None] = 540
    closes: ClassVar[Closes | None] = "connection"


class CommandInvalidError(MsglogError):
    """The command makes no sense in the present state of the connection."""

    reply_code: ClassVar[int | None] = 503
    closes: ClassVar[Closes | None] = "connection"

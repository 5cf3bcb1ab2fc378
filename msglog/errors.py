"""Every error msglog raises, in one tree under `MsglogError`.

Imported by every layer; imports nothing. An error says in words what was given and what is allowed, and
repeats the facts as typed attributes for code. Sizes, names and offsets appear, payloads never do.
"""

import errno
from collections.abc import Callable
from typing import Any, ClassVar, Literal

Outcome = Literal["not_applied", "unknown"]


class MsglogError(Exception):
    """Base of all errors of msglog.

    `outcome` tells what became of the call: "not_applied" (nothing happened) or "unknown" (it may have
    happened: look, or retry through a named producer). `reply_code` is AMQP's code where it has one.
    """

    outcome: Outcome = "not_applied"
    reply_code: ClassVar[int | None] = None

    def __init__(self, message: str = "", **details: Any) -> None:
        super().__init__(message)
        self.__dict__.update(details)

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
    """A record's bytes could not be turned into the object its codec promises."""

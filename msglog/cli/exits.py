"""Exit codes, and which error ends in which.

The codes are a promise to scripts: they stand in the help and in the how-to. Pure. Imported by `guard` and the
commands.
"""

from typing import Final

from msglog.errors import (
    AccessRefusedError,
    CorruptionError,
    DecodeError,
    DiskFullError,
    ExchangeNotFoundError,
    GroupError,
    InvalidNameError,
    InvalidOptionError,
    MsglogError,
    OffsetOutOfRangeError,
    PartitionNotFoundError,
    PreconditionFailedError,
    PublishRejectedError,
    QueueNotFoundError,
    ReadOnlyError,
    RecordTooLargeError,
    ResourceLockedError,
    StoreFailedError,
    StoreLockedError,
    TopicExistsError,
    TopicNotFoundError,
    UnroutableError,
    UnsupportedFormatError,
)

OK: Final = 0
PROBLEM: Final = 1
USAGE: Final = 2
NOT_OPENED: Final = 3
REFUSED: Final = 4
FAILED: Final = 5
INTERRUPTED: Final = 130
NOBODY_READS: Final = 141

MEANINGS: Final = {
    OK: "all went well",
    PROBLEM: "a problem was found, something was left out, nobody got it",
    USAGE: "the command line is wrong: an option, a name, a value",
    NOT_OPENED: "no store there, or it cannot be opened: locked, damaged",
    REFUSED: "refused: no such topic or queue, there already, in use",
    FAILED: "reading or writing failed: damaged data, a full disk",
    INTERRUPTED: "ended by Ctrl-C",
    NOBODY_READS: "whoever read the output has gone",
}

_CODES: Final[tuple[tuple[type[Exception], int], ...]] = (
    (InvalidOptionError, USAGE),
    (InvalidNameError, USAGE),
    (StoreLockedError, NOT_OPENED),
    (ReadOnlyError, NOT_OPENED),
    (UnsupportedFormatError, NOT_OPENED),
    (UnroutableError, PROBLEM),
    (PublishRejectedError, PROBLEM),
    (AccessRefusedError, REFUSED),
    (ExchangeNotFoundError, REFUSED),
    (QueueNotFoundError, REFUSED),
    (TopicNotFoundError, REFUSED),
    (TopicExistsError, REFUSED),
    (PartitionNotFoundError, REFUSED),
    (PreconditionFailedError, REFUSED),
    (ResourceLockedError, REFUSED),
    (OffsetOutOfRangeError, REFUSED),
    (GroupError, REFUSED),
    (RecordTooLargeError, REFUSED),
    (CorruptionError, FAILED),
    (DecodeError, FAILED),
    (DiskFullError, FAILED),
    (StoreFailedError, FAILED),
    (MsglogError, FAILED),
    (OSError, FAILED),
    (UnicodeError, FAILED),
)


class CommandError(Exception):
    """What ends a command with a line and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class NobodyReadsError(Exception):
    """Whoever read the output has gone."""


def code_of(error: BaseException) -> int | None:
    """Return the exit code for an error, None for one that nobody expects."""
    if isinstance(error, CommandError):
        return error.code
    return next((code for kind, code in _CODES if isinstance(error, kind)), None)

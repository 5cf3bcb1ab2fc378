"""The options of a topic: their names, defaults and limits.

Imported by the log when topics are created, altered, described and read back from the store's definitions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal, NamedTuple, Self, TypedDict

from msglog.errors import InvalidOptionError, InvalidTypeError

DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
MAX_INT64: Final = (1 << 63) - 1
MAX_INT32: Final = (1 << 31) - 1


CleanupPolicy = Literal["delete", "compact", "compact,delete"]
TimestampType = Literal["create", "append"]
Compression = Literal["zlib", "zstd", "lz4"]


class FurtherTopicOptions(TypedDict, total=False):
    """The options that `create_topic` takes besides those of its signature, for type checkers."""

    min_cleanable_dirty_ratio: float
    delete_retention_ms: int
    min_compaction_lag_ms: int
    max_compaction_lag_ms: int | None
    message_timestamp_before_max_ms: int | None
    message_timestamp_after_max_ms: int | None
    max_message_bytes: int | None


class TopicOptions(FurtherTopicOptions, total=False):
    """All options of a topic, as `alter_topic` takes them, for type checkers."""

    retention_ms: int | None
    retention_bytes: int | None
    segment_bytes: int | None
    segment_ms: int | None
    cleanup_policy: CleanupPolicy
    timestamp_type: TimestampType
    compression: Compression | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicConfig:
    """All options of one topic, valid by construction.

    `None` means no limit of its own: nothing is removed by age or size, the store's segment size holds,
    records stay as they are sent. Names and defaults are Kafka's, but that a topic keeps everything unless
    told otherwise. `max_message_bytes` limits each record's key, value and headers together before
    compression, a limit that users can predict; Kafka's is for a compressed batch. Raises
    `InvalidOptionError`, or its kind `InvalidTypeError`, with what was given and what is allowed.
    """

    retention_ms: int | None = None
    retention_bytes: int | None = None
    segment_bytes: int | None = None
    segment_ms: int | None = None
    cleanup_policy: str = "delete"
    timestamp_type: str = "create"
    compression: str | None = None
    min_cleanable_dirty_ratio: float = 0.5
    delete_retention_ms: int = DAY_MS
    min_compaction_lag_ms: int = 0
    max_compaction_lag_ms: int | None = None
    message_timestamp_before_max_ms: int | None = None
    message_timestamp_after_max_ms: int | None = HOUR_MS
    max_message_bytes: int | None = None

    def __post_init__(self) -> None:
        for option, limits in _INTEGERS.items():
            _check_integer(option, getattr(self, option), limits)
        for option, choices in _CHOICES.items():
            _check_choice(option, getattr(self, option), choices)
        _check_ratio("min_cleanable_dirty_ratio", self.min_cleanable_dirty_ratio)
        self._check_compaction_lags()

    def _check_compaction_lags(self) -> None:
        most = self.max_compaction_lag_ms
        if most is not None and most < self.min_compaction_lag_ms:
            allowed = f"at least min_compaction_lag_ms, which is {self.min_compaction_lag_ms}"
            raise _refusal("max_compaction_lag_ms", most, allowed)

    @property
    def compacts(self) -> bool:
        """Whether old records of a key are removed."""
        return "compact" in self.cleanup_policy

    @property
    def deletes(self) -> bool:
        """Whether old segments are removed by age and size."""
        return "delete" in self.cleanup_policy

    @property
    def max_segment_ms(self) -> int | None:
        """The age at which the active segment rolls, None for never.

        As in Kafka a compacted topic's segment also rolls by `max_compaction_lag_ms`: records in the active
        one could not be cleaned in time otherwise.
        """
        ages = [self.segment_ms, self.max_compaction_lag_ms if self.compacts else None]
        return min((age for age in ages if age is not None), default=None)

    def altered(self, **changes: Any) -> Self:
        """Return these options with `changes`. Raises `InvalidOptionError` also for an unknown option."""
        _check_known(changes)
        return replace(self, **changes)

    def to_dict(self) -> dict[str, object]:
        """Return every option by name, as plain values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> Self:
        """Return the topic options of a mapping like `to_dict` gives; what is missing has its default."""
        _check_known(options)
        return cls(**options)


class _Limits(NamedTuple):
    least: int
    most: int
    optional: bool


_INTEGERS: Final[dict[str, _Limits]] = {
    "retention_ms": _Limits(0, MAX_INT64, optional=True),
    "retention_bytes": _Limits(0, MAX_INT64, optional=True),
    # Kafka 4 wants at least 1 MiB: small segments are for tests.
    "segment_bytes": _Limits(1024, MAX_INT32, optional=True),
    "segment_ms": _Limits(1, MAX_INT64, optional=True),
    "delete_retention_ms": _Limits(0, MAX_INT64, optional=False),
    "min_compaction_lag_ms": _Limits(0, MAX_INT64, optional=False),
    "max_compaction_lag_ms": _Limits(1, MAX_INT64, optional=True),
    "message_timestamp_before_max_ms": _Limits(0, MAX_INT64, optional=True),
    "message_timestamp_after_max_ms": _Limits(0, MAX_INT64, optional=True),
    "max_message_bytes": _Limits(1, MAX_INT32, optional=True),
}
_CHOICES: Final[dict[str, tuple[str | None, ...]]] = {
    "cleanup_policy": ("delete", "compact", "compact,delete"),
    "timestamp_type": ("create", "append"),
    "compression": (None, "zlib", "zstd", "lz4"),
}
_OPTIONS: Final = frozenset(field.name for field in fields(TopicConfig))


def _check_integer(option: str, given: object, limits: _Limits) -> None:
    if given is None and limits.optional:
        return
    allowed = f"an int from {limits.least} to {limits.most}" + (" or None" if limits.optional else "")
    if isinstance(given, bool) or not isinstance(given, int):
        raise _refusal(option, given, allowed, InvalidTypeError)
    if not limits.least <= given <= limits.most:
        raise _refusal(option, given, allowed)


def _check_choice(option: str, given: object, choices: tuple[str | None, ...]) -> None:
    allowed = "one of " + ", ".join(repr(choice) for choice in choices)
    if given is not None and not isinstance(given, str):
        raise _refusal(option, given, allowed, InvalidTypeError)
    if given not in choices:
        raise _refusal(option, given, allowed)


def _check_ratio(option: str, given: object) -> None:
    allowed = "a number from 0.0 to 1.0"
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise _refusal(option, given, allowed, InvalidTypeError)
    if not 0.0 <= given <= 1.0:
        raise _refusal(option, given, allowed)


def _check_known(options: Mapping[str, Any]) -> None:
    for option, given in options.items():
        if option not in _OPTIONS:
            allowed = "the options " + ", ".join(sorted(_OPTIONS))
            message = f"{option!r} is not a topic option; allowed: {allowed}"
            raise InvalidOptionError(message, option=option, given=given, allowed=allowed)


def _refusal(
    option: str, given: object, allowed: str, kind: type[InvalidOptionError] = InvalidOptionError
) -> InvalidOptionError:
    return kind(f"{option}={given!r}; allowed: {allowed}", option=option, given=given, allowed=allowed)

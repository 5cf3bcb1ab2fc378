"""The x- arguments of queues: which there are, for which type of queue, and what RabbitMQ says of wrong ones.

Imported by the rules for the options of queues.
"""

from collections.abc import Callable, Container, Mapping
from typing import Any, Final, Literal

from msglog.broker.rules.expiration import expiry_fault
from msglog.broker.rules.field_table import field_type
from msglog.broker.rules.names import described
from msglog.checks import MAX_INT64
from msglog.errors import PreconditionFailedError

QueueType = Literal["classic", "quorum"]

OVERFLOWS: Final = ("drop-head", "reject-publish", "reject-publish-dlx")
MAX_PRIORITY: Final = 255

# A fault in RabbitMQ's words, or None.
_Fault = str | None


def check_queue_arguments(queue: str, arguments: Mapping[str, Any]) -> QueueType:
    """Make sure that a queue can have these arguments, and return the type of queue they ask for.

    Unknown arguments are ignored. Raises `PreconditionFailedError` with RabbitMQ's text.
    """
    where = described("queue", queue)
    exchange = arguments.get("x-dead-letter-exchange", "")
    if not isinstance(exchange, str):
        kind = field_type(exchange)
        raise PreconditionFailedError(f"invalid type '{kind}' for arg 'x-dead-letter-exchange' in {where}")
    queue_type = _queue_type(where, arguments)
    known = ARGUMENTS[queue_type]
    _check_values(where, arguments, known)
    for key in arguments:
        if key in _ALL_ARGUMENTS and key not in known:
            raise PreconditionFailedError(f"invalid arg '{key}' for {where} of queue type rabbit_{queue_type}_queue")
    if queue_type == "quorum" and arguments.get("x-overflow") == "reject-publish-dlx":
        raise PreconditionFailedError(f"invalid arg 'x-overflow' with value 'reject-publish-dlx' for {where}")
    return queue_type


def check_quorum_properties(queue: str, *, durable: bool, exclusive: bool, auto_delete: bool) -> None:
    """Make sure that a quorum queue can be declared so. Raises `PreconditionFailedError` with RabbitMQ's text."""
    for wrong, name in ((auto_delete, "auto-delete"), (exclusive, "exclusive-owner"), (not durable, "non-durable")):
        if wrong:
            raise PreconditionFailedError(f"invalid property '{name}' for {described('queue', queue)}")


def _queue_type(where: str, arguments: Mapping[str, Any]) -> QueueType:
    _check_values(where, arguments, ("x-queue-type",))
    given = arguments.get("x-queue-type", "classic")
    if given == "stream":
        raise PreconditionFailedError(
            f"invalid arg 'x-queue-type' for {where}: streams are not supported, a topic of the log is one"
        )
    return "quorum" if given == "quorum" else "classic"


def _check_values(where: str, arguments: Mapping[str, Any], keys: Container[str]) -> None:
    for key, fault_of in _VALUES.items():
        if key in arguments and key in keys:
            fault = fault_of(arguments[key], arguments)
            if fault is not None:
                raise PreconditionFailedError(f"invalid arg '{key}' for {where}: {fault}")


def _integer(value: Any) -> _Fault:
    if isinstance(value, bool) or not isinstance(value, int):
        return f'"expected integer, got {field_type(value)}"'
    return f"{{value_too_big,{value}}}" if value > MAX_INT64 else None


def _any_integer(value: Any, _arguments: Mapping[str, Any]) -> _Fault:
    return _integer(value)


def _not_negative(value: Any, _arguments: Mapping[str, Any]) -> _Fault:
    fault = _integer(value)
    if fault is None and value < 0:
        fault = f"{{value_negative,{value}}}"
    return fault


def _positive(value: Any, arguments: Mapping[str, Any]) -> _Fault:
    return "{value_zero,0}" if _integer(value) is None and value == 0 else _not_negative(value, arguments)


def _time_to_live(value: Any, _arguments: Mapping[str, Any]) -> _Fault:
    return _integer(value) or expiry_fault(value)


def _expires(value: Any, arguments: Mapping[str, Any]) -> _Fault:
    return _positive(value, arguments) or expiry_fault(value)


def _max_priority(value: Any, arguments: Mapping[str, Any]) -> _Fault:
    fault = _not_negative(value, arguments)
    if fault is None and value > MAX_PRIORITY:
        fault = f"{{max_value_exceeded,{value}}}"
    return fault


def _flag(value: Any, _arguments: Mapping[str, Any]) -> _Fault:
    return None if isinstance(value, bool) else _wrong_type(value)


def _dead_letter_routing_key(value: Any, arguments: Mapping[str, Any]) -> _Fault:
    if not isinstance(value, str):
        return _wrong_type(value)
    return None if "x-dead-letter-exchange" in arguments else "routing_key_but_no_dlx_defined"


def _overflow(value: Any, _arguments: Mapping[str, Any]) -> _Fault:
    if not isinstance(value, str):
        return _wrong_type(value)
    return None if value in OVERFLOWS else "invalid_overflow"


def _queue_version(value: Any, arguments: Mapping[str, Any]) -> _Fault:
    fault = _not_negative(value, arguments)
    if fault is None and value not in (1, 2):
        fault = f"\"unsupported queue version '{value}'\""
    return fault


def _leader_locator(value: Any, _arguments: Mapping[str, Any]) -> _Fault:
    if not isinstance(value, str):
        return _wrong_type(value)
    return None if value in ("client-local", "balanced") else "invalid_queue_locator_arg"


def _one_of(what: str, *choices: str) -> Callable[[Any, Mapping[str, Any]], _Fault]:
    def check(value: Any, _arguments: Mapping[str, Any]) -> _Fault:
        if not isinstance(value, str):
            return _wrong_type(value)
        return None if value in choices else f"\"unsupported {what} '{value}'\""

    return check


def _wrong_type(value: object) -> str:
    return f"{{unacceptable_type,{field_type(value)}}}"


# In the order in which RabbitMQ looks at them: the first fault is the one that is told.
_VALUES: Final[dict[str, Callable[[Any, Mapping[str, Any]], _Fault]]] = {
    "x-expires": _expires,
    "x-message-ttl": _time_to_live,
    "x-dead-letter-routing-key": _dead_letter_routing_key,
    "x-max-length": _not_negative,
    "x-max-length-bytes": _not_negative,
    "x-max-priority": _max_priority,
    "x-overflow": _overflow,
    "x-queue-mode": _one_of("queue mode", "default", "lazy"),
    "x-queue-version": _queue_version,
    "x-single-active-consumer": _flag,
    "x-queue-type": _one_of("queue type", "classic", "quorum", "stream"),
    "x-delivery-limit": _any_integer,
    "x-queue-leader-locator": _leader_locator,
    "x-history": _not_negative,
}

_BOTH: Final = (
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
    "x-single-active-consumer",
    "x-queue-type",
    "x-queue-leader-locator",
    "x-history",
)
_CLASSIC_ONLY: Final = ("x-max-priority", "x-queue-mode", "x-queue-version", "x-queue-master-locator")
_QUORUM_ONLY: Final = (
    "x-delivery-limit",
    "x-dead-letter-strategy",
    "x-max-in-memory-length",
    "x-max-in-memory-bytes",
    "x-quorum-initial-group-size",
    "x-quorum-target-group-size",
)
ARGUMENTS: Final[dict[QueueType, frozenset[str]]] = {
    "classic": frozenset((*_BOTH, *_CLASSIC_ONLY)),
    "quorum": frozenset((*_BOTH, *_QUORUM_ONLY)),
}
"""The arguments that a queue of each type knows."""

# In RabbitMQ's order, as far as it looks at the values, and then the rest.
COMPARED: Final = tuple(
    dict.fromkeys(
        ("x-expires", "x-message-ttl", "x-dead-letter-exchange", *_VALUES, *_BOTH, *_CLASSIC_ONLY, *_QUORUM_ONLY)
    )
)
"""The arguments that a second declaration is compared by: the first that differs is told."""

_STREAM_ONLY: Final = ("x-max-age", "x-stream-max-segment-size-bytes", "x-stream-filter-size-bytes")
_ALL_ARGUMENTS: Final = frozenset((*ARGUMENTS["classic"], *ARGUMENTS["quorum"], *_STREAM_ONLY))

"""The keyword options of queues, which policies have too: how they are spelled elsewhere, and their ranges.

Imported by the rules for the options of queues and exchanges and for policies.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from msglog.broker.rules.expiration import MAX_EXPIRY_MS
from msglog.broker.rules.field_table import MAX_SHORT_BYTES, utf8_length
from msglog.broker.rules.names import check_exchange_name
from msglog.broker.rules.queue_arguments import MAX_PRIORITY, OVERFLOWS
from msglog.checks import MAX_INT64, check_choice, check_flag, check_integer, refused, wrong_type
from msglog.errors import InvalidOptionError

# A time on any clock and this fit into 64 bits together.
_MOST_HISTORY_MS: Final = 1 << 62
_ROUTING_KEY: Final = f"a str of at most {MAX_SHORT_BYTES} bytes in UTF-8"


class Spelling(NamedTuple):
    """One option: its argument, what makes sure of a value, and the value that counts as not given."""

    argument: str
    check: Callable[[str, Any], Any]
    default: Any = None


def checked_option(name: str, value: Any) -> Any:
    """Return the value of the keyword option when it is allowed.

    Raises `InvalidOptionError`, for an unknown option too, or `InvalidTypeError`.
    """
    if name not in QUEUE_KEYWORDS:
        allowed = ", ".join(QUEUE_KEYWORDS)
        raise InvalidOptionError(
            f"{name!r} is no option of a queue; allowed: {allowed}", option=name, given=name, allowed=allowed
        )
    return QUEUE_KEYWORDS[name].check(name, value)


def check_routing_key(option: str, given: object) -> str:
    """Return `given` when it can be a routing key. Raises `InvalidTypeError` or `InvalidOptionError`."""
    if not isinstance(given, str):
        raise wrong_type(option, given, _ROUTING_KEY)
    if utf8_length(given) > MAX_SHORT_BYTES:
        raise refused(option, given, _ROUTING_KEY)
    return given


def _overflow(option: str, given: str) -> str:
    check_choice(option, given, OVERFLOWS)
    return given


def _exchange(option: str, given: object) -> str:
    if not isinstance(given, str):
        raise wrong_type(option, given, "the name of an exchange, or None")
    return check_exchange_name(given)


def _integer(least: int, most: int = MAX_INT64) -> Callable[[str, Any], int]:
    return partial(check_integer, least=least, most=most)


QUEUE_KEYWORDS: Final[dict[str, Spelling]] = {
    "message_ttl_ms": Spelling("x-message-ttl", _integer(0, MAX_EXPIRY_MS)),
    "expires_ms": Spelling("x-expires", _integer(1, MAX_EXPIRY_MS)),
    "max_length": Spelling("x-max-length", _integer(0)),
    "max_length_bytes": Spelling("x-max-length-bytes", _integer(0)),
    "overflow": Spelling("x-overflow", _overflow, "drop-head"),
    "dead_letter_exchange": Spelling("x-dead-letter-exchange", _exchange),
    "dead_letter_routing_key": Spelling("x-dead-letter-routing-key", check_routing_key),
    "max_priority": Spelling("x-max-priority", _integer(0, MAX_PRIORITY)),
    "delivery_limit": Spelling("x-delivery-limit", _integer(-1)),
    "single_active_consumer": Spelling("x-single-active-consumer", check_flag, default=False),
    "history_ms": Spelling("x-history", _integer(0, _MOST_HISTORY_MS)),
}
"""The options of a queue that have an argument, by their keyword."""

check_alternate: Final = _exchange

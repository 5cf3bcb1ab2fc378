"""The `expiration` of a message: how long it may wait in a queue.

Imported by the broker where messages are published, and by the rules for queue arguments.
"""

import re
from typing import Final

from msglog.errors import PreconditionFailedError

MAX_EXPIRY_MS: Final = 10 * 365 * 24 * 3_600_000
"""The longest time that RabbitMQ lets a message or queue live: ten years."""

# What RabbitMQ reads as a number: a sign, digits, and whatever follows them is too much.
_NUMBER: Final = re.compile(r"([+-]?[0-9]+)(.*)", re.DOTALL)


def expiration_ms(text: str | None) -> int | None:
    """Return the milliseconds that `expiration` says, None for no limit.

    Raises `PreconditionFailedError` with RabbitMQ's text unless it is a whole number from 0 in decimal digits.
    """
    if text is None:
        return None
    number = _NUMBER.match(text)
    if number is None:
        raise _refusal(text, "no_integer")
    digits, rest = number.groups()
    if rest:
        raise _refusal(text, f'{{leftover_string,"{rest}"}}')
    value = int(digits)
    reason = expiry_fault(value)
    if reason is not None:
        raise _refusal(text, reason)
    return value


def expiry_fault(value: int) -> str | None:
    """Return RabbitMQ's words for what is wrong with a time to live in milliseconds, None when it is right."""
    if value < 0:
        return f"{{value_negative,{value}}}"
    if value > MAX_EXPIRY_MS:
        return f"{{value_too_large,{value}}}"
    return None


def _refusal(text: str, reason: str) -> PreconditionFailedError:
    return PreconditionFailedError(f"invalid expiration '{text}': {reason}")

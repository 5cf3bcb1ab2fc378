"""Which names queues and exchanges may have, and how RabbitMQ speaks of them.

The texts are RabbitMQ's, for clients match on them; "vhost '/'" stands in them because this broker is one virtual
host. Imported by the broker wherever a name comes in from outside, and by the rules for their texts.
"""

import re
from base64 import urlsafe_b64encode
from typing import Final, Literal

from msglog.broker.rules.field_table import MAX_SHORT_BYTES, utf8_length
from msglog.checks import show
from msglog.errors import (
    AccessRefusedError,
    ExchangeNotFoundError,
    InvalidNameError,
    QueueNotFoundError,
    ResourceLockedError,
)

Kind = Literal["queue", "exchange"]

RESERVED_PREFIX: Final = "amq."
GENERATED_PREFIX: Final = "amq.gen-"
GENERATED_BYTES: Final = 16
"""How many random bytes `generated_queue_name` wants."""

# Surrogates are refused with the control characters because a name must survive UTF-8.
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_QUEUE_ALLOWED: Final = f"a str of 1 to {MAX_SHORT_BYTES} bytes in UTF-8 without control characters"
_EXCHANGE_ALLOWED: Final = f"a str of at most {MAX_SHORT_BYTES} bytes in UTF-8 without control characters"


def check_queue_name(name: object) -> str:
    """Return `name` when a queue may be called so; reserved names too. Raises `InvalidNameError`."""
    if not isinstance(name, str) or not name or not _is_printable(name):
        raise _refusal("queue", name, _QUEUE_ALLOWED)
    return name


def check_exchange_name(name: object) -> str:
    """Return `name` when an exchange may be called so; "" is the default one. Raises `InvalidNameError`."""
    if not isinstance(name, str) or not _is_printable(name):
        raise _refusal("exchange", name, _EXCHANGE_ALLOWED)
    return name


def check_not_reserved(kind: Kind, name: str) -> None:
    """Refuse to declare what is the server's: `amq.*`, and the default exchange. Raises `AccessRefusedError`.

    For names that do not exist yet: declaring `amq.direct` once more is allowed.
    """
    if kind == "exchange" and not name:
        raise default_exchange_refused()
    if name.startswith(RESERVED_PREFIX):
        raise AccessRefusedError(f"{kind} name '{name}' contains reserved prefix 'amq.*'")


def generated_queue_name(random: bytes) -> str:
    """Return the server's name for a queue declared without one, made of 16 random bytes."""
    if len(random) != GENERATED_BYTES:
        raise ValueError(f"{len(random)} random bytes; needed: {GENERATED_BYTES}")
    return GENERATED_PREFIX + urlsafe_b64encode(random).rstrip(b"=").decode()


def described(kind: Kind, name: str) -> str:
    """Return how RabbitMQ names a queue or exchange in its texts."""
    return f"{kind} '{name}' in vhost '/'"


def binary(text: str) -> str:
    """Return how RabbitMQ shows a text that was sent in a place where it expects another one."""
    return f'<<"{text}">>' if text else "<<>>"


def queue_not_found(name: str) -> QueueNotFoundError:
    """Return the error for a queue that does not exist."""
    return QueueNotFoundError(f"no {described('queue', name)}", queue=name)


def exchange_not_found(name: str) -> ExchangeNotFoundError:
    """Return the error for an exchange that does not exist."""
    return ExchangeNotFoundError(f"no {described('exchange', name)}", exchange=name)


def queue_locked(name: str) -> ResourceLockedError:
    """Return the error for an exclusive queue used by another connection, or declared with another `exclusive`."""
    message = (
        f"cannot obtain exclusive access to locked {described('queue', name)}. It could be originally declared on "
        "another connection or the exclusive property value does not match that of the original declaration."
    )
    return ResourceLockedError(message, queue=name)


def default_exchange_refused() -> AccessRefusedError:
    """Return the error for declaring, deleting or binding the default exchange."""
    return AccessRefusedError("operation not permitted on the default exchange")


def _is_printable(name: str) -> bool:
    return utf8_length(name) <= MAX_SHORT_BYTES and _UNPRINTABLE.search(name) is None


def _refusal(kind: Kind, name: object, allowed: str) -> InvalidNameError:
    return InvalidNameError(f"{show(name)} names no {kind}; allowed: {allowed}", name=name, allowed=allowed)

"""Whether a queue or exchange that is declared once more is declared as it is.

The texts of what differs are RabbitMQ's. Imported by the rules for the options of queues and exchanges.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from msglog.broker.rules.field_table import field_type
from msglog.broker.rules.names import Kind, described

# Types that RabbitMQ compares with one another: what client wrote an integer how wide says nothing.
_CLASSES: Final = {"signedint": "int", "long": "int"}


def flag_difference(kind: Kind, name: str, flag: str, *, current: object, received: object) -> str | None:
    """Return RabbitMQ's text when a flag, or a type, was declared differently, None when it is the same."""
    if current == received:
        return None
    return _text(kind, name, flag, f"'{_shown(received)}'", f"'{_shown(current)}'")


def argument_difference(
    kind: Kind, name: str, keys: Iterable[str], current: Mapping[str, Any], received: Mapping[str, Any]
) -> str | None:
    """Return RabbitMQ's text for the first of `keys` whose argument differs, None when none does.

    Other arguments are not looked at, as RabbitMQ ignores those it does not know.
    """
    for key in keys:
        if key in current and key in received:
            old, new = current[key], received[key]
            if _class(old) != _class(new) or old != new:
                return _text(kind, name, key, f"'{_shown(new)}'", f"'{_shown(old)}'")
        elif key in current:
            return _text(kind, name, key, "none", _with_type(current[key]))
        elif key in received:
            return _text(kind, name, key, _with_type(received[key]), "none")
    return None


def _text(kind: Kind, name: str, key: str, received: str, current: str) -> str:
    return f"inequivalent arg '{key}' for {described(kind, name)}: received {received} but current is {current}"


def _class(value: object) -> str:
    kind = field_type(value)
    return _CLASSES.get(kind, kind)


def _with_type(value: object) -> str:
    return f"the value '{_shown(value)}' of type '{field_type(value)}'"


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

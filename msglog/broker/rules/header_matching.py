"""Whether a message's headers satisfy the arguments of a binding to a headers exchange.

Imported by the exchange types.
"""

from collections.abc import Hashable, Mapping
from typing import Any, Final

from msglog.broker.rules.field_table import field_type
from msglog.broker.rules.field_values import comparable
from msglog.broker.rules.names import binary
from msglog.checks import show
from msglog.errors import PreconditionFailedError

X_MATCH: Final = "x-match"
_MODES: Final = ("all", "any", "all-with-x", "any-with-x")
_SHOWN_LENGTH: Final = 60


def comparable_headers(headers: Mapping[str, Any]) -> dict[str, Hashable]:
    """Return the headers as `HeaderMatcher.matches` takes them; do it once for each message."""
    return {name: comparable(value) for name, value in headers.items()}


class HeaderMatcher:
    """The arguments of one binding, prepared for matching.

    By `x-match`, "all" when it is missing, all or any of the arguments must be found in the headers. An argument
    of None asks only that the header is there. Arguments that begin with "x-" are asked for by the modes
    "all-with-x" and "any-with-x" only, `x-match` itself by none. With nothing to ask for, "all" matches every
    message and "any" none.
    """

    __slots__ = ("_quantifier", "_values")

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        """Prepare `arguments`, which `check_x_match` has accepted."""
        mode = _text(arguments.get(X_MATCH, "all"))
        with_x = mode.endswith("-with-x")
        self._quantifier = any if mode.startswith("any") else all
        self._values: Final = [
            (name, comparable(value))
            for name, value in arguments.items()
            if name != X_MATCH and (with_x or not name.startswith("x-"))
        ]

    def matches(self, headers: Mapping[str, Hashable]) -> bool:
        """Tell whether a message with these headers, made by `comparable_headers`, goes through the binding."""
        return self._quantifier(
            name in headers and (value is None or headers[name] == value) for name, value in self._values
        )


def check_x_match(arguments: Mapping[str, Any]) -> None:
    """Make sure that `x-match`, if it is given, is one of the four modes. Raises `PreconditionFailedError`."""
    if X_MATCH not in arguments:
        return
    given = arguments[X_MATCH]
    if not isinstance(given, str):
        raise PreconditionFailedError(
            f"Invalid x-match field type {field_type(given)} (value {_term(given)}); expected longstr",
        )
    if given not in _MODES:
        shown = binary(given[:_SHOWN_LENGTH])
        raise PreconditionFailedError(
            f"Invalid x-match field value {shown}; expected all, any, all-with-x, or any-with-x",
        )


def _term(value: object) -> str:
    """Return how RabbitMQ shows a plain value; of others only what they are."""
    if value is None:
        return "undefined"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return binary(value[:_SHOWN_LENGTH].decode("utf-8", "replace"))
    return show(value)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")

"""When two AMQP field values are equal, as header matching and the identity of bindings need it.

Python's own equality takes True for 1 and sets b"a" apart from "a"; AMQP's does the opposite. Imported by the
routing rules.
"""

from collections.abc import Callable, Hashable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final


def comparable(value: Any) -> Hashable:
    """Return a stand-in for a field value: two stand-ins are equal exactly when their values are in AMQP.

    Text and bytes are one type, a bool is no number, an int is no float, a decimal compares by its digits and
    scale, a datetime by its instant (without a zone it counts as UTC). Lists and tables compare by value,
    tables in any order. A NaN equals a NaN, or its binding could never be removed. Stand-ins are hashable, and
    their `repr` is the same in every process. `value` must be a field value, checked before and of a plain type.
    """
    stand_in = _STAND_INS.get(type(value))
    return value if stand_in is None else stand_in(value)


def _list(value: list[Any]) -> Hashable:
    return "list", tuple([comparable(item) for item in value])


def _table(value: dict[str, Any]) -> Hashable:
    # Keys are unique, so that sorting never looks at the values.
    return "table", tuple(sorted([(name, comparable(item)) for name, item in value.items()]))


_STAND_INS: Final[dict[type, Callable[[Any], Hashable]]] = {
    str: lambda value: value.encode("utf-8", "surrogatepass"),
    bool: lambda value: ("bool", value),
    float: lambda value: ("float", value if value == value else "nan"),  # noqa: PLR0124 - false of NaN alone
    Decimal: lambda value: ("decimal", value.as_tuple()),
    datetime: lambda value: value if value.tzinfo else value.replace(tzinfo=UTC),
    list: _list,
    tuple: _list,
    dict: _table,
}

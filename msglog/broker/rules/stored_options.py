"""Options of queues and exchanges as the store's definitions hold them.

What is at its default is left out: definitions are many and mostly plain. Imported by the rules for the options
of queues and exchanges.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from msglog.broker.rules.field_table import pack_table, unpack_table

Options = TypeVar("Options")


@cache
def _types(kind: type[Any]) -> dict[str, frozenset[type]]:
    """Return the types that each field of a dataclass takes."""
    return {name: frozenset(_flat(hint)) for name, hint in get_type_hints(kind).items()}


def _flat(hint: Any) -> Iterator[type]:
    if get_origin(hint) in (Union, UnionType):
        for each in get_args(hint):
            yield from _flat(each)
    elif get_origin(hint) is Literal:
        yield from map(type, get_args(hint))
    else:
        yield get_origin(hint) or hint


def pack_options(options: Any) -> dict[str, Any]:
    """Return the fields of a dataclass with `arguments` as msgpack can hold them."""
    packed: dict[str, Any] = {
        field.name: value
        for field in fields(options)
        if field.name != "arguments" and (value := getattr(options, field.name)) != field.default
    }
    if options.arguments:
        packed["arguments"] = pack_table(options.arguments)
    return packed


def unpack_options(kind: type[Options], packed: Mapping[str, Any]) -> Options:
    """Return the dataclass of this kind that `pack_options` packed. Only types are checked: others raise TypeError."""
    types: Mapping[str, frozenset[type]] = _types(cast(Any, kind))
    wrong = [name for name, value in packed.items() if name != "arguments" and type(value) not in types[name]]
    if wrong:
        raise TypeError(f"options of other types: {', '.join(wrong)}")
    arguments = unpack_table(packed["arguments"]) if "arguments" in packed else {}
    return kind(**{**packed, "arguments": arguments})

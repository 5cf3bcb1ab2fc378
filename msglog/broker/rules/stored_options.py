"""Options of queues and exchanges as the store's definitions hold them.

What is at its default is left out: definitions are many and mostly plain. Imported by the rules for the options
of queues and exchanges.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from msglog.broker.rules.field_table import pack_table, unpack_table

Options = TypeVar("Options")


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
    """Return the dataclass of this kind that `pack_options` packed. Nothing is checked."""
    arguments = unpack_table(packed["arguments"]) if "arguments" in packed else {}
    return kind(**{**packed, "arguments": arguments})

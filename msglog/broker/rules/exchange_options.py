"""The options of an exchange: its type, its flags and its arguments.

Imported by the broker when exchanges are declared, described, and read back from the store's definitions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from msglog.broker.rules.equivalence import argument_difference, flag_difference
from msglog.broker.rules.exchange_types import check_exchange
from msglog.broker.rules.field_table import check_headers, field_type
from msglog.broker.rules.names import described
from msglog.broker.rules.option_checks import check_alternate
from msglog.broker.rules.stored_options import pack_options, unpack_options
from msglog.checks import check_flag, show, wrong_type
from msglog.errors import InvalidOptionError, PreconditionFailedError

ALTERNATE: Final = "alternate-exchange"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeOptions:
    """All options of one exchange as it was declared; made by `exchange_options`, which checks them.

    `arguments` is the whole table, the alternate exchange among it.
    """

    type: str = "direct"
    durable: bool = True
    auto_delete: bool = False
    internal: bool = False
    alternate_exchange: str | None = None
    arguments: Mapping[str, Any]


def exchange_options(
    exchange: str,
    *,
    type: str = "direct",
    durable: bool = True,
    auto_delete: bool = False,
    internal: bool = False,
    alternate_exchange: str | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> ExchangeOptions:
    """Return the options of an exchange. `alternate_exchange` and the argument of that name are the same thing.

    Raises `InvalidOptionError` or `InvalidTypeError` for a keyword that is wrong or contradicts its argument, and
    `PreconditionFailedError` with RabbitMQ's text, in which `exchange` is named, for an unknown type and for arguments.
    """
    if not isinstance(type, str):
        raise wrong_type("type", type, "the name of a type of exchange")
    check_flag("durable", durable)
    check_flag("auto_delete", auto_delete)
    check_flag("internal", internal)
    if alternate_exchange is not None:
        check_alternate("alternate_exchange", alternate_exchange)
    table = {} if arguments is None else check_headers(arguments, "arguments")
    check_exchange(type, table)
    if alternate_exchange is not None:
        table.setdefault(ALTERNATE, alternate_exchange)
    given = table.get(ALTERNATE)
    if ALTERNATE in table and not isinstance(given, str):
        where = described("exchange", exchange)
        raise PreconditionFailedError(f"invalid type '{field_type(given)}' for arg '{ALTERNATE}' in {where}")
    if alternate_exchange is not None and alternate_exchange != given:
        raise _contradiction(alternate_exchange, given)
    return ExchangeOptions(
        type=type,
        durable=durable,
        auto_delete=auto_delete,
        internal=internal,
        alternate_exchange=given,
        arguments=table,
    )


def inequivalence(exchange: str, current: ExchangeOptions, received: ExchangeOptions) -> str | None:
    """Return RabbitMQ's text for why `received` does not describe the exchange that is there, None when it does."""
    for flag in ("type", "durable", "auto_delete", "internal"):
        old, new = getattr(current, flag), getattr(received, flag)
        difference = flag_difference("exchange", exchange, flag, current=old, received=new)
        if difference is not None:
            return difference
    return argument_difference("exchange", exchange, (ALTERNATE,), current.arguments, received.arguments)


def pack_exchange_options(options: ExchangeOptions) -> dict[str, Any]:
    """Return the options as msgpack can hold them; those at their defaults are left out."""
    return pack_options(options)


def unpack_exchange_options(packed: Mapping[str, Any]) -> ExchangeOptions:
    """Return the options from what `pack_exchange_options` made of them. Nothing is checked."""
    return unpack_options(ExchangeOptions, packed)


def _contradiction(keyword: str, argument: object) -> InvalidOptionError:
    allowed = "one of the two spellings, or the same value in both"
    message = f"alternate_exchange={show(keyword)} and {ALTERNATE}={show(argument)} contradict each other"
    return InvalidOptionError(message, option="alternate_exchange", given=show(keyword), allowed=allowed)

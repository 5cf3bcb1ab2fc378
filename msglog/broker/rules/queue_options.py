"""The options of a queue: keywords and x- arguments, which are two spellings of one thing.

A queue keeps the arguments as a client would list them, the keywords' own among them, so that it makes no
difference to a second declaration which spelling either used. Imported by the broker when queues are declared,
described, and read back from the store's definitions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from msglog.broker.rules.equivalence import argument_difference, flag_difference
from msglog.broker.rules.field_table import check_headers
from msglog.broker.rules.option_checks import QUEUE_KEYWORDS, checked_option
from msglog.broker.rules.queue_arguments import (
    COMPARED,
    QueueType,
    check_queue_arguments,
    check_quorum_properties,
)
from msglog.broker.rules.stored_options import pack_options, unpack_options
from msglog.checks import check_flag, show
from msglog.errors import InvalidOptionError

DEFAULT_DELIVERY_LIMIT: Final = 20
"""How often a quorum queue redelivers a message that it was told no limit for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueOptions:
    """All options of one queue as it was declared; made by `queue_options`, which checks them.

    `None` means no limit. `delivery_limit` counts redeliveries. `arguments` is the whole table of x- arguments.
    """

    durable: bool = True
    exclusive: bool = False
    auto_delete: bool = False
    message_ttl_ms: int | None = None
    expires_ms: int | None = None
    max_length: int | None = None
    max_length_bytes: int | None = None
    overflow: str = "drop-head"
    dead_letter_exchange: str | None = None
    dead_letter_routing_key: str | None = None
    max_priority: int | None = None
    delivery_limit: int | None = None
    single_active_consumer: bool = False
    history_ms: int | None = None
    queue_type: QueueType = "classic"
    arguments: Mapping[str, Any]


def queue_options(
    queue: str,
    *,
    durable: bool = True,
    exclusive: bool = False,
    auto_delete: bool = False,
    arguments: Mapping[str, Any] | None = None,
    **keywords: Any,
) -> QueueOptions:
    """Return the options of a queue from keywords, arguments or both.

    `keywords` are the fields of `QueueOptions` from `message_ttl_ms` to `history_ms`; one that is None or at its
    default counts as not given. `delivery_limit` is for any queue, while the argument x-delivery-limit is, as in
    RabbitMQ, for quorum queues alone; -1 is no limit. Raises `InvalidOptionError` or `InvalidTypeError` for a keyword
    that is wrong or contradicts its argument, and `PreconditionFailedError` with RabbitMQ's text, in which `queue` is
    named, for arguments and for what a queue of its type cannot have.
    """
    check_flag("durable", durable)
    check_flag("exclusive", exclusive)
    check_flag("auto_delete", auto_delete)
    table = {} if arguments is None else check_headers(arguments, "arguments")
    own_limit = _merge(table, keywords)
    queue_type = check_queue_arguments(queue, table)
    if queue_type == "quorum":
        check_quorum_properties(queue, durable=durable, exclusive=exclusive, auto_delete=auto_delete)
        own_limit = table.get("x-delivery-limit", DEFAULT_DELIVERY_LIMIT)
    options = {
        name: table[spelling.argument] for name, spelling in QUEUE_KEYWORDS.items() if spelling.argument in table
    }
    options["delivery_limit"] = None if own_limit is None or own_limit < 0 else own_limit
    return QueueOptions(
        durable=durable,
        exclusive=exclusive,
        auto_delete=auto_delete,
        queue_type=queue_type,
        arguments=table,
        **options,
    )


def inequivalence(queue: str, current: QueueOptions, received: QueueOptions) -> str | None:
    """Return RabbitMQ's text for why `received` does not describe the queue that is there, None when it does.

    Whether `exclusive` is the same decides about an error of its own, `names.queue_locked`, and is the caller's
    to look at first.
    """
    return (
        flag_difference("queue", queue, "durable", current=current.durable, received=received.durable)
        or flag_difference("queue", queue, "auto_delete", current=current.auto_delete, received=received.auto_delete)
        or argument_difference("queue", queue, COMPARED, _comparable(current), _comparable(received))
    )


def pack_queue_options(options: QueueOptions) -> dict[str, Any]:
    """Return the options as msgpack can hold them; those at their defaults are left out."""
    return pack_options(options)


def unpack_queue_options(packed: Mapping[str, Any]) -> QueueOptions:
    """Return the options from what `pack_queue_options` made of them. Nothing is checked."""
    return unpack_options(QueueOptions, packed)


def _merge(table: dict[str, Any], keywords: Mapping[str, Any]) -> int | None:
    """Add the keywords to the arguments; return the delivery limit when it is one that has no argument."""
    for name, value in keywords.items():
        if value is None:
            continue
        checked_option(name, value)
        spelling = QUEUE_KEYWORDS[name]
        if value == spelling.default:
            continue
        argument = spelling.argument
        if argument in table and (table[argument] != value or type(table[argument]) is not type(value)):
            raise _contradiction(name, value, argument, table[argument])
        if name == "delivery_limit" and table.get("x-queue-type") != "quorum" and argument not in table:
            continue
        table[argument] = value
    if "x-dead-letter-routing-key" in table and "x-dead-letter-exchange" not in table:
        _check_dead_letter_exchange(keywords)
    return keywords.get("delivery_limit")


def _check_dead_letter_exchange(keywords: Mapping[str, Any]) -> None:
    key = keywords.get("dead_letter_routing_key")
    if key is not None:
        allowed = "only with dead_letter_exchange"
        message = f"dead_letter_routing_key={show(key)}; allowed: {allowed}"
        raise InvalidOptionError(message, option="dead_letter_routing_key", given=show(key), allowed=allowed)


def _contradiction(name: str, value: object, argument: str, other: object) -> InvalidOptionError:
    allowed = "one of the two spellings, or the same value in both"
    message = f"{name}={show(value)} and {argument}={show(other)} contradict each other; allowed: {allowed}"
    return InvalidOptionError(message, option=name, given=show(value), allowed=allowed)


def _comparable(options: QueueOptions) -> Mapping[str, Any]:
    """Return the arguments so that what means the same is the same."""
    table = dict(options.arguments)
    table.setdefault("x-queue-type", "classic")
    if options.queue_type == "classic" and options.delivery_limit is not None:
        table["x-delivery-limit"] = options.delivery_limit
    return table

"""What becomes of a message when it is dead-lettered: its headers, its routing keys, and when it goes in circles.

The header x-death tells the deaths of a message, the latest first, one entry for each queue and reason. It is the
broker's record only in a message that the broker dead-lettered itself: what a publisher sends under that name
means nothing, as in RabbitMQ 4. Imported by the broker.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

from msglog.broker.properties import Properties
from msglog.broker.rules.field_table import field_type
from msglog.broker.rules.message_codec import Meta
from msglog.errors import PreconditionFailedError

Reason = Literal["rejected", "expired", "maxlen", "delivery_limit"]

DEATHS: Final = "x-death"
_MOST_DEATHS: Final = 2**62
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class DeadLetter(NamedTuple):
    """How a message goes on. `routing_keys[0]` is its routing key from now on, `exchange` its exchange.

    `blind_copies`: those of the keys that nobody sees.
    """

    routing_keys: tuple[str, ...]
    properties: Properties
    exchange: str
    blind_copies: tuple[str, ...]


def dead_letter(
    meta: Meta, *, queue: str, reason: Reason, now_ms: int, exchange: str, routing_key: str | None
) -> DeadLetter:
    """Return the message as it is published to its dead-letter exchange.

    `meta` is what it had in `queue`, where it died at `now_ms`. `exchange` and `routing_key` are the queue's
    dead-letter settings; without a dead-letter routing key the message keeps its own, and those of CC and BCC. The
    result shares nothing that can change with `meta`, and is packed with `dead_lettered=True`.
    """
    headers = dict(meta.properties.headers or ())
    copies = _texts(headers.get("CC"))
    deaths = headers.get(DEATHS, []) if meta.dead_lettered else []
    entry = {
        "count": 1,
        "reason": reason,
        "queue": queue,
        "time": _EPOCH + timedelta(seconds=now_ms // 1000),
        "exchange": meta.exchange,
        "routing-keys": [meta.routing_key, *copies],
    }
    if meta.properties.expiration is not None:
        entry["original-expiration"] = meta.properties.expiration
    if not meta.dead_lettered:
        headers.update(_death("first", queue, reason, meta.exchange))
    headers.update(_death("last", queue, reason, meta.exchange))
    headers[DEATHS] = _with_death(deaths, entry)
    headers.pop("BCC", None)
    keys = dict.fromkeys((meta.routing_key, *copies, *meta.blind_copies))
    blind_copies = meta.blind_copies
    if routing_key is not None:
        keys = {routing_key: None}
        blind_copies = ()
        headers.pop("CC", None)
    properties = meta.properties.replace(headers=headers, expiration=None)
    return DeadLetter(tuple(keys), properties, exchange, blind_copies)


def are_deaths(value: object) -> bool:
    """Whether a value of the header x-death is one that the broker can have written, and can go on with."""
    return isinstance(value, list) and all(
        isinstance(death, dict)
        and isinstance(death.get("queue"), str)
        and isinstance(death.get("reason"), str)
        and type(count := death.get("count")) is int
        and 1 <= count <= _MOST_DEATHS
        for death in value
    )


def _with_death(deaths: list[dict[str, Any]], entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the deaths with one more in front; a known queue and reason only counts up what it first recorded."""
    others = []
    for death in deaths:
        if death["queue"] == entry["queue"] and death["reason"] == entry["reason"]:
            entry = {**death, "count": death["count"] + 1}
        else:
            others.append(death)
    return [entry, *others]


def _death(which: str, queue: str, reason: Reason, exchange: str) -> dict[str, str]:
    name = f"x-{which}-death"
    return {f"{name}-reason": reason, f"{name}-queue": queue, f"{name}-exchange": exchange}


def is_cycle(headers: Mapping[str, Any] | None, target_queue: str, reason: Reason) -> bool:
    """Whether a dead letter that is routed to `target_queue` goes round in a circle, and must be dropped there.

    `headers` are those of the dead letter, `reason` why it died last. It does when it has died in that queue before
    and was not rejected then nor anywhere since: a circle that a consumer's rejection is part of is allowed.
    """
    if reason == "rejected" or headers is None:
        return False
    for death in headers.get(DEATHS, ()):
        if death["reason"] == "rejected":
            return False
        if death["queue"] == target_queue:
            return True
    return False


def routing_keys(meta: Meta) -> tuple[str, ...]:
    """Return all keys by which a published message is routed, its own first: those of CC and BCC too, each once.

    Raises `PreconditionFailedError` when one of these headers is not a list. What is no text in them is ignored.
    """
    headers = meta.properties.headers
    if not headers or ("CC" not in headers and "BCC" not in headers):
        return (meta.routing_key,)
    keys = [meta.routing_key]
    for name in ("CC", "BCC"):
        listed = headers.get(name, [])
        if not isinstance(listed, list):
            kind = field_type(listed)
            raise PreconditionFailedError(f'invalid message: {{unacceptable_type_in_header,"{name}",{kind}}}')
        keys += _texts(listed)
    return tuple(dict.fromkeys(keys))


def without_bcc(properties: Properties) -> Properties:
    """Return the properties as receivers see them: without the header BCC."""
    headers = properties.headers
    if not headers or "BCC" not in headers:
        return properties
    return properties._replace(headers={name: value for name, value in headers.items() if name != "BCC"})


def blind_copies(properties: Properties) -> tuple[str, ...]:
    """Return the routing keys of the header BCC: what is left of it in a message that was published."""
    headers = properties.headers
    return tuple(_texts(headers["BCC"])) if headers and "BCC" in headers else ()


def _texts(listed: object) -> list[str]:
    return [key for key in listed if isinstance(key, str)] if isinstance(listed, list) else []

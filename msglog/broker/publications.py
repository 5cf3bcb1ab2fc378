"""From the arguments of a call to publications. Imported by the broker's publishing and by `staging`."""

from collections.abc import Iterable
from typing import Final

from msglog.broker.message import Message, check_body, check_routing_key, with_mode
from msglog.broker.properties import Properties
from msglog.broker.rules.names import queue_not_found
from msglog.broker.vhost import Publication, VirtualHost
from msglog.checks import MAX_DELAY_MS, check_flag, check_integer, wrong_type
from msglog.errors import PublishRejectedError

_PAIR: Final = 2
_PLAIN_MODES: Final = {True: Properties(delivery_mode=2), False: Properties(delivery_mode=1)}


def check_exchange(exchange: object) -> str:
    """Return the name of an exchange. Raises `InvalidTypeError`."""
    if not isinstance(exchange, str):
        raise wrong_type("exchange", exchange, "the name of an exchange")
    return exchange


def check_queue(vhost: VirtualHost, queue: object) -> str:
    """Return the name of a queue that is there. Raises `InvalidTypeError`, `QueueNotFoundError`."""
    if not isinstance(queue, str):
        raise wrong_type("queue", queue, "the name of a queue")
    if queue not in vhost.queues:
        raise queue_not_found(queue)
    return queue


def check_delay(delay_ms: object) -> int:
    """Return a delay, 0 to ten years. Raises `InvalidTypeError`, `InvalidOptionError`."""
    return check_integer("delay_ms", delay_ms, 0, MAX_DELAY_MS)


def publications_of(
    exchange: object, messages: Iterable[tuple[str, bytes] | Message], *, persistent: bool
) -> list[Publication]:
    """Return what `publish_many` is to publish. Raises `InvalidTypeError`, `InvalidOptionError`."""
    name = check_exchange(exchange)
    if not isinstance(messages, Iterable):
        raise wrong_type("messages", messages, "an iterable of pairs of routing key and body, or of Messages")
    return [_publication(name, message, persistent=persistent) for message in messages]


def _publication(exchange: str, message: tuple[str, bytes] | Message, *, persistent: bool) -> Publication:
    if isinstance(message, Message):
        own = with_mode(message.properties, persistent=persistent)
        return Publication(exchange, message.routing_key, message.body, own)
    if not isinstance(message, tuple) or len(message) != _PAIR:
        raise wrong_type("messages", message, "pairs of routing key and body, or Messages")
    routing_key, body = message
    own = _PLAIN_MODES[check_flag("persistent", persistent)]
    return Publication(exchange, check_routing_key(routing_key), check_body(body), own)


def check_refused(refused: tuple[str, ...]) -> None:
    """Raise `PublishRejectedError` when full queues refused a message."""
    if refused:
        names = ", ".join(repr(name) for name in refused)
        raise PublishRejectedError(f"full and refusing messages: {names}; other queues have it", queues=refused)

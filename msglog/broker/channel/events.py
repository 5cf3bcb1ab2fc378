"""What a channel tells: deliveries, returns, confirms, cancellations, and its end.

Immutable values. A `repr` shows sizes, never contents. Exported by `msglog`.
"""

from typing import NamedTuple

from msglog.broker.properties import Properties
from msglog.errors import MsglogError


class Deliver(NamedTuple):
    """A message for a consumer of the channel (basic.deliver).

    `delivery_tag`: what to settle it by, unless the consumer is `no_ack`. `redelivered`: it was in somebody's hand
    before; `delivery_count`: how often, as far as is known.
    """

    consumer_tag: str
    delivery_tag: int
    redelivered: bool
    exchange: str
    routing_key: str
    properties: Properties
    body: bytes
    delivery_count: int = 0

    def __repr__(self) -> str:
        return (
            f"Deliver(consumer_tag={self.consumer_tag!r}, delivery_tag={self.delivery_tag}, "
            f"exchange={self.exchange!r}, routing_key={self.routing_key!r}, body=<{len(self.body)} bytes>)"
        )


class GetOk(NamedTuple):
    """A message that `basic_get` took (basic.get-ok). `message_count`: how many wait in the queue after it."""

    delivery_tag: int
    redelivered: bool
    exchange: str
    routing_key: str
    properties: Properties
    body: bytes
    message_count: int
    delivery_count: int = 0

    def __repr__(self) -> str:
        return (
            f"GetOk(delivery_tag={self.delivery_tag}, exchange={self.exchange!r}, routing_key={self.routing_key!r}, "
            f"body=<{len(self.body)} bytes>, message_count={self.message_count})"
        )


class Returned(NamedTuple):
    """A mandatory message that no queue got (basic.return)."""

    reply_code: int
    reply_text: str
    exchange: str
    routing_key: str
    properties: Properties
    body: bytes

    def __repr__(self) -> str:
        return (
            f"Returned(reply_code={self.reply_code}, reply_text={self.reply_text!r}, exchange={self.exchange!r}, "
            f"routing_key={self.routing_key!r}, body=<{len(self.body)} bytes>)"
        )


class Confirmed(NamedTuple):
    """The broker has taken over a published message, or with `ack` False refused it (basic.ack, basic.nack).

    `delivery_tag`: the sequence number that `basic_publish` returned; with `multiple` of all up to this one that were
    not confirmed before.
    """

    delivery_tag: int
    multiple: bool
    ack: bool


class Cancelled(NamedTuple):
    """The broker ended a consumer: its queue was deleted (basic.cancel)."""

    consumer_tag: str


class Closed(NamedTuple):
    """The channel was closed by an error that another channel of the connection met. Nothing follows."""

    error: MsglogError


ChannelEvent = Deliver | Returned | Confirmed | Cancelled | Closed

"""What passes through a store while somebody watches: the values that recorders keep and faults match.

Plain immutable data, made by `tapping`. Unlike the rest of msglog their `repr` shows payloads: a test that fails is to
say what was there. Imported by the rest of the package.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from msglog.broker import Properties
from msglog.log.share.sharing import Outcome as ShareOutcome
from msglog.types import Record

SHOWN_BYTES = 60
"""How much of a body, a key or a value is shown."""

Outcome = Literal["acked", "rejected", "requeued", "expired", "maxlen", "delivery_limit"]


def shown(value: object) -> str:
    """Return a short text for a value; long bytes are cut, and say how many there are."""
    if isinstance(value, bytes) and len(value) > SHOWN_BYTES:
        return f"{value[:SHOWN_BYTES]!r}... ({len(value)} bytes)"
    return repr(value)


@dataclass(frozen=True, slots=True, repr=False)
class Published:
    """A message that was published, by whatever way: directly, by a transaction, by a channel.

    `queues`: the names of those that took it, none for a message that was routed nowhere. `refused`: those that were
    full and refused it. `delay_ms`: how much later its queues get it, 0 for at once.
    """

    exchange: str
    routing_key: str
    body: bytes
    properties: Properties
    queues: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    delay_ms: int = 0

    @property
    def headers(self) -> dict[str, Any]:
        """Its headers, {} when there are none."""
        return {} if self.properties.headers is None else self.properties.headers

    def __repr__(self) -> str:
        text = f"exchange={self.exchange!r} routing_key={self.routing_key!r} body={shown(self.body)}"
        if self.headers:
            text += f" headers={self.headers!r}"
        if self.delay_ms:
            text += f" delay_ms={self.delay_ms}"
        text += " -> " + (", ".join(map(repr, self.queues)) or "no queue")
        if self.refused:
            text += f", refused by {', '.join(map(repr, self.refused))}"
        return text


@dataclass(frozen=True, slots=True, repr=False)
class Settled:
    """What became of a message in a queue.

    `outcome`: "acked", "rejected" or "requeued" by who had it in hand, or for the queue's own reasons "expired",
    "maxlen", "delivery_limit". `by`: who had it in hand: "get", "consumer", the consumer tag of a channel, "no_ack" for
    whoever acknowledges nothing; "" when nobody had. `dead_lettered_to`: the queues that got its dead letter.
    """

    queue: str
    outcome: Outcome
    exchange: str
    routing_key: str
    body: bytes
    by: str = ""
    dead_lettered_to: tuple[str, ...] = field(default=())

    def __repr__(self) -> str:
        text = f"{self.outcome} queue={self.queue!r} routing_key={self.routing_key!r} body={shown(self.body)}"
        if self.by:
            text += f" by {self.by}"
        if self.dead_lettered_to:
            text += f" -> {', '.join(map(repr, self.dead_lettered_to))}"
        return text


@dataclass(frozen=True, slots=True, repr=False)
class Committed:
    """An offset that a consumer group committed in a partition: the next one to read."""

    group: str
    topic: str
    partition: int
    offset: int

    def __repr__(self) -> str:
        return f"group={self.group!r} topic={self.topic!r} partition={self.partition} offset={self.offset}"


@dataclass(frozen=True, slots=True, repr=False)
class ShareSettled:
    """A record that a share group is done with; the group gets it no more.

    `outcome`: "acked" or "rejected" by who had it in hand, or "delivery_limit": it was handed out too often.
    """

    group: str
    topic: str
    partition: int
    offset: int
    outcome: ShareOutcome = "acked"

    def __repr__(self) -> str:
        text = f"{self.outcome} group={self.group!r} topic={self.topic!r} partition={self.partition}"
        return f"{text} offset={self.offset}"


def describe_record(record: Record) -> str:
    """Return a record in words, with its key and value."""
    text = f"topic={record.topic!r} partition={record.partition} offset={record.offset} key={shown(record.key)}"
    text += f" value={shown(record.value)}"
    return f"{text} headers={record.headers!r}" if record.headers else text

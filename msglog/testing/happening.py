"""What happens to applications and tests can hardly wait for: broken connections, evictions, rebalances, expired locks.

Each function does at once what the store does by itself in such a case, and takes the objects of typed views and of
`msglog.aio` as well. Exported by `msglog.testing`.
"""

from typing import TYPE_CHECKING, Any

from msglog.broker import Broker, Delivery, Message, TypedDelivery
from msglog.checks import wrong_type
from msglog.log import Consumer, ShareRecord, TypedConsumer, TypedShareRecord
from msglog.log.coordination import Coordination
from msglog.store import Store, StoreFace
from msglog.testing.tapping import core_of, plain

if TYPE_CHECKING:  # no test without tasks imports asyncio for it
    from msglog import aio


def redeliver(delivery: Delivery | TypedDelivery[Any]) -> None:
    """Have the connection of a delivery break: the message goes back to its queue, and comes again as redelivered.

    Whoever has the delivery in hand cannot settle it any more (`SettlementError`). A queue with a delivery limit counts
    it. Raises `SettlementError` when it is settled already, `InvalidTypeError`.
    """
    found = plain(delivery, Delivery)
    if not isinstance(found, Delivery):
        raise wrong_type("delivery", delivery, "a Delivery")
    found.lose()


def evict(consumer: "Consumer | TypedConsumer[Any, Any] | aio.Consumer | aio.TypedConsumer[Any, Any]") -> None:
    """Have its group give up a consumer, as when it exceeds its session timeout or its poll interval.

    Its commits raise `FencedError`; its next poll calls `on_lost` and joins anew. Other members get its partitions.
    Raises `InvalidOptionError` for a consumer without a group, `InvalidTypeError`.
    """
    found = plain(consumer, Consumer)
    if not isinstance(found, Consumer):
        raise wrong_type("consumer", consumer, "a Consumer")
    found.evict()


def rebalance(store: "Store | StoreFace | aio.Store | aio.Log | aio.Broker", group: str) -> None:
    """Have a consumer group rebalance: a new generation, and with eager assignors every partition is given up first.

    Each member takes part in its next poll. Raises `GroupError` when the group has no members, `InvalidTypeError`,
    `ClosedError`.
    """
    if not isinstance(group, str):
        raise wrong_type("group", group, "the name of a group")
    Coordination.of(core_of(store)).rebalance(group)


def expire_lock(record: ShareRecord | TypedShareRecord[Any, Any]) -> None:
    """Have the lock of a share record expire: it is available again, and its holder cannot settle it any more.

    One that was handed out as often as its consumer allows is settled. Raises `SettlementError` when it is not in hand,
    `InvalidTypeError`.
    """
    found = plain(record, ShareRecord)
    if not isinstance(found, ShareRecord):
        raise wrong_type("record", record, "a ShareRecord")
    found.expire()


def drain(broker: "Broker | aio.Broker", queue: str) -> list[Message]:
    """Take and acknowledge all messages of a queue that can be taken now; return them in order.

    Raises as `Broker.get` does.
    """
    found = plain(broker, Broker)
    if not isinstance(found, Broker):
        raise wrong_type("broker", broker, "a Broker")
    drained: list[Message] = []
    while (delivery := found.get(queue, no_ack=True)) is not None:
        drained.append(delivery)
    return drained

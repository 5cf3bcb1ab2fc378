"""What a transaction publishes goes where the rules of the broker lead at its commit, not when it was given."""

import pytest

from msglog import MsglogError

QUEUES = ("a", "b", "c")
CHANGES = {
    "a queue is bound": lambda broker: broker.bind("c", "e"),
    "a queue is unbound": lambda broker: broker.unbind("b", "e"),
    "no queue is left": lambda broker: [broker.unbind(name, "e") for name in ("a", "b")],
    "a queue is deleted": lambda broker: broker.delete_queue("a"),
    "a queue is made anew": lambda broker: [broker.delete_queue("a"), broker.declare_queue("a")],
    "all queues are deleted": lambda broker: [broker.delete_queue(name) for name in ("a", "b")],
    "the exchange is deleted": lambda broker: broker.delete_exchange("e"),
    "the exchange is another one": lambda broker: [broker.delete_exchange("e"), broker.declare_exchange("e", "direct")],
    "full queues refuse": lambda broker: broker.set_policy("p", "^a$", {"max-length": 1, "overflow": "reject-publish"}),
    "full queues drop": lambda broker: broker.set_policy("p", "^a$", {"max-length": 1, "overflow": "drop-head"}),
    "messages expire at once": lambda broker: broker.set_policy("p", "^a$", {"message-ttl": 0}),
    "exchanges lead on": lambda broker: [broker.declare_exchange("f", "fanout"), broker.bind("c", "f"),
                                         broker.bind_exchange("f", "e")],
    "a queue is emptied": lambda broker: broker.purge_queue("a"),
}  # fmt: skip
GIVING = {
    "publish": lambda tx: tx.publish("e", "", b"new"),
    "publish mandatory": lambda tx: tx.publish("e", "", b"new", mandatory=True),
    "publish twice": lambda tx: [tx.publish("e", "", b"new"), tx.publish("e", "", b"newer")],
    "send": lambda tx: tx.send("a", b"new"),
}


def _prepare(broker):
    for name in QUEUES:
        broker.declare_queue(name)
    broker.declare_exchange("e", "fanout")
    for name in ("a", "b"):
        broker.bind(name, "e")
    broker.send("a", b"old")


def _outcome(store, give, change, *, late):
    """Publish by a transaction before a change (`late`) or after it; return the error's class, and what lies where."""
    broker = store.broker
    refusal = None
    if not late:
        change(broker)
    try:
        with store.transaction() as tx:
            give(tx)
            if late:
                change(broker)
    except MsglogError as error:
        refusal = type(error)
    names = [info.name for info in broker.queues()]
    lying = {name: [message.body for message in broker.peek(name, 10)] for name in names}
    for name in names:
        broker.delete_queue(name)
    for name in ("e", "f"):
        broker.delete_exchange(name)
    broker.delete_policy("p")
    return refusal, lying


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("give", GIVING.values(), ids=GIVING)
def test_what_holds_at_the_commit_decides(store, give, change):
    outcomes = []
    for late in (True, False):
        _prepare(store.broker)
        outcomes.append(_outcome(store, give, change, late=late))
    assert outcomes[0] == outcomes[1]
    assert list(store.verify()) == []

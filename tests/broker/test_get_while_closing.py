"""A broker that is closed while a call of `get` is on its way: what it has not taken by then it does not take."""

import inspect
from typing import Any

import pytest

from msglog import Broker, Store
from msglog.broker import compiled
from msglog.broker.consuming import Consuming
from msglog.errors import ClosedError


class Closing(dict[str, Any]):
    """The getters of a connection whose broker is closed, by another thread as it were, just after one was found."""

    broker: Broker

    def get(self, key: str, default: Any = None) -> Any:
        found = super().get(key, default)
        self.broker.close()
        return found


@pytest.fixture
def store():
    with Store(":memory:") as store:
        store.broker.declare_queue("q")
        yield store


def _with_a_getter(store: Store) -> Broker:
    broker = Broker(store)
    broker.publish("", "q", b"first")
    taken = broker.get("q")
    assert taken is not None
    taken.ack()
    broker.publish("", "q", b"second")
    return broker


def _is_left(store: Store) -> bool:
    taken = store.broker.get("q")
    return taken is not None and (taken.body, taken.redelivered) == (b"second", False)


def test_a_get_that_finds_its_broker_closed_takes_nothing(store: Store) -> None:
    broker = _with_a_getter(store)
    getters = Closing(broker._connection.getters)
    getters.broker = broker
    broker._connection.getters = getters
    with pytest.raises(ClosedError):
        inspect.unwrap(Consuming.get)(broker, "q")
    assert _is_left(store)


@pytest.mark.skipif(not compiled.is_compiled(), reason="installed without the compiled short ways")
def test_a_delivery_is_not_filled_once_its_broker_is_closed(store: Store) -> None:
    list(compiled.short_ways(compiled._compiled))
    broker = _with_a_getter(store)
    delivery = compiled._compiled.delivery_for_get(broker, "q", 0, False)
    assert delivery is not None
    broker.close()
    assert compiled._compiled.fill(delivery) is False
    assert _is_left(store)

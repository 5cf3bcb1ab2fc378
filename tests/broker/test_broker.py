"""The handle: opening, sharing, ending."""

import io

import pytest

import msglog
from msglog import Broker, ClosedError, InvalidOptionError, Log, Store
from support.brokers import take

CALLS = {
    "declare_exchange": lambda broker: broker.declare_exchange("x"),
    "declare_queue": lambda broker: broker.declare_queue("q"),
    "delete_exchange": lambda broker: broker.delete_exchange("x"),
    "delete_queue": lambda broker: broker.delete_queue("q"),
    "purge_queue": lambda broker: broker.purge_queue("q"),
    "bind": lambda broker: broker.bind("q", "amq.topic", "k"),
    "unbind": lambda broker: broker.unbind("q", "amq.topic", "k"),
    "bind_exchange": lambda broker: broker.bind_exchange("amq.topic", "amq.fanout"),
    "unbind_exchange": lambda broker: broker.unbind_exchange("amq.topic", "amq.fanout"),
    "exchanges": Broker.exchanges,
    "queues": Broker.queues,
    "bindings": Broker.bindings,
    "set_policy": lambda broker: broker.set_policy("p", ".*", {"max-length": 1}),
    "delete_policy": lambda broker: broker.delete_policy("p"),
    "publish": lambda broker: broker.publish("", "q", b""),
    "send": lambda broker: broker.send("q", b""),
    "publish_many": lambda broker: broker.publish_many("", [("q", b"")]),
    "get": lambda broker: broker.get("q"),
    "peek": lambda broker: broker.peek("q"),
    "consume": lambda broker: broker.consume("q"),
    "subscribe": lambda broker: broker.subscribe("q", print),
    "export_messages": lambda broker: broker.export_messages("q", io.StringIO()),
    "import_messages": lambda broker: broker.import_messages("q", io.StringIO()),
    "request": lambda broker: broker.request("", "q", b"", timeout=1),
    "history": lambda broker: list(broker.history("q")),
    "replay": lambda broker: broker.replay("q"),
    "queue": lambda broker: broker.queue("q"),
    "exchange": lambda broker: broker.exchange(""),
    "__enter__": Broker.__enter__,
}


def test_a_broker_from_a_path_owns_its_store(tmp_path):
    with Broker(tmp_path / "s", sync="none") as broker:
        store = broker.store
        assert store.path == str(tmp_path / "s")
    assert store.closed


def test_a_broker_from_a_store_leaves_it_open(store):
    with Broker(store) as broker:
        assert broker.store is store
        broker.declare_queue("q")
    assert not store.closed
    assert [queue.name for queue in store.broker.queues()] == ["q"]


def test_a_store_has_one_broker_of_its_own(store):
    assert isinstance(store.broker, Broker)
    assert store.broker is store.broker
    assert store.broker.store is store


def test_a_broker_and_a_log_live_in_one_store(tmp_path):
    with Store(tmp_path / "s", sync="none") as store:
        store.log.create_topic("t")
        store.broker.declare_queue("t")
        store.log.append("t", b"record")
        store.broker.send("t", b"message")
    with Store(tmp_path / "s", sync="none") as store:
        assert [record.value for record in store.log.read("t")] == [b"record"]
        assert take(store.broker, "t") == [b"message"]


def test_a_log_opens_a_store_that_a_broker_has_made(tmp_path):
    with Broker(tmp_path / "s", sync="none") as broker:
        broker.declare_queue("q")
        broker.send("q", b"x")
    with Log(tmp_path / "s", sync="none") as log:
        log.create_topic("t")
    with Broker(tmp_path / "s", sync="none") as broker:
        assert take(broker, "q") == [b"x"]


def test_brokers_on_one_path_share_what_is_there(tmp_path):
    with Broker(tmp_path / "s", sync="none") as one, Broker(tmp_path / "s") as two:
        one.declare_queue("q")
        two.send("q", b"x")
        assert take(one, "q") == [b"x"]


def test_memory_is_private():
    with Broker(":memory:") as one, Broker(":memory:") as two:
        one.declare_queue("q")
        assert two.queues() == []


def test_options_need_a_path(store):
    with pytest.raises(InvalidOptionError):
        Broker(store, sync="none")


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_after_close_everything_raises(call):
    broker = Broker(":memory:")
    broker.declare_queue("q")
    broker.close()
    with pytest.raises(ClosedError):
        call(broker)


def test_the_table_above_is_complete():
    public = {name for name, value in vars(Broker).items() if callable(value) and not name.startswith("_")}
    for base in Broker.__mro__[1:-1]:
        public |= {name for name, value in vars(base).items() if callable(value) and not name.startswith("_")}
    parts_of_calls = {"asking", "getting", "queue_view"}  # steps of calls that tasks make, too; not public
    assert public - CALLS.keys() <= {"close", "channel"} | parts_of_calls


def test_close_twice_is_fine(broker):
    broker.close()
    broker.close()
    assert broker.closed


def test_closing_the_store_closes_its_brokers(clock):
    store = Store(":memory:", clock=clock)
    broker = Broker(store)
    store.close()
    assert broker.closed
    with pytest.raises(ClosedError):
        broker.queues()
    broker.close()


def test_closing_returns_what_was_not_settled(store):
    with Broker(store) as one:
        one.declare_queue("q")
        one.send("q", b"x")
        held = one.get("q")
    delivery = store.broker.get("q")
    assert (delivery.body, delivery.redelivered) == (b"x", True)
    delivery.ack()
    with pytest.raises(msglog.SettlementError):
        held.ack()


def test_repr_tells_no_payloads(tmp_path):
    with Broker(tmp_path / "s", sync="none") as broker:
        broker.declare_queue("q")
        broker.send("q", b"secret", headers={"h": "hidden"}, properties=msglog.Properties(message_id="m"))
        delivery = broker.get("q")
        assert repr(str(tmp_path / "s")) in repr(broker)
        for thing in (broker, delivery, delivery.properties, broker.queues()):
            assert "secret" not in repr(thing)
            assert "hidden" not in repr(thing)
        assert "'q'" in repr(delivery)
        delivery.ack()
    assert "closed" in repr(broker)

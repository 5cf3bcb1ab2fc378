"""A broker that only looks."""

import pytest

from msglog import Broker, ReadOnlyError
from support.brokers import binding_set, exchange_names, send_all, take


@pytest.fixture
def path(tmp_path):
    with Broker(tmp_path / "s", sync="none") as broker:
        broker.declare_queue("q", history_ms=3_600_000)
        broker.bind("q", "amq.topic", "#")
        send_all(broker, "q", b"1", b"2", b"3")
        broker.get("q", no_ack=True)
    return tmp_path / "s"


@pytest.fixture
def reader(path):
    with Broker(path, readonly=True) as opened:
        yield opened


def test_looking_works(reader):
    assert reader.queues() == [("q", 2, 0)]
    assert [message.body for message in reader.peek("q")] == [b"2", b"3"]
    assert [message.body for message in reader.history("q")] == [b"1"]
    assert "amq.topic" in exchange_names(reader)
    assert binding_set(reader) == {("amq.topic", "q", "queue", "#")}


@pytest.mark.parametrize(
    "write",
    [
        lambda broker: broker.declare_queue("q", history_ms=3_600_000),
        lambda broker: broker.declare_queue("other"),
        lambda broker: broker.declare_exchange("x"),
        lambda broker: broker.delete_queue("q"),
        lambda broker: broker.delete_exchange("x"),
        lambda broker: broker.purge_queue("q"),
        lambda broker: broker.bind("q", "amq.fanout"),
        lambda broker: broker.unbind("q", "amq.topic", "#"),
        lambda broker: broker.bind_exchange("amq.fanout", "amq.topic"),
        lambda broker: broker.unbind_exchange("amq.fanout", "amq.topic"),
        lambda broker: broker.set_policy("p", "q", {"max-length": 1}),
        lambda broker: broker.delete_policy("p"),
        lambda broker: broker.publish("", "q", b""),
        lambda broker: broker.send("q", b""),
        lambda broker: broker.publish_many("", [("q", b"")]),
        lambda broker: broker.get("q"),
        lambda broker: broker.consume("q"),
        lambda broker: broker.subscribe("q", print),
        lambda broker: broker.request("", "q", b"", timeout=0),
        lambda broker: broker.replay("q"),
    ],
)
def test_changes_are_refused(path, write):
    with Broker(path, readonly=True) as reader:
        with pytest.raises(ReadOnlyError) as caught:
            write(reader)
        assert caught.value.path == reader.store.path
        assert reader.queues() == [("q", 2, 0)]
    with Broker(path, sync="none") as broker:
        assert take(broker, "q") == [b"2", b"3"]

"""What is there when a store is opened again, after an orderly end and after a kill."""

import shutil
import subprocess
import sys

import pytest

import msglog
from msglog import PreconditionFailedError, Properties
from support.brokers import (
    DEAD_LETTERED,
    binding_set,
    exchange_names,
    hold,
    queue_names,
    ready,
    send_all,
    take,
    take_deliveries,
    take_one,
)


def numbered(*numbers):
    return [b"%d" % number for number in numbers]


# Definitions


def test_exchanges_survive(disk, again):
    broker = disk.broker
    broker.declare_exchange("x", "topic", internal=True, auto_delete=True, arguments={"x-mine": [1, "two", None]})
    broker.declare_exchange("ae", "fanout")
    broker.declare_exchange("y", "headers", alternate_exchange="ae")
    broker.declare_exchange("gone", "fanout")
    broker.delete_exchange("gone")
    before = sorted(broker.exchanges())
    broker = again()
    assert sorted(broker.exchanges()) == before
    broker.declare_queue("q")
    broker.bind("q", "ae")
    assert broker.publish("y", "", b"x") == 1


def test_queues_survive_with_their_options(disk, again):
    options = {
        "message_ttl_ms": 1000,
        "max_length": 5,
        "max_length_bytes": 500,
        "overflow": "reject-publish",
        "dead_letter_exchange": "amq.direct",
        "dead_letter_routing_key": "k",
        "max_priority": 3,
        "single_active_consumer": True,
        "history_ms": 1000,
        "arguments": {"x-mine": b"bytes"},
    }
    disk.broker.declare_queue("q", **options)
    disk.broker.declare_queue("quorum", arguments={"x-queue-type": "quorum"})
    disk.broker.declare_queue("gone")
    disk.broker.delete_queue("gone")
    named = disk.broker.declare_queue().name
    broker = again()
    assert queue_names(broker) == {"q", "quorum", named}
    assert broker.declare_queue("q", **options).message_count == 0
    with pytest.raises(PreconditionFailedError):
        broker.declare_queue("q", **options | {"max_length": 6})
    with pytest.raises(PreconditionFailedError):
        broker.declare_queue("quorum")
    broker.publish_many("", [("q", b"low"), ("q", b"low")])
    broker.send("q", b"high", priority=3)
    assert take(broker, "q") == [b"high", b"low", b"low"]


def test_bindings_survive(disk, again):
    broker = disk.broker
    broker.declare_queue("q")
    broker.bind("q", "amq.topic", "a.*")
    broker.bind("q", "amq.topic", "gone")
    broker.unbind("q", "amq.topic", "gone")
    broker.bind("q", "amq.headers", arguments={"x-match": "any", "h": True, "n": 1})
    broker.bind_exchange("amq.topic", "amq.fanout", "k")
    before = binding_set(broker)
    broker = again()
    assert binding_set(broker) == before
    assert broker.publish("amq.topic", "a.b", b"") == 1
    assert broker.publish("amq.fanout", "a.b", b"") == 1
    assert broker.publish("amq.topic", "gone", b"") == 0
    assert broker.publish("amq.headers", "", b"", headers={"h": 1, "n": True}) == 0
    assert broker.publish("amq.headers", "", b"", headers={"h": True}) == 1


def test_what_is_transient_is_gone(disk, again):
    broker = disk.broker
    broker.declare_queue("durable")
    broker.declare_queue("transient", durable=False)
    broker.declare_queue("exclusive", exclusive=True)
    broker.declare_exchange("passing", "fanout", durable=False)
    for queue in ("durable", "transient", "exclusive"):
        broker.bind(queue, "passing")
        broker.bind(queue, "amq.fanout")
    broker.bind_exchange("passing", "amq.topic", "#")
    assert broker.publish("amq.fanout", "", b"x") == 3
    exchanges = exchange_names(broker)
    broker = again()
    assert broker.queues() == [("durable", 1, 0)]
    assert exchange_names(broker) == exchanges - {"passing"}
    assert binding_set(broker) == {("amq.fanout", "durable", "queue", "")}
    assert broker.declare_queue("transient", durable=False).message_count == 0
    assert broker.publish("amq.fanout", "", b"y") == 1


def test_policies_survive(disk, again):
    disk.broker.declare_queue("q")
    disk.broker.set_policy("p", "^q", {"max-length": 2})
    disk.broker.set_policy("gone", "^q", {"max-length": 1}, priority=1)
    disk.broker.delete_policy("gone")
    broker = again()
    send_all(broker, "q", *numbered(1, 2, 3, 4))
    assert take(broker, "q") == numbered(3, 4)
    broker.delete_policy("p")
    send_all(broker, "q", *numbered(1, 2, 3, 4))
    assert ready(broker, "q") == 4


# Messages


def test_messages_survive_whole_and_in_order(disk, again):
    broker = disk.broker
    broker.declare_queue("q")
    properties = Properties(message_id="m", content_type="t", timestamp=1, headers={"nested": {"a": [1, True, None]}})
    broker.send("q", b"first", properties=properties, priority=4)
    broker.publish_many("", [("q", b"%d" % number) for number in range(100)])
    broker.bind("q", "amq.topic", "#")
    broker.publish("amq.topic", "a.b", b"last")
    before = broker.peek("q", 200)
    broker = again()
    deliveries = take_deliveries(broker, "q")
    assert [d.body for d in deliveries] == [b"first", *numbered(*range(100)), b"last"]
    for delivery, message in zip(deliveries, before, strict=True):
        assert delivery.properties == message.properties
        assert (delivery.exchange, delivery.routing_key) == (message.exchange, message.routing_key)
        assert (delivery.timestamp_ms, delivery.headers) == (message.timestamp_ms, message.headers)
        assert not delivery.redelivered


def test_a_kill_keeps_what_need_not_be_persistent(disk, again):
    disk.broker.declare_queue("q")
    disk.broker.send("q", b"x", persistent=False)
    assert take(again(), "q") == [b"x"]


def test_what_was_settled_stays_settled(disk, again):
    broker = disk.broker
    broker.declare_queue("dlq")
    broker.declare_queue("q", **DEAD_LETTERED)
    send_all(broker, "q", *numbered(*range(8)))
    deliveries = hold(broker, "q", 6)
    deliveries[0].ack()
    deliveries[2].reject()
    deliveries[3].nack()
    deliveries[4].ack()
    assert broker.get("q", no_ack=True).body == b"3"
    broker = again()
    assert take(broker, "dlq") == [b"2"]
    assert take(broker, "q") == numbered(1, 5, 6, 7)


def test_what_was_in_hand_comes_back_as_redelivered(disk, again):
    broker = disk.broker
    broker.declare_queue("q")
    send_all(broker, "q", *numbered(*range(6)))
    deliveries = hold(broker, "q", 4)
    deliveries[3].ack()
    broker = again()
    assert [(d.body, d.redelivered) for d in take_deliveries(broker, "q")] == [
        (b"0", True),
        (b"1", True),
        (b"2", True),
        (b"4", False),
        (b"5", False),
    ]


def test_what_was_in_hand_at_an_orderly_end_comes_back_as_redelivered(disk):
    broker = disk.broker
    broker.declare_queue("q")
    send_all(broker, "q", *numbered(*range(3)))
    deliveries = hold(broker, "q", 2)
    assert [delivery.body for delivery in deliveries] == numbered(0, 1)
    broker = disk.reopen()
    assert [(d.body, d.redelivered) for d in take_deliveries(broker, "q")] == [
        (b"0", True),
        (b"1", True),
        (b"2", False),
    ]


def test_purges_and_drops_stay(disk, again):
    broker = disk.broker
    broker.declare_queue("purged")
    broker.declare_queue("short", max_length=2)
    for queue in ("purged", "short"):
        send_all(broker, queue, *numbered(*range(5)))
    broker.purge_queue("purged")
    broker.send("purged", b"new")
    broker = again()
    assert take(broker, "purged") == [b"new"]
    assert take(broker, "short") == numbered(3, 4)


def test_dead_letters_survive(disk, again):
    broker = disk.broker
    broker.declare_queue("dlq")
    broker.declare_queue("q", **DEAD_LETTERED)
    broker.send("q", b"x", headers={"h": 1})
    broker.get("q").reject()
    (before,) = broker.peek("dlq")
    broker = again()
    letter = take_one(broker, "dlq")
    assert letter.headers == before.headers
    assert letter.headers["x-death"][0]["reason"] == "rejected"
    assert ready(broker, "q") == 0


def test_priorities_survive(disk, again):
    broker = disk.broker
    broker.declare_queue("q", max_priority=9)
    for priority in (1, 9, 5, 0, 9):
        broker.send("q", b"%d" % priority, priority=priority)
    held = hold(broker, "q", 2)
    held[1].ack()
    broker = again()
    assert take(broker, "q") == numbered(9, 5, 1, 0)


def test_a_queue_made_anew_has_nothing_of_the_old(disk, again):
    broker = disk.broker
    broker.declare_queue("q")
    send_all(broker, "q", b"old", b"old")
    broker.delete_queue("q")
    broker.declare_queue("q")
    broker.send("q", b"new")
    broker = again()
    assert take(broker, "q") == [b"new"]


# Time


def test_messages_expire_while_the_store_is_closed(disk, again, clock):
    broker = disk.broker
    broker.declare_queue("dlq")
    broker.declare_queue("q", **DEAD_LETTERED)
    broker.send("q", b"short", expiration_ms=1000)
    broker.send("q", b"long", expiration_ms=5000)
    broker.close()
    clock.advance(seconds=2)
    broker = disk.reopen()
    assert ready(broker, "q") == 1
    broker = again()
    letter = take_one(broker, "dlq")
    assert letter.body == b"short"
    assert letter.headers["x-death"][0]["reason"] == "expired"
    clock.advance(ms=2999)
    assert ready(broker, "q") == 1
    clock.advance(ms=1)
    assert take(broker, "dlq") == [b"long"]


def test_delayed_messages_survive(disk, again, clock):
    broker = disk.broker
    broker.declare_queue("q")
    for body, delay_ms in ((b"c", 90_000_000), (b"a", 1000), (b"b", 2000)):
        broker.send("q", body, delay_ms=delay_ms, headers={"h": 1}, priority=2)
    broker = again()
    assert ready(broker, "q") == 0
    clock.advance(ms=999)
    assert ready(broker, "q") == 0
    clock.advance(ms=1)
    delivery = take_one(broker, "q")
    assert (delivery.body, delivery.headers, delivery.properties.priority) == (b"a", {"h": 1}, 2)
    broker = again()
    clock.advance(seconds=1)
    assert take(broker, "q") == [b"b"]
    clock.advance(seconds=90_000)
    assert take(broker, "q") == [b"c"]


def test_what_became_due_while_the_store_was_closed_is_there(disk, clock):
    broker = disk.broker
    broker.declare_queue("q")
    send_all(broker, "q", b"2", delay_ms=2000)
    send_all(broker, "q", b"1", delay_ms=1000)
    send_all(broker, "q", b"3", delay_ms=10_000)
    broker.close()
    clock.advance(seconds=5)
    broker = disk.reopen()
    clock.advance(ms=0)
    assert take(broker, "q") == [b"1", b"2"]
    clock.advance(seconds=5)
    assert take(broker, "q") == [b"3"]


def test_a_delayed_message_comes_once(disk, again, clock):
    broker = disk.broker
    broker.declare_queue("q")
    broker.send("q", b"x", delay_ms=1000)
    clock.advance(seconds=1)
    broker = again()
    assert take(broker, "q") == [b"x"]
    broker = again()
    clock.advance(seconds=1000)
    assert ready(broker, "q") == 0


def test_a_delayed_return_is_simply_back(disk, again):
    broker = disk.broker
    broker.declare_queue("q")
    send_all(broker, "q", b"1", b"2")
    broker.get("q").nack(delay_ms=60_000)
    assert ready(broker, "q") == 1
    broker = again()
    assert take(broker, "q") == [b"1", b"2"]


# Counts and history


@pytest.mark.parametrize(
    "options", [{"delivery_limit": 2}, {"arguments": {"x-queue-type": "quorum", "x-delivery-limit": 2}}]
)
def test_a_message_that_kills_its_process_is_counted(disk, options):
    broker = disk.broker
    broker.declare_queue("dlq")
    broker.declare_queue("q", **DEAD_LETTERED, **options)
    broker.send("q", b"x")
    held = []  # or the deliveries would go before their process does
    for count in range(3):
        delivery = broker.get("q")
        assert (delivery.delivery_count, delivery.redelivered) == (count, count > 0)
        held.append(delivery)
        broker = disk.crash()
    assert broker.get("q") is None
    assert take_one(broker, "dlq").headers["x-death"][0]["reason"] == "delivery_limit"


def test_history_survives(disk, again):
    broker = disk.broker
    broker.declare_queue("q", history_ms=3_600_000)
    send_all(broker, "q", *numbered(*range(5)), headers={"h": 1})
    for delivery in hold(broker, "q", 3):
        delivery.ack()
    broker = again()
    assert [(m.body, m.headers) for m in broker.history("q")] == [(body, {"h": 1}) for body in numbered(0, 1, 2)]
    assert broker.replay("q") == 3
    broker = again()
    assert take(broker, "q") == numbered(3, 4, 0, 1, 2)


# Again and again


def test_many_lives(disk, again):
    disk.broker.declare_queue("q")
    expected, number = [], 0
    for life in range(8):
        broker = again() if life else disk.broker
        for _ in range(5):
            broker.send("q", b"%d" % number)
            expected.append(number)
            number += 1
        held = hold(broker, "q", 4)
        for delivery in held[1::2]:
            delivery.ack()
            expected.remove(int(delivery.body))
        assert ready(broker, "q") == len(expected) - 2
    assert take(again(), "q") == numbered(*expected)


KILLED = """
import os, sys, msglog
broker = msglog.Broker(sys.argv[1], sync=sys.argv[2])
broker.declare_queue("q")
broker.publish_many("", [("q", b"%d" % number) for number in range(100)])
held = [broker.get("q") for _ in range(10)]
for delivery in held[5:]:
    delivery.ack()
os._exit(1)
"""


@pytest.mark.parametrize("sync", ["none", "interval", "commit"])
def test_a_process_that_dies(tmp_path, sync):
    path = str(tmp_path / "store")
    done = subprocess.run([sys.executable, "-c", KILLED, path, sync], check=False, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, b"")
    with msglog.Broker(path, sync=sync) as broker:
        deliveries = take_deliveries(broker, "q")
    assert [int(d.body) for d in deliveries] == [0, 1, 2, 3, 4, *range(10, 100)]
    assert [d.redelivered for d in deliveries] == [True] * 5 + [False] * 90


def test_a_copy_of_a_closed_store_is_as_good(tmp_path, clock):
    with msglog.Broker(tmp_path / "s", clock=clock) as broker:
        broker.declare_queue("q")
        broker.send("q", b"x")
    shutil.copytree(tmp_path / "s", tmp_path / "copy")
    with msglog.Broker(tmp_path / "copy", clock=clock) as broker:
        assert take(broker, "q") == [b"x"]

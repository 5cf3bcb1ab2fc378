"""Dead letters whose copies for many queues do not fit one commit; here that holds 5,000 bytes."""

import logging

import pytest

import msglog
from msglog.broker.vhost import removing
from msglog.storage import planning
from msglog.testing import Faults, ManualClock
from support.brokers import ready, take

QUEUES = [f"d{number}" for number in range(17)]
LARGE = b"x" * 1000
SMALL = b"small"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def broker(monkeypatch, clock):
    monkeypatch.setattr(planning, "MAX_COMMIT_BYTES", 5000)
    monkeypatch.setattr(removing, "MAX_COMMIT_BYTES", 5000)
    with msglog.Broker(":memory:", clock=clock) as opened:
        opened.declare_exchange("dlx", "fanout")
        for name in QUEUES:
            opened.declare_queue(name)
            opened.bind(name, "dlx")
        yield opened


def reject(broker, _clock):
    broker.declare_queue("q", dead_letter_exchange="dlx")
    broker.publish_many("", [("q", LARGE), ("q", SMALL)])
    for _ in range(2):
        broker.get("q").reject()


def expire(broker, clock):
    broker.declare_queue("q", dead_letter_exchange="dlx", message_ttl_ms=1000)
    broker.publish_many("", [("q", LARGE), ("q", SMALL)])
    clock.advance(ms=2000)


def be_too_many(broker, _clock):
    broker.declare_queue("q", dead_letter_exchange="dlx", max_length=1)
    for body in (LARGE, SMALL, b"stays"):
        broker.send("q", body)
    assert take(broker, "q") == [b"stays"]


def be_delivered_too_often(broker, _clock):
    broker.declare_queue("q", dead_letter_exchange="dlx", delivery_limit=1)
    broker.publish_many("", [("q", LARGE), ("q", SMALL)])
    for _ in range(4):
        broker.get("q").nack()


@pytest.mark.parametrize("way", [reject, expire, be_too_many, be_delivered_too_often])
def test_every_queue_gets_it_once_and_the_next_goes_on(broker, clock, way, caplog):
    with caplog.at_level(logging.WARNING):
        way(broker, clock)
        assert ready(broker, "q") == 0
    assert broker.get("q") is None
    assert {name: take(broker, name) for name in QUEUES} == {name: [LARGE, SMALL] for name in QUEUES}
    assert caplog.records == []


def test_a_try_that_failed_on_the_way_is_gone_on_with(broker):
    broker.declare_queue("q", dead_letter_exchange="dlx")
    broker.send("q", LARGE)
    delivery = broker.get("q")
    with Faults(broker) as faults:
        faults.fail("write", skip=2)
        with pytest.raises(msglog.DiskFullError):
            delivery.reject()
    assert 0 < sum(ready(broker, name) for name in QUEUES) < len(QUEUES)
    assert not delivery.settled
    delivery.reject()
    assert {name: take(broker, name) for name in QUEUES} == {name: [LARGE] for name in QUEUES}


def test_a_transaction_is_refused_as_a_whole(broker):
    broker.declare_queue("q", dead_letter_exchange="dlx")
    broker.send("q", LARGE)
    delivery = broker.get("q")
    with pytest.raises(msglog.TransactionTooLargeError), broker.store.transaction() as tx:
        tx.reject(delivery)
    assert {ready(broker, name) for name in QUEUES} == {0}
    delivery.ack()

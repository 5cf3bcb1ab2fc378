"""Limits of what may be unsettled. Rows 55 and 56."""

import pytest

from support.brokers import ready
from support.channels import bodies, closing, get_all, publish_all


@pytest.fixture
def queues(ch):
    for name in ("a", "b"):
        ch.queue_declare(name)
        publish_all(ch, name, *(name.encode() + b"%d" % number for number in range(6)))
    return "a", "b"


def test_each_consumer_has_its_own_limit(ch, queues):
    ch.basic_qos(prefetch_count=3)
    for name in queues:
        ch.basic_consume(name)
    assert bodies(ch) == [b"a0", b"a1", b"a2", b"b0", b"b1", b"b2"]
    ch.basic_ack(4)
    assert bodies(ch) == [b"b3"]


def test_all_consumers_share_the_limit_of_the_channel(ch, queues):
    ch.basic_qos(0, 3, global_qos=True)
    for name in queues:
        ch.basic_consume(name)
    assert bodies(ch) == [b"a0", b"a1", b"a2"]
    ch.basic_ack(2)
    assert len(bodies(ch)) == 1
    ch.basic_ack(0, multiple=True)
    assert len(bodies(ch)) == 3


@pytest.mark.usefixtures("queues")
def test_the_limit_of_a_channel_is_its_own(ch, other):
    ch.basic_qos(0, 1, global_qos=True)
    ch.basic_consume("a")
    other.basic_consume("a")
    assert (bodies(ch), bodies(other)) == ([b"a0"], [b"a1", b"a2", b"a3", b"a4", b"a5"])


@pytest.mark.usefixtures("queues")
def test_a_limit_is_for_consumers_that_start_after_it(ch):
    ch.basic_consume("a")
    ch.basic_qos(prefetch_count=1)
    ch.basic_consume("b")
    assert bodies(ch) == [b"a0", b"a1", b"a2", b"a3", b"a4", b"a5", b"b0"]


@pytest.mark.usefixtures("queues")
def test_the_limit_of_the_channel_is_for_all_consumers_at_once(ch):
    ch.basic_qos(0, 2, global_qos=True)
    ch.basic_consume("a")
    assert bodies(ch) == [b"a0", b"a1"]
    ch.basic_qos(0, 4, global_qos=True)
    assert bodies(ch) == [b"a2", b"a3"]
    ch.basic_qos(0, 0, global_qos=True)
    assert bodies(ch) == [b"a4", b"a5"]


@pytest.mark.usefixtures("queues")
def test_both_limits_hold(ch):
    ch.basic_qos(0, 3, global_qos=True)
    ch.basic_qos(0, 2)
    ch.basic_consume("a")
    ch.basic_consume("b")
    assert bodies(ch) == [b"a0", b"a1", b"b0"]
    ch.basic_ack(3)
    assert bodies(ch) == [b"b1"]
    ch.basic_ack(1)
    assert bodies(ch) == [b"a2"]


def test_queues_take_turns_under_a_shared_limit(ch, queues):
    ch.basic_qos(0, 1, global_qos=True)
    for name in queues:
        ch.basic_consume(name)
    got = []
    while events := ch.poll():
        got += [event.body for event in events]
        ch.basic_ack(events[-1].delivery_tag)
    assert got == [b"a0", b"b0", b"a1", b"b1", b"a2", b"b2", b"a3", b"b3", b"a4", b"b4", b"a5", b"b5"]


@pytest.mark.usefixtures("queues")
def test_get_knows_no_limit(ch):
    ch.basic_qos(0, 1, global_qos=True)
    ch.basic_qos(0, 1)
    assert len(get_all(ch, "a")) == 6
    ch.basic_consume("b")
    assert bodies(ch) == [b"b0"]


@pytest.mark.usefixtures("queues")
def test_consumers_without_ack_know_no_limit(ch):
    ch.basic_qos(0, 1)
    ch.basic_qos(0, 1, global_qos=True)
    ch.basic_consume("a", no_ack=True)
    ch.basic_consume("b", no_ack=True)
    assert len(bodies(ch)) == 12


@pytest.mark.usefixtures("queues")
@pytest.mark.parametrize("settle", ["ack", "nack", "reject", "recover"])
def test_every_way_of_settling_makes_room(ch, broker, settle):
    ch.basic_qos(0, 2)
    ch.basic_consume("a")
    assert bodies(ch) == [b"a0", b"a1"]
    if settle == "ack":
        ch.basic_ack(2, multiple=True)
    elif settle == "nack":
        ch.basic_nack(0, multiple=True, requeue=False)
    elif settle == "reject":
        ch.basic_reject(1, requeue=False)
        ch.basic_reject(2, requeue=False)
    else:
        ch.basic_recover()
    assert bodies(ch) == ([b"a0", b"a1"] if settle == "recover" else [b"a2", b"a3"])
    assert ready(broker, "a") == (4 if settle == "recover" else 2)


@pytest.mark.usefixtures("queues")
def test_what_a_cancelled_consumer_has_still_counts_for_the_channel(ch):
    ch.basic_qos(0, 2, global_qos=True)
    tag = ch.basic_consume("a")
    ch.basic_cancel(tag)
    ch.basic_consume("b")
    assert bodies(ch) == [b"a0", b"a1"]
    ch.basic_ack(1)
    assert bodies(ch) == [b"b0"]


@pytest.mark.usefixtures("queues")
def test_a_deleted_queue_makes_room_when_its_deliveries_are_settled(ch):
    ch.basic_qos(0, 2, global_qos=True)
    ch.basic_consume("a")
    ch.basic_consume("b")
    ch.queue_delete("a")
    ch.poll()
    ch.basic_ack(0, multiple=True)
    assert bodies(ch) == [b"b0", b"b1"]


def test_a_limit_in_bytes_closes_the_connection(ch, other):
    with closing(ch, 540, "NOT_IMPLEMENTED - prefetch_size!=0 (1)"):
        ch.basic_qos(prefetch_size=1)
    assert not other.is_open

"""`basic_get`: one message when there is one."""

import pytest

from msglog import GetOk, Properties
from support.brokers import info
from support.channels import bodies, get_all, publish_all


@pytest.fixture
def q(ch):
    return ch.queue_declare("q").name


def test_an_empty_queue_gives_none(ch, q):
    assert ch.basic_get(q) is None


def test_a_message_tells_how_many_are_left(ch, q):
    publish_all(ch, q, b"1", b"2", b"3")
    assert ch.basic_get(q) == GetOk(1, False, "", "q", Properties(), b"1", 2, 0)
    assert [(got.delivery_tag, got.message_count) for got in get_all(ch, q)] == [(2, 1), (3, 0)]


def test_without_ack_it_is_settled_at_once(ch, q):
    publish_all(ch, q, b"1", b"2")
    assert ch.basic_get(q, no_ack=True).delivery_tag == 1
    assert ch.basic_get(q).delivery_tag == 2
    ch.basic_recover()
    assert [(got.body, got.redelivered, got.delivery_count) for got in get_all(ch, q)] == [(b"2", True, 1)]


def test_a_getter_is_no_consumer(broker, ch, q):
    ch.basic_publish("", q, b"1")
    ch.basic_get(q)
    assert info(broker, q).consumer_count == 0


def test_gets_and_consumers_share_the_tags(ch, q):
    ch.queue_declare("other")
    ch.basic_consume(q)
    publish_all(ch, q, b"1")
    publish_all(ch, "other", b"2")
    assert ch.basic_get("other").delivery_tag == 2
    ch.basic_ack(2, multiple=True)
    ch.basic_recover()
    assert bodies(ch) == [b"1"]
    assert ch.basic_get("other") is None


def test_it_renews_the_lease_of_a_queue(broker, clock, ch):
    ch.queue_declare("q", arguments={"x-expires": 100})
    for _ in range(3):
        clock.advance(ms=90)
        assert ch.basic_get("q") is None
    clock.advance(ms=100)
    assert broker.queues() == []


def test_a_queue_that_is_declared_anew_is_another_one(ch, q):
    ch.basic_publish("", q, b"old")
    ch.basic_get(q)
    ch.queue_delete(q)
    ch.queue_declare(q)
    ch.basic_publish("", q, b"new")
    assert ch.basic_get(q).body == b"new"
    ch.basic_ack(1)
    ch.basic_nack(2)
    assert ch.basic_get(q).body == b"new"

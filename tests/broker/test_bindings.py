"""Bindings of queues and exchanges: made, listed, removed. Row 48."""

import pytest

import msglog
from msglog import (
    ExchangeNotFoundError,
    InvalidNameError,
    InvalidTypeError,
    PreconditionFailedError,
    QueueNotFoundError,
    ResourceLockedError,
)
from support.brokers import binding_set, take


@pytest.fixture(autouse=True)
def exchanges(broker):
    broker.declare_exchange("x")
    broker.declare_exchange("y", "fanout")


def test_a_binding_is_listed(broker, q):
    broker.bind(q, "x", "k", arguments={"a": [1]})
    (binding,) = broker.bindings()
    assert (binding.source, binding.destination, binding.kind, binding.routing_key) == ("x", "q", "queue", "k")
    assert binding.arguments == {"a": [1]}


def test_the_key_is_empty_if_nothing_is_said(broker, q):
    broker.bind(q, "x")
    broker.bind_exchange("x", "y")
    assert binding_set(broker) == {("x", "q", "queue", ""), ("y", "x", "exchange", "")}


def test_binding_twice_is_binding_once(broker, q):
    broker.bind(q, "x", "k")
    broker.bind(q, "x", "k")
    assert len(broker.bindings()) == 1
    assert broker.publish("x", "k", b"") == 1
    broker.unbind(q, "x", "k")
    assert broker.publish("x", "k", b"") == 0


def test_arguments_tell_bindings_apart(broker, q):
    broker.bind(q, "x", "k", arguments={"a": 1})
    broker.bind(q, "x", "k", arguments={"a": True})
    broker.bind(q, "x", "k", arguments={"a": 1})
    assert len(broker.bindings()) == 2
    broker.unbind(q, "x", "k")
    assert len(broker.bindings()) == 2
    broker.unbind(q, "x", "k", arguments={"a": 1})
    (left,) = broker.bindings()
    assert left.arguments["a"] is True
    assert broker.publish("x", "k", b"") == 1


def test_unbinding_what_is_not_bound_is_fine(broker, q):
    broker.bind(q, "x", "k")
    broker.unbind(q, "x", "other")
    broker.unbind(q, "missing", "k")
    broker.unbind("missing", "x", "k")
    broker.unbind_exchange("y", "x", "k")
    broker.unbind_exchange("missing", "x", "k")
    broker.unbind_exchange("x", "missing", "k")
    assert binding_set(broker) == {("x", "q", "queue", "k")}


def test_both_ends_of_a_binding_must_be_there(broker, q):
    for bind in (
        lambda: broker.bind(q, "missing"),
        lambda: broker.bind_exchange("x", "missing"),
        lambda: broker.bind_exchange("missing", "x"),
    ):
        with pytest.raises(ExchangeNotFoundError) as exchange:
            bind()
        assert exchange.value.exchange == "missing"
    with pytest.raises(QueueNotFoundError) as queue:
        broker.bind("missing", "x")
    assert (queue.value.queue, queue.value.reply_code) == ("missing", 404)
    assert str(queue.value) == "no queue 'missing' in vhost '/'"
    assert broker.bindings() == []


def test_of_two_ends_that_are_missing_the_exchange_is_told(broker):
    with pytest.raises(ExchangeNotFoundError, match="no exchange 'source'"):
        broker.bind("missing", "source")
    with pytest.raises(ExchangeNotFoundError, match="no exchange 'source'"):
        broker.bind_exchange("missing", "source")


def test_only_its_connection_unbinds_an_exclusive_queue(store):
    with msglog.Broker(store) as mine, msglog.Broker(store) as other:
        mine.declare_queue("q", exclusive=True)
        mine.bind("q", "amq.direct", "k")
        other.unbind("q", "amq.direct", "no such binding")
        with pytest.raises(ResourceLockedError):
            other.unbind("q", "amq.direct", "k")
        assert binding_set(mine) == {("amq.direct", "q", "queue", "k")}


def test_a_queue_and_an_exchange_of_one_name_are_bound_apart(broker):
    broker.declare_queue("y")
    broker.bind("y", "x", "k")
    broker.bind_exchange("y", "x", "k")
    assert binding_set(broker) == {("x", "y", "queue", "k"), ("x", "y", "exchange", "k")}
    broker.unbind_exchange("y", "x", "k")
    assert binding_set(broker) == {("x", "y", "queue", "k")}
    assert broker.publish("x", "k", b"") == 1


def test_bindings_go_with_their_queue(broker, q):
    broker.bind(q, "x", "k")
    broker.bind(q, "amq.topic", "#")
    broker.delete_queue(q)
    assert broker.bindings() == []
    broker.declare_queue(q)
    assert broker.publish("x", "k", b"") == 0


def test_what_is_bound_later_gets_what_is_published_later(broker, q):
    assert broker.publish("x", "k", b"early") == 0
    broker.bind(q, "x", "k")
    assert broker.publish("x", "k", b"late") == 1
    assert take(broker, q) == [b"late"]


@pytest.mark.parametrize("weight", ["0", "-1", "", "k", "1.5"])
def test_a_consistent_hash_needs_a_weight(broker, q, weight):
    broker.declare_exchange("hash", "x-consistent-hash")
    with pytest.raises(PreconditionFailedError):
        broker.bind(q, "hash", weight)
    assert broker.bindings() == []
    assert broker.publish("hash", "anything", b"") == 0


@pytest.mark.parametrize("match", ["foo", "ALL", "", 1, True, None])
def test_a_bad_x_match_is_refused(broker, q, match):
    with pytest.raises(PreconditionFailedError, match="x-match") as caught:
        broker.bind(q, "amq.headers", arguments={"x-match": match, "a": 1})
    if match == "foo":
        text = 'Invalid x-match field value <<"foo">>; expected all, any, all-with-x, or any-with-x'
        assert str(caught.value) == text
    assert broker.bindings() == []


@pytest.mark.parametrize(
    "use",
    [
        lambda broker: broker.bind(None, "x"),
        lambda broker: broker.bind("q", None),
        lambda broker: broker.bind("q", "x", None),
        lambda broker: broker.bind("q", "x", b"k"),
        lambda broker: broker.bind("q", "x", "k", arguments=[]),
        lambda broker: broker.bind("q", "x", "k", arguments={"a": object()}),
        lambda broker: broker.bind_exchange("y", "x", 5),
        lambda broker: broker.bind_exchange(5, "x"),
        lambda broker: broker.unbind("q", "x", None),
        lambda broker: broker.unbind_exchange("y", "x", b"k"),
    ],
)
@pytest.mark.usefixtures("q")
def test_arguments_of_wrong_types(broker, use):
    with pytest.raises((InvalidTypeError, InvalidNameError)):
        use(broker)
    assert broker.bindings() == []

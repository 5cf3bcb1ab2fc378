"""Exchanges: declared, declared again, deleted. Rows 31, 43 to 45, 48 to 51, and the half of 60 on exchanges."""

import pytest

from msglog import (
    AccessRefusedError,
    ExchangeNotFoundError,
    InvalidNameError,
    InvalidTypeError,
    PreconditionFailedError,
)
from support.brokers import binding_set, exchange_names, take

PREDECLARED = {
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.headers": "headers",
    "amq.match": "headers",
    "amq.topic": "topic",
}
TYPES = ["direct", "fanout", "topic", "headers", "x-consistent-hash", "x-random"]


def describe(broker, name):
    (found,) = [exchange for exchange in broker.exchanges() if exchange.name == name]
    return found


def test_a_new_broker_has_the_exchanges_of_rabbitmq(broker):
    types = {exchange.name: exchange.type for exchange in broker.exchanges()}
    assert {name: types.get(name) for name in PREDECLARED} == PREDECLARED
    assert all(describe(broker, name).durable for name in PREDECLARED)


@pytest.mark.parametrize("type", TYPES)
def test_a_declared_exchange_is_listed(broker, type):
    broker.declare_exchange("x", type, durable=False, auto_delete=True, internal=True)
    exchange = describe(broker, "x")
    assert (exchange.name, exchange.type) == ("x", type)
    assert (exchange.durable, exchange.auto_delete, exchange.internal) == (False, True, True)
    assert exchange.arguments == {}


def test_an_exchange_is_direct_and_durable_if_nothing_is_said(broker):
    broker.declare_exchange("x")
    exchange = describe(broker, "x")
    assert (exchange.type, exchange.durable, exchange.auto_delete, exchange.internal) == ("direct", True, False, False)


def test_arguments_nobody_knows_are_kept(broker):
    broker.declare_exchange("x", arguments={"x-mine": [1, "two"]})
    assert describe(broker, "x").arguments == {"x-mine": [1, "two"]}


# Declared again


def test_declaring_the_same_again_changes_nothing(broker, q):
    broker.declare_exchange("x", "topic")
    broker.bind(q, "x", "a.*")
    broker.declare_exchange("x", "topic")
    assert broker.publish("x", "a.b", b"") == 1


@pytest.mark.parametrize(
    ("changed", "argument", "received", "current"),
    [
        ({"type": "fanout"}, "type", "fanout", "topic"),
        ({"durable": False}, "durable", "false", "true"),
        ({"auto_delete": True}, "auto_delete", "true", "false"),
        ({"internal": True}, "internal", "true", "false"),
    ],
)
def test_declaring_something_else_under_the_name_is_refused(broker, changed, argument, received, current):
    broker.declare_exchange("x", "topic")
    before = describe(broker, "x")
    with pytest.raises(PreconditionFailedError) as caught:
        broker.declare_exchange("x", **{"type": "topic"} | changed)
    text = f"inequivalent arg '{argument}' for exchange 'x' in vhost '/': received '{received}' but current is"
    assert str(caught.value).startswith(text)
    assert current in str(caught.value).removeprefix(text)
    assert caught.value.reply_code == 406
    assert describe(broker, "x") == before


def test_another_alternate_exchange_is_refused(broker):
    broker.declare_exchange("x", alternate_exchange="one")
    broker.declare_exchange("x", arguments={"alternate-exchange": "one"})
    for other in ({"alternate_exchange": "two"}, {}, {"arguments": {"alternate-exchange": "two"}}):
        with pytest.raises(PreconditionFailedError, match="inequivalent arg 'alternate-exchange' for exchange 'x'"):
            broker.declare_exchange("x", **other)


def test_a_passive_declaration_asks_only_for_the_name(broker):
    broker.declare_exchange("x", "topic")
    broker.declare_exchange("x", "fanout", passive=True, durable=False, internal=True)
    assert describe(broker, "x").type == "topic"


def test_a_passive_declaration_makes_nothing(broker):
    with pytest.raises(ExchangeNotFoundError) as caught:
        broker.declare_exchange("x", passive=True)
    assert str(caught.value) == "no exchange 'x' in vhost '/'"
    assert (caught.value.reply_code, caught.value.exchange) == (404, "x")
    assert isinstance(caught.value, LookupError)
    assert "x" not in exchange_names(broker)


def test_an_unknown_type_is_refused(broker):
    with pytest.raises(PreconditionFailedError, match="nonsense"):
        broker.declare_exchange("x", "nonsense")
    assert "x" not in exchange_names(broker)


# Names


@pytest.mark.parametrize("name", ["amq.mine", "amq."])
def test_names_of_the_broker_itself_are_reserved(broker, name):
    with pytest.raises(AccessRefusedError, match="reserved prefix 'amq"):
        broker.declare_exchange(name)
    assert name not in exchange_names(broker)


@pytest.mark.parametrize(
    "use",
    [
        lambda broker: broker.declare_exchange(""),
        lambda broker: broker.delete_exchange(""),
        lambda broker: broker.bind("q", "", "k"),
        lambda broker: broker.unbind("q", "", "q"),
        lambda broker: broker.bind_exchange("amq.fanout", "", "k"),
        lambda broker: broker.bind_exchange("", "amq.fanout", "k"),
        lambda broker: broker.unbind_exchange("amq.fanout", "", "k"),
    ],
)
def test_the_default_exchange_is_left_alone(broker, q, use):
    with pytest.raises(AccessRefusedError) as caught:
        use(broker)
    assert caught.value.reply_code == 403
    assert broker.publish("", q, b"x") == 1
    assert broker.bindings() == []


def test_predeclared_exchanges_can_be_declared_as_they_are(broker):
    broker.declare_exchange("amq.topic", "topic")
    with pytest.raises(PreconditionFailedError, match="inequivalent arg 'type'"):
        broker.declare_exchange("amq.topic", "direct")


def test_predeclared_exchanges_are_not_deleted(broker):
    for name in PREDECLARED:
        with pytest.raises(AccessRefusedError):
            broker.delete_exchange(name)
    assert PREDECLARED.keys() <= exchange_names(broker)


@pytest.mark.parametrize("name", ["x" * 256, "ä" * 128, "a\nb"])
def test_bad_names(broker, name):
    before = exchange_names(broker)
    with pytest.raises(InvalidNameError):
        broker.declare_exchange(name)
    assert exchange_names(broker) == before


@pytest.mark.parametrize("name", ["x" * 255, "a/b c.d:e", "ÄÖ", "日本"])
def test_odd_names(broker, q, name):
    broker.declare_exchange(name, "fanout")
    broker.bind(q, name)
    broker.publish(name, "", b"x")
    assert broker.get(q, no_ack=True).exchange == name


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": None},
        {"name": b"x"},
        {"name": "x", "type": None},
        {"name": "x", "durable": 1},
        {"name": "x", "auto_delete": "no"},
        {"name": "x", "internal": None},
        {"name": "x", "passive": 0},
        {"name": "x", "alternate_exchange": 5},
        {"name": "x", "arguments": [("a", 1)]},
        {"name": "x", "arguments": {1: 1}},
        {"name": "x", "arguments": {"a": object()}},
    ],
)
def test_arguments_of_wrong_types(broker, arguments):
    before = exchange_names(broker)
    with pytest.raises((InvalidTypeError, InvalidNameError)):
        broker.declare_exchange(**arguments)
    assert exchange_names(broker) == before


# Deleted


def test_deleting_removes_the_exchange_and_its_bindings(broker, q):
    broker.declare_exchange("x", "fanout")
    broker.declare_exchange("y", "fanout")
    broker.bind(q, "x")
    broker.bind_exchange("x", "y")
    broker.delete_exchange("x")
    assert "x" not in exchange_names(broker)
    assert broker.bindings() == []
    assert broker.publish("y", "", b"x") == 0
    with pytest.raises(ExchangeNotFoundError):
        broker.publish("x", "", b"x")


def test_an_exchange_made_anew_has_no_bindings_of_the_old(broker, q):
    broker.declare_exchange("x", "fanout")
    broker.bind(q, "x")
    broker.delete_exchange("x")
    broker.declare_exchange("x", "fanout")
    assert broker.publish("x", "", b"x") == 0


def test_deleting_what_is_not_there_is_fine(broker):
    before = exchange_names(broker)
    broker.delete_exchange("x")
    broker.delete_exchange("x", if_unused=True)
    assert exchange_names(broker) == before


def test_an_exchange_in_use_is_kept_if_so_wished(broker, q):
    broker.declare_exchange("x")
    broker.bind(q, "x", "k")
    with pytest.raises(PreconditionFailedError, match="exchange 'x' in vhost '/' in use"):
        broker.delete_exchange("x", if_unused=True)
    assert binding_set(broker) == {("x", q, "queue", "k")}
    broker.unbind(q, "x", "k")
    broker.delete_exchange("x", if_unused=True)
    assert "x" not in exchange_names(broker)


def test_what_others_route_to_an_exchange_is_no_use_of_it(broker):
    broker.declare_exchange("x")
    broker.declare_exchange("y")
    broker.bind_exchange("x", "y", "k")
    broker.delete_exchange("x", if_unused=True)
    assert "x" not in exchange_names(broker)
    assert broker.bindings() == []


# Auto-delete


def test_an_auto_delete_exchange_goes_with_its_last_binding(broker, q):
    broker.declare_exchange("x", auto_delete=True)
    broker.bind(q, "x", "a")
    broker.bind(q, "x", "b")
    broker.unbind(q, "x", "a")
    assert "x" in exchange_names(broker)
    broker.unbind(q, "x", "b")
    assert "x" not in exchange_names(broker)


def test_an_auto_delete_exchange_that_was_never_bound_stays(broker, q):
    broker.declare_exchange("x", auto_delete=True)
    broker.unbind(q, "x", "a")
    broker.publish("x", "a", b"")
    assert "x" in exchange_names(broker)


def test_an_auto_delete_exchange_goes_with_the_last_queue_bound_to_it(broker, q):
    broker.declare_exchange("x", auto_delete=True)
    broker.bind(q, "x", "a")
    broker.delete_queue(q)
    assert "x" not in exchange_names(broker)


def test_auto_delete_exchanges_go_one_after_the_other(broker, q):
    for name in ("x", "y", "z"):
        broker.declare_exchange(name, "fanout", auto_delete=True)
    broker.bind_exchange("y", "x")
    broker.bind_exchange("z", "y")
    broker.bind(q, "z")
    broker.delete_queue(q)
    assert exchange_names(broker) & {"x", "y", "z"} == set()
    assert broker.bindings() == []


def test_a_binding_to_an_auto_delete_exchange_does_not_keep_it(broker, q):
    broker.declare_exchange("x", "fanout", auto_delete=True)
    broker.bind_exchange("x", "amq.fanout")
    broker.bind(q, "x")
    broker.unbind(q, "x")
    assert "x" not in exchange_names(broker)
    assert broker.publish("amq.fanout", "", b"") == 0


# Internal


def test_nobody_publishes_to_an_internal_exchange(broker, q):
    broker.declare_exchange("x", "fanout", internal=True)
    broker.bind(q, "x")
    with pytest.raises(AccessRefusedError, match="cannot publish to internal exchange 'x' in vhost '/'") as caught:
        broker.publish("x", "", b"x")
    assert caught.value.reply_code == 403
    assert take(broker, q) == []


def test_an_internal_exchange_gets_messages_from_others(broker, q):
    broker.declare_exchange("x", "fanout", internal=True)
    broker.bind(q, "x")
    broker.bind_exchange("x", "amq.fanout")
    assert broker.publish("amq.fanout", "", b"x") == 1
    assert take(broker, q) == [b"x"]

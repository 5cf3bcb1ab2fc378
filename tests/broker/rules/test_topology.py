"""The graph of exchanges: types, exchanges bound to exchanges, alternates, auto-delete, and what may be cached."""

import pickle
import random
from collections import Counter
from types import SimpleNamespace

import pytest

from msglog import ExchangeNotFoundError, PreconditionFailedError, QueueNotFoundError
from msglog.broker.rules.topology import EXCHANGE_TYPES, Binding, Topology, check_binding, check_exchange
from support.routing import bound

KEY_TYPES = ["direct", "fanout", "topic", "x-consistent-hash"]


def topology_of(exchanges, bindings=(), **options):
    """Make a topology of exchanges, by name and type; the queues are those that the bindings name."""
    topology = Topology(**options)
    for name, type_ in exchanges.items():
        topology.add_exchange(name, type_)
    for binding in bindings:
        if binding.kind == "queue":
            topology.add_queue(binding.destination)
        assert topology.bind(binding)
    return topology


def to_exchange(source, destination, routing_key="", arguments=None):
    return bound(source, destination, routing_key, arguments, kind="exchange")


# The default exchange


def test_the_default_exchange_routes_to_queues_by_name():
    topology = Topology()
    topology.add_queue("q")
    topology.add_queue("r")
    assert topology.route("", ["q"]) == ("q",)
    assert topology.route("", ["r", "q", "r"]) == ("r", "q")
    assert topology.route("", ["other"]) == ()


def test_a_queue_that_is_removed_is_forgotten_until_it_comes_again():
    topology = topology_of({"x": "fanout"}, [bound("x", "q")])
    topology.remove_queue("q")
    assert topology.route("", ["q"]) == topology.route("x", ["q"]) == ()
    with pytest.raises(QueueNotFoundError):
        topology.bind(bound("x", "q"))
    topology.add_queue("q")
    assert topology.route("", ["q"]) == ("q",)
    assert topology.route("x", ["q"]) == ()


def test_implicit_bindings_are_not_listed():
    topology = Topology()
    topology.add_queue("q")
    assert topology.bindings() == topology.bindings_from("") == topology.bindings_to("q", "queue") == []


# The types


def test_direct_routes_by_the_exact_key():
    topology = topology_of({"d": "direct"}, [bound("d", "q", "a"), bound("d", "r", "a"), bound("d", "s", "A")])
    assert topology.route("d", ["a"]) == ("q", "r")
    assert topology.route("d", ["a.b"]) == ()
    assert topology.route("d", ["A", "a"]) == ("s", "q", "r")


def test_fanout_routes_to_all_whatever_the_key():
    topology = topology_of({"f": "fanout"}, [bound("f", "q", "a"), bound("f", "r"), bound("f", "s", "b")])
    assert topology.route("f", ["nonsense"]) == ("q", "r", "s")


def test_fanout_hands_out_one_prepared_tuple():
    topology = topology_of({"f": "fanout"}, [bound("f", "q"), bound("f", "r")])
    assert topology.route("f", ["a"]) is topology.route("f", ["b"])


def test_topic_routes_by_pattern_and_by_each_key():
    topology = topology_of({"t": "topic"}, [bound("t", "q", "a.*"), bound("t", "r", "#.z")])
    assert topology.route("t", ["a.b"]) == ("q",)
    assert topology.route("t", ["a.z"]) == ("q", "r")
    assert topology.route("t", ["z", "a.b"]) == ("r", "q")


def test_headers_routes_by_arguments_whatever_the_key():
    topology = topology_of(
        {"h": "headers"},
        [
            bound("h", "all", "a", {"colour": "red", "size": 1}),
            bound("h", "any", "b", {"x-match": "any", "colour": "red", "size": 1}),
            bound("h", "every"),
        ],
    )
    assert topology.route("h", ["k"], {"colour": b"red", "size": 1}) == ("all", "any", "every")
    assert topology.route("h", ["k"], {"colour": "red", "size": True}) == ("any", "every")
    assert topology.route("h", ["a"]) == ("every",)


def test_consistent_hash_routes_each_key_to_one_queue_by_weight():
    weights = {"q": "1", "r": "1", "s": "2"}
    topology = topology_of({"c": "x-consistent-hash"}, [bound("c", queue, key) for queue, key in weights.items()])
    routed = Counter(topology.route("c", [f"key {number}"]) for number in range(2000))
    assert sum(routed.values()) == 2000
    assert 420 < routed["q",] < 580
    assert 420 < routed["r",] < 580
    assert 900 < routed["s",] < 1100


def test_consistent_hash_may_hash_a_header():
    topology = topology_of({}, [])
    topology.add_exchange("c", "x-consistent-hash", arguments={"hash-header": "customer"})
    for queue in "qrs":
        topology.add_queue(queue)
        topology.bind(bound("c", queue, "1"))
    routed = {customer: topology.route("c", ["k"], {"customer": customer}) for customer in range(50)}
    assert set(routed.values()) == {("q",), ("r",), ("s",)}
    assert routed == {customer: topology.route("c", ["other"], {"customer": str(customer)}) for customer in range(50)}
    assert topology.route("c", ["a"]) == topology.route("c", ["b"]) == topology.route("c", ["c"], {"customer": ""})


@pytest.mark.parametrize("name", ["message_id", "correlation_id", "timestamp"])
def test_consistent_hash_may_hash_a_property(name):
    topology = Topology()
    topology.add_exchange("c", "x-consistent-hash", arguments={"hash-property": name})
    for queue in "qrs":
        topology.add_queue(queue)
        topology.bind(bound("c", queue, "1"))
    routed = {number: topology.route("c", ["k"], None, SimpleNamespace(**{name: f"{number}"})) for number in range(50)}
    assert set(routed.values()) == {("q",), ("r",), ("s",)}
    assert topology.route("c", ["a"]) == topology.route("c", ["b"], None, SimpleNamespace(**{name: None}))


def test_consistent_hash_reaches_a_queue_by_another_binding_when_one_goes():
    topology = topology_of({"c": "x-consistent-hash"}, [bound("c", "q", "1"), bound("c", "q", "5")])
    assert topology.unbind(bound("c", "q", "5")) == []
    assert topology.route("c", ["k"]) == ("q",)
    assert topology.unbind(bound("c", "q", "1")) == []
    assert topology.route("c", ["k"]) == ()


def test_random_routes_to_the_destination_that_is_drawn():
    drawn = []

    def choose(count):
        drawn.append(count)
        return len(drawn) % count

    bindings = [bound("x", "q", "a"), bound("x", "q", "b"), bound("x", "r"), bound("x", "s")]
    topology = topology_of({"x": "x-random"}, bindings, choose=choose)
    assert [topology.route("x", ["k"]) for _ in range(4)] == [("r",), ("s",), ("q",), ("r",)]
    assert drawn == [3, 3, 3, 3]


def test_random_draws_once_for_each_message_also_through_other_exchanges():
    drawn = []
    bindings = [to_exchange("x", "f"), bound("f", "q"), bound("f", "r")]
    topology = topology_of({"x": "x-random", "f": "fanout"}, bindings, choose=lambda count: drawn.append(count) or 0)
    assert topology.route("x", ["k"]) == ("q", "r")
    assert drawn == [1]


def test_random_is_uniform_over_destinations_not_bindings():
    bindings = [bound("x", "q", str(number)) for number in range(9)] + [bound("x", "r")]
    topology = topology_of({"x": "x-random"}, bindings, choose=random.Random(5).randrange)
    counts = Counter(topology.route("x", ["k"]) for _ in range(1000))
    assert 430 < counts["q",] < 570


@pytest.mark.parametrize("type_", sorted(EXCHANGE_TYPES))
def test_an_exchange_without_bindings_routes_nowhere(type_):
    topology = topology_of({"x": type_}, [bound("x", "q", "1")])
    assert topology.route("x", ["1"]) == ("q",)
    topology.unbind(bound("x", "q", "1"))
    assert topology.route("x", ["1"]) == ()


@pytest.mark.parametrize("type_", ["direct", "fanout", "topic", "headers"])
def test_several_bindings_of_one_queue_make_one_copy(type_):
    bindings = [bound("x", "q", "a"), bound("x", "q", "a", {"n": None}), bound("x", "q", "#"), bound("x", "q", "*")]
    topology = topology_of({"x": type_}, bindings)
    assert topology.route("x", ["a", "#", "a"], {"n": 1}) == ("q",)


# Exchanges bound to exchanges


def test_a_message_goes_through_exchanges_by_the_rules_of_each():
    topology = topology_of(
        {"t": "topic", "f": "fanout", "d": "direct"},
        [to_exchange("t", "f", "a.#"), to_exchange("t", "d", "#"), bound("f", "q"), bound("d", "r", "a.b")],
    )
    assert sorted(topology.route("t", ["a.b"])) == ["q", "r"]
    assert topology.route("t", ["a.c"]) == ("q",)
    assert topology.route("t", ["b"]) == ()


def test_own_queues_come_before_those_behind_bound_exchanges():
    topology = topology_of(
        {"f": "fanout", "g": "fanout"},
        [to_exchange("f", "g"), bound("f", "q"), bound("g", "q"), bound("g", "r"), bound("f", "s")],
    )
    assert topology.route("f", ["k"]) == ("q", "s", "r")


def test_a_cycle_of_exchanges_delivers_one_copy():
    topology = topology_of(
        {"e1": "fanout", "e2": "fanout"},
        [to_exchange("e1", "e2"), to_exchange("e2", "e1"), bound("e1", "q"), bound("e2", "q"), bound("e2", "r")],
    )
    assert topology.route("e1", ["k"]) == ("q", "r")
    assert topology.route("e2", ["k"]) == ("q", "r")


def test_an_exchange_bound_to_itself_delivers_one_copy():
    topology = topology_of({"e": "fanout"}, [to_exchange("e", "e"), bound("e", "q")])
    assert topology.route("e", ["k"]) == ("q",)


def test_a_queue_and_an_exchange_may_have_one_name():
    topology = topology_of({"x": "fanout", "y": "fanout"}, [bound("x", "y"), to_exchange("x", "y"), bound("y", "q")])
    assert topology.route("x", ["k"]) == ("y", "q")
    topology.remove_queue("y")
    assert topology.route("x", ["k"]) == ("q",)
    assert topology.bindings_to("y", "exchange") == [to_exchange("x", "y")]


# Alternate exchanges


def test_the_alternate_takes_what_nothing_takes():
    topology = topology_of({"d": "direct", "f": "fanout"}, [bound("d", "q", "a"), bound("f", "rest")])
    topology.set_alternate("d", "f")
    assert topology.route("d", ["a"]) == ("q",)
    assert topology.route("d", ["b"]) == ("rest",)
    topology.set_alternate("d", None)
    assert topology.route("d", ["b"]) == ()


def test_an_alternate_that_does_not_exist_takes_nothing_until_it_does():
    topology = topology_of({"d": "direct"})
    topology.set_alternate("d", "later")
    assert topology.route("d", ["a"]) == ()
    topology.add_exchange("later", "fanout")
    topology.add_queue("q")
    topology.bind(bound("later", "q"))
    assert topology.route("d", ["a"]) == ("q",)
    topology.remove_exchange("later")
    assert topology.route("d", ["a"]) == ()


def test_alternates_are_followed_in_a_chain():
    topology = topology_of({"a": "direct", "b": "direct", "c": "fanout"}, [bound("c", "q")])
    topology.set_alternate("a", "b")
    topology.set_alternate("b", "c")
    assert topology.route("a", ["k"]) == ("q",)


def test_the_default_exchange_is_nobodys_alternate():
    topology = topology_of({"a": "direct"})
    topology.add_queue("q")
    topology.set_alternate("a", "")
    assert topology.route("a", ["q"]) == ()


def test_a_cycle_of_alternates_ends():
    topology = topology_of({"a": "direct", "b": "direct", "c": "direct"}, [bound("c", "q", "k")])
    for name, alternate in (("a", "b"), ("b", "c"), ("c", "a")):
        topology.set_alternate(name, alternate)
    assert topology.route("a", ["k"]) == ("q",)
    assert topology.route("b", ["nothing takes this"]) == ()
    topology.set_alternate("a", "a")
    assert topology.route("a", ["k"]) == ()


def test_an_exchange_reached_by_a_binding_has_its_own_alternate():
    topology = topology_of(
        {"f": "fanout", "d": "direct", "rest": "fanout"},
        [to_exchange("f", "d"), bound("d", "q", "a"), bound("rest", "r")],
    )
    topology.set_alternate("d", "rest")
    assert topology.route("f", ["a"]) == ("q",)
    assert topology.route("f", ["b"]) == ("r",)


def test_a_message_that_ends_behind_a_binding_does_not_come_back_for_the_alternate():
    topology = topology_of(
        {"f": "fanout", "d": "direct", "rest": "fanout"}, [to_exchange("f", "d"), bound("rest", "r")]
    )
    topology.set_alternate("f", "rest")
    assert topology.route("f", ["a"]) == ()


# Auto-delete


def test_an_auto_delete_exchange_goes_with_its_last_binding():
    topology = topology_of({})
    topology.add_exchange("x", "fanout", auto_delete=True)
    assert topology.has_exchange("x")
    for queue in ("q", "r"):
        topology.add_queue(queue)
        topology.bind(bound("x", queue))
    assert topology.unbind(bound("x", "q")) == []
    assert topology.has_exchange("x")
    assert topology.unbind(bound("x", "r")) == ["x"]
    assert not topology.has_exchange("x")


def test_an_exchange_that_is_only_a_destination_does_not_go():
    topology = topology_of({"x": "fanout"})
    topology.add_exchange("y", "fanout", auto_delete=True)
    topology.bind(to_exchange("x", "y"))
    assert topology.unbind(to_exchange("x", "y")) == []
    assert topology.has_exchange("y")


def test_auto_delete_cascades_through_the_sources_each_once():
    topology = Topology()
    for name in ("a", "b1", "b2", "c"):
        topology.add_exchange(name, "fanout", auto_delete=True)
    topology.add_queue("q")
    bindings = [to_exchange("a", "b1"), to_exchange("a", "b2"), to_exchange("b1", "c"), to_exchange("b2", "c")]
    for binding in (*bindings, bound("c", "q", "1"), bound("c", "q", "2")):
        topology.bind(binding)
    assert topology.remove_queue("q") == ["c", "b1", "b2", "a"]
    assert topology.bindings() == []


def test_a_cascade_stops_where_a_binding_is_left():
    topology = topology_of({"c": "fanout"})
    topology.add_exchange("a", "fanout", auto_delete=True)
    topology.add_queue("q")
    topology.bind(to_exchange("a", "c"))
    topology.bind(bound("a", "q"))
    assert topology.remove_exchange("c") == []
    assert topology.bindings() == [bound("a", "q")]
    assert topology.remove_queue("q") == ["a"]


def test_a_cycle_of_auto_delete_exchanges_goes_at_once():
    topology = Topology()
    for name in ("a", "b"):
        topology.add_exchange(name, "fanout", auto_delete=True)
    topology.bind(to_exchange("a", "b"))
    topology.bind(to_exchange("b", "a"))
    assert topology.unbind(to_exchange("a", "b")) == ["a", "b"]
    assert topology.bindings() == []


def test_an_auto_delete_exchange_bound_to_itself_goes_alone():
    topology = Topology()
    topology.add_exchange("a", "fanout", auto_delete=True)
    topology.bind(to_exchange("a", "a"))
    assert topology.unbind(to_exchange("a", "a")) == ["a"]
    topology.add_exchange("a", "fanout", auto_delete=True)
    topology.bind(to_exchange("a", "a"))
    assert topology.remove_exchange("a") == []
    assert not topology.has_exchange("a")


# Bindings


def test_binding_twice_is_one_binding():
    topology = topology_of({"x": "fanout"}, [bound("x", "q", "k", {"a": "b"})])
    assert not topology.bind(bound("x", "q", "k", {"a": b"b"}))
    assert topology.bindings() == [bound("x", "q", "k", {"a": "b"})]
    assert topology.unbind(bound("x", "q", "k", {"a": "b"})) == []
    assert topology.route("x", ["k"]) == ()


def test_bindings_with_arguments_that_differ_in_type_are_two():
    topology = topology_of({"x": "direct"}, [bound("x", "q", "k", {"a": 1})])
    assert topology.bind(bound("x", "q", "k", {"a": True}))
    assert topology.unbind(bound("x", "q", "k", {"a": 1})) == []
    assert topology.route("x", ["k"]) == ("q",)
    assert topology.unbind(bound("x", "q", "k", {"a": True})) == []
    assert topology.route("x", ["k"]) == ()


def test_unbinding_what_is_not_there_is_none():
    topology = topology_of({"x": "direct"}, [bound("x", "q", "k")])
    assert topology.unbind(bound("x", "q", "other")) is None
    assert topology.unbind(bound("missing", "q", "k")) is None
    assert topology.unbind(to_exchange("x", "q", "k")) is None


def test_bindings_are_listed_by_both_ends():
    bindings = [bound("x", "q", "1"), bound("y", "q"), bound("x", "r", "2"), to_exchange("y", "x")]
    topology = topology_of({"x": "direct", "y": "fanout"}, bindings)
    assert topology.bindings() == [bindings[0], bindings[2], bindings[1], bindings[3]]
    assert topology.bindings_from("x") == [bindings[0], bindings[2]]
    assert topology.bindings_to("q", "queue") == [bindings[0], bindings[1]]
    assert topology.bindings_to("x", "exchange") == [bindings[3]]
    assert topology.bindings_from("missing") == topology.bindings_to("missing", "queue") == []


def test_removing_an_exchange_removes_the_bindings_on_both_sides():
    bindings = [bound("x", "q"), to_exchange("y", "x"), bound("y", "q")]
    topology = topology_of({"x": "fanout", "y": "fanout"}, bindings)
    assert topology.remove_exchange("x") == []
    assert topology.bindings() == topology.bindings_to("q", "queue") == [bindings[2]]
    assert topology.route("y", ["k"]) == ("q",)


def test_doing_again_what_was_done_changes_nothing():
    topology = topology_of({"x": "direct"}, [bound("x", "q", "k")])
    topology.add_exchange("x", "direct")
    topology.add_queue("q")
    assert topology.route("x", ["k"]) == topology.route("", ["q"]) == ("q",)
    topology.remove_queue("q")
    assert topology.remove_queue("q") == []
    assert topology.route("", ["q"]) == ()
    topology.remove_exchange("x")
    assert topology.remove_exchange("x") == []


def test_a_binding_keeps_its_own_copy_of_the_arguments():
    arguments = {"a": 1}
    binding = Binding("x", "q", "queue", "k", arguments)
    arguments["a"] = 2
    assert binding.arguments == {"a": 1}
    assert binding == bound("x", "q", "k", {"a": 1})


def test_a_binding_survives_pickling_and_shows_its_fields():
    binding = bound("x", "q", "k", {"a": [1, "b"]})
    assert pickle.loads(pickle.dumps(binding)) == binding
    expected = "Binding(source='x', destination='q', kind='queue', routing_key='k', arguments={'a': [1, 'b']})"
    assert repr(binding) == expected


# Errors and checks


@pytest.mark.parametrize(
    "use",
    [
        lambda topology: topology.route("x", ["k"]),
        lambda topology: topology.depends_on_key_only("x"),
        lambda topology: topology.set_alternate("x", None),
        lambda topology: topology.bind(bound("x", "q")),
        lambda topology: topology.bind(to_exchange("amq.direct", "x")),
    ],
)
def test_an_exchange_that_does_not_exist_is_named(use):
    topology = topology_of({"amq.direct": "direct"})
    topology.add_queue("q")
    with pytest.raises(ExchangeNotFoundError) as caught:
        use(topology)
    assert str(caught.value) == "no exchange 'x' in vhost '/'"
    assert caught.value.exchange == "x"
    assert topology.bindings() == []


def test_a_queue_that_does_not_exist_is_named():
    topology = topology_of({"x": "direct"})
    with pytest.raises(QueueNotFoundError) as caught:
        topology.bind(bound("x", "q"))
    assert str(caught.value) == "no queue 'q' in vhost '/'"
    assert caught.value.queue == "q"
    assert topology.bindings() == []


def test_an_unknown_type_is_refused():
    topology = Topology()
    with pytest.raises(PreconditionFailedError, match="unknown exchange type 'nonsense'"):
        topology.add_exchange("x", "nonsense")
    assert not topology.has_exchange("x")


def test_the_types_are_those_of_rabbitmq():
    assert {"direct", "fanout", "topic", "headers", "x-consistent-hash", "x-random"} == EXCHANGE_TYPES
    for type_ in EXCHANGE_TYPES:
        check_exchange(type_, {"hash-header": "h"})


def test_only_consistent_hash_checks_what_is_hashed():
    arguments = {"hash-header": "h", "hash-property": "message_id"}
    check_exchange("direct", arguments)
    with pytest.raises(PreconditionFailedError, match="mutually exclusive"):
        check_exchange("x-consistent-hash", arguments)


def test_only_headers_checks_x_match_and_only_consistent_hash_the_key():
    for type_ in EXCHANGE_TYPES - {"headers", "x-consistent-hash"}:
        check_binding(type_, "no number", {"x-match": "foo"})
    check_binding("x-consistent-hash", "1", {"x-match": "foo"})
    check_binding("headers", "no number", {"x-match": "any"})
    with pytest.raises(PreconditionFailedError, match="Invalid x-match field value"):
        check_binding("headers", "1", {"x-match": "foo"})
    with pytest.raises(PreconditionFailedError, match="binding key must be an integer"):
        check_binding("x-consistent-hash", "no number", {})


# What may be cached


@pytest.mark.parametrize("type_", KEY_TYPES)
def test_these_types_depend_on_the_key_only(type_):
    assert topology_of({"x": type_}, [bound("x", "q", "1")]).depends_on_key_only("x")


@pytest.mark.parametrize(
    ("type_", "arguments"),
    [
        ("headers", {}),
        ("x-random", {}),
        ("x-consistent-hash", {"hash-header": "h"}),
        ("x-consistent-hash", {"hash-property": "timestamp"}),
    ],
)
def test_other_types_do_not_wherever_they_are_reached(type_, arguments):
    topology = topology_of({"a": "fanout", "b": "topic", "apart": "fanout"}, [bound("a", "q")])
    topology.add_exchange("x", type_, arguments=arguments)
    assert topology.depends_on_key_only("a")
    topology.bind(to_exchange("a", "b"))
    topology.bind(to_exchange("b", "a"))
    assert topology.depends_on_key_only("a")
    topology.bind(to_exchange("b", "x", "never.this"))
    assert [topology.depends_on_key_only(name) for name in ("x", "b", "a", "apart", "")] == [False] * 3 + [True] * 2
    topology.unbind(to_exchange("b", "x", "never.this"))
    assert topology.depends_on_key_only("a")
    topology.set_alternate("b", "x")
    assert not topology.depends_on_key_only("a")
    topology.set_alternate("b", None)
    assert topology.depends_on_key_only("a")


def test_an_alternate_that_comes_and_goes_changes_what_may_be_cached():
    topology = topology_of({"a": "fanout"})
    topology.set_alternate("a", "later")
    assert topology.depends_on_key_only("a")
    topology.add_exchange("later", "headers")
    assert not topology.depends_on_key_only("a")
    topology.remove_exchange("later")
    assert topology.depends_on_key_only("a")

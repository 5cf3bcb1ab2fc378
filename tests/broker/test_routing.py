"""Which queues a message reaches. Rows 31 to 41, 69 and 71 as published through the broker."""

from collections import Counter

import pytest

from msglog import ExchangeNotFoundError, PreconditionFailedError, UnroutableError
from support.brokers import info, ready, take, take_deliveries, take_one


def declare_and_bind(broker, exchange, keys):
    """Give each binding key a queue of its own, named after it."""
    for key in keys:
        broker.declare_queue(f"on {key}")
        broker.bind(f"on {key}", exchange, key)


def reached(broker):
    return {queue.name.removeprefix("on ") for queue in broker.queues() if queue.message_count}


# The default exchange, direct, fanout


def test_the_default_exchange_routes_by_the_name_of_the_queue(broker, q):
    assert broker.publish("", "q", b"x") == 1
    assert broker.publish("", "Q", b"x") == 0
    delivery = take_one(broker, q)
    assert (delivery.exchange, delivery.routing_key) == ("", "q")


def test_direct_compares_keys(broker):
    declare_and_bind(broker, "amq.direct", ["a", "a.b", "#", "A", ""])
    assert broker.publish("amq.direct", "a", b"") == 1
    assert reached(broker) == {"a"}
    assert broker.publish("amq.direct", "", b"") == 1
    assert broker.publish("amq.direct", "*", b"") == 0
    assert reached(broker) == {"a", ""}


def test_fanout_ignores_keys(broker):
    declare_and_bind(broker, "amq.fanout", ["a", "b", ""])
    assert broker.publish("amq.fanout", "whatever", b"") == 3
    assert reached(broker) == {"a", "b", ""}


def test_each_queue_gets_its_own_copy(broker):
    declare_and_bind(broker, "amq.fanout", ["a", "b"])
    broker.publish("amq.fanout", "k", b"x", headers={"h": [1]})
    first = broker.get("on a")
    first.headers["h"].append(2)
    first.headers["mine"] = True
    first.ack()
    assert take_one(broker, "on b").headers == {"h": [1]}
    assert info(broker, "on a").message_count == 0


def test_a_missing_exchange_is_an_error(broker):
    with pytest.raises(ExchangeNotFoundError, match="no exchange 'x' in vhost '/'") as caught:
        broker.publish("x", "k", b"")
    assert (caught.value.exchange, caught.value.reply_code) == ("x", 404)


def test_what_reaches_no_queue_is_dropped(broker):
    assert broker.publish("amq.direct", "k", b"") == 0
    assert broker.publish("", "missing", b"") == 0


def test_what_reaches_no_queue_is_an_error_if_mandatory(broker, q):
    for exchange in ("amq.direct", ""):
        with pytest.raises(UnroutableError) as caught:
            broker.publish(exchange, "k", b"secret", mandatory=True)
        assert caught.value.reply_code == 312
        assert "secret" not in str(caught.value)
    broker.bind(q, "amq.direct", "k")
    assert broker.publish("amq.direct", "k", b"", mandatory=True) == 1


# Topics

TOPICS = {
    "": {"matches": ["#", "#.#", ""], "others": ["*", "#.*", "*.#", "a"]},
    "a": {"matches": ["#", "*", "a.#", "#.a", "*.#", "#.*", "a"], "others": ["a.*", "*.a", "*.*", "b", ""]},
    "a.b": {"matches": ["a.#.b", "a.b", "*.b", "a.*", "#.b", "a.#", "*.*"], "others": ["a", "*", "a.b.#.c", "a.*.b"]},
    "a..b": {"matches": ["a.*.b", "a.#.b", "a..b", "*.*.*"], "others": ["a.b", "a.*", "*.*"]},
    "a.": {"matches": ["a.*", "*.*", "a.", "a.#"], "others": ["a", "*"]},
    ".": {"matches": ["*.*", ".", "#"], "others": ["*", ""]},
    "*": {"matches": ["*", "#"], "others": ["a", "*.*"]},
    "#": {"matches": ["*", "#"], "others": ["a", "", "*.*"]},
    "A": {"matches": ["A", "*"], "others": ["a"]},
    "a.b.c.d": {"matches": ["#.c.#", "a.#.d", "#.#.#.#", "a.*.*.d"], "others": ["a.*.d", "#.c", "b.#"]},
}


@pytest.mark.parametrize("key", TOPICS)
def test_topics(broker, key):
    declare_and_bind(broker, "amq.topic", TOPICS[key]["matches"] + TOPICS[key]["others"])
    assert broker.publish("amq.topic", key, b"") == len(TOPICS[key]["matches"])
    assert reached(broker) == set(TOPICS[key]["matches"])


def test_a_queue_with_several_matching_bindings_gets_one_copy(broker, q):
    for pattern in ("#", "a.*", "*.b", "a.b"):
        broker.bind(q, "amq.topic", pattern)
    assert broker.publish("amq.topic", "a.b", b"x") == 1
    assert take(broker, q) == [b"x"]


# Headers

ALL, ANY = {"x-match": "all"}, {"x-match": "any"}
HEADERS = [
    (ALL, {}, True),
    ({}, {}, True),
    ({}, {"other": 1}, True),
    (ANY, {"a": 1}, False),
    (ALL | {"a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3}, True),
    (ALL | {"a": 1, "b": 2}, {"a": 1}, False),
    ({"a": 1, "b": 2}, {"a": 1, "b": 3}, False),
    (ANY | {"a": 1, "b": 2}, {"b": 2}, True),
    (ANY | {"a": 1, "b": 2}, {"a": 2, "b": 1}, False),
    (ALL | {"a": None}, {"a": "anything"}, True),
    (ALL | {"a": None}, {"a": None}, True),
    (ALL | {"a": None}, {"b": 1}, False),
    (ALL | {"a": 1}, {"a": "1"}, False),
    (ALL | {"a": 1}, {"a": True}, False),
    (ALL | {"a": "1"}, {"a": b"1"}, True),
    (ALL | {"a": {"x": [1, "y"]}}, {"a": {"x": [1, "y"]}}, True),
    (ALL | {"a": {"x": [1, "y"]}}, {"a": {"x": [1, "z"]}}, False),
    (ALL | {"a": [1, 2]}, {"a": [2, 1]}, False),
    (ALL | {"x-a": 1, "b": 2}, {"b": 2}, True),
    ({"x-match": "all-with-x", "x-a": 1, "b": 2}, {"b": 2}, False),
    ({"x-match": "all-with-x", "x-a": 1, "b": 2}, {"b": 2, "x-a": 1}, True),
    (ANY | {"x-a": 1}, {"x-a": 1}, False),
    ({"x-match": "any-with-x", "x-a": 1}, {"x-a": 1}, True),
    ({"x-match": "any-with-x", "x-a": 1}, {"x-match": "any-with-x"}, False),
]


@pytest.mark.parametrize(("arguments", "headers", "matches"), HEADERS)
def test_headers(broker, q, arguments, headers, matches):
    broker.bind(q, "amq.headers", "the key counts for nothing", arguments=arguments)
    assert broker.publish("amq.headers", "k", b"", headers=headers) == matches


def test_a_message_without_headers_matches_a_binding_without_arguments(broker, q):
    broker.bind(q, "amq.headers")
    assert broker.publish("amq.headers", "", b"") == 1


# Exchanges bound to exchanges


def test_what_comes_over_another_exchange_still_tells_the_first(broker, q):
    broker.declare_exchange("x", "topic")
    broker.declare_exchange("y", "topic")
    broker.bind_exchange("y", "x", "a.#")
    broker.bind(q, "y", "#.b")
    assert broker.publish("x", "a.b", b"") == 1
    assert broker.publish("x", "a.c", b"") == 0
    delivery = take_one(broker, q)
    assert (delivery.exchange, delivery.routing_key) == ("x", "a.b")


def test_a_cycle_of_exchanges_delivers_once(broker, q):
    for name in ("x", "y"):
        broker.declare_exchange(name, "fanout")
        broker.bind(q, name)
    broker.bind_exchange("x", "y")
    broker.bind_exchange("y", "x")
    broker.bind_exchange("x", "x")
    assert broker.publish("x", "", b"1") == 1
    assert broker.publish("y", "", b"2") == 1
    assert take(broker, q) == [b"1", b"2"]


def test_two_ways_to_one_queue_deliver_once(broker, q):
    for name in ("left", "right", "end"):
        broker.declare_exchange(name, "fanout")
    for name in ("left", "right"):
        broker.bind_exchange(name, "amq.fanout")
        broker.bind_exchange("end", name)
    broker.bind(q, "end")
    assert broker.publish("amq.fanout", "", b"x") == 1
    assert take(broker, q) == [b"x"]


# Alternate exchanges


@pytest.fixture
def alternate(broker):
    """An exchange that hands on what it cannot route to a fanout, and a queue behind each."""
    broker.declare_exchange("ae", "fanout")
    broker.declare_exchange("x", alternate_exchange="ae")
    for queue, exchange in (("rest", "ae"), ("main", "x")):
        broker.declare_queue(queue)
        broker.bind(queue, exchange, "k")


@pytest.mark.usefixtures("alternate")
def test_an_alternate_exchange_gets_only_what_nothing_else_routes(broker):
    assert broker.publish("x", "k", b"routed", mandatory=True) == 1
    assert broker.publish("x", "other", b"not routed", mandatory=True) == 1
    assert take(broker, "main") == [b"routed"]
    delivery = take_one(broker, "rest")
    assert (delivery.body, delivery.exchange, delivery.routing_key) == (b"not routed", "x", "other")


@pytest.mark.usefixtures("alternate")
def test_an_alternate_exchange_that_is_missing_routes_nothing(broker):
    broker.delete_exchange("ae")
    assert broker.publish("x", "other", b"") == 0
    with pytest.raises(UnroutableError):
        broker.publish("x", "other", b"", mandatory=True)


@pytest.mark.usefixtures("alternate")
def test_an_alternate_exchange_may_be_made_later(broker):
    broker.declare_exchange("early", "direct", alternate_exchange="late")
    assert broker.publish("early", "k", b"") == 0
    broker.declare_exchange("late", "fanout")
    broker.bind("main", "late")
    assert broker.publish("early", "k", b"") == 1


def test_alternate_exchanges_are_tried_one_after_the_other(broker, q):
    broker.declare_exchange("a", alternate_exchange="b")
    broker.declare_exchange("b", alternate_exchange="c")
    broker.declare_exchange("c", alternate_exchange="a")
    assert broker.publish("a", "k", b"") == 0
    broker.bind(q, "c", "k")
    assert broker.publish("a", "k", b"") == 1
    assert broker.publish("a", "other", b"") == 0


def test_an_alternate_exchange_is_tried_inside_a_route_over_exchanges(broker, q):
    broker.declare_exchange("ae", "fanout")
    broker.bind(q, "ae")
    broker.declare_exchange("x", "fanout")
    broker.declare_exchange("y", "direct", alternate_exchange="ae")
    broker.bind_exchange("y", "x")
    assert broker.publish("x", "k", b"") == 1


# Sharing out


def test_a_consistent_hash_shares_out_by_weight(broker):
    broker.declare_exchange("hash", "x-consistent-hash")
    for queue, weight in (("one", "1"), ("uno", "1"), ("two", "2")):
        broker.declare_queue(queue)
        broker.bind(queue, "hash", weight)
    assert broker.publish_many("hash", [(f"key {number}", b"") for number in range(2000)]) == 2000
    counts = [ready(broker, queue) for queue in ("one", "uno", "two")]
    assert sum(counts) == 2000
    assert 300 < counts[0] < 700
    assert 300 < counts[1] < 700
    assert 750 < counts[2] < 1250


def test_a_consistent_hash_sends_a_key_to_one_queue(broker):
    broker.declare_exchange("hash", "x-consistent-hash")
    for queue in "abcd":
        broker.declare_queue(queue)
        broker.bind(queue, "hash", "5")
    broker.publish_many("hash", [(f"key {number % 40}", b"") for number in range(200)])
    places = {queue: Counter(d.routing_key for d in take_deliveries(broker, queue)) for queue in "abcd"}
    assert sum(len(keys) for keys in places.values()) == 40
    assert {count for keys in places.values() for count in keys.values()} == {5}


def test_a_consistent_hash_may_go_by_a_header(broker):
    broker.declare_exchange("hash", "x-consistent-hash", arguments={"hash-header": "h"})
    for queue in "abcd":
        broker.declare_queue(queue)
        broker.bind(queue, "hash", "5")
    for number in range(50):
        assert broker.publish("hash", f"key {number}", b"", headers={"h": "the same"}) == 1
    assert sorted(ready(broker, queue) for queue in "abcd") == [0, 0, 0, 50]
    for number in range(50):
        broker.publish("hash", "the same", b"", headers={"h": f"other {number}"})
    assert sum(ready(broker, queue) > 0 for queue in "abcd") > 1


def test_random_chooses_one_of_the_bound_queues(broker):
    broker.declare_exchange("random", "x-random")
    for queue in "ab":
        broker.declare_queue(queue)
        broker.bind(queue, "random")
    assert all(broker.publish("random", "k", b"") == 1 for _ in range(200))
    counts = [ready(broker, queue) for queue in "ab"]
    assert sum(counts) == 200
    assert min(counts) > 30


# CC and BCC


def test_cc_and_bcc_are_further_routing_keys(broker):
    declare_and_bind(broker, "amq.direct", ["k", "cc", "bcc", "other"])
    headers = {"CC": ["cc"], "BCC": ["bcc"], "mine": 1}
    assert broker.publish("amq.direct", "k", b"x", headers=headers) == 3
    assert reached(broker) == {"k", "cc", "bcc"}
    for key in ("k", "cc", "bcc"):
        delivery = take_one(broker, f"on {key}")
        assert delivery.routing_key == "k"
        assert delivery.headers == {"CC": ["cc"], "mine": 1}


def test_a_queue_reached_by_cc_and_bcc_too_gets_one_copy(broker, q):
    assert broker.publish("", q, b"x", headers={"CC": [q], "BCC": [q, "missing"]}) == 1
    assert take(broker, q) == [b"x"]


@pytest.mark.parametrize("name", ["CC", "BCC"])
def test_cc_must_be_a_list(broker, q, name):
    with pytest.raises(PreconditionFailedError) as caught:
        broker.publish("", q, b"", headers={name: "cc"})
    assert str(caught.value) == f'invalid message: {{unacceptable_type_in_header,"{name}",longstr}}'
    assert take(broker, q) == []

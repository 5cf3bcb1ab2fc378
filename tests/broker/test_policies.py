"""Policies: which one counts, and what it changes at once. Row 67 and the detail on policies."""

import pytest

from msglog import InvalidNameError, InvalidOptionError, InvalidTypeError, PreconditionFailedError, PublishRejectedError
from support.brokers import DEAD_LETTERED, queue_names, ready, send_all, take, take_one

REFUSED = (InvalidOptionError, PreconditionFailedError, InvalidNameError)


def length_of(broker, queue):
    """Return how many messages a queue keeps of ten."""
    broker.purge_queue(queue)
    send_all(broker, queue, *(b"%d" % number for number in range(10)))
    return len(take(broker, queue))


def test_a_policy_counts_for_queues_that_are_there_and_to_come(broker, q):
    broker.set_policy("p", "^q", {"max-length": 2})
    broker.declare_queue("q2")
    broker.declare_queue("other")
    assert [length_of(broker, queue) for queue in (q, "q2", "other")] == [2, 2, 10]


def test_a_policy_works_on_the_messages_that_are_there(broker, dlq):
    broker.declare_queue("q", max_length=5, **DEAD_LETTERED)
    send_all(broker, "q", *(b"%d" % number for number in range(5)))
    broker.set_policy("p", "^q$", {"max-length": 2})
    assert ready(broker, "q") == 2
    assert take(broker, dlq) == [b"0", b"1", b"2"]
    assert take(broker, "q") == [b"3", b"4"]


@pytest.mark.parametrize(("argument", "policy"), [(5, 2), (2, 5)])
def test_the_shorter_length_counts(broker, argument, policy):
    broker.declare_queue("q", max_length=argument)
    broker.set_policy("p", "q", {"max-length": policy})
    assert length_of(broker, "q") == 2


def test_the_fewer_bytes_count(broker):
    broker.declare_queue("q", max_length_bytes=5)
    broker.set_policy("p", "q", {"max-length-bytes": 3})
    assert length_of(broker, "q") == 3


@pytest.mark.parametrize(("argument", "policy"), [(1000, 100), (100, 1000)])
def test_the_shorter_time_counts(broker, clock, argument, policy):
    broker.declare_queue("q", message_ttl_ms=argument)
    broker.set_policy("p", "q", {"message-ttl": policy})
    broker.send("q", b"x")
    clock.advance(ms=99)
    assert ready(broker, "q") == 1
    clock.advance(ms=1)
    assert ready(broker, "q") == 0


def test_a_time_counts_for_the_messages_that_are_there(broker, clock, q):
    broker.send(q, b"1")
    clock.advance(ms=500)
    broker.send(q, b"2")
    broker.set_policy("p", "q", {"message-ttl": 300})
    assert [message.body for message in broker.peek(q)] == [b"2"]
    clock.advance(ms=299)
    assert ready(broker, q) == 1
    clock.advance(ms=1)
    assert ready(broker, q) == 0


def test_only_the_policy_of_highest_priority_counts(broker, clock, q):
    broker.set_policy("low", "q", {"max-length": 1}, priority=1)
    broker.set_policy("high", "q", {"message-ttl": 100}, priority=2)
    send_all(broker, q, b"1", b"2", b"3")
    assert ready(broker, q) == 3
    clock.advance(ms=100)
    assert ready(broker, q) == 0


def test_what_is_left_counts_when_a_policy_is_deleted(broker, q):
    broker.set_policy("low", "q", {"max-length": 5}, priority=1)
    broker.set_policy("high", "q", {"max-length": 2}, priority=2)
    assert length_of(broker, q) == 2
    broker.delete_policy("high")
    assert length_of(broker, q) == 5
    broker.delete_policy("low")
    assert length_of(broker, q) == 10


def test_setting_a_policy_again_replaces_it(broker, q):
    broker.set_policy("p", "q", {"max-length": 2, "message-ttl": 100})
    broker.set_policy("p", "q", {"max-length": 5})
    assert length_of(broker, q) == 5
    broker.set_policy("p", "other", {"max-length": 1})
    assert length_of(broker, q) == 10


def test_keywords_of_declarations_are_understood(broker, q):
    broker.set_policy("p", "q", {"max_length": 2})
    assert length_of(broker, q) == 2


@pytest.mark.parametrize("pattern", ["b.d", "^a", "d$", "", ".*", "(x|b)c"])
def test_patterns_are_searched_for(broker, pattern):
    broker.declare_queue("abcd")
    broker.set_policy("p", pattern, {"max-length": 2})
    assert length_of(broker, "abcd") == 2


@pytest.mark.parametrize("pattern", ["B", "^b", "c$", "^abc$"])
def test_patterns_that_are_not_found(broker, pattern):
    broker.declare_queue("abcd")
    broker.set_policy("p", pattern, {"max-length": 2})
    assert length_of(broker, "abcd") == 10


@pytest.mark.parametrize(
    ("apply_to", "lengths"),
    [
        ("all", [2, 2]),
        ("queues", [2, 2]),
        ("exchanges", [10, 10]),
        ("classic_queues", [2, 10]),
        ("quorum_queues", [10, 2]),
    ],
)
def test_a_policy_may_be_for_some_kinds(broker, apply_to, lengths):
    broker.declare_queue("classic")
    broker.declare_queue("quorum", arguments={"x-queue-type": "quorum"})
    definition = {"alternate-exchange": "ae"} if apply_to == "exchanges" else {"max-length": 2}
    broker.set_policy("p", ".*", definition, apply_to=apply_to)
    assert [length_of(broker, queue) for queue in ("classic", "quorum")] == lengths


# Dead letters and overflow


def test_a_policy_may_say_where_dead_letters_go(broker, dlq, q):
    broker.send(q, b"early")
    broker.set_policy("p", "^q$", {"dead-letter-exchange": "", "dead-letter-routing-key": dlq})
    broker.get(q).reject()
    assert take(broker, dlq) == [b"early"]
    broker.delete_policy("p")
    broker.send(q, b"late")
    broker.get(q).reject()
    assert ready(broker, dlq) == 0


def test_the_dead_letter_settings_of_the_queue_come_first(broker, dlq):
    broker.declare_queue("q", **DEAD_LETTERED)
    broker.declare_queue("elsewhere")
    broker.set_policy("p", "^q$", {"dead-letter-exchange": "amq.fanout", "dead-letter-routing-key": "elsewhere"})
    broker.bind("elsewhere", "amq.fanout")
    broker.send("q", b"x")
    broker.get("q").reject()
    assert take_one(broker, dlq).routing_key == dlq
    assert ready(broker, "elsewhere") == 0


def test_a_policy_may_have_a_full_queue_refuse(broker, q):
    broker.set_policy("p", "q", {"max-length": 1, "overflow": "reject-publish"})
    broker.send(q, b"1")
    with pytest.raises(PublishRejectedError):
        broker.send(q, b"2")
    assert take(broker, q) == [b"1"]


def test_the_overflow_of_the_queue_comes_first(broker):
    broker.declare_queue("q", arguments={"x-overflow": "drop-head"})
    broker.set_policy("p", "q", {"max-length": 1, "overflow": "reject-publish"})
    send_all(broker, "q", b"1", b"2")
    assert take(broker, "q") == [b"2"]


def test_the_lower_delivery_limit_counts(broker, dlq):
    broker.declare_queue("q", arguments={"x-queue-type": "quorum"}, delivery_limit=5, **DEAD_LETTERED)
    broker.set_policy("p", "^q$", {"delivery-limit": 1})
    broker.send("q", b"x")
    for _ in range(2):
        broker.get("q").nack()
    assert ready(broker, "q") == 0
    assert take_one(broker, dlq).headers["x-death"][0]["reason"] == "delivery_limit"


def test_a_policy_may_have_queues_expire(broker, clock):
    broker.declare_queue("q")
    broker.declare_queue("other")
    broker.set_policy("p", "^q$", {"expires": 1000})
    clock.advance(ms=999)
    assert queue_names(broker) == {"q", "other"}
    clock.advance(ms=1)
    assert queue_names(broker) == {"other"}


# Exchanges


def test_a_policy_may_give_exchanges_an_alternate(broker, q):
    broker.declare_exchange("ae", "fanout")
    broker.declare_exchange("x")
    broker.bind(q, "ae")
    assert broker.publish("x", "k", b"1") == 0
    broker.set_policy("p", "^x$", {"alternate-exchange": "ae"}, apply_to="exchanges")
    assert broker.publish("x", "k", b"2") == 1
    broker.delete_policy("p")
    assert broker.publish("x", "k", b"3") == 0
    assert take(broker, q) == [b"2"]


def test_the_alternate_of_the_exchange_comes_first(broker, q):
    broker.declare_exchange("ae", "fanout")
    broker.declare_exchange("other", "fanout")
    broker.declare_exchange("x", alternate_exchange="ae")
    broker.bind(q, "ae")
    broker.set_policy("p", "^x$", {"alternate-exchange": "other"})
    assert broker.publish("x", "k", b"x") == 1
    assert take(broker, q) == [b"x"]


# Bad input


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"definition": {"nonsense": 1}}, REFUSED),
        ({"definition": {}}, REFUSED),
        ({"definition": {"max-length": -1}}, REFUSED),
        ({"definition": {"max-length": "2"}}, REFUSED),
        ({"definition": {"message-ttl": -1}}, REFUSED),
        ({"definition": {"expires": 0}}, REFUSED),
        ({"definition": {"overflow": "drop-tail"}}, REFUSED),
        ({"definition": {"dead-letter-exchange": 5}}, REFUSED),
        ({"definition": None}, InvalidTypeError),
        ({"definition": [("max-length", 2)]}, InvalidTypeError),
        ({"pattern": "("}, REFUSED),
        ({"pattern": None}, InvalidTypeError),
        ({"name": None}, (InvalidTypeError, InvalidNameError)),
        ({"name": ""}, REFUSED),
        ({"priority": "1"}, InvalidTypeError),
        ({"priority": True}, InvalidTypeError),
        ({"apply_to": "everything"}, REFUSED),
        ({"apply_to": None}, InvalidTypeError),
    ],
)
def test_a_bad_policy_changes_nothing(broker, q, change, error):
    broker.set_policy("p", "q", {"max-length": 3})
    arguments = {"name": "p", "pattern": "q", "definition": {"max-length": 2}} | change
    with pytest.raises(error):
        broker.set_policy(**arguments)
    assert length_of(broker, q) == 3

"""Policies: what they may say, which one applies, and how it mixes with what was declared."""

import msgpack
import pytest

from msglog.broker.rules.exchange_options import exchange_options
from msglog.broker.rules.policies import (
    Policy,
    best_policy,
    check_policy,
    effective_alternate,
    effective_queue_options,
    pack_policy,
    unpack_policy,
)
from msglog.broker.rules.queue_options import queue_options
from msglog.errors import InvalidNameError, InvalidOptionError, InvalidTypeError

EVERY_KEY = {
    "message-ttl": 1000,
    "expires": 1000,
    "max-length": 5,
    "max-length-bytes": 100,
    "overflow": "reject-publish",
    "dead-letter-exchange": "dlx",
    "dead-letter-routing-key": "dead",
    "delivery-limit": 3,
    "alternate-exchange": "ae",
}
EVERY_KEYWORD = {
    "message_ttl_ms": 1000,
    "expires_ms": 1000,
    "max_length": 5,
    "max_length_bytes": 100,
    "overflow": "reject-publish",
    "dead_letter_exchange": "dlx",
    "dead_letter_routing_key": "dead",
    "delivery_limit": 3,
    "alternate_exchange": "ae",
}
QUORUM = {"x-queue-type": "quorum"}


def policy(definition, **options):
    return check_policy("p", ".*", definition, **options)


def test_both_spellings_of_every_key_are_taken():
    assert policy(EVERY_KEY).definition == EVERY_KEY
    assert policy(EVERY_KEYWORD).definition == EVERY_KEY
    assert policy(EVERY_KEY | EVERY_KEYWORD).definition == EVERY_KEY


def test_defaults():
    assert policy({"expires": 1}) == Policy("p", ".*", {"expires": 1}, 0, "all")


def test_two_spellings_that_contradict_each_other_are_refused():
    with pytest.raises(InvalidOptionError, match=r"definition\['max_length'\]=2; allowed: the same as"):
        policy({"max-length": 1, "max_length": 2})


@pytest.mark.parametrize("key", ["max-priority", "x-max-length", "ha-mode", "Max-length", "", 1, None])
def test_other_keys_are_refused_with_what_is_allowed(key):
    with pytest.raises(InvalidOptionError, match=r"key of definition=.*; allowed: .*max-length, .*alternate-exchange"):
        policy({key: 1})


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("message-ttl", -1, InvalidOptionError),
        ("message-ttl", "1", InvalidTypeError),
        ("expires", 0, InvalidOptionError),
        ("max-length", True, InvalidTypeError),
        ("max-length-bytes", -1, InvalidOptionError),
        ("overflow", "drop-tail", InvalidOptionError),
        ("dead-letter-exchange", 1, InvalidTypeError),
        ("dead-letter-exchange", "a\n", InvalidNameError),
        ("dead-letter-routing-key", "k" * 256, InvalidOptionError),
        ("delivery-limit", -2, InvalidOptionError),
        ("alternate-exchange", None, InvalidTypeError),
        ("max_length", None, InvalidTypeError),
    ],
)
def test_values_are_checked(key, value, error):
    with pytest.raises(error):
        policy({key: value})


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"name": ""}, InvalidNameError, "'' names no policy"),
        ({"name": 1}, InvalidNameError, "1 names no policy"),
        ({"pattern": "("}, InvalidOptionError, r"pattern='\('; allowed: a regular expression \("),
        ({"pattern": None}, InvalidTypeError, "pattern must be a regular expression"),
        ({"definition": {}}, InvalidOptionError, "definition is empty; allowed: "),
        ({"definition": []}, InvalidTypeError, "definition must be a dict"),
        ({"priority": "1"}, InvalidTypeError, "priority must be an int"),
        ({"apply_to": "streams"}, InvalidOptionError, "apply_to='streams'; allowed: one of 'all', 'queues'"),
    ],
)
def test_the_rest_of_a_policy_is_checked(arguments, error, match):
    with pytest.raises(error, match=match):
        check_policy(**{"name": "p", "pattern": ".*", "definition": {"expires": 1}, **arguments})


@pytest.mark.parametrize(
    ("apply_to", "matched"),
    [
        ("all", {"exchange", "classic", "quorum"}),
        ("exchanges", {"exchange"}),
        ("queues", {"classic", "quorum"}),
        ("classic_queues", {"classic"}),
        ("quorum_queues", {"quorum"}),
    ],
)
def test_what_a_policy_applies_to(apply_to, matched):
    policies = [policy({"expires": 1}, apply_to=apply_to)]
    found = {
        "exchange": best_policy(policies, "n", "exchange"),
        "classic": best_policy(policies, "n", "queue", "classic"),
        "quorum": best_policy(policies, "n", "queue", "quorum"),
    }
    assert {what for what, best in found.items() if best is not None} == matched


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("^work", "work.1", True),
        ("^work$", "work.1", False),
        ("k.1", "work.1", True),
        ("", "any", True),
        ("W", "w", False),
    ],
)
def test_a_pattern_is_searched_in_the_name(pattern, name, matches):
    assert check_policy("p", pattern, {"expires": 1}).matches(name, "queue", "classic") is matches


def test_row_67_only_the_matching_policy_of_highest_priority_applies():
    low = check_policy("a", "^q", {"max-length": 1}, priority=-1)
    high = check_policy("b", "^q", {"max-length": 2}, priority=7)
    other = check_policy("c", "^other", {"max-length": 3}, priority=9)
    for policies in ([low, high, other], [other, high, low]):
        assert best_policy(policies, "q1", "queue", "classic") is high
    assert best_policy([other], "q1", "queue", "classic") is None
    assert best_policy([], "q1", "queue", "classic") is None


def test_of_policies_of_one_priority_the_first_by_name_applies():
    first, second = check_policy("a", "", {"expires": 1}), check_policy("b", "", {"expires": 2})
    assert best_policy([second, first], "q", "queue", "classic") is first


@pytest.mark.parametrize(
    ("key", "field"),
    [
        ("message-ttl", "message_ttl_ms"),
        ("expires", "expires_ms"),
        ("max-length", "max_length"),
        ("max-length-bytes", "max_length_bytes"),
    ],
)
@pytest.mark.parametrize(("declared", "by_policy", "effective"), [(None, 5, 5), (3, 5, 3), (5, 3, 3), (3, 3, 3)])
def test_row_67_of_two_limits_the_smaller_counts(key, field, declared, by_policy, effective):
    options = queue_options("q", **{field: declared})
    assert getattr(effective_queue_options(options, policy({key: by_policy})), field) == effective
    assert getattr(effective_queue_options(options, None), field) == declared


@pytest.mark.parametrize(
    ("key", "field", "declared", "by_policy"),
    [
        ("overflow", "overflow", "reject-publish", "reject-publish-dlx"),
        ("dead-letter-exchange", "dead_letter_exchange", "a", "b"),
    ],
)
def test_dead_letter_settings_and_overflow_of_the_declaration_go_first(key, field, declared, by_policy):
    by_declaration = queue_options("q", **{field: declared})
    assert getattr(effective_queue_options(by_declaration, policy({key: by_policy})), field) == declared
    assert getattr(effective_queue_options(queue_options("q"), policy({key: by_policy})), field) == by_policy


def test_dead_letter_exchange_and_key_are_each_looked_up_by_themselves():
    options = queue_options("q", dead_letter_exchange="mine")
    effective = effective_queue_options(
        options, policy({"dead-letter-exchange": "theirs", "dead-letter-routing-key": "key"})
    )
    assert (effective.dead_letter_exchange, effective.dead_letter_routing_key) == ("mine", "key")


@pytest.mark.parametrize(
    ("declared", "by_policy", "effective"),
    [
        ({}, 5, 5),
        ({}, -1, None),
        ({"delivery_limit": 3}, 5, 3),
        ({"delivery_limit": 5}, 3, 3),
        ({"delivery_limit": 3}, -1, 3),
        ({"delivery_limit": -1}, 5, 5),
        ({"arguments": QUORUM}, 50, 50),
        ({"arguments": QUORUM}, -1, None),
        ({"arguments": QUORUM}, 5, 5),
        ({"arguments": QUORUM | {"x-delivery-limit": 20}}, 50, 20),
        ({"arguments": QUORUM | {"x-delivery-limit": -1}}, 5, 5),
        ({"arguments": QUORUM | {"x-delivery-limit": 5}}, -1, 5),
    ],
)
def test_of_two_delivery_limits_the_smaller_counts_and_a_default_is_none(declared, by_policy, effective):
    options = queue_options("q", **declared)
    assert effective_queue_options(options, policy({"delivery-limit": by_policy})).delivery_limit == effective


def test_a_policy_leaves_the_rest_and_the_declaration_itself_alone():
    options = queue_options("q", durable=False, max_priority=3, max_length=9, arguments={"x-mine": 1})
    effective = effective_queue_options(options, policy(EVERY_KEY))
    assert (effective.durable, effective.max_priority, effective.max_length) == (False, 3, 5)
    assert effective.arguments == {"x-mine": 1, "x-max-priority": 3, "x-max-length": 9}
    assert options.max_length == 9


def test_without_a_policy_for_queues_the_options_stay_the_same_object():
    options = queue_options("q", max_length=9)
    assert effective_queue_options(options, None) is options
    assert effective_queue_options(options, policy({"alternate-exchange": "ae"})) is options


@pytest.mark.parametrize(
    ("declared", "definition", "effective"),
    [
        (None, None, None),
        ("mine", None, "mine"),
        (None, {"alternate-exchange": "theirs"}, "theirs"),
        ("mine", {"alternate-exchange": "theirs"}, "mine"),
        (None, {"max-length": 1}, None),
    ],
)
def test_the_declared_alternate_exchange_goes_first(declared, definition, effective):
    options = exchange_options("e", alternate_exchange=declared)
    assert effective_alternate(options, None if definition is None else policy(definition)) == effective


def test_a_policy_comes_back_from_the_state_as_it_was():
    original = check_policy("p", "^q", EVERY_KEYWORD, priority=-3, apply_to="quorum_queues")
    assert unpack_policy(msgpack.unpackb(msgpack.packb(pack_policy(original)))) == original

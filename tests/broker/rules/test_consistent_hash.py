"""Consistent hashing: shares by weight, little movement, and the same choices after every restart."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msglog import PreconditionFailedError
from msglog.broker.rules.consistent_hash import ConsistentHash, check_hash_arguments, hash_input, weight_of

KEYS = [b"key-%d" % number for number in range(2000)]
WEIGHTS = st.dictionaries(st.text(max_size=8), st.integers(1, 1000), min_size=1, max_size=8)


def hash_of(weights):
    ring = ConsistentHash()
    for name, weight in weights.items():
        ring.add(name, name, weight)
    return ring


def choices(weights, keys=KEYS):
    ring = hash_of(weights)
    return {key: ring.choose(key) for key in keys}


def test_without_destinations_there_is_no_choice():
    assert ConsistentHash().choose(b"key") is None


def test_shares_follow_the_weights():
    counts = Counter(choices({"a": 1, "b": 1, "c": 2}).values())
    assert 420 < counts["a"] < 580
    assert 420 < counts["b"] < 580
    assert 900 < counts["c"] < 1100


def test_many_destinations_of_one_weight_share_evenly():
    counts = Counter(choices({f"queue-{number}": 3 for number in range(20)}).values())
    assert len(counts) == 20
    assert all(60 < count < 140 for count in counts.values())


def test_keys_that_differ_in_one_digit_are_spread():
    counts = Counter(choices({"a": 1, "b": 1}, [str(number).encode() for number in range(1000)]).values())
    assert 430 < counts["a"] < 570


@given(WEIGHTS, st.text(max_size=8), st.integers(1, 1000))
def test_a_new_destination_moves_only_what_it_takes(weights, name, weight):
    weights.pop(name, None)
    before = choices(weights, KEYS[:100])
    after = choices(weights | {name: weight}, KEYS[:100])
    assert all(after[key] in (before[key], name) for key in before)


def test_a_new_destination_takes_its_share_and_no_more():
    before = choices({"a": 1, "b": 1, "c": 2})
    after = choices({"a": 1, "b": 1, "c": 2, "d": 1})
    moved = [key for key in KEYS if before[key] != after[key]]
    assert 320 < len(moved) < 480
    assert {after[key] for key in moved} == {"d"}


def test_one_that_goes_leaves_the_rest_where_it_is():
    weights = {"a": 1, "b": 1, "c": 2}
    ring = hash_of(weights)
    ring.remove("b")
    assert all(ring.choose(key) == choice for key, choice in choices(weights).items() if choice != "b")


def test_more_weight_only_attracts():
    before = choices({"a": 1, "b": 1})
    after = choices({"a": 1, "b": 3})
    assert all(after[key] == "b" for key, choice in before.items() if choice == "b")
    assert sum(choice == "b" for choice in after.values()) > 1350


@given(WEIGHTS, st.randoms(), st.binary())
def test_the_order_in_which_destinations_came_does_not_matter(weights, rng, key):
    shuffled = list(weights.items())
    rng.shuffle(shuffled)
    assert hash_of(dict(shuffled)).choose(key) == hash_of(weights).choose(key)


def test_of_entries_with_one_identity_the_heaviest_counts():
    ring = hash_of({"a": 1, "b": 1})
    ring.add("b again", "b", 3)
    expected = choices({"a": 1, "b": 3})
    assert {key: (ring.choose(key) or "")[0] for key in KEYS} == expected


def test_choices_are_the_same_in_every_process_and_version():
    assert "".join(choices({"a": 1, "b": 1, "c": 2}, KEYS[:32]).values()) == "acacaccccabbcabbccacababbaccbbca"


def test_a_weight_as_large_as_a_binding_key_can_spell_is_fine():
    assert hash_of({"a": 1, "b": int("9" * 255)}).choose(b"key") == "b"


# What is hashed


@pytest.mark.parametrize(
    ("value", "expected"),
    [("key", b"key"), (b"key", b"key"), (None, b""), ("", b""), (17, b"17"), ("17", b"17"), ("ü", b"\xc3\xbc")],
)
def test_text_bytes_and_numbers_are_hashed_as_written(value, expected):
    assert hash_input(value) == expected


def test_tables_are_hashed_by_value():
    assert hash_input({"a": 1, "b": [True]}) == hash_input({"b": [True], "a": 1})
    assert hash_input({"a": 1}) != hash_input({"a": True})


# Checks


@pytest.mark.parametrize(("key", "weight"), [("1", 1), ("20", 20), ("007", 7), ("+5", 5)])
def test_the_weight_is_the_binding_key(key, weight):
    assert weight_of(key) == weight


@pytest.mark.parametrize("key", ["", "abc", "1.5", " 1", "1_0", "1 ", "0x1", "٣", "+", "1\n"])
def test_a_binding_key_that_is_no_integer_is_refused(key):
    with pytest.raises(PreconditionFailedError) as caught:
        weight_of(key)
    shown = f'<<"{key}">>' if key else "<<>>"
    assert str(caught.value) == f"The binding key must be an integer: {shown}"
    assert caught.value.reply_code == 406


@pytest.mark.parametrize("key", ["0", "-1", "-0", "000"])
def test_a_weight_below_one_is_refused(key):
    with pytest.raises(PreconditionFailedError) as caught:
        weight_of(key)
    assert str(caught.value) == "The binding key must be greater than 0"


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"hash-header": "any name"},
        {"hash-property": "message_id"},
        {"hash-property": "correlation_id"},
        {"hash-property": "timestamp"},
        {"alternate-exchange": "x"},
    ],
)
def test_an_exchange_may_hash_a_header_or_a_property(arguments):
    check_hash_arguments(arguments)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"hash-header": "a", "hash-property": "message_id"}, "hash-header and hash-property are mutually exclusive"),
        ({"hash-property": "app_id"}, "Unsupported property: app_id"),
        ({"hash-header": 1}, "invalid arg 'hash-header': expected longstr"),
        ({"hash-property": None}, "invalid arg 'hash-property': expected longstr"),
    ],
)
def test_what_cannot_be_hashed_is_refused(arguments, text):
    with pytest.raises(PreconditionFailedError) as caught:
        check_hash_arguments(arguments)
    assert str(caught.value) == text

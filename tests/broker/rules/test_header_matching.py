"""Headers exchanges: the rows seen on RabbitMQ, and when two field values are equal."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msglog import PreconditionFailedError
from msglog.broker.rules.field_values import comparable
from msglog.broker.rules.header_matching import HeaderMatcher, check_x_match, comparable_headers
from support.routing import headers_match

MODES = ["all", "any", "all-with-x", "any-with-x"]
NAMES = st.sampled_from(["a", "b", "x-c", "x-d", "X-e", "x"])
VALUES = st.sampled_from([None, 1, 2, "1", "2"])
HEADERS = st.dictionaries(NAMES, VALUES, max_size=5)


def matches(arguments, headers):
    return HeaderMatcher(arguments).matches(comparable_headers(headers))


@pytest.mark.parametrize("arguments", [{}, {"x-match": "all"}, {"x-match": "all-with-x"}, {"x-match": b"all"}])
@pytest.mark.parametrize("headers", [{}, {"a": 1}])
def test_all_of_nothing_matches_everything(arguments, headers):
    assert matches(arguments, headers)


@pytest.mark.parametrize("mode", ["any", "any-with-x", b"any"])
@pytest.mark.parametrize("headers", [{}, {"a": 1}])
def test_any_of_nothing_matches_never(mode, headers):
    assert not matches({"x-match": mode}, headers)


def test_all_asks_for_every_argument_and_ignores_other_headers():
    arguments = {"a": 1, "b": "2"}
    assert matches(arguments, {"a": 1, "b": "2", "c": 3})
    assert not matches(arguments, {"a": 1})
    assert not matches(arguments, {"a": 1, "b": "3"})


def test_any_asks_for_one_argument():
    arguments = {"x-match": "any", "a": 1, "b": "2"}
    assert matches(arguments, {"b": "2", "a": 9})
    assert not matches(arguments, {"a": 2, "b": 1})
    assert not matches(arguments, {})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("value", [None, 0, "", "text", False, [], {}])
def test_none_asks_only_that_the_header_is_there(mode, value):
    assert matches({"x-match": mode, "a": None}, {"a": value})
    assert not matches({"x-match": mode, "a": None}, {"b": value})


@pytest.mark.parametrize("mode", ["all", "any"])
def test_arguments_that_begin_with_x_are_ignored(mode):
    arguments = {"x-match": mode, "a": 1, "x-b": 2}
    assert matches(arguments, {"a": 1})
    assert matches(arguments, {"a": 1, "x-b": 3})
    assert not matches(arguments, {"x-b": 2})


def test_all_with_x_asks_for_them_too():
    arguments = {"x-match": "all-with-x", "a": 1, "x-b": 2}
    assert matches(arguments, {"a": 1, "x-b": 2})
    assert not matches(arguments, {"a": 1})
    assert not matches(arguments, {"a": 1, "x-b": 3})


def test_any_with_x_takes_them_for_a_match():
    arguments = {"x-match": "any-with-x", "a": 1, "x-b": 2}
    assert matches(arguments, {"x-b": 2})
    assert not matches(arguments, {"a": 2, "x-b": 3})


def test_any_with_nothing_but_x_arguments_matches_never():
    assert not matches({"x-match": "any", "x-b": 2}, {"x-b": 2})


@pytest.mark.parametrize("mode", ["all-with-x", "any-with-x"])
def test_x_match_itself_is_never_asked_for(mode):
    assert matches({"x-match": mode, "a": 1}, {"a": 1, "x-match": "all"})
    assert not matches({"x-match": mode, "a": 1}, {"x-match": mode})


@given(HEADERS, st.sampled_from([None, *MODES]), HEADERS)
def test_matching_is_all_or_any_of_what_is_asked_for(arguments, mode, headers):
    asked = arguments if mode is None else arguments | {"x-match": mode}
    assert matches(asked, headers) == headers_match(asked, headers)


# Equality of field values

EQUAL = [
    ("a", b"a"),
    ("ü", "ü".encode()),
    (0.0, -0.0),
    (float("nan"), float("nan")),
    ([1, "a", [True]], [1, b"a", [True]]),
    ({"p": 1, "q": {"r": "s"}}, {"q": {"r": b"s"}, "p": 1}),
    (datetime(2024, 5, 1, 12, tzinfo=UTC), datetime(2024, 5, 1, 14, tzinfo=timezone(timedelta(hours=2)))),
    (datetime(2024, 5, 1, 12), datetime(2024, 5, 1, 12, tzinfo=UTC)),  # noqa: DTZ001 - without a zone is the case
    ((1, 2), [1, 2]),
]
DIFFERENT = [
    (1, "1"),
    (True, 1),
    (False, 0),
    (True, "true"),
    (1, 1.0),
    ([1], [1.0]),
    (1, Decimal(1)),
    (1.0, Decimal(1)),
    (Decimal("1.0"), Decimal("1.00")),
    (None, ""),
    (None, False),
    ("a", "A"),
    ([1], [True]),
    ([1, 2], [2, 1]),
    ([1], 1),
    ([], {}),
    ({"p": 1}, {"p": True}),
    ({"p": 1}, {"p": 1, "q": None}),
    (float("nan"), "nan"),
    (datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 5, 2, tzinfo=UTC)),
]


@pytest.mark.parametrize(("left", "right"), EQUAL)
def test_field_values_that_are_equal(left, right):
    assert comparable(left) == comparable(right)
    assert hash(comparable(left)) == hash(comparable(right))
    assert matches({"a": left}, {"a": right})


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_field_values_that_differ(left, right):
    assert comparable(left) != comparable(right)
    assert right is None or left is None or not matches({"a": left}, {"a": right})


FIELD_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(FIELD_VALUES)
def test_every_field_value_equals_itself_and_is_hashable(value):
    assert comparable(value) == comparable(value)
    assert hash(comparable(value)) == hash(comparable(value))


# Checks


@pytest.mark.parametrize("mode", MODES)
def test_the_four_modes_are_accepted(mode):
    check_x_match({"x-match": mode, "a": 1})


def test_x_match_may_be_missing():
    check_x_match({"a": 1})


@pytest.mark.parametrize(("mode", "shown"), [("foo", '<<"foo">>'), ("", "<<>>")])
def test_another_mode_is_refused_with_rabbitmqs_text(mode, shown):
    with pytest.raises(PreconditionFailedError) as caught:
        check_x_match({"x-match": mode})
    expected = f"Invalid x-match field value {shown}; expected all, any, all-with-x, or any-with-x"
    assert str(caught.value) == expected
    assert caught.value.reply_code == 406


@pytest.mark.parametrize("mode", ["ALL", "", "all "])
def test_modes_are_spelled_exactly(mode):
    with pytest.raises(PreconditionFailedError, match=r"Invalid x-match field value <<"):
        check_x_match({"x-match": mode})


@pytest.mark.parametrize(
    ("value", "described"),
    [
        (1, "signedint (value 1)"),
        (1 << 40, "long (value 1099511627776)"),
        (True, "bool (value true)"),
        (None, "void (value undefined)"),
        (b"all", 'binary (value <<"all">>)'),
        (1.5, "double (value 1.5)"),
        (["all"], "array (value a list of length 1)"),
        ({"all": 1}, "table (value a dict of length 1)"),
    ],
)
def test_x_match_of_another_type_is_refused(value, described):
    with pytest.raises(PreconditionFailedError) as caught:
        check_x_match({"x-match": value})
    assert str(caught.value) == f"Invalid x-match field type {described}; expected longstr"

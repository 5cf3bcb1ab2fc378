"""Field tables: what may be in them, exact round trips, and refusals that keep values to themselves."""

import enum
from collections import UserDict
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType

import pytest
from hypothesis import given

from msglog.broker.rules.field_table import check_headers, field_type, pack_table, unpack_table
from msglog.errors import InvalidOptionError, InvalidTypeError
from support import tables


class Color(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 7


class Moment(datetime):
    pass


@given(tables.tables)
def test_a_table_comes_back_exact_in_type_and_value(table):
    assert tables.exact(unpack_table(pack_table(table))) == tables.exact(table)


@given(tables.tables)
def test_checking_a_table_changes_nothing_in_it(table):
    assert tables.exact(check_headers(table)) == tables.exact(table)


@pytest.mark.parametrize(
    "value",
    [
        -0.0,
        float("nan"),
        float("-inf"),
        Decimal("1.10"),
        Decimal("-0E-7"),
        Decimal("1E+999999"),
        Decimal("sNaN12"),
        datetime(2024, 1, 1, 12, 30, 1, 999_999),  # noqa: DTZ001 - naive on purpose
        datetime(1, 1, 1, tzinfo=UTC),
        1 << 63,
        True,
        1,
        b"\xff",
        "\x00ä😀",
        [],
        {},
    ],
    ids=repr,
)
def test_values_that_are_easily_lost_survive(value):
    assert tables.exact(unpack_table(pack_table({"x": value}))) == tables.exact({"x": value})


@pytest.mark.parametrize(
    ("given_value", "plain"),
    [
        ((1, (2,)), [1, [2]]),
        (Color.RED, "red"),
        (Level.HIGH, 7),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        (MappingProxyType({"a": (1,)}), {"a": [1]}),
        (UserDict(a=1), {"a": 1}),
        (Moment(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_like_a_field_value_becomes_one(given_value, plain):
    assert tables.exact(check_headers({"x": given_value})) == tables.exact({"x": plain})


def test_a_name_of_a_subclass_becomes_plain():
    (name,) = check_headers({Color.RED: 1})
    assert type(name) is str
    assert name == "red"


def test_nothing_of_the_given_table_is_shared():
    table = {"list": [{"a": [1]}], "dict": {"b": [2]}}
    checked = check_headers(table)
    table["list"][0]["a"].append(3)
    table["dict"]["b"].append(4)
    assert checked == {"list": [{"a": [1]}], "dict": {"b": [2]}}


@pytest.mark.parametrize("value", [object(), {1, 2}, 1j, range(3)], ids=lambda value: type(value).__name__)
def test_other_types_are_refused_by_their_path(value):
    with pytest.raises(InvalidTypeError, match=r"headers\['a'\]\['b'\]\[1\] must be None, bool, int") as caught:
        check_headers({"a": {"b": [1, value]}})
    assert caught.value.option == "headers['a']['b'][1]"


@pytest.mark.parametrize("value", [1 << 64, -(1 << 63) - 1])
def test_an_int_that_no_field_can_hold_is_refused_without_showing_it(value):
    with pytest.raises(InvalidOptionError, match=r"headers\['n'\] must be an int from -2\*\*63 to 2\*\*64-1") as caught:
        check_headers({"n": value})
    assert str(value) not in str(caught.value)


def test_text_that_utf8_cannot_hold_is_refused():
    with pytest.raises(InvalidOptionError, match=r"headers\['t'\] must be text that UTF-8 can hold"):
        check_headers({"t": "\ud800"})


@pytest.mark.parametrize("name", ["n" * 256, "ä" * 128, "\ud800"])
def test_a_name_that_is_no_short_string_is_refused(name):
    with pytest.raises(InvalidOptionError, match="a name in headers must be UTF-8 of at most 255 bytes"):
        check_headers({name: 1})


@pytest.mark.parametrize("name", ["n" * 255, "ä" * 127, ""])
def test_a_name_of_up_to_255_bytes_is_allowed(name):
    assert check_headers({name: 1}) == {name: 1}


@pytest.mark.parametrize("name", [1, b"a", None])
def test_a_name_that_is_no_text_is_refused(name):
    with pytest.raises(InvalidTypeError, match="a name in headers must be a str"):
        check_headers({name: 1})


@pytest.mark.parametrize("headers", [None, [("a", 1)], "a", 3])
def test_what_is_no_table_is_refused(headers):
    with pytest.raises(InvalidTypeError, match="headers must be a dict of names and values"):
        check_headers(headers)


def nested(depth):
    value = 1
    for level in range(depth):
        value = [value] if level % 2 else {"x": value}
    return {"top": value}


def test_64_levels_are_allowed_and_come_back():
    assert unpack_table(pack_table(nested(64))) == nested(64)


def test_more_levels_are_refused_and_so_is_a_table_within_itself():
    with pytest.raises(InvalidOptionError, match="headers is nested too deep; allowed: lists and dicts up to 64 deep"):
        check_headers(nested(65))
    endless = {}
    endless["self"] = endless
    with pytest.raises(InvalidOptionError, match="nested too deep"):
        check_headers(endless)


def test_a_refusal_never_shows_a_value():
    with pytest.raises(InvalidOptionError) as caught:
        check_headers({"name": "secret\ud800"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "void"),
        (True, "bool"),
        (1, "signedint"),
        ((1 << 31) - 1, "signedint"),
        (-(1 << 31), "signedint"),
        (1 << 31, "long"),
        (1.0, "double"),
        (Decimal(1), "decimal"),
        ("a", "longstr"),
        (b"a", "binary"),
        (datetime(2024, 1, 1, tzinfo=UTC), "timestamp"),
        ([], "array"),
        ({}, "table"),
    ],
)
def test_types_have_rabbitmqs_names(value, name):
    assert field_type(value) == name

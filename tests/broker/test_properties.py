"""Properties: an immutable value, checked when it is made, that shows no payload."""

import copy
import pickle
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given

from msglog.broker.properties import Properties
from msglog.errors import InvalidOptionError, InvalidTypeError
from support import tables

SHORT = ["content_type", "content_encoding", "correlation_id", "reply_to", "expiration"]
SHORT += ["message_id", "type", "user_id", "app_id", "cluster_id"]
ALL = [*SHORT, "headers", "delivery_mode", "priority", "timestamp"]


def test_nothing_is_set_by_default():
    properties = Properties()
    assert sorted(properties._fields) == sorted(ALL)
    assert [getattr(properties, name) for name in ALL] == [None] * 14


def test_every_property_keeps_what_it_was_given():
    given_values = {name: name for name in SHORT}
    given_values |= {"headers": {"a": [1]}, "delivery_mode": 1, "priority": 9, "timestamp": 1_700_000_000}
    properties = Properties(**given_values)
    assert {name: getattr(properties, name) for name in ALL} == given_values


@pytest.mark.parametrize("name", ALL)
def test_a_property_cannot_be_changed(name):
    with pytest.raises(AttributeError):
        setattr(Properties(), name, None)


def test_nothing_else_can_be_set_and_nothing_given_by_place():
    with pytest.raises(AttributeError):
        Properties().colour = "red"
    with pytest.raises(TypeError):
        Properties(2)
    with pytest.raises(TypeError):
        Properties(colour="red")


@pytest.mark.parametrize("name", SHORT)
def test_short_strings_end_at_255_bytes(name):
    assert getattr(Properties(**{name: "ä" * 127}), name) == "ä" * 127
    for long in ("x" * 256, "ä" * 128, "\ud800"):
        with pytest.raises(InvalidOptionError, match=f"{name}=.*; allowed: a str of at most 255 bytes in UTF-8"):
            Properties(**{name: long})


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("value", [b"x", 1, ["x"]])
def test_a_short_string_is_a_str(name, value):
    with pytest.raises(InvalidTypeError, match=f"{name} must be a str of at most 255 bytes in UTF-8, not"):
        Properties(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("delivery_mode", 0), ("delivery_mode", 3), ("priority", -1), ("priority", 256), ("timestamp", -1)],
)
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(InvalidOptionError, match=f"{name}={value}; allowed: an int from"):
        Properties(**{name: value})


@pytest.mark.parametrize("name", ["delivery_mode", "priority", "timestamp"])
@pytest.mark.parametrize("value", [True, "1", 1.0])
def test_a_number_is_an_int(name, value):
    with pytest.raises(InvalidTypeError, match=f"{name} must be an int from"):
        Properties(**{name: value})


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        (datetime(2024, 1, 1, tzinfo=UTC), 1_704_067_200),
        (datetime(2024, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC), 1_704_067_200),
        (datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), 1_704_067_200),
    ],
)
def test_an_aware_datetime_becomes_whole_seconds(moment, seconds):
    assert Properties(timestamp=moment).timestamp == seconds


def test_a_naive_datetime_is_refused_for_nobody_knows_when_it_is():
    with pytest.raises(InvalidTypeError, match="timestamp must be int seconds since 1970 or an aware datetime"):
        Properties(timestamp=datetime(2024, 1, 1))  # noqa: DTZ001 - naive on purpose


def test_an_expiration_is_not_read_before_the_message_is_published():
    assert Properties(expiration="abc").expiration == "abc"


def test_headers_are_checked_and_copied():
    headers = {"list": [1]}
    properties = Properties(headers=headers)
    headers["list"].append(2)
    headers["more"] = 1
    assert properties.headers == {"list": [1]}
    with pytest.raises(InvalidTypeError, match=r"headers\['a'\] must be"):
        Properties(headers={"a": object()})


def test_replace_changes_what_it_is_told_and_checks_it():
    properties = Properties(headers={"list": [1]}, delivery_mode=2, type="a")
    changed = properties.replace(delivery_mode=None, priority=3)
    assert changed == Properties(headers={"list": [1]}, priority=3, type="a")
    assert properties == Properties(headers={"list": [1]}, delivery_mode=2, type="a")
    changed.headers["list"].append(2)
    assert properties.headers == {"list": [1]}
    with pytest.raises(InvalidOptionError):
        properties.replace(priority=256)
    with pytest.raises(TypeError):
        properties.replace(colour="red")


def test_trusted_takes_values_as_they_are():
    headers = {"a": 1}
    properties = Properties.trusted(headers=headers, delivery_mode=2)
    assert properties == Properties(headers={"a": 1}, delivery_mode=2)
    assert properties.headers is headers


def test_equality_is_by_value_and_only_among_properties():
    assert Properties(type="a") == Properties(type="a")
    assert Properties(type="a") != Properties(type="b")
    assert Properties(type="a") != tuple(Properties(type="a"))
    assert tuple(Properties(type="a")) != Properties(type="a")
    assert len({Properties(type="a"), Properties(type="a"), Properties()}) == 2


def test_repr_shows_what_is_set_and_of_headers_the_names():
    properties = Properties(headers={"token": "secret", "n": 1}, delivery_mode=2, content_type="text/plain")
    assert repr(properties) == "Properties(delivery_mode=2, headers=<token, n>, content_type='text/plain')"
    assert repr(Properties()) == "Properties()"
    assert repr(Properties(headers={})) == "Properties(headers=<>)"


@given(tables.properties)
def test_properties_survive_copying_and_pickling(properties):
    for twin in (pickle.loads(pickle.dumps(properties)), copy.deepcopy(properties), copy.copy(properties)):
        assert type(twin) is Properties
        assert tables.exact(twin) == tables.exact(properties)

"""Metadata of messages: exact round trips, what is remembered, and that receivers cannot disturb one another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msglog.broker.properties import Properties
from msglog.broker.rules import message_codec
from msglog.broker.rules.field_table import pack
from msglog.broker.rules.message_codec import Meta, pack_meta, unpack_meta
from msglog.errors import DecodeError, InvalidOptionError, InvalidTypeError
from support import tables

PERSISTENT = Properties(delivery_mode=2)


COPIES = st.lists(tables.short_texts, max_size=2).map(tuple)


@given(tables.short_texts, tables.short_texts, tables.properties, st.booleans(), COPIES)
def test_metadata_comes_back_exact_in_type_and_value(exchange, routing_key, properties, dead_lettered, copies):
    data = pack_meta(exchange, routing_key, properties, dead_lettered=dead_lettered, blind_copies=copies)
    for meta in (unpack_meta(data), unpack_meta(data)):
        assert type(meta) is Meta
        assert type(meta.properties) is Properties
        assert tables.exact(meta) == tables.exact(Meta(exchange, routing_key, properties, dead_lettered, copies))


@pytest.mark.parametrize("more", [(None,), ("k",), (1,), (False, 1), (True, "k", None)])
def test_what_follows_the_properties_is_a_flag_and_keys(more):
    with pytest.raises(DecodeError):
        unpack_meta(pack(("e", "k", *Properties(), *more)))


@pytest.mark.parametrize("field", [name for name in Properties._fields if name != "headers"])
def test_each_property_alone_comes_back(field):
    value = 2 if field in {"delivery_mode", "priority", "timestamp"} else "x"
    properties = Properties(**{field: value})
    assert unpack_meta(pack_meta("e", "k", properties)) == Meta("e", "k", properties)


def test_empty_headers_are_not_no_headers():
    assert unpack_meta(pack_meta("e", "k", Properties(headers={}))).properties.headers == {}
    assert unpack_meta(pack_meta("e", "k", Properties())).properties.headers is None


def test_plain_metadata_is_short():
    assert len(pack_meta("events", "orders.created", PERSISTENT)) == len("events") + len("orders.created") + 4


def test_metadata_seen_before_is_the_same_object():
    data = pack_meta("e", "seen-before", PERSISTENT)
    assert unpack_meta(data) is unpack_meta(bytes(bytearray(data)))


@pytest.mark.parametrize(
    "properties",
    [
        Properties(message_id="m"),
        Properties(correlation_id="c"),
        Properties(timestamp=1),
        Properties(headers={}),
        Properties(type="t" * 255, app_id="a" * 255),
    ],
)
def test_metadata_that_no_other_message_will_have_is_not_kept(properties):
    data = pack_meta("e", "k", properties)
    assert unpack_meta(data) is not unpack_meta(data)


def test_what_is_remembered_stays_bounded(monkeypatch):
    monkeypatch.setattr(message_codec, "_MAX_REMEMBERED", 10)
    remembered = message_codec._Remembered()
    for number in range(95):
        data = pack_meta("e", f"key-{number}", PERSISTENT)
        assert remembered[data] == Meta("e", f"key-{number}", PERSISTENT)
        assert len(remembered) <= 10
    assert len(remembered) == 5


def test_one_receivers_change_to_headers_is_seen_by_nobody_else():
    data = pack_meta("e", "k", Properties(headers={"list": [1], "name": "a"}))
    first = unpack_meta(data).properties.headers
    first["list"].append(2)
    first["name"] = "changed"
    assert unpack_meta(data).properties.headers == {"list": [1], "name": "a"}


def test_headers_made_invalid_after_the_fact_are_refused_when_packed():
    properties = Properties(headers={"a": 1})
    for value, error in ((object(), InvalidTypeError), (1 << 64, InvalidOptionError), ("\ud800", InvalidOptionError)):
        properties.headers["a"] = value
        with pytest.raises(error, match=r"headers\['a'\] must be"):
            pack_meta("e", "k", properties)
    properties.headers["a"] = (1, 2)
    assert unpack_meta(pack_meta("e", "k", properties)).properties.headers == {"a": [1, 2]}


def test_a_bad_name_among_headers_is_refused_when_packed():
    properties = Properties(headers={})
    properties.headers["n" * 300] = 1
    with pytest.raises(InvalidOptionError, match="a name in headers must be"):
        pack_meta("e", "k", properties)

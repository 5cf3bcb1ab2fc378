"""Options of exchanges: types, flags, the alternate exchange, and when a second declaration fits."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msglog.broker.rules.exchange_options import (
    ExchangeOptions,
    exchange_options,
    inequivalence,
    pack_exchange_options,
    unpack_exchange_options,
)
from msglog.broker.rules.exchange_types import EXCHANGE_TYPES
from msglog.errors import InvalidNameError, InvalidOptionError, InvalidTypeError, PreconditionFailedError


def test_defaults():
    assert exchange_options("e") == ExchangeOptions(
        type="direct", durable=True, auto_delete=False, internal=False, alternate_exchange=None, arguments={}
    )


@pytest.mark.parametrize("type_", sorted(EXCHANGE_TYPES))
def test_every_type_can_be_declared(type_):
    assert exchange_options("e", type=type_).type == type_


@pytest.mark.parametrize(("type_", "word"), [("", "invalid"), ("Direct", "unknown"), ("x-delayed-message", "unknown")])
def test_an_unknown_type_is_refused_as_in_rabbitmq_4(type_, word):
    with pytest.raises(PreconditionFailedError) as caught:
        exchange_options("e", type=type_)
    assert str(caught.value) == f"{word} exchange type '{type_}'"
    assert (caught.value.reply_code, caught.value.closes) == (406, "channel")


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("type", None),
        ("type", b"direct"),
        ("durable", 1),
        ("auto_delete", None),
        ("internal", "no"),
        ("alternate_exchange", 1),
        ("arguments", []),
    ],
)
def test_a_keyword_of_the_wrong_type_is_refused(keyword, value):
    with pytest.raises(InvalidTypeError, match=f"{keyword} must be ") as caught:
        exchange_options("e", **{keyword: value})
    assert caught.value.option == keyword


def test_the_alternate_exchange_has_two_spellings():
    by_keyword = exchange_options("e", alternate_exchange="ae")
    by_argument = exchange_options("e", arguments={"alternate-exchange": "ae"})
    both = exchange_options("e", alternate_exchange="ae", arguments={"alternate-exchange": "ae"})
    assert by_keyword == by_argument == both
    assert by_keyword.alternate_exchange == "ae"
    assert by_keyword.arguments == {"alternate-exchange": "ae"}


def test_two_spellings_that_contradict_each_other_are_refused():
    with pytest.raises(
        InvalidOptionError, match="alternate_exchange='a' and alternate-exchange='b' contradict"
    ) as caught:
        exchange_options("e", alternate_exchange="a", arguments={"alternate-exchange": "b"})
    assert caught.value.option == "alternate_exchange"


def test_an_alternate_exchange_that_is_nothing_is_refused_as_an_argument():
    with pytest.raises(PreconditionFailedError, match="invalid type 'void' for arg 'alternate-exchange'"):
        exchange_options("e", arguments={"alternate-exchange": None})
    assert exchange_options("e", alternate_exchange=None).arguments == {}


def test_a_wrong_alternate_exchange_is_refused():
    with pytest.raises(PreconditionFailedError) as caught:
        exchange_options("e", arguments={"alternate-exchange": 1})
    assert str(caught.value) == "invalid type 'signedint' for arg 'alternate-exchange' in exchange 'e' in vhost '/'"
    with pytest.raises(InvalidNameError):
        exchange_options("e", alternate_exchange="a\n")


def test_the_callers_arguments_are_copied_and_unknown_ones_kept():
    arguments = {"x-mine": [1]}
    options = exchange_options("e", alternate_exchange="ae", arguments=arguments)
    arguments["x-mine"].append(2)
    assert options.arguments == {"x-mine": [1], "alternate-exchange": "ae"}
    assert arguments == {"x-mine": [1, 2]}


def test_arguments_of_the_type_are_checked():
    with pytest.raises(PreconditionFailedError, match="hash-header and hash-property are mutually exclusive"):
        exchange_options("e", type="x-consistent-hash", arguments={"hash-header": "h", "hash-property": "message_id"})


WHERE = "exchange 'e' in vhost '/'"
AE = "the value 'ae' of type 'longstr'"


@pytest.mark.parametrize(
    ("current", "received", "text"),
    [
        ({}, {"type": "fanout"}, f"inequivalent arg 'type' for {WHERE}: received 'fanout' but current is 'direct'"),
        ({}, {"durable": False}, f"inequivalent arg 'durable' for {WHERE}: received 'false' but current is 'true'"),
        (
            {"auto_delete": True},
            {},
            f"inequivalent arg 'auto_delete' for {WHERE}: received 'false' but current is 'true'",
        ),
        ({}, {"internal": True}, f"inequivalent arg 'internal' for {WHERE}: received 'true' but current is 'false'"),
        (
            {"alternate_exchange": "ae"},
            {},
            f"inequivalent arg 'alternate-exchange' for {WHERE}: received none but current is {AE}",
        ),
        (
            {},
            {"alternate_exchange": "ae"},
            f"inequivalent arg 'alternate-exchange' for {WHERE}: received {AE} but current is none",
        ),
    ],
)
def test_another_declaration_is_refused_in_rabbitmqs_words(current, received, text):
    assert inequivalence("e", exchange_options("e", **current), exchange_options("e", **received)) == text


def test_unknown_arguments_make_no_difference():
    assert inequivalence("e", exchange_options("e"), exchange_options("e", arguments={"x-mine": 1})) is None


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(sorted(EXCHANGE_TYPES)),
            "durable": st.booleans(),
            "auto_delete": st.booleans(),
            "internal": st.booleans(),
            "alternate_exchange": st.sampled_from(["", "ae"]),
            "arguments": st.sampled_from([None, {}, {"x-mine": [b"", None]}]),
        },
    )
)
def test_options_come_back_from_the_state_and_fit_once_more(declaration):
    options = exchange_options("e", **declaration)
    stored = msgpack.unpackb(msgpack.packb(pack_exchange_options(options)))
    assert unpack_exchange_options(stored) == options
    assert inequivalence("e", options, exchange_options("e", **declaration)) is None


def test_plain_options_take_no_room_in_the_state():
    assert pack_exchange_options(exchange_options("e")) == {}

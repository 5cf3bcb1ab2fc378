"""The expiration of messages: a whole number of milliseconds as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msglog.broker.rules.expiration import MAX_EXPIRY_MS, expiration_ms
from msglog.errors import PreconditionFailedError


def test_none_is_no_limit():
    assert expiration_ms(None) is None


@given(st.integers(0, MAX_EXPIRY_MS))
def test_a_whole_number_is_milliseconds(number):
    assert expiration_ms(str(number)) == number


@pytest.mark.parametrize(("text", "ms"), [("0", 0), ("007", 7), ("+5", 5), ("-0", 0)])
def test_what_else_is_a_number(text, ms):
    assert expiration_ms(text) == ms


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("abc", "no_integer"),
        ("", "no_integer"),
        (" 5", "no_integer"),
        ("٣", "no_integer"),
        ("-", "no_integer"),
        ("-1", "{value_negative,-1}"),
        ("1.5", '{leftover_string,".5"}'),
        ("5 ", '{leftover_string," "}'),
        ("5\n", '{leftover_string,"\n"}'),
        (str(MAX_EXPIRY_MS + 1), f"{{value_too_large,{MAX_EXPIRY_MS + 1}}}"),
    ],
)
def test_anything_else_is_refused_in_rabbitmqs_words(text, reason):
    with pytest.raises(PreconditionFailedError) as caught:
        expiration_ms(text)
    assert str(caught.value) == f"invalid expiration '{text}': {reason}"
    assert caught.value.reply_code == 406

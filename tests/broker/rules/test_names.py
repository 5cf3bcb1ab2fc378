"""Names of queues and exchanges, the reserved ones, and RabbitMQ's texts."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msglog.broker.rules import names
from msglog.errors import AccessRefusedError, InvalidNameError

UNPRINTABLE = ["a\x00", "a\n", "\x7f", "\x9f", "\ud800"]


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=63))
def test_any_printable_text_names_a_queue_or_an_exchange(name):
    assert names.check_queue_name(name) == name
    assert names.check_exchange_name(name) == name


@pytest.mark.parametrize("name", ["q" * 255, "ä" * 127, "amq.gen-x", "a b/c#*"])
def test_names_of_up_to_255_bytes_are_allowed_and_reserved_ones_too(name):
    assert names.check_queue_name(name) == name


@pytest.mark.parametrize("name", ["q" * 256, "ä" * 128, *UNPRINTABLE, None, b"q", 1])
def test_other_names_are_refused_with_what_is_allowed(name):
    with pytest.raises(InvalidNameError, match="names no queue; allowed: a str of 1 to 255 bytes") as caught:
        names.check_queue_name(name)
    assert caught.value.name == name
    assert len(str(caught.value)) < 250
    with pytest.raises(InvalidNameError, match="names no exchange; allowed: a str of at most 255 bytes"):
        names.check_exchange_name(name)


def test_the_empty_name_is_the_default_exchange_and_no_queue():
    assert names.check_exchange_name("") == ""
    with pytest.raises(InvalidNameError):
        names.check_queue_name("")


@pytest.mark.parametrize("kind", ["queue", "exchange"])
def test_declaring_a_reserved_name_is_refused(kind):
    with pytest.raises(AccessRefusedError) as caught:
        names.check_not_reserved(kind, "amq.mine")
    assert caught.value.reply_text == f"ACCESS_REFUSED - {kind} name 'amq.mine' contains reserved prefix 'amq.*'"
    names.check_not_reserved(kind, "amqp")
    names.check_not_reserved(kind, "mine.amq.")


def test_declaring_the_default_exchange_is_refused():
    with pytest.raises(AccessRefusedError, match=r"^operation not permitted on the default exchange$"):
        names.check_not_reserved("exchange", "")


def test_a_generated_name_has_22_url_safe_characters():
    assert names.generated_queue_name(bytes(16)) == "amq.gen-" + "A" * 22
    assert names.generated_queue_name(b"\xff" * 16) == "amq.gen-" + "_" * 21 + "w"


@given(st.binary(min_size=16, max_size=16))
def test_every_generated_name_is_well_formed(random):
    assert re.fullmatch(r"amq\.gen-[A-Za-z0-9_-]{22}", names.generated_queue_name(random))


@pytest.mark.parametrize("size", [0, 15, 17])
def test_a_generated_name_needs_16_bytes(size):
    with pytest.raises(ValueError, match=f"{size} random bytes; needed: 16"):
        names.generated_queue_name(bytes(size))


def test_what_is_missing_is_told_in_rabbitmqs_words():
    error = names.queue_not_found("q")
    assert (str(error), error.reply_text) == ("no queue 'q' in vhost '/'", "NOT_FOUND - no queue 'q' in vhost '/'")
    assert (error.reply_code, error.closes, error.queue) == (404, "channel", "q")
    error = names.exchange_not_found("x")
    assert error.reply_text == "NOT_FOUND - no exchange 'x' in vhost '/'"
    assert (error.reply_code, error.closes, error.exchange) == (404, "channel", "x")


def test_a_locked_queue_is_told_in_rabbitmqs_words():
    error = names.queue_locked("q")
    assert (error.reply_code, error.closes, error.queue) == (405, "channel", "q")
    assert error.reply_text.startswith(
        "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could be originally"
    )

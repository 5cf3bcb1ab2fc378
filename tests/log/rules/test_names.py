"""Topic and group names: what is allowed, and what the refusal says."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msglog.errors import InvalidNameError
from msglog.log.rules.names import check_group_name, check_topic_name

TOPIC_CHARACTERS = string.ascii_letters + string.digits + "._-"


@given(st.text(TOPIC_CHARACTERS, min_size=1, max_size=249).filter(lambda name: name not in {".", ".."}))
def test_every_name_of_allowed_characters_is_a_topic_name(name):
    assert check_topic_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "a/b", "ä", "a\n", "a" * 250, None, b"a", 7, "٣"])
def test_other_topic_names_are_refused_with_what_is_allowed(name):
    with pytest.raises(InvalidNameError, match=r"is not a topic name; allowed: 1 to 249 of") as caught:
        check_topic_name(name)
    assert caught.value.name == name
    assert "249" in caught.value.allowed


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=255))
def test_any_printable_text_is_a_group_name(name):
    assert check_group_name(name) == name


@pytest.mark.parametrize("name", ["", "g" * 256, "a\x00", "a\n", "\x7f", "\x9f", "\ud800", None, b"group", 1])
def test_other_group_names_are_refused(name):
    with pytest.raises(InvalidNameError, match="is not a group name"):
        check_group_name(name)


def test_a_refusal_shortens_a_long_name():
    with pytest.raises(InvalidNameError) as caught:
        check_topic_name("x" * 100_000)
    assert len(str(caught.value)) < 300

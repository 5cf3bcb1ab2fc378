"""Topic and group names: what is allowed, and what the refusal says."""

import string
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msglog import Store, TopicPartition
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


class Name(StrEnum):
    MINE = "mine"
    OTHER = "other"
    SHARED = "shared"


@pytest.mark.parametrize("check", [check_topic_name, check_group_name])
def test_a_member_of_an_enumeration_names_what_its_text_does(check):
    assert check(Name.MINE) == "mine"
    assert type(check(Name.MINE)) is str


def test_groups_named_by_an_enumeration_commit_and_the_store_goes_on():
    with Store(":memory:") as store:
        log, place = store.log, TopicPartition("mine", 0)
        log.create_topic(Name.MINE)
        log.append_many("mine", [b"1", b"2", b"3"])
        with log.consumer("mine", group=Name.MINE, instance_id=Name.MINE) as consumer:
            consumer.poll(0)
            consumer.commit()
        with store.transaction() as tx:
            tx.commit_offsets(Name.OTHER, {place: 1})
        with log.share_consumer("mine", group=Name.SHARED) as sharing:
            for record in sharing.poll(0):
                record.ack()
        log.append("mine", b"4")
        assert [log.describe_group(group).offsets for group in ("mine", "other", "shared")] == [
            {place: 3}, {place: 1}, {place: 3},
        ]  # fmt: skip
        log.delete_group(Name.OTHER)
        assert "other" not in log.groups()
        assert not list(store.verify())

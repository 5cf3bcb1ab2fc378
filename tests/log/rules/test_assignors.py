"""The four assignors: tables with Kafka's answers, and properties that hold for any group."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msglog.log.rules.assignors import ASSIGNORS, Member
from msglog.types import TopicPartition

EAGER = ["range", "roundrobin", "sticky"]
TOPICS = ["a", "b", "c"]


def parts(text: str) -> frozenset[TopicPartition]:
    """Read "a0 b12" as partition 0 of topic a and 12 of b."""
    return frozenset(TopicPartition(word[0], int(word[1:])) for word in text.split())


def member(member_id, topics, *, owned="", awaited="", instance_id=None):
    return Member(member_id, frozenset(topics), instance_id, parts(owned), parts(awaited))


def assigned(name, members, partitions):
    """Return the assignment with partitions as sorted text, to be read in a table."""
    result = ASSIGNORS[name].assign({m.member_id: m for m in members}, partitions)
    return {member_id: " ".join(f"{t}{p}" for t, p in sorted(share)) for member_id, share in result.items()}


TABLE = [
    ("range", "extras of every topic to the first", ["ab", "ab"], {"a": 3, "b": 3}, ["a0 a1 b0 b1", "a2 b2"]),
    ("range", "more members than partitions", ["a", "a", "a"], {"a": 2}, ["a0", "a1", ""]),
    ("range", "each topic by its own subscribers", ["ab", "b"], {"a": 2, "b": 2}, ["a0 a1 b0", "b1"]),
    ("range", "a topic that does not exist", ["ax"], {"a": 1}, ["a0"]),
    ("roundrobin", "in turn", ["ab", "ab"], {"a": 3, "b": 3}, ["a0 a2 b1", "a1 b0 b2"]),
    ("roundrobin", "passes over", ["a", "ab", "abc"], {"a": 1, "b": 2, "c": 3}, ["a0", "b0", "b1 c0 c1 c2"]),
    ("sticky", "in turn when new", ["ab", "ab"], {"a": 3, "b": 3}, ["a0 a2 b1", "a1 b0 b2"]),
    (
        "sticky",
        "better than round-robin",
        ["a", "ab", "abc"],
        {"a": 1, "b": 2, "c": 3},
        ["a0", "b0 b1", "c0 c1 c2"],
    ),
]


@pytest.mark.parametrize(("name", "case", "topics", "partitions", "shares"), TABLE)
def test_table(name, case, topics, partitions, shares):
    members = [member(f"m{index}", wanted) for index, wanted in enumerate(topics)]
    expected = {m.member_id: share for m, share in zip(members, shares, strict=True)}
    assert assigned(name, members, partitions) == expected, case


@pytest.mark.parametrize("name", EAGER)
def test_static_members_come_first_by_instance_id(name):
    members = [
        member("m1", "a"),
        member("m2", "a", instance_id="z"),
        member("m3", "a", instance_id="y"),
    ]
    assert assigned(name, members, {"a": 3}) == {"m3": "a0", "m2": "a1", "m1": "a2"}


def test_sticky_moves_only_what_balance_needs_and_from_all_topics():
    members = [member("m1", "ab", owned="a0 a1 b0 b1"), member("m2", "ab")]
    assert assigned("sticky", members, {"a": 2, "b": 2}) == {"m1": "a0 b0", "m2": "a1 b1"}


def test_sticky_relieves_the_member_nearest_to_one_with_room_so_that_others_keep_what_they_have():
    members = [
        member("m1", "bc", owned="b0 b1 b2 b3"),
        member("m2", "c", owned="c0"),
        member("m3", "a"),
        member("m4", "ab", owned="a0 a1 a2 a3 a4 a5"),
    ]
    shares = assigned("sticky", members, {"a": 6, "b": 4, "c": 1})
    assert shares == {"m1": "b0 b1 b2 b3", "m2": "c0", "m3": "a3 a4 a5", "m4": "a0 a1 a2"}


def test_sticky_keeps_what_was_promised_but_ownership_counts_more():
    members = [member("m1", "a", awaited="a0 a1"), member("m2", "a", owned="a1", awaited="a2")]
    assert assigned("sticky", members, {"a": 4}) == {"m1": "a0 a3", "m2": "a1 a2"}


def test_cooperative_withholds_what_another_member_owns():
    members = [member("m1", "a", owned="a0 a1 a2 a3"), member("m2", "a")]
    assert assigned("cooperative-sticky", members, {"a": 4}) == {"m1": "a0 a1", "m2": ""}
    members = [member("m1", "a", owned="a0 a1"), member("m2", "a")]
    assert assigned("cooperative-sticky", members, {"a": 4}) == {"m1": "a0 a1", "m2": "a2 a3"}


def test_only_the_cooperative_assignor_is_cooperative():
    assert {name: assignor.cooperative for name, assignor in ASSIGNORS.items()} == {
        "range": False,
        "roundrobin": False,
        "sticky": False,
        "cooperative-sticky": True,
    }


@st.composite
def groups(draw, *, uniform=False, most_members=6, most_partitions=12):
    """A group of members with disjoint ownership, and the partition counts of some topics."""
    partitions = draw(st.dictionaries(st.sampled_from(TOPICS), st.integers(0, most_partitions)))
    count = draw(st.integers(1, most_members))
    subscriptions = [frozenset(TOPICS)] * count
    if not uniform:
        subscriptions = draw(st.lists(st.frozensets(st.sampled_from(TOPICS)), min_size=count, max_size=count))
    owned = [set() for _ in range(count)]
    for topic, number in partitions.items():
        # One number too many: what is owned may not exist any more.
        owners = draw(st.lists(st.integers(-1, count - 1), min_size=number + 1, max_size=number + 1))
        for partition, owner in enumerate(owners):
            if owner >= 0:
                owned[owner].add(TopicPartition(topic, partition))
    instance_ids = draw(
        st.lists(st.none() | st.sampled_from("wxyz"), min_size=count, max_size=count).filter(
            lambda ids: len({i for i in ids if i}) == sum(i is not None for i in ids)
        )
    )
    members = {
        f"m{index}": Member(f"m{index}", subscriptions[index], instance_ids[index], frozenset(owned[index]))
        for index in range(count)
    }
    return members, partitions


def wanted_partitions(members, partitions):
    topics = {topic for m in members.values() for topic in m.topics}
    return [TopicPartition(t, number) for t in topics & set(partitions) for number in range(partitions[t])]


@pytest.mark.parametrize("name", EAGER)
@given(group=groups())
def test_every_subscribed_partition_goes_to_one_subscriber(name, group):
    members, partitions = group
    result = ASSIGNORS[name].assign(members, partitions)
    assert result.keys() == members.keys()
    given_away = sorted(partition for share in result.values() for partition in share)
    assert given_away == sorted(wanted_partitions(members, partitions))
    assert all(p.topic in members[member_id].topics for member_id, share in result.items() for p in share)


@pytest.mark.parametrize("name", list(ASSIGNORS))
@given(group=groups())
def test_the_order_in_which_members_are_given_does_not_matter(name, group):
    members, partitions = group
    turned = dict(reversed(members.items()))
    assert ASSIGNORS[name].assign(turned, partitions) == ASSIGNORS[name].assign(members, partitions)


@pytest.mark.parametrize("name", ["roundrobin", "sticky"])
@given(group=groups(uniform=True))
def test_equal_subscriptions_are_balanced_to_one(name, group):
    loads = [len(share) for share in ASSIGNORS[name].assign(*group).values()]
    assert max(loads) - min(loads) <= 1


@given(group=groups())
def test_range_gives_runs_whose_lengths_differ_by_one(group):
    members, partitions = group
    result = ASSIGNORS["range"].assign(members, partitions)
    for topic in TOPICS:
        runs = [
            sorted(p.partition for p in result[m] if p.topic == topic) for m in members if topic in members[m].topics
        ]
        assert all(run == list(range(run[0], run[0] + len(run))) for run in runs if run)
        assert max(map(len, runs), default=0) - min(map(len, runs), default=0) <= 1


@given(group=groups(uniform=True))
def test_sticky_moves_are_the_fewest_when_subscriptions_are_equal(group):
    members, partitions = group
    wanted = set(wanted_partitions(members, partitions))
    quota, extras = divmod(len(wanted), len(members))
    owned = {member_id: m.owned & wanted for member_id, m in members.items()}
    most_kept = sum(min(len(share), quota) for share in owned.values())
    most_kept += min(extras, sum(len(share) > quota for share in owned.values()))
    result = ASSIGNORS["sticky"].assign(members, partitions)
    assert sum(len(result[member_id] & share) for member_id, share in owned.items()) == most_kept


@given(group=groups(most_members=3, most_partitions=2))
def test_sticky_is_as_balanced_as_subscriptions_allow(group):
    members, partitions = group
    wanted = wanted_partitions(members, partitions)
    choices = [[m.member_id for m in members.values() if p.topic in m.topics] for p in wanted]
    best = min(
        sorted((owners.count(member_id) for member_id in members), reverse=True)
        for owners in itertools.product(*choices)
    )
    result = ASSIGNORS["sticky"].assign(members, partitions)
    assert sorted(map(len, result.values()), reverse=True) == best


@given(group=groups())
def test_sticky_changes_nothing_when_nothing_changed(group):
    members, partitions = group
    first = ASSIGNORS["sticky"].assign(members, partitions)
    again = {member_id: m._replace(owned=first[member_id]) for member_id, m in members.items()}
    assert ASSIGNORS["sticky"].assign(again, partitions) == first


def cooperative_rebalances(members, partitions):
    """Rebalance, each member giving up what it is not given, until nothing is withheld; return the shares of each."""
    rounds = []
    wanted = sorted(wanted_partitions(members, partitions))
    while not rounds or sorted(itertools.chain(*rounds[-1].values())) != wanted:
        rounds.append(ASSIGNORS["cooperative-sticky"].assign(members, partitions))
        members = {member_id: m._replace(owned=rounds[-1][member_id]) for member_id, m in members.items()}
        assert len(rounds) <= len(members) + 1
    return rounds


@given(group=groups())
def test_cooperative_is_sticky_without_what_others_own_and_gets_there(group):
    members, partitions = group
    target = ASSIGNORS["sticky"].assign(members, partitions)
    first, *_ = cooperative_rebalances(members, partitions)
    for member_id, share in first.items():
        others = {p for m in members.values() if m.member_id != member_id for p in m.owned}
        assert share == target[member_id] - others


@given(group=groups(uniform=True))
def test_cooperative_gets_there_in_two_rebalances_when_subscriptions_are_equal(group):
    assert len(cooperative_rebalances(*group)) <= 2


def test_cooperative_may_need_a_third_rebalance_when_subscriptions_differ():
    """The second one weighs what is owned then: it may move what the first one left."""
    members = {
        "m0": Member("m0", frozenset("c"), None, frozenset(TopicPartition("c", n) for n in range(11))),
        "m1": Member("m1", frozenset("abc")),
        "m2": Member("m2", frozenset("a")),
        "m3": Member("m3", frozenset("abc"), "w", frozenset({TopicPartition("a", 5), TopicPartition("a", 6)})),
    }
    lost = frozenset(TopicPartition("a", n) for n in (0, 1, 2, 3, 4)) | {TopicPartition("b", n) for n in range(4)}
    members["m0"] = members["m0"]._replace(owned=members["m0"].owned | lost)
    assert len(cooperative_rebalances(members, {"a": 7, "b": 4, "c": 11})) == 3


def test_a_large_group_is_balanced_quickly():
    owned = frozenset(TopicPartition("a", number) for number in range(2000))
    members = {
        f"m{i:02}": Member(f"m{i:02}", frozenset("a"), None, owned if i == 0 else frozenset()) for i in range(50)
    }
    result = ASSIGNORS["sticky"].assign(members, {"a": 2000})
    assert {len(share) for share in result.values()} == {40}

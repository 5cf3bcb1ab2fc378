"""The group coordinator, case by case: rebalances, fencing, timeouts and static members."""

import pytest

from msglog.errors import FencedError, GroupError, InvalidOptionError, RebalanceError
from msglog.log.rules.coordinator import Group, GroupState
from msglog.log.rules.membership import JoinRequest
from msglog.types import TopicPartition

SESSION_MS = 1000
POLL_MS = 5000


def request(member_id, *, topics="a", **options):
    times = {"session_timeout_ms": SESSION_MS, "max_poll_interval_ms": POLL_MS}
    return JoinRequest(member_id=member_id, topics=frozenset(topics), **(times | options))


def parts(*numbers):
    return frozenset(TopicPartition("a", number) for number in numbers)


def settled(*members, partitions=4, now_ms=0, **options):
    """A group whose members have all joined and received their shares."""
    group = Group("g", {"a": partitions})
    for member_id in members:
        group.join(request(member_id, **options), now_ms)
    settle(group, *members, now_ms=now_ms)
    return group


def settle(group, *members, now_ms=0):
    for _ in range(4):
        for member_id in members:
            group.revoked(member_id, group.sync(member_id, now_ms).revoke)
            group.sync(member_id, now_ms)


def owned(group):
    return {m.member_id: set(m.assignment) for m in group.members()}


# Joining


def test_a_lone_member_gets_everything_at_its_first_sync():
    group = Group("g", {"a": 2})
    assert group.state is GroupState.EMPTY
    group.join(request("m1"), 0)
    assert group.state is GroupState.COMPLETING_REBALANCE
    assert group.sync("m1", 0) == (1, frozenset(), parts(0, 1), False)
    assert group.sync("m1", 0) == (1, frozenset(), frozenset(), False)
    assert group.state is GroupState.STABLE


def test_an_eager_rebalance_takes_everything_before_it_gives():
    group = settled("m1")
    group.join(request("m2"), 0)
    assert group.state is GroupState.PREPARING_REBALANCE
    assert group.sync("m2", 0) == (-1, frozenset(), frozenset(), False)
    assert group.sync("m1", 0) == (1, parts(0, 1, 2, 3), frozenset(), False)
    assert group.sync("m1", 0).revoke == parts(0, 1, 2, 3)
    group.revoked("m1", parts(0, 1, 2, 3))
    assert group.state is GroupState.COMPLETING_REBALANCE
    assert group.sync("m2", 0) == (2, frozenset(), parts(2, 3), False)
    assert group.sync("m1", 0) == (2, frozenset(), parts(0, 1), False)
    assert group.state is GroupState.STABLE


def test_a_cooperative_move_takes_two_rebalances_and_stops_nobody_else():
    group = settled("m1", assignor="cooperative-sticky")
    group.join(request("m2", assignor="cooperative-sticky"), 0)
    assert group.sync("m2", 0) == (2, frozenset(), frozenset(), False)
    assert group.sync("m1", 0) == (1, parts(2, 3), frozenset(), False)
    assert owned(group) == {"m1": parts(0, 1, 2, 3), "m2": set()}
    group.revoked("m1", parts(2, 3))
    assert group.generation == 3
    assert group.sync("m2", 0) == (3, frozenset(), parts(2, 3), False)
    assert group.sync("m1", 0) == (3, frozenset(), frozenset(), False)
    assert group.state is GroupState.STABLE


def test_an_eager_sticky_rebalance_remembers_what_was_given_up():
    group = settled("m1", assignor="sticky")
    group.join(request("m2", assignor="sticky"), 0)
    settle(group, "m1", "m2")
    before = owned(group)
    group.join(request("m3", assignor="sticky"), 0)
    for member_id in ("m1", "m2"):
        group.revoked(member_id, group.sync(member_id, 0).revoke)
    group.leave("m3", 0)
    settle(group, "m1", "m2")
    assert owned(group) == before


@pytest.mark.parametrize("unwanted", ["deleted", "unsubscribed"])
def test_giving_up_what_nobody_wants_is_no_rebalance(unwanted):
    group = settled("m1", assignor="cooperative-sticky")
    if unwanted == "deleted":
        group.set_partitions({})
    else:
        group.subscribe("m1", frozenset("b"), 0)
    settle(group, "m1")
    assert (group.generation, owned(group)) == (2, {"m1": set()})


def test_a_generation_that_changes_nothing_is_still_delivered():
    group = settled("m1", partitions=1)
    group.join(request("m2"), 0)
    settle(group, "m1")
    assert group.sync("m2", 0) == (2, frozenset(), frozenset(), False)


def test_a_member_gets_its_whole_share_at_once():
    group = settled("m1", "m2", partitions=3)
    group.join(request("m3"), 0)
    group.revoked("m1", group.sync("m1", 0).revoke)
    assert group.sync("m1", 0).assign == parts(0)
    assert group.sync("m3", 0).assign == frozenset()
    group.revoked("m2", group.sync("m2", 0).revoke)
    assert group.sync("m3", 0).assign == parts(2)


def test_who_can_join():
    group = settled("m1")
    with pytest.raises(GroupError, match="uses assignor 'range', not 'sticky'"):
        group.join(request("m2", assignor="sticky"), 0)
    with pytest.raises(GroupError, match="already has a member 'm1'"):
        group.join(request("m1"), 0)
    assert (group.generation, group.assignor) == (1, "range")


@pytest.mark.parametrize(
    "options",
    [
        {"assignor": "best"},
        {"session_timeout_ms": 0},
        {"session_timeout_ms": True},
        {"max_poll_interval_ms": 1.5},
    ],
)
def test_a_bad_request_is_refused(options):
    with pytest.raises(InvalidOptionError, match=f"{next(iter(options))}=.*; allowed: "):
        request("m1", **options)


# What starts a rebalance


def test_leaving_gives_the_share_to_the_rest():
    group = settled("m1", "m2")
    group.leave("m2", 0)
    settle(group, "m1")
    assert owned(group) == {"m1": parts(0, 1, 2, 3)}
    group.leave("m1", 0)
    group.leave("m1", 0)
    assert (group.state, group.assignor, group.generation) == (GroupState.EMPTY, None, 4)


@pytest.mark.parametrize(
    ("partitions", "generation"),
    [({"a": 4, "b": 9}, 1), ({"a": 5}, 2), ({}, 2)],
    ids=["of no interest", "more", "deleted"],
)
def test_changed_partitions_are_a_rebalance_when_somebody_subscribes(partitions, generation):
    group = settled("m1")
    group.set_partitions(partitions)
    assert group.generation == generation
    settle(group, "m1")
    assert owned(group) == {"m1": parts(*range(partitions.get("a", 0)))}


def test_another_subscription_is_a_rebalance_the_same_is_none():
    group = settled("m1", "m2")
    group.subscribe("m1", frozenset("a"), 0)
    assert group.generation == 1 + 1
    group.subscribe("m1", frozenset("b"), 0)
    settle(group, "m1", "m2")
    assert owned(group) == {"m1": set(), "m2": parts(0, 1, 2, 3)}


def test_the_version_rises_when_others_may_go_on():
    group = settled("m1")
    steps = [group.version]
    group.join(request("m2"), 0)
    steps.append(group.version)
    revoke = group.sync("m1", 0).revoke
    assert group.version == steps[-1]
    group.revoked("m1", revoke)
    steps.append(group.version)
    group.leave("m1", 0)
    steps.append(group.version)
    assert steps == sorted(set(steps))


# Time


def test_the_session_timeout_evicts_and_the_member_finds_out():
    group = settled("m1", "m2")
    assert group.next_due() == SESSION_MS
    assert group.heartbeat("m1", 500)
    assert group.expire(SESSION_MS - 1) == ()
    assert group.expire(SESSION_MS) == ("m2",)
    assert group.next_due() == 500 + SESSION_MS
    assert group.sync("m2", SESSION_MS).lost
    assert not group.heartbeat("m2", SESSION_MS)
    group.subscribe("m2", frozenset("b"), SESSION_MS)
    group.join(request("m3"), SESSION_MS)
    settle(group, "m1", "m3", now_ms=SESSION_MS)
    assert owned(group) == {"m1": parts(0, 1), "m3": parts(2, 3)}


def test_a_member_that_heartbeats_but_does_not_poll_is_evicted():
    group = settled("m1")
    for now_ms in range(0, POLL_MS, 500):
        assert group.heartbeat("m1", now_ms)
    assert group.next_due() == POLL_MS
    assert group.expire(POLL_MS) == ("m1",)


def test_an_overdue_member_is_lost_even_if_nobody_called_expire():
    group = settled("m1")
    assert group.sync("m1", SESSION_MS).lost
    assert group.members() == ()


def test_an_evicted_owner_frees_what_others_wait_for():
    group = settled("m1")
    group.join(request("m2"), 900)
    assert group.sync("m2", 900).assign == frozenset()
    assert group.expire(SESSION_MS) == ("m1",)
    assert group.sync("m2", SESSION_MS).assign == parts(0, 1, 2, 3)


# Fencing of commits


def test_commits_follow_ownership_through_an_eager_rebalance():
    group = settled("m1")
    group.check_commit("m1", 1, parts(0, 3))
    group.join(request("m2"), 0)
    group.check_commit("m1", 1, parts(0, 3))
    revoke = group.sync("m1", 0).revoke
    group.check_commit("m1", 1, revoke)
    group.revoked("m1", revoke)
    with pytest.raises(RebalanceError, match="poll until member 'm1' has its new assignment"):
        group.check_commit("m1", 1, parts(0))
    with pytest.raises(FencedError, match=r"does not own a\[3\]"):
        group.check_commit("m1", 1, parts(3))
    group.sync("m1", 0)
    group.check_commit("m1", 2, parts(0, 1))
    with pytest.raises(FencedError, match="commits with generation 1; its generation is 2"):
        group.check_commit("m1", 1, parts(0))
    with pytest.raises(FencedError, match=r"does not own a\[2\], a\[3\]"):
        group.check_commit("m1", 2, parts(0, 2, 3))


def test_a_commit_by_nobody_is_fenced():
    group = settled("m1")
    with pytest.raises(FencedError, match="'m9' is not a member of group 'g'"):
        group.check_commit("m9", 1, parts(0))
    group.expire(SESSION_MS)
    with pytest.raises(FencedError, match="not a member"):
        group.check_commit("m1", 1, parts(0))


def test_confirming_twice_or_too_late_does_no_harm():
    group = settled("m1", assignor="cooperative-sticky")
    group.join(request("m2", assignor="cooperative-sticky"), 0)
    revoke = group.sync("m1", 0).revoke
    group.revoked("m1", revoke)
    group.revoked("m1", revoke)
    group.revoked("m9", revoke)
    settle(group, "m1", "m2")
    group.revoked("m2", revoke)
    assert owned(group) == {"m1": parts(0, 1), "m2": parts(2, 3)}


def test_administration_needs_a_group_without_members():
    group = settled("m1")
    with pytest.raises(GroupError, match="cannot reset offsets of group 'g': it is Stable with 1 members"):
        group.check_inactive("reset offsets of")
    with pytest.raises(FencedError, match="only they may commit"):
        group.check_standalone_commit()
    with pytest.raises(GroupError, match="cannot delete"):
        group.delete()
    group.leave("m1", 0)
    group.check_inactive("reset offsets of")
    group.check_standalone_commit()
    group.delete()
    assert group.state is GroupState.DEAD
    with pytest.raises(GroupError, match="was deleted"):
        group.join(request("m2"), 0)


# Static members


def static_pair():
    group = Group("g", {"a": 4})
    for name in ("m1", "m2"):
        group.join(request(name, instance_id="i" + name), 0)
    settle(group, "m1", "m2")
    return group


@pytest.mark.parametrize("assignor", ["range", "cooperative-sticky"])
def test_a_static_member_that_closes_and_returns_causes_no_rebalance(assignor):
    group = settled("m0", assignor=assignor)
    group.join(request("m1", assignor=assignor, instance_id="i"), 0)
    settle(group, "m0", "m1")
    before, generation = owned(group), group.generation
    group.leave("m1", 100)
    assert group.state is GroupState.STABLE
    assert group.sync("m0", 100) == (generation, frozenset(), frozenset(), False)
    with pytest.raises(FencedError, match="not a member"):
        group.check_commit("m1", generation, parts())
    group.join(request("m3", assignor=assignor, instance_id="i"), 200)
    assert group.sync("m3", 200) == (generation, frozenset(), before["m1"], False)
    assert group.sync("m0", 200) == (generation, frozenset(), frozenset(), False)
    assert group.sync("m1", 200).lost


def test_a_cooperative_rebalance_keeps_the_share_of_a_member_that_is_away():
    options = {"assignor": "cooperative-sticky", "topics": "Aa"}
    group = settled("m0", **options)
    group.join(request("m1", instance_id="i", **options), 0)
    settle(group, "m0", "m1")
    share = owned(group)["m1"]
    group.leave("m1", 0)
    group.set_partitions({"A": 2, "a": 4})
    group.join(request("m2", instance_id="i", **options), 0)
    assert group.sync("m2", 0).assign >= share


def test_a_static_member_that_stays_away_is_evicted_after_its_session():
    group = static_pair()
    group.leave("m2", 100)
    assert group.expire(100 + SESSION_MS - 1) == ("m1",)
    assert group.expire(100 + SESSION_MS) == ("m2",)
    group.join(request("m3", instance_id="im2"), 2000)
    assert group.sync("m3", 2000).assign == parts(0, 1, 2, 3)


def test_a_second_holder_of_an_instance_id_fences_the_first():
    group = static_pair()
    group.join(request("m3", instance_id="im2"), 0)
    assert group.generation == 2
    for call in (
        lambda: group.sync("m2", 0),
        lambda: group.heartbeat("m2", 0),
        lambda: group.subscribe("m2", frozenset("b"), 0),
        lambda: group.check_commit("m2", 2, parts(2)),
    ):
        with pytest.raises(FencedError, match="another one joined with its instance id 'im2'"):
            call()
    group.leave("m2", 0)
    group.revoked("m2", parts(2, 3))
    assert group.sync("m3", 0) == (2, frozenset(), parts(2, 3), False)


def test_only_the_latest_fenced_members_are_remembered():
    group = Group("g", {"a": 1})
    for number in range(1100):
        group.join(request(f"m{number}", instance_id="i"), 0)
    assert group.sync("m0", 0).lost
    with pytest.raises(FencedError):
        group.sync("m1098", 0)


def test_a_static_member_that_returns_with_other_topics_is_a_rebalance():
    group = static_pair()
    group.join(request("m3", instance_id="im2", topics="b"), 0)
    assert group.generation == 3
    settle(group, "m1", "m3")
    assert owned(group) == {"m1": parts(0, 1, 2, 3), "m3": set()}


def test_a_static_member_that_does_not_poll_is_evicted_a_session_later():
    group = Group("g", {"a": 1})
    group.join(request("m1", instance_id="i"), 0)
    for now_ms in range(0, POLL_MS + SESSION_MS, 500):
        assert group.heartbeat("m1", now_ms)
    assert group.next_due() == POLL_MS + SESSION_MS


def test_what_a_returning_static_member_was_to_lose_is_given_away():
    group = Group("g", {"a": 4})
    group.join(request("m1", assignor="cooperative-sticky", instance_id="i"), 0)
    settle(group, "m1")
    group.join(request("m2", assignor="cooperative-sticky"), 0)
    group.join(request("m3", assignor="cooperative-sticky", instance_id="i"), 0)
    settle(group, "m3", "m2")
    assert {m: len(share) for m, share in owned(group).items()} == {"m2": 2, "m3": 2}

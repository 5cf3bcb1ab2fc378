"""Many members of one group: what they cost together grows with their number, not with its square.

Counted is what is done for all members at once; times are in the benchmarks.
"""

from collections import Counter
from dataclasses import replace
from threading import Thread

import pytest

from msglog.log.bell import Bell
from msglog.log.rules.assignors import ASSIGNORS
from msglog.log.rules.coordinator import Group
from msglog.log.rules.membership import JoinRequest, Membership

MEMBERS = 150
ASSIGNOR_NAMES = tuple(ASSIGNORS)


@pytest.fixture
def counted(monkeypatch) -> Counter[str]:
    """How often targets were computed, bells were rung, and members were looked at for their due times."""
    counts: Counter[str] = Counter()

    def counting(name, method):
        def call(*given):
            counts[name] += 1
            return method(*given)

        return call

    for name, assignor in ASSIGNORS.items():
        monkeypatch.setitem(ASSIGNORS, name, replace(assignor, assign=counting("computed", assignor.assign)))
    monkeypatch.setattr(Bell, "ring", counting("rung", Bell.ring))
    monkeypatch.setattr(Membership, "due_ms", property(counting("due", Membership.due_ms.fget)))
    monkeypatch.setattr(Membership, "describe", counting("described", Membership.describe))
    return counts


@pytest.mark.parametrize("assignor", ASSIGNOR_NAMES)
def test_joining_polling_and_leaving_cost_as_many_members_as_there_are(log, counted, assignor):
    log.create_topic("t", partitions=MEMBERS)
    members = [log.consumer("t", group="g", assignor=assignor) for _ in range(MEMBERS)]
    assert counted["computed"] <= 2
    assert counted["rung"] <= 3 * MEMBERS
    assert counted["due"] <= 5 * MEMBERS
    assert counted["described"] == 0
    for _ in range(2):
        for member in members:
            member.poll(0)
    assert [len(member.assignment()) for member in members] == [1] * MEMBERS
    assert counted["computed"] <= 4
    assert counted["described"] == 0
    counted.clear()
    for member in members:
        member.close()
    assert counted["computed"] <= 1
    assert counted["rung"] <= 3 * MEMBERS
    assert counted["due"] <= 5 * MEMBERS


def test_a_subscription_with_many_workers_has_joined_with_all_of_them_before_the_first_one_works(
    log, counted, monkeypatch
):
    computed: list[int] = []
    start = Thread.start

    def noting(thread: Thread) -> None:
        computed.append(counted["computed"])
        start(thread)

    monkeypatch.setattr(Thread, "start", noting)
    log.create_topic("t", partitions=4)
    log.append_many("t", [b"%d" % number for number in range(40)])
    seen: list[bytes] = []
    with log.subscribe("t", group="g", callback=lambda record: seen.append(record.value), workers=MEMBERS) as working:
        assert working.wait_idle(60)
    assert computed[0] <= 2
    assert sorted(seen) == sorted(b"%d" % number for number in range(40))


def test_one_that_joins_where_something_is_free_has_it_at_once(log):
    log.create_topic("t", partitions=2)
    with log.consumer("t", group="g") as first:
        assert len(first.assignment()) == 2
        with log.consumer("t", group="g") as second:
            assert second.assignment() == frozenset()
            first.poll(0)
            second.poll(0)
            first.poll(0)
            assert len(first.assignment()) == len(second.assignment()) == 1


@pytest.mark.parametrize("name", ["range", "roundrobin"])
def test_targets_are_those_of_the_members_there_are_however_many_joined_before_one_synced(name):
    """The same members, in the same order, with and without a poll after each join."""
    shares = []
    for polls_between in (False, True):
        group = Group("g", {"t": 13, "u": 5})
        ids = [f"m{number:02}" for number in range(7)]
        for number, member_id in enumerate(ids):
            topics = frozenset({"t", "u"} if number % 2 else {"t"})
            group.join(JoinRequest(member_id=member_id, topics=topics, assignor=name), number)
            if polls_between:
                settle(group, ids[: number + 1], number)
        settle(group, ids, 100)
        shares.append({member.member_id: member.assignment for member in group.members()})
        assert group.generation == len(ids)
    assert shares[0] == shares[1]


@pytest.mark.parametrize("name", ["sticky", "cooperative-sticky"])
def test_members_that_join_together_take_no_more_than_they_need(name):
    group = Group("g", {"t": 12})
    settle_one = JoinRequest(member_id="m0", topics=frozenset({"t"}), assignor=name)
    group.join(settle_one, 0)
    settle(group, ["m0"], 0)
    (before,) = (member.assignment for member in group.members())
    ids = ["m0", "m1", "m2", "m3"]
    for member_id in ids[1:]:
        group.join(JoinRequest(member_id=member_id, topics=frozenset({"t"}), assignor=name), 1)
    settle(group, ids, 1)
    shares = {member.member_id: member.assignment for member in group.members()}
    assert [len(share) for share in shares.values()] == [3, 3, 3, 3]
    assert shares["m0"] < before


def settle(group: Group, ids: list[str], now_ms: int) -> None:
    """Poll with all members, and revoke what they are asked for, until nothing changes any more."""
    for _ in range(10):
        for member_id in ids:
            step = group.sync(member_id, now_ms)
            if step.revoke:
                group.revoked(member_id, step.revoke)

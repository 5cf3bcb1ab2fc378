"""The cooperative-sticky assignor: the sticky target, reached without stopping anybody who loses nothing.

Imported by the table of assignors.
"""

from collections.abc import Mapping

from msglog.log.rules.assignors import sticky
from msglog.log.rules.assignors.base import Assignment, Assignor, Member


def assign(members: Mapping[str, Member], partitions: Mapping[str, int]) -> Assignment:
    """Return the sticky assignment without the partitions that another member still owns.

    Follows Kafka's CooperativeStickyAssignor: what is withheld belongs to nobody's share, so its owner
    revokes it, and the rebalance after that gives it away. A move takes two rebalances. Where subscriptions differ
    the second one may begin another move: it balances what is owned then.
    """
    owners = {partition: member.member_id for member in members.values() for partition in member.owned}
    return {
        member_id: frozenset(p for p in share if owners.get(p, member_id) == member_id)
        for member_id, share in sticky.assign(members, partitions).items()
    }


COOPERATIVE_STICKY = Assignor("cooperative-sticky", assign, cooperative=True)

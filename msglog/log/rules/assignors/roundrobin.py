"""The round-robin assignor: deal all partitions of all topics out one by one.

Imported by the table of assignors.
"""

from collections.abc import Mapping

from msglog.log.rules.assignors.base import Assignment, Assignor, Member, in_order, subscribers
from msglog.types import TopicPartition


def assign(members: Mapping[str, Member], partitions: Mapping[str, int]) -> Assignment:
    """Deal the partitions, sorted by topic and number, to the members in turn (Kafka's RoundRobinAssignor).

    A member that does not subscribe to a topic is passed over, and its turn does not come back later.
    """
    shares: dict[str, set[TopicPartition]] = {member_id: set() for member_id in members}
    circle = in_order(members.values())
    turn = 0
    for topic in subscribers(members, partitions):
        for number in range(partitions[topic]):
            while topic not in circle[turn].topics:
                turn = (turn + 1) % len(circle)
            shares[circle[turn].member_id].add(TopicPartition(topic, number))
            turn = (turn + 1) % len(circle)
    return {member_id: frozenset(share) for member_id, share in shares.items()}


ROUNDROBIN = Assignor("roundrobin", assign)

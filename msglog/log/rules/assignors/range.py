"""The range assignor: per topic, each member in turn gets one consecutive run of partitions.

Imported by the table of assignors.
"""

from collections.abc import Mapping
from itertools import accumulate, pairwise

from msglog.log.rules.assignors.base import Assignment, Assignor, Member, subscribers
from msglog.types import TopicPartition


def assign(members: Mapping[str, Member], partitions: Mapping[str, int]) -> Assignment:
    """Share out each topic for itself (Kafka's RangeAssignor).

    Where the partitions do not divide evenly the first members get one more, for every topic anew: so the
    first member has all the extras, and partitions of the same number of equally subscribed topics stay
    together.
    """
    shares: dict[str, set[TopicPartition]] = {member_id: set() for member_id in members}
    for topic, member_ids in subscribers(members, partitions).items():
        quota, extras = divmod(partitions[topic], len(member_ids))
        counts = [quota + (index < extras) for index in range(len(member_ids))]
        bounds = pairwise(accumulate(counts, initial=0))
        for member_id, (first, stop) in zip(member_ids, bounds, strict=True):
            shares[member_id].update(TopicPartition(topic, number) for number in range(first, stop))
    return {member_id: frozenset(share) for member_id, share in shares.items()}


RANGE = Assignor("range", assign)

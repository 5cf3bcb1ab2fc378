"""What every assignor shares: the member it sees, its signature, and the order of members.

Imported by the assignors and the group coordinator.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from msglog.types import TopicPartition

Assignment = dict[str, frozenset[TopicPartition]]
"""Per member id what the member shall own; every member has an entry."""


class Member(NamedTuple):
    """A group member as an assignor sees it.

    `topics` are the names it subscribes to, whether they exist or not. `owned` is what it holds now, or held
    last where a rebalance takes everything away first; no partition is owned by two members. `awaited` is
    what it was promised and has not received yet.
    """

    member_id: str
    topics: frozenset[str]
    instance_id: str | None = None
    owned: frozenset[TopicPartition] = frozenset()
    awaited: frozenset[TopicPartition] = frozenset()


AssignFunction = Callable[[Mapping[str, Member], Mapping[str, int]], Assignment]


@dataclass(frozen=True, slots=True)
class Assignor:
    """A named way to share partitions among the members of a group.

    `assign(members, partitions)` takes the members by id and the number of partitions of each existing topic.
    With `cooperative` members keep what they need not lose during a rebalance; otherwise they give up
    everything first.
    """

    name: str
    assign: AssignFunction
    cooperative: bool = False


def in_order(members: Iterable[Member]) -> list[Member]:
    """Return `members` in the order of Kafka's assignors: static ones by instance id, then by member id."""
    return sorted(members, key=lambda m: (m.instance_id is None, m.instance_id or "", m.member_id))


def subscribers(members: Mapping[str, Member], partitions: Mapping[str, int]) -> dict[str, list[str]]:
    """Return who wants each existing topic: topics sorted by name, member ids in assignors' order.

    Topics nobody subscribes to are left out.
    """
    wanted: dict[str, list[str]] = {}
    for member in in_order(members.values()):
        for topic in member.topics:
            if topic in partitions:
                wanted.setdefault(topic, []).append(member.member_id)
    return dict(sorted(wanted.items()))

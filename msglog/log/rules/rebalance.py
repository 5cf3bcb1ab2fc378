"""Who owns which partition in a group, and how that changes in a rebalance.

Imported by the group coordinator, which decides when; by the log for `Sync`.

A rebalance raises the generation at once. All targets are computed together when somebody first asks for one, so
members that join, leave or change one after the other cost one computation, as if it had been one rebalance. A member
learns of it in its next sync, in two steps. First it is told what it loses; it runs its callback, commits under its old
generation, and confirms. Then it is given its whole target under the new generation, once nobody else holds any of it.
Eager assignors take everything in the first step, the cooperative one only what goes elsewhere; what it withholds
meanwhile is given away by the rebalance that the confirmation starts.

So a partition never has two owners, and the owners of a generation are the same whoever polls first.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from msglog.log.rules.assignors import ASSIGNORS
from msglog.log.rules.membership import NO_GENERATION, Membership
from msglog.types import TopicPartition

_NOTHING: Final[frozenset[TopicPartition]] = frozenset()


class Sync(NamedTuple):
    """What a member is to do next. It does `revoke` or `assign`, never both; most often neither.

    `generation` is the member's: it changes exactly when an assignment is delivered, even if `assign` is
    empty, and is what the member commits with. `revoke` stays until confirmed. With `lost` the group no
    longer knows the member.
    """

    generation: int
    revoke: frozenset[TopicPartition] = _NOTHING
    assign: frozenset[TopicPartition] = _NOTHING
    lost: bool = False


LOST: Final = Sync(NO_GENERATION, lost=True)


class Rebalancer:
    """The members of one group, their targets, and the owner of each partition."""

    __slots__ = ("_owned", "_owners", "_partitions", "_placed", "_stale", "_topics", "generation", "members", "version")

    def __init__(self, partitions: Mapping[str, int], generation: int) -> None:
        """Start without members, at `generation`, with the partition counts of the existing topics."""
        self.generation = generation
        self.version = 0
        self.members: dict[str, Membership] = {}
        self._partitions = dict(partitions)
        self._owners: dict[TopicPartition, str] = {}
        # How many partitions of each topic are owned.
        self._owned: Counter[str] = Counter()
        # Whether the targets are those of an earlier generation; what they have a place for, and all topics wanted.
        self._stale = False
        self._placed: frozenset[TopicPartition] = _NOTHING
        self._topics: frozenset[str] = frozenset()

    @property
    def assignor(self) -> str | None:
        """The assignor all members use; None while there are none."""
        return next((member.request.assignor for member in self.members.values()), None)

    def rebalance(self) -> None:
        """Start a new generation with new targets. What members hold changes only as they sync."""
        self.generation += 1
        self.version += 1
        self._stale = True

    def target(self, member: Membership) -> frozenset[TopicPartition]:
        """Return a member's share in this generation."""
        if self._stale:
            self._compute_targets()
        return member.target

    def _compute_targets(self) -> None:
        self._stale = False
        if self.assignor is None:
            return
        assignor = ASSIGNORS[self.assignor]
        seen = {m.member_id: m.for_assignor(cooperative=assignor.cooperative) for m in self.members.values()}
        targets = assignor.assign(seen, self._partitions)
        for member_id, member in self.members.items():
            member.target = targets[member_id]
        self._placed = _NOTHING.union(*targets.values())
        self._topics = frozenset[str]().union(*(member.topics for member in self.members.values()))

    def set_partitions(self, partitions: Mapping[str, int]) -> None:
        """Take the partition counts of all topics, and rebalance if one that is subscribed to has changed."""
        wanted = {topic for member in self.members.values() for topic in member.topics}
        changed = any(self._partitions.get(topic) != partitions.get(topic) for topic in wanted)
        self._partitions = dict(partitions)
        if changed:
            self.rebalance()

    def remove(self, members: Iterable[Membership]) -> None:
        """Drop `members` with all they hold, and rebalance."""
        for member in members:
            del self.members[member.member_id]
            self._free(member, frozenset(member.held))
        self.rebalance()

    def replace(self, former: Membership, member: Membership) -> None:
        """Let `member` have the target of `former`, which goes; rebalance only if subscriptions differ."""
        member.target = former.target
        del self.members[former.member_id]
        self.members[member.member_id] = member
        if former.topics == member.topics:
            self.release(former, frozenset(former.held))
        else:
            self._free(former, frozenset(former.held))
            self.rebalance()

    def losses(self, member: Membership) -> frozenset[TopicPartition]:
        """Return what a member must give up before it may receive its target."""
        if member.generation == self.generation:
            return _NOTHING
        if ASSIGNORS[member.request.assignor].cooperative:
            return frozenset(member.held - self.target(member))
        return frozenset(member.held)

    def may_receive(self, member: Membership) -> bool:
        """Whether any partition of its topics is free, so that a sync may bring something. Cost: its topics."""
        return any(self._owned[topic] < self._partitions.get(topic, 0) for topic in member.topics)

    def sync(self, member: Membership) -> Sync:
        """Take a member its next step towards its target. Constant cost when it is there already."""
        if member.generation == self.generation:
            return Sync(member.generation)
        losses = self.losses(member)
        if losses or self._waits_for_others(member):
            return Sync(member.generation, revoke=losses)
        gained = self.target(member) - member.held
        member.held.update(gained)
        self._owners.update(dict.fromkeys(gained, member.member_id))
        self._owned.update(partition.topic for partition in gained)
        member.generation = self.generation
        return Sync(member.generation, assign=gained)

    def release(self, member: Membership, partitions: Collection[TopicPartition]) -> None:
        """Free `partitions`, all held by `member`, and rebalance when no target has a place for them.

        Targets that are still to be computed will have one.
        """
        self._free(member, partitions)
        if not self._stale and any(self._is_stray(partition) for partition in partitions):
            self.rebalance()

    def _free(self, member: Membership, partitions: Collection[TopicPartition]) -> None:
        if partitions:
            self.version += 1
        for partition in partitions:
            member.held.discard(partition)
            del self._owners[partition]
            self._owned[partition.topic] -= 1

    def _waits_for_others(self, member: Membership) -> bool:
        return any(self._owners.get(p, member.member_id) != member.member_id for p in self.target(member))

    def _is_stray(self, partition: TopicPartition) -> bool:
        """Whether a free partition is wanted but nobody's: withheld in a cooperative rebalance."""
        topic, number = partition
        return number < self._partitions.get(topic, 0) and topic in self._topics and partition not in self._placed

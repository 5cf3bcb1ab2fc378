"""The coordinator of one consumer group, as a pure state machine. Imported by the log's groups.

State               | Condition                             | Ends with
--------------------|---------------------------------------|--------------------------------------------
Empty               | no members                            | a join, a delete
PreparingRebalance  | a member holds what it must give up   | each such member revokes, leaves, expires
CompletingRebalance | a member has not received its share   | each such member syncs, leaves, expires
Stable              | every member has its share            | join, leave, expiry, new topics, partitions
Dead                | deleted                               | never

Joins are immediate. A member that is away, a static one that has closed, is not waited for: its share is kept
for it until its session times out. But for such shares, every partition has exactly one owner in a stable
group; how a rebalance gets there is told in `rebalance`.

Times are integers in milliseconds of any clock that does not go backwards. Not safe for threads: the caller
locks.
"""

import enum
from collections import deque
from collections.abc import Collection, Mapping
from typing import Final

from msglog.errors import FencedError, GroupError, RebalanceError
from msglog.log.rules.membership import JoinRequest, Membership
from msglog.log.rules.rebalance import LOST, Rebalancer, Sync
from msglog.types import MemberDescription, TopicPartition

_REMEMBERED_FENCED: Final = 1024
_NEVER: Final = 1 << 62


class GroupState(enum.Enum):
    """The states of a group, by Kafka's names."""

    EMPTY = "Empty"
    PREPARING_REBALANCE = "PreparingRebalance"
    COMPLETING_REBALANCE = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


class Group:
    """One consumer group. Offsets are kept elsewhere; this decides who owns what and who may commit."""

    def __init__(self, group: str, partitions: Mapping[str, int], *, generation: int = 0) -> None:
        """Start an empty group named `group`, given the number of partitions of each existing topic.

        `generation` is the last one used, when the group is continued from the store.
        """
        self.group: Final = group
        self._shares = Rebalancer(partitions, generation)
        self._members = self._shares.members
        self._static: dict[str, str] = {}
        self._fenced: dict[str, str] = {}
        self._dead = False
        self._due_floor_ms = _NEVER
        # Who was evicted or fenced, for whoever takes it from here to tell of it.
        self.ejected: deque[tuple[str, str]] = deque(maxlen=_REMEMBERED_FENCED)

    # What the group looks like

    @property
    def generation(self) -> int:
        """The number of the latest rebalance; it only grows."""
        return self._shares.generation

    @property
    def size(self) -> int:
        """How many members there are, static ones that are away among them."""
        return len(self._members)

    @property
    def version(self) -> int:
        """A number that rises whenever another member's `sync` may answer differently: wake who waits."""
        return self._shares.version

    @property
    def assignor(self) -> str | None:
        """The assignor all members use; None while there are none."""
        return self._shares.assignor

    @property
    def state(self) -> GroupState:
        """The state, by the table at the top of the module. Cost grows with the members."""
        if self._dead:
            return GroupState.DEAD
        if not self._members:
            return GroupState.EMPTY
        behind = [m for m in self._members.values() if not m.departed and m.generation != self.generation]
        if any(self._shares.losses(member) for member in behind):
            return GroupState.PREPARING_REBALANCE
        return GroupState.COMPLETING_REBALANCE if behind else GroupState.STABLE

    def members(self) -> tuple[MemberDescription, ...]:
        """Return the members and what each owns now, in the order of joining."""
        return tuple(member.describe() for member in self._members.values())

    # Joining and leaving

    def join(self, request: JoinRequest, now_ms: int) -> Membership:
        """Add a member at once and return it; its first `sync` delivers its share.

        A static member that joins again within its session timeout takes the place of its former self without
        a rebalance, unless it subscribes to other topics; the former holder of the instance id is fenced.
        Raises `GroupError` when the group is deleted, its members use another assignor, or the member id is
        taken.
        """
        self._check_alive()
        self.expire(now_ms)
        if request.member_id in self._members:
            raise GroupError(f"group {self.group!r} already has a member {request.member_id!r}")
        if self.assignor not in (None, request.assignor):
            raise GroupError(f"group {self.group!r} uses assignor {self.assignor!r}, not {request.assignor!r}")
        member = Membership(request, request.topics, now_ms, now_ms)
        former_id = None if request.instance_id is None else self._static.get(request.instance_id)
        if former_id is None:
            self._members[member.member_id] = member
            self._shares.rebalance()
        else:
            self._replace(self._members[former_id], member)
        if request.instance_id is not None:
            self._static[request.instance_id] = request.member_id
        self._due_floor_ms = min(self._due_floor_ms, member.due_ms)
        return member

    def leave(self, member_id: str, now_ms: int) -> None:
        """Let a member go that closes; what it held is free. Unknown and fenced members are ignored.

        A static member stays in the group, away, until its session times out (Kafka's static membership).
        """
        member = self._live_member(member_id, now_ms)
        if member is None:
            return
        if member.instance_id is None:
            self._remove([member])
            return
        member.departed = True
        member.heartbeat_ms = now_ms
        self._shares.release(member, frozenset(member.held))

    def subscribe(self, member_id: str, topics: frozenset[str], now_ms: int) -> None:
        """Change what a member subscribes to; a real change is a rebalance. An unknown member is ignored."""
        self._check_fenced(member_id)
        member = self._live_member(member_id, now_ms)
        if member is not None and member.topics != topics:
            member.topics = topics
            self._shares.rebalance()

    def set_partitions(self, partitions: Mapping[str, int]) -> None:
        """Tell the group the partition counts of all topics; one that matters to it is a rebalance."""
        self._shares.set_partitions(partitions)

    def delete(self) -> None:
        """End an empty group for good.

        Raises `GroupError` while it has members, static ones that are away included.
        """
        self.check_inactive("delete")
        self._dead = True

    # Staying alive

    def heartbeat(self, member_id: str, now_ms: int) -> bool:
        """Note that a member's process lives; return whether it is still a member.

        Raises `FencedError` when a newer holder of its instance id took its place.
        """
        self._check_fenced(member_id)
        member = self._live_member(member_id, now_ms)
        if member is not None:
            member.heartbeat_ms = now_ms
        return member is not None

    def next_due(self) -> int | None:
        """Return when `expire` has something to do unless members are heard of; None without members."""
        return min((member.due_ms for member in self._members.values()), default=None)

    @property
    def due_floor_ms(self) -> int:
        """A time before which nobody is due: `next_due`, or earlier where members were heard of meanwhile."""
        return self._due_floor_ms

    def expire(self, now_ms: int) -> tuple[str, ...]:
        """Evict, in one rebalance, who exceeded its session timeout or poll interval; return their ids.

        Cost is constant before `due_floor_ms`.
        """
        if now_ms < self._due_floor_ms:
            return ()
        lapsed = [member for member in self._members.values() if member.due_ms <= now_ms]
        if lapsed:
            self._evict(lapsed)
        # It stays a floor until the next look: due times of members only rise.
        self._due_floor_ms = min((member.due_ms for member in self._members.values()), default=_NEVER)
        return tuple(member.member_id for member in lapsed)

    # Rebalancing

    def sync(self, member_id: str, now_ms: int) -> Sync:
        """Tell a polling member what to do next; this counts as its poll and its heartbeat.

        After a `revoke` call `revoked` and sync again; after an `assign` all is done. An unchanged generation
        with nothing to revoke means: go on, or wait for the others. Whoever waits in a poll syncs again when
        `version` has changed, and before `next_due`. Raises `FencedError` when a newer holder of its instance
        id took its place. Cost is constant unless there is a rebalance.
        """
        self._check_fenced(member_id)
        member = self._live_member(member_id, now_ms)
        if member is None:
            return LOST
        member.heartbeat_ms = member.poll_ms = now_ms
        return self._shares.sync(member)

    def may_receive(self, member_id: str) -> bool:
        """Whether a sync may bring a member anything: whether any partition of its topics is free."""
        member = self._members.get(member_id)
        return member is not None and self._shares.may_receive(member)

    def revoked(self, member_id: str, partitions: Collection[TopicPartition]) -> None:
        """Confirm that a member has stopped working on `partitions`, which are then free for others.

        What it does not hold is ignored, so confirming twice, or after an eviction, does no harm.
        """
        member = self._members.get(member_id)
        if member is not None and member.generation != self.generation:
            self._shares.release(member, member.held.intersection(partitions))

    # Made to happen, by tests of applications

    def evict(self, member_id: str) -> None:
        """Evict a member at once, as if it had exceeded its session timeout; an unknown one is ignored."""
        member = self._members.get(member_id)
        if member is not None:
            self._remove([member])

    def rebalance(self) -> None:
        """Begin a new generation although nothing has changed. Raises `GroupError` without members."""
        self._check_alive()
        if not self._members:
            raise GroupError(f"group {self.group!r} has no members to rebalance")
        self._shares.rebalance()

    # Fencing

    def check_commit(self, member_id: str, generation: int, partitions: Collection[TopicPartition]) -> None:
        """Check that a member may commit offsets of `partitions` under the `generation` its last sync gave.

        What it holds it may commit, also while it is being revoked. Raises `FencedError` for what is not a
        member any more (Kafka's unknown member), another generation (illegal generation), and partitions that
        are gone for good; `RebalanceError` (rebalance in progress) for those that come back with the next
        assignment.
        """
        self._check_fenced(member_id)
        member = self._members.get(member_id)
        if member is None or member.departed:
            raise FencedError(f"{member_id!r} is not a member of group {self.group!r}")
        if generation != member.generation:
            raise FencedError(
                f"member {member_id!r} of group {self.group!r} commits with generation {generation}; "
                f"its generation is {member.generation}"
            )
        missing = {partition for partition in partitions if partition not in member.held}
        if missing and missing <= self._shares.target(member):
            raise RebalanceError(
                f"group {self.group!r} is rebalancing: poll until member {member_id!r} has its new assignment"
            )
        if missing:
            shown = ", ".join(f"{topic}[{number}]" for topic, number in sorted(missing)[:5])
            raise FencedError(f"member {member_id!r} of group {self.group!r} does not own {shown}")

    def check_inactive(self, action: str) -> None:
        """Check that nobody is in the group, as Kafka asks before it resets offsets or deletes.

        Raises `GroupError`, which says what `action` was refused.
        """
        self._check_alive()
        if self._members:
            count = len(self._members)
            raise GroupError(f"cannot {action} group {self.group!r}: it is {self.state.value} with {count} members")

    def check_standalone_commit(self) -> None:
        """Check that offsets may be committed without being a member: only while there are none, as in Kafka.

        Raises `FencedError` otherwise.
        """
        self._check_alive()
        if self._members:
            raise FencedError(f"group {self.group!r} has members: only they may commit its offsets")

    def _check_alive(self) -> None:
        if self._dead:
            raise GroupError(f"group {self.group!r} was deleted")

    def _check_fenced(self, member_id: str) -> None:
        instance_id = self._fenced.get(member_id)
        if instance_id is not None:
            raise FencedError(
                f"member {member_id!r} of group {self.group!r} is fenced: "
                f"another one joined with its instance id {instance_id!r}"
            )

    # The members' comings and goings

    def _live_member(self, member_id: str, now_ms: int) -> Membership | None:
        """Return a member that has not closed; evict it first when it is overdue, whoever notices first."""
        member = self._members.get(member_id)
        if member is None or member.departed:
            return None
        if member.due_ms <= now_ms:
            self._evict([member])
            return None
        return member

    def _evict(self, members: Collection[Membership]) -> None:
        """Remove members that were not heard of for too long, and note it for whoever tells of it."""
        self.ejected.extend(("evicted", member.member_id) for member in members)
        self._remove(members)

    def _replace(self, former: Membership, member: Membership) -> None:
        """Put a returning static `member` in the place of its former self."""
        if not former.departed and former.instance_id is not None:
            self._fence(former.member_id, former.instance_id)
        self._shares.replace(former, member)

    def _fence(self, member_id: str, instance_id: str) -> None:
        """Remember who was fenced; the oldest are forgotten and then count as evicted."""
        self._fenced[member_id] = instance_id
        self.ejected.append(("fenced", member_id))
        if len(self._fenced) > _REMEMBERED_FENCED:
            del self._fenced[next(iter(self._fenced))]

    def _remove(self, members: Collection[Membership]) -> None:
        for member in members:
            if member.instance_id is not None:
                del self._static[member.instance_id]
        self._shares.remove(members)

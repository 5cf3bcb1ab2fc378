"""The sticky assignor: as balanced as subscriptions allow, then as few moves as possible.

Imported by the table of assignors and by the cooperative-sticky assignor, which has the same target.

Partitions that exactly the same members may have are exchangeable, so the work is done on such *pools*. The
assignment is best when no chain of moves leads from a member to one that has at least two partitions fewer;
with equal subscriptions every such chain is a single move.
"""

import heapq
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from msglog.log.rules.assignors.base import Assignment, Assignor, Member, in_order, subscribers
from msglog.types import TopicPartition

Pool = tuple[str, ...]


class Move(NamedTuple):
    """One partition of `pool` goes from `giver` to `taker`."""

    giver: str
    pool: Pool
    taker: str


def assign(members: Mapping[str, Member], partitions: Mapping[str, int]) -> Assignment:
    """Balance the partitions over the members and keep what they have where that allows it.

    Follows Kafka's StickyAssignor. With equal subscriptions the moves are the fewest a balanced assignment
    can do with; with differing ones the balance is the best possible, and moves are few but not provably the
    fewest.
    """
    draft = _Draft(members, subscribers(members, partitions))
    unassigned = {TopicPartition(t, number) for t in draft.pools for number in range(partitions[t])}
    draft.keep([member.owned for member in draft.order], unassigned)
    draft.keep([member.awaited for member in draft.order], unassigned)
    draft.spread(unassigned)
    draft.level()
    return draft.result()


class _Draft:
    """An assignment in the making."""

    __slots__ = ("loads", "order", "pools", "rank", "shares")

    def __init__(self, members: Mapping[str, Member], wanted: Mapping[str, list[str]]) -> None:
        self.order = in_order(members.values())
        self.rank = {member.member_id: rank for rank, member in enumerate(self.order)}
        self.pools: dict[str, Pool] = {topic: tuple(ids) for topic, ids in wanted.items()}
        self.loads = dict.fromkeys(self.rank, 0)
        self.shares: dict[str, dict[Pool, list[TopicPartition]]] = {member_id: {} for member_id in self.rank}

    def keep(self, claims: Iterable[frozenset[TopicPartition]], unassigned: set[TopicPartition]) -> None:
        """Give the members, in order, what they claim of `unassigned` and still subscribe to."""
        for member, claim in zip(self.order, claims, strict=True):
            kept = [p for p in claim if p in unassigned and p.topic in member.topics]
            unassigned.difference_update(kept)
            # By number first: what is taken away again, from the end, then comes from all topics alike.
            for partition in sorted(kept, key=lambda p: (p.partition, p.topic)):
                self._give(partition, member.member_id)

    def spread(self, unassigned: set[TopicPartition]) -> None:
        """Give each of `unassigned` to its least loaded subscriber, those with the least choice first."""
        heaps = {pool: [(self.loads[m], self.rank[m], m) for m in pool] for pool in self.pools.values()}
        for heap in heaps.values():
            heapq.heapify(heap)
        for partition in sorted(unassigned, key=lambda p: (len(self.pools[p.topic]), p)):
            heap = heaps[self.pools[partition.topic]]
            while heap[0][0] != self.loads[heap[0][2]]:  # the load rose through another pool
                _, rank, member_id = heap[0]
                heapq.heapreplace(heap, (self.loads[member_id], rank, member_id))
            _, rank, member_id = heap[0]
            self._give(partition, member_id)
            heapq.heapreplace(heap, (self.loads[member_id], rank, member_id))

    def level(self) -> None:
        """Move partitions from loaded to less loaded members until no chain of moves improves the balance."""
        while moves := self._improvement():
            for giver, pool, taker in moves:
                partition = self.shares[giver][pool].pop()
                self.loads[giver] -= 1
                self._give(partition, taker)

    def result(self) -> Assignment:
        """Return the finished assignment."""
        return {
            member_id: frozenset(partition for share in shares.values() for partition in share)
            for member_id, shares in self.shares.items()
        }

    def _give(self, partition: TopicPartition, member_id: str) -> None:
        self.shares[member_id].setdefault(self.pools[partition.topic], []).append(partition)
        self.loads[member_id] += 1

    def _improvement(self) -> list[Move]:
        """Return a chain of moves from a most loaded one of the members that can be relieved, or nothing.

        The shortest there is: what a longer one moves beside, from another member as loaded, could have stayed.
        """
        least = min(self.loads.values(), default=0) + 2
        best: list[Move] = []
        for donor in sorted(self.loads, key=lambda m: (-self.loads[m], self.rank[m])):
            if self.loads[donor] < least:
                break
            moves = self._chain_from(donor)
            if moves and (not best or len(moves) < len(best)):
                best, least = moves, self.loads[donor]
            if len(best) == 1:
                break
        return best

    def _chain_from(self, donor: str) -> list[Move]:
        """Return a shortest chain of moves from `donor` to one with two partitions fewer, or nothing."""
        reached: dict[str, Move | None] = {donor: None}
        seen_pools: set[Pool] = set()
        frontier = [donor]
        while frontier:
            found: list[str] = []
            for giver in frontier:
                for pool, share in self.shares[giver].items():
                    if share and pool not in seen_pools:
                        seen_pools.add(pool)
                        takers = [member_id for member_id in pool if member_id not in reached]
                        reached.update((taker, Move(giver, pool, taker)) for taker in takers)
                        found.extend(takers)
            least = min(found, key=lambda m: (self.loads[m], self.rank[m]), default=donor)
            if self.loads[least] <= self.loads[donor] - 2:
                return _trace(reached, least)
            frontier = found
        return []


def _trace(reached: Mapping[str, Move | None], member_id: str) -> list[Move]:
    """Return the moves that lead to `member_id`, the last one first, so that no giver runs out meanwhile."""
    moves: list[Move] = []
    while (move := reached[member_id]) is not None:
        moves.append(move)
        member_id = move.giver
    return moves


STICKY = Assignor("sticky", assign)

"""One share group that has members, in memory: its partitions, its members, what they have in hand.

Everything here runs under the lock of `sharing`, but for `wake`. Invariant: a partition that has a record to hand out
is in `news`; its stream puts it there when it has grown. Imported by the rest of the package.
"""

from collections import OrderedDict
from typing import Literal

from msglog.log.assignment import TopicSelection
from msglog.log.share.partition import SharePartition
from msglog.waiting import Timer, Wakeable


class Batch:
    """What one poll handed out and is not settled, under one lock: the value of each of its offsets in `unsettled`.

    `due_ms`, on the clock's monotonic time, is when the lock expires.
    """

    __slots__ = ("due_ms", "held", "member")

    def __init__(self, member: "ShareMember") -> None:
        self.member = member
        self.due_ms = 0
        self.held: dict[SharePartition, set[int]] = {}

    def hold(self, partition: SharePartition, offset: int) -> None:
        """Note that a record is in this batch."""
        offsets = self.held.get(partition)
        if offsets is None:
            offsets = self.held[partition] = set()
        offsets.add(offset)

    def drop(self, partition: SharePartition, offset: int) -> None:
        """Note that a record is no longer in hand; its member forgets a batch of which nothing is left."""
        offsets = self.held.get(partition)
        if offsets is None:
            return
        offsets.discard(offset)
        if not offsets:
            del self.held[partition]
            if not self.held:
                self.member.batches.pop(self, None)


class ShareMember:
    """One consumer's place in a group.

    `first_topic_id`: topics from that id on were made after it joined. `partitions` are those of the topics it wants,
    as of `topics_version`. `batches` are in the order in which their locks expire; `timer` waits for the first.
    `givers_up`: as long as there are any, it is handed what was handed out too often, too, for them to give up.
    """

    def __init__(
        self,
        member_id: str,
        selection: TopicSelection,
        *,
        start: Literal["earliest", "latest"],
        lock_ms: int,
        delivery_limit: int,
    ) -> None:
        self.id = member_id
        self.selection = selection
        self.start = start
        self.lock_ms = lock_ms
        self.delivery_limit = delivery_limit
        self.first_topic_id = 0
        self.topics_version = -1
        self.topics: frozenset[str] = frozenset()
        self.partitions: frozenset[SharePartition] = frozenset()
        # Ordered: what a dict forgets at its front it walks over again and again.
        self.batches: OrderedDict[Batch, None] = OrderedDict()
        self.timer: Timer | None = None
        self.gone = False
        self.givers_up: dict[object, None] = {}


class ShareGroup:
    """A group with its members. `generation` counts its changes; `news` has partitions in the order of their turns."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.generation = 0
        self.members: dict[ShareMember, None] = {}
        self.partitions: dict[tuple[int, int], SharePartition] = {}
        self.news: dict[SharePartition, None] = {}
        self.waiters: set[Wakeable] = set()

    def add(self, key: tuple[int, int], partition: SharePartition) -> None:
        """Take up a partition."""
        self.partitions[key] = partition
        partition.stream.waiters.add(partition)
        self.news[partition] = None

    def drop_deleted(self) -> None:
        """Give up the partitions of topics that are gone."""
        for key, partition in tuple(self.partitions.items()):
            if partition.topic.deleted:
                del self.partitions[key]
                partition.stream.waiters.discard(partition)
                self.news.pop(partition, None)

    def end(self) -> None:
        """Give up all partitions: nobody is in the group any more."""
        for partition in self.partitions.values():
            partition.stream.waiters.discard(partition)

    def has_news(self, partition: SharePartition) -> None:
        """Note that a partition has something to hand out, and wake whoever waits. Takes no lock."""
        self.news[partition] = None
        self.wake()

    def wake(self) -> None:
        """Wake whoever waits for records. Takes no lock."""
        for waiter in tuple(self.waiters):
            waiter.wake()

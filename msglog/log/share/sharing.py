"""The share groups of one open store: joining, handing records out under locks, settling, taking them back.

    available ──take──> in hand ──settle (ack, reject)──> gone
        ^                  │
        └────give back─────┘     release, an expired lock, a member that leaves; gone when handed out often enough

There is one `Sharing` per open directory. Its lock comes before the store lock; nobody sleeps under it and no callback
of a user runs under it. What is handed out is written down first, so a record that kills its process is counted; how
often, the partition's cursor says (`partition`). Settling is written when it returns and never waits for a sync. Locks
expire on timers of the store's clock, one for each member that has something in hand. A consumer that was collected
only leaves a note (`abandon`); whoever looks next lets its member go. Imported by the share consumer and `admin`.
"""

import itertools
import logging
from collections.abc import Collection, Iterable
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Any, Final, Literal, cast

from msglog.cursors import CursorModel
from msglog.errors import ClosedError, GroupError, MsglogError, SettlementError
from msglog.log.coordination import Coordination
from msglog.log.groups import GroupsModel
from msglog.log.model import LogModel
from msglog.log.share.group import Batch, ShareGroup, ShareMember
from msglog.log.share.model import ShareModel
from msglog.log.share.partition import Haul, SharePartition, Taken
from msglog.log.topic import Topic
from msglog.store import StoreCore

SERVICE: Final = "shares"

Outcome = Literal["acked", "rejected", "delivery_limit"]
"""Why a record is settled; the last one is that it was handed out too often."""

logger = logging.getLogger("msglog.share")


class Sharing:
    """The share groups with members of one store. Safe for any thread."""

    def __init__(self, core: StoreCore, coordination: Coordination) -> None:
        self.lock = Lock()
        self.groups: dict[str, ShareGroup] = {}
        self._engine = core.engine
        self._timers = core.timers
        self._now_ms = core.clock.now_ms
        self._monotonic_ms = core.clock.monotonic_ms
        self._log = cast(LogModel, core.engine.models[LogModel.section])
        self._consumer_groups = cast(GroupsModel, core.engine.models[GroupsModel.section])
        self._cursors = cast(CursorModel, core.engine.models[CursorModel.section])
        self._model = ShareModel.of(core.engine)
        self._coordination = coordination
        self._member_numbers = itertools.count(1)
        # Only a SimpleQueue may be filled from a finalizer: its put is safe against itself.
        self._abandoned: SimpleQueue[ShareMember] = SimpleQueue()
        self._closed = False
        self._topics_version = 0
        self._log.listeners.append(self._topic_changed)

    @classmethod
    def of(cls, core: StoreCore) -> "Sharing":
        """Return the share groups of an open store."""
        found = core.services.get(SERVICE)
        if found is None:
            coordination = Coordination.of(core)
            with core.engine.lock:
                found = core.services.get(SERVICE)
                if found is None:
                    found = core.services[SERVICE] = cls(core, coordination)
        return cast(Sharing, found)

    def close(self) -> None:
        """Wake every consumer for the last time: the store closes."""
        self._closed = True
        for group in tuple(self.groups.values()):
            group.wake()

    def check_open(self) -> None:
        """Raise `ClosedError` once the store is closed or closing, or in a forked child."""
        if self._closed:
            raise ClosedError(f"the store {self._engine.directory} was closed")
        self._engine.check_open()

    def new_member_id(self) -> str:
        """Return an id that was never used. Ids sort in the order of joining."""
        return f"share-{next(self._member_numbers):08}"

    def take_up_abandoned(self) -> None:
        """Let the members of consumers go that were collected. Under the lock."""
        try:
            while True:
                self._let_go(self._abandoned.get_nowait())
        except Empty:
            pass

    # Members

    def join(self, name: str, member: ShareMember) -> tuple[ShareGroup, int]:
        """Join a group, making it if need be; return it and the commit to wait for, 0 for none. Raises `GroupError`."""
        self.check_open()
        with self.lock:
            self.take_up_abandoned()
            group = self.groups.get(name) or ShareGroup(name)
            with self._engine.lock:
                member.first_topic_id = self._log.next_topic_id
            number = self._follow_topics(group, member)
            self.groups[name] = group
            group.members[member] = None
            group.generation += 1
            return group, number

    def leave(self, member: ShareMember) -> None:
        """Leave the group; what the member has in hand is available again. Leaving twice does nothing."""
        if self._engine.closed:  # in a forked child somebody may have held the lock
            member.gone = True
            return
        with self.lock:
            self._let_go(member)

    def abandon(self, member: ShareMember) -> None:
        """Note that a consumer was collected unclosed. For finalizers: takes no lock."""
        self._abandoned.put(member)
        for group in tuple(self.groups.values()):
            group.wake()

    def _let_go(self, member: ShareMember) -> None:
        member.gone = True
        if member.timer is not None:
            member.timer.cancel()
            member.timer = None
        self._give_back(tuple(member.batches))
        for group in [group for group in self.groups.values() if member in group.members]:
            del group.members[member]
            group.generation += 1
            if not group.members:
                group.end()
                del self.groups[group.name]

    def _follow_topics(self, group: ShareGroup, member: ShareMember) -> int:
        """Bring a member's partitions up to date, with cursors for those that the group does not have yet.

        Returns the commit to wait for, 0 for none: a cursor that begins at the end must not begin later after a crash.
        """
        version = self._topics_version
        names = member.selection.names()
        group.drop_deleted()
        number = 0
        with self._engine.lock:
            wanted = {
                (topic.id, partition): topic
                for name in sorted(names)
                if (topic := self._log.topics.get(name)) is not None
                for partition in range(len(topic.partitions))
            }
            known = self._model.groups.get(group.name)
            if known is None or any(key not in known for key in wanted):
                number = self._take_on(group.name, member, wanted)
            known = self._model.groups[group.name]
            for key in [key for key in wanted if key not in group.partitions]:
                cursor = self._model.cursor_of(self._cursors, group.name, key)
                group.add(key, SharePartition(wanted[key], key[1], cursor, group.has_news))
        member.topics = names
        member.partitions = frozenset(group.partitions[key] for key in wanted)
        member.topics_version = version
        return number

    def _take_on(self, name: str, member: ShareMember, wanted: dict[tuple[int, int], Topic]) -> int:
        """Write down the group, and a cursor for each partition that it does not have yet. Under both locks."""
        commit = self._engine.begin()
        known = self._model.groups.get(name)
        if known is None:
            self._check_free(name)
            self._model.record_group(commit, name)
            known = {}
        cursor_id = self._cursors.next_id
        topics = {topic_id for topic_id, _ in known}
        for key in [key for key in wanted if key not in known]:
            stream = wanted[key].partitions[key[1]]
            # Whatever is in a partition that came when the group was there already came after the group did.
            new = key[0] in topics or key[0] >= member.first_topic_id
            start = stream.end if member.start == "latest" and not new else stream.start
            self._model.record_cursor(commit, name, key, cursor_id, start)
            cursor_id += 1
        return commit.write()

    def _check_free(self, name: str) -> None:
        if name in self._coordination.groups() or self._consumer_groups.committed_by(name):
            raise GroupError(f"{name!r} is a consumer group: it cannot be a share group, too")

    def _topic_changed(self, _name: str) -> None:
        self._topics_version += 1
        for group in tuple(self.groups.values()):
            group.wake()

    # Handing out

    def take(self, group: ShareGroup, batch: Batch, limit: int) -> list[Taken]:
        """Hand out up to `limit` records that are available; they are in `batch`, whose lock begins now.

        Raises `CorruptionError` for a partition that cannot be read, when no record came before; the others go on with
        the next call. What an exception keeps from being handed out is for the caller to give back (`take_back`).
        """
        member = batch.member
        number = 0
        self.check_open()
        with self.lock:
            self._finish_interrupted()
            self.take_up_abandoned()
            if member.gone:
                return []
            if member.topics_version != self._topics_version:
                number = self._follow_topics(group, member)
            haul = Haul(batch, limit)
            try:
                self._fill(group, haul)
            finally:
                self._write_haul(haul)  # before anybody sees the records
            if haul.taken:
                batch.due_ms = self._monotonic_ms() + member.lock_ms
                member.batches[batch] = None
                self._watch(member)
        if number:
            self._engine.wait(number)
        return haul.taken

    def _fill(self, group: ShareGroup, haul: Haul) -> None:
        for partition in tuple(group.news):
            if not haul.room:
                return
            if partition not in haul.batch.member.partitions:
                continue
            # Before it is looked at: whoever appends meanwhile puts it back.
            del group.news[partition]
            if partition.topic.deleted:
                continue
            try:
                partition.take(haul)
            except MsglogError:
                group.news[partition] = None
                if haul.taken:
                    return
                raise
            if not haul.room:
                group.news[partition] = None

    def take_back(self, group: ShareGroup, batch: Batch) -> None:
        """Make available again what an exception kept from being handed out; it does not count as handed out."""
        if self._engine.closed:  # in a forked child somebody may have held the lock
            return
        with self.lock:
            for partition, offsets in batch.held.items():
                deliveries = partition.cursor.deliveries
                for offset in offsets:
                    if partition.cursor.unsettled.get(offset) is batch:
                        deliveries[offset] = partition.times(offset) - 1
            self._repair(group.partitions.values())
            self._give_back([batch], archive=False)

    # Settling

    def settle(self, batch: Batch, partition: SharePartition, offset: int, outcome: Outcome = "acked") -> None:
        """Settle a record for good. Raises `SettlementError` when it is not in hand any more."""
        self._check_member(batch)
        with self.lock:
            self.check_in_hand(batch, partition, offset)
            self._write([self.settlement(partition, offset, outcome)])
            batch.drop(partition, offset)

    def reject(self, batch: Batch, partition: SharePartition, offset: int) -> None:
        """Do so without the work being done."""
        self.settle(batch, partition, offset, "rejected")

    def release(self, batch: Batch, partition: SharePartition, offset: int) -> None:
        """Make a record available again, or settle it when it was handed out often enough. Raises as `settle`."""
        self._check_member(batch)
        with self.lock:
            self.check_in_hand(batch, partition, offset)
            if self.is_last_delivery(batch, partition, offset):
                self._write([self.settlement(partition, offset, "delivery_limit")])
                batch.drop(partition, offset)
            else:
                self.return_to_group(batch, partition, offset)

    @staticmethod
    def is_last_delivery(batch: Batch, partition: SharePartition, offset: int) -> bool:
        """Whether a record was handed out as often as its member allows. Under the lock."""
        return not batch.member.givers_up and partition.times(offset) >= batch.member.delivery_limit

    def return_to_group(self, batch: Batch, partition: SharePartition, offset: int) -> None:
        """Make a record in hand available again. Under the lock."""
        try:
            partition.cursor.give_back(offset)
            partition.wake()
            batch.drop(partition, offset)
        except BaseException:
            self._repair([partition])
            raise

    def settlement(self, partition: SharePartition, offset: int, outcome: Outcome) -> list[Any]:  # noqa: ARG002 see below
        """Return the event, of the section of cursors, that settles a record.

        It does not tell the outcome: that is for whoever watches a store in a test, in a subclass of this.
        """
        cursor = partition.cursor
        return ["settle", cursor.id, offset, offset + 1, cursor.next]

    def check_in_hand(self, batch: Batch, partition: SharePartition, offset: int) -> None:
        """Make sure that a record may be settled. Under the lock. Raises `SettlementError`, `ClosedError`."""
        self._check_member(batch)
        if partition.topic.deleted:
            raise SettlementError(f"the topic {partition.name.topic!r} was deleted, and the record with it")
        if partition.cursor.unsettled.get(offset) is not batch or batch.due_ms <= self._monotonic_ms():
            raise SettlementError(
                f"offset {offset} of topic {partition.name.topic!r} partition {partition.name.partition} "
                "is not in hand any more: its lock expired"
            )

    def _check_member(self, batch: Batch) -> None:
        if batch.member.gone:
            raise SettlementError("the record is available again: its consumer was closed")
        self.check_open()

    # Taking back

    def _watch(self, member: ShareMember) -> None:
        """Have the timers look when the first lock of a member expires."""
        if member.timer is None and member.batches:
            first = next(iter(member.batches))
            member.timer = self._timers.schedule(first.due_ms, lambda: self._expire(member))

    def _expire(self, member: ShareMember) -> None:
        count = self._take_expired(member)
        if count:
            logger.warning(
                "the locks of %d records that %s had in hand have expired",
                count,
                member.id,
                extra={
                    "event": "lock_expired",
                    "path": self._engine.directory,
                    "member": member.id,
                    "records": count,
                    "lock_ms": member.lock_ms,
                },
            )

    def _take_expired(self, member: ShareMember) -> int:
        """Take back what a member has in hand whose lock has expired; return how many records that are."""
        with self.lock:
            member.timer = None
            if member.gone or self._closed or self._engine.closed:
                return 0
            now_ms = self._monotonic_ms()
            # A timer that comes too early, for a batch that is settled by now, looks around and is set anew.
            due = list(itertools.takewhile(lambda batch: batch.due_ms <= now_ms, member.batches))
            count = sum(len(offsets) for batch in due for offsets in batch.held.values())
            self._give_back(due)
            self._watch(member)
            return count

    def _give_back(self, batches: Collection[Batch], *, archive: bool = True) -> None:
        """Make available again what is in hand of some batches; `archive`: settle what was handed out too often."""
        over: list[tuple[SharePartition, int]] = []
        partitions = {partition: None for batch in batches for partition in batch.held if not partition.topic.deleted}
        try:
            for batch in batches:
                for partition, offsets in batch.held.items():
                    cursor = partition.cursor
                    for offset in sorted(offset for offset in offsets if cursor.unsettled.get(offset) is batch):
                        if archive and partition in partitions and self.is_last_delivery(batch, partition, offset):
                            over.append((partition, offset))
                        else:
                            cursor.give_back(offset)
            self._archive(over)
            for batch in batches:
                batch.held.clear()
                batch.member.batches.pop(batch, None)
        except BaseException:
            self._repair(partitions)
            raise
        for partition in partitions:
            partition.wake()

    def _archive(self, over: list[tuple[SharePartition, int]]) -> None:
        try:
            self._write([self.settlement(partition, offset, "delivery_limit") for partition, offset in over])
        except MsglogError as error:
            # Whoever would be handed them next settles them instead.
            logger.warning(
                "%d records of %s are given up later: %s",
                len(over),
                self._engine.directory,
                error,
                extra={"event": "give_up_failed", "path": self._engine.directory, "records": len(over)},
            )
            for partition, offset in over:
                partition.cursor.give_back(offset)

    @staticmethod
    def _repair(partitions: Iterable[SharePartition]) -> None:
        """After an exception that may have struck anywhere: find out anew what is available."""
        for partition in partitions:
            partition.cursor.look_again()
            partition.wake()

    # Writing

    def _write_haul(self, haul: Haul) -> None:
        """Write what handing out has come to."""
        self._write(haul.events)

    def _write(self, events: list[list[Any]]) -> None:
        """Write events of cursors in one commit, and wait for no sync."""
        if not events:
            return
        if len(events) == 1:
            self._engine.writer.append_all((), self._now_ms(), CursorModel.section, events[0])
            return
        with self._engine.lock:
            commit = self._engine.begin()
            for event in events:
                commit.record(CursorModel.section, event)
            commit.write()

    def _finish_interrupted(self) -> None:
        """Have a commit of ours that an interrupt struck done before its cursors are looked at."""
        if self._engine.obstacle is not None:
            with self._engine.lock:
                self._engine.clear_obstacle()

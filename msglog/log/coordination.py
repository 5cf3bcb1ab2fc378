"""The consumer groups of one open store: joining, rebalancing, committing, and eviction on the store's clock.

There is one `Coordination` per open directory, shared by all its consumers; members live in this process
only, since only the process that writes may have any. Every public method takes the store lock for a moment
and waits for nothing; what consumers must react to is told by ringing their bells. Whoever holds the store
lock must not call in here.

Liveness. There is no network between a consumer and its group, so no heartbeat can get lost and no thread
sends any: the coordination speaks for each consumer, on timers of the store's clock. A consumer that waits
in a poll is polling. One whose last thread has ended was left behind by a worker that died: nothing speaks
for it, and its session timeout evicts it. One that is busy elsewhere is evicted by its poll interval. One
that was collected leaves as soon as anybody looks: its finalizer only leaves a note (`abandon`) and rings
for the others. With a manual clock all evictions that were due have happened when `advance` returns.

Groups are forgotten when they have neither members nor committed offsets. Committed offsets of a group
without members do not expire; Kafka drops them after seven days. Imported by the consumer, `group_admin` and
`subscription`.
"""

import itertools
import logging
from collections.abc import Callable, Collection, Mapping
from functools import partial
from queue import Empty, SimpleQueue
from typing import TypeVar, cast
from weakref import WeakSet

from msglog.errors import ClosedError, FencedError, MsglogError, OffsetOutOfRangeError
from msglog.log.bell import Bell
from msglog.log.groups import GroupsModel
from msglog.log.live_group import LiveGroup, Seat
from msglog.log.model import LogModel
from msglog.log.rules.coordinator import Group
from msglog.log.rules.membership import JoinRequest
from msglog.log.rules.rebalance import Sync
from msglog.log.share.model import ShareModel
from msglog.storage import Commit
from msglog.store import StoreCore
from msglog.types import TopicPartition
from msglog.waiting import Wakeable

SERVICE = "groups"

logger = logging.getLogger("msglog.groups")

_T = TypeVar("_T")


class Coordination:
    """The groups with members, and the bells of all consumers, of one store. Safe for any thread.

    `topics_version` rises whenever a topic is made, deleted or gets partitions.
    """

    def __init__(self, core: StoreCore) -> None:
        self._engine = core.engine
        self._timers = core.timers
        self.now_ms = core.clock.monotonic_ms
        self._log = cast(LogModel, core.engine.models[LogModel.section])
        self._model = cast(GroupsModel, core.engine.models[GroupsModel.section])
        self._shares = ShareModel.of(core.engine)
        self._groups: dict[str, LiveGroup] = {}
        self._bells: WeakSet[Bell] = WeakSet()
        self._observers: dict[str, set[Wakeable]] = {}
        self._member_numbers = itertools.count(1)
        # Only a SimpleQueue may be filled from a finalizer: its put is safe against itself.
        self._abandoned: SimpleQueue[Seat] = SimpleQueue()
        self._closed = False
        self.topics_version = 0
        self._log.listeners.append(self._topic_changed)

    @classmethod
    def of(cls, core: StoreCore) -> "Coordination":
        """Return the coordination of an open store, which is made with its first consumer."""
        found = core.services.get(SERVICE)
        if found is None:
            with core.engine.lock:
                found = core.services.get(SERVICE)
                if found is None:
                    found = core.services[SERVICE] = cls(core)
        coordination: Coordination = found  # type: ignore[assignment]
        return coordination

    def close(self) -> None:
        """Wake every consumer for the last time: the store closes."""
        self._closed = True
        for bell in tuple(self._bells):
            bell.ring()
        for waiters in tuple(self._observers.values()):
            for waiter in tuple(waiters):
                waiter.wake()

    def check_open(self) -> None:
        """Raise `ClosedError` once the store is closed or closing, or in a forked child."""
        if self._closed:
            raise ClosedError(f"the store {self._engine.directory} was closed")
        self._engine.check_open()

    def watch(self, bell: Bell) -> None:
        """Ring this bell when topics change and when the store closes, as long as somebody else holds it."""
        with self._engine.lock:
            self._bells.add(bell)

    # Membership

    def new_member_id(self, instance_id: str | None) -> str:
        """Return an id that was never used. Ids sort in the order of joining, and so do assignors."""
        return f"{instance_id or 'consumer'}-{next(self._member_numbers):08}"

    def join(self, group: str, request: JoinRequest, bell: Bell) -> Seat:
        """Join a group at once; the first `sync` delivers the member's share. Raises `GroupError`."""
        return self._change(group, lambda live: live.join(request, bell, self.now_ms()))

    def leave(self, seat: Seat) -> None:
        """Leave the group; a static member stays, away, until its session times out."""
        with self._engine.lock:
            self._release(seat)

    def abandon(self, seat: Seat) -> None:
        """Note that a consumer was collected unclosed. For finalizers: takes no lock."""
        self._abandoned.put(seat)
        live = self._groups.get(seat.group)
        if live is not None:
            for other in tuple(live.seats.values()):
                other.bell.ring()

    def sync(self, seat: Seat) -> Sync:
        """Return what a member is to do next; this is its poll. Raises `FencedError`."""
        return self._change(seat.group, lambda live: live.sync(seat, self.now_ms()))

    def may_receive(self, seat: Seat) -> bool:
        """Whether a sync may bring a member anything now. Costs far less than a sync among many members."""
        with self._engine.lock:
            live = self._groups.get(seat.group)
            return live is not None and live.group.may_receive(seat.member_id)

    def revoked(self, seat: Seat, partitions: Collection[TopicPartition]) -> None:
        """Confirm that a member has stopped working on `partitions`."""
        self._change(seat.group, lambda live: live.revoked(seat, partitions))

    def subscribe(self, seat: Seat, topics: frozenset[str]) -> None:
        """Change what a member subscribes to. Raises `FencedError`."""
        self._change(seat.group, lambda live: live.group.subscribe(seat.member_id, topics, self.now_ms()))

    def is_member(self, seat: Seat) -> bool:
        """Whether the group still knows a member: neither evicted nor fenced."""
        try:
            return self._change(seat.group, lambda live: live.group.heartbeat(seat.member_id, self.now_ms()))
        except FencedError:
            return False

    def evict(self, seat: Seat) -> None:
        """Evict a member as its timeouts would: its next sync finds it lost."""
        self._change(seat.group, lambda live: live.group.evict(seat.member_id))

    def rebalance(self, group: str) -> None:
        """Have a group rebalance although nothing has changed. Raises `GroupError` when it has no members."""
        self._change(group, lambda live: live.group.rebalance())

    def find(self, group: str) -> Group | None:
        """Return the coordinator of a group that has, or had, members, else None. Under the store lock."""
        self._take_up_abandoned()
        live = self._groups.get(group)
        if live is None:
            return None
        self._guarded(live, lambda: live.group.expire(self.now_ms()))
        return live.group

    def groups(self) -> list[str]:
        """Return the names of the groups that have members. Under the store lock."""
        self._take_up_abandoned()
        return [name for name, live in self._groups.items() if live.group.size]

    def forget(self, group: str) -> None:
        """Drop the coordinator of a group that was deleted. Under the store lock."""
        live = self._groups.pop(group, None)
        if live is not None and live.timer is not None:
            live.timer.cancel()

    # Offsets

    def committed(self, group: str, partition: TopicPartition) -> int | None:
        """Return a group's committed offset, None without one."""
        return self._model.committed(group, partition)

    def commit(self, group: str, seat: Seat | None, offsets: Mapping[TopicPartition, int]) -> int:
        """Commit offsets for a member, or for a group without members, and return the number to wait for.

        Raises as `stage` and `Engine.begin` do.
        """
        with self._engine.lock:
            commit = self._engine.begin()
            self.stage(commit, group, seat, offsets)
            number = commit.write()
            self.tell_observers(group)
            return number

    def stage(self, commit: Commit, group: str, seat: Seat | None, offsets: Mapping[TopicPartition, int]) -> None:
        """Make offsets part of a commit, under the store lock.

        Raises `FencedError` when the member no longer owns the partitions or, without a seat, when the group
        has members; `RebalanceError` when they come back with the next assignment; `TopicNotFoundError`,
        `PartitionNotFoundError`; `OffsetOutOfRangeError` for an offset beyond the end.
        """
        if seat is None:
            if not self._abandoned.empty():
                self._take_up_abandoned()
            known = self._groups.get(group)
            if known is not None:  # a group that is unknown here has no members
                self._guarded(known, known.group.check_standalone_commit)
        else:
            live = self._live_or_new(group)
            self._guarded(live, lambda: live.group.check_commit(seat.member_id, seat.generation, offsets))
        self.record_offsets(commit, group, offsets)

    def record_offsets(self, commit: Commit, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Make offsets that nobody needs to own part of a commit, under the store lock. Raises as `stage`."""
        if group in self._shares.groups:
            self._shares.check_free(group)
        topics = self._log.topics
        committed: list[list[int]] = []
        for partition, offset in offsets.items():
            name, number = partition
            topic = topics.get(name)
            if topic is None:
                topic = self._log.topic(name)
            end = topic.partition(number).end
            if not 0 <= offset <= end:
                raise out_of_range(partition, offset, 0, end)
            committed.append([topic.id, number, offset])
        commit.events.append((GroupsModel.section, ["commit", group, committed]))

    def observe(self, group: str, waiter: Wakeable) -> None:
        """Wake `waiter` after each commit of a group's offsets, until `unobserve`."""
        with self._engine.lock:
            self._observers.setdefault(group, set()).add(waiter)

    def unobserve(self, group: str, waiter: Wakeable) -> None:
        """Undo `observe`."""
        with self._engine.lock:
            waiters = self._observers.get(group, set())
            waiters.discard(waiter)
            if not waiters:
                self._observers.pop(group, None)

    def tell_observers(self, group: str) -> None:
        """Wake those who watch a group's offsets. Under the store lock, after the commit was written."""
        for waiter in self._observers.get(group, ()):
            waiter.wake()

    # Inside

    def _change(self, group: str, change: Callable[[LiveGroup], _T]) -> _T:
        """Take the store lock and do something to a group."""
        with self._engine.lock:
            live = self._live_or_new(group)
            return self._guarded(live, lambda: change(live))

    def _guarded(self, live: LiveGroup, work: Callable[[], _T]) -> _T:
        """Do something to a group under the store lock, and tell whoever must know of what came of it.

        The coordinator's steps are not made to be interrupted: a group that an interrupt (Ctrl-C) struck is given
        up, and its members find themselves lost and join anew.
        """
        try:
            try:
                return work()
            finally:
                self._settle(live)
        except MsglogError:
            raise
        except BaseException:
            self._disband(live)
            raise

    def _disband(self, live: LiveGroup) -> None:
        if self._groups.get(live.group.group) is live:
            self.forget(live.group.group)
        live.ring()

    def _live_or_new(self, group: str) -> LiveGroup:
        self._shares.check_free(group)
        self._take_up_abandoned()
        live = self._groups.get(group)
        if live is None:
            live = self._groups[group] = LiveGroup(Group(group, self._partition_counts()))
        return live

    def _partition_counts(self) -> dict[str, int]:
        # Counted by ids: while a topic's event is applied, its streams need not be there yet.
        return {name: len(topic.stream_ids) for name, topic in self._log.topics.items()}

    def _take_up_abandoned(self) -> None:
        abandoned = self._abandoned
        if abandoned.empty():  # asked for first: an exception takes its time
            return
        try:
            while True:
                self._release(abandoned.get_nowait())
        except Empty:
            pass

    def _release(self, seat: Seat) -> None:
        live = self._groups.get(seat.group)
        if live is not None:
            self._guarded(live, lambda: live.leave(seat, self.now_ms()))

    def _settle(self, live: LiveGroup) -> None:
        """Tell the members what changed, set the timer, and forget a group that is no more."""
        if not live.has_news and live.timer is not None:
            return
        live.tell()
        self._log_changes(live)
        due_ms = live.next_check_ms(self.now_ms())
        timer = live.timer
        if timer is not None and (due_ms is None or due_ms < timer.due_ms):
            timer.cancel()
            timer = live.timer = None
        name = live.group.group
        if due_ms is None:
            if name not in self._model.offsets and self._groups.get(name) is live:
                del self._groups[name]
        elif timer is None:
            # A timer that comes too early looks around and is set anew: later due times need no change here.
            live.timer = self._timers.schedule(due_ms, lambda: self._check(live))

    def _log_changes(self, live: LiveGroup) -> None:
        """Log rebalances, and who was evicted or fenced: by the timers, since handlers of logs may be slow."""
        group = live.group
        while group.ejected:
            what, member_id = group.ejected.popleft()
            self._log_later(
                logging.WARNING,
                f"member %r of group %r was {what}",
                member_id,
                group.group,
                extra={"event": what, "group": group.group, "member": member_id},
            )
        if live.logged_generation != group.generation:
            live.logged_generation = group.generation
            self._log_later(
                logging.INFO,
                "group %r rebalances: generation %d, %d members",
                group.group,
                group.generation,
                group.size,
                extra={
                    "event": "rebalanced",
                    "group": group.group,
                    "generation": group.generation,
                    "members": group.size,
                },
            )

    def _log_later(self, level: int, message: str, *args: object, extra: dict[str, object]) -> None:
        if logger.isEnabledFor(level):
            extra["path"] = self._engine.directory
            self._timers.schedule(self.now_ms(), partial(logger.log, level, message, *args, extra=extra))

    def _check(self, live: LiveGroup) -> None:
        with self._engine.lock:
            live.timer = None
            self._take_up_abandoned()
            self._guarded(live, lambda: live.keep_alive(self.now_ms()))

    def _topic_changed(self, name: str) -> None:
        self.topics_version += 1
        if name not in self._log.topics:
            self._model.forget_deleted_topics()
        counts = self._partition_counts()
        for live in tuple(self._groups.values()):
            self._guarded(live, partial(live.group.set_partitions, counts))
        for bell in tuple(self._bells):
            bell.ring()


def out_of_range(partition: TopicPartition, offset: int, start: int, end: int) -> OffsetOutOfRangeError:
    """Return the error for an offset that is not within `start` to `end`."""
    return OffsetOutOfRangeError(
        f"offset {offset} of topic {partition.topic!r} partition {partition.partition} is not within {start} to {end}",
        topic=partition.topic,
        partition=partition.partition,
        offset=offset,
        start_offset=start,
        end_offset=end,
    )

"""Looking at groups, and moving or deleting those that nobody is in. Imported by the log's face.

What is a share group's is done by `share.admin`.
"""

from collections.abc import Mapping
from typing import cast

from msglog.checks import check_choice, check_integer, refused, wrong_type
from msglog.errors import GroupError, ReadOnlyError
from msglog.log.coordination import Coordination
from msglog.log.groups import GroupsModel
from msglog.log.model import LogModel
from msglog.log.rules.coordinator import Group, GroupState
from msglog.log.rules.names import check_group_name
from msglog.log.share.admin import ShareAdmin
from msglog.log.share.model import ShareModel
from msglog.log.topic import Topic
from msglog.storage import Stream
from msglog.store import StoreCore
from msglog.types import GroupDescription, TopicPartition


class GroupAdmin:
    """The groups of one store. Safe for any thread; each call sees or changes one moment's state."""

    def __init__(self, core: StoreCore) -> None:
        self._engine = core.engine
        self._coordination = Coordination.of(core)
        self._log = cast(LogModel, core.engine.models[LogModel.section])
        self._model = cast(GroupsModel, core.engine.models[GroupsModel.section])
        self._shares = ShareModel.of(core.engine)
        self._share_admin = ShareAdmin(core)

    def groups(self) -> list[str]:
        """Return the names of the groups with members or committed offsets, and of share groups, sorted.

        Raises `ClosedError`.
        """
        self._look()
        with self._engine.lock:
            stored = [group for group in self._model.offsets if self._model.committed_by(group)]
            return sorted({*stored, *self._coordination.groups(), *self._shares.groups})

    def describe(self, group: str) -> GroupDescription:
        """Return a group's members, generation, offsets and lag.

        The lag of a partition is its end minus the committed offset, None without a commit. It is told for
        partitions with a commit and for all partitions of topics that members subscribe to. The generation
        of a group that had no members since the store was opened is 0. Of a share group the offset is the one
        below which all is settled, and the lag counts what is not settled. Raises `InvalidNameError`,
        `GroupError` when there is no such group, `ClosedError`.
        """
        group = check_group_name(group)
        self._look()
        if group in self._shares.groups:
            return self._share_admin.describe(group)
        with self._engine.lock:
            live, offsets = self._find(group)
            members = live.members() if live is not None else ()
            topics = {topic for member in members for topic in member.topics}
            partitions = {*offsets, *(tp for name in topics for tp in self._partitions_of(name))}
            return GroupDescription(
                group=group,
                state=(live.state if live is not None else GroupState.EMPTY).value,
                generation=live.generation if live is not None else 0,
                assignor=live.assignor if live is not None else None,
                members=members,
                offsets=offsets,
                lag={tp: self._lag(tp, offsets.get(tp)) for tp in sorted(partitions)},
            )

    def reset_offsets(
        self,
        group: str,
        topic: str,
        *,
        to: str | Mapping[int, int] = "earliest",
        to_timestamp_ms: int | None = None,
    ) -> None:
        """Move a group's committed offsets in one topic; a group that is not there is made.

        `to`: "earliest" or "latest" for all partitions, or the next offset to read for some, 0 to the end
        offset. `to_timestamp_ms` instead: the first record at or after that time, the end where nothing is
        that late. Returns when that is as durable as `sync` promises. Raises `GroupError` while the group
        has members, static ones that are away included; `TopicNotFoundError`, `PartitionNotFoundError`,
        `OffsetOutOfRangeError`, `InvalidNameError`, `InvalidOptionError`, `InvalidTypeError`,
        `ReadOnlyError`, `ClosedError`.
        """
        group = check_group_name(group)
        self._check_writable()
        found = self._log.topic(topic)
        offsets = _offsets_by_name(found, to) if to_timestamp_ms is None else _offsets_at(found, to, to_timestamp_ms)
        if group in self._shares.groups:
            self._engine.wait(self._share_admin.reset_offsets(group, found, offsets))
            return
        with self._engine.lock:
            live = self._coordination.find(group)
            if live is not None:
                live.check_inactive("reset the offsets of")
            commit = self._engine.begin()
            self._coordination.record_offsets(
                commit, group, {TopicPartition(topic, number): offset for number, offset in offsets.items()}
            )
            number = commit.write()
            self._coordination.tell_observers(group)
        self._engine.wait(number)

    def delete(self, group: str) -> None:
        """Forget a group without members, with its offsets.

        Returns when that is as durable as `sync` promises. Raises `InvalidNameError`, `GroupError` while it has
        members or when there is no such group, `ReadOnlyError`, `ClosedError`.
        """
        group = check_group_name(group)
        self._check_writable()
        if group in self._shares.groups:
            self._engine.wait(self._share_admin.delete(group))
            return
        with self._engine.lock:
            live, _ = self._find(group)
            if live is not None:
                live.check_inactive("delete")
            commit = self._engine.begin()
            commit.record(GroupsModel.section, ["delete", group])
            number = commit.write()
            if live is not None:
                live.delete()
                self._coordination.forget(group)
        self._engine.wait(number)

    def _look(self) -> None:
        self._coordination.check_open()
        self._engine.refresh()

    def _check_writable(self) -> None:
        self._coordination.check_open()
        if self._engine.readonly:
            path = self._engine.directory
            raise ReadOnlyError(f"the store {path} was opened with readonly=True", path=path)

    def _find(self, group: str) -> tuple[Group | None, dict[TopicPartition, int]]:
        live = self._coordination.find(group)
        offsets = self._model.committed_by(group)
        if not offsets and (live is None or not live.members()):
            raise GroupError(f"there is no group {group!r}")
        return live, offsets

    def _partitions_of(self, name: str) -> list[TopicPartition]:
        topic = self._log.topics.get(name)
        return [] if topic is None else [TopicPartition(name, number) for number in range(len(topic.partitions))]

    def _lag(self, partition: TopicPartition, committed: int | None) -> int | None:
        if committed is None:
            return None
        return max(0, self._log.topic(partition.topic).partition(partition.partition).end - committed)


def _offsets_by_name(topic: Topic, to: object) -> dict[int, int]:
    if isinstance(to, Mapping):
        for number, offset in to.items():
            topic.partition(check_integer("a partition in to", number, 0))
            check_integer("an offset in to", offset, 0)
        if not to:
            raise refused("to", to, "at least one partition with its offset")
        return dict(to)
    if not isinstance(to, str):
        raise wrong_type("to", to, "'earliest', 'latest', or a mapping of partitions to offsets")
    check_choice("to", to, ("earliest", "latest"))
    return {n: stream.start if to == "earliest" else stream.end for n, stream in enumerate(topic.partitions)}


def _offsets_at(topic: Topic, to: object, timestamp_ms: int) -> dict[int, int]:
    if to != "earliest":
        raise refused("to", to, "nothing together with to_timestamp_ms")
    check_integer("to_timestamp_ms", timestamp_ms, 0)
    return {number: _offset_at(stream, timestamp_ms) for number, stream in enumerate(topic.partitions)}


def _offset_at(stream: Stream, timestamp_ms: int) -> int:
    end = stream.end
    offset = stream.offset_at(timestamp_ms)
    return end if offset is None else offset

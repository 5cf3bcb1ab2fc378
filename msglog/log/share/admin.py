"""Looking at share groups, and moving or deleting those that nobody is in. Imported by the log's `group_admin`."""

from collections.abc import Mapping
from typing import cast

from msglog.cursors import Cursor, CursorModel
from msglog.errors import GroupError, TopicNotFoundError
from msglog.log.coordination import out_of_range
from msglog.log.model import LogModel
from msglog.log.rules.coordinator import GroupState
from msglog.log.share.group import Batch, ShareGroup, ShareMember
from msglog.log.share.model import ShareModel
from msglog.log.share.sharing import Sharing
from msglog.log.topic import Topic
from msglog.storage import Stream
from msglog.store import StoreCore
from msglog.types import GroupDescription, MemberDescription, TopicPartition


class ShareAdmin:
    """The share groups of one store. Safe for any thread; each call sees or changes one moment's state."""

    def __init__(self, core: StoreCore) -> None:
        self._engine = core.engine
        self._sharing = Sharing.of(core)
        self._log = cast(LogModel, core.engine.models[LogModel.section])
        self._cursors = cast(CursorModel, core.engine.models[CursorModel.section])
        self._model = ShareModel.of(core.engine)

    def describe(self, group: str) -> GroupDescription:
        """Return a share group's members, offsets and lag. Raises `GroupError` when there is no such group.

        An offset is Kafka's share-partition start offset: all before it is settled. The lag counts all offsets that are
        not settled, those in somebody's hand among them.
        """
        with self._sharing.lock:
            self._sharing.take_up_abandoned()
            with self._engine.lock:
                found = {
                    TopicPartition(topic.name, number): (
                        self._model.cursor_of(self._cursors, group, (topic_id, number)),
                        topic.partition(number),
                    )
                    for topic_id, number in self._find(group)
                    if (topic := self._log.topic_ids.get(topic_id)) is not None
                }
                live = self._sharing.groups.get(group) or ShareGroup(group)
                return GroupDescription(
                    group=group,
                    state=(GroupState.STABLE if live.members else GroupState.EMPTY).value,
                    generation=live.generation,
                    assignor=None,
                    members=tuple(_described(member) for member in live.members),
                    offsets={tp: max(cursor.settled, stream.start) for tp, (cursor, stream) in sorted(found.items())},
                    lag={tp: _lag(cursor, stream) for tp, (cursor, stream) in sorted(found.items())},
                )

    def reset_offsets(self, group: str, topic: Topic, offsets: Mapping[int, int]) -> int:
        """Have a group without members begin anew at some offsets; return the commit to wait for.

        What it has settled from there on it gets again, and what it has not settled before, it does not get. Raises
        `GroupError`, `TopicNotFoundError`, `OffsetOutOfRangeError`.
        """
        with self._sharing.lock:
            self._check_inactive(group, "reset the offsets of")
            with self._engine.lock:
                self._find(group)
                if topic.deleted:
                    raise TopicNotFoundError(f"there is no topic {topic.name!r}", topic=topic.name)
                commit = self._engine.begin()
                cursor_id = self._cursors.next_id
                for number, offset in offsets.items():
                    end = topic.partition(number).end
                    if offset > end:
                        raise out_of_range(TopicPartition(topic.name, number), offset, 0, end)
                    self._model.record_cursor(commit, group, (topic.id, number), cursor_id, offset)
                    cursor_id += 1
                return commit.write()

    def delete(self, group: str) -> int:
        """Forget a group without members; return the commit to wait for. Raises `GroupError`."""
        with self._sharing.lock:
            self._check_inactive(group, "delete")
            with self._engine.lock:
                self._find(group)
                commit = self._engine.begin()
                self._model.record_group_deleted(commit, group)
                return commit.write()

    def _find(self, group: str) -> dict[tuple[int, int], int]:
        cursors = self._model.groups.get(group)
        if cursors is None:
            raise GroupError(f"there is no group {group!r}")
        return cursors

    def _check_inactive(self, group: str, action: str) -> None:
        self._sharing.take_up_abandoned()
        live = self._sharing.groups.get(group)
        if live is not None:
            raise GroupError(f"cannot {action} group {group!r}: it has {len(live.members)} members")


def _described(member: ShareMember) -> MemberDescription:
    return MemberDescription(
        member.id, None, member.topics, frozenset(partition.name for partition in member.partitions)
    )


def _lag(cursor: "Cursor[Batch]", stream: Stream) -> int:
    first = max(cursor.settled, stream.start)
    return sum(end - start for start, end in cursor.done.gaps(first, stream.end))

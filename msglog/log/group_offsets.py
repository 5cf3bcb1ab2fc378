"""What a consumer commits: on demand, durably; and by itself, without waiting. Imported by the consumer.

A consumer without a group has nowhere to commit to and says so.
"""

from collections.abc import Mapping
from typing import NamedTuple

from msglog.errors import GroupError, PartitionNotFoundError, TopicNotFoundError
from msglog.log.coordination import Coordination
from msglog.log.live_group import Seat
from msglog.log.positions import Start
from msglog.types import TopicPartition


class GroupOffsets:
    """The committed offsets of one group, as one of its consumers sees them."""

    def __init__(self, coordination: Coordination, group: str | None, *, auto_commit: bool) -> None:
        self._coordination = coordination
        self.name = group
        self.auto_commit = auto_commit
        self._written: dict[TopicPartition, int] = {}

    @property
    def group(self) -> str:
        """The group's name. Raises `GroupError` without a group."""
        if self.name is None:
            raise GroupError("this consumer has no group, so it has no committed offsets")
        return self.name

    def committed(self, partition: TopicPartition) -> int | None:
        """Return the group's committed offset, None without a commit or without a group."""
        return None if self.name is None else self._coordination.committed(self.name, partition)

    def begin(self, partition: TopicPartition, position: int | None, start: Start) -> None:
        """Note where the consumer begins with a partition.

        This alone is nothing to commit where the next one would begin at the same record. With "latest" it would not:
        what came in between would be skipped.
        """
        known = self.committed(partition) if start == "latest" else position
        if known is not None:
            self._written[partition] = known

    def end(self, partition: TopicPartition) -> None:
        """Forget a partition."""
        self._written.pop(partition, None)

    def staged(self, seat: Seat | None, offsets: Mapping[TopicPartition, int]) -> "StagedOffsets":
        """Return what a transaction is to commit. Raises `GroupError` without a group."""
        return StagedOffsets(self._coordination, self.group, seat, offsets, self)

    def note(self, offsets: Mapping[TopicPartition, int]) -> None:
        """The commit of a transaction with these offsets is written, still under the store lock."""
        self._written.update(offsets)

    def commit(self, seat: Seat | None, offsets: Mapping[TopicPartition, int]) -> int:
        """Commit and return the number of the commit to wait for. Raises as `Coordination.commit` does."""
        number = self._coordination.commit(self.group, seat, offsets)
        self._written.update(offsets)
        return number

    def commit_finished(self, seat: Seat | None, positions: Mapping[TopicPartition, int]) -> None:
        """With auto-commit: write the positions that moved, without waiting for the disk.

        Offsets the group no longer takes from this consumer are not an error: whoever owns the partitions
        now goes on from the last commit. Raises what writing raises otherwise (`DiskFullError`,
        `StoreFailedError`).
        """
        if not self.auto_commit or self.name is None:
            return
        moved = {partition: offset for partition, offset in positions.items() if self._written.get(partition) != offset}
        if not moved:
            return
        try:
            self.commit(seat, moved)
        except (GroupError, TopicNotFoundError, PartitionNotFoundError):
            pass  # the look at the group or the topics that follows tells the consumer


class StagedOffsets(NamedTuple):
    """What a transaction commits for a consumer; for a group by its name without `seat` and `group_offsets`."""

    coordination: Coordination
    group: str
    seat: Seat | None
    offsets: Mapping[TopicPartition, int]
    group_offsets: GroupOffsets | None

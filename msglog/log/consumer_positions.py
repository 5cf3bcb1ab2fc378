"""The part of `Consumer` that tells and moves positions. Imported by `consumer`.

Before the first poll these calls already see what was assigned at once; from then on the assignment changes
in polls only.
"""

from collections.abc import Iterable

from msglog.checks import check_integer
from msglog.errors import GroupError
from msglog.log.assignment import ManualSource
from msglog.log.consumer_arguments import check_partition, check_partitions
from msglog.log.consumer_base import ConsumerBase
from msglog.log.coordination import out_of_range
from msglog.log.positions import PartitionCursor
from msglog.types import TopicPartition


class Positioning(ConsumerBase):
    """`assignment`, `assign`, `position`, `lag`, the seeks, `pause`, `resume`."""

    def assignment(self) -> frozenset[TopicPartition]:
        """Return the partitions this consumer reads now."""
        with self._owner:
            self._check_usable()
            self._take_assignment()
            return frozenset(self._positions.cursors)

    def assign(self, tps: Iterable[TopicPartition]) -> None:
        """Read exactly these partitions, for a consumer made without topics; no callbacks run.

        Partitions that were assigned before keep their positions; with `auto_commit` what was handed out of those that
        go is committed. Raises `GroupError` for a consumer with topics (subscribing and assigning exclude each other,
        as in Kafka), `TopicNotFoundError`, `PartitionNotFoundError`, `InvalidTypeError`; with auto-commit what writing
        raises.
        """
        with self._owner:
            self._check_usable()
            if not isinstance(self._source, ManualSource):
                raise GroupError("this consumer subscribes to topics: its partitions cannot be assigned by hand, too")
            partitions = check_partitions("tps", tps)
            for partition in partitions:
                self._positions.stream_of(partition)
            going = {tp: position for tp, position in self._positions.known().items() if tp not in partitions}
            self._offsets.commit_finished(self._seat, going)
            self._source.assign(frozenset(partitions))
            while (change := self._source.next_change()) is not None:
                self._apply(change)

    def position(self, tp: TopicPartition) -> int:
        """Return the offset after the last record handed out, or where reading begins.

        Raises `GroupError` for a partition that is not assigned, `TopicNotFoundError`,
        `PartitionNotFoundError`, and with `start="error"` `OffsetOutOfRangeError` when there is nowhere to
        begin.
        """
        with self._owner:
            self._check_usable()
            self._take_assignment()
            return self._positions.cursor(check_partition("tp", tp)).settled_position()

    def lag(self) -> dict[TopicPartition, int]:
        """Return how far the position in each assigned partition is behind the end. Raises as `position`."""
        with self._owner:
            self._check_usable()
            self._engine.refresh()
            self._take_assignment()
            cursors = self._positions.cursors
            return {tp: max(0, cursor.stream.end - cursor.settled_position()) for tp, cursor in cursors.items()}

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Go on at `offset`, within the partition's start and end offset; nothing is committed.

        Raises `OffsetOutOfRangeError` and moves nothing outside of it, else as `position`.
        """
        with self._owner:
            cursor = self._chosen((tp,))[0]
            check_integer("offset", offset, 0)
            first, end = cursor.stream.start, cursor.stream.end
            if not first <= offset <= end:
                raise out_of_range(cursor.partition, offset, first, end)
            cursor.seek(offset)

    def seek_to_time(self, timestamp_ms: int) -> None:
        """Go in each assigned partition to the first offset whose timestamp is at or after `timestamp_ms`.

        To the end where nothing is that late. Raises `InvalidTypeError`, `InvalidOptionError`.
        """
        with self._owner:
            cursors = self._chosen(())
            check_integer("timestamp_ms", timestamp_ms, 0)
            found = [(cursor, cursor.stream.end, cursor.stream.offset_at(timestamp_ms)) for cursor in cursors]
            for cursor, end, offset in found:
                cursor.seek(end if offset is None else offset)

    def seek_to_beginning(self, *tps: TopicPartition) -> None:
        """Go to the start offset of these partitions, of all assigned ones if none are named."""
        with self._owner:
            for cursor in self._chosen(tps):
                cursor.seek(cursor.stream.start)

    def seek_to_end(self, *tps: TopicPartition) -> None:
        """Go to the end offset of these partitions, of all assigned ones if none are named."""
        with self._owner:
            for cursor in self._chosen(tps):
                cursor.seek(cursor.stream.end)

    def seek_to_committed(self) -> None:
        """Go back to the group's committed offset in each assigned partition.

        To where `start` says where there is none. Raises `GroupError` without a group.
        """
        with self._owner:
            cursors = self._chosen(())
            self._offsets.group  # noqa: B018 - raises without one
            for cursor in cursors:
                cursor.rewind(self._offsets.committed(cursor.partition))

    def pause(self, *tps: TopicPartition) -> None:
        """Hand out nothing from these partitions, from all assigned ones if none are named, until `resume`.

        A loop over the consumer ends with them at once. They stay assigned; a rebalance that takes one away
        forgets that it was paused.
        """
        with self._owner:
            for cursor in self._chosen(tps):
                cursor.paused = True
                cursor.detach()

    def resume(self, *tps: TopicPartition) -> None:
        """Undo `pause` for these partitions, for all assigned ones if none are named."""
        with self._owner:
            for cursor in self._chosen(tps):
                cursor.paused = False

    def _chosen(self, tps: tuple[TopicPartition, ...]) -> list[PartitionCursor]:
        self._check_usable()
        self._engine.refresh()
        self._take_assignment()
        return self._positions.chosen([check_partition("tp", tp) for tp in tps])

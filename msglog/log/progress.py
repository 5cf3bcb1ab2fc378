"""How far a group has come with what was in its topics at a moment: what `wait_idle` waits for.

Imported by the subscriptions, of threads and of tasks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from msglog.log.assignment import TopicSelection
from msglog.log.bell import Bell
from msglog.log.coordination import Coordination
from msglog.log.model import LogModel
from msglog.store import StoreCore
from msglog.types import TopicPartition
from msglog.waiting import Wakeable


class Progress:
    """What a group is to reach: the ends that the partitions have when this is made. Raises `ClosedError` then."""

    def __init__(self, core: StoreCore, group: str, selection: TopicSelection) -> None:
        self._log = cast(LogModel, core.engine.models[LogModel.section])
        self._coordination = Coordination.of(core)
        self._coordination.check_open()
        self._group = group
        self._ends = {tp: self._end_of(tp) for tp in selection.partitions()}

    @contextmanager
    def watching(self, waiter: Wakeable) -> Iterator[None]:
        """Have a waiter woken when it may have changed."""
        bell = Bell(waiter)  # for topics that go meanwhile, and for the end of the store
        self._coordination.watch(bell)
        self._coordination.observe(self._group, waiter)
        try:
            yield
        finally:
            self._coordination.unobserve(self._group, waiter)

    def is_done(self) -> bool:
        """Whether all of it was handled and committed, by whatever member. Raises `ClosedError`."""
        self._coordination.check_open()
        return all(self._position_of(tp) >= end for tp, end in self._ends.items())

    def _end_of(self, partition: TopicPartition) -> int:
        return self._log.topic(partition.topic).partition(partition.partition).end

    def _position_of(self, partition: TopicPartition) -> float:
        """Return up to where a partition was handled; what was removed needs no handling."""
        topic = self._log.topics.get(partition.topic)
        if topic is None:
            return float("inf")
        committed = self._coordination.committed(self._group, partition)
        return max(committed or 0, topic.partition(partition.partition).start)

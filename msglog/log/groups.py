"""The offsets that consumer groups have committed: a pure function of a snapshot and the events after it.

    event                                              effect
    "commit"   group, [[topic id, partition, offset]]  these are the group's committed offsets now
    "delete"   group                                   the group's offsets are gone

Offsets are kept by topic id, not by name: those of a deleted topic mean nothing to a topic of the same name
that is made later. Invariants: changes only in `load` and `apply` and when a topic goes, under the store
lock; applying an event twice in a row does what once does; checks come before an event is written, never
here. Who is in a group is not kept: members end with their process (`coordination`). Imported by the rest of
the log.
"""

from typing import Any

from msglog.log.model import LogModel
from msglog.storage import Engine
from msglog.types import TopicPartition

Offsets = dict[int, dict[int, int]]
"""Committed offsets by topic id and partition."""


class GroupsModel:
    """The section "groups" of a store's state. `offsets` holds every group that has committed, by name."""

    section = "groups"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._log: LogModel | None = None
        self.offsets: dict[str, Offsets] = {}

    def load(self, snapshot: Any) -> None:
        """Take over a snapshot, None for a new store."""
        self.offsets.clear()
        for group, committed in snapshot or ():
            self._note(group, committed)

    def apply(self, event: list[Any]) -> None:
        """Apply one event."""
        if event[0] == "commit":
            self._note(event[1], event[2])
        else:
            self.offsets.pop(event[1], None)

    def snapshot(self) -> Any:
        """Return the whole state, without what belonged to topics that are gone."""
        self.forget_deleted_topics()
        return [
            [
                group,
                [[topic_id, number, offset] for topic_id, by in topics.items() for number, offset in by.items()],
            ]
            for group, topics in self.offsets.items()
        ]

    def committed(self, group: str, partition: TopicPartition) -> int | None:
        """Return the offset that `group` reads next in a partition, None without a commit or a topic."""
        topic = self._topics().topics.get(partition.topic)
        if topic is None:
            return None
        return self.offsets.get(group, {}).get(topic.id, {}).get(partition.partition)

    def committed_by(self, group: str) -> dict[TopicPartition, int]:
        """Return all committed offsets of a group, sorted by partition. Under the store lock."""
        topics = self._topics().topic_ids
        found = {
            TopicPartition(topics[topic_id].name, number): offset
            for topic_id, by_partition in self.offsets.get(group, {}).items()
            if topic_id in topics
            for number, offset in by_partition.items()
        }
        return dict(sorted(found.items()))

    def forget_deleted_topics(self) -> None:
        """Drop the offsets of topics that are gone. Under the store lock."""
        topics = self._topics().topic_ids
        for committed in self.offsets.values():
            for topic_id in [topic_id for topic_id in committed if topic_id not in topics]:
                del committed[topic_id]
        for group in [group for group, committed in self.offsets.items() if not committed]:
            del self.offsets[group]

    def _note(self, group: str, committed: list[list[int]]) -> None:
        if type(group) is not str:
            raise TypeError("a group without a name")
        topics = self.offsets.setdefault(group, {})
        for topic_id, number, offset in committed:
            topics.setdefault(topic_id, {})[number] = offset

    def _topics(self) -> LogModel:
        # Looked up at first use: in which order the models are made is nobody's business.
        if self._log is None:
            log = self._engine.models["log"]
            assert isinstance(log, LogModel)
            self._log = log
        return self._log

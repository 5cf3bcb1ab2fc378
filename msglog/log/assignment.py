"""Where a consumer's partitions come from: assigned by hand, all of its topics, or its share of a group.

Each source answers `next_change`: the next thing to do about the assignment, None when there is nothing. The
consumer does it, runs the user's callback outside of any lock, and calls `done`. Imported by the consumer;
the third source is in `group_member`.
"""

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol

from msglog.checks import wrong_type
from msglog.log.coordination import Coordination
from msglog.log.model import LogModel
from msglog.log.positions import Positions
from msglog.log.rules.names import check_topic_name
from msglog.types import TopicPartition

_NOTHING: frozenset[TopicPartition] = frozenset()


class Change(NamedTuple):
    """One step of an assignment: begin with these, end with these, or note that these are gone already."""

    kind: Literal["assign", "revoke", "lost"]
    partitions: frozenset[TopicPartition]


class Source(Protocol):
    """A consumer's source of partitions."""

    def next_change(self) -> Change | None:
        """Return what to do next, None for nothing. It stays until `done` is called."""

    def note_poll(self) -> bool:
        """Hear that a poll goes on whose bell did not ring; return False when `next_change` must be asked."""

    def done(self, change: Change) -> None:
        """Note that the consumer has done it."""

    def still_owns(self) -> bool:
        """Whether the partitions that were assigned are still this consumer's."""

    def leave(self) -> None:
        """End for good."""


class TopicSelection:
    """The topics a consumer wants: by name, and by patterns that a whole name must match (as in Kafka).

    Raises `InvalidTypeError`, `InvalidNameError`, and `TopicNotFoundError` for a name that does not exist at
    first. A topic that is deleted later, and made anew, is taken up again.
    """

    def __init__(self, log: LogModel, topics: Iterable[str | re.Pattern[str]]) -> None:
        self._log = log
        self._names: set[str] = set()
        self._patterns: list[re.Pattern[str]] = []
        self._left_out: str | None = None
        for topic in topics:
            if isinstance(topic, re.Pattern) and isinstance(topic.pattern, str):
                self._patterns.append(topic)
            elif isinstance(topic, str):
                self._names.add(log.topic(check_topic_name(topic)).name)
            else:
                raise wrong_type("topics", topic, "names of topics, or compiled patterns of str")

    def __bool__(self) -> bool:
        return bool(self._names or self._patterns)

    def names(self) -> frozenset[str]:
        """Return the names that are wanted now; those given by name whether they exist or not."""
        left_out = self._left_out
        found = {
            name
            for name in tuple(self._log.topics)
            for pattern in self._patterns
            if pattern.fullmatch(name) and not (left_out and name.endswith(left_out))
        }
        return frozenset(self._names | found)

    def leave_out(self, suffix: str) -> None:
        """From now on let no pattern match names with this ending; those given by name stay."""
        self._left_out = suffix

    def partitions(self) -> frozenset[TopicPartition]:
        """Return all partitions of the wanted topics that exist now."""
        topics = [topic for name in self.names() if (topic := self._log.topics.get(name)) is not None]
        return frozenset(TopicPartition(topic.name, n) for topic in topics for n in range(len(topic.partitions)))


class _FixedSource:
    """A source nobody else has a share in: what is wanted and exists is assigned."""

    def __init__(self, coordination: Coordination) -> None:
        self._coordination = coordination
        self._assigned = _NOTHING
        self._seen_version = -1

    def wanted(self) -> frozenset[TopicPartition]:
        """Return what is wanted and exists now."""
        raise NotImplementedError

    def next_change(self) -> Change | None:
        """Return what went, then what came; looks only when topics have changed."""
        version = self._coordination.topics_version
        if version == self._seen_version:
            return None
        wanted = self.wanted()
        if gone := self._assigned - wanted:
            return Change("revoke", gone)
        if new := wanted - self._assigned:
            return Change("assign", new)
        self._seen_version = version
        return None

    def note_poll(self) -> bool:
        """Return True: whoever changes topics rings."""
        return True

    def done(self, change: Change) -> None:
        """Keep in mind what is assigned."""
        self._assigned ^= change.partitions

    def still_owns(self) -> bool:
        """Return True: nobody takes the partitions away."""
        return True

    def leave(self) -> None:
        """Do nothing."""


class WholeTopicsSource(_FixedSource):
    """All partitions of the selected topics, without a group."""

    def __init__(self, coordination: Coordination, selection: TopicSelection) -> None:
        super().__init__(coordination)
        self._selection = selection

    def wanted(self) -> frozenset[TopicPartition]:
        """Return the partitions of the topics that match now."""
        return self._selection.partitions()


class ManualSource(_FixedSource):
    """What `Consumer.assign` was given, until it is given something else; partitions that are deleted vanish.

    `used` tells whether it was given anything yet, be it nothing.
    """

    def __init__(self, coordination: Coordination, positions: Positions) -> None:
        super().__init__(coordination)
        self._positions = positions
        self._given = _NOTHING
        self.used = False

    def assign(self, partitions: frozenset[TopicPartition]) -> None:
        """Take these and no others from the next look on."""
        self._given = partitions
        self.used = True
        self._seen_version = -1

    def wanted(self) -> frozenset[TopicPartition]:
        """Return those that were given and exist now."""
        return frozenset(partition for partition in self._given if self._positions.exists(partition))

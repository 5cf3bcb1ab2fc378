"""A whole store on paper: topics, groups, producers, share groups, and a broker, as they should be after each call.

Values that are never changed: a call makes a new world that shares what is the same with the one before. It knows
nothing of files, segments or commits.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from msglog import Record, TopicPartition
from support.paper import Paper

SHARE_LIMIT = 3
"""How often the share groups hand a record out."""


@dataclass(frozen=True)
class Part:
    """One partition: the records that are left, in offset order."""

    start: int = 0
    end: int = 0
    last_append_ms: int = 0
    records: tuple[Record, ...] = ()

    def trimmed(self, start: int) -> "Part":
        """Return the partition without what is below an offset."""
        start = max(start, self.start)
        return replace(self, start=start, records=tuple(one for one in self.records if one.offset >= start))


@dataclass(frozen=True)
class Topic:
    """One topic. `options` are those of `create_topic`; `generation` tells it from others of its name."""

    generation: int
    options: Mapping[str, Any]
    parts: tuple[Part, ...]

    @property
    def compacts(self) -> bool:
        """Whether it is compacted."""
        return "compact" in self.options.get("cleanup_policy", "")

    def with_part(self, number: int, part: Part) -> "Topic":
        """Return the topic with one partition changed."""
        return replace(self, parts=(*self.parts[:number], part, *self.parts[number + 1 :]))

    def appended(self, name: str, number: int, rows: list[tuple[Any, ...]], now_ms: int) -> "Topic":
        """Return the topic after (key, value, headers, timestamp or None) were appended to a partition."""
        part = self.parts[number]
        records, last_ms = list(part.records), part.last_append_ms
        for place, (key, value, headers, given_ms) in enumerate(rows):
            stamp_ms = now_ms if given_ms is None else given_ms
            if self.options.get("timestamp_type") == "append":
                last_ms = stamp_ms = max(last_ms, now_ms)
            records.append(Record(name, number, part.end + place, stamp_ms, key, value, tuple(headers)))
        return self.with_part(number, Part(part.start, part.end + len(rows), last_ms, tuple(records)))


@dataclass(frozen=True)
class Shares:
    """What one share group knows for good: (partition, offset) of what is settled, how often each was handed out."""

    topic: str
    settled: frozenset[tuple[int, int]] = frozenset()
    times: Mapping[tuple[int, int], int] = field(default_factory=dict)

    def with_settled(self, *places: tuple[int, int]) -> "Shares":
        """Return the group with more settled."""
        return replace(self, settled=self.settled.union(places))


@dataclass(frozen=True)
class World:
    """The whole."""

    paper: Paper
    topics: Mapping[str, Topic] = field(default_factory=dict)
    committed: Mapping[str, Mapping[TopicPartition, int]] = field(default_factory=dict)
    sequences: Mapping[str, int] = field(default_factory=dict)
    shares: Mapping[str, Shares] = field(default_factory=dict)
    generations: int = field(default=0, compare=False)

    def with_topic(self, name: str, topic: Topic | None) -> "World":
        """Return the world with a topic made, changed, or (None) deleted with all that groups noted of it."""
        topics = {**self.topics}
        if topic is not None:
            topics[name] = topic
            return replace(self, topics=topics)
        del topics[name]
        committed = {
            group: {tp: offset for tp, offset in offsets.items() if tp.topic != name}
            for group, offsets in self.committed.items()
        }
        return replace(self, topics=topics, committed=committed)

    def with_committed(self, group: str, offsets: Mapping[TopicPartition, int]) -> "World":
        """Return the world after a group committed."""
        return replace(self, committed={**self.committed, group: {**self.committed.get(group, {}), **offsets}})

    def with_shares(self, group: str, shares: Shares) -> "World":
        """Return the world with a share group changed."""
        return replace(self, shares={**self.shares, group: shares})

    def with_sequence(self, producer: str, last: int) -> "World":
        """Return the world after a producer wrote."""
        return replace(self, sequences={**self.sequences, producer: last})

    def reopened(self, now_ms: int) -> "World":
        """Return what is there when the store is opened after an end of any kind."""
        paper = self.paper.copy()
        paper.crash()
        paper.now_ms = now_ms
        paper.advance(0)
        return replace(self, paper=paper)

    # What can be seen of it

    def unsettled(self, group: str) -> Iterator[tuple[int, int]]:
        """Yield (partition, offset) of what a share group has to do, whoever has it in hand."""
        shares = self.shares[group]
        for number, part in enumerate(self.topics[shares.topic].parts):
            for offset in range(part.start, part.end):
                if (number, offset) not in shares.settled:
                    yield number, offset

    def to_compare(self) -> dict[str, Any]:
        """Return all that an open store shows, by what it is."""
        seen: dict[str, Any] = {"topics": sorted(self.topics)}
        for name, topic in self.topics.items():
            for number, part in enumerate(topic.parts):
                seen[f"topic {name} {number}"] = (part.start, part.end, part.records)
        seen["committed"] = {group: dict(offsets) for group, offsets in sorted(self.committed.items()) if offsets}
        seen["sequences"] = dict(self.sequences)
        for group, shares in self.shares.items():
            left = list(self.unsettled(group))
            seen[f"shares {group}"] = [(*place, shares.times.get(place, 0)) for place in left]
        paper = self.paper
        for name, queue in paper.queues.items():
            letters = [queue.letters[place] for place in queue.ready]
            delivered = {level: number for level, number in queue.next.items() if number}
            seen[f"queue {name}"] = ([(letter.body, letter.deaths) for letter in letters], delivered)
        seen["delayed"] = sorted(letter.body for *_, letter in paper.delayed)
        seen["exchanges"] = {(name, kind) for name, (kind, _) in paper.exchanges.items()}
        seen["bindings"] = set(paper.bindings)
        seen["policies"] = set(paper.policies)
        return seen


def differences(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Say how what was found differs from what was wanted."""
    return [
        f"{what}: {found.get(what)} instead of {wanted.get(what)}"
        for what in sorted(wanted.keys() | found.keys())
        if wanted.get(what) != found.get(what)
    ]

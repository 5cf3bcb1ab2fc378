"""The public value types: what calls return. Plain immutable data; imports only how to show it.

Records carry payloads but never show them: a `repr` tells names, sizes and offsets only.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from msglog.showing import Size, as_html, page, table

Headers = tuple[tuple[str, bytes | None], ...]


class TopicPartition(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class Record(NamedTuple):
    """One record as read from a topic.

    `timestamp_ms` is the producer's time or the append time, as the topic says; `value` None is a tombstone.
    Headers are ordered and may repeat names.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    def __repr__(self) -> str:
        key = "None" if self.key is None else f"<{len(self.key)} bytes>"
        value = "None" if self.value is None else f"<{len(self.value)} bytes>"
        return (
            f"Record(topic={self.topic!r}, partition={self.partition}, offset={self.offset}, "
            f"timestamp_ms={self.timestamp_ms}, key={key}, value={value}, headers=<{len(self.headers)}>)"
        )


class RecordMetadata(NamedTuple):
    """Where a record was put. `duplicate` is True when a named producer had written it before."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class PartitionDescription:
    """One partition: its readable offsets are `start_offset` to before `end_offset`."""

    partition: int
    start_offset: int
    end_offset: int
    size_bytes: int
    segments: int


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """A topic with its options and its partitions."""

    name: str
    topic_id: int
    partitions: tuple[PartitionDescription, ...]
    config: dict[str, object]

    @as_html
    def _repr_html_(self) -> str:
        rows = [
            (one.partition, one.start_offset, one.end_offset, Size(one.size_bytes), one.segments)
            for one in self.partitions
        ]
        options = [(name, value) for name, value in self.config.items() if value is not None]
        tables = [
            table("Partitions", ("partition", "start offset", "end offset", "size", "segments"), rows, rank=2),
            table("Options that are set", ("option", "value"), options),
        ]
        return page("Topic", self.name, {}, tables)


@dataclass(frozen=True, slots=True)
class MemberDescription:
    """One member of a consumer group and what it owns."""

    member_id: str
    instance_id: str | None
    topics: frozenset[str]
    assignment: frozenset[TopicPartition]


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """A consumer group. `lag` is None for a partition without a committed offset."""

    group: str
    state: str
    generation: int
    assignor: str | None
    members: tuple[MemberDescription, ...]
    offsets: dict[TopicPartition, int]
    lag: dict[TopicPartition, int | None]

    @as_html
    def _repr_html_(self) -> str:
        owners = {tp: member.member_id for member in self.members for tp in member.assignment}
        partitions = [(*tp, self.offsets.get(tp), lag, owners.get(tp)) for tp, lag in self.lag.items()]
        members = [
            (member.member_id, member.instance_id, ", ".join(sorted(member.topics)), len(member.assignment))
            for member in self.members
        ]
        facts = {"": self.state, "generation": self.generation, "assignor": self.assignor}
        columns = ("topic", "partition", "committed offset", "lag", "member")
        tables = [
            table("Partitions", columns, partitions, rank=3, empty="Nothing committed."),
            table("Members", ("member", "instance", "topics", "partitions"), members),
        ]
        return page("Group", self.group, facts, tables)


@dataclass(frozen=True, slots=True)
class CleanReport:
    """What one run of retention and compaction removed."""

    records_removed: int = 0
    bytes_removed: int = 0
    segments_removed: int = 0
    partitions: tuple[TopicPartition, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be in a store.

    `kind` is what is concerned: "frame", "segment", "index", "codec" (one that is not installed), "checkpoint",
    "snapshot", "journal", "published", "file", "state", "stream", "cursor", "topic", "queue", "group", "producer" or
    "delay". `path` and `position` (a byte in that
    file, 0 where it is not about one) say where. `topic` or `queue` and `partition` say whose it is, as far as that is
    known; `partition` of a queue with priorities is the priority. Offsets `first_offset` to before `next_offset` are
    affected, None where none are.
    """

    kind: str
    path: str
    position: int
    message: str
    topic: str | None = None
    queue: str | None = None
    partition: int | None = None
    first_offset: int | None = None
    next_offset: int | None = None

    def __str__(self) -> str:
        whose = [
            f"{name} {value!r}"
            for name, value in (("topic", self.topic), ("queue", self.queue), ("partition", self.partition))
            if value is not None
        ]
        if self.first_offset is not None:
            whose.append(f"offsets {self.first_offset} to before {self.next_offset}")
        return f"{self.kind}: {self.path} at {self.position}: {self.message}" + (
            f" ({', '.join(whose)})" if whose else ""
        )


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup holds: all commits up to `commit`, in `files` files with `bytes` bytes in `directory`."""

    directory: str
    commit: int
    files: int
    bytes: int
    duration_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets whose records could not be read, `first_offset` to before `next_offset`.

    Of a topic's partition, of a queue (`partition` is the priority where it has priorities) among the messages that
    waited, or, with neither name, of messages that were delayed.
    """

    topic: str | None
    queue: str | None
    partition: int | None
    first_offset: int
    next_offset: int


@dataclass(frozen=True, slots=True)
class SalvageReport:
    """What was saved from a damaged store, and what was not.

    `problems`: what kept parts of it from being read. `gaps`: records that are missing, by partition and queue, in
    order. `lost_definitions`: how many changes of definitions, offsets and settlements could not be read or made no
    sense without those. `adopted`: topics that hold streams of which nobody knows any more what they belonged to.
    """

    source: str
    directory: str
    records: int
    bytes: int
    problems: tuple[Problem, ...] = ()
    gaps: tuple[Gap, ...] = ()
    lost_definitions: int = 0
    adopted: tuple[str, ...] = ()

    @as_html
    def _repr_html_(self) -> str:
        facts = {
            "records": self.records,
            "size": Size(self.bytes),
            "lost definitions": self.lost_definitions,
            "adopted topics": len(self.adopted),
        }
        gaps = [(one.topic, one.queue, one.partition, one.first_offset, one.next_offset) for one in self.gaps]
        tables = [
            table("Gaps", ("topic", "queue", "partition", "from offset", "to before"), gaps),
            table(
                "Problems", ("kind", "message", "file"), [(one.kind, one.message, one.path) for one in self.problems]
            ),
        ]
        return page("Salvage", self.directory, facts, tables)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not (self.gaps or self.lost_definitions or self.adopted)


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """How the store was found when it was opened.

    `clean`: the last writer closed it, or it is new. `commit`: the last commit kept. `life`: the number of this
    opening for writing. `replayed_commits`: taken from the journal or found behind the last checkpoint.
    `cut_bytes`: bytes of unfinished or unreachable frames left out; `quarantined`: files that keep a copy of them.
    `removed`: files unlinked because they were known to be dropped, or empty. `duration_ms`: how long recovery took.
    """

    clean: bool = True
    commit: int = 0
    life: int = 0
    replayed_commits: int = 0
    cut_bytes: int = 0
    quarantined: tuple[str, ...] = field(default=())
    removed: tuple[str, ...] = field(default=())
    duration_ms: float = 0.0

    @as_html
    def _repr_html_(self) -> str:
        facts = {
            "commit": self.commit,
            "life": self.life,
            "replayed commits": self.replayed_commits,
            "cut": Size(self.cut_bytes),
            "removed files": len(self.removed),
            "took": f"{self.duration_ms:,.1f} ms",
        }
        name = "found clean" if self.clean else "found unclosed"
        return page(
            "Recovery", name, facts, [table("In quarantine", ("file",), [(path,) for path in self.quarantined])]
        )

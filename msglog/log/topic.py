"""A topic in memory: its options, its streams, and what appending needs to know of it at a glance.

Changed only by `LogModel` when it applies events, under the store lock, but for `append_times` and the sticky
choice: a race for the latter costs nothing worse than a batch that moves on early. Imported by the rest of
the log.
"""

from contextlib import suppress
from typing import Any, Final

from msglog.errors import CorruptionError, PartitionNotFoundError
from msglog.log.keys.index import KeyIndex
from msglog.log.keys.indexes import KeyIndexes
from msglog.log.rules.partitioning import StickyPartitioner
from msglog.log.rules.topic_config import TopicConfig
from msglog.storage import Engine, Stream

_MAX_MARKS: Final = 64
_NOT_PLAIN: Final = -1


class PartitionCleaning:
    """How far a compacted partition has been cleaned.

    Below `end` every record was seen by a clean. `horizons` are (end offset, time in ms): tombstones below
    that offset and not below an earlier one may go from that time on; the time is set by the first clean that
    saw them.
    """

    __slots__ = ("end", "horizons")

    def __init__(self, end: int = 0, horizons: list[list[int]] | None = None) -> None:
        self.end = end
        self.horizons = horizons or []

    def note(self, end: int, horizon_ms: int | None) -> None:
        """Take over one clean up to `end`, with a horizon if it left tombstones; twice is like once."""
        if end <= self.end:
            return
        self.end = end
        if horizon_ms is not None:
            self.horizons.append([end, horizon_ms])
        if len(self.horizons) > _MAX_MARKS:
            # Joined with the next one the oldest tombstones live a little longer: never too short.
            del self.horizons[0]

    def horizon_of(self, offset: int) -> int | None:
        """Return from when a tombstone at `offset` may go, None when no clean has seen it yet."""
        if offset >= self.end:
            return None
        return next((horizon for end, horizon in self.horizons if offset < end), 0)

    def has_expired(self, now_ms: int) -> bool:
        """Whether a clean at `now_ms` would remove tombstones that earlier ones left."""
        return any(horizon <= now_ms for _, horizon in self.horizons)

    def forget_expired(self, now_ms: int) -> None:
        """Drop the horizons whose tombstones a clean at `now_ms` has removed."""
        self.horizons = [mark for mark in self.horizons if mark[1] > now_ms]


class Topic:
    """One topic. `deleted` turns True for ever when it is removed, so that who still holds it can tell.

    `limit`: the most bytes of one record. `plain_limit` and `keyed_limit` are the same for records that may
    take the short way through the engine, without and with a key, and -1 when this topic's records may not: so
    from the first expectation about a key on, since the short way notes nothing in an index, and while somebody
    watches each commit.
    """

    __slots__ = (
        "_engine",
        "_expects_keys",
        "_watched",
        "append_times",
        "cleaning",
        "config",
        "deleted",
        "id",
        "indexes",
        "keyed_limit",
        "limit",
        "name",
        "only",
        "partitions",
        "plain_limit",
        "sticky",
        "stream_ids",
    )

    stream_ids: list[int]
    partitions: list[Stream]
    """The streams, partition 0 first. Replaced, never changed, when the topic gets more."""
    only: Stream | None
    """The stream of a topic with one partition: nothing is to be chosen there."""
    sticky: StickyPartitioner | None
    """Chooses for records without a key, None when there is nothing to choose."""
    config: TopicConfig
    limit: int
    plain_limit: int
    keyed_limit: int

    def __init__(
        self,
        engine: Engine,
        indexes: KeyIndexes,
        name: str,
        topic_id: int,
        stream_ids: list[int],
        config: TopicConfig,
    ) -> None:
        self._engine = engine
        self.indexes = indexes
        self._expects_keys = self._watched = False
        self.name = name
        self.id = topic_id
        self.deleted = False
        self.cleaning: dict[int, PartitionCleaning] = {}
        self.append_times: dict[int, int] = {}
        self.partitions = []
        self.set_config(config)
        self.set_streams(stream_ids)

    def partition(self, number: int) -> Stream:
        """Return the stream of one partition. Raises `PartitionNotFoundError`."""
        streams = self.partitions
        if not 0 <= number < len(streams):
            raise PartitionNotFoundError(
                f"topic {self.name!r} has partitions 0 to {len(streams) - 1}, not {number}",
                topic=self.name,
                partition=number,
                partitions=len(streams),
            )
        return streams[number]

    def set_streams(self, stream_ids: list[int]) -> None:
        """Take over the streams, partition 0 first."""
        streams = [self._engine.table.owned(stream_id) for stream_id in stream_ids]
        self.stream_ids = stream_ids
        self.sticky = StickyPartitioner(len(streams), seed=self.id) if len(streams) > 1 else None
        self.only = streams[0] if len(streams) == 1 else None
        self.partitions = streams
        self._configure_streams()

    def choose_sticky(self, size: int) -> int:
        """Return the partition for a record of `size` bytes without a key."""
        return 0 if self.sticky is None else self.sticky.choose(size)

    def set_config(self, config: TopicConfig) -> None:
        """Take over options."""
        self.config = config
        self._set_limits()
        self._configure_streams()

    def _set_limits(self) -> None:
        config = self.config
        limits = (self._engine.options.max_record_bytes, config.max_message_bytes)
        self.limit = min(limit for limit in limits if limit is not None)
        plain = config.timestamp_type == "create" and config.compression is None
        plain = plain and not (self._expects_keys or self._watched)
        self.keyed_limit = self.limit if plain else _NOT_PLAIN
        self.plain_limit = _NOT_PLAIN if config.compacts else self.keyed_limit

    def watch(self, *, watched: bool) -> None:
        """Have all records take the long way, by a commit that can be looked at, or no longer. Under the store lock."""
        self._watched = watched
        self._set_limits()

    def index_for_deciding(self, partition: int) -> KeyIndex:
        """Return a partition's index; from now on appends note in it what they place. Not under the store lock."""
        if not self._expects_keys:
            with self._engine.lock:
                self._expects_keys = True
                self._set_limits()
        return self.indexes.get(self.partition(partition))

    def _configure_streams(self) -> None:
        for stream in self.partitions:
            segment_bytes = self.config.segment_bytes or self._engine.options.segment_bytes
            stream.configure(segment_bytes, self.config.max_segment_ms)

    def cleaning_of(self, partition: int) -> PartitionCleaning:
        """Return how far a partition has been cleaned."""
        return self.cleaning.setdefault(partition, PartitionCleaning())

    def append_time(self, partition: int, now_ms: int) -> int:
        """Return the append time of the next records, never below an earlier one. Under the store lock."""
        stamp = max(now_ms, self.append_times[partition])
        self.append_times[partition] = stamp
        return stamp

    def find_append_time(self, partition: int) -> None:
        """Know the last append time, at first from the last record. Not under the store lock."""
        if partition in self.append_times:
            return
        stream = self.partition(partition)
        found = 0
        with suppress(CorruptionError):  # damage is for readers to report; it must not keep a topic from growing
            frame = stream.reader(max(stream.start, stream.end - 1)).read()
            if frame is not None and frame.append_time:
                found = frame.max_timestamp_ms
        self.append_times.setdefault(partition, found)

    def renew(self, other: "Topic") -> None:
        """Become what `other`, the same topic loaded anew, is."""
        self.deleted = False
        self.cleaning = other.cleaning
        self.set_config(other.config)
        self.set_streams(other.stream_ids)

    def packed(self) -> list[Any]:
        """Return what `unpacked` needs, for a snapshot."""
        cleaning = [[number, done.end, done.horizons] for number, done in self.cleaning.items()]
        return [self.name, self.id, self.stream_ids, self.config.to_dict(), cleaning]

    @classmethod
    def unpacked(cls, engine: Engine, indexes: KeyIndexes, packed: list[Any]) -> "Topic":
        """Return the topic that was packed."""
        name, topic_id, stream_ids, config, cleaning = packed
        topic = cls(engine, indexes, name, topic_id, stream_ids, TopicConfig.from_dict(config))
        topic.cleaning = {number: PartitionCleaning(end, horizons) for number, end, horizons in cleaning}
        return topic

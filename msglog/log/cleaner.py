"""Retention and compaction of partitions: decides by the pure rules, acts through the engine.

Retention is planned and done under the store lock in one step, so that no record appended in between is taken
for an old one. Compaction reads and rewrites outside of it, and only then notes how far it came: a crash in
between costs a second clean, never a record. One clean at a time works on a store. Imported by `background`
and `cleaning`.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from threading import Lock

from msglog.log.model import LogModel
from msglog.log.rules.compaction import last_offsets, next_delete_horizon, plan_compaction, survives
from msglog.log.rules.retention import plan_retention
from msglog.log.rules.segments import SegmentFacts
from msglog.log.topic import PartitionCleaning, Topic
from msglog.storage import Engine, Frame, Stream
from msglog.storage import SegmentFacts as StoredFacts
from msglog.types import CleanReport, TopicPartition


class Cleaner:
    """Cleans topics of one store. Safe for any number of threads: they take turns."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._turn = Lock()

    def clean(self, topics: Iterable[Topic], *, now_ms: int, forced: bool) -> CleanReport:
        """Apply retention and compaction to all partitions of `topics` and tell what went.

        `forced` compacts whatever the dirty ratio, the active segment's records included: it is rolled first.
        Without it only what Kafka's cleaner would choose is compacted.
        """
        total = CleanReport()
        with self._turn:
            for topic in topics:
                for partition in range(len(topic.partitions)):
                    total = _joined(total, self._clean_partition(topic, partition, now_ms, forced=forced))
        return total

    def _clean_partition(self, topic: Topic, partition: int, now_ms: int, *, forced: bool) -> CleanReport:
        report = CleanReport()
        if topic.config.deletes and not topic.deleted:
            report = self._retain(topic, partition, now_ms)
        if topic.config.compacts and not topic.deleted:
            report = _joined(report, _Compaction(self._engine, topic, partition, now_ms, forced=forced).run())
        if not topic.deleted:
            report = _joined(report, self._give_back(topic, partition))
        if report.records_removed or report.segments_removed:
            return _joined(report, CleanReport(partitions=(TopicPartition(topic.name, partition),)))
        return report

    def _retain(self, topic: Topic, partition: int, now_ms: int) -> CleanReport:
        if topic.config.retention_ms is None and topic.config.retention_bytes is None:
            return CleanReport()
        with self._engine.lock:
            stream = topic.partitions[partition]
            stored = _live_segments(stream)
            if topic.deleted or not stored:
                return CleanReport()
            plan = plan_retention(
                _with_active(stored),
                now_ms=now_ms,
                retention_ms=topic.config.retention_ms,
                retention_bytes=topic.config.retention_bytes,
            )
            dropped = stored[: plan.drop_count]
            if plan.start_offset <= stream.start:
                return CleanReport()
            if plan.roll_active:
                self._engine.roll(stream)
            records = plan.start_offset - stream.start
            commit = self._engine.begin()
            commit.trim(stream, plan.start_offset)
            number = commit.write()
        self._engine.wait(number)
        return CleanReport(records, sum(segment.size_bytes for segment in dropped), len(dropped))

    def _give_back(self, topic: Topic, partition: int) -> CleanReport:
        """Roll an active segment of which no record is left, so that its file goes, too."""
        with self._engine.lock:
            stream = topic.partitions[partition]
            emptied = stream.size_bytes
            if topic.deleted or not emptied or stream.start < stream.next_offset:
                return CleanReport()
            segments = len(stream.segments())
            self._engine.roll(stream)
            commit = self._engine.begin()
            commit.trim(stream, stream.start)
            number = commit.write()
        self._engine.wait(number)
        return CleanReport(0, emptied, segments)


class _Compaction:
    """One compaction of one partition."""

    def __init__(self, engine: Engine, topic: Topic, partition: int, now_ms: int, *, forced: bool) -> None:
        self._engine = engine
        self._topic = topic
        self._partition = partition
        self._stream = topic.partitions[partition]
        self._cleaning: PartitionCleaning = topic.cleaning_of(partition)
        self._now_ms = now_ms
        self._forced = forced
        self._latest: dict[bytes, int] = {}
        self._has_tombstone = False

    def run(self) -> CleanReport:
        """Compact if it is due."""
        if self._forced:
            self._roll()
        segments = [segment for segment in _live_segments(self._stream) if segment.end_offset <= self._stream.end]
        if not segments:
            return CleanReport()
        start, end = self._section(segments)
        if end is None:
            return CleanReport()
        self._latest = last_offsets(_keys(self._stream, start, end))
        records = size = 0
        for group in self._groups([segment for segment in segments if segment.sealed and segment.end_offset <= end]):
            removed, freed = self._engine.rewrite(self._stream, group, self._survivors)
            records += removed
            size += freed
        self._note(end)
        return CleanReport(records, size)

    def _roll(self) -> None:
        with self._engine.lock:
            if self._stream.next_offset > self._stream.start and not self._topic.deleted:
                self._engine.roll(self._stream)

    def _section(self, segments: Sequence[StoredFacts]) -> tuple[int, int | None]:
        """Return the offsets that are dirty; the end is None when there is nothing to do."""
        config = self._topic.config
        dirty = [segment for segment in segments if segment.sealed and segment.end_offset > self._cleaning.end]
        plan = plan_compaction(
            _with_active(segments),
            first_dirty_offset=self._cleaning.end,
            oldest_dirty_timestamp_ms=min((segment.first_timestamp_ms for segment in dirty), default=None),
            now_ms=self._now_ms,
            min_cleanable_dirty_ratio=config.min_cleanable_dirty_ratio,
            min_compaction_lag_ms=config.min_compaction_lag_ms,
            max_compaction_lag_ms=config.max_compaction_lag_ms,
        )
        due = plan.eligible
        if self._forced:
            due = plan.dirty_end > plan.dirty_start or self._cleaning.has_expired(self._now_ms)
        return plan.dirty_start, plan.dirty_end if due else None

    def _groups(self, segments: Sequence[StoredFacts]) -> Iterator[list[StoredFacts]]:
        """Put neighbours together as long as their records fit one segment, as Kafka does."""
        group: list[StoredFacts] = []
        for segment in segments:
            if group and sum(one.size_bytes for one in group) + segment.size_bytes > self._stream.segment_bytes:
                yield group
                group = []
            group.append(segment)
        if group:
            yield group

    def _survivors(self, frame: Frame) -> list[int]:
        """Return the places of the records that stay."""
        horizon = self._cleaning.horizon_of(frame.base_offset)
        keys = frame.keys or [None] * frame.count
        kept = [
            place
            for place, (offset, key, value) in enumerate(zip(frame.offsets, keys, frame.values, strict=True))
            if survives(
                offset,
                key,
                tombstone=value is None,
                latest=self._latest,
                delete_horizon_ms=horizon,
                now_ms=self._now_ms,
            )
        ]
        if horizon is None and any(frame.values[place] is None for place in kept):
            self._has_tombstone = True
        return kept

    def _note(self, end: int) -> None:
        """Write down how far this clean came, and from when the tombstones that it saw first may go."""
        horizon = next_delete_horizon(
            None,
            has_tombstone=self._has_tombstone,
            now_ms=self._now_ms,
            delete_retention_ms=self._topic.config.delete_retention_ms,
        )
        with self._engine.lock:
            if self._topic.deleted:
                return
            commit = self._engine.begin()
            commit.record(LogModel.section, ["cleaned", self._topic.id, self._partition, end, horizon, self._now_ms])
            number = commit.write()
        self._engine.wait(number)


def _live_segments(stream: Stream) -> list[StoredFacts]:
    """Return the segments that hold readable records or may get some."""
    return [segment for segment in stream.segments() if segment.end_offset > stream.start or not segment.sealed]


def _with_active(segments: Sequence[StoredFacts]) -> list[SegmentFacts]:
    """Return what the rules decide on: their last segment is always the active one."""
    facts = [SegmentFacts(one.base_offset, one.end_offset, one.size_bytes, one.max_timestamp_ms) for one in segments]
    if segments[-1].sealed:
        end = segments[-1].end_offset
        facts.append(SegmentFacts(end, end, 0, 0))
    return facts


def _keys(stream: Stream, start: int, end: int) -> Iterator[tuple[int, bytes | None]]:
    reader = stream.reader(start)
    while reader.offset < end:
        frame = reader.read()
        if frame is None or frame.base_offset >= end:
            return
        keys = repeat(None) if frame.keys is None else frame.keys
        yield from zip(frame.offsets, keys, strict=False)  # the repeat has no end


def _joined(one: CleanReport, two: CleanReport) -> CleanReport:
    return CleanReport(
        one.records_removed + two.records_removed,
        one.bytes_removed + two.bytes_removed,
        one.segments_removed + two.segments_removed,
        one.partitions + two.partitions,
    )

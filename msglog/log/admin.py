"""The part of `Log` that makes, describes, changes and removes topics.

Every change is one commit of its own, decided under the store lock, after `Engine.begin` has finished a commit that was
interrupted. Imported by `log`.
"""

from typing import Final, Unpack

from msglog.checks import check_flag, check_integer, refused
from msglog.errors import OffsetOutOfRangeError, TopicExistsError
from msglog.log.background import BackgroundCleaning
from msglog.log.handle import LogHandle
from msglog.log.model import LogModel
from msglog.log.rules.names import check_topic_name
from msglog.log.rules.topic_config import (
    CleanupPolicy,
    Compression,
    FurtherTopicOptions,
    TimestampType,
    TopicConfig,
    TopicOptions,
)
from msglog.log.share.model import ShareModel
from msglog.log.topic import Topic
from msglog.storage import Commit
from msglog.storage.codecs import codec_named
from msglog.storage.layout import slug_of
from msglog.types import PartitionDescription, TopicDescription

MAX_PARTITIONS: Final = 10_000


class TopicAdmin(LogHandle):
    """Everything about topics as such, and `delete_records`."""

    def create_topic(
        self,
        name: str,
        *,
        partitions: int = 1,
        exist_ok: bool = False,
        retention_ms: int | None = None,
        retention_bytes: int | None = None,
        segment_bytes: int | None = None,
        segment_ms: int | None = None,
        cleanup_policy: CleanupPolicy = "delete",
        timestamp_type: TimestampType = "create",
        compression: Compression | None = None,
        **config: Unpack[FurtherTopicOptions],
    ) -> None:
        """Make a topic.

        Arguments:
            name: Kafka's rule: 1 to 249 of a-z A-Z 0-9 . _ -, but not "." or "..".
            partitions: 1 to 10,000; more can be added later, none removed.
            exist_ok: with True a topic that is there already stays as it is, whatever its options.
            retention_ms: whole segments whose records are all older go; None keeps them.
            retention_bytes: the oldest segments go while a partition has as many bytes without them; None
                keeps them.
            segment_bytes: the size at which a new segment begins; None takes the store's.
            segment_ms: the age at which a new segment begins; None for no age.
            cleanup_policy: "compact" keeps the last record of each key.
            timestamp_type: "append" stamps records with the store's clock, never going back within a
                partition.
            compression: of whole frames; all but zlib need an extra.
            config: the other options of `TopicConfig` under Kafka's names: min_cleanable_dirty_ratio,
                delete_retention_ms, min_compaction_lag_ms, max_compaction_lag_ms, max_message_bytes,
                message_timestamp_before_max_ms, message_timestamp_after_max_ms.

        Raises `TopicExistsError`, `InvalidNameError`, `InvalidOptionError`, `InvalidTypeError`,
        `ReadOnlyError`, `ClosedError`, `DiskFullError`. Durable as the store's `sync` says when it returns.
        Safe for any number of threads.
        """
        self._check_writable()
        name = check_topic_name(name)
        check_integer("partitions", partitions, 1, MAX_PARTITIONS)
        check_flag("exist_ok", exist_ok)
        options = _check_config(
            TopicConfig().altered(
                retention_ms=retention_ms,
                retention_bytes=retention_bytes,
                segment_bytes=segment_bytes,
                segment_ms=segment_ms,
                cleanup_policy=cleanup_policy,
                timestamp_type=timestamp_type,
                compression=compression,
                **config,
            )
        )
        with self._engine.lock:
            commit = self._engine.begin()
            exists = name in self._model.topics
            number = self._engine.commit_number if exists else self._create(commit, name, partitions, options)
        self._engine.wait(number)
        if exists and not exist_ok:
            raise TopicExistsError(f"there is a topic {name!r} already", topic=name)
        self._cleaning.reconsider()

    def delete_topic(self, name: str) -> None:
        """Remove a topic with its records; what groups committed and settled in it goes, too.

        Raises `TopicNotFoundError`, `InvalidTypeError`, `ReadOnlyError`, `ClosedError`.
        """
        self._topic_to_write(name)
        with self._engine.lock:
            commit = self._engine.begin()
            topic = self._model.topic(name)
            commit.record(LogModel.section, ["delete", topic.id])
            ShareModel.of(self._engine).record_topic_deleted(commit, topic.id)
            for stream in topic.partitions:
                commit.delete_stream(stream)
            number = commit.write()
        self._engine.wait(number)
        self._model.indexes.remove_files(topic.stream_ids)

    def topics(self) -> list[str]:
        """Return the names of all topics, sorted. Raises `ClosedError`."""
        self._check_open()
        self._engine.refresh()
        return sorted(self._model.topics.copy())

    def describe_topic(self, name: str) -> TopicDescription:
        """Return a topic's options and partitions as they are now.

        Raises `TopicNotFoundError`, `InvalidTypeError`, `ClosedError`. Cost grows with the number of
        segments.
        """
        topic = self._topic_to_read(name)
        partitions = [
            PartitionDescription(number, stream.start, stream.end, stream.size_bytes, len(stream.segments()))
            for number, stream in enumerate(topic.partitions)
        ]
        return TopicDescription(topic.name, topic.id, tuple(partitions), topic.config.to_dict())

    def add_partitions(self, name: str, total: int) -> None:
        """Let a topic have `total` partitions, at least as many as now.

        Keys then map to other partitions than before. Raises `TopicNotFoundError`, `InvalidOptionError`,
        `InvalidTypeError`, `ReadOnlyError`, `ClosedError`, `DiskFullError`.
        """
        self._topic_to_write(name)
        check_integer("total", total, 1, MAX_PARTITIONS)
        with self._engine.lock:
            commit = self._engine.begin()
            topic = self._model.topic(name)
            have = len(topic.partitions)
            if total < have:
                raise refused("total", total, f"{have} to {MAX_PARTITIONS}: partitions only grow")
            stream_ids = topic.stream_ids + _new_streams(commit, name, have, total)
            commit.record(LogModel.section, ["partitions", topic.id, stream_ids])
            number = commit.write()
        self._engine.wait(number)

    def alter_topic(self, name: str, **config: Unpack[TopicOptions]) -> None:
        """Change options of a topic, named as in `create_topic`; those left out stay.

        What is in the topic already is not rewritten: a new segment size, compression or timestamp type holds
        for records to come. Raises `TopicNotFoundError`, `InvalidOptionError`, `InvalidTypeError`,
        `ReadOnlyError`, `ClosedError`.
        """
        self._topic_to_write(name)
        with self._engine.lock:
            commit = self._engine.begin()
            topic = self._model.topic(name)
            options = _check_config(topic.config.altered(**config))
            commit.record(LogModel.section, ["options", topic.id, options.to_dict()])
            number = commit.write()
        self._engine.wait(number)
        self._cleaning.reconsider()

    def delete_records(self, topic: str, partition: int, before_offset: int) -> int:
        """Remove the records of a partition below an offset, -1 for all, and return the new start offset.

        An offset below the start offset changes nothing. Disk space comes back by whole segments. Raises
        `OffsetOutOfRangeError` beyond the end, `TopicNotFoundError`, `PartitionNotFoundError`,
        `InvalidOptionError`, `InvalidTypeError`, `ReadOnlyError`, `ClosedError`. Source: Kafka's
        DeleteRecords.
        """
        found = self._topic_to_write(topic)
        check_integer("partition", partition, 0)
        check_integer("before_offset", before_offset, -1)
        found.partition(partition)
        with self._engine.lock:
            commit = self._engine.begin()
            found = self._model.topic(topic)
            number, start, end = self._trim(commit, found, partition, before_offset)
        self._engine.wait(number)
        if before_offset > end:
            raise OffsetOutOfRangeError(
                f"offset {before_offset} of topic {topic!r} partition {partition} is beyond the end, {end}",
                topic=topic,
                partition=partition,
                offset=before_offset,
                start_offset=start,
                end_offset=end,
            )
        return start

    @property
    def _cleaning(self) -> BackgroundCleaning:
        service = self._core.services[BackgroundCleaning.name]
        assert isinstance(service, BackgroundCleaning)
        return service

    def _create(self, commit: Commit, name: str, partitions: int, options: TopicConfig) -> int:
        stream_ids = _new_streams(commit, name, 0, partitions)
        topic_id = self._model.next_topic_id
        commit.record(LogModel.section, ["topic", name, topic_id, stream_ids, options.to_dict()])
        return commit.write()

    def _trim(self, commit: Commit, topic: Topic, partition: int, before_offset: int) -> tuple[int, int, int]:
        """Trim if there is something to trim; return (commit to wait for, start offset, end offset)."""
        stream = topic.partition(partition)
        target = stream.next_offset if before_offset == -1 else before_offset
        if not stream.start < target <= stream.next_offset:
            return self._engine.commit_number, stream.start, stream.next_offset
        commit.trim(stream, target)
        return commit.write(), target, stream.next_offset


def _new_streams(commit: Commit, name: str, first: int, total: int) -> list[int]:
    return [commit.create_stream(slug_of(f"{number}-{name}")) for number in range(first, total)]


def _check_config(config: TopicConfig) -> TopicConfig:
    if config.compression is not None:
        codec_named(config.compression)  # refused here, not at the first append
    return config

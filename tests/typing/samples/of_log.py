"""What a user of the log writes."""

import re
from collections.abc import Iterator
from typing import Any, assert_type

from msglog import (
    CleanReport,
    Consumer,
    GroupDescription,
    Log,
    Producer,
    Record,
    RecordMetadata,
    Retry,
    ShareConsumer,
    ShareRecord,
    Store,
    Subscription,
    TopicDescription,
    TopicPartition,
)


def use_topics(store: Store) -> None:
    log = store.log
    assert_type(log, Log)
    log.create_topic("clicks", partitions=3, retention_ms=60_000, cleanup_policy="compact,delete", compression="zlib")
    log.create_topic("one", exist_ok=True, min_compaction_lag_ms=5)
    log.alter_topic("one", retention_bytes=10_000)
    log.alter_topic("one", cleanup_policy="compact", min_cleanable_dirty_ratio=0.1, max_compaction_lag_ms=None)
    options: dict[str, Any] = {"retention_ms": 5}
    log.alter_topic("one", **options)
    log.add_partitions("clicks", 4)
    description = log.describe_topic("clicks")
    assert_type(description, TopicDescription)
    assert_type(description.partitions[0].end_offset, int)
    assert_type(log.topics(), list[str])
    assert_type(log.clean("clicks"), CleanReport)
    log.delete_topic("clicks")


def use_appending(store: Store) -> None:
    log = store.log
    log.create_topic("clicks", partitions=3)
    log.create_topic("one")
    where = log.append("clicks", b"value", key=b"key", headers={"trace": b"1", "none": None}, timestamp_ms=5)
    assert_type(where, RecordMetadata)
    assert_type(where.offset, int)
    log.append("clicks", None, key=b"key", headers=[("trace", b"1"), ("trace", b"2")], partition=1)
    log.append("one", b"value", expected_offset=0)
    placed = log.append_many("clicks", [b"a", None, b"c"], keys=(b"k", None, b"k"), headers=[None, {}, [("h", b"")]])
    assert_type(placed, dict[int, range])
    log.append_many("one", (b"%d" % number for number in range(3)), key=b"k", timestamps_ms=range(3))
    assert_type(log.partition_for("clicks", b"key"), int)
    with log.producer("ingest") as producer:
        assert_type(producer, Producer)
        assert_type(producer.append("one", b"value", sequence=0).duplicate, bool)
        producer.append_many("one", [b"value"], first_sequence=1)
        assert_type(producer.last_sequence, int)


def use_reading(store: Store) -> None:
    log = store.log
    log.create_topic("one")
    log.append_many("one", [b"a", b"b"], key=b"k")
    records = log.read("one", 0, start=0, stop=2, max_records=10)
    assert_type(records, Iterator[Record])
    for record in records:
        assert_type(record, Record)
        assert_type(record.value, bytes | None)
        assert_type(record.headers, tuple[tuple[str, bytes | None], ...])
        topic, partition, offset, timestamp_ms, key, _value, _headers = record
        assert_type((topic, partition, offset, timestamp_ms, key), tuple[str, int, int, int, bytes | None])
    assert_type(log.read_key("one", b"k"), Iterator[Record])
    assert_type(log.last_record("one", b"k"), Record | None)
    assert_type(log.start_offset("one"), int)
    assert_type(log.end_offset("one", 0), int)
    assert_type(log.offset_at("one", 5, partition=0), int)
    assert_type(log.delete_records("one", 0, before_offset=1), int)


def use_consumers(store: Store) -> None:
    log = store.log
    log.create_topic("one")
    log.append_many("one", [b"a", b"b", b"c"])

    def assigned(consumer: Consumer, partitions: frozenset[TopicPartition]) -> None:
        for tp in partitions:
            assert_type(tp.topic, str)
            consumer.position(tp)

    with log.consumer("one", re.compile("o.e"), group="g", start="earliest", on_assign=assigned) as consumer:
        assert_type(consumer, Consumer)
        for record in consumer.poll(0, max_records=1):
            consumer.commit(record)
        for record in consumer.iter(timeout=0):
            assert_type(record, Record)
        tp = TopicPartition("one", 0)
        consumer.commit()
        consumer.commit({tp: 2})
        assert_type(consumer.committed(tp), int | None)
        assert_type(consumer.position(tp), int)
        consumer.seek(tp, 0)
        consumer.seek_to_time(5)
        consumer.seek_to_beginning()
        consumer.seek_to_end(tp)
        consumer.seek_to_committed()
        consumer.pause(tp)
        consumer.resume()
        assert_type(consumer.assignment(), frozenset[TopicPartition])
        assert_type(consumer.lag(), dict[TopicPartition, int])
        consumer.stop()
        for record in consumer:
            assert_type(record, Record)
    counts: dict[TopicPartition, int] = {}
    log.consumer("one", on_lost=lambda _consumer, gone: [counts.pop(tp, 0) for tp in gone]).close()
    alone = log.consumer()
    alone.assign([TopicPartition("one", 0)])
    alone.close()
    group = log.describe_group("g")
    assert_type(group, GroupDescription)
    assert_type(group.lag[TopicPartition("one", 0)], int | None)
    log.reset_offsets("g", "one", to="latest")
    log.reset_offsets("g", "one", to={0: 1})
    log.reset_offsets("g", "one", to_timestamp_ms=0)
    assert_type(log.groups(), list[str])
    log.delete_group("g")


def use_share_consumers(store: Store) -> None:
    log = store.log
    log.create_topic("one")
    log.append_many("one", [b"a", b"b", b"c"])
    with log.share_consumer("one", group="s", lock_ms=1000, delivery_limit=3) as consumer:
        assert_type(consumer, ShareConsumer)
        first, second, third = consumer.poll(0)
        assert_type(first, ShareRecord)
        assert_type(first.delivery_count, int)
        assert_type(first.value, bytes | None)
        first.ack()
        second.release()
        third.reject()
        for record in consumer.iter(0):
            assert_type(record, ShareRecord)


def use_subscriptions(store: Store) -> None:
    log = store.log
    log.create_topic("one")

    def handle(record: Record) -> None:
        assert_type(record.offset, int)

    with log.subscribe("one", group="g", callback=handle, workers=2, on_error=Retry(limit=3, delay_ms=10)) as running:
        assert_type(running, Subscription)
        assert_type(running.wait_idle(60), bool)
        running.stop()
        assert_type(running.join(60), bool)
        running.close(timeout=60)
    seen: list[bytes | None] = []
    log.subscribe("one", group="h", callback=lambda record: seen.append(record.value)).close()

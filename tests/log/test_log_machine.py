"""The whole log against a plain model: topics, appends, producers, removal, cleaning, reopening, time.

The model keeps lists and dicts and knows nothing of segments. What cleaning removes depends on segments, so after a
clean the model takes over what is left, once it has checked that this is a legal outcome.
"""

import shutil
import tempfile
from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from msglog import (
    ClosedError,
    FencedError,
    GroupError,
    InvalidOptionError,
    Log,
    OffsetConflictError,
    OffsetOutOfRangeError,
    Record,
)
from msglog.log.producers import REMEMBERED_BATCHES
from msglog.testing import ManualClock

NAMES = st.sampled_from(["a", "b", "c.d"])
PRODUCERS = st.sampled_from(["p", "q"])
KEYS = st.none() | st.sampled_from([b"", b"k1", b"k2", b"k3"])
VALUES = st.none() | st.binary(max_size=300)
HEADERS = st.lists(st.tuples(st.sampled_from(["h", "ä"]), st.none() | st.binary(max_size=3)), max_size=2)
DAY_MS = 86_400_000


@dataclass
class Part:
    """One partition: the records that are left, in offset order."""

    start: int = 0
    end: int = 0
    last_append_ms: int = 0
    records: list[Record] = field(default_factory=list)


@dataclass
class TopicModel:
    """One topic as it should be."""

    options: dict
    parts: list[Part]

    @property
    def compacts(self):
        return "compact" in self.options.get("cleanup_policy", "")

    @property
    def append_time(self):
        return self.options.get("timestamp_type") == "append"


@dataclass
class ProducerModel:
    """One name: its batches by first sequence, with the topic's generation and what was answered."""

    last: int = -1
    batches: list = field(default_factory=list)

    def note(self, *batch):
        """Take over (first sequence, count, topic's generation, places)."""
        self.last = batch[0] + batch[1] - 1
        self.batches = [*self.batches, batch][-REMEMBERED_BATCHES:]


class LogMachine(RuleBasedStateMachine):
    holders = Bundle("holders")

    @initialize(sync=st.sampled_from(["commit", "interval", "none"]), memory=st.booleans())
    def open(self, sync, memory):
        self.base = None if memory else tempfile.mkdtemp(prefix="msglog-log-machine-")
        self.directory = None if memory else f"{self.base}/0"
        self.options = {"sync": sync, "segment_bytes": 2048}
        self.clock = ManualClock()
        self.topics = {}
        self.generations = 0
        self.producers = {}
        self.live = {}
        self.log = Log(self.directory or ":memory:", clock=self.clock, **self.options)

    def teardown(self):
        if hasattr(self, "log"):
            self.log.close()
            if self.base is not None:
                shutil.rmtree(self.base)

    # Topics

    @rule(
        name=NAMES,
        partitions=st.integers(1, 3),
        policy=st.sampled_from(["delete", "compact", "compact,delete"]),
        timestamp_type=st.sampled_from(["create", "append"]),
        compression=st.sampled_from([None, "zlib"]),
        retention_ms=st.sampled_from([None, 1000, 3_600_000]),
    )
    def create(self, name, partitions, policy, timestamp_type, compression, retention_ms):
        options = {
            "cleanup_policy": policy,
            "timestamp_type": timestamp_type,
            "compression": compression,
            "retention_ms": retention_ms,
        }
        self.log.create_topic(name, partitions=partitions, exist_ok=True, **options)
        if name not in self.topics:
            self.topics[name] = TopicModel(options, [Part() for _ in range(partitions)])
            self.generations += 1
            self.topics[name].generation = self.generations

    @precondition(lambda self: self.topics)
    @rule(data=st.data())
    def delete(self, data):
        name = data.draw(st.sampled_from(sorted(self.topics)))
        self.log.delete_topic(name)
        del self.topics[name]

    @precondition(lambda self: self.topics)
    @rule(data=st.data(), more=st.integers(0, 1))
    def add_partitions(self, data, more):
        name = data.draw(st.sampled_from(sorted(self.topics)))
        parts = self.topics[name].parts
        self.log.add_partitions(name, len(parts) + more)
        parts.extend(Part() for _ in range(more))

    @precondition(lambda self: self.topics)
    @rule(data=st.data(), retention_ms=st.sampled_from([None, 1000]), compression=st.sampled_from([None, "zlib"]))
    def alter(self, data, retention_ms, compression):
        name = data.draw(st.sampled_from(sorted(self.topics)))
        self.log.alter_topic(name, retention_ms=retention_ms, compression=compression)
        self.topics[name].options |= {"retention_ms": retention_ms, "compression": compression}

    # Appending

    def take(self, name, partition, offset, stamp, key, value, headers=()):
        """Put a record into the model."""
        topic = self.topics[name]
        part = topic.parts[partition]
        assert offset == part.end
        now = self.clock.now_ms()
        if topic.append_time:
            part.last_append_ms = stamp = max(part.last_append_ms, now)
        elif stamp is None:
            stamp = now
        part.records.append(Record(name, partition, offset, stamp, key, value, tuple(headers)))
        part.end += 1
        return stamp

    @precondition(lambda self: self.topics)
    @rule(
        data=st.data(),
        value=VALUES,
        key=KEYS,
        headers=HEADERS,
        stamp=st.none() | st.integers(0, 1_700_000_000_000),
        wrong=st.booleans(),
    )
    def append(self, data, value, key, headers, stamp, wrong):
        name = data.draw(st.sampled_from(sorted(self.topics)))
        topic = self.topics[name]
        partition = data.draw(st.none() | st.integers(0, len(topic.parts) - 1))
        expected = None
        if partition is not None:
            expected = data.draw(st.none() | st.just(topic.parts[partition].end + wrong))
        options = {"key": key, "headers": headers, "partition": partition, "timestamp_ms": stamp}
        try:
            got = self.log.append(name, value, expected_offset=expected, **options)
        except InvalidOptionError:
            assert topic.compacts
            assert key is None
            return
        except OffsetConflictError:
            assert expected is not None
            assert wrong
            return
        assert not (topic.compacts and key is None)
        assert partition in (None, got.partition)
        if partition is None and key is not None:
            assert got.partition == self.log.partition_for(name, key)
        stored = self.take(name, got.partition, got.offset, stamp, key, value, headers)
        assert got == (name, got.partition, got.offset, stored, False)

    @precondition(lambda self: self.topics)
    @rule(data=st.data(), rows=st.lists(st.tuples(VALUES, KEYS), max_size=20))
    def append_many(self, data, rows):
        name = data.draw(st.sampled_from(sorted(self.topics)))
        topic = self.topics[name]
        values, keys = [value for value, _ in rows], [key for _, key in rows]
        try:
            placed = self.log.append_many(name, values, keys=keys)
        except InvalidOptionError:
            assert topic.compacts
            assert None in keys
            return
        self.take_many(name, rows, placed)

    def take_many(self, name, rows, placed):
        """Put the records of one call into the model: each where its key says, the keyless ones together."""
        expected = {
            partition: [*range(self.topics[name].parts[partition].end, offsets.stop)]
            for partition, offsets in placed.items()
        }
        keyed = sum(key is not None for _, key in rows)
        keyless = None
        if keyed < len(rows):
            counts = dict.fromkeys(placed, 0)
            for _, key in rows:
                if key is not None:
                    counts[self.log.partition_for(name, key)] += 1
            (keyless,) = (partition for partition, offsets in placed.items() if len(offsets) != counts[partition])
        for value, key in rows:
            partition = keyless if key is None else self.log.partition_for(name, key)
            self.take(name, partition, expected[partition].pop(0), None, key, value)
        assert not any(expected.values())

    # Producers

    @rule(target=holders, name=PRODUCERS)
    def hold(self, name):
        producer = self.log.producer(name)
        self.live[name] = producer
        model = self.producers.setdefault(name, ProducerModel())
        assert producer.last_sequence == model.last
        return producer

    @precondition(lambda self: self.topics)
    @rule(data=st.data(), producer=holders, value=VALUES, back=st.integers(-1, 3))
    def send(self, data, producer, value, back):
        name = data.draw(st.sampled_from(sorted(self.topics)))
        topic, model = self.topics[name], self.producers[producer.name]
        sequence = max(0, model.last + 1 - back)
        known = next((batch for batch in model.batches if batch[0] == sequence), None)
        try:
            got = producer.append(name, value, key=b"k", sequence=sequence)
        except (ClosedError, FencedError):
            assert self.live.get(producer.name) is not producer
            return
        except GroupError:
            assert self.live.get(producer.name) is producer
            assert sequence > model.last + 1 or known is None or known[1:3] != (1, topic.generation)
            return
        assert self.live.get(producer.name) is producer
        if got.duplicate:
            assert known[1:3] == (1, topic.generation)
            assert known[3] == {got.partition: range(got.offset, got.offset + 1)}
            return
        assert sequence == model.last + 1
        self.take(name, got.partition, got.offset, None, b"k", value)
        model.note(sequence, 1, topic.generation, {got.partition: range(got.offset, got.offset + 1)})

    @precondition(lambda self: self.topics)
    @rule(data=st.data(), producer=holders, rows=st.lists(st.tuples(VALUES, st.just(b"k1")), min_size=1, max_size=5))
    def send_many(self, data, producer, rows):
        name = data.draw(st.sampled_from(sorted(self.topics)))
        model = self.producers[producer.name]
        if self.live.get(producer.name) is not producer:
            return
        values, keys = [value for value, _ in rows], [key for _, key in rows]
        placed = producer.append_many(name, values, keys=keys)
        self.take_many(name, rows, placed)
        first = model.last + 1
        model.note(first, len(rows), self.topics[name].generation, placed)
        assert producer.append_many(name, values, keys=keys, first_sequence=first) == placed

    @rule(producer=consumes(holders))
    def let_go(self, producer):
        producer.close()
        if self.live.get(producer.name) is producer:
            del self.live[producer.name]

    # Removing

    @precondition(lambda self: self.topics)
    @rule(data=st.data())
    def delete_records(self, data):
        name = data.draw(st.sampled_from(sorted(self.topics)))
        number = data.draw(st.integers(0, len(self.topics[name].parts) - 1))
        part = self.topics[name].parts[number]
        before = data.draw(st.integers(-1, part.end + 1))
        try:
            start = self.log.delete_records(name, number, before)
        except OffsetOutOfRangeError:
            assert before == part.end + 1
            return
        part.start = max(part.start, part.end if before == -1 else before)
        part.records = [record for record in part.records if record.offset >= part.start]
        assert start == part.start

    @rule(data=st.data())
    def clean(self, data):
        self.log.clean(data.draw(st.none() | st.sampled_from(sorted(self.topics)) if self.topics else st.none()))
        self.accept_cleaning()

    @rule(ms=st.sampled_from([0, 1, 1000, 30_000, 300_000, DAY_MS]))
    def advance(self, ms):
        self.clock.advance(ms=ms)
        self.accept_cleaning()

    def accept_cleaning(self):
        """Check that what is missing may be missing, and take over what is left."""
        now = self.clock.now_ms()
        for name, topic in self.topics.items():
            for number, part in enumerate(topic.parts):
                left = list(self.log.read(name, number))
                start = self.log.start_offset(name, number)
                offsets = {record.offset for record in left}
                last = {record.key: record.offset for record in part.records}
                for record in part.records:
                    if record.offset in offsets:
                        continue
                    if record.offset < start:
                        retention_ms = topic.options["retention_ms"]
                        assert topic.options["cleanup_policy"] != "compact"
                        assert retention_ms is not None
                        assert record.timestamp_ms < now - retention_ms
                    else:
                        assert topic.compacts
                        # A tombstone may go although it is its key's last record.
                        assert record.value is None or record.offset < last[record.key]
                assert [record for record in part.records if record.offset in offsets] == left
                part.records, part.start = left, start

    # Reopening

    @precondition(lambda self: self.directory is not None)
    @rule(sync=st.sampled_from(["commit", "interval", "none"]), kill=st.booleans())
    def reopen(self, sync, kill):
        old = self.directory
        if kill:
            self.directory = old + "k"
            self.copy_as_a_kill_leaves_it(old, self.directory)
        self.log.close()
        if kill:
            shutil.rmtree(old)
        self.live = {}
        self.options["sync"] = sync
        self.log = Log(self.directory, clock=self.clock, **self.options)

    def copy_as_a_kill_leaves_it(self, old, new):
        """Copy the files as they are at one moment: no thread may be at work on them meanwhile."""
        engine = self.log.store.core.engine
        with engine._checkpointer._running, engine.lock:
            shutil.copytree(old, new)

    @rule()
    def flush(self):
        self.log.store.flush()

    # What must hold after every step

    @invariant()
    def shows_what_it_should(self):
        if not hasattr(self, "log"):
            return
        assert self.log.topics() == sorted(self.topics)
        for name, topic in self.topics.items():
            description = self.log.describe_topic(name)
            assert len(description.partitions) == len(topic.parts)
            assert topic.options.items() <= description.config.items()
            for number, part in enumerate(topic.parts):
                assert list(self.log.read(name, number)) == part.records
                assert (self.log.start_offset(name, number), self.log.end_offset(name, number)) == (
                    part.start,
                    part.end,
                )

    @precondition(lambda self: self.topics)
    @rule(data=st.data(), stamp=st.integers(0, 1_800_000_000_000))
    def look_up_a_time(self, data, stamp):
        name = data.draw(st.sampled_from(sorted(self.topics)))
        number = data.draw(st.integers(0, len(self.topics[name].parts) - 1))
        part = self.topics[name].parts[number]
        late = [record.offset for record in part.records if record.timestamp_ms >= stamp]
        assert self.log.offset_at(name, stamp, partition=number) == (late[0] if late else part.end)


TestLogMachine = LogMachine.TestCase

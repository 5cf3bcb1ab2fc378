"""A consumer group against a plain model: members come, go, crash and time out, and no record is left out."""

import shutil
import tempfile
import warnings
from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from msglog import FencedError, Log, RebalanceError, TopicPartition
from msglog.testing import ManualClock

ASSIGNORS = ("range", "roundrobin", "sticky", "cooperative-sticky")
SESSION_TIMEOUT_MS = 45_000
MAX_POLL_INTERVAL_MS = 300_000
TOPICS = ("a", "b")


class GroupMachine(RuleBasedStateMachine):
    """The model: how many records there are, which were handed out, and who has been told to own what."""

    @initialize(assignor=st.sampled_from(ASSIGNORS), partitions=st.integers(1, 4))
    def open(self, assignor, partitions):
        self.directory = tempfile.mkdtemp(prefix="msglog-machine-")
        self.clock = ManualClock()
        self.assignor = assignor
        self.ends = {TopicPartition(topic, number): 0 for topic in TOPICS for number in range(partitions)}
        self.handed = defaultdict(set)
        self.consumers = []
        self.next_offset = {}  # by (consumer's number, partition)
        self.opened = 0
        self.log = Log(self.directory, sync="none", clock=self.clock)
        for topic in TOPICS:
            self.log.create_topic(topic, partitions=partitions)

    def teardown(self):
        if hasattr(self, "log"):
            try:
                self.every_record_is_handed_out_at_least_once()
            finally:
                self.log.close()
                shutil.rmtree(self.directory)

    # What happens to the topics

    @rule(data=st.data(), count=st.integers(1, 6))
    def append(self, data, count):
        tp = data.draw(st.sampled_from(sorted(self.ends)))
        self.log.append_many(tp.topic, [b"x"] * count, partition=tp.partition)
        self.ends[tp] += count

    @rule(topic=st.sampled_from(TOPICS))
    def add_partition(self, topic):
        number = sum(tp.topic == topic for tp in self.ends)
        if number < 6:
            self.log.add_partitions(topic, number + 1)
            self.ends[TopicPartition(topic, number)] = 0

    @rule(ms=st.sampled_from([1, 10_000, SESSION_TIMEOUT_MS, 100_000, MAX_POLL_INTERVAL_MS]))
    def advance(self, ms):
        self.clock.advance(ms=ms)

    @rule()
    def reopen(self):
        for consumer in self.consumers:
            consumer.close()
        self.consumers.clear()
        before = self.committed()
        self.log.close()
        self.log = Log(self.directory, sync="none", clock=self.clock)
        assert self.committed() == before

    # What happens to the members

    @rule(
        instance_id=st.sampled_from([None, None, "static"]),
        auto_commit=st.booleans(),
        topics=st.sampled_from([TOPICS, ("a",)]),
    )
    def join(self, instance_id, auto_commit, topics):
        if len(self.consumers) < 5:
            self.consumers.append(self.consumer(instance_id, topics, auto_commit=auto_commit))

    @precondition(lambda self: self.consumers)
    @rule(data=st.data(), max_records=st.integers(1, 10))
    def poll(self, data, max_records):
        consumer = self.consumers[self.place(data)]
        try:
            self.note(consumer, consumer.poll(0, max_records=max_records))
        except FencedError:
            assert consumer.assignment() == frozenset()

    @precondition(lambda self: self.consumers)
    @rule(data=st.data(), steps=st.integers(1, 10))
    def iterate(self, data, steps):
        consumer = self.consumers[self.place(data)]
        try:
            for _, record in zip(range(steps), consumer.iter(0), strict=False):
                self.note(consumer, [record])
        except FencedError:
            assert consumer.assignment() == frozenset()

    @precondition(lambda self: self.consumers)
    @rule(data=st.data())
    def commit(self, data):
        consumer = self.consumers[self.place(data)]
        positions = {tp: consumer.position(tp) for tp in consumer.assignment()}
        try:
            consumer.commit()
        except (FencedError, RebalanceError):
            return
        committed = self.committed()
        assert {tp: committed[tp] for tp in positions} == positions

    @precondition(lambda self: self.consumers)
    @rule(data=st.data())
    def close(self, data):
        consumer = self.consumers.pop(self.place(data))
        consumer.close()

    @precondition(lambda self: self.consumers)
    @rule(data=st.data())
    def crash(self, data):
        place = self.place(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del self.consumers[place]

    @precondition(lambda self: self.consumers)
    @rule()
    def let_all_settle(self):
        for _ in range(6):
            for consumer in list(self.consumers):
                try:
                    self.note(consumer, consumer.poll(0, max_records=1))
                except FencedError:
                    consumer.close()
                    self.consumers.remove(consumer)
        description = self.log.describe_group("g")
        assert description.state == "Stable"
        away = {m.instance_id for m in description.members} - {None} - {c.instance for c in self.consumers}
        if not away:
            wanted = {tp for tp in self.ends if any(tp.topic in c.topics for c in self.consumers)}
            assert frozenset().union(*(c.assignment() for c in self.consumers)) == wanted

    # What must hold

    @invariant()
    def no_partition_has_two_owners(self):
        if "g" in self.log.groups():
            shares = [member.assignment for member in self.log.describe_group("g").members]
            assert sum(map(len, shares)) == len(frozenset().union(*shares))

    @invariant()
    def committed_means_handed_out(self):
        for tp, offset in self.committed().items():
            assert 0 <= offset <= self.ends[tp]
            assert self.handed[tp].issuperset(range(offset))

    def every_record_is_handed_out_at_least_once(self):
        for consumer in self.consumers:
            consumer.close()
        self.clock.advance(ms=SESSION_TIMEOUT_MS)
        last = self.consumer(None, TOPICS, auto_commit=False)
        self.note(last, last.iter(0))
        last.close()
        assert {tp: set(range(end)) for tp, end in self.ends.items()} == {tp: self.handed[tp] for tp in self.ends}

    # Helpers

    def place(self, data):
        # Hypothesis remembers what it draws, and a crash is a consumer that nobody holds: so numbers are drawn.
        return data.draw(st.integers(0, len(self.consumers) - 1))

    def consumer(self, instance_id, topics, *, auto_commit):
        self.opened += 1
        number = self.opened
        consumer = self.log.consumer(
            *topics,
            group="g",
            assignor=self.assignor,
            instance_id=instance_id,
            auto_commit=auto_commit,
            on_assign=lambda consumer, tps: self.begin(consumer, number, tps),
        )
        consumer.number, consumer.topics, consumer.instance = number, topics, instance_id
        return consumer

    def begin(self, consumer, number, partitions):
        committed = self.committed()
        for tp in partitions:
            self.next_offset[number, tp] = consumer.position(tp)
            assert consumer.position(tp) == committed.get(tp, 0)

    def note(self, consumer, records):
        for record in records:
            tp = TopicPartition(record.topic, record.partition)
            assert record.offset == self.next_offset[consumer.number, tp]
            assert consumer.position(tp) > record.offset
            self.next_offset[consumer.number, tp] += 1
            self.handed[tp].add(record.offset)

    def committed(self):
        return self.log.describe_group("g").offsets if "g" in self.log.groups() else {}


GroupMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestGroupMachine = GroupMachine.TestCase

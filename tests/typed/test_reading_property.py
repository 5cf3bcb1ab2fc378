"""However a topic is read in turns, every good record comes once and every bad one is told once, in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import msglog
from msglog import JSON, DecodeError
from msglog.log.typed import consumer as typed_consumer

BAD = b"{bad"
TOPICS = st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=20)  # partition, and whether it decodes
TURNS = st.lists(
    st.one_of(
        st.tuples(st.just("poll"), st.integers(1, 6)),
        st.tuples(st.just("iterate"), st.integers(1, 6)),
        st.tuples(st.just("commit"), st.just(0)),
        st.tuples(st.just("leave"), st.just(0)),
    ),
    max_size=20,
)


class Reader:
    """Reads a topic in turns as a group, and notes what it was told since the last commit and for good."""

    def __init__(self, view):
        self.view = view
        self.consumer = view.consumer(group="g")
        self.told, self.kept = [], []

    def turn(self, what, count):
        if what == "commit":
            self.consumer.commit()
            self.kept, self.told = self.kept + self.told, []
        elif what == "leave":
            self.consumer.close()
            self.consumer, self.told = self.view.consumer(group="g"), []
        elif what == "poll":
            self.note(lambda: self.consumer.poll(0, count))
        else:
            records = self.consumer.iter(0)
            for _ in range(count):
                self.note(lambda: [record for record in [next(records, None)] if record is not None])

    def note(self, step):
        try:
            records = step()
        except DecodeError as error:
            self.told.append((error.record.partition, error.record.offset, None))
            return True
        self.told += [(record.partition, record.offset, record.value) for record in records]
        return bool(records)

    def finish(self):
        while self.note(lambda: self.consumer.poll(0)):
            pass
        self.turn("commit", 0)
        self.consumer.close()
        return self.kept


@given(TOPICS, TURNS)
def test_a_consumer_tells_of_each_record_once(topic, turns):
    with msglog.Log(":memory:") as log:
        log.create_topic("t", partitions=3)
        expected = {0: [], 1: [], 2: []}
        for number, (partition, good) in enumerate(topic):
            where = log.append("t", b"%d" % number if good else BAD, partition=partition)
            expected[partition].append((partition, where.offset, number if good else None))
        reader = Reader(log.topic("t", value=JSON))
        for what, count in turns:
            reader.turn(what, count)
        told = reader.finish()
    for partition, records in expected.items():
        assert [one for one in told if one[0] == partition] == records


@given(TOPICS, st.lists(st.integers(1, 6), max_size=30))
def test_so_does_a_share_group(topic, turns):
    with msglog.Log(":memory:") as log:
        log.create_topic("t", partitions=3)
        expected = []
        for number, (partition, good) in enumerate(topic):
            log.append("t", b"%d" % number if good else BAD, partition=partition)
            expected.append(number if good else None)
        told = []
        with log.topic("t", value=JSON).share_consumer(group="s") as consumer:
            for most in [*turns, *[500] * (len(topic) + 1)]:
                try:
                    records = consumer.poll(0, most)
                except DecodeError as error:
                    error.record.ack()
                    told.append(None)
                    continue
                assert len(records) <= most
                for record in records:
                    assert record.delivery_count == 1
                    record.ack()
                    told.append(record.value)
        assert sorted(told, key=str) == sorted(expected, key=str)
        if topic:
            assert sum(log.describe_group("s").lag.values()) == 0


def test_a_reader_that_loses_a_record_is_found():
    """The property above can fail: a consumer that does not go back loses what lies behind a bad record."""
    with msglog.Log(":memory:") as log:
        log.create_topic("t")
        for value in (b"0", BAD, b"2"):
            log.append("t", value)
        reader = Reader(log.topic("t", value=JSON))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(typed_consumer, "go_back_to", lambda _consumer, _records: None)
            reader.turn("poll", 6)
        assert reader.finish() == [(0, 0, 0)]

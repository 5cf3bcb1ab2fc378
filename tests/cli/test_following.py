"""What is new since the last look: followers and rates, on a store that changes under them."""

import pytest

import msglog
from msglog.cli.rows.following import QueueFollower, TopicFollower
from msglog.cli.rows.rates import busiest_first, look_at, rate_rows
from msglog.testing import ManualClock


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store(clock):
    with msglog.Store(":memory:", clock=clock, segment_bytes=1024) as opened:
        opened.log.create_topic("t", partitions=2)
        opened.broker.declare_queue("q", max_priority=3)
        yield opened


def values(records):
    return [record.value for record in records]


def bodies(messages):
    return [stored.body for stored in messages]


def test_what_was_there_before_is_no_news(store):
    store.log.append("t", b"old", partition=0)
    follower = TopicFollower(store, "t", None)
    assert values(follower.news()) == []
    store.log.append("t", b"1", partition=1)
    store.log.append("t", b"0", partition=0)
    assert values(follower.news()) == [b"0", b"1"]
    assert values(follower.news()) == []


def test_one_partition_is_followed_alone(store):
    follower = TopicFollower(store, "t", 1)
    store.log.append("t", b"0", partition=0)
    store.log.append("t", b"1", partition=1)
    assert values(follower.news()) == [b"1"]


def test_new_partitions_are_followed_from_their_beginning(store):
    follower = TopicFollower(store, "t", None)
    store.log.add_partitions("t", 3)
    store.log.append("t", b"2", partition=2)
    assert values(follower.news()) == [b"2"]


def test_records_that_were_removed_are_skipped(store):
    follower = TopicFollower(store, "t", 0)
    for number in range(100):
        store.log.append("t", b"%d" % number, partition=0)
    store.log.delete_records("t", 0, 98)
    assert values(follower.news()) == [b"98", b"99"]


def test_a_topic_that_is_made_anew_is_followed_from_its_beginning(store):
    store.log.append_many("t", [b"old"] * 5, partition=0)
    follower = TopicFollower(store, "t", None)
    store.log.delete_topic("t")
    with pytest.raises(msglog.TopicNotFoundError):
        list(follower.news())
    store.log.create_topic("t")
    assert values(follower.news()) == []
    store.log.append("t", b"new")
    assert values(follower.news()) == [b"new"]


def test_the_last_records_of_several_partitions_are_the_latest(store, clock):
    for number in range(6):
        store.log.append("t", b"%d" % number, partition=0 if number < 4 else 1)
        clock.advance(ms=1)
    assert values(TopicFollower(store, "t", None).last(3)) == [b"3", b"4", b"5"]
    assert values(TopicFollower(store, "t", None).last(0)) == []
    assert len(TopicFollower(store, "t", None).last(99)) == 6


def test_a_queue_is_followed_in_all_its_priorities(store, clock):
    store.broker.send("q", b"old")
    follower = QueueFollower(store, "q")
    clock.advance(ms=1)
    store.broker.send("q", b"low", priority=0)
    clock.advance(ms=1)
    store.broker.send("q", b"high", priority=3)
    assert sorted(bodies(follower.news())) == [b"high", b"low"]
    assert bodies(follower.news()) == []
    assert bodies(follower.last(2)) == [b"low", b"high"]
    assert bodies(follower.last(0)) == []
    store.broker.delete_queue("q")
    with pytest.raises(msglog.QueueNotFoundError):
        list(follower.news())


def test_the_last_messages_are_those_that_are_not_settled(store):
    for number in range(50):
        store.broker.send("q", b"%d" % number)
    with store.broker.consume("q") as consumer:
        for delivery in [consumer.get(0) for _ in range(50)]:
            if delivery.body not in {b"7", b"20"}:
                delivery.ack()
        follower = QueueFollower(store, "q")
        assert bodies(follower.last(10)) == [b"7", b"20"]
        assert bodies(follower.last(1)) == [b"20"]


def rows_between(store, change):
    before = look_at(store)
    change()
    return {(row["kind"], row["name"]): row for row in rate_rows(before, look_at(store), 2.0, 7)}


def test_rates_are_what_happened_by_the_second(store):
    def change():
        store.log.append_many("t", [b"x"] * 10, partition=0)
        for _ in range(4):
            store.broker.send("q", b"x")
        store.broker.get("q").ack()
        with store.log.consumer("t", group="g") as consumer:
            consumer.poll(0, max_records=6)
            consumer.commit()

    rows = rows_between(store, change)
    assert rows["topic", "t"] == {
        "timestamp_ms": 7,
        "kind": "topic",
        "name": "t",
        "in_per_second": 5.0,
        "out_per_second": None,
        "waiting": None,
    }
    queue, group = rows["queue", "q"], rows["group", "g"]
    assert (queue["in_per_second"], queue["out_per_second"], queue["waiting"]) == (2.0, 0.5, 3)
    assert (group["in_per_second"], group["out_per_second"], group["waiting"]) == (None, 3.0, 4)


def test_what_moves_comes_first_and_then_where_most_waits(store):
    def change():
        store.broker.declare_queue("busy")
        store.broker.send("busy", b"x")

    for name, messages in (("a", 1), ("b", 3), ("c", 0)):
        store.broker.declare_queue(name)
        for _ in range(messages):
            store.broker.send(name, b"x")
    rows = rows_between(store, change)
    assert [row["name"] for row in busiest_first(list(rows.values()))][:3] == ["busy", "b", "a"]


def test_what_moves_back_or_is_made_anew_has_no_negative_rate(store):
    store.log.append_many("t", [b"x"] * 10, partition=0)
    store.log.reset_offsets("g", "t", to="latest")

    def change():
        store.log.reset_offsets("g", "t", to="earliest")
        store.log.delete_topic("t")
        store.log.create_topic("t")

    assert {row["in_per_second"] for row in rows_between(store, change).values()} <= {0.0, None}

"""What happens at once does what it does by itself after a while."""

import asyncio

import pytest

import msglog
from msglog import aio
from msglog.testing import Faults, drain, evict, expire_lock, rebalance, record, redeliver
from msglog.types import TopicPartition


@pytest.fixture
def t2(log):
    """A topic with two partitions and a record in each."""
    log.create_topic("two", partitions=2)
    for partition in range(2):
        log.append("two", b"%d" % partition, partition=partition)
    return "two"


def test_a_broken_connection_delivers_again(broker, recorder):
    broker.send("q", b"m")
    lost = broker.get("q")
    redeliver(lost)
    again = broker.get("q")
    assert (again.body, again.redelivered, again.delivery_count) == (b"m", True, 1)
    with pytest.raises(msglog.SettlementError, match="the delivery went back to its queue"):
        lost.ack()
    assert not lost.settled
    again.ack()
    assert [one.outcome for one in recorder.settled] == ["requeued", "acked"]
    assert broker.get("q") is None


def test_a_lost_delivery_ends_its_block_with_an_error(broker):
    broker.send("q", b"m")
    with broker.consume("q") as consumer, pytest.raises(msglog.SettlementError), consumer.get(0) as delivery:
        redeliver(delivery)


def test_a_broken_connection_makes_room_for_another_delivery(broker):
    broker.publish_many("", [("q", b"1"), ("q", b"2")])
    with broker.consume("q", prefetch_count=1) as consumer:
        redeliver(consumer.get(0))
        assert consumer.get(0).body == b"1"


def test_a_broken_connection_counts_towards_the_delivery_limit(broker):
    broker.declare_queue("once", delivery_limit=1, dead_letter_exchange="", dead_letter_routing_key="dead")
    broker.send("once", b"m")
    for _ in range(2):
        redeliver(broker.get("once"))
    assert broker.get("once") is None
    assert [message.body for message in broker.peek("dead")] == [b"m"]


def test_what_is_settled_is_not_delivered_again(broker):
    broker.send("q", b"m")
    delivery = broker.get("q")
    delivery.ack()
    with pytest.raises(msglog.SettlementError, match="was settled already"):
        redeliver(delivery)


def test_an_evicted_consumer_is_fenced_and_joins_anew(log):
    log.append("t", b"v")
    lost = []
    with log.consumer("t", group="g", on_lost=lambda _, partitions: lost.append(partitions)) as consumer:
        consumer.poll(0)
        evict(consumer)
        with pytest.raises(msglog.FencedError):
            consumer.commit()
        assert [record.value for record in consumer.poll(0)] == [b"v"]
        assert lost == [frozenset({TopicPartition("t", 0)})]
        consumer.commit()


def test_others_get_the_partitions_of_an_evicted_consumer(log, t2):
    with log.consumer(t2, group="g") as one, log.consumer(t2, group="g") as other:
        for _ in range(3):
            one.poll(0)
            other.poll(0)
        assert len(one.assignment()) == len(other.assignment()) == 1
        evict(one)
        other.poll(0)
        other.poll(0)
        assert len(other.assignment()) == 2


def test_a_static_member_is_evicted_for_good(log):
    with log.consumer("t", group="g", instance_id="i") as consumer:
        consumer.poll(0)
        evict(consumer)
        assert log.groups() == []
        consumer.poll(0)
        assert len(log.describe_group("g").members) == 1


@pytest.mark.parametrize(
    ("assignor", "expected"), [("range", ["assign", "revoke", "assign"]), ("cooperative-sticky", ["assign", "assign"])]
)
def test_a_rebalance_is_one(log, assignor, expected):
    calls = []
    options = {
        "on_assign": lambda *_: calls.append("assign"),
        "on_revoke": lambda *_: calls.append("revoke"),
    }
    with log.consumer("t", group="g", assignor=assignor, **options) as consumer:
        consumer.poll(0)
        before = log.describe_group("g").generation
        rebalance(log, "g")
        assert log.describe_group("g").generation == before + 1
        consumer.poll(0)
        consumer.poll(0)
        assert calls == expected
        assert consumer.assignment() == frozenset({TopicPartition("t", 0)})
        assert log.describe_group("g").state == "Stable"


def test_a_group_without_members_does_not_rebalance(store, log):
    for group in ("g", "other"):
        with pytest.raises(msglog.GroupError, match=f"group '{group}' has no members to rebalance"):
            rebalance(store, group)
    assert log.groups() == []


def test_an_expired_lock_hands_the_record_to_another_consumer(log):
    log.append_many("t", [b"1", b"2"])
    with log.share_consumer("t", group="s") as one, log.share_consumer("t", group="s") as other:
        first, second = one.poll(0)
        expire_lock(first)
        with pytest.raises(msglog.SettlementError, match="its lock expired"):
            first.ack()
        (again,) = other.poll(0)
        assert (again.value, again.delivery_count) == (b"1", 2)
        again.ack()
        second.ack()
        assert one.poll(0) == []


def test_the_last_lock_that_expires_settles_the_record(log):
    log.append("t", b"1")
    with log.share_consumer("t", group="s", delivery_limit=1) as consumer:
        expire_lock(consumer.poll(0)[0])
        assert consumer.poll(0) == []


def test_a_settled_record_has_no_lock(log):
    log.append("t", b"1")
    with log.share_consumer("t", group="s") as consumer:
        (record,) = consumer.poll(0)
        record.ack()
        with pytest.raises(msglog.SettlementError, match="settled or released already"):
            expire_lock(record)


def test_drain_takes_all_that_can_be_taken(broker):
    broker.publish_many("", [("q", b"1"), ("q", b"2"), ("q", b"3")])
    in_hand = broker.get("q")
    assert [message.body for message in drain(broker, "q")] == [b"2", b"3"]
    assert drain(broker, "q") == []
    in_hand.nack()
    assert [(message.body, message.redelivered) for message in drain(broker, "q")] == [(b"1", True)]
    with pytest.raises(msglog.QueueNotFoundError):
        drain(broker, "missing")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda _: redeliver("d"), "delivery must be a Delivery, not 'd'"),
        (lambda _: evict("c"), "consumer must be a Consumer, not 'c'"),
        (lambda _: rebalance("s", "g"), "store must be a Store, a Log or a Broker, not 's'"),
        (lambda store: rebalance(store, 1), "group must be the name of a group, not 1"),
        (lambda _: expire_lock("r"), "record must be a ShareRecord, not 'r'"),
        (lambda _: drain("b", "q"), "broker must be a Broker, not 'b'"),
    ],
)
def test_what_is_something_else_is_refused(store, call, says):
    with pytest.raises(msglog.InvalidTypeError) as refusal:
        call(store)
    assert str(refusal.value) == says


def test_a_consumer_without_a_group_cannot_be_evicted(log):
    with log.consumer("t") as consumer, pytest.raises(msglog.InvalidOptionError, match="a member of a group"):
        evict(consumer)


def test_it_happens_to_objects_of_typed_views(log, broker):
    queue = broker.queue("q", body=msglog.JSON)
    queue.send([1])
    redeliver(queue.get())
    again = queue.get()
    assert (again.body, again.redelivered) == ([1], True)
    topic = log.topic("t", value=msglog.JSON)
    topic.append({"n": 1})
    with topic.consumer(group="g") as consumer:
        consumer.poll(0)
        evict(consumer)
        with pytest.raises(msglog.FencedError):
            consumer.commit()
    with topic.share_consumer(group="s") as sharer:
        (first,) = sharer.poll(0)
        expire_lock(first)
        assert [record.delivery_count for record in sharer.poll(0)] == [2]


def test_it_happens_to_objects_of_tasks(log, broker):
    async def run():
        async with aio.Store(broker.store) as tasks:
            with record(tasks) as recorder, Faults(tasks.log) as faults:
                await tasks.broker.send("q", b"m")
                redeliver(await tasks.broker.get("q"))
                assert [one.redelivered for one in drain(tasks.broker, "q")] == [True]
                recorder.assert_published("", "q", count=1)
                faults.fail("append")
                with pytest.raises(msglog.DiskFullError):
                    await tasks.log.append("t", b"v")
                await tasks.log.append("t", b"v")
                async with tasks.log.consumer("t", group="g") as consumer:
                    await consumer.poll(timeout=0)
                    rebalance(tasks.log, "g")
                    await consumer.poll(timeout=0)
                    evict(consumer)
                    with pytest.raises(msglog.FencedError):
                        consumer.commit()

    asyncio.run(run())
    assert log.end_offset("t") == 1


def test_it_happens_to_objects_of_views_for_tasks(log, broker):
    async def run():
        async with aio.Store(broker.store) as tasks:
            queue = tasks.broker.queue("q", body=msglog.JSON)
            topic = tasks.log.topic("t", value=msglog.JSON)
            with record(tasks) as recorder, Faults(tasks) as faults:
                await queue.send({"n": 1})
                redeliver(await queue.get())
                again = await queue.get()
                assert again.redelivered
                again.ack()
                recorder.assert_published("", "q", count=1)
                recorder.assert_acked("q", count=1)
                faults.fail("append")
                with pytest.raises(msglog.DiskFullError):
                    await topic.append(1)
                faults.fail("publish")
                with pytest.raises(msglog.DiskFullError):
                    await queue.send(1)
                await topic.append(2)
            async with topic.consumer(group="g") as consumer:
                await consumer.poll(timeout=0)
                evict(consumer)
                with pytest.raises(msglog.FencedError):
                    consumer.commit()
            async with topic.share_consumer(group="s") as sharer:
                (first,) = await sharer.poll(0)
                expire_lock(first)
                assert [one.delivery_count for one in await sharer.poll(0)] == [2]

    asyncio.run(run())
    assert log.end_offset("t") == 1

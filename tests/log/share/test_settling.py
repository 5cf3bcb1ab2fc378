"""Acknowledging, releasing, rejecting; locks that expire; records that were handed out too often."""

import copy
import pickle

import pytest

import msglog
from msglog import Record, SettlementError, TopicPartition
from support.shares import counts, fill, lag, offsets


@pytest.fixture
def worker(log):
    fill(log, 5)
    with log.share_consumer("t", group="g") as worker:
        yield worker


def test_what_is_acknowledged_is_gone(log, worker):
    for record in worker.poll(0):
        record.ack()
        assert record.settled
    assert lag(log) == 0
    with log.share_consumer("t", group="g") as other:
        assert other.poll(0) == []


def test_what_is_rejected_is_gone(log, worker):
    for record in worker.poll(0):
        record.reject()
    assert lag(log) == 0
    assert worker.poll(0) == []


def test_what_is_released_comes_again_at_once_and_first(worker):
    first = worker.poll(0, max_records=2)
    assert [record.delivery_count for record in first] == [1, 1]
    first[1].release()
    first[0].release()
    assert first[0].settled
    assert counts(worker.poll(0, max_records=3)) == {0: 2, 1: 2, 2: 1}


def test_only_one_member_gets_what_is_released(log, worker):
    with log.share_consumer("t", group="g") as other:
        (record,) = worker.poll(0, max_records=1)
        record.release()
        assert offsets(other.poll(0, max_records=1)) == [0]
        assert offsets(worker.poll(0, max_records=1)) == [1]


def test_settling_out_of_order(log, worker):
    records = worker.poll(0)
    for place in (3, 1, 4):
        records[place].ack()
    assert log.describe_group("g").offsets == {TopicPartition("t", 0): 0}
    assert lag(log) == 2
    records[0].ack()
    assert log.describe_group("g").offsets == {TopicPartition("t", 0): 2}
    assert lag(log) == 1


@pytest.mark.parametrize("first", ["ack", "release", "reject"])
@pytest.mark.parametrize("second", ["ack", "release", "reject"])
def test_nothing_is_settled_twice(worker, first, second):
    record = worker.poll(0)[0]
    getattr(record, first)()
    with pytest.raises(SettlementError, match="already"):
        getattr(record, second)()


@pytest.mark.parametrize("call", ["ack", "release", "reject"])
def test_a_lock_that_expired_cannot_be_settled(log, clock, worker, call):
    record = worker.poll(0)[0]
    clock.advance(ms=30_000)
    with pytest.raises(SettlementError, match="expired"):
        getattr(record, call)()
    assert not record.settled
    assert lag(log) == 5


def test_a_record_is_available_again_when_its_lock_expires(log, clock, worker):
    records = worker.poll(0, max_records=2)
    clock.advance(ms=29_999)
    with log.share_consumer("t", group="g") as other:
        assert counts(other.poll(0)) == {2: 1, 3: 1, 4: 1}
        records[1].ack()
        clock.advance(ms=1)
        assert counts(other.poll(0)) == {0: 2}
        with pytest.raises(SettlementError):
            records[0].ack()


def test_a_member_whose_lock_expired_may_get_the_record_again(clock, worker):
    (stale,) = worker.poll(0, max_records=1)
    clock.advance(seconds=30)
    (record,) = worker.poll(0, max_records=1)
    assert record == stale
    with pytest.raises(SettlementError):
        stale.ack()
    record.ack()


def test_locks_expire_on_the_machine_s_clock_too():
    with msglog.Log(":memory:") as log:
        log.create_topic("t")
        fill(log, 1)
        with log.share_consumer("t", group="g", lock_ms=20) as worker:
            worker.poll(0)
            assert counts(worker.poll(30)) == {0: 2}


def test_each_member_has_its_own_lock_time(log, clock, worker):
    with log.share_consumer("t", group="g", lock_ms=1000) as quick:
        slow_record = worker.poll(0, max_records=1)[0]
        quick_record = quick.poll(0, max_records=1)[0]
        clock.advance(ms=1000)
        with pytest.raises(SettlementError):
            quick_record.ack()
        slow_record.ack()


def test_locks_of_several_polls_expire_each_at_its_time(clock, worker):
    worker.poll(0, max_records=1)
    clock.advance(seconds=10)
    kept = worker.poll(0, max_records=1)
    clock.advance(seconds=10)
    worker.poll(0, max_records=1)
    kept[0].ack()
    clock.advance(seconds=10)
    assert offsets(worker.poll(0)) == [0, 3, 4]
    clock.advance(seconds=20)
    assert offsets(worker.poll(0)) == [2]
    clock.advance(seconds=10)
    assert offsets(worker.poll(0)) == [0, 3, 4]


def test_no_timer_goes_on_when_nothing_is_in_hand(log, clock, worker):
    for record in worker.poll(0):
        record.ack()
    clock.advance(seconds=60)
    assert log.store.core.timers.next_due_ms() is None


@pytest.mark.parametrize("back", ["release", "expire", "close"])
def test_a_record_is_given_up_after_so_many_deliveries(log, clock, back):
    fill(log, 1)
    seen = []
    for _ in range(5):
        with log.share_consumer("t", group="g", delivery_limit=3) as worker:
            for record in worker.poll(0):
                seen.append(record.delivery_count)
                if back == "release":
                    record.release()
                elif back == "expire":
                    clock.advance(seconds=30)
    assert seen == [1, 2, 3]
    assert lag(log) == 0


def test_five_deliveries_by_default(log):
    fill(log, 1)
    with log.share_consumer("t", group="g") as worker:
        seen = [record.delivery_count for record in worker.iter(0) if record.release() is None]
    assert seen == [1, 2, 3, 4, 5]


def test_the_limit_is_that_of_who_would_get_the_record(log):
    fill(log, 3)
    with log.share_consumer("t", group="g") as patient:
        for _ in range(2):
            patient.poll(0, max_records=1)[0].release()
        with log.share_consumer("t", group="g", delivery_limit=2) as strict:
            assert offsets(strict.poll(0)) == [1, 2]
        assert lag(log) == 2


def test_a_record_at_its_limit_can_still_be_acknowledged(log):
    fill(log, 1)
    with log.share_consumer("t", group="g", delivery_limit=1) as worker:
        worker.poll(0)[0].ack()
    assert lag(log) == 0


def test_derived_records_are_plain(worker):
    record = worker.poll(0)[0]
    for derived in (pickle.loads(pickle.dumps(record)), copy.copy(record), record._replace(), copy.deepcopy(record)):
        assert type(derived) is Record
        assert derived == record
    assert hash(record) == hash(Record(*record))


def test_settling_after_the_store_was_closed():
    log = msglog.Log(":memory:")
    log.create_topic("t")
    fill(log, 2)
    record = log.share_consumer("t", group="g").poll(0)[0]
    log.close()
    with pytest.raises(SettlementError):
        record.ack()


def test_settling_in_a_transaction(log, worker):
    first, second, third, _, _ = worker.poll(0)
    with log.store.transaction() as tx:
        tx.ack(first)
        tx.reject(second)
        tx.nack(third)
        for record in (first, second, third):
            with pytest.raises(SettlementError):
                record.ack()
        assert not first.settled
    assert first.settled
    assert lag(log) == 3
    for record in (first, second, third):
        for call in (record.ack, record.release):
            with pytest.raises(SettlementError):
                call()
    assert [record.offset for record in worker.poll(0)] == [third.offset]


def test_memory_follows_what_is_in_hand(log, worker):
    fill(log, 5000)
    for record in worker.poll(0):
        record.release()
    while records := worker.poll(0, max_records=100):
        for record in records[::-1]:
            record.ack()
        (partition,) = worker._group.partitions.values()
        cursor = partition.cursor
        assert (cursor.unsettled, cursor.deliveries, list(cursor.done)) == ({}, {}, [])
        assert len(list(cursor.returned)) <= 1
        assert not worker._member.batches
    assert cursor.settled == 5005

"""Polling, iterating, stopping and closing share consumers; what they are made with."""

import re
import signal
import threading
import time

import pytest

import msglog
from msglog import (
    ClosedError,
    GroupError,
    InvalidNameError,
    InvalidOptionError,
    InvalidTypeError,
    Log,
    SettlementError,
    TopicNotFoundError,
)
from support.brokers import Call
from support.shares import counts, fill, lag, offsets


def test_poll_hands_out_the_lowest_offsets_and_at_most_max_records(log):
    fill(log)
    with log.share_consumer("t", group="g") as worker:
        assert offsets(worker.poll(0, max_records=3)) == [0, 1, 2]
        assert offsets(worker.poll(0)) == [3, 4, 5, 6, 7, 8, 9]
        assert worker.poll(0) == []


def test_poll_hands_out_500_records_by_default(log):
    fill(log, 600)
    with log.share_consumer("t", group="g") as worker:
        assert len(worker.poll(0)) == 500


def test_a_record_has_all_that_a_record_has(log):
    log.append("t", b"v", key=b"k", headers=[("h", b"1")], timestamp_ms=5)
    with log.share_consumer("t", group="g") as worker:
        (record,) = worker.poll(0)
    assert record == ("t", 0, 0, 5, b"k", b"v", (("h", b"1"),))
    assert record == next(log.read("t"))
    assert isinstance(record, msglog.ShareRecord)
    assert isinstance(record, msglog.Record)


def test_two_members_never_have_the_same_record(log):
    log.create_topic("two", partitions=2)
    for partition in (0, 1):
        fill(log, 20, topic="two", partition=partition)
    with log.share_consumer("two", group="g") as a, log.share_consumer("two", group="g") as b:
        handed = []
        for worker in (a, b) * 10:
            handed += [(record.partition, record.offset) for record in worker.poll(0, max_records=3)]
        assert sorted(handed) == [(partition, offset) for partition in (0, 1) for offset in range(20)]


def test_every_member_gets_records_of_every_partition(log):
    log.create_topic("two", partitions=2)
    for partition in (0, 1):
        fill(log, 20, topic="two", partition=partition)
    with log.share_consumer("two", group="g") as a, log.share_consumer("two", group="g") as b:
        for worker in (a, b):
            assert {record.partition for _ in range(2) for record in worker.poll(0, max_records=5)} == {0, 1}


def test_groups_do_not_disturb_each_other(log):
    fill(log)
    with log.share_consumer("t", group="g") as a, log.share_consumer("t", group="h") as b, log.consumer("t") as c:
        assert offsets(a.poll(0)) == offsets(b.poll(0)) == offsets(c.poll(0)) == list(range(10))


def test_a_group_begins_at_the_start_unless_told(log):
    fill(log, 5)
    with log.share_consumer("t", group="all") as first, log.share_consumer("t", group="new", start="latest") as second:
        fill(log, 2)
        assert offsets(first.poll(0)) == [0, 1, 2, 3, 4, 5, 6]
        assert offsets(second.poll(0)) == [5, 6]


def test_where_to_begin_means_nothing_to_a_group_that_has_begun(log):
    fill(log, 5)
    log.share_consumer("t", group="g").close()
    with log.share_consumer("t", group="g", start="latest") as worker:
        assert offsets(worker.poll(0)) == [0, 1, 2, 3, 4]


def test_iteration_hands_out_one_record_at_a_time(log):
    fill(log, 5)
    with log.share_consumer("t", group="g") as a, log.share_consumer("t", group="g") as b:
        records = a.iter(0)
        assert next(records).offset == 0
        assert next(records).offset == 1
        assert offsets(b.poll(0, max_records=2)) == [2, 3]
        assert offsets(records) == [4]


def test_a_loop_ends_after_stop(log):
    fill(log, 5)
    with log.share_consumer("t", group="g") as worker:
        for record in worker:
            record.ack()
            if record.offset == 2:
                worker.stop()
        assert record.offset == 2
        assert worker.poll() == []
    assert lag(log) == 2


def test_a_poll_that_waits_gets_what_is_appended(log):
    with log.share_consumer("t", group="g") as worker:
        call = Call(lambda: worker.poll(30)).until_asleep()
        log.append("t", b"x")
        assert offsets(call.result()) == [0]


def test_a_poll_that_waits_gets_what_is_released(log):
    fill(log, 1)
    with log.share_consumer("t", group="g") as a, log.share_consumer("t", group="g") as b:
        (record,) = a.poll(0)
        call = Call(lambda: b.poll(30)).until_asleep()
        record.release()
        assert counts(call.result()) == {0: 2}


def test_a_poll_that_waits_gets_what_a_closed_member_had(log):
    fill(log, 1)
    with log.share_consumer("t", group="g") as b:
        a = log.share_consumer("t", group="g")
        a.poll(0)
        call = Call(lambda: b.poll(30)).until_asleep()
        a.close()
        assert counts(call.result()) == {0: 2}


def test_a_poll_waits_as_long_as_it_is_told_to(log):
    with log.share_consumer("t", group="g") as worker:
        begun = time.monotonic()
        assert worker.poll(0.05) == []
        assert time.monotonic() - begun >= 0.05
        assert list(worker.iter(0.01)) == []


@pytest.mark.parametrize("end", ["stop", "close"])
def test_a_poll_that_waits_ends_with_its_consumer(log, end):
    worker = log.share_consumer("t", group="g")
    call = Call(worker.poll).until_asleep()
    getattr(worker, end)()
    assert call.result() == []
    worker.close()


def test_a_poll_that_waits_ends_with_the_store(clock):
    log = Log(":memory:", clock=clock)
    log.create_topic("t")
    worker = log.share_consumer("t", group="g")
    call = Call(worker.poll).until_asleep()
    log.close()
    assert call.result() == []
    with pytest.raises(ClosedError):
        worker.poll(0)


def test_stop_works_from_a_signal_handler(log):
    with log.share_consumer("t", group="g") as worker:
        before = signal.signal(signal.SIGUSR1, lambda *_: worker.stop())
        try:
            main = threading.main_thread().ident
            threading.Timer(0.05, signal.pthread_kill, [main, signal.SIGUSR1]).start()
            assert worker.poll(30) == []
        finally:
            signal.signal(signal.SIGUSR1, before)


def test_closing_returns_what_is_in_hand(log):
    fill(log, 3)
    with log.share_consumer("t", group="g") as worker:
        kept = worker.poll(0)
        kept[1].ack()
    with pytest.raises(SettlementError, match="closed"):
        kept[0].ack()
    with log.share_consumer("t", group="g") as worker:
        assert counts(worker.poll(0)) == {0: 2, 2: 2}


def test_closing_twice_is_closing_once(log):
    worker = log.share_consumer("t", group="g")
    worker.close()
    worker.close()
    for call in (lambda: worker.poll(0), worker.iter, worker.__enter__):
        with pytest.raises(ClosedError):
            call()


def test_the_log_closes_its_share_consumers(clock):
    with Log(":memory:", clock=clock) as log:
        log.create_topic("t")
        worker = log.share_consumer("t", group="g")
    with pytest.raises(ClosedError):
        worker.poll(0)


def test_a_consumer_that_is_dropped_warns_and_returns_what_it_had(log):
    fill(log, 2)
    with log.share_consumer("t", group="g") as other:
        worker = log.share_consumer("t", group="g")
        worker.poll(0)
        with pytest.warns(ResourceWarning, match="unclosed <msglog.ShareConsumer"):
            del worker
        assert counts(other.poll(0)) == {0: 2, 1: 2}
        assert len(log.describe_group("g").members) == 1


def test_a_dropped_consumer_wakes_one_that_waits(log):
    fill(log, 1)
    with log.share_consumer("t", group="g") as other:
        worker = log.share_consumer("t", group="g")
        worker.poll(0)
        call = Call(lambda: other.poll(30)).until_asleep()
        with pytest.warns(ResourceWarning):
            del worker
        assert counts(call.result()) == {0: 2}


def test_a_live_record_keeps_its_consumer(log):
    fill(log, 1)
    worker = log.share_consumer("t", group="g")
    (record,) = worker.poll(0)
    del worker
    record.ack()
    assert lag(log) == 0
    with pytest.warns(ResourceWarning):
        del record


def test_repr_tells_no_payloads(log):
    log.append("t", b"secret", key=b"secret")
    with log.share_consumer("t", group="g") as worker:
        (record,) = worker.poll(0)
        assert repr(record).startswith("ShareRecord(topic='t', partition=0, offset=0")
        assert "secret" not in repr(record) + repr(worker)
        assert repr(worker) == "<msglog.ShareConsumer group='g' partitions=1 in_hand=1>"
    assert repr(worker) == "<msglog.ShareConsumer group='g' closed>"


# Bad input


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"group": ""}, InvalidNameError),
        ({"group": None}, InvalidNameError),
        ({"start": "error"}, InvalidOptionError),
        ({"start": None}, InvalidTypeError),
        ({"lock_ms": 0}, InvalidOptionError),
        ({"lock_ms": 1.5}, InvalidTypeError),
        ({"delivery_limit": 0}, InvalidOptionError),
        ({"delivery_limit": True}, InvalidTypeError),
    ],
)
def test_bad_options(log, options, error):
    with pytest.raises(error):
        log.share_consumer("t", **{"group": "g", **options})
    assert log.groups() == []


def test_bad_topics(log):
    for topics, error in ([(), InvalidTypeError], [("nope",), TopicNotFoundError], [(5,), InvalidTypeError]):
        with pytest.raises(error):
            log.share_consumer(*topics, group="g")
    with pytest.raises(InvalidTypeError):
        log.share_consumer(re.compile(b"t"), group="g")
    assert log.groups() == []


def test_bad_polls(log):
    with log.share_consumer("t", group="g") as worker:
        for timeout, error in ((-1, InvalidOptionError), ("1", InvalidTypeError)):
            with pytest.raises(error):
                worker.poll(timeout)
            with pytest.raises(error):
                worker.iter(timeout)
        with pytest.raises(InvalidOptionError):
            worker.poll(0, max_records=0)


def test_a_closed_log_makes_none(log):
    log.close()
    with pytest.raises(ClosedError):
        log.share_consumer("t", group="g")


# Names are of one kind


def test_a_share_group_is_no_consumer_group(log):
    log.share_consumer("t", group="g").close()
    with pytest.raises(GroupError):
        log.consumer("t", group="g")
    with log.consumer(group="g") as consumer:
        consumer.assign([msglog.TopicPartition("t", 0)])
        with pytest.raises(GroupError):
            consumer.commit()
    with pytest.raises(GroupError):
        log.subscribe("t", group="g", callback=print)


def test_a_consumer_group_is_no_share_group(log):
    with log.consumer("t", group="g") as consumer:
        with pytest.raises(GroupError):
            log.share_consumer("t", group="g")
        consumer.commit()
    with pytest.raises(GroupError):
        log.share_consumer("t", group="g")
    log.delete_group("g")
    log.share_consumer("t", group="g").close()

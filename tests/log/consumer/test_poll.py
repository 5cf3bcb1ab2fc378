"""Reading without a group: poll, iteration, positions, seeks, pauses, waiting, stopping."""

import itertools
import re
import signal
import threading
import time

import pytest

from msglog import (
    ClosedError,
    Consumer,
    GroupError,
    InvalidOptionError,
    InvalidTypeError,
    Log,
    OffsetOutOfRangeError,
    PartitionNotFoundError,
    TopicNotFoundError,
    TopicPartition,
)
from support.brokers import Call

ONE = TopicPartition("one", 0)
TWO_0, TWO_1 = TopicPartition("two", 0), TopicPartition("two", 1)


def fill(log, topic="one", count=10, partition=0, batch=False):
    values = [b"%d" % number for number in range(count)]
    if batch:
        log.append_many(topic, values, partition=partition)
    else:
        for value in values:
            log.append(topic, value, partition=partition)


def offsets(records):
    return [record.offset for record in records]


@pytest.mark.parametrize("batch", [False, True])
def test_poll_hands_out_in_order_and_at_most_max_records(log, batch):
    fill(log, batch=batch)
    with log.consumer("one") as consumer:
        assert offsets(consumer.poll(0, max_records=3)) == [0, 1, 2]
        assert consumer.position(ONE) == 3
        assert offsets(consumer.poll(0, max_records=100)) == [3, 4, 5, 6, 7, 8, 9]
        assert consumer.poll(0) == []
        assert consumer.position(ONE) == 10


def test_poll_returns_500_records_by_default(log):
    fill(log, count=600, batch=True)
    with log.consumer("one") as consumer:
        assert len(consumer.poll(0)) == 500
        assert len(consumer.poll(0)) == 100


@pytest.mark.parametrize("batch", [False, True])
def test_iteration_and_poll_share_positions(log, batch):
    fill(log, batch=batch)
    with log.consumer("one") as consumer:
        records = iter(consumer)
        assert [next(records).offset, next(records).offset] == [0, 1]
        assert consumer.position(ONE) == 2
        assert offsets(consumer.poll(0, max_records=3)) == [2, 3, 4]
        assert next(records).offset == 5
        other = consumer.iter(0)
        assert next(other).offset == 6
        assert next(records).offset == 7
        assert offsets(other) == [8, 9]
        assert consumer.position(ONE) == 10


def test_an_abandoned_loop_leaves_the_position_after_the_record_in_hand(log):
    fill(log, batch=True)
    with log.consumer("one") as consumer:
        for record in consumer:
            if record.offset == 4:
                break
        assert consumer.position(ONE) == 5
        assert offsets(consumer.iter(0)) == [5, 6, 7, 8, 9]


def test_records_are_complete(log):
    log.append("one", None, key=b"k", headers=[("a", b"1"), ("a", None)], timestamp_ms=77)
    with log.consumer("one") as consumer:
        (record,) = consumer.poll(0)
    assert record == ("one", 0, 0, 77, b"k", None, (("a", b"1"), ("a", None)))


def test_partitions_take_turns(log):
    for partition in (0, 1):
        for _ in range(4):
            fill(log, "two", 400, partition, batch=True)
    with log.consumer("two") as consumer:
        sets = [{record.partition for record in consumer.poll(0, max_records=500)} for _ in range(2)]
        assert sets == [{0}, {1}]
        rest = list(consumer.iter(0))
    first_1 = next(place for place, record in enumerate(rest) if record.partition == 1)
    assert first_1 <= 1000
    for partition in (0, 1):
        assert offsets(r for r in rest if r.partition == partition) == list(range(500, 1600))


def test_each_partition_has_its_position(log):
    fill(log, "two", 3, 0)
    fill(log, "two", 5, 1)
    with log.consumer("two") as consumer:
        assert consumer.lag() == {TWO_0: 3, TWO_1: 5}
        assert len(list(consumer.iter(0))) == 8
        assert (consumer.position(TWO_0), consumer.position(TWO_1)) == (3, 5)
        assert consumer.lag() == {TWO_0: 0, TWO_1: 0}
        assert consumer.assignment() == {TWO_0, TWO_1}


def test_latest_begins_at_the_end_as_of_the_making(log):
    fill(log, count=3)
    with log.consumer("one", start="latest") as consumer:
        log.append("one", b"new")
        assert offsets(consumer.poll(0)) == [3]


def test_error_begins_nowhere_until_a_seek(log):
    fill(log, count=3)
    with log.consumer("one", start="error") as consumer:
        for attempt in (lambda: consumer.poll(0), lambda: consumer.position(ONE), lambda: next(iter(consumer))):
            with pytest.raises(OffsetOutOfRangeError) as caught:
                attempt()
            assert (caught.value.offset, caught.value.start_offset, caught.value.end_offset) == (-1, 0, 3)
        consumer.seek(ONE, 1)
        assert offsets(consumer.poll(0)) == [1, 2]


@pytest.mark.parametrize(("start", "expected"), [("earliest", [6, 7, 8, 9]), ("latest", [])])
def test_a_position_that_retention_overtook_begins_anew(log, start, expected):
    fill(log)
    with log.consumer("one", start=start) as consumer:
        consumer.seek_to_beginning()
        assert offsets(consumer.poll(0, max_records=1)) == [0]
        log.delete_records("one", 0, 6)
        assert offsets(consumer.poll(0)) == expected


def test_a_position_that_retention_overtook_is_an_error_if_so_wished(log):
    fill(log)
    with log.consumer("one", start="error") as consumer:
        consumer.seek(ONE, 0)
        assert len(consumer.poll(0, max_records=1)) == 1
        log.delete_records("one", 0, 6)
        for _ in range(2):
            with pytest.raises(OffsetOutOfRangeError) as caught:
                consumer.poll(0)
            assert (caught.value.offset, caught.value.start_offset) == (1, 6)
        consumer.seek_to_beginning()
        assert offsets(consumer.poll(0)) == [6, 7, 8, 9]


def test_an_error_in_one_partition_does_not_keep_the_others_back(log):
    fill(log, "two", 3, 0)
    fill(log, "two", 3, 1)
    with log.consumer("two", start="error") as consumer:
        consumer.seek(TWO_1, 0)
        with pytest.raises(OffsetOutOfRangeError):
            consumer.poll(0)
        assert offsets(consumer.poll(0)) == [0, 1, 2]
        with pytest.raises(OffsetOutOfRangeError):
            consumer.poll(0)


# Seeking and pausing


def test_seeks(log, clock):
    for number in range(10):
        log.append("one", b"%d" % number)
        clock.advance(ms=10)
    start_ms = clock.now_ms() - 100
    with log.consumer("one") as consumer:
        consumer.seek(ONE, 7)
        assert offsets(consumer.poll(0)) == [7, 8, 9]
        consumer.seek_to_beginning(ONE)
        assert consumer.position(ONE) == 0
        consumer.seek_to_end()
        assert consumer.poll(0) == []
        consumer.seek_to_time(start_ms + 35)
        assert consumer.position(ONE) == 4
        consumer.seek_to_time(start_ms + 1000)
        assert consumer.position(ONE) == 10
        consumer.seek_to_time(0)
        assert consumer.position(ONE) == 0


@pytest.mark.parametrize("batch", [False, True])
def test_seeking_inside_a_loop_takes_effect_with_the_next_record(log, batch):
    fill(log, batch=batch)
    seen = []
    with log.consumer("one") as consumer:
        for record in consumer.iter(0):
            seen.append(record.offset)
            if seen == [0, 1]:
                consumer.seek(ONE, 8)
    assert seen == [0, 1, 8, 9]


def test_seeking_between_two_uses_of_one_iterator(log):
    fill(log, batch=True)
    with log.consumer("one") as consumer:
        records = iter(consumer)
        assert next(records).offset == 0
        consumer.seek(ONE, 5)
        assert offsets(consumer.poll(0, max_records=1)) == [5]
        assert next(records).offset == 6


@pytest.mark.parametrize("batch", [False, True])
def test_pausing_inside_a_loop(log, batch):
    fill(log, "two", 5, 0, batch)
    fill(log, "two", 5, 1, batch)
    seen = []
    with log.consumer("two") as consumer:
        for record in consumer.iter(0):
            seen.append((record.partition, record.offset))
            if len(seen) == 2:
                consumer.pause(TWO_0)
        assert seen == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (1, 3), (1, 4)]
        assert consumer.position(TWO_0) == 2
        assert consumer.poll(0) == []
        consumer.resume(TWO_0)
        assert offsets(consumer.poll(0)) == [2, 3, 4]


def test_pausing_everything(log):
    fill(log, "two", 2, 0)
    with log.consumer("two") as consumer:
        consumer.pause()
        assert consumer.poll(0.01) == []
        assert consumer.assignment() == {TWO_0, TWO_1}
        consumer.resume()
        assert len(consumer.poll(0)) == 2


# Topics


def test_patterns_take_up_topics_that_are_made_later(log):
    with log.consumer(re.compile(r"tw.*|new-\d")) as consumer:
        assert consumer.assignment() == {TWO_0, TWO_1}
        log.create_topic("new-1")
        log.create_topic("anew-1")
        log.append("new-1", b"x")
        assert [record.topic for record in consumer.poll(0)] == ["new-1"]
        assert consumer.assignment() == {TWO_0, TWO_1, TopicPartition("new-1", 0)}


def test_new_partitions_are_taken_up(log):
    with log.consumer("one") as consumer:
        log.add_partitions("one", 3)
        log.append("one", b"x", partition=2)
        assert [record.partition for record in consumer.poll(0)] == [2]


def test_a_topic_deleted_while_consuming_vanishes_and_returns_anew(log):
    fill(log)
    calls = []
    record = {name: lambda _, tps, name=name: calls.append((name, tps)) for name in ("on_assign", "on_revoke")}
    with log.consumer("one", "two", **record) as consumer:
        assert len(consumer.poll(0, max_records=4)) == 4
        log.delete_topic("one")
        assert consumer.poll(0) == []
        assert consumer.assignment() == {TWO_0, TWO_1}
        log.create_topic("one")
        log.append("one", b"again")
        assert [(r.offset, r.value) for r in consumer.poll(0)] == [(0, b"again")]
    everything = frozenset({ONE, TWO_0, TWO_1})
    assert calls == [
        ("on_assign", everything),
        ("on_revoke", {ONE}),
        ("on_assign", {ONE}),
        ("on_revoke", everything),
    ]


def test_a_topic_deleted_and_made_anew_between_two_polls(log):
    fill(log)
    with log.consumer("one") as consumer:
        assert len(consumer.poll(0, max_records=4)) == 4
        log.delete_topic("one")
        log.create_topic("one")
        log.append("one", b"again")
        assert [(r.offset, r.value) for r in consumer.poll(0)] == [(0, b"again")]


def test_assign(log):
    fill(log, "two", 3, 1)
    with log.consumer() as consumer:
        with pytest.raises(GroupError):
            consumer.poll(0)
        consumer.assign([TWO_1])
        assert consumer.assignment() == {TWO_1}
        assert len(consumer.poll(0, max_records=1)) == 1
        consumer.assign([TWO_1, ONE])
        assert consumer.position(TWO_1) == 1
        consumer.assign([ONE])
        assert consumer.poll(0) == []
        consumer.assign([])
        assert consumer.poll(0) == []
        for partition, error in [(TopicPartition("two", 2), PartitionNotFoundError), (("x", 0), TopicNotFoundError)]:
            with pytest.raises(error):
                consumer.assign([partition])


def test_assigned_topics_that_are_deleted_vanish(log):
    with log.consumer() as consumer:
        consumer.assign([ONE, TWO_0])
        log.delete_topic("one")
        consumer.poll(0)
        assert consumer.assignment() == {TWO_0}


def test_a_subscription_excludes_assignment(log):
    with log.consumer("one") as consumer, pytest.raises(GroupError):
        consumer.assign([TWO_0])


# Waiting and stopping


def test_poll_waits_for_a_record(real_log):
    with real_log.consumer("two") as consumer:
        timer = threading.Timer(0.05, real_log.append, ("two", b"x"))
        timer.start()
        assert len(consumer.poll()) == 1
        timer.join()


def test_poll_and_iteration_end_with_their_timeout(real_log):
    with real_log.consumer("one") as consumer:
        begin = time.monotonic()
        assert consumer.poll(0.05) == []
        assert list(consumer.iter(0.05)) == []
        assert 0.1 <= time.monotonic() - begin < 5


def test_iteration_counts_its_timeout_from_the_last_record(real_log):
    def append():
        for _ in range(6):
            time.sleep(0.1)
            real_log.append("one", b"x")

    thread = threading.Thread(target=append)
    with real_log.consumer("one") as consumer:
        thread.start()
        assert len(list(consumer.iter(0.5))) == 6
    thread.join()


@pytest.mark.parametrize("consume", [Consumer.poll, list])
def test_stop_ends_a_wait_in_another_thread(real_log, consume):
    with real_log.consumer("one") as consumer:
        timer = threading.Timer(0.05, consumer.stop)
        timer.start()
        assert consume(consumer) == []
        timer.join()


@pytest.mark.parametrize("batch", [False, True])
def test_stop_ends_a_loop_after_the_record_in_hand(log, batch):
    fill(log, batch=batch)
    seen = []
    with log.consumer("one") as consumer:
        for record in consumer:
            seen.append(record.offset)
            if record.offset == 3:
                consumer.stop()
        assert seen == [0, 1, 2, 3]
        assert consumer.position(ONE) == 4
        assert consumer.poll() == []
        assert list(consumer) == []


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
@pytest.mark.parametrize("busy", [False, True])
def test_stop_from_a_signal_handler(real_log, busy):
    if busy:
        fill(real_log, count=20000, batch=True)
    with real_log.consumer("one") as consumer:
        former = signal.signal(signal.SIGALRM, lambda *_: consumer.stop())
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            for _ in consumer:
                if busy:
                    time.sleep(0.001)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, former)
        assert 0 <= consumer.position(ONE) < 20000


def test_ctrl_c_during_a_wait_leaves_a_usable_consumer(real_log):
    def interrupt(*_):
        raise KeyboardInterrupt

    with real_log.consumer("one") as consumer:
        former = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(KeyboardInterrupt):
                consumer.poll()
        finally:
            signal.signal(signal.SIGALRM, former)
        real_log.append("one", b"x")
        assert len(consumer.poll()) == 1
        thread = threading.Thread(target=consumer.position, args=(ONE,))
        thread.start()
        thread.join()


# Threads and ends


def test_two_threads_at_once_are_refused(real_log):
    with real_log.consumer("one") as consumer:
        thread = threading.Thread(target=consumer.poll)
        thread.start()
        wait_until(lambda: consumer._engine.streams and any(s.waiters for s in consumer._engine.streams.values()))
        for call in (
            lambda: consumer.poll(0),
            lambda: next(iter(consumer)),
            lambda: consumer.position(ONE),
            lambda: consumer.seek(ONE, 0),
            consumer.pause,
            consumer.assignment,
            consumer.lag,
        ):
            with pytest.raises(RuntimeError, match="one thread at a time"):
                call()
        consumer.stop()
        thread.join()
        assert consumer.position(ONE) == 0


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_one_thread_after_the_other_is_fine(real_log):
    fill(real_log)
    found = []
    with real_log.consumer("one") as consumer:
        for _ in range(3):
            thread = threading.Thread(target=lambda: found.extend(consumer.poll(0, max_records=3)))
            thread.start()
            thread.join()
    assert offsets(found) == list(range(9))


def test_after_close_everything_raises(log):
    consumer = log.consumer("one")
    records = iter(consumer)
    consumer.close()
    consumer.close()
    with pytest.raises(ClosedError):
        next(records)
    for call in (
        consumer.poll,
        consumer.iter,
        lambda: iter(consumer),
        consumer.commit,
        lambda: consumer.committed(ONE),
        lambda: consumer.position(ONE),
        lambda: consumer.seek(ONE, 0),
        lambda: consumer.seek_to_time(0),
        consumer.seek_to_beginning,
        consumer.seek_to_end,
        consumer.seek_to_committed,
        consumer.pause,
        consumer.resume,
        consumer.assignment,
        lambda: consumer.assign([ONE]),
        consumer.lag,
        consumer.__enter__,
    ):
        with pytest.raises(ClosedError):
            call()
    consumer.stop()


def test_closing_the_store_ends_a_waiting_consumer(clock):
    log = Log(":memory:", clock=clock)
    log.create_topic("one")
    log.append("one", b"x")
    consumer = log.consumer("one")
    seen = []
    thread = threading.Thread(target=lambda: seen.extend(consumer))
    thread.start()
    wait_until(lambda: any(s.waiters for s in consumer._engine.streams.values()))
    log.close()
    thread.join()
    assert len(seen) == 1
    with pytest.raises(ClosedError):
        consumer.poll(0)
    consumer.close()


def test_a_consumer_that_is_dropped_warns(log):
    consumer = log.consumer("one")
    with pytest.warns(ResourceWarning, match="unclosed <msglog.Consumer"):
        del consumer


def test_repr_tells_no_payloads(log):
    with log.consumer("two") as consumer:
        assert repr(consumer) == "<msglog.Consumer partitions=2 lag=0>"
    assert repr(consumer) == "<msglog.Consumer closed>"


# Bad input


@pytest.mark.parametrize(
    ("topics", "options", "error"),
    [
        (["nope"], {}, TopicNotFoundError),
        ([b"one"], {}, InvalidTypeError),
        ([None], {}, InvalidTypeError),
        (["one"], {"start": "begin"}, InvalidOptionError),
        (["one"], {"start": None}, InvalidTypeError),
        (["one"], {"group": "g", "assignor": "best"}, InvalidOptionError),
        (["one"], {"group": "g", "session_timeout_ms": 0}, InvalidOptionError),
        (["one"], {"group": "g", "max_poll_interval_ms": 1.5}, InvalidTypeError),
        (["one"], {"group": ""}, ValueError),
        (["one"], {"group": "a\nb"}, ValueError),
        (["one"], {"group": 5}, ValueError),
        (["one"], {"group": "g", "instance_id": ""}, ValueError),
        (["one"], {"group": "g", "auto_commit": 1}, InvalidTypeError),
        (["one"], {"auto_commit": True}, InvalidOptionError),
        (["one"], {"instance_id": "i"}, InvalidOptionError),
        (["one"], {"on_assign": 5}, InvalidTypeError),
    ],
)
def test_bad_options(log, topics, options, error):
    with pytest.raises(error):
        log.consumer(*topics, **options)
    assert log.groups() == []


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda c: c.poll(-1), InvalidOptionError),
        (lambda c: c.poll("1"), InvalidTypeError),
        (lambda c: c.poll(True), InvalidTypeError),
        (lambda c: c.poll(float("nan")), InvalidOptionError),
        (lambda c: c.poll(float("inf")), InvalidOptionError),
        (lambda c: c.poll(0, max_records=0), InvalidOptionError),
        (lambda c: c.poll(0, max_records=None), InvalidTypeError),
        (lambda c: c.iter(-0.5), InvalidOptionError),
        (lambda c: c.position("one"), InvalidTypeError),
        (lambda c: c.position(("one", "0")), InvalidTypeError),
        (lambda c: c.position(TopicPartition("nope", 0)), TopicNotFoundError),
        (lambda c: c.position(TopicPartition("one", 1)), PartitionNotFoundError),
        (lambda c: c.position(TWO_0), GroupError),
        (lambda c: c.seek(ONE, -1), InvalidOptionError),
        (lambda c: c.seek(ONE, "0"), InvalidTypeError),
        (lambda c: c.seek(ONE, 1), OffsetOutOfRangeError),
        (lambda c: c.seek_to_time(-1), InvalidOptionError),
        (lambda c: c.seek_to_time(1.5), InvalidTypeError),
        (lambda c: c.pause(0), InvalidTypeError),
        (Consumer.commit, GroupError),
        (lambda c: c.committed(ONE), GroupError),
        (Consumer.seek_to_committed, GroupError),
    ],
)
def test_bad_arguments(log, call, error):
    with log.consumer("one") as consumer, pytest.raises(error):
        call(consumer)


@pytest.mark.parametrize("path", ["memory", "none", "commit"])
def test_records_that_wake_a_consumer_are_those_that_are_stored(tmp_path, path):
    options = {} if path == "memory" else {"sync": path}
    with Log(":memory:" if path == "memory" else tmp_path / "store", segment_bytes=20_000, **options) as log:
        log.create_topic("t")
        consumer = log.consumer("t")
        for key, size, headers in itertools.product(
            (None, b"", b"key", b"k" * 5000), (0, 1, 100, 5000), ((), (("a", b"b"),))
        ):
            call = Call(consumer.poll).until_asleep()
            log.append("t", b"x" * size, key=key, headers=headers)
            received = call.result()
            assert received == list(log.read("t", start=consumer.position(TopicPartition("t", 0)) - 1))
        for many in (1, 3):  # what came together with it is not left out, whatever came last
            call = Call(consumer.poll).until_asleep()
            for number in range(many):
                log.append("t", b"%d" % number)
            received = call.result() + consumer.poll(0)
            assert [record.value for record in received] == [b"%d" % number for number in range(many)]
        consumer.seek_to_beginning()
        assert list(consumer.iter(0)) == list(log.read("t"))
        consumer.close()

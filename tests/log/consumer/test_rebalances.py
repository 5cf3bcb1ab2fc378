"""Members of a group: sharing, callbacks, eviction, fencing, static members."""

import gc
import re
import threading
import time
import weakref

import pytest

from msglog import FencedError, GroupError, Log, TopicPartition
from support.brokers import Call
from support.callbacks import ENDS, EXCEPTIONS, name_of

ASSIGNORS = ("range", "roundrobin", "sticky", "cooperative-sticky")
TWO_0, TWO_1 = TopicPartition("two", 0), TopicPartition("two", 1)
BOTH = frozenset({TWO_0, TWO_1})


class Calls(list):
    """Records callbacks, and that a partition never has two owners in between."""

    def options(self, name):
        return {kind: self._note(name, kind) for kind in ("on_assign", "on_revoke", "on_lost")}

    def _note(self, name, kind):
        return lambda _, partitions: self.append((name, kind, partitions))

    def take(self):
        taken = list(self)
        self.clear()
        return taken


@pytest.fixture
def calls():
    return Calls()


def settle(*consumers):
    for _ in range(4):
        for consumer in consumers:
            consumer.poll(0)


def close_all(consumers):
    for consumer in consumers:
        consumer.close()


@pytest.mark.parametrize("assignor", ASSIGNORS)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_every_partition_has_one_owner(log, assignor, count):
    log.create_topic("six", partitions=6)
    everything = {TopicPartition("six", number) for number in range(6)} | BOTH
    consumers = []
    for _ in range(count):
        consumers.append(log.consumer("six", "two", group="g", assignor=assignor))
        settle(*consumers)
        shares = [consumer.assignment() for consumer in consumers]
        assert frozenset().union(*shares) == everything
        assert sum(map(len, shares)) == len(everything)
    assert log.describe_group("g").state == "Stable"
    while consumers:
        consumers.pop(0).close()
        settle(*consumers)
        shares = [consumer.assignment() for consumer in consumers]
        assert sum(map(len, shares)) == (len(everything) if consumers else 0)


@pytest.mark.parametrize("assignor", ASSIGNORS)
def test_a_move_loses_no_record_and_repeats_none_when_committed(log, assignor):
    log.create_topic("six", partitions=6)
    consumers = [log.consumer("six", group="g", assignor=assignor, auto_commit=True)]
    seen = []
    for round_number in range(30):
        for partition in range(6):
            log.append("six", b"%d" % round_number, partition=partition)
        if round_number % 5 == 4 and len(consumers) < 4:
            consumers.append(log.consumer("six", group="g", assignor=assignor, auto_commit=True))
        if round_number % 7 == 6:
            consumers.pop(0).close()
        for consumer in consumers:
            seen += [(r.partition, r.offset) for r in consumer.poll(0, max_records=4)]
    for _ in range(50):
        for consumer in consumers:
            seen += [(r.partition, r.offset) for r in consumer.poll(0)]
    close_all(consumers)
    assert sorted(seen) == [(partition, offset) for partition in range(6) for offset in range(30)]


def test_callbacks_of_an_eager_group(log, calls):
    a = log.consumer("two", group="g", **calls.options("a"))
    assert a.assignment() == BOTH
    assert calls.take() == []
    a.poll(0)
    assert calls.take() == [("a", "on_assign", BOTH)]
    b = log.consumer("two", group="g", **calls.options("b"))
    b.poll(0)
    assert b.assignment() == frozenset()
    assert calls.take() == []
    a.poll(0)
    assert calls.take() == [("a", "on_revoke", BOTH), ("a", "on_assign", {TWO_0})]
    b.poll(0)
    assert calls.take() == [("b", "on_assign", {TWO_1})]
    a.close()
    assert calls.take() == [("a", "on_revoke", {TWO_0})]
    b.poll(0)
    assert calls.take() == [("b", "on_revoke", {TWO_1}), ("b", "on_assign", BOTH)]
    b.close()
    assert calls.take() == [("b", "on_revoke", BOTH)]


def test_callbacks_of_a_cooperative_group(log, calls):
    a = log.consumer("two", group="g", assignor="cooperative-sticky", **calls.options("a"))
    a.poll(0)
    b = log.consumer("two", group="g", assignor="cooperative-sticky", **calls.options("b"))
    settle(a, b)
    assert [call for call in calls.take() if call[2]] == [
        ("a", "on_assign", BOTH),
        ("a", "on_revoke", {TWO_1}),
        ("b", "on_assign", {TWO_1}),
    ]
    close_all([a, b])


def test_callbacks_run_inside_polls_only_and_hold_no_lock(log):
    states = []

    def on_assign(consumer, partitions):
        states.append(("assign", partitions, consumer.assignment()))
        log.append("one", b"from the callback")
        consumer.seek_to_end()

    def on_revoke(consumer, partitions):
        states.append(("revoke", partitions, consumer.assignment()))
        consumer.commit()

    with log.consumer("two", group="g", on_assign=on_assign, on_revoke=on_revoke) as consumer:
        assert states == []
        log.append("two", b"x", partition=0)
        assert consumer.poll(0) == []
    assert states == [("assign", BOTH, BOTH), ("revoke", BOTH, BOTH)]
    assert log.describe_group("g").offsets == {TWO_0: 1, TWO_1: 0}


def test_polling_and_closing_inside_a_callback_is_refused(log):
    errors = []

    def on_assign(consumer, _):
        for call in (lambda: consumer.poll(0), lambda: next(consumer.iter(0)), consumer.close):
            with pytest.raises(RuntimeError) as caught:
                call()
            errors.append(caught.value)

    with log.consumer("two", group="g", on_assign=on_assign) as consumer:
        consumer.poll(0)
    assert len(errors) == 3


def test_a_callback_that_raises_leaves_a_working_consumer(log):
    failures = iter([ValueError("first"), ValueError("second"), None, ValueError("third")])

    def fail(*_):
        error = next(failures)
        if error is not None:
            raise error

    a = log.consumer("two", group="g", on_assign=fail, on_revoke=fail)
    with pytest.raises(ValueError, match="first"):
        a.poll(0)
    log.append("two", b"x", partition=0)
    assert len(a.poll(0)) == 1
    with log.consumer("two", group="g") as b:
        with pytest.raises(ValueError, match="second"):
            a.poll(0)
        assert a.assignment() == frozenset()
        settle(a, b)
        assert (a.assignment(), b.assignment()) == ({TWO_0}, {TWO_1})
    with pytest.raises(ValueError, match="third"):
        a.close()
    assert log.groups() == []


@pytest.mark.parametrize("iterates", [False, True], ids=["poll", "iteration"])
@pytest.mark.parametrize("error", [*EXCEPTIONS, *ENDS], ids=name_of)
def test_whatever_a_callback_raises_comes_out_and_the_consumer_goes_on(log, clock, error, iterates):
    told = []

    def raises(name):
        def callback(_consumer, partitions):
            told.append((name, partitions))
            raise error

        return callback

    def receive(consumer):
        return list(consumer.iter(0)) if iterates else consumer.poll(0)

    # Python itself makes a RuntimeError of this one when it leaves an iterator.
    turned = iterates and isinstance(error, StopIteration)

    def fails():
        with pytest.raises(RuntimeError if turned else type(error)) as caught:
            receive(a)
        assert error in (caught.value, caught.value.__cause__)

    names = ("on_assign", "on_revoke", "on_lost")
    a = log.consumer("two", group="g", **{name: raises(name) for name in names})
    fails()
    log.append("two", b"x", partition=0)
    assert len(receive(a)) == 1
    with log.consumer("two", group="g") as b:
        fails()
        b.poll(0)
        fails()  # the new share is announced
        receive(a)
    clock.advance(seconds=301)
    told.clear()
    fails()  # lost
    assert [name for name, _ in told] == ["on_lost"]
    fails()  # and assigned anew
    with pytest.raises(type(error)):
        a.close()
    assert log.groups() == []


def test_positions_are_kept_over_a_cooperative_rebalance(log):
    for partition in (0, 1):
        log.append_many("two", [b"x"] * 10, partition=partition)
    a = log.consumer("two", group="g", assignor="cooperative-sticky")
    a.poll(0, max_records=5)
    with log.consumer("two", group="g", assignor="cooperative-sticky") as b:
        settle(b)
        assert [r.offset for r in a.poll(0)] == list(range(5, 10))
        settle(b)
        assert a.position(TWO_0) == 10
    a.close()


def test_patterns_rebalance_when_topics_match(log):
    a = log.consumer(re.compile(r"t.*"), group="g")
    b = log.consumer(re.compile(r"t.*"), group="g")
    settle(a, b)
    log.create_topic("three", partitions=2)
    settle(a, b)
    assert len(a.assignment()) == len(b.assignment()) == 2
    log.delete_topic("two")
    log.add_partitions("three", 4)
    settle(a, b)
    assert len(a.assignment()) == len(b.assignment()) == 2
    assert {tp.topic for tp in a.assignment() | b.assignment()} == {"three"}
    close_all([a, b])


def test_a_topic_deleted_under_a_group_is_revoked(log, calls):
    with log.consumer("one", "two", group="g", assignor="cooperative-sticky", **calls.options("a")) as a:
        a.poll(0)
        calls.take()
        log.delete_topic("two")
        a.poll(0)
        assert ("a", "on_revoke", BOTH) in calls.take()
        assert a.assignment() == {TopicPartition("one", 0)}
        log.create_topic("two")
        log.append("two", b"anew")
        settle(a)
        assert a.position(TWO_0) == 1


def test_a_topic_deleted_and_made_anew_under_a_cooperative_group(log):
    log.append("two", b"old", partition=0)
    with log.consumer("two", group="g", assignor="cooperative-sticky", auto_commit=True) as a:
        a.poll(0)
        log.delete_topic("two")
        log.create_topic("two", partitions=2)
        log.append("two", b"new", partition=0)
        assert [r.value for r in a.poll(0)] == [b"new"]
        a.poll(0)
        assert a.committed(TWO_0) == 1


def test_members_must_agree_on_the_assignor(log):
    with log.consumer("two", group="g"), pytest.raises(GroupError):
        log.consumer("two", group="g", assignor="sticky")


def test_groups_are_independent(log):
    log.append("two", b"x", partition=0)
    with log.consumer("two", group="a") as a, log.consumer("two", group="b") as b:
        assert len(a.poll(0)) == len(b.poll(0)) == 1


# Eviction


def test_an_assignment_that_was_lost_before_the_first_poll_is_never_announced(log, clock, calls):
    log.append_many("two", [b"x"] * 3, partition=0)
    a = log.consumer("two", group="g", **calls.options("a"))
    assert a.position(TWO_0) == 0
    clock.advance(seconds=300)
    log.reset_offsets("g", "two", to={0: 2})
    assert [record.offset for record in a.poll(0)] == [2]
    assert calls == [("a", "on_assign", BOTH)]
    a.close()


def test_an_idle_consumer_is_evicted_when_advance_returns(log, clock, calls):
    a = log.consumer("two", group="g", max_poll_interval_ms=300_000, **calls.options("a"))
    a.poll(0)
    clock.advance(ms=299_999)
    assert len(log.describe_group("g").members) == 1
    clock.advance(ms=1)
    assert log.groups() == []
    with pytest.raises(FencedError):
        a.commit()
    log.append("two", b"x", partition=0)
    calls.take()
    assert len(a.poll(0)) == 1
    assert calls.take() == [("a", "on_lost", BOTH), ("a", "on_assign", BOTH)]
    a.close()


@pytest.mark.parametrize("assignor", ASSIGNORS)
def test_what_an_evicted_member_had_goes_to_the_others(log, clock, assignor):
    a = log.consumer("two", group="g", assignor=assignor)
    b = log.consumer("two", group="g", assignor=assignor)
    settle(a, b)
    for _ in range(10):
        clock.advance(ms=100_000)
        settle(b)
    assert b.assignment() == BOTH
    log.append_many("two", [b"x"] * 3, partition=0)
    assert len(b.poll(0)) == 3
    b.commit()
    with pytest.raises(FencedError):
        a.commit({TWO_0: 1})
    settle(a, b)
    assert len(a.assignment()) == len(b.assignment()) == 1
    close_all([a, b])


def test_each_step_of_an_iteration_is_a_poll(log, clock):
    log.append_many("two", [b"x"] * 10, partition=0)
    with log.consumer("two", group="g", max_poll_interval_ms=1000) as a:
        for _ in a.iter(0):
            clock.advance(ms=999)
            assert len(log.describe_group("g").members) == 1


@pytest.mark.parametrize("receive", [lambda a: a.poll(), lambda a: next(iter(a))], ids=["poll", "iteration"])
def test_a_poll_that_waits_goes_on_until_a_record_has_come(log, clock, receive):
    a = log.consumer("two", group="g", session_timeout_ms=1_000_000, max_poll_interval_ms=1000)
    call = Call(lambda: receive(a)).until_asleep()
    clock.advance(ms=333)  # the timers speak for it, for the last time before it wakes
    clock.advance(ms=300)
    log.append("two", b"x", partition=0)
    call.result()
    clock.advance(ms=999)
    assert len(log.describe_group("g").members) == 1
    clock.advance(ms=1)
    assert log.groups() == []
    a.close()


def test_on_lost_cannot_commit_and_close_of_the_evicted_calls_it(log, clock):
    seen = []

    def on_lost(consumer, partitions):
        with pytest.raises(FencedError):
            consumer.commit({TWO_0: 0})
        seen.append(partitions)

    for end in (lambda consumer: consumer.poll(0), id):
        with log.consumer("two", group="g", auto_commit=True, on_lost=on_lost) as a:
            a.poll(0)
            clock.advance(seconds=300)
            end(a)
        assert seen.pop() == BOTH
    assert log.groups() == []


def test_auto_commit_of_the_evicted_commits_nothing(log, clock):
    log.append_many("two", [b"x"] * 10, partition=0)
    with log.consumer("two", group="g", auto_commit=True) as a:
        assert len(a.poll(0, max_records=4)) == 4
        clock.advance(seconds=300)
        assert [r.offset for r in a.poll(0)] == list(range(10))


def test_a_consumer_waiting_in_a_poll_is_not_evicted(log, clock, calls):
    a = log.consumer("two", group="g", **calls.options("a"))
    found = []
    thread = threading.Thread(target=lambda: found.extend(a.poll()))
    thread.start()
    wait_for_waiters(log, 1)
    clock.advance(seconds=3600)
    assert len(log.describe_group("g").members) == 1
    log.append("two", b"x", partition=0)
    thread.join()
    assert len(found) == 1
    assert [kind for _, kind, _ in calls] == ["on_assign"]
    a.close()


def wait_for_waiters(log, count):
    deadline = time.monotonic() + 10
    streams = log.store.core.engine.streams
    while sum(len(stream.waiters) for stream in streams.values()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_waiting_consumer_takes_over_from_an_evicted_one(log, clock):
    a = log.consumer("two", group="g")
    b = log.consumer("two", group="g")
    settle(a, b)
    log.append("two", b"x", partition=0)
    found = []
    thread = threading.Thread(target=lambda: found.extend(b.poll()))
    thread.start()
    wait_for_waiters(log, 1)
    clock.advance(seconds=300)
    thread.join()
    assert [(r.partition, r.offset) for r in found] == [(0, 0)]
    close_all([a, b])


def test_a_consumer_whose_thread_ended_is_evicted_by_its_session_timeout(log, clock):
    a = log.consumer("two", group="g", session_timeout_ms=45_000)
    thread = threading.Thread(target=a.poll, args=(0,))
    thread.start()
    thread.join()
    clock.advance(ms=44_999)
    assert len(log.describe_group("g").members) == 1
    clock.advance(ms=1)
    assert log.groups() == []
    a.close()


def test_a_member_that_is_dropped_leaves(log, calls):
    a = log.consumer("two", group="g", **calls.options("a"))
    b = log.consumer("two", group="g")
    settle(a, b)
    calls.clear()
    with pytest.warns(ResourceWarning):
        del a
    b.poll(0)
    assert b.assignment() == BOTH
    assert calls == []
    b.close()


def test_a_dropped_member_wakes_one_that_waits(real_log):
    a = real_log.consumer("two", group="g")
    b = real_log.consumer("two", group="g")
    settle(a, b)
    real_log.append("two", b"x", partition=0)
    found = []
    thread = threading.Thread(target=lambda: found.extend(b.poll()))
    thread.start()
    wait_for_waiters(real_log, 1)
    with pytest.warns(ResourceWarning):
        del a
    thread.join()
    assert len(found) == 1
    b.close()


@pytest.mark.parametrize("fenced", [False, True])
def test_a_consumer_is_collected_at_once(log, fenced):
    consumer = log.consumer("two", group="g", instance_id="same")
    consumer.poll(0)
    list(consumer.iter(0))
    if fenced:
        log.consumer("two", group="g", instance_id="same").close()
        with pytest.raises(FencedError):
            consumer.poll(0)
    reference = weakref.ref(consumer)
    gc.disable()
    try:
        with pytest.warns(ResourceWarning):
            del consumer
        assert reference() is None
    finally:
        gc.enable()


# Static members


def test_a_static_member_returns_without_a_rebalance(log, clock):
    a = log.consumer("two", group="g", instance_id="a")
    b = log.consumer("two", group="g", instance_id="b")
    settle(a, b)
    before = log.describe_group("g")
    share = a.assignment()
    a.close()
    clock.advance(ms=40_000)
    settle(b)
    assert len(b.assignment()) == 1
    a = log.consumer("two", group="g", instance_id="a")
    settle(a, b)
    assert a.assignment() == share
    assert log.describe_group("g").generation == before.generation
    close_all([a, b])


def test_a_static_member_that_does_not_return_times_out(log, clock):
    a = log.consumer("two", group="g", instance_id="a", session_timeout_ms=45_000)
    b = log.consumer("two", group="g")
    settle(a, b)
    a.close()
    clock.advance(ms=44_999)
    settle(b)
    assert len(b.assignment()) == 1
    clock.advance(ms=1)
    settle(b)
    assert b.assignment() == BOTH
    b.close()


def test_a_second_holder_fences_the_first(log, calls):
    a = log.consumer("two", group="g", instance_id="same", **calls.options("a"))
    a.poll(0)
    b = log.consumer("two", group="g", instance_id="same")
    calls.take()
    with pytest.raises(FencedError):
        a.commit({TWO_0: 0})
    for _ in range(2):
        with pytest.raises(FencedError):
            a.poll(0)
    assert calls.take() == [("a", "on_lost", BOTH)]
    assert a.assignment() == frozenset()
    b.poll(0)
    assert b.assignment() == BOTH
    a.close()
    assert calls.take() == []
    b.poll(0)
    assert b.assignment() == BOTH
    b.close()


def test_positions_of_a_fenced_consumer_that_never_polled(log):
    a = log.consumer("two", group="g", instance_id="same")
    b = log.consumer("two", group="g", instance_id="same")
    assert a.position(TWO_0) == 0
    with pytest.raises(FencedError):
        a.commit()
    close_all([a, b])


def test_a_waiting_holder_learns_that_it_is_fenced(real_log):
    a = real_log.consumer("two", group="g", instance_id="same")
    errors = []

    def wait():
        try:
            a.poll()
        except FencedError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_for_waiters(real_log, 2)
    b = real_log.consumer("two", group="g", instance_id="same")
    thread.join()
    assert len(errors) == 1
    close_all([a, b])


# Threads


@pytest.mark.parametrize("assignor", ASSIGNORS)
def test_threads_share_a_topic_while_members_come_and_go(assignor):
    owners, doubles, seen = {}, [], []
    lock = threading.Lock()

    def own(consumer, partitions):
        with lock:
            doubles.extend(tp for tp in partitions if tp in owners)
            owners.update(dict.fromkeys(partitions, consumer))

    def disown(_, partitions):
        with lock:
            for tp in partitions:
                owners.pop(tp, None)

    def work(rounds):
        for _ in range(rounds):
            with log.consumer(
                "t", group="g", assignor=assignor, auto_commit=True, on_assign=own, on_revoke=disown, on_lost=disown
            ) as consumer:
                for record in consumer.iter(0.05):
                    with lock:
                        seen.append((record.partition, record.offset))

    with Log(":memory:") as log:
        log.create_topic("t", partitions=8)
        threads = [threading.Thread(target=work, args=(3,)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for number in range(400):
            log.append("t", b"x", partition=number % 8)
        for thread in threads:
            thread.join()
        with log.consumer("t", group="g", assignor=assignor) as last:
            seen += [(r.partition, r.offset) for r in last.iter(0)]
    assert doubles == []
    assert sorted(seen) == [(partition, offset) for partition in range(8) for offset in range(50)]

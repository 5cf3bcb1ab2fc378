"""Consume, transform, produce: `store.process` with each kind of source."""

import re
import shutil
import threading
from contextlib import suppress
from itertools import count, pairwise

import pytest

import msglog
from msglog import DiskFullError, InvalidOptionError, InvalidTypeError, Retry, TopicPartition
from msglog.storage import Engine
from msglog.testing import ManualClock
from msglog.transactions import sources
from msglog.transactions.dead_letters import DeadLetters
from support.brokers import Call, ready, take, wait_until
from support.opcodes import TELLS_RETURNS, Striker, Struck

TWICE = Retry(limit=1, delay_ms=0)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture(params=["memory", "none", "commit"])
def store(request, tmp_path, clock):
    options = {} if request.param == "memory" else {"sync": request.param}
    path = ":memory:" if request.param == "memory" else tmp_path / "store"
    with msglog.Store(path, clock=clock, **options) as opened:
        make_places(opened)
        yield opened


def make_places(store):
    """Make what the messages come from and go to."""
    store.log.create_topic("in")
    store.log.create_topic("out")
    store.broker.declare_queue("dead")
    store.broker.declare_queue("work", dead_letter_exchange="", dead_letter_routing_key="dead")


def body_of(message):
    return message.body if isinstance(message, msglog.Delivery) else message.value


def copy(tx, message):
    """Write a message to the topic `out`."""
    tx.append("out", body_of(message))


class Fails:
    """A handler that copies, and raises for some messages as often as is said."""

    def __init__(self, **times):
        self.left = {name.encode(): count for name, count in times.items()}
        self.calls = []

    def __call__(self, tx, message):
        copy(tx, message)
        body = body_of(message)
        self.calls.append(body)
        if self.left.get(body, 0):
            self.left[body] -= 1
            raise ValueError(body.decode())


class Raises:
    """A handler that raises."""

    def __init__(self, error):
        self.error = error

    def __call__(self, _tx, _message):
        raise self.error


def out(store):
    return [record.value for record in store.log.read("out")]


def fill(store, kind, *bodies):
    if kind == "queue":
        store.broker.publish_many("", [("work", body) for body in bodies])
    else:
        store.log.append_many("in", bodies)


def open_source(store, kind):
    if kind == "queue":
        return store.broker.consume("work")
    if kind == "share":
        return store.log.share_consumer("in", group="s")
    return store.log.consumer("in", group="g")


def left(store, kind):
    """Return how many messages are not done with."""
    if kind == "queue":
        return ready(store.broker, "work")
    return sum(store.log.describe_group("s" if kind == "share" else "g").lag.values())


KINDS = ("consumer", "queue", "share")


@pytest.mark.parametrize("kind", KINDS)
def test_each_message_is_processed_in_a_commit(store, kind):
    fill(store, kind, b"1", b"2", b"3")
    seen = []
    with open_source(store, kind) as source:
        numbers = []

        def handler(tx, message):
            numbers.append(store.core.engine.commit_number)
            seen.append(len(out(store)))
            copy(tx, message)

        assert store.process(source, handler, timeout=0) == 3
        # What is handed out of a share group is written down before.
        assert {after - before for before, after in pairwise(numbers)} == {1 + (kind == "share")}
        assert left(store, kind) == 0
    assert out(store) == [b"1", b"2", b"3"]
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_what_failed_is_rolled_back_and_tried_again(store, kind):
    fill(store, kind, b"1", b"2", b"3")
    handler = Fails(**{"2": 2})
    with open_source(store, kind) as source:
        call = Call(lambda: store.process(source, handler, retry=Retry(delay_ms=0)))
        wait_until(lambda: len(out(store)) == 3)
        source.stop()
        assert call.result() == 3
        assert left(store, kind) == 0
    assert sorted(out(store)) == [b"1", b"2", b"3"]
    assert handler.calls.count(b"2") == 3


def test_a_partition_waits_for_its_record(store, clock):
    fill(store, "consumer", b"1", b"2")
    handler = Fails(**{"1": 1})
    with open_source(store, "consumer") as source:
        call = Call(lambda: store.process(source, handler, retry=Retry(delay_ms=1000)))
        wait_until(lambda: handler.calls == [b"1"])
        clock.advance(ms=999)
        assert handler.calls == [b"1"]
        wait_until(lambda: clock.advance(ms=1) or len(handler.calls) > 1)
        wait_until(lambda: out(store) == [b"1", b"2"])
        source.stop()
        assert call.result() == 2


def test_a_poison_record_goes_to_the_dead_letters(store):
    store.log.append("in", b"bad", key=b"k", headers=[("h", b"1"), ("h", None)], timestamp_ms=1_700_000_000_123)
    fill(store, "consumer", b"good")
    handler = Fails(bad=9)
    with open_source(store, "consumer") as source:
        assert store.process(source, handler, retry=TWICE, timeout=0) == 2
        assert left(store, "consumer") == 0
    assert handler.calls == [b"bad", b"bad", b"good"]
    assert out(store) == [b"good"]
    (letter,) = store.log.read("in.dead-letters")
    assert (letter.key, letter.value, letter.timestamp_ms) == (b"k", b"bad", 1_700_000_000_123)
    assert letter.headers == (
        ("h", b"1"),
        ("h", None),
        ("dead-letter-topic", b"in"),
        ("dead-letter-partition", b"0"),
        ("dead-letter-offset", b"0"),
        ("dead-letter-attempts", b"2"),
        ("dead-letter-reason", b"ValueError: bad"),
    )


def test_a_topic_of_ones_own_for_dead_letters(store):
    store.log.create_topic("graveyard", partitions=2)
    fill(store, "consumer", b"bad")
    with open_source(store, "consumer") as source:
        store.process(source, Fails(bad=9), retry=TWICE, timeout=0, dead_letter="graveyard")
    assert sum(store.log.end_offset("graveyard", number) for number in range(2)) == 1
    assert "in.dead-letters" not in store.log.topics()


def test_dead_letters_never_go_where_they_come_from(store):
    fill(store, "consumer", b"bad")
    with open_source(store, "consumer") as source:
        with pytest.raises(InvalidOptionError, match="another topic"):
            store.process(source, Fails(bad=9), retry=TWICE, timeout=0, dead_letter="in")
        assert store.process(source, copy, timeout=0) == 1
    assert out(store) == [b"bad"]


def test_a_poison_message_goes_to_the_dead_letter_exchange(store):
    fill(store, "queue", b"bad", b"good")
    with open_source(store, "queue") as source:
        assert store.process(source, Fails(bad=9), retry=Retry(limit=0), timeout=0) == 2
    assert out(store) == [b"good"]
    assert take(store.broker, "dead") == [b"bad"]


def test_a_poison_share_record_goes_to_the_dead_letters(store):
    fill(store, "share", b"bad", b"good")
    with open_source(store, "share") as source:
        assert store.process(source, Fails(bad=9), retry=Retry(limit=0), timeout=0) == 2
        assert left(store, "share") == 0
    assert out(store) == [b"good"]
    assert [record.value for record in store.log.read("in.dead-letters")] == [b"bad"]


def test_a_share_record_is_given_up_with_its_last_delivery(store):
    fill(store, "share", b"bad")
    with store.log.share_consumer("in", group="s", delivery_limit=3) as source:
        call = Call(lambda: store.process(source, Fails(bad=9), retry=Retry(delay_ms=0)))
        wait_until(lambda: "in.dead-letters" in store.log.topics() and store.log.end_offset("in.dead-letters") == 1)
        source.stop()
        assert call.result() == 1


def given_up(store):
    """Process what there is; it must all go to the dead letters, without a call of the handler. Return those."""
    with store.log.share_consumer("in", group="s", delivery_limit=2) as source:
        assert store.process(source, Fails(), timeout=0) == 1
        assert left(store, "share") == 0
    assert out(store) == []
    (letter,) = store.log.read("in.dead-letters")
    assert dict(letter.headers)["dead-letter-attempts"] == b"2"
    assert b"handed out 2 times" in dict(letter.headers)["dead-letter-reason"]
    return letter.value


def test_a_share_record_whose_last_delivery_ended_with_a_kill_has_its_dead_letter(tmp_path):
    with msglog.Store(tmp_path / "s", sync="none") as store:
        make_places(store)
        fill(store, "share", b"deadly")
        with store.log.share_consumer("in", group="s", delivery_limit=2) as source:
            source.poll(0)[0].release()
            assert len(source.poll(0)) == 1
            shutil.copytree(tmp_path / "s", tmp_path / "killed")
    with msglog.Store(tmp_path / "killed") as store:
        assert given_up(store) == b"deadly"


def test_so_it_does_when_that_ended_with_an_interrupt(store):
    fill(store, "share", b"1")
    with store.log.share_consumer("in", group="s", delivery_limit=2) as source:
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                store.process(source, Raises(KeyboardInterrupt))
    assert given_up(store) == b"1"


def test_so_it_does_when_that_ended_with_its_lock(store, clock):
    fill(store, "share", b"slow")
    with store.log.share_consumer("in", group="s", delivery_limit=2, lock_ms=10) as source:
        assert store.process(source, lambda _tx, _record: clock.advance(ms=20), timeout=0) == 1
    assert [record.value for record in store.log.read("in.dead-letters")] == [b"slow"]


def test_who_ends_first_takes_it_from_nobody():
    with msglog.Log(":memory:") as log:
        log.create_topic("t")
        log.append("t", b"1")
        with log.share_consumer("t", group="s", delivery_limit=1) as source, source.giving_up():
            with source.giving_up():
                source.poll(0)[0].release()
            assert [record.delivery_count for record in source.poll(0)] == [2]


def test_outside_of_process_it_is_given_up_without(store):
    fill(store, "share", b"1")
    with store.log.share_consumer("in", group="s", delivery_limit=1) as source:
        with pytest.raises(KeyboardInterrupt):
            store.process(source, Raises(KeyboardInterrupt))
        assert source.poll(0) == []
        assert left(store, "share") == 0


def test_the_handler_may_settle_the_message_itself(store):
    fill(store, "queue", b"1", b"2")
    with open_source(store, "queue") as source:
        store.process(source, lambda tx, delivery: tx.reject(delivery), timeout=0)
    assert take(store.broker, "dead") == [b"1", b"2"]


@pytest.mark.parametrize("kind", KINDS)
def test_stopping_from_a_handler(store, kind):
    fill(store, kind, b"1", b"2")
    with open_source(store, kind) as source:

        def handler(tx, message):
            copy(tx, message)
            source.stop()

        assert store.process(source, handler) == 1
        assert left(store, kind) == 1
    assert out(store) == [b"1"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupt_leaves_the_message_to_the_next(store, kind):
    fill(store, kind, b"1", b"2")
    with open_source(store, kind) as source:

        def interrupted(tx, message):
            copy(tx, message)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            store.process(source, interrupted)
        assert out(store) == []
        assert store.process(source, copy, timeout=0) == 2
    assert out(store) == [b"1", b"2"]


@pytest.mark.skipif(not TELLS_RETURNS, reason="where handlers run is known of these versions")
@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupt_between_messages_keeps_none_in_hand(kind):
    for at in count():
        striker = Striker(sources.__file__, at)
        with msglog.Store(":memory:") as store:
            make_places(store)
            fill(store, kind, b"1", b"2")
            with open_source(store, kind) as source:
                with suppress(Struck), striker.striking():
                    store.process(source, copy, timeout=0)
                store.process(source, copy, timeout=0)
                assert sorted(out(store)) == [b"1", b"2"], f"struck at {striker.place} (number {at})"
                assert left(store, kind) == 0
        if not striker.place:
            break
    assert at > 10


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupt_in_the_wait_for_the_sync_does_nothing_twice(store, kind, monkeypatch):
    """What was written is done with, whoever heard of it."""
    fill(store, kind, b"1", b"2")
    wait = Engine.wait

    def interrupted(engine, number):
        wait(engine, number)
        monkeypatch.undo()
        raise KeyboardInterrupt

    def handler(tx, message):
        copy(tx, message)
        monkeypatch.setattr(Engine, "wait", interrupted)

    with open_source(store, kind) as source:
        with pytest.raises(KeyboardInterrupt):
            store.process(source, handler)
        assert store.process(source, copy, timeout=0) == 1
        assert left(store, kind) == 0
    assert out(store) == [b"1", b"2"]


@pytest.mark.parametrize("kind", ["consumer", "queue"])
def test_what_cannot_be_given_up_is_still_to_be_done(store, kind, monkeypatch):
    """A full disk, say: neither is it passed over, nor does it stay in hand."""
    fill(store, kind, b"1", b"2")

    def full(*_arguments):
        raise DiskFullError("no space")

    with open_source(store, kind) as source:
        monkeypatch.setattr(DeadLetters, "topic_for", full)
        monkeypatch.setattr(msglog.Delivery, "reject", full)
        with pytest.raises(DiskFullError):
            store.process(source, Fails(**{"1": 1}), retry=Retry(limit=0), timeout=0)
        assert store.process(source, copy, timeout=0) == 2
    assert out(store) == [b"1", b"2"]


def test_a_dead_letter_that_is_too_large_loses_no_record(tmp_path):
    with msglog.Store(tmp_path / "small", max_record_bytes=2000) as store:
        store.log.create_topic("in")
        store.log.create_topic("out")
        store.log.append("in", bytes(1990))
        with open_source(store, "consumer") as source:
            for _ in range(2):
                with pytest.raises(msglog.RecordTooLargeError):
                    store.process(source, Fails(**{"\0" * 1990: 9}), retry=Retry(limit=0), timeout=0)
            assert store.process(source, copy, timeout=0) == 1


def test_a_message_that_was_no_longer_in_hand_when_it_failed(store, clock):
    """The back-off belongs to who has it now, and the loop goes on."""
    fill(store, "share", b"1", b"2")
    failing = Fails(**{"1": 1})

    def late(tx, record):
        if failing.left[b"1"]:
            clock.advance(seconds=31)
        failing(tx, record)

    with open_source(store, "share") as source:
        assert store.process(source, late, retry=Retry(delay_ms=0), timeout=0) == 2
    assert out(store) == [b"1", b"2"]


def test_partitions_assigned_by_hand_while_the_group_has_members(store):
    """Nobody would ever take the offsets, so trying on is of no use."""
    fill(store, "consumer", b"1")
    with open_source(store, "consumer") as member, store.log.consumer(group="g") as source:
        member.poll(0)
        source.assign([TopicPartition("in", 0)])
        calls = Fails()
        with pytest.raises(msglog.FencedError, match="has members"):
            store.process(source, calls, timeout=0)
        assert calls.calls == [b"1"]
        assert source.position(TopicPartition("in", 0)) == 0
    assert out(store) == []


def test_a_partition_that_goes_to_another_member_meanwhile(store):
    """The record is processed by who has the partition: once."""
    fill(store, "consumer", b"1")
    taken = threading.Event()
    with open_source(store, "consumer") as first:

        def slow(tx, record):
            copy(tx, record)
            if not taken.is_set():
                first.abandon()  # as when it was evicted
                first._stopped = False
                taken.set()

        assert store.process(first, slow, timeout=0) == 1
    assert out(store) == [b"1"]
    assert store.log.describe_group("g").offsets == {TopicPartition("in", 0): 1}


def test_a_delivery_that_went_back_meanwhile(store):
    fill(store, "queue", b"1")
    calls = []

    def handler(tx, delivery):
        calls.append(delivery)
        copy(tx, delivery)
        if len(calls) == 1:
            source.close()

    source = open_source(store, "queue")
    with pytest.raises(msglog.ClosedError):
        store.process(source, handler)
    assert out(store) == []
    with open_source(store, "queue") as another:
        assert store.process(another, handler, timeout=0) == 1
    assert out(store) == [b"1"]


def test_the_store_is_closed_meanwhile(tmp_path):
    with msglog.Store(tmp_path / "store") as store:
        store.log.create_topic("in")
        store.log.create_topic("out")
        fill(store, "consumer", b"1")

        def handler(tx, record):
            copy(tx, record)
            store._release(store.core)

        source = open_source(store, "consumer")
        with pytest.raises(msglog.ClosedError):
            store.process(source, handler)
    with msglog.Store(tmp_path / "store") as store:
        assert out(store) == []
        with open_source(store, "consumer") as source:
            assert store.process(source, copy, timeout=0) == 1


def test_two_threads_share_a_queue(store):
    fill(store, "queue", *(b"%d" % number for number in range(100)))
    with open_source(store, "queue") as source:
        calls = [Call(lambda: store.process(source, copy, timeout=0)) for _ in range(2)]
        assert sum(call.result() for call in calls) == 100
    assert sorted(map(int, out(store))) == list(range(100))


async def coroutine(tx, message):
    copy(tx, message)


def generator(tx, message):
    yield copy(tx, message)


class Coroutine:
    async def __call__(self, tx, message):
        copy(tx, message)


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_that_returns_a_coroutine_has_failed(store, kind, caplog):
    def begin(tx, message):
        return coroutine(tx, message)

    fill(store, kind, b"1")
    with open_source(store, kind) as source:
        store.process(source, begin, retry=Retry(limit=0), timeout=0)
    assert out(store) == []
    assert "which nobody awaits" in str(caplog.records[0].exc_info[1])


@pytest.mark.parametrize("kind", ["consumer", "share"])
def test_names_of_topics_for_dead_letters(store, kind):
    with open_source(store, kind) as source:
        for name in ("", "two words", 5):
            with pytest.raises(msglog.InvalidNameError):
                store.process(source, copy, timeout=0, dead_letter=name)


@pytest.mark.parametrize("kind", KINDS)
def test_inside_of_a_transaction_nothing_is_processed(store, kind):
    fill(store, kind, b"1")
    with open_source(store, kind) as source:
        with store.transaction(), pytest.raises(msglog.TransactionError, match="do not nest"):
            store.process(source, copy, retry=Retry(limit=0), timeout=0)
        assert store.process(source, copy, timeout=0) == 1


def test_bad_input(store):
    log, broker = store.log, store.broker
    with log.consumer("in") as groupless, log.consumer("in", group="a", auto_commit=True) as automatic:
        for source in (groupless, automatic):
            with pytest.raises(InvalidOptionError, match="auto_commit=False"):
                store.process(source, copy, timeout=0)
    with broker.consume("work", no_ack=True) as settled, pytest.raises(InvalidOptionError, match="no_ack=False"):
        store.process(settled, copy, timeout=0)
    with pytest.raises(InvalidTypeError, match="source"):
        store.process("in", copy)
    with open_source(store, "queue") as source:
        with pytest.raises(InvalidTypeError, match="handler"):
            store.process(source, None, timeout=0)
        for handler in (coroutine, generator, Coroutine()):
            with pytest.raises(InvalidTypeError, match=r"a (coroutine|generator) function"):
                store.process(source, handler, timeout=0)
        with pytest.raises(InvalidTypeError, match="retry"):
            store.process(source, copy, retry=3, timeout=0)
        with pytest.raises(InvalidOptionError, match="dead_letter"):
            store.process(source, copy, timeout=0, dead_letter="in")
        with msglog.Store(":memory:") as other, pytest.raises(InvalidOptionError, match="same store"):
            other.process(source, copy, timeout=0)


@pytest.mark.parametrize("kind", ["consumer", "share consumer"])
def test_a_pattern_takes_no_dead_letters(store, kind):
    """Or what fails once fails for ever, under longer and longer names."""
    pattern = re.compile("in.*")
    store.log.append_many("in", [b"good", b"bad"])
    store.log.create_topic("in.dead-letters")
    store.log.append("in.dead-letters", b"bad before")

    def handle(tx, message):
        if b"bad" in message.value:
            raise ValueError("bad")
        copy(tx, message)

    with (
        store.log.consumer(pattern, group="g", auto_commit=False)
        if kind == "consumer"
        else store.log.share_consumer(pattern, group="g")
    ) as source:
        assert store.process(source, handle, retry=TWICE, timeout=0.2) == 2
    assert out(store) == [b"good"]
    assert [record.value for record in store.log.read("in.dead-letters")] == [b"bad before", b"bad"]
    assert [name for name in store.log.topics() if name.endswith(".dead-letters")] == ["in.dead-letters"]


def test_dead_letters_that_are_asked_for_by_name_are_taken(store):
    store.log.create_topic("in.dead-letters")
    store.log.append("in.dead-letters", b"again")
    topics = ("in.dead-letters", re.compile("nothing"))
    with store.log.consumer(*topics, group="g", auto_commit=False) as source:
        assert store.process(source, copy, timeout=0) == 1
    assert out(store) == [b"again"]

"""Faults: what they strike, how it looks to whoever is struck, and what is left in the store."""

import errno
import threading
from time import monotonic

import pytest

import msglog
from msglog.testing import Faults, record
from support.brokers import Call


def bodies(broker, queue="q"):
    return [message.body for message in broker.peek(queue)]


def values(log, topic="t"):
    return [record.value for record in log.read(topic)]


APPENDS = {
    "append": lambda store, value: store.log.append("t", value),
    "many": lambda store, value: store.log.append_many("t", [value, value]),
    "keyed": lambda store, value: store.log.append("t", value, key=b"k"),
    "transaction": lambda store, value: in_transaction(store, lambda tx: tx.append("t", value)),
}
PUBLISHES = {
    "send": lambda store, body: store.broker.send("q", body),
    "many": lambda store, body: store.broker.publish_many("", [("q", body), ("q", body)]),
    "delayed": lambda store, body: store.broker.send("q", body, delay_ms=0),
    "transient": lambda store, body: store.broker.send("q", body, persistent=False),
    "transaction": lambda store, body: in_transaction(store, lambda tx: tx.send("q", body)),
}


def in_transaction(store, work):
    with store.transaction() as tx:
        work(tx)


@pytest.mark.parametrize("way", APPENDS)
def test_an_append_that_fails_leaves_nothing(store, log, faults, way):
    fault = faults.fail("append")
    with pytest.raises(msglog.DiskFullError, match="made to fail by a test") as failure:
        APPENDS[way](store, b"lost")
    assert (failure.value.outcome, failure.value.path) == ("not_applied", store.path)
    assert values(log) == []
    APPENDS[way](store, b"kept")
    assert set(values(log)) == {b"kept"}
    assert fault.strikes == 1
    assert list(store.verify()) == []


def test_one_that_never_struck_can_be_told(log, faults):
    fault = faults.fail("append", topic="tpyo")
    log.append("t", b"x")
    with pytest.raises(
        AssertionError, match=r"topic='tpyo' raises DiskFullError, struck 0 times> should have struck at "
    ):
        fault.assert_struck()
    fault.assert_struck(0)
    struck = faults.fail("append", topic="t")
    with pytest.raises(msglog.DiskFullError):
        log.append("t", b"x")
    struck.assert_struck()
    struck.assert_struck(1)
    with pytest.raises(AssertionError, match=r"should have struck 2 times$"):
        struck.assert_struck(2)


@pytest.mark.parametrize("way", PUBLISHES)
def test_a_publication_that_fails_leaves_nothing(store, broker, faults, way):
    faults.fail("publish", msglog.StoreFailedError("no", path="p", outcome="not_applied"))
    with pytest.raises(msglog.StoreFailedError, match="no"):
        PUBLISHES[way](store, b"lost")
    assert bodies(broker) == []
    PUBLISHES[way](store, b"kept")
    assert set(bodies(broker)) == {b"kept"}
    assert list(store.verify()) == []


@pytest.mark.parametrize("way", APPENDS)
def test_an_append_may_be_written_and_yet_raise(store, log, recorder, faults, way):
    faults.fail("append", msglog.StoreFailedError, applied=True)
    with pytest.raises(msglog.StoreFailedError) as failure:
        APPENDS[way](store, b"there")
    assert failure.value.outcome == "unknown"
    store.flush()
    assert set(values(log)) == {b"there"}
    assert len(recorder.appended) == len(values(log))
    APPENDS[way](store, b"next")
    assert values(log)[-1] == b"next"
    assert list(store.verify()) == []


@pytest.mark.parametrize("way", PUBLISHES)
def test_a_publication_may_be_written_and_yet_raise(store, broker, recorder, faults, way):
    faults.fail("publish", msglog.StoreFailedError, applied=True)
    with pytest.raises(msglog.StoreFailedError):
        PUBLISHES[way](store, b"there")
    assert set(bodies(broker)) == {b"there"}
    assert len(recorder.published) == len(bodies(broker))
    PUBLISHES[way](store, b"next")
    assert bodies(broker)[-1] == b"next"
    assert list(store.verify()) == []


def test_a_recorder_that_comes_later_sees_what_was_written_all_the_same(store, log, faults):
    faults.fail("append", msglog.StoreFailedError, applied=True)
    with record(store) as late, pytest.raises(msglog.StoreFailedError):
        log.append("t", b"there")
    assert len(late.appended) == 1


@pytest.mark.parametrize("applied", [False, True])
def test_a_settlement_that_fails(broker, faults, applied):
    broker.send("q", b"m")
    delivery = broker.get("q")
    faults.fail("settle", msglog.StoreFailedError, applied=applied, queue="q", outcome="acked")
    with pytest.raises(msglog.StoreFailedError):
        delivery.ack()
    if applied:
        with pytest.raises(msglog.SettlementError):
            delivery.ack()
    else:
        delivery.ack()
    assert broker.get("q") is None
    assert broker.delete_queue("q") == 0


@pytest.mark.parametrize("applied", [False, True])
def test_a_settlement_of_a_share_group_that_fails(log, broker, recorder, faults, applied):
    log.append_many("t", [b"1", b"2"])
    broker.send("q", b"m")
    faults.fail("settle", msglog.StoreFailedError, applied=applied, group="s", topic="t", offset=1)
    broker.get("q").ack()  # of a queue, and not meant
    with log.share_consumer("t", group="s") as consumer:
        first, second = consumer.poll(0)
        first.ack()
        with pytest.raises(msglog.StoreFailedError):
            second.ack()
        if applied:
            with pytest.raises(msglog.SettlementError):
                second.ack()
        else:
            second.ack()
        assert consumer.poll(0) == []
    assert [one.offset for one in recorder.share_settled] == [0, 1]


def test_a_rejection_fails_too(broker, faults):
    broker.send("q", b"m")
    delivery = broker.get("q")
    faults.fail("settle", outcome="rejected")
    with pytest.raises(msglog.DiskFullError):
        delivery.reject()
    assert not delivery.settled
    assert bodies(broker, "dead") == []
    delivery.reject()
    assert bodies(broker, "dead") == [b"m"]


def test_a_requeue_cannot_fail(broker, faults):
    """It is in memory: whoever ends, on a full disk, too, leaves its messages to others."""
    broker.publish_many("", [("q", b"1"), ("q", b"2"), ("q", b"3")])
    faults.fail("settle", times=None)
    faults.fail("settle", msglog.StoreFailedError, applied=True, times=None)
    faults.fail("write", times=None)
    broker.get("q").nack()
    with broker.consume("q") as consumer:
        consumer.get(0)
    with broker.channel() as channel:
        channel.basic_get("q")
    faults.end()
    assert bodies(broker) == [b"1", b"2", b"3"]


@pytest.mark.parametrize("applied", [False, True])
def test_a_commit_of_offsets_that_fails(log, faults, applied):
    log.append("t", b"v")
    with log.consumer("t", group="g") as consumer:
        consumer.poll(0)
        faults.fail("commit", msglog.RebalanceError("now", outcome="unknown"), group="g", offset=1, applied=applied)
        with pytest.raises(msglog.RebalanceError, match="now"):
            consumer.commit()
        assert (consumer.committed(msglog.TopicPartition("t", 0)) == 1) is applied
        consumer.commit()
    assert log.describe_group("g").offsets == {msglog.TopicPartition("t", 0): 1}


def test_a_transaction_with_something_that_fails_fails_as_a_whole(store, log, broker, faults):
    broker.send("q", b"in")
    delivery = broker.get("q")

    def fill(tx, delivery):
        tx.ack(delivery)
        tx.append_many("t", [b"first", b"second"])
        tx.send("dead", b"out")

    faults.fail("append", value=b"second")
    with pytest.raises(msglog.DiskFullError), store.transaction() as tx:
        fill(tx, delivery)
    assert (values(log), bodies(broker, "dead")) == ([], [])
    delivery.ack()


def test_every_write_may_fail(store, log, broker, faults):
    broker.send("q", b"m")
    delivery = broker.get("q")
    with faults.fail("write", times=None) as fault:
        for write in (
            lambda: log.append("t", b"v"),
            lambda: broker.send("q", b"m"),
            delivery.ack,
            lambda: log.create_topic("u"),
            lambda: broker.declare_queue("r"),
            lambda: log.reset_offsets("g", "t", to="earliest"),
        ):
            with pytest.raises(msglog.DiskFullError):
                write()
        assert fault.strikes == 6
    delivery.ack()
    log.create_topic("u")
    assert list(store.verify()) == []


def test_a_fault_strikes_what_it_is_told(log, broker, faults):
    log.create_topic("u", partitions=2)
    broker.declare_exchange("e", "topic")
    broker.bind("q", "e", "#")
    faults.fail("append", topic="u", partition=1, key=b"k", value=lambda value: value.startswith(b"b"))
    faults.fail("publish", exchange="e", routing_key="a.b", queue="q", body=b"m")
    log.append("t", b"bad", key=b"k", partition=0)
    log.append("u", b"bad", key=b"k", partition=0)
    log.append("u", b"good", key=b"k", partition=1)
    broker.publish("e", "a.c", b"m")
    broker.publish("", "q", b"m")
    with pytest.raises(msglog.DiskFullError):
        log.append("u", b"bad", key=b"k", partition=1)
    with pytest.raises(msglog.DiskFullError):
        broker.publish("e", "a.b", b"m")


def test_a_message_that_no_queue_gets_fails_too(broker, faults):
    faults.fail("publish", exchange="", routing_key="nowhere")
    with pytest.raises(msglog.DiskFullError):
        broker.publish("", "nowhere", b"m")


def test_when_sees_what_is_meant(log, faults):
    seen = []
    fault = faults.fail("append", when=lambda record: seen.append(record) or record.offset == 1)
    log.append("t", b"0")
    with pytest.raises(msglog.DiskFullError):
        log.append("t", b"1")
    assert [(one.topic, one.offset, one.value) for one in seen] == [("t", 0, b"0"), ("t", 1, b"1")]
    fault.end()


def test_so_many_are_skipped_and_so_many_fail(log, faults):
    fault = faults.fail("append", skip=2, times=2)
    happened = []
    for number in range(6):
        try:
            log.append("t", b"%d" % number)
            happened.append("ok")
        except msglog.DiskFullError:
            happened.append("full")
    assert happened == ["ok", "ok", "full", "full", "ok", "ok"]
    assert fault.strikes == 2


def test_each_of_many_counts(log, faults):
    faults.fail("append", skip=2)
    with pytest.raises(msglog.DiskFullError):
        log.append_many("t", [b"1", b"2", b"3"])
    assert values(log) == []


def test_a_fault_ends(store, log, faults):
    with faults.fail("append", times=None), pytest.raises(msglog.DiskFullError):
        log.append("t", b"1")
    log.append("t", b"2")
    fault = faults.fail("append", times=None)
    fault.end()
    fault.end()
    log.append("t", b"3")
    with Faults(store) as others:
        others.fail("append", times=None)
        others.fail("append", times=None)
    log.append("t", b"4")
    assert values(log) == [b"2", b"3", b"4"]
    assert type(store.core.engine.writer).__module__ == "msglog.storage.writers"


def test_an_error_is_raised_with_its_attributes_and_anew_each_time(log, faults):
    faults.fail("append", msglog.OffsetConflictError("taken", topic="t", partition=0, expected=1, actual=2), times=2)
    raised = []
    for _ in range(2):
        with pytest.raises(msglog.OffsetConflictError) as failure:
            log.append("t", b"v")
        raised.append(failure.value)
    assert raised[0] is not raised[1]
    assert [(error.expected, error.actual, str(error)) for error in raised] == [(1, 2, "taken")] * 2


def test_a_callback_meets_a_fault_and_tries_again(log, broker, recorder, faults):
    faults.fail("append")
    with broker.subscribe("q", lambda delivery: log.append("t", delivery.body), on_error=msglog.Retry(delay_ms=0)):
        broker.send("q", b"job")
        recorder.assert_acked("q", b"job", timeout=30)
    recorder.assert_requeued("q", b"job", count=1)
    assert values(log) == [b"job"]


def test_what_is_slow_takes_its_time_and_happens(log, faults):
    fault = faults.slow("append", 0.05, times=2)
    before = monotonic()
    log.append("t", b"1")
    log.append("t", b"2")
    assert monotonic() - before >= 0.1
    assert values(log) == [b"1", b"2"]
    assert fault.strikes == 2


def test_others_wait_behind_a_slow_write(log, faults):
    begun = threading.Event()
    faults.slow("append", 0.1, when=lambda _: begun.set() or True, value=b"slow")
    thread = threading.Thread(target=log.append, args=("t", b"slow"))
    thread.start()
    assert begun.wait(30)
    log.append("t", b"behind")
    thread.join()
    assert values(log) == [b"slow", b"behind"]


@pytest.mark.parametrize("applied", [False, True])
def test_a_predicate_that_raises_is_heard_of_and_breaks_nothing(store, log, broker, recorder, faults, applied):
    error = msglog.StoreFailedError if applied else msglog.DiskFullError
    faults.fail("append", error, applied=applied, when=lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        in_transaction(store, lambda tx: (tx.append("t", b"v"), tx.send("q", b"m")))
    faults.end()
    store.flush()
    assert len(recorder.appended) == len(values(log)) == applied
    assert len(recorder.published) == len(bodies(broker)) == applied
    assert list(store.verify()) == []


def test_an_error_that_is_given_as_a_class_tells_of_the_call_that_fails(log, broker, faults):
    faults.fail("append", msglog.TopicNotFoundError)
    with pytest.raises(msglog.TopicNotFoundError) as missing:
        log.append("t", b"v")
    assert missing.value.topic == "t"
    faults.fail("publish", msglog.PublishRejectedError)
    with pytest.raises(msglog.PublishRejectedError) as rejected:
        broker.publish("", "q", b"m")
    assert rejected.value.queues == ("q",)
    faults.fail("publish", msglog.UnroutableError, routing_key="nowhere")
    with pytest.raises(msglog.UnroutableError) as unroutable:
        broker.publish("", "nowhere", b"m")
    assert (unroutable.value.exchange, unroutable.value.routing_key) == ("", "nowhere")
    faults.fail("publish", msglog.QueueNotFoundError)
    with pytest.raises(msglog.QueueNotFoundError) as gone:
        broker.send("q", b"m")
    assert gone.value.queue == "q"
    faults.fail("append", msglog.OffsetConflictError("no", expected=1, actual=2))
    with pytest.raises(msglog.OffsetConflictError, match="no") as conflict:
        log.append("t", b"v")
    assert (conflict.value.topic, conflict.value.expected, conflict.value.actual) == ("t", 1, 2)
    faults.fail("append")
    with pytest.raises(msglog.DiskFullError) as full:
        log.append("t", b"v")
    assert (full.value.errno, full.value.requested) == (errno.ENOSPC, 0)


def test_a_fault_raises_errors_of_the_application_as_they_are(log, faults):
    class NoShopError(msglog.MsglogError):
        def __init__(self, number):
            super().__init__(f"shop {number} is closed")
            self.number = number

    given = NoShopError(3)
    faults.fail("append", given, times=2)
    for _ in range(2):
        with pytest.raises(NoShopError, match=r"^shop 3 is closed$") as failure:
            log.append("t", b"v")
        assert failure.value.number == 3
        assert failure.value is not given


STRUCK = {
    "append": lambda store: store.log.append("t", b"v"),
    "publish": lambda store: store.broker.send("q", b"v"),
    "settle": lambda store: store.broker.get("q").ack(),
    "write": lambda store: store.broker.send("q", b"v"),
}
CALLS_BACK = {
    "append": lambda store: store.log.append("t", b"inner"),
    "publish": lambda store: store.broker.send("q", b"inner"),
    "look": lambda store: store.broker.queues() and store.broker.peek("q"),
    "transaction": lambda store: in_transaction(store, lambda tx: tx.append("t", b"inner")),
    "consume": lambda store: store.broker.consume("q").close(),
}


@pytest.mark.parametrize("inner", CALLS_BACK)
@pytest.mark.parametrize(
    ("call", "applied"), [*((call, False) for call in STRUCK), *((call, True) for call in STRUCK if call != "write")]
)
def test_a_predicate_that_calls_the_store_is_told_so_instead_of_waiting_for_itself(
    store, broker, log, faults, call, inner, applied
):
    broker.send("q", b"first")
    heard = []

    def asks(_subject):
        try:
            CALLS_BACK[inner](store)
        except msglog.InvalidOptionError as error:
            heard.append(error)
            raise

    fault = faults.fail(call, msglog.StoreFailedError, applied=applied, when=asks)
    with pytest.raises(msglog.InvalidOptionError, match="a predicate that does not call the store"):
        Call(lambda: STRUCK[call](store)).result()
    assert len(heard) == 1
    fault.end()
    log.append("t", b"later")
    broker.send("q", b"later")
    assert values(log)[-1] == b"later"
    assert bodies(broker)[-1] == b"later"
    assert list(store.verify()) == []


def test_while_a_predicate_is_asked_other_threads_wait_and_go_on(log, broker, faults):
    asked, go = threading.Event(), threading.Event()

    def asks(_subject):
        asked.set()
        return not go.wait(10)

    faults.fail("append", when=asks)
    appending = Call(lambda: log.append("t", b"v"))
    assert asked.wait(10)
    other = Call(lambda: broker.send("q", b"other"))
    go.set()
    appending.result()
    other.result()
    assert (values(log), bodies(broker)) == ([b"v"], [b"other"])

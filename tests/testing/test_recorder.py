"""Recorders see everything that becomes part of a store, by whatever way, and nothing else."""

import gc
import threading
import weakref

import pytest

import msglog
from msglog.storage.writers import DirectWriter, JournalWriter
from msglog.testing import Committed, ManualClock, ShareSettled, record


def outcomes(recorder):
    return [(one.outcome, one.queue, one.body, one.by, one.dead_lettered_to) for one in recorder.settled]


def test_a_publication_is_recorded_with_the_queues_that_got_it(broker, recorder):
    broker.declare_exchange("news", "fanout")
    broker.bind("q", "news")
    broker.bind("dead", "news")
    broker.publish("news", "any", b"body", headers={"a": 1}, properties=msglog.Properties(type="kind"))
    (published,) = recorder.published
    assert (published.exchange, published.routing_key, published.body) == ("news", "any", b"body")
    assert (published.headers, published.properties.type) == ({"a": 1}, "kind")
    assert sorted(published.queues) == ["dead", "q"]
    assert (published.refused, published.delay_ms) == ((), 0)


@pytest.mark.parametrize("way", ["publish", "send", "many", "transaction", "channel", "confirms", "tx", "thread"])
def test_every_way_of_publishing_is_recorded_once(store, broker, recorder, way):
    if way == "publish":
        broker.publish("", "q", b"m")
    elif way == "send":
        broker.send("q", b"m", persistent=False)
    elif way == "many":
        broker.publish_many("", [("q", b"m")])
    elif way == "transaction":
        with store.transaction() as tx:
            tx.publish("", "q", b"m")
            assert recorder.published == []
    elif way == "thread":
        thread = threading.Thread(target=broker.send, args=("q", b"m"))
        thread.start()
        thread.join()
    else:
        with broker.channel() as channel:
            if way == "confirms":
                channel.confirm_select()
            if way == "tx":
                channel.tx_select()
            channel.basic_publish("", "q", b"m")
            if way == "tx":
                assert recorder.published == []
                channel.tx_commit()
    assert [(one.body, one.queues) for one in recorder.published] == [(b"m", ("q",))]
    assert [message.body for message in broker.peek("q")] == [b"m"]


def test_a_message_without_a_queue_is_recorded_as_such(broker, recorder):
    assert broker.publish("", "nowhere", b"lost") == 0
    assert [one.queues for one in recorder.published] == [()]


def test_what_is_refused_is_not_recorded(store, broker, recorder):
    with pytest.raises(msglog.UnroutableError):
        broker.publish("", "nowhere", b"m", mandatory=True)
    with pytest.raises(msglog.ExchangeNotFoundError):
        broker.publish("missing", "q", b"m")
    with pytest.raises(msglog.UnroutableError), store.transaction() as tx:
        tx.publish_many("", [("q", b"with it"), ("nowhere", b"m")], mandatory=True)
    with store.transaction() as tx:
        tx.publish("", "q", b"m")
        tx.rollback()
    assert recorder.published == []


def test_a_full_queue_that_refuses_is_named(broker, recorder):
    broker.declare_queue("small", max_length=1, overflow="reject-publish")
    broker.send("small", b"1")
    with pytest.raises(msglog.PublishRejectedError):
        broker.send("small", b"2")
    assert [(one.queues, one.refused) for one in recorder.published] == [(("small",), ()), ((), ("small",))]


def test_a_delayed_message_is_recorded_when_it_is_published_and_not_again(store, broker, recorder):
    broker.send("q", b"later", delay_ms=1000)
    assert [(one.body, one.delay_ms, one.queues) for one in recorder.published] == [(b"later", 1000, ("q",))]
    store.core.clock.advance(seconds=1)
    assert [message.body for message in broker.peek("q")] == [b"later"]
    assert len(recorder.published) == 1


def test_what_becomes_of_messages_is_recorded(broker, recorder):
    broker.publish_many("", [("q", b"1"), ("q", b"2"), ("q", b"3"), ("q", b"4")])
    broker.get("q").ack()
    broker.get("q").nack()
    broker.get("q").reject()
    with broker.consume("q") as consumer:
        consumer.get(0).ack()
    broker.get("q", no_ack=True)
    assert outcomes(recorder) == [
        ("acked", "q", b"1", "get", ()),
        ("requeued", "q", b"2", "get", ()),
        ("rejected", "q", b"2", "get", ("dead",)),
        ("acked", "q", b"3", "consumer", ()),
        ("acked", "q", b"4", "no_ack", ()),
    ]
    assert len(recorder.published) == 4  # a dead letter is published by nobody


def test_a_channel_settles_by_its_consumer_tag(broker, recorder):
    broker.publish_many("", [("q", b"1"), ("q", b"2"), ("q", b"3")])
    with broker.channel() as channel:
        channel.basic_consume("q", consumer_tag="worker")
        tags = [event.delivery_tag for event in channel.poll(1)]
        channel.basic_ack(tags[1], multiple=True)
        channel.basic_reject(tags[2], requeue=False)
    assert outcomes(recorder) == [
        ("acked", "q", b"1", "worker", ()),
        ("acked", "q", b"2", "worker", ()),
        ("rejected", "q", b"3", "worker", ("dead",)),
    ]


def test_settlements_of_a_transaction_are_recorded_with_it(store, broker, recorder):
    broker.publish_many("", [("q", b"1"), ("q", b"2"), ("q", b"3")])
    one, two, three = broker.get("q"), broker.get("q"), broker.get("q")
    with store.transaction() as tx:
        tx.ack(one)
        tx.reject(two)
        tx.nack(three)
        assert recorder.settled == []
    assert [(entry[0], entry[2]) for entry in outcomes(recorder)] == [
        ("acked", b"1"),
        ("rejected", b"2"),
        ("requeued", b"3"),
    ]


def test_a_delayed_requeue_is_recorded_once(store, broker, recorder):
    broker.send("q", b"1")
    broker.get("q").nack(delay_ms=1000)
    assert [one.outcome for one in recorder.settled] == ["requeued"]
    store.core.clock.advance(seconds=1)
    assert broker.get("q").redelivered
    assert [one.outcome for one in recorder.settled] == ["requeued"]


def test_the_end_of_a_consumer_requeues(broker, recorder):
    broker.send("q", b"1")
    with broker.consume("q") as consumer:
        consumer.get(0)
    assert outcomes(recorder) == [("requeued", "q", b"1", "consumer", ())]


def test_what_the_queue_itself_removes_is_recorded_with_the_reason(store, broker, recorder):
    broker.declare_queue("short", max_length=1, dead_letter_exchange="", dead_letter_routing_key="dead")
    broker.publish_many("", [("short", b"1"), ("short", b"2")])
    broker.send("q", b"3", expiration_ms=10)
    store.core.clock.advance(ms=10)
    broker.peek("q")
    broker.declare_queue("once", delivery_limit=1)
    broker.send("once", b"4")
    for _ in range(2):
        broker.get("once").nack()
    assert outcomes(recorder) == [
        ("maxlen", "short", b"1", "", ("dead",)),
        ("expired", "q", b"3", "", ("dead",)),
        ("requeued", "once", b"4", "get", ()),
        ("delivery_limit", "once", b"4", "get", ()),
    ]


def test_a_purge_settles_nothing_that_somebody_had(broker, recorder):
    broker.publish_many("", [("q", b"1"), ("q", b"2")])
    delivery = broker.get("q")
    broker.purge_queue("q")
    delivery.ack()
    assert outcomes(recorder) == [("acked", "q", b"1", "get", ())]


def test_priorities_do_not_mix_messages_up(broker, recorder):
    broker.declare_queue("p", max_priority=5, dead_letter_exchange="", dead_letter_routing_key="dead")
    broker.send("p", b"low", priority=1)
    broker.send("p", b"high", priority=5)
    high, low = broker.get("p"), broker.get("p")
    low.reject()
    high.ack()
    assert [(one.outcome, one.body) for one in recorder.settled] == [("rejected", b"low"), ("acked", b"high")]


@pytest.mark.parametrize("way", ["append", "keyed", "headers", "many", "producer", "transaction"])
def test_every_way_of_appending_is_recorded_once(store, log, recorder, way):
    if way == "append":
        log.append("t", b"v")
    elif way == "keyed":
        log.append("t", b"v", key=b"k")
    elif way == "headers":
        log.append("t", b"v", headers={"h": b"x"}, timestamp_ms=5)
    elif way == "many":
        log.append_many("t", [b"v", None], keys=[b"k", b"l"])
    elif way == "producer":
        with log.producer("p") as producer:
            producer.append("t", b"v", sequence=0)
            producer.append("t", b"v", sequence=0)
    else:
        with store.transaction() as tx:
            tx.append("t", b"v")
            assert recorder.appended == []
    assert recorder.appended == list(log.read("t"))


@pytest.mark.parametrize("options", [{}, {"timestamp_type": "append"}, {"compression": "zlib"}, {"partitions": 3}])
def test_records_are_what_a_reader_gets(log, recorder, options):
    log.create_topic("u", **options)
    log.alter_topic("t", retention_ms=1000)
    for number in range(6):
        log.append("u", b"%d" % number, key=b"%d" % number)
    read = [record for partition in range(options.get("partitions", 1)) for record in log.read("u", partition)]
    assert sorted(recorder.appended) == sorted(read)
    assert len(read) == 6


def test_offsets_are_recorded_however_they_are_committed(store, log, recorder):
    log.append_many("t", [b"1", b"2", b"3"])
    with log.consumer("t", group="g") as consumer:
        consumer.poll(0, max_records=1)
        consumer.commit()
        consumer.poll(0, max_records=1)
        with store.transaction() as tx:
            tx.commit_offsets(consumer)
    log.reset_offsets("g", "t", to="earliest")
    assert recorder.committed == [Committed("g", "t", 0, offset) for offset in (1, 2, 0)]


@pytest.mark.parametrize("way", ["ack", "reject", "transaction", "last delivery"])
def test_what_a_share_group_is_done_with_is_recorded(store, log, recorder, way):
    log.create_topic("two", partitions=2)
    log.append("two", b"1", partition=1)
    log.append("two", b"2", partition=1)
    with log.share_consumer("two", group="s", delivery_limit=2) as consumer:
        _, record = consumer.poll(0)
        record.release()
        (record,) = consumer.poll(0)
        assert recorder.share_settled == []
        if way == "transaction":
            with store.transaction() as tx:
                tx.ack(record)
                assert recorder.share_settled == []
        elif way == "last delivery":
            record.release()
        else:
            getattr(record, way)()
        outcome = {"reject": "rejected", "last delivery": "delivery_limit"}.get(way, "acked")
        assert recorder.share_settled == [ShareSettled("s", "two", 1, 1, outcome)]
        assert recorder.settled == []


def test_the_outcomes_of_a_share_group_are_told_apart(log, recorder):
    log.append_many("t", [b"%d" % number for number in range(6)])
    with log.share_consumer("t", group="s", delivery_limit=2) as consumer:
        for record in consumer.poll(0, 5):
            record.release()
        acked, rejected, in_transaction, released, _closed = consumer.poll(0, 5)
        acked.ack()
        rejected.reject()
        with log.store.transaction() as tx:
            tx.reject(in_transaction)
        released.release()
    told = sorted((one.offset, one.outcome) for one in recorder.share_settled)
    assert told == [(0, "acked"), (1, "rejected"), (2, "rejected"), (3, "delivery_limit"), (4, "delivery_limit")]
    (found,) = recorder.assert_share_settled("s", offset=4, outcome="delivery_limit")
    assert repr(found) == "delivery_limit group='s' topic='t' partition=0 offset=4"
    with log.share_consumer("t", group="s", delivery_limit=3) as consumer:
        consumer.poll(0)[0].release()
    with log.share_consumer("t", group="s", delivery_limit=1) as stricter:
        assert stricter.poll(0) == []
    recorder.assert_share_settled("s", offset=5, outcome="delivery_limit", count=1)


def test_what_is_no_record_any_more_is_not_recorded_as_settled(log, recorder):
    log.append_many("t", [b"1", b"2", b"3"])
    with log.share_consumer("t", group="s") as consumer:
        log.delete_records("t", 0, 2)
        (record,) = consumer.poll(0)
        record.ack()
    assert [one.offset for one in recorder.share_settled] == [2]


def test_handles_made_before_and_while_it_records_are_seen(store, log, broker):
    earlier_log, earlier_broker = msglog.Log(store), msglog.Broker(store)
    with record(store) as recorder:
        later_log, later_broker = msglog.Log(store), msglog.Broker(store)
        for handle in (earlier_log, later_log):
            handle.append("t", b"v")
        for handle in (earlier_broker, later_broker):
            handle.send("q", b"m")
    for handle in (earlier_log, later_log):
        handle.append("t", b"after")
    for handle in (earlier_broker, later_broker):
        handle.send("q", b"after")
        handle.close()
    assert (len(recorder.appended), len(recorder.published)) == (2, 2)
    assert (log.end_offset("t"), broker.queues()[-1].message_count) == (4, 4)


def test_a_store_that_nobody_watches_is_as_it_was(store, log, broker):
    engine, vhost = store.core.engine, store.core.services["broker"]
    topic = log._model.topics["t"]

    def state():
        return (
            type(engine.writer),
            type(vhost),
            topic.plain_limit,
            topic.keyed_limit,
            vhost.append_settle,
            engine.append,
        )

    before = state()
    with record(store), record(store) as second:
        assert all(was is not now for was, now in zip(before[:2], state()[:2], strict=True))
        log.create_topic("made-meanwhile")
    assert state() == before
    second.stop()
    assert state() == before
    assert log._model.topics["made-meanwhile"].plain_limit > 0
    broker.send("q", b"m")
    assert vhost.routes  # the short way


def test_two_recorders_see_the_same_until_each_stops(log):
    first = record(log)
    log.append("t", b"1")
    second = record(log)
    log.append("t", b"2")
    first.stop()
    log.append("t", b"3")
    second.stop()
    assert [one.value for one in first.appended] == [b"1", b"2"]
    assert [one.value for one in second.appended] == [b"2", b"3"]


def test_clear_forgets_what_was_recorded(log, broker, recorder):
    log.append("t", b"1")
    broker.send("q", b"1")
    broker.get("q").ack()
    recorder.clear()
    assert (recorder.published, recorder.appended, recorder.committed, recorder.settled) == ([], [], [], [])
    assert recorder.share_settled == []
    log.append("t", b"2")
    assert [one.value for one in recorder.appended] == [b"2"]


def test_what_is_listed_is_a_copy(log, recorder):
    log.append("t", b"1")
    recorder.appended.clear()
    assert len(recorder.appended) == 1


@pytest.mark.parametrize("what", ["log", "broker", "store"])
def test_a_store_or_a_face_of_it_can_be_recorded(store, what):
    with record({"store": store, "log": store.log, "broker": store.broker}[what]) as recorder:
        store.broker.publish("", "nowhere", b"m")
    assert len(recorder.published) == 1


def test_only_open_stores_for_writing_can_be_recorded(tmp_path):
    with pytest.raises(msglog.InvalidTypeError, match="store must be a Store, a Log or a Broker, not a dict"):
        record({})
    with msglog.Store(tmp_path / "s", sync="none"):
        pass
    with msglog.Store(tmp_path / "s", readonly=True) as reader, pytest.raises(msglog.ReadOnlyError):
        record(reader)
    with pytest.raises(msglog.ClosedError):
        record(reader)


def test_a_recorder_outlives_its_store():
    with msglog.Store(":memory:", clock=ManualClock()) as store:
        recorder = record(store)
        store.log.create_topic("t")
        store.log.append("t", b"v")
    assert len(recorder.appended) == 1
    recorder.stop()
    assert repr(recorder) == "<msglog.testing.Recorder 0 published, 1 appended, 0 committed, 0 settled>"


def test_many_threads_are_recorded_whole(store, log, broker, recorder):
    def work(number):
        for count in range(50):
            log.append("t", b"%d %d" % (number, count))
            broker.send("q", b"%d %d" % (number, count))
            broker.get("q").ack()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = sorted(b"%d %d" % (number, count) for number in range(4) for count in range(50))
    assert sorted(one.value for one in recorder.appended) == wanted
    assert sorted(one.body for one in recorder.published) == wanted
    assert sorted(one.body for one in recorder.settled) == wanted
    assert [one.offset for one in recorder.appended] == list(range(200))
    assert list(store.verify()) == []


def test_a_recorded_store_is_collected_when_nobody_holds_it():
    with msglog.Store(":memory:") as store:
        with record(store):
            pass
        core = weakref.ref(store.core)
    del store
    gc.collect()
    assert core() is None


@pytest.mark.parametrize("writer", [DirectWriter, JournalWriter])
def test_a_writer_has_no_way_to_commit_that_a_tap_does_not_know(writer):
    """Whoever gives a writer a new way has a look at the tap, which must see what goes it."""
    commits = {
        *("append", "append_all", "append_copies", "append_planned", "append_settle", "append_unwaited"),
        *("write", "write_planned"),
    }
    others = {
        *("abandon", "apply_events", "bodies_of", "drain", "drain_locked", "has_room", "install", "make_way"),
        *("note_checkpoint", "pack_stamps", "place_by_hand", "plan", "publish", "redo", "redo_append", "redo_several"),
        *("redo_single", "several", "show_several", "show_single", "single", "store", "wait", "wrote_several"),
        *("write_out", "write_entries", "is_alone", "pack_frames", "assign_frames", "show_frames", "show_frame"),
        *("store_frames", "store_frame", "lent"),
    }
    assert {name for name in dir(writer) if not name.startswith("_")} - others == commits

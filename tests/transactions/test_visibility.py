"""Who sees a transaction when: nobody before it is left, everybody all of it afterwards."""

# It is leaving the block that must raise, with all that is in it.
# ruff: noqa: PT012

from contextlib import suppress

import pytest

import msglog
from msglog import Properties, TopicPartition
from msglog.storage import Engine
from support.brokers import Call, ready, take, wait_until
from support.children import child, line_from
from support.dumps import difference, dump


@pytest.fixture
def t(any_store):
    any_store.log.create_topic("t", partitions=2)
    return "t"


@pytest.fixture
def q(any_store):
    return any_store.broker.declare_queue("q").name


def _end(store, topic="t", partition=0):
    return store.log.end_offset(topic, partition)


def test_nothing_is_seen_before_the_block_is_left(any_store, t, q):
    broker = any_store.broker
    broker.send(q, b"work")
    delivery = broker.get(q)
    consumer = any_store.log.consumer(t, group="g")
    consumer.poll(0)
    before = dump(any_store)
    with any_store.transaction() as tx:
        tx.append(t, b"1", partition=0)
        tx.append_many(t, [b"2", b"3"])
        tx.publish("amq.direct", "nowhere", b"")
        tx.publish("", q, b"4")
        tx.send(q, b"5", priority=1, delay_ms=0)
        tx.publish_many("", [(q, b"6")])
        tx.ack(delivery)
        tx.commit_offsets(consumer)
        assert not difference(before, dump(any_store))
        assert not Call(lambda: difference(before, dump(any_store))).result()
        assert consumer.poll(0) == []
        assert broker.get(q) is None
        assert not delivery.settled
    assert delivery.settled
    assert ready(broker, q) == 3
    consumer.close()


def test_other_handles_on_the_store_see_all_of_it_at_once(tmp_path, clock):
    with msglog.Store(tmp_path / "s", clock=clock) as one, msglog.Store(tmp_path / "s", clock=clock) as other:
        one.log.create_topic("t")
        one.broker.declare_queue("q")
        with one.transaction() as tx:
            tx.append("t", b"1")
            tx.send("q", b"2")
            assert (other.log.end_offset("t"), ready(other.broker, "q")) == (0, 0)
        assert (other.log.end_offset("t"), take(other.broker, "q")) == (1, [b"2"])


@pytest.mark.parametrize("sync", ["none", "interval", "commit"])
def test_a_process_that_reads_sees_all_of_it_at_once(sync, tmp_path):
    with msglog.Store(tmp_path / "s", sync=sync) as store:
        store.log.create_topic("t")
        store.broker.declare_queue("q")
        store.log.append("t", b"0")
        with child("onlooker", str(tmp_path / "s")) as process:

            def seen():
                process.stdin.write("look\n")
                process.stdin.flush()
                return line_from(process)

            assert seen() == "1 0"
            with store.transaction() as tx:
                tx.append("t", b"1")
                tx.send("q", b"2")
                assert seen() == "1 0"
            assert seen() == "2 1"
            with suppress(ZeroDivisionError), store.transaction() as tx:
                tx.append("t", b"3")
                raise ZeroDivisionError
            assert seen() == "2 1"


def test_a_consumer_that_polls_wakes(any_store, t):
    with any_store.log.consumer(t, group="g") as consumer:
        consumer.poll(0)
        call = Call(lambda: consumer.poll(10)).until_asleep()
        with any_store.transaction() as tx:
            tx.append(t, b"1", partition=0)
        assert [record.value for record in call.result()] == [b"1"]


def test_a_share_consumer_that_polls_wakes(any_store, t):
    with any_store.log.share_consumer(t, group="g") as consumer:
        call = Call(lambda: consumer.poll(10)).until_asleep()
        with any_store.transaction() as tx:
            tx.append(t, b"1", partition=0)
        (record,) = call.result()
        record.ack()


def test_a_get_that_waits_wakes(any_store, q):
    call = Call(lambda: any_store.broker.get(q, timeout=10)).until_asleep()
    with any_store.transaction() as tx:
        tx.send(q, b"1")
        tx.send(q, b"2")
    delivery = call.result()
    assert delivery.body == b"1"
    delivery.ack()
    assert take(any_store.broker, q) == [b"2"]


def test_a_queue_consumer_that_waits_wakes(any_store, q):
    with any_store.broker.consume(q) as consumer:
        call = Call(lambda: consumer.get(10)).until_asleep()
        with any_store.transaction() as tx:
            tx.publish("amq.fanout", "", b"for nobody")
            tx.send(q, b"1")
        call.result().ack()


@pytest.mark.parametrize("settle", ["ack", "reject"])
def test_room_that_it_makes_wakes_a_consumer_without_any(any_store, q, settle):
    broker = any_store.broker
    broker.send(q, b"1")
    broker.send(q, b"2")
    with broker.consume(q, prefetch_count=1) as consumer:
        first = consumer.get(0)
        call = Call(lambda: consumer.get(10)).until_asleep()
        with any_store.transaction() as tx:
            getattr(tx, settle)(first)
        second = call.result()
        assert second.body == b"2"
        second.ack()


def test_what_it_gives_back_wakes_another_consumer(any_store, q):
    any_store.broker.send(q, b"1")
    delivery = any_store.broker.get(q)
    call = Call(lambda: any_store.broker.get(q, timeout=10)).until_asleep()
    with any_store.transaction() as tx:
        tx.nack(delivery)
    again = call.result()
    assert (again.body, again.redelivered, again.delivery_count) == (b"1", True, 1)
    again.ack()


def test_a_record_that_it_releases_wakes_another_member(any_store, t):
    log = any_store.log
    log.append(t, b"1", partition=0)
    with log.share_consumer(t, group="g") as one, log.share_consumer(t, group="g") as other:
        (record,) = one.poll(0)
        call = Call(lambda: other.poll(10)).until_asleep()
        with any_store.transaction() as tx:
            tx.nack(record)
        (again,) = call.result()
        assert again.delivery_count == 2
        again.ack()


def test_subscriptions_get_what_it_brings(any_store, t, q):
    seen, worked = [], []
    with (
        any_store.log.subscribe(t, group="g", callback=lambda record: seen.append(record.value)),
        any_store.broker.subscribe(q, lambda delivery: worked.append(delivery.body)),
    ):
        for number in (b"1", b"2"):
            with any_store.transaction() as tx:
                tx.append(t, number, partition=0)
                tx.send(q, number)
        wait_until(lambda: (seen, worked) == ([b"1", b"2"], [b"1", b"2"]))


def test_a_channel_gets_what_it_brings(any_store, q):
    with any_store.broker.channel() as channel:
        channel.basic_consume(q)
        with any_store.transaction() as tx:
            tx.send(q, b"1")
            assert channel.poll() == []
        (event,) = channel.poll()
        assert event.body == b"1"
        channel.basic_ack(event.delivery_tag)


def test_an_answer_is_not_sent_before_the_rest_can_be_seen(any_store, t, monkeypatch):
    """Direct reply-to goes through no file: it must wait for what does."""
    wait = Engine.wait
    looks = []
    with any_store.broker.channel() as channel:
        channel.basic_consume("amq.rabbitmq.reply-to", no_ack=True)
        channel.queue_declare("requests")
        channel.basic_publish("", "requests", b"?", Properties(reply_to="amq.rabbitmq.reply-to", correlation_id="1"))
        request = any_store.broker.get("requests")

        def look(engine, number):
            looks.append((channel.poll(), _end(any_store)))
            wait(engine, number)

        monkeypatch.setattr(Engine, "wait", look)
        with any_store.transaction() as tx:
            tx.publish("", request.properties.reply_to, b"!", properties=Properties(correlation_id="1"))
            tx.append(t, b"1", partition=0)
            tx.ack(request)
        monkeypatch.undo()
        assert [answers for answers, _ in looks] == [[]]
        (event,) = channel.poll()
        assert (event.body, event.properties.correlation_id) == (b"!", "1")
        assert _end(any_store) == 1


def test_no_answer_is_sent_when_it_comes_to_nothing(any_store, t):
    with any_store.broker.channel() as channel:
        channel.basic_consume("amq.rabbitmq.reply-to", no_ack=True)
        channel.queue_declare("requests")
        channel.basic_publish("", "requests", b"?", Properties(reply_to="amq.rabbitmq.reply-to"))
        request = any_store.broker.get("requests")
        with pytest.raises(msglog.OffsetConflictError), any_store.transaction() as tx:
            tx.publish("", request.properties.reply_to, b"!")
            tx.append(t, b"1", partition=0, expected_offset=7)
        assert channel.poll() == []
        request.ack()


def test_somebody_who_asks_gets_the_answer(any_store):
    any_store.broker.declare_queue("requests")
    call = Call(lambda: any_store.broker.request("", "requests", b"?", timeout=10))
    request = any_store.broker.get("requests", timeout=10)
    with any_store.transaction() as tx:
        asked = request.properties
        tx.publish("", asked.reply_to, b"!", properties=Properties(correlation_id=asked.correlation_id), mandatory=True)
        tx.ack(request)
    assert call.result().body == b"!"


def test_an_observer_of_offsets_sees_them(any_store, t):
    log = any_store.log
    log.append(t, b"1", partition=0)
    with log.consumer(t, group="g") as consumer:
        assert len(consumer.poll(0)) == 1
        with any_store.transaction() as tx:
            tx.commit_offsets(consumer)
            assert consumer.committed(TopicPartition(t, 0)) is None
        assert consumer.committed(TopicPartition(t, 0)) == 1
        assert log.describe_group("g").lag[TopicPartition(t, 0)] == 0

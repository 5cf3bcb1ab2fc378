"""Views in transactions and in processing: they stand where names and consumers do."""

import logging

import pytest

import msglog
from msglog import JSON, TEXT, DecodeError, EncodeError, Properties, Retry, TopicPartition

BAD = b"{bad"


@pytest.fixture
def orders(log):
    return log.topic("t", key=TEXT, value=JSON)


@pytest.fixture
def mails(broker):
    return broker.queue("q", body=JSON)


def values(records):
    return [record.value for record in records]


def bodies(messages):
    return [message.body for message in messages]


def test_a_handler_that_returns_a_coroutine_has_failed(store, mails, broker, caplog):
    async def handle(tx, mail): ...

    mails.send(1)
    with mails.consume() as consumer:
        store.process(consumer, lambda *arguments: handle(*arguments[:2]), retry=Retry(limit=0), timeout=0)
    assert "which nobody awaits" in str(caplog.records[0].exc_info[1])
    assert bodies(broker.peek("dlq")) == [b"1"]


class TestTransactions:
    def test_objects_of_both_models_share_a_commit(self, store, orders, mails, broker):
        broker.declare_exchange("events", "fanout")
        broker.bind("dlq", "events")
        events = broker.exchange("events", body=TEXT)
        with store.transaction() as tx:
            tx.append(orders, {"id": 1}, key="ann", headers={"h": b"x"})
            tx.append_many(orders, [2, None], keys=["bob", "cid"])
            tx.append_many(orders, [3], key="dan")
            tx.send(mails, {"to": "ann"}, priority=1)
            tx.publish(events, "k", "hello")
            tx.publish_many(events, [("k", "more")])
            tx.append("t", b"4", key=b"raw")
        assert [(record.key, record.value) for record in orders.read()] == [
            ("ann", {"id": 1}),
            ("bob", 2),
            ("cid", None),
            ("dan", 3),
            ("raw", 4),
        ]
        assert [(m.body, m.properties) for m in mails.peek()] == [
            ({"to": "ann"}, Properties(priority=1, content_type="application/json", delivery_mode=2))
        ]
        told = broker.queue("dlq", body=TEXT).peek()
        assert [(m.body, m.properties.content_type) for m in told] == [("hello", "text/plain"), ("more", "text/plain")]

    def test_producers_count_objects(self, store, log, orders):
        with log.producer("p") as producer:
            for _ in range(2):
                with store.transaction(producer=producer) as tx:
                    tx.append(orders, 1, sequence=0)
                    tx.append_many(orders, [2, 3], first_sequence=1)
        assert values(orders.read()) == [1, 2, 3]

    @pytest.mark.parametrize(
        "call",
        [
            lambda tx, orders, _mails, _events: tx.append(orders, object()),
            lambda tx, orders, _mails, _events: tx.append(orders, 1, key=5),
            lambda tx, orders, _mails, _events: tx.append_many(orders, [1, object()]),
            lambda tx, _orders, mails, _events: tx.send(mails, object()),
            lambda tx, _orders, _mails, events: tx.publish(events, "q", object()),
            lambda tx, _orders, _mails, events: tx.publish_many(events, [("q", 1), ("q", object())]),
        ],
    )
    def test_what_does_not_encode_is_told_at_once_and_takes_nothing_in(self, store, broker, orders, mails, call):
        with store.transaction() as tx:
            tx.append(orders, "kept")
            with pytest.raises(EncodeError):
                call(tx, orders, mails, broker.exchange("", body=JSON))
        assert (values(orders.read()), bodies(mails.peek())) == (["kept"], [])

    def test_typed_deliveries_and_records_are_settled(self, store, orders, mails, broker):
        mails.send_many([1, 2, 3])
        orders.append_many([1, 2, 3])
        with mails.consume() as consumer, orders.share_consumer(group="s") as shares:
            first, second, third = (consumer.get(0) for _ in range(3))
            one, two, three = shares.poll(0)
            with store.transaction() as tx:
                tx.ack(first)
                tx.nack(second)
                tx.reject(third)
                tx.ack(one)
                tx.nack(two)
                tx.reject(three)
            assert (first.settled, one.settled) == (True, True)
            assert consumer.get(0).body == 2
            assert values(shares.poll(0)) == [2]
        assert bodies(broker.queue("dlq", body=JSON).peek()) == [3]

    def test_offsets_of_a_typed_consumer_are_committed(self, store, orders):
        orders.append_many([1, 2, 3])
        first = TopicPartition("t", 0)
        with orders.consumer(group="g") as consumer:
            records = consumer.poll(0)
            with store.transaction() as tx:
                tx.commit_offsets(consumer, records[1])
            assert consumer.committed(first) == 2
            with store.transaction() as tx:
                tx.commit_offsets(consumer)
            assert consumer.committed(first) == 3

    def test_a_view_of_another_store_is_refused(self, store, orders, mails):
        with msglog.Store(":memory:") as other, other.transaction() as tx:
            for call in (
                lambda: tx.append(orders, 1),
                lambda: tx.append_many(orders, [1]),
                lambda: tx.send(mails, 1),
                lambda: tx.publish(store.broker.exchange("", body=JSON), "q", 1),
                lambda: tx.publish_many(store.broker.exchange("", body=JSON), [("q", 1)]),
            ):
                with pytest.raises(msglog.InvalidOptionError, match="a view of the same store"):
                    call()

    def test_what_is_no_view_is_refused_as_before(self, store, mails):
        with store.transaction() as tx:
            with pytest.raises(msglog.InvalidTypeError):
                tx.append(mails, 1)
            with pytest.raises(msglog.InvalidTypeError, match="a Delivery or a ShareRecord"):
                tx.ack(mails)


class TestProcessing:
    def test_the_handler_gets_objects(self, store, orders, mails):
        orders.append_many([{"id": 1}, {"id": 2}], key="ann")
        with orders.consumer(group="g") as consumer:
            done = store.process(consumer, lambda tx, record: tx.send(mails, [record.key, record.value]), timeout=0)
        assert done == 2
        with mails.consume() as consumer:
            store.process(consumer, lambda tx, mail: tx.append(orders, mail.body, key="mail"), timeout=0)
        assert [record.value for record in orders.read(start=2)] == [["ann", {"id": 1}], ["ann", {"id": 2}]]
        with orders.share_consumer(group="s") as shares:
            seen = []
            assert store.process(shares, lambda _tx, record: seen.append(record.value), timeout=0) == 4
        assert seen == [{"id": 1}, {"id": 2}, ["ann", {"id": 1}], ["ann", {"id": 2}]]

    def test_bad_bytes_become_dead_letters_as_what_a_handler_failed_with(self, store, log, orders, caplog):
        caplog.set_level(logging.CRITICAL, "msglog")
        for value in (b"0", BAD, b"2"):
            log.append("t", value)
        seen = []
        with orders.consumer(group="g") as consumer:
            handled = store.process(
                consumer, lambda _tx, record: seen.append(record.value), retry=Retry(limit=0), timeout=0
            )
        assert (seen, handled) == ([0, 2], 3)
        (letter,) = log.read("t.dead-letters")
        assert letter.value == BAD
        assert dict(letter.headers)["dead-letter-reason"].startswith(b"DecodeError: the value of topic 't'")

    def test_bad_bodies_go_to_the_queues_dead_letters(self, store, broker, mails, caplog):
        caplog.set_level(logging.CRITICAL, "msglog")
        for body in (b"0", BAD, b"2"):
            broker.send("q", body)
        seen = []
        with mails.consume() as consumer:
            store.process(consumer, lambda _tx, mail: seen.append(mail.body), retry=Retry(limit=0), timeout=0)
        assert seen == [0, 2]
        assert bodies(broker.peek("dlq")) == [BAD]

    def test_left_out_records_are_done_with(self, store, log, broker):
        for value in (b"0", BAD, b"2"):
            log.append("t", value)
            broker.send("q", value)
        seen = []

        def handle(_tx, message):
            seen.append(message.body if isinstance(message, msglog.TypedDelivery) else message.value)

        view = log.topic("t", value=JSON, on_decode_error="skip")
        with view.consumer(group="g") as consumer:
            assert store.process(consumer, handle, timeout=0) == 3
            assert consumer.committed(TopicPartition("t", 0)) == 3
        with view.share_consumer(group="s") as consumer:
            assert store.process(consumer, handle, timeout=0) == 3
        with broker.queue("q", body=JSON, on_decode_error="reject").consume() as consumer:
            assert store.process(consumer, handle, timeout=0) == 3
        assert seen == [0, 2] * 3
        assert bodies(broker.peek("dlq")) == [BAD]

    def test_a_record_can_be_decoded_by_hand(self, store, log, orders):
        log.append("t", BAD)
        errors = []

        def handle(_tx, record):
            try:
                orders.decode(record)
            except DecodeError as error:
                errors.append(error.record)

        with log.consumer("t", group="g") as consumer:
            store.process(consumer, handle, timeout=0)
        assert errors == list(log.read("t"))

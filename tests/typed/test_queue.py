"""A view of a queue or an exchange: objects go in and come out, and what does not decode can be settled."""

import logging
import pickle
import threading

import pytest

import msglog
from msglog import JSON, MSGPACK, TEXT, DecodeError, EncodeError, Message, Properties, Retry
from msglog.testing import ManualClock
from support.broker_session import open_store
from support.callbacks import NO_CALLBACKS, RETURN_COROUTINES
from support.faulty_filesystem import FaultyFileSystem
from support.operations import Store, Sync

BAD = b"{bad"


@pytest.fixture
def q(broker):
    return broker.queue("q", body=JSON)


@pytest.fixture
def mixed(broker, q):
    """A queue whose second message does not decode."""
    for body in (b"0", BAD, b"2"):
        broker.send("q", body)
    return q


def bodies(messages):
    return [message.body for message in messages]


class TestPublishing:
    def test_a_message_has_what_was_given(self, broker, q):
        q.send({"a": 1}, headers={"h": 1}, priority=3, properties=Properties(message_id="m"))
        (message,) = broker.peek("q")
        assert message.body == b'{"a":1}'
        assert message.headers == {"h": 1}
        assert message.properties == Properties(
            headers={"h": 1}, priority=3, message_id="m", content_type="application/json", delivery_mode=2
        )

    @pytest.mark.parametrize(
        ("codec", "body", "content_type"),
        [
            (JSON, 1, "application/json"),
            (MSGPACK, 1, "application/x-msgpack"),
            (TEXT, "x", "text/plain"),
            (msglog.BYTES, b"x", None),
            (msglog.json_of(int), 1, "application/json"),
        ],
        ids=str,
    )
    def test_the_content_type_is_the_codecs(self, broker, codec, body, content_type):
        q = broker.queue("q", body=codec)
        q.send(body)
        q.send_many([body])
        assert [message.properties.content_type for message in broker.peek("q")] == [content_type] * 2

    def test_a_content_type_of_ones_own_stays(self, broker, q):
        q.send(1, properties=Properties(content_type="text/x-odd"))
        assert broker.peek("q")[0].properties.content_type == "text/x-odd"

    def test_transient_delayed_and_expiring(self, broker, q, clock):
        q.send(1, persistent=False)
        q.send(2, delay_ms=50)
        q.send(3, expiration_ms=10)
        assert bodies(q.peek()) == [1, 3]
        first, second = broker.peek("q")
        assert (first.properties.delivery_mode, second.properties.expiration) == (1, "10")
        clock.advance(ms=50)
        assert bodies(q.peek()) == [1, 3, 2]

    def test_many_are_published_in_order_or_not_at_all(self, broker, q):
        q.send_many(iter([1, "two", None]))
        assert bodies(q.peek()) == [1, "two", None]
        with pytest.raises(EncodeError) as caught:
            q.send_many([1, object()])
        assert (caught.value.part, caught.value.option) == ("body", "bodies[1]")
        for wrong in ("text", b"x", {"a": 1}, 5):
            with pytest.raises(msglog.InvalidTypeError, match="bodies must be an iterable of objects"):
                q.send_many(wrong)
        assert len(broker.peek("q")) == 3

    @pytest.mark.parametrize(
        "call",
        [
            lambda broker: broker.queue("q", body=JSON).send(object()),
            lambda broker: broker.queue("q", body=JSON).request(object(), timeout=0),
            lambda broker: broker.exchange("", body=JSON).publish("q", object()),
            lambda broker: broker.exchange("", body=JSON).publish_many([("q", 1), ("q", object())]),
        ],
    )
    def test_what_does_not_encode_publishes_nothing(self, broker, call):
        with pytest.raises(EncodeError):
            call(broker)
        assert broker.peek("q") == []

    def test_a_queue_that_is_not_there_is_an_error(self, broker):
        missing = broker.queue("missing", body=JSON)
        for call in (missing.send, lambda body: missing.send_many([body])):
            with pytest.raises(msglog.QueueNotFoundError):
                call(1)

    def test_an_exchange_routes_objects(self, broker, q):
        broker.declare_exchange("events", "topic")
        broker.bind("q", "events", "order.*")
        events = broker.exchange("events", body=JSON)
        assert events.publish("order.made", {"a": 1}) == 1
        assert events.publish("other", 1) == 0
        with pytest.raises(msglog.UnroutableError):
            events.publish("other", 1, mandatory=True)
        assert events.publish_many([("order.a", 1), ("order.b", 2), ("other", 3)]) == 2
        assert [(m.routing_key, m.body, m.exchange) for m in q.peek()] == [
            ("order.made", {"a": 1}, "events"),
            ("order.a", 1, "events"),
            ("order.b", 2, "events"),
        ]
        assert repr(events) == "<msglog.TypedExchange 'events' body=JSON>"

    @pytest.mark.parametrize("wrong", [5, [5], [("q",)], [("q", 1, 2)], ["q"]])
    def test_many_for_an_exchange_are_pairs(self, broker, wrong):
        with pytest.raises(msglog.InvalidTypeError):
            broker.exchange("", body=JSON).publish_many(wrong)
        assert broker.peek("q") == []


class TestTheShortWay:
    """Plain messages of a view go a short way of their own: nothing must be different there."""

    def test_a_message_is_as_one_that_went_the_long_way(self, broker, q):
        broker.declare_exchange("events", "fanout")
        for queue in ("q", "dlq"):
            broker.bind(queue, "events")
        same = Properties(content_type="application/json")
        for publish in (
            lambda: broker.exchange("events", body=JSON).publish("k", 1, mandatory=True),
            lambda: broker.publish("events", "k", b"1", properties=same),
            lambda: q.send(1),
            lambda: broker.send("q", b"1", properties=same),
        ):
            publish()
        first, second, third, fourth = (
            (m.exchange, m.routing_key, m.properties, m.body, m.timestamp_ms) for m in broker.peek("q")
        )
        assert (first, third) == (second, fourth)
        assert len(broker.peek("dlq")) == 2

    def test_it_ends_with_the_queue(self, broker, q):
        q.send(1)
        broker.delete_queue("q")
        with pytest.raises(msglog.QueueNotFoundError):
            q.send(2)
        broker.declare_queue("q")
        q.send(3)
        assert bodies(q.peek()) == [3]

    def test_it_follows_bindings(self, broker):
        broker.declare_exchange("events", "direct")
        events = broker.exchange("events", body=JSON)
        counts = [events.publish("k", 0)]
        broker.bind("q", "events", "k")
        counts.append(events.publish("k", 1))
        broker.bind("dlq", "events", "k")
        counts.append(events.publish("k", 2))
        broker.unbind("q", "events", "k")
        counts.append(events.publish("k", 3))
        assert counts == [0, 1, 2, 1]
        assert bodies(broker.queue("q", body=JSON).peek()) == [1, 2]

    def test_limits_of_a_queue_hold(self, broker, q):
        q.send(1)
        broker.set_policy("short", "^q$", {"max-length": 1, "overflow": "reject-publish"})
        with pytest.raises(msglog.PublishRejectedError):
            q.send(2)

    def test_a_body_may_be_too_large(self, tmp_path):
        with msglog.Broker(tmp_path / "s", max_record_bytes=1000) as broker:
            broker.declare_queue("q")
            q = broker.queue("q", body=TEXT)
            q.send("x" * 900)
            with pytest.raises(msglog.RecordTooLargeError):
                q.send("x" * 1000)
            assert len(broker.peek("q")) == 1

    def test_who_waits_gets_it(self, q):
        with q.consume() as consumer:
            got = []
            thread = threading.Thread(target=lambda: got.append(consumer.get(60).body))
            thread.start()
            q.send(1)
            thread.join()
        assert got == [1]

    @pytest.mark.parametrize("sync", ["commit", "interval"])
    def test_it_is_there_after_reopening(self, tmp_path, sync):
        with msglog.Broker(tmp_path / "s", sync=sync) as broker:
            broker.declare_queue("q")
            for number in range(5):
                broker.queue("q", body=JSON).send(number)
        with msglog.Broker(tmp_path / "s") as broker:
            assert bodies(broker.queue("q", body=JSON).peek()) == [0, 1, 2, 3, 4]

    def test_each_is_durable_when_it_returns_by_one_sync(self):
        filesystem = FaultyFileSystem()
        with open_store(filesystem, ManualClock(), sync="commit", segment_bytes=1 << 20) as store:
            store.broker.declare_exchange("events", "fanout")
            for name in ("q", "r"):
                store.broker.declare_queue(name)
                store.broker.bind(name, "events")
            disk = filesystem.disk
            for publish in (
                lambda: store.broker.queue("q", body=JSON).send(1),
                lambda: store.broker.exchange("events", body=JSON).publish("", 1),
            ):
                publish()
                before = len(disk.operations)
                publish()
                disk.notice()
                journal = {inode.number for path, inode in disk.names.items() if "journal" in path}
                done = [step for step in disk.operations[before:] if getattr(step, "inode", None) in journal]
                assert [type(step) for step in done] == [Store, Sync]

    def test_nobody_writes_through_a_closed_broker_or_a_readonly_store(self, tmp_path):
        with msglog.Store(tmp_path / "s") as store:
            broker = msglog.Broker(store)
            broker.declare_queue("q")
            q, other = broker.queue("q", body=JSON), store.broker.queue("q", body=JSON)
            q.send(1)
            other.send(1)
            broker.close()
            with pytest.raises(msglog.ClosedError):
                q.send(2)
        with pytest.raises(msglog.ClosedError):
            other.send(2)
        with msglog.Store(tmp_path / "s", readonly=True) as store:
            view = store.broker.queue("q", body=JSON)
            with pytest.raises(msglog.ReadOnlyError):
                view.send(2)
            assert bodies(view.peek()) == [1, 1]


class TestTaking:
    def test_a_delivery_has_an_object_and_is_settled_as_any(self, q, clock):
        q.send({"a": 1}, headers={"h": 1})
        delivery = q.get()
        assert (delivery.body, delivery.headers, delivery.queue) == ({"a": 1}, {"h": 1}, "q")
        assert (delivery.exchange, delivery.routing_key) == ("", "q")
        assert (delivery.redelivered, delivery.delivery_count, delivery.settled) == (False, 0, False)
        assert delivery.timestamp_ms == clock.now_ms()
        delivery.nack()
        again = q.get()
        assert (again.redelivered, again.delivery_count) == (True, 1)
        again.ack()
        assert again.settled
        with pytest.raises(msglog.SettlementError):
            again.ack()
        assert q.get() is None

    def test_leaving_its_block_settles_it(self, q, broker):
        q.send_many([1, 2])
        with q.get() as delivery:
            assert delivery.body == 1
        assert delivery.settled
        consumer = q.consume(on_error="reject")
        with consumer, pytest.raises(ZeroDivisionError), consumer.get(0) as delivery:
            delivery.body / 0
        assert bodies(broker.queue("dlq", body=JSON).peek()) == [2]

    def test_rejecting(self, q, broker):
        q.send(1)
        q.get().reject()
        assert bodies(broker.queue("dlq", body=JSON).peek()) == [1]

    def test_no_ack(self, q):
        q.send(1)
        assert q.get(no_ack=True).settled
        with q.consume(no_ack=True, prefetch_count=1, priority=1) as consumer:
            assert consumer.no_ack

    def test_get_waits(self, q):
        thread = threading.Timer(0.01, q.send, [5])
        thread.start()
        delivery = q.get(timeout=60)
        thread.join()
        assert delivery.body == 5

    def test_a_consumer_iterates_over_objects(self, q):
        q.send_many([1, 2, 3])
        with q.consume(prefetch_count=1) as consumer:
            assert (consumer.queue, consumer.closed) == ("q", False)
            seen = []
            for delivery in consumer:
                with delivery:
                    seen.append(delivery.body)
                    if delivery.body == 2:
                        consumer.stop()
        assert seen == [1, 2]
        assert consumer.closed
        with pytest.raises(msglog.ClosedError):
            consumer.get(0)

    def test_history(self, broker):
        broker.declare_queue("h", history_ms=60_000)
        broker.send("h", BAD)
        kept = broker.queue("h", body=JSON)
        kept.send_many([1, 2])
        for _ in range(3):
            broker.get("h").ack()
        messages = kept.history()
        with pytest.raises(DecodeError) as caught:
            next(messages)
        assert (caught.value.raw.body, caught.value.delivery) == (BAD, None)
        assert bodies(messages) == [1, 2]
        assert bodies(broker.queue("h", body=JSON, on_decode_error="reject").history(since_ms=0, limit=2)) == [1]


class TestBadBytes:
    def test_the_error_carries_the_delivery_which_can_be_settled(self, broker, q):
        broker.send("q", b"secret")
        with pytest.raises(DecodeError) as caught:
            q.get()
        error = caught.value
        assert error.delivery.body == b"secret"
        assert error.raw is error.delivery
        assert (error.part, error.codec, error.record, error.delivery.settled) == ("body", "JSON", None, False)
        assert str(error) == "the body of a message of queue 'q' (6 bytes) does not decode with JSON: JSONDecodeError"
        error.delivery.reject()
        assert [message.body for message in broker.peek("dlq")] == [b"secret"]

    def test_a_consumer_goes_on_behind_it(self, mixed):
        with mixed.consume() as consumer:
            deliveries = iter(consumer)
            assert next(deliveries).body == 0
            with pytest.raises(DecodeError) as caught:
                next(deliveries)
            caught.value.delivery.ack()
            assert next(deliveries).body == 2

    def test_unsettled_it_goes_back_with_the_consumer(self, broker, mixed):
        with mixed.consume() as consumer:
            consumer.get(0).ack()
            with pytest.raises(DecodeError):
                consumer.get(0)
        assert [message.body for message in broker.peek("q")] == [BAD, b"2"]

    def test_what_is_in_hand_is_not_pickled_with_it(self, broker, q):
        broker.send("q", BAD)
        with pytest.raises(DecodeError) as caught:
            q.get()
        twin = pickle.loads(pickle.dumps(caught.value))
        assert (str(twin), twin.delivery, twin.raw) == (str(caught.value), None, None)

    @pytest.mark.usefixtures("mixed")
    def test_reject_sends_it_to_the_dead_letters(self, broker, caplog):
        view = broker.queue("q", body=JSON, on_decode_error="reject")
        assert bodies(view.peek()) == [0, 2]
        with view.consume() as consumer:
            seen = bodies(delivery for delivery in consumer.iter(0) if delivery.ack() is None)
        assert seen == [0, 2]
        assert [message.body for message in broker.peek("dlq")] == [BAD]
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        broker.send("q", BAD)
        assert view.get(timeout=0) is None
        broker.send("q", BAD)
        assert view.get(timeout=0.01, no_ack=True) is None
        assert len(broker.peek("dlq")) == 2

    @pytest.mark.usefixtures("mixed")
    def test_a_callable_acknowledges_by_returning(self, broker):
        seen = []
        view = broker.queue("q", body=JSON, on_decode_error=lambda error: seen.append(error.delivery.body))
        with view.consume() as consumer:
            assert bodies(d for d in consumer.iter(0) if d.ack() is None) == [0, 2]
        assert seen == [BAD]
        assert broker.peek("dlq") == broker.peek("q") == []

    @pytest.mark.usefixtures("mixed")
    def test_a_callable_may_settle_it_itself(self, broker):
        view = broker.queue("q", body=JSON, on_decode_error=lambda error: error.delivery.reject())
        with view.consume() as consumer:
            assert bodies(d for d in consumer.iter(0) if d.ack() is None) == [0, 2]
        assert [message.body for message in broker.peek("dlq")] == [BAD]

    @pytest.mark.usefixtures("mixed")
    def test_a_callable_that_returns_a_coroutine_has_not_dealt_with_it(self, broker):
        view = broker.queue("q", body=JSON, on_decode_error=RETURN_COROUTINES[0])
        with pytest.raises(msglog.InvalidTypeError, match="not one that returns a coroutine"):
            view.peek()
        with view.consume(on_error="reject") as consumer:
            consumer.get(0).ack()
            with pytest.raises(msglog.InvalidTypeError, match="not one that returns a coroutine"):
                consumer.get(0)
        assert [message.body for message in broker.peek("dlq")] == [BAD]

    @pytest.mark.usefixtures("mixed")
    def test_what_a_callable_raises_applies_on_error_and_goes_on(self, broker):
        def fail(error):
            raise RuntimeError("enough") from error

        view = broker.queue("q", body=JSON, on_decode_error=fail)
        with view.consume(on_error="reject") as consumer:
            consumer.get(0).ack()
            with pytest.raises(RuntimeError, match="enough"):
                consumer.get(0)
            assert consumer.get(0).body == 2
        assert [message.body for message in broker.peek("dlq")] == [BAD]

    @pytest.mark.parametrize("no_ack", [False, True])
    def test_an_interrupt_while_decoding_gives_the_message_back(self, broker, no_ack):
        class Interrupted:
            encode = JSON.encode

            def decode(self, _data, /):
                raise KeyboardInterrupt

        broker.send("q", b"1")
        view = broker.queue("q", body=Interrupted())
        for get in (lambda: view.get(no_ack=no_ack), lambda: consumer.get(0)):
            with view.consume(prefetch_count=1, no_ack=no_ack) as consumer, pytest.raises(KeyboardInterrupt):
                get()
            broker.send("q", b"2")
        assert [m.body for m in broker.peek("q")] == ([b"2"] if no_ack else [b"1", b"2", b"2"])

    def test_peek_raises_with_the_message(self, mixed):
        with pytest.raises(DecodeError) as caught:
            mixed.peek()
        assert (caught.value.raw.body, caught.value.delivery) == (BAD, None)

    @pytest.mark.parametrize("wrong", [None, "skip", 5])
    def test_other_answers_are_refused(self, broker, wrong):
        with pytest.raises(msglog.InvalidTypeError, match="on_decode_error must be 'raise', 'reject' or a callable"):
            broker.queue("q", on_decode_error=wrong)

    def test_a_callable_whose_call_does_nothing_is_refused(self, broker):
        async def coroutine(error): ...

        def of_two(error, _more): ...

        for wrong in (coroutine, of_two):
            with pytest.raises(
                msglog.InvalidTypeError, match="on_decode_error must be a callable that takes a DecodeError"
            ):
                broker.queue("q", on_decode_error=wrong)


class TestSubscribing:
    def test_the_callback_gets_objects(self, q):
        q.send_many([1, 2])
        seen = []
        with q.subscribe(lambda delivery: seen.append(delivery.body)) as subscription:
            assert subscription.wait_idle(60)
        assert seen == [1, 2]

    @pytest.mark.parametrize("on_error", ["reject", Retry(limit=0)])
    def test_bad_bytes_are_an_error_as_any(self, broker, mixed, caplog, on_error):
        caplog.set_level(logging.CRITICAL, "msglog.subscription")
        seen = []
        with mixed.subscribe(lambda delivery: seen.append(delivery.body), on_error=on_error) as subscription:
            assert subscription.wait_idle(60)
        assert seen == [0, 2]
        assert [message.body for message in broker.peek("dlq")] == [BAD]

    @pytest.mark.usefixtures("mixed")
    def test_or_are_rejected_at_once(self, broker):
        seen = []
        view = broker.queue("q", body=JSON, on_decode_error="reject")
        with view.subscribe(lambda delivery: seen.append(delivery.body), workers=2) as subscription:
            assert subscription.wait_idle(60)
        assert sorted(seen) == [0, 2]
        assert [message.body for message in broker.peek("dlq")] == [BAD]

    def test_the_callback_must_be_one(self, q):
        for callback in ("no", *NO_CALLBACKS):
            with pytest.raises(msglog.InvalidTypeError, match="callback"):
                q.subscribe(callback)


class TestRequests:
    @pytest.fixture
    def answering(self, broker):
        """Have the queue answered, by an object or by bytes."""
        answer = {}

        def serve(delivery):
            delivery.reply(*answer["with"](delivery.body))

        with broker.queue("q", body=JSON).subscribe(serve):
            yield answer

    def test_question_and_answer_are_objects(self, q, answering):
        answering["with"] = lambda body: ({"twice": 2 * body["n"]}, JSON)
        answer = q.request({"n": 4}, timeout=60)
        assert answer.body == {"twice": 8}
        assert answer.properties.content_type == "application/json"

    def test_the_answer_may_have_another_codec(self, broker, q, answering):
        answering["with"] = lambda body: (str(body), TEXT)
        assert q.request(4, timeout=60, reply=TEXT).body == "4"
        assert broker.exchange("", body=JSON).request("q", 5, timeout=60, reply=TEXT).body == "5"

    def test_an_answer_of_bytes(self, q, answering):
        answering["with"] = lambda _: (b"7",)
        assert q.request(4, timeout=60).body == 7
        with pytest.raises(DecodeError) as caught:
            q.request(4, timeout=60, reply=msglog.json_of(str))
        assert caught.value.raw.body == b"7"

    def test_what_does_not_encode_is_no_answer(self, broker, q):
        broker.send("q", b"1", properties=Properties(reply_to="dlq"))
        delivery = q.get()
        with pytest.raises(EncodeError):
            delivery.reply(object(), JSON)
        assert broker.peek("dlq") == []
        delivery.ack()


class TestTheView:
    def test_it_says_what_it_is(self, q):
        assert repr(q) == "<msglog.TypedQueue 'q' body=JSON>"
        assert q.name == "q"
        q.send("secret")
        with q.consume() as consumer:
            assert repr(consumer).startswith("<msglog.TypedQueueConsumer <msglog.QueueConsumer")
            assert repr(consumer.get(0)) == (
                "<msglog.TypedDelivery queue='q' exchange='' routing_key='q' unsettled delivery_count=0 body=<8 bytes>>"
            )
        assert repr(q.peek()[0]) == "<msglog.TypedMessage exchange='' routing_key='q' body=<8 bytes>>"

    def test_a_message_that_was_come_by_otherwise_is_decoded(self, q):
        assert q.decode(Message(b"5")).body == 5

    def test_without_a_codec_it_has_bytes(self, broker):
        view = broker.queue("q")
        view.send(b"x")
        assert view.get().body == b"x"
        with pytest.raises(EncodeError):
            view.send("x")

    def test_wrong_arguments_are_refused(self, broker):
        with pytest.raises(msglog.InvalidTypeError, match="name must be the name of a queue"):
            broker.queue(5)
        with pytest.raises(msglog.InvalidTypeError, match="the name of an exchange"):
            broker.exchange(5)
        with pytest.raises(msglog.InvalidTypeError, match="body must be a codec"):
            broker.queue("q", body=str)

    def test_a_closed_broker_makes_no_views(self):
        broker = msglog.Broker(":memory:")
        broker.close()
        for make in (broker.queue, broker.exchange):
            with pytest.raises(msglog.ClosedError):
                make("q")

"""Objects in place of bytes, for tasks: views of topics, queues and exchanges."""

import asyncio
import logging
from contextlib import suppress

import pytest

import msglog
from msglog import JSON, TEXT, DecodeError, EncodeError, Retry, aio
from msglog.testing import ManualClock
from support.brokers import ready, take
from support.tasks import cancel_at, soon, turns, until

BAD = b"{bad"


@pytest.fixture
def store():
    with msglog.Store(":memory:", clock=ManualClock()) as opened:
        opened.log.create_topic("t")
        opened.log.create_topic("bad")
        opened.broker.declare_queue("dlq")
        opened.broker.declare_queue("q", dead_letter_exchange="", dead_letter_routing_key="dlq", history_ms=60_000)
        yield opened


@pytest.fixture
def topic(own):
    return own.log.topic("t", key=TEXT, value=JSON)


@pytest.fixture
def queue(own):
    return own.broker.queue("q", body=JSON)


def mixed(store):
    """Fill the topic and the queue with 0, bytes that do not decode, and 2."""
    for data in (b"0", BAD, b"2"):
        store.log.append("t", data)
        store.broker.send("q", data)


class Asides:
    """An answer to what does not decode: an awaited one that puts it aside, and may take its time or fail."""

    def __init__(self, own):
        self.own = own
        self.entered, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()
        self.fails = 0

    async def __call__(self, error):
        self.entered.set()
        await asyncio.sleep(0)
        await self.go_on.wait()
        if self.fails:
            self.fails -= 1
            raise RuntimeError("not now")
        await self.own.log.append("bad", error.raw.body if error.record is None else error.record.value)


def aside(store):
    return [record.value for record in store.log.read("bad")]


async def steps(iterator):
    """Return what there is to the end, the errors among it."""
    found = []
    while True:
        try:
            one = await soon(anext(iterator))
        except StopAsyncIteration:
            return found
        except (DecodeError, RuntimeError) as error:
            found.append(type(error))
        else:
            found.append(one.body if isinstance(one, msglog.TypedMessage) else one.value)


class TestTopics:
    async def test_what_is_appended_is_read(self, topic, store):
        assert (await topic.append({"n": 1}, key="a", headers={"h": b"x"})).offset == 0
        assert await topic.append_many([[2], None], keys=["b", "a"]) == {0: range(1, 3)}
        records = [record async for record in topic.read()]
        assert [(one.key, one.value, one.offset) for one in records] == [
            ("a", {"n": 1}, 0),
            ("b", [2], 1),
            ("a", None, 2),
        ]
        assert records[0].raw == next(store.log.read("t"))
        assert [one.value async for one in topic.read_key("a")] == [{"n": 1}, None]
        assert (await topic.last_record("b")).value == [2]
        assert await topic.last_record("none") is None
        assert (topic.start_offset(), topic.end_offset(), topic.partition_for("a")) == (0, 3, 0)
        assert topic.offset_at(records[1].timestamp_ms) == 0
        assert topic.decode(records[0].raw) == records[0]

    async def test_what_does_not_encode_is_not_appended(self, topic, queue, own):
        for call in (
            topic.append(object()),
            topic.append_many([1, object()]),
            topic.append(1, key=5),
            queue.send(object()),
            queue.send_many([1, object()]),
            own.broker.exchange("", body=JSON).publish("q", object()),
            own.broker.exchange("", body=JSON).publish_many([("q", 1), ("q", object())]),
            queue.request(object(), timeout=1),
        ):
            with pytest.raises(EncodeError):
                await call
        assert topic.end_offset() == 0
        assert await queue.peek() == []

    async def test_an_append_may_expect_an_offset(self, topic):
        await topic.append(1, key="a", expected_key_offset=-1)
        with pytest.raises(msglog.OffsetConflictError):
            await topic.append(2, key="a", expected_key_offset=-1)
        with pytest.raises(msglog.OffsetConflictError):
            await topic.append(2, expected_offset=5)

    async def test_a_consumer_polls_iterates_and_commits(self, topic, store):
        await topic.append_many([1, 2, 3, 4])
        async with topic.consumer(group="g") as consumer:
            assert (consumer.group, consumer.auto_commit) == ("g", False)
            first, second = await consumer.poll(0, 2)
            await consumer.commit(first)
            assert consumer.committed(msglog.TopicPartition("t", 0)) == 1
            await consumer.commit({msglog.TopicPartition("t", 0): 2})
            assert [one.value async for one in consumer.iter(0)] == [3, 4]
            assert (first.value, second.value) == (1, 2)
            await consumer.commit()
            assert consumer.lag() == {msglog.TopicPartition("t", 0): 0}
            assert await consumer.poll(0) == []
            consumer.seek_to_beginning()
            async for one in consumer:
                assert one.value == 1
                break
            consumer.stop()
            assert await consumer.poll() == []
        assert store.log.describe_group("g").offsets == {msglog.TopicPartition("t", 0): 4}

    async def test_a_poll_waits_and_can_be_cancelled(self, topic):
        async with topic.consumer(group="g") as consumer:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await consumer.poll()
            waiting = asyncio.create_task(consumer.poll())
            await turns()
            with pytest.raises(RuntimeError, match="one task at a time"):
                await consumer.poll()
            await topic.append(1)
            assert [one.value for one in await soon(waiting)] == [1]

    async def test_members_of_a_share_group(self, topic, store):
        await topic.append_many([1, 2, 3])
        async with topic.share_consumer(group="s") as consumer:
            one, two = await consumer.poll(0, 2)
            assert (one.value, one.delivery_count, two.value) == (1, 1, 2)
            one.ack()
            two.release()
            async for record in consumer.iter(0):
                record.ack()
        assert store.log.describe_group("s").lag["t", 0] == 0

    async def test_producers(self, topic, own):
        async with topic.producer("till") as producer:
            assert (producer.name, producer.last_sequence) == ("till", -1)
            assert not (await producer.append(1, sequence=0)).duplicate
            assert (await producer.append(1, sequence=0)).duplicate
            await producer.append_many([2, 3], key="k", first_sequence=1)
            assert producer.last_sequence == 2
        async with own.log.producer("other") as held:
            async with topic.producer(held) as producer:
                await producer.append(4)
            await held.append("t", b"5")  # it was there before
        assert [one.value async for one in topic.read()] == [1, 2, 3, 4, 5]

    async def test_coroutines_are_called_with_objects(self, topic):
        seen = []

        async def callback(record):
            seen.append((record.key, record.value))

        await topic.append_many([1, None], key="k")
        async with topic.subscribe(group="g", callback=callback, concurrency=1) as subscription:
            assert await subscription.wait_idle(10)
        assert seen == [("k", 1), ("k", None)]
        with pytest.raises(msglog.InvalidTypeError, match="callback must be a coroutine function"):
            topic.subscribe(group="g", callback=seen.append)


class TestQueues:
    async def test_what_is_sent_is_taken(self, queue, own):
        await queue.send({"n": 1}, headers={"h": 1})
        await queue.send_many([2, 3], persistent=False)
        first = await queue.get()
        assert isinstance(first, aio.TypedDelivery)
        assert (first.body, first.headers, first.properties.content_type) == ({"n": 1}, {"h": 1}, "application/json")
        assert (first.queue, first.raw.body) == ("q", b'{"n":1}')
        async with first:
            pass
        assert first.settled
        async with queue.consume(prefetch_count=1) as consumer:
            assert (consumer.queue, consumer.no_ack, consumer.closed) == ("q", False, False)
            async for delivery in consumer.iter(0):
                with delivery:
                    assert delivery.body in (2, 3)
        assert await queue.get(timeout=0.01) is None
        assert [one.body async for one in queue.history()] == [{"n": 1}, 2, 3]
        with pytest.raises(msglog.QueueNotFoundError):
            await own.broker.queue("none", body=JSON).send_many([1])

    async def test_exchanges_publish(self, own, queue, store):
        events = own.broker.exchange("amq.topic", body=JSON)
        store.broker.bind("q", "amq.topic", "made.#")
        assert await events.publish("made.1", [1], priority=3) == 1
        assert await events.publish("made.2", [2]) == 1
        assert await events.publish_many([("made.3", [3]), ("other", [4])]) == 1
        with pytest.raises(msglog.UnroutableError):
            await events.publish("other", [5], mandatory=True)
        assert [one.body for one in await queue.peek()] == [[1], [2], [3]]
        assert queue.decode((await own.broker.peek("q"))[0]).body == [1]

    async def test_requests_are_answered_with_objects(self, queue, own):
        async def answer(question):
            await question.reply(f"{question.body}!", TEXT)

        async with queue.subscribe(answer, concurrency=2):
            assert (await soon(queue.request("who", timeout=10, reply=TEXT))).body == "who!"
            asking = own.broker.exchange("", body=JSON)
            assert (await soon(asking.request("q", "what", timeout=10, reply=TEXT))).body == "what!"
            with pytest.raises(DecodeError):
                await soon(queue.request("who", timeout=10))

    async def test_a_get_waits_and_can_be_cancelled(self, queue):
        async with queue.consume() as consumer:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await consumer.get()
            waiting = asyncio.create_task(consumer.get())
            await turns()
            await queue.send(1)
            got = await soon(waiting)
            assert got.body == 1
            got.ack()
            consumer.stop()
            assert await consumer.get() is None
        assert consumer.closed

    async def test_a_callback_must_be_a_coroutine_function(self, queue):
        with pytest.raises(msglog.InvalidTypeError, match="callback must be a coroutine function"):
            queue.subscribe(lambda delivery: delivery.ack())


READS = ("read", "consumer", "share")


@pytest.fixture
def reading(own):
    """Return an iterator over a topic, whose consumer is closed in the end."""
    made = []

    def read(kind, answer):
        view = own.log.topic("t", value=JSON, on_decode_error=answer)
        if kind == "read":
            return view.read()
        made.append(view.consumer(group="g") if kind == "consumer" else view.share_consumer(group="s"))
        return made[-1].iter(0)

    yield read
    for consumer in made:
        consumer.sync.close()


class TestRecordsThatDoNotDecode:
    @pytest.mark.parametrize("kind", READS)
    async def test_an_iteration_raises_and_goes_on(self, reading, store, kind):
        mixed(store)
        assert await steps(reading(kind, "raise")) == [0, DecodeError, 2]

    @pytest.mark.parametrize("kind", READS)
    async def test_or_leaves_out(self, reading, store, kind, caplog):
        caplog.set_level(logging.CRITICAL, "msglog.typed")
        mixed(store)
        assert await steps(reading(kind, "skip")) == [0, 2]

    @pytest.mark.parametrize("kind", READS)
    async def test_or_awaits_what_is_to_be_done(self, reading, own, store, kind):
        mixed(store)
        assert await steps(reading(kind, Asides(own))) == [0, 2]
        assert aside(store) == [BAD]

    @pytest.mark.parametrize("kind", READS)
    async def test_or_calls_a_plain_function(self, reading, store, kind):
        mixed(store)
        seen = []
        assert await steps(reading(kind, lambda error: seen.append(error.record.value))) == [0, 2]
        assert seen == [BAD]

    @pytest.mark.parametrize("kind", READS)
    async def test_what_that_raises_goes_on(self, reading, own, store, kind):
        mixed(store)
        asides = Asides(own)
        asides.fails = 1
        assert await steps(reading(kind, asides)) == [0, RuntimeError, 2]

    @pytest.mark.parametrize("kind", READS)
    async def test_what_it_raises_never_passes_for_the_end(self, reading, store, kind):
        async def empty(_):
            raise StopAsyncIteration

        mixed(store)
        assert await steps(reading(kind, empty)) == [0, RuntimeError, 2]

    @pytest.mark.parametrize("kind", READS)
    async def test_a_step_that_is_cancelled_there_has_done_nothing(self, reading, own, store, kind):
        mixed(store)
        asides = Asides(own)
        records = reading(kind, asides)
        assert (await anext(records)).value == 0
        asides.go_on.clear()
        task = asyncio.create_task(anext(records))
        await soon(asides.entered.wait())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        asides.go_on.set()
        assert await steps(records) == [2]
        assert aside(store) == [BAD]

    @pytest.mark.parametrize("kind", ["consumer", "share", "queue"])
    async def test_a_cancellation_that_it_loses_ends_the_wait(self, own, store, kind):
        asides = []

        async def loses(error):
            asides.append(error)
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60 if len(asides) == 1 else 0)

        store.log.append("t", BAD)
        store.broker.send("q", BAD)
        topic = own.log.topic("t", value=JSON, on_decode_error=loses)
        queue = own.broker.queue("q", body=JSON, on_decode_error=loses)
        made = {
            "consumer": lambda: topic.consumer(group="g"),
            "share": lambda: topic.share_consumer(group="s"),
            "queue": queue.consume,
        }
        async with made[kind]() as consumer:
            step = consumer.get if kind == "queue" else consumer.poll
            task = asyncio.create_task(step())
            await until(lambda: asides)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await soon(task)
            assert not await step(0)
        assert len(asides) == 2  # it was not dealt with

    @pytest.mark.parametrize("kind", ["consumer", "share"])
    async def test_a_poll_returns_what_came_before(self, own, store, kind):
        mixed(store)
        view = own.log.topic("t", value=JSON)
        async with view.consumer(group="g") if kind == "consumer" else view.share_consumer(group="s") as consumer:
            assert [one.value for one in await consumer.poll(0)] == [0]
            with pytest.raises(DecodeError) as caught:
                await consumer.poll(0)
            assert caught.value.record.value == BAD
            assert [one.value for one in await consumer.poll(0)] == [2]
            assert await consumer.poll(0) == []

    @pytest.mark.parametrize("kind", ["consumer", "share"])
    async def test_a_poll_that_is_cancelled_there_has_done_nothing(self, own, store, kind):
        mixed(store)
        asides = Asides(own)
        asides.go_on.clear()
        view = own.log.topic("t", value=JSON, on_decode_error=asides)
        async with view.consumer(group="g") if kind == "consumer" else view.share_consumer(group="s") as consumer:
            task = asyncio.create_task(consumer.poll(0))
            await soon(asides.entered.wait())
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            asides.go_on.set()
            assert [one.value for one in await consumer.poll(0)] == [0, 2]
        assert aside(store) == [BAD]

    @pytest.mark.parametrize("when", ["early", "late"])
    @pytest.mark.parametrize("kind", ["consumer", "share"])
    async def test_a_poll_may_be_cancelled_anywhere(self, own, store, kind, when):
        for step in range(1, 60):
            name = f"{step}{when}"
            store.log.create_topic(name)
            view = own.log.topic(name, value=JSON, on_decode_error=Asides(own))
            store.log.append_many(name, [BAD, b"1", BAD])
            async with view.consumer(group=name) if kind == "consumer" else view.share_consumer(group=name) as consumer:
                reached, got = await cancel_at(consumer.poll(0), step, when)
                got = got or await soon(consumer.poll(0))
                assert [one.value for one in got] == [1]
                if not reached:
                    assert step > 2
                    return
        raise AssertionError("it never ends")

    @pytest.mark.parametrize("kind", ["consumer", "share"])
    async def test_polls_that_leave_out_wait_on_and_let_others_have_their_turn(self, own, store, kind):
        seen = []
        view = own.log.topic("t", value=JSON, on_decode_error=seen.append)
        store.log.append_many("t", [BAD] * 50)
        async with view.consumer(group="g") if kind == "consumer" else view.share_consumer(group="s") as consumer:
            task = asyncio.create_task(consumer.poll(10, 1))
            await turns(20)
            assert 0 < len(seen) < 50
            store.log.append("t", b"1")
            assert [one.value for one in await soon(task)] == [1]

    async def test_the_last_record_of_a_key(self, own, store):
        store.log.append("t", BAD, key=b"k")
        with pytest.raises(DecodeError):
            await own.log.topic("t", value=JSON).last_record(b"k")
        assert await own.log.topic("t", value=JSON, on_decode_error=Asides(own)).last_record(b"k") is None
        assert aside(store) == [BAD]

    async def test_in_a_subscription_it_is_as_if_the_callback_failed(self, own, store, caplog):
        caplog.set_level(logging.CRITICAL)
        mixed(store)
        for number, answer in enumerate(("raise", "skip", Asides(own))):
            seen = []

            async def callback(record, seen=seen):
                seen.append(record.value)

            view = own.log.topic("t", value=JSON, on_decode_error=answer)
            group, once = f"g{number}", Retry(limit=0)
            async with view.subscribe(group=group, callback=callback, on_error=once) as subscription:
                assert await subscription.wait_idle(10)
            assert seen == [0, 2]
        assert aside(store) == [BAD]

    @pytest.mark.parametrize("wrong", [None, "reject", 5])
    async def test_other_answers_are_refused(self, own, wrong):
        with pytest.raises(msglog.InvalidTypeError, match="on_decode_error must be 'raise', 'skip' or a callable"):
            own.log.topic("t", on_decode_error=wrong)


class TestMessagesThatDoNotDecode:
    async def test_taking_raises_with_the_message_in_hand_and_goes_on(self, queue, store):
        mixed(store)
        async with queue.consume() as consumer:
            (await consumer.get()).ack()
            with pytest.raises(DecodeError) as caught:
                await consumer.get()
            assert isinstance(caught.value.delivery, aio.Delivery)
            caught.value.delivery.reject()
            (await consumer.get()).ack()
        assert take(store.broker, "dlq") == [BAD]

    @pytest.mark.parametrize("how", ["get", "consumer", "iteration", "subscription"])
    @pytest.mark.parametrize("answer", ["reject", "awaited", "plain"])
    async def test_or_deals_with_it(self, own, store, how, answer, caplog):
        caplog.set_level(logging.CRITICAL)
        mixed(store)
        seen, bodies = [], []
        answers = {"reject": "reject", "awaited": Asides(own), "plain": lambda error: seen.append(error.delivery.body)}
        view = own.broker.queue("q", body=JSON, on_decode_error=answers[answer])

        async def note(delivery):
            bodies.append(delivery.body)

        if how == "subscription":
            async with view.subscribe(note) as subscription:
                assert await subscription.wait_idle(10)
        elif how == "get":
            while (delivery := await view.get()) is not None:
                with delivery:
                    bodies.append(delivery.body)
        else:
            async with view.consume() as consumer:
                if how == "iteration":
                    async for delivery in consumer.iter(0):
                        with delivery:
                            bodies.append(delivery.body)
                else:
                    while (delivery := await consumer.get(0)) is not None:
                        with delivery:
                            bodies.append(delivery.body)
        assert bodies == [0, 2]
        assert [take(store.broker, "dlq"), aside(store), seen] == [
            [BAD] if answer == "reject" else [],
            [BAD] if answer == "awaited" else [],
            [BAD] if answer == "plain" else [],
        ]
        assert ready(store.broker, "q") == 0

    async def test_an_iteration_raises_and_goes_on(self, queue, store):
        mixed(store)
        async with queue.consume() as consumer:
            assert await steps(consumer.iter(0)) == [0, DecodeError, 2]
        assert ready(store.broker, "q") == 3

    async def test_a_get_that_is_cancelled_there_returns_the_message(self, own, store):
        store.broker.send("q", BAD)
        asides = Asides(own)
        asides.go_on.clear()
        view = own.broker.queue("q", body=JSON, on_decode_error=asides)
        task = asyncio.create_task(view.get())
        await soon(asides.entered.wait())
        assert ready(store.broker, "q") == 0
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ready(store.broker, "q") == 1
        asides.go_on.set()
        assert await view.get() is None
        assert (aside(store), ready(store.broker, "q")) == ([BAD], 0)

    async def test_an_interrupt_in_a_codec_keeps_the_message_from_nobody(self, own, store):
        class Interrupted:
            encode = JSON.encode

            @staticmethod
            def decode(_data):
                raise KeyboardInterrupt

        store.broker.send("q", b"1")
        with pytest.raises(KeyboardInterrupt):
            await own.broker.queue("q", body=Interrupted()).get()
        assert ready(store.broker, "q") == 1

    async def test_what_the_answer_raises_is_as_if_the_work_had_failed(self, own, store):
        store.broker.send("q", BAD)
        asides = Asides(own)
        asides.fails = 1
        async with own.broker.queue("q", body=JSON, on_decode_error=asides).consume(on_error="reject") as consumer:
            with pytest.raises(RuntimeError, match="not now"):
                await consumer.get()
        assert take(store.broker, "dlq") == [BAD]

    async def test_looking_raises_or_leaves_out(self, own, queue, store):
        mixed(store)
        with pytest.raises(DecodeError):
            await queue.peek()
        tolerant = own.broker.queue("q", body=JSON, on_decode_error=Asides(own))
        assert [one.body for one in await tolerant.peek()] == [0, 2]
        assert aside(store) == [BAD]
        for delivery in iter(lambda: store.broker.get("q"), None):
            delivery.ack()
        assert await steps(queue.history()) == [0, DecodeError, 2]
        assert await steps(tolerant.history(limit=2)) == [0]
        assert aside(store) == [BAD, BAD]

    @pytest.mark.parametrize("wrong", [None, "skip", 5])
    async def test_other_answers_are_refused(self, own, wrong):
        with pytest.raises(msglog.InvalidTypeError, match="on_decode_error must be 'raise', 'reject' or a callable"):
            own.broker.queue("q", on_decode_error=wrong)


class TestTransactions:
    async def test_views_stand_where_names_do(self, topic, queue, own, store):
        await queue.send("first")
        await topic.append("before")
        async with topic.consumer(group="g") as consumer, queue.consume() as source:
            await consumer.poll(0)
            delivery = await source.get()
            async with own.transaction() as tx:
                tx.append(topic, {"n": 1}, key="k")
                tx.append_many(topic, [2, 3])
                tx.send(queue, "second")
                tx.publish(own.broker.exchange("", body=TEXT), "q", "3")
                tx.publish_many(own.broker.exchange("", body=JSON), [("q", 4)])
                tx.ack(delivery)
                tx.commit_offsets(consumer)
            assert delivery.settled
            assert store.log.describe_group("g").offsets == {msglog.TopicPartition("t", 0): 1}
            async with own.transaction() as tx:
                tx.commit_offsets(consumer, (await consumer.poll(0))[0])
        assert store.log.describe_group("g").offsets == {msglog.TopicPartition("t", 0): 2}
        assert [one.value async for one in topic.read()] == ["before", {"n": 1}, 2, 3]
        assert [one.body for one in await queue.peek()] == ["second", 3, 4]

    async def test_what_does_not_encode_leaves_the_transaction_as_it_was(self, topic, queue, own):
        async with own.transaction() as tx:
            for call in (lambda: tx.append(topic, object()), lambda: tx.send(queue, object())):
                with pytest.raises(EncodeError):
                    call()
            tx.append(topic, 1)
        assert topic.end_offset() == 1

    async def test_views_of_another_store_are_refused(self, topic, queue):
        async with aio.Store(":memory:") as other, other.transaction() as tx:
            for call in (lambda: tx.append(topic, 1), lambda: tx.send(queue, 1)):
                with pytest.raises(msglog.InvalidOptionError, match="a view of the same store"):
                    call()


KINDS = ("consumer", "queue", "share")


class TestProcessing:
    def open(self, own, kind, answer):
        if kind == "queue":
            return own.broker.queue("q", body=JSON, on_decode_error=answer).consume()
        view = own.log.topic("t", value=JSON, on_decode_error=answer)
        return view.consumer(group="g") if kind == "consumer" else view.share_consumer(group="s")

    @pytest.mark.parametrize("kind", KINDS)
    async def test_handlers_get_objects_and_bad_bytes_are_dead_letters(self, own, store, kind, caplog):
        caplog.set_level(logging.CRITICAL)
        mixed(store)
        store.log.create_topic("out")
        out = own.log.topic("out", value=JSON)

        async def handler(tx, message):
            await asyncio.sleep(0)
            tx.append(out, [message.body if kind == "queue" else message.value])

        async with self.open(own, kind, "raise") as source:
            assert await soon(own.process(source, handler, retry=Retry(limit=0), timeout=0)) == 3
        assert [one.value async for one in out.read()] == [[0], [2]]
        letters = take(store.broker, "dlq") if kind == "queue" else [
            one.value for one in store.log.read("t.dead-letters")
        ]  # fmt: skip
        assert letters == [BAD]

    @pytest.mark.parametrize("kind", KINDS)
    async def test_or_are_left_out(self, own, store, kind):
        mixed(store)
        seen = []

        async def handler(_tx, message):
            seen.append(message.body if kind == "queue" else message.value)

        async with self.open(own, kind, Asides(own)) as source:
            assert await soon(own.process(source, handler, timeout=0)) == 3
        assert (seen, aside(store)) == ([0, 2], [BAD])
        assert store.log.topics() == ["bad", "t"]


async def test_views_need_an_open_store(tmp_path):
    with pytest.raises(msglog.ClosedError, match="was not opened"):
        aio.Log(tmp_path / "log").topic("t")
    with pytest.raises(msglog.ClosedError, match="was not opened"):
        aio.Broker(tmp_path / "broker").queue("q")
    with pytest.raises(msglog.InvalidTypeError, match="name"):
        async with aio.Log(":memory:") as log:
            log.topic(5)


async def test_a_view_belongs_to_its_store_and_has_one_of_threads(own, topic, queue, store):
    events = own.broker.exchange("amq.topic", body=JSON)
    for view in (topic, queue, events):
        assert view.store is own
        assert view.sync.name == view.name
        assert view.sync.store is store.log.store or view.sync.store.core is store.core
    await topic.append({"n": 1})
    assert [one.value for one in topic.sync.read()] == [{"n": 1}]


async def test_the_end_of_a_store_ends_consumers_of_views(tmp_path):
    own = await aio.Store(tmp_path / "store")
    await own.log.create_topic("t")
    await own.broker.declare_queue("q")
    consumer = own.log.topic("t", value=JSON).consumer(group="g")
    source = own.broker.queue("q", body=JSON).consume()
    waiting = [asyncio.create_task(consumer.poll()), asyncio.create_task(source.get())]
    await turns()
    await soon(own.close())
    await until(lambda: all(task.done() for task in waiting))
    assert source.closed
    for task in waiting:
        assert task.exception() is not None or not task.result()

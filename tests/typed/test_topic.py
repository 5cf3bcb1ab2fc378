"""A view of a topic: objects go in and come out, whoever reads, and bad bytes stop nobody."""

import logging

import pytest

import msglog
from msglog import JSON, TEXT, DecodeError, EncodeError, Record, Retry, TopicPartition
from support.callbacks import NO_CALLBACKS, RETURN_COROUTINES

BAD = b"{bad"
FIRST = TopicPartition("t", 0)


@pytest.fixture
def view(log):
    return log.topic("t", key=TEXT, value=JSON)


@pytest.fixture
def mixed(log, view):
    """A view of a topic whose second and fourth records do not decode."""
    for value in (b"0", BAD, b"2", BAD, b"4"):
        log.append("t", value)
    return view


def values(records):
    return [record.value for record in records]


def drain(step):
    """Take until nothing comes, over all errors; return values and the offsets of bad records."""
    good, bad = [], []
    while True:
        try:
            records = step()
        except DecodeError as error:
            bad.append(error.record.offset)
            continue
        if not records:
            return good, bad
        good += values(records)


def stepping(iterator):
    return lambda: [record] if (record := next(iterator, None)) is not None else []


class TestAppending:
    @pytest.mark.usefixtures("clock")
    def test_a_record_has_what_was_given(self, log, view):
        where = view.append({"a": 1}, key="k", headers={"h": b"x"}, timestamp_ms=5)
        assert where == (*FIRST, 0, 5, False)
        assert next(log.read("t")) == Record("t", 0, 0, 5, b"k", b'{"a":1}', (("h", b"x"),))
        record = next(view.read())
        assert (record.key, record.value, record.raw) == ("k", {"a": 1}, next(log.read("t")))
        assert (record.topic, record.partition, record.offset, record.timestamp_ms) == (*FIRST, 0, 5)
        assert record.headers == (("h", b"x"),)

    def test_none_is_a_tombstone_and_no_key(self, log, view):
        view.append(None)
        view.append_many([None, 1], keys=["k", None])
        assert [(r.key, r.value) for r in log.read("t")] == [(None, None), (b"k", None), (None, b"1")]
        records = list(view.read())
        assert [(r.key, r.value, r.tombstone) for r in records] == [
            (None, None, True),
            ("k", None, True),
            (None, 1, False),
        ]

    def test_a_null_is_told_from_a_tombstone(self, log, view):
        log.append("t", b"null")
        record = next(view.read())
        assert (record.value, record.tombstone) == (None, False)

    @pytest.mark.usefixtures("view")
    def test_all_options_reach_the_log(self, log):
        log.create_topic("many", partitions=3)
        many = log.topic("many", key=TEXT, value=JSON)
        chosen = many.partition_for("k")
        other = (chosen + 1) % 3
        assert many.append(1, partition=other, expected_offset=0).partition == other
        with pytest.raises(msglog.OffsetConflictError):
            many.append(1, partition=other, expected_offset=0)
        assert many.append_many([1, 2], key="k", expected_key_offset=-1) == {chosen: range(2)}
        assert many.append_many([3], headers=[{"h": None}], timestamps_ms=[7], partition=other) == {other: range(1, 2)}
        assert [record.raw for record in many.read(other, start=1, stop=9, max_records=5)] == [
            Record("many", other, 1, 7, None, b"3", (("h", None),))
        ]
        assert values(many.read_key("k", partition=chosen, start=1)) == [2]
        assert many.last_record("k", partition=other) is None
        assert (many.start_offset(other), many.end_offset(other), many.offset_at(0, partition=other)) == (0, 2, 0)

    @pytest.mark.parametrize(
        "call",
        [
            lambda view: view.append(object()),
            lambda view: view.append(1, key=5),
            lambda view: view.append_many([1, 2, object()]),
            lambda view: view.append_many([1, 2], keys=["a", 5]),
            lambda view: view.append_many([1, 2], key=5),
            lambda view: view.append_many(iter([1, object()])),
        ],
    )
    def test_what_does_not_encode_appends_nothing(self, log, view, call):
        with pytest.raises(EncodeError):
            call(view)
        assert log.end_offset("t") == 0

    def test_the_error_says_which_object_it_is(self, view):
        with pytest.raises(EncodeError) as caught:
            view.append_many([1, 2, object()])
        assert (caught.value.part, caught.value.option) == ("value", "values[2]")
        with pytest.raises(EncodeError) as caught:
            view.append_many([1], keys=[b"k"])
        assert (caught.value.part, caught.value.option) == ("key", "keys[0]")

    @pytest.mark.parametrize("wrong", ["text", b"bytes", {"a": 1}, 5, None])
    def test_many_values_are_an_iterable_of_objects(self, log, view, wrong):
        with pytest.raises(msglog.InvalidTypeError, match="values must be an iterable of objects"):
            view.append_many(wrong)
        assert log.end_offset("t") == 0

    def test_a_view_without_codecs_has_bytes(self, log):
        view = log.topic("t")
        view.append(b"v", key=b"k")
        record = next(view.read())
        assert (record.key, record.value) == (b"k", b"v")
        with pytest.raises(EncodeError):
            view.append("text")

    @pytest.mark.usefixtures("log")
    def test_a_named_producer_writes_once(self, view):
        with view.producer("p") as producer:
            assert producer.append({"a": 1}, key="k", sequence=0).duplicate is False
            assert producer.append({"a": 1}, key="k", sequence=0).duplicate is True
            assert producer.append_many([2, None], keys=["a", "b"], first_sequence=1) == {0: range(1, 3)}
            assert (producer.name, producer.last_sequence) == ("p", 2)
            with pytest.raises(EncodeError):
                producer.append(object())
        with pytest.raises(msglog.ClosedError):
            producer.append(1)
        assert values(view.read()) == [{"a": 1}, 2, None]

    def test_one_producer_appends_to_several_topics(self, log, view):
        log.create_topic("u")
        other = log.topic("u", value=TEXT)
        with log.producer("p") as producer:
            with view.producer(producer) as first, other.producer(producer) as second:
                first.append(1)
                second.append("x")
            assert producer.last_sequence == 1  # and is not closed
        assert (values(view.read()), values(other.read())) == ([1], ["x"])


class TestBadBytes:
    def test_the_error_carries_the_record(self, log, view):
        where = log.append("t", b"secret", key=b"k", headers={"h": b"x"})
        with pytest.raises(DecodeError) as caught:
            next(view.read())
        error = caught.value
        assert (error.record, error.record.offset) == (next(log.read("t")), where.offset)
        assert (error.part, error.codec, error.delivery) == ("value", "JSON", None)
        assert "secret" not in str(error)
        assert (
            str(error)
            == "the value of topic 't' partition 0 offset 0 (6 bytes) does not decode with JSON: JSONDecodeError"
        )

    def test_a_bad_key_is_told_as_one(self, log, view):
        log.append("t", b"1", key=b"\xff")
        with pytest.raises(DecodeError) as caught:
            next(view.read())
        assert (caught.value.part, caught.value.codec) == ("key", "TEXT")

    def test_a_for_loop_ends_with_the_error(self, mixed):
        seen = []
        with pytest.raises(DecodeError):
            seen.extend(record.value for record in mixed.read())
        assert seen == [0]

    def test_reading_goes_on_behind_it(self, mixed):
        assert drain(stepping(mixed.read())) == ([0, 2, 4], [1, 3])

    def test_so_do_the_records_of_a_key(self, log, view):
        for value in (b"0", BAD, b"2"):
            log.append("t", value, key=b"k")
        assert drain(stepping(view.read_key("k"))) == ([0, 2], [1])
        assert view.last_record("k").value == 2
        assert view.last_record("none") is None
        log.append("t", BAD, key=b"k")
        with pytest.raises(DecodeError):
            view.last_record("k")

    def test_a_consumers_iteration_goes_on_behind_it(self, mixed):
        with mixed.consumer(group="g") as consumer:
            assert drain(stepping(consumer.iter(0))) == ([0, 2, 4], [1, 3])
            consumer.commit()
            assert consumer.committed(FIRST) == 5

    @pytest.mark.parametrize("most", [1, 2, 3, 500])
    def test_a_poll_returns_what_comes_before_and_then_raises(self, mixed, most):
        with mixed.consumer(group="g") as consumer:
            assert drain(lambda: consumer.poll(0, most)) == ([0, 2, 4], [1, 3])

    def test_positions_never_cover_what_nobody_got(self, mixed):
        with mixed.consumer(group="g") as consumer:
            assert values(consumer.poll(0)) == [0]
            consumer.commit()
            assert (consumer.position(FIRST), consumer.committed(FIRST)) == (1, 1)
            with pytest.raises(DecodeError):
                consumer.poll(0)
            assert (consumer.position(FIRST), consumer.committed(FIRST)) == (2, 1)
            consumer.commit()
            assert consumer.committed(FIRST) == 2
            consumer.seek(FIRST, 1)
            with pytest.raises(DecodeError):
                consumer.poll(0)
            assert values(consumer.poll(0)) == [2]

    def test_several_partitions_lose_nothing(self, log):
        log.create_topic("many", partitions=3)
        for number in range(30):
            log.append("many", BAD if number % 7 == 3 else b"%d" % number, partition=number % 3)
        with log.topic("many", value=JSON).consumer(group="g") as consumer:
            good, bad = drain(lambda: consumer.poll(0))
        assert sorted(good) == [number for number in range(30) if number % 7 != 3]
        assert len(bad) == 4

    def test_auto_commit_covers_what_was_told(self, mixed):
        def fail_at_the_second():
            with mixed.consumer(group="g", auto_commit=True) as consumer:
                consumer.poll(0)
                consumer.poll(0)

        with pytest.raises(DecodeError):
            fail_at_the_second()
        with mixed.consumer(group="g", auto_commit=True) as consumer:
            # A block that ends by an exception has not finished what is in hand.
            assert consumer.committed(FIRST) == 1
            assert drain(lambda: consumer.poll(0)) == ([2, 4], [1, 3])
            assert consumer.committed(FIRST) == 5

    def test_retention_may_take_what_is_to_be_read_again(self, mixed, log, monkeypatch):
        with mixed.consumer(group="g") as consumer:
            decode = JSON.decode

            def trim_meanwhile(data):
                if data == BAD:
                    log.delete_records("t", 0, 2)
                return decode(data)

            monkeypatch.setattr(consumer._codec._value, "decode", trim_meanwhile)
            assert drain(lambda: consumer.poll(0)) == ([0, 2, 4], [3])

    def test_an_interrupted_poll_takes_nothing(self, mixed, monkeypatch):
        with mixed.consumer(group="g") as consumer:
            with monkeypatch.context() as patch:
                patch.setattr(consumer._codec._value, "decode", interrupt_at(b"2"))
                assert values(consumer.poll(0, 1)) == [None]
                with pytest.raises(KeyboardInterrupt):
                    consumer.poll(0)
                assert consumer.position(FIRST) == 1
            assert drain(lambda: consumer.poll(0)) == ([2, 4], [1, 3])


def interrupt_at(data):
    def decode(given):
        if given == data:
            raise KeyboardInterrupt

    return decode


class TestLeavingOut:
    @pytest.mark.usefixtures("mixed")
    def test_skip_logs_and_goes_on(self, log, caplog):
        view = log.topic("t", value=JSON, on_decode_error="skip")
        assert values(view.read()) == [0, 2, 4]
        assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
        assert "offset 1" in caplog.messages[0]
        with view.consumer(group="g") as consumer:
            assert values(consumer.poll(0)) == [0, 2, 4]
            consumer.seek_to_beginning()
            assert values(consumer.iter(0)) == [0, 2, 4]
            assert consumer.poll(0) == []

    @pytest.mark.usefixtures("mixed")
    def test_a_callable_gets_the_error(self, log):
        log.create_topic("bad")
        view = log.topic("t", value=JSON, on_decode_error=lambda error: log.append("bad", error.record.value))
        assert values(view.read()) == [0, 2, 4]
        assert values(log.read("bad")) == [BAD, BAD]

    @pytest.mark.usefixtures("mixed")
    def test_what_a_callable_raises_goes_on_to_the_reader(self, log):
        def stop(error):
            raise RuntimeError("enough") from error

        view = log.topic("t", value=JSON, on_decode_error=stop)
        records = view.read()
        assert next(records).value == 0
        with pytest.raises(RuntimeError, match="enough"):
            next(records)
        assert next(records).value == 2
        with view.consumer(group="g") as consumer:
            assert values(consumer.poll(0)) == [0]
            with pytest.raises(RuntimeError, match="enough"):
                consumer.poll(0)
            assert values(consumer.poll(0)) == [2]

    @pytest.mark.usefixtures("mixed")
    def test_what_a_callable_raises_never_passes_for_the_end(self, log):
        def empty(_):
            raise StopIteration

        view = log.topic("t", value=JSON, on_decode_error=empty)
        with view.consumer(group="g") as consumer, view.share_consumer(group="s") as share:
            for records in (view.read(), consumer.iter(0), share.iter(0)):
                assert next(records).value == 0
                with pytest.raises(RuntimeError, match="StopIteration"):
                    next(records)
                assert next(records).value == 2

    def test_a_poll_waits_on_when_all_is_left_out(self, log, monkeypatch):
        view = log.topic("t", value=JSON, on_decode_error="skip")
        log.append("t", BAD)
        with view.consumer(group="g") as consumer:
            tell = view.codec.tell
            monkeypatch.setattr(view.codec, "tell", lambda error: [tell(error), log.append("t", b"1")])
            assert values(consumer.poll(60)) == [1]

    @pytest.mark.parametrize("wrong", [None, "reject", 5])
    def test_other_answers_are_refused(self, log, wrong):
        with pytest.raises(msglog.InvalidTypeError, match="on_decode_error must be 'raise', 'skip' or a callable"):
            log.topic("t", on_decode_error=wrong)

    def test_a_callable_whose_call_does_nothing_is_refused(self, log):
        async def coroutine(error): ...

        def of_two(error, _more): ...

        for wrong in (coroutine, of_two):
            with pytest.raises(
                msglog.InvalidTypeError, match="on_decode_error must be a callable that takes a DecodeError"
            ):
                log.topic("t", on_decode_error=wrong)

    @pytest.mark.usefixtures("mixed")
    def test_a_callable_that_returns_a_coroutine_has_not_dealt_with_it(self, log):
        records = log.topic("t", value=JSON, on_decode_error=RETURN_COROUTINES[0]).read()
        assert next(records).value == 0
        with pytest.raises(msglog.InvalidTypeError, match=r"on_decode_error must .* not one that returns a coroutine"):
            next(records)


class TestShareGroups:
    def test_records_are_settled_one_by_one(self, view):
        view.append_many([1, 2, 3], keys=["a", "b", "c"])
        with view.share_consumer(group="s") as consumer:
            first, second, third = consumer.poll(0)
            assert (first.key, first.value, first.delivery_count, first.settled) == ("a", 1, 1, False)
            assert (first.topic, first.partition, first.offset, first.tombstone) == ("t", 0, 0, False)
            first.ack()
            second.reject()
            third.release()
            assert (first.settled, second.settled) == (True, True)
            (again,) = consumer.poll(0)
            assert (again.value, again.delivery_count, again.raw.offset) == (3, 2, 2)
            again.ack()
            assert consumer.poll(0) == []

    @pytest.mark.parametrize("most", [1, 2, 500])
    def test_bad_bytes_are_in_hand(self, mixed, log, most):
        with mixed.share_consumer(group="s") as consumer:
            assert drain(lambda: consumer.poll(0, most)) == ([0, 2, 4], [1, 3])
            assert log.describe_group("s").lag[FIRST] == 5  # nothing of it is settled

    def test_iteration_goes_on_behind_bad_bytes_which_can_be_settled(self, mixed, log):
        with mixed.share_consumer(group="s") as consumer:
            records = consumer.iter(0)
            next(records).ack()
            with pytest.raises(DecodeError) as caught:
                next(records)
            caught.value.record.reject()
            next(records).ack()
        assert log.describe_group("s").lag[FIRST] == 2

    @pytest.mark.usefixtures("mixed")
    def test_skip_rejects(self, log):
        view = log.topic("t", value=JSON, on_decode_error="skip")
        with view.share_consumer(group="s") as consumer:
            for record in consumer.iter(0):
                record.ack()
        assert log.describe_group("s").lag[FIRST] == 0

    @pytest.mark.usefixtures("mixed")
    def test_a_callable_may_settle_otherwise(self, log):
        view = log.topic("t", value=JSON, on_decode_error=lambda error: error.record.release())
        with view.share_consumer(group="s", delivery_limit=2) as consumer:
            assert sorted(record.value for record in consumer.iter(0)) == [0, 2, 4]

    def test_what_lies_behind_a_bad_record_keeps_its_first_delivery(self, mixed):
        with mixed.share_consumer(group="s") as consumer:
            seen = []
            while True:
                try:
                    records = consumer.poll(0)
                except DecodeError as error:
                    error.record.reject()
                    continue
                if not records:
                    break
                seen += [(record.value, record.delivery_count) for record in records]
        assert seen == [(0, 1), (2, 1), (4, 1)]


class TestSubscribing:
    def test_the_callback_gets_objects(self, view):
        view.append_many([1, 2], key="k")
        seen = []
        with view.subscribe(group="g", callback=lambda record: seen.append((record.key, record.value))) as subscription:
            assert subscription.wait_idle(60)
        assert seen == [("k", 1), ("k", 2)]

    def test_bad_bytes_count_as_a_callback_that_failed(self, mixed, clock, caplog):
        caplog.set_level(logging.CRITICAL, "msglog.subscription")
        seen = []
        retry = Retry(limit=1, delay_ms=10)
        with mixed.subscribe(group="g", callback=lambda record: seen.append(record.value), on_error=retry) as running:
            while not running.wait_idle(0.05):
                clock.advance(ms=10)
        assert seen == [0, 2, 4]

    @pytest.mark.usefixtures("mixed")
    def test_or_are_left_out_at_once(self, log):
        seen = []
        view = log.topic("t", value=JSON, on_decode_error="skip")
        with view.subscribe(group="g", callback=lambda record: seen.append(record.value)) as running:
            assert running.wait_idle(60)
        assert seen == [0, 2, 4]

    def test_the_callback_must_be_one(self, view):
        for callback in ("no", *NO_CALLBACKS):
            with pytest.raises(msglog.InvalidTypeError, match="callback"):
                view.subscribe(group="g", callback=callback)


class TestConsumer:
    @pytest.mark.usefixtures("log")
    def test_it_does_what_the_consumer_inside_does(self, view):
        view.append_many([0, 1, 2])
        assigned = []
        with view.consumer(
            group="g", auto_commit=False, on_assign=lambda consumer, tps: assigned.append((consumer, tps))
        ) as consumer:
            first = consumer.poll(0, 1)[0]
            assert assigned == [(consumer.raw, frozenset([FIRST]))]
            assert (consumer.group, consumer.auto_commit, consumer.stopped) == ("g", False, False)
            assert (consumer.assignment(), consumer.lag()) == (frozenset([FIRST]), {FIRST: 2})
            consumer.commit(first)
            assert consumer.committed(FIRST) == 1
            consumer.commit({FIRST: 0})
            consumer.seek_to_committed()
            assert consumer.position(FIRST) == 0
            consumer.seek_to_end(FIRST)
            assert consumer.poll(0) == []
            consumer.seek_to_beginning()
            consumer.pause()
            assert consumer.poll(0) == []
            consumer.resume()
            consumer.stop()
            assert list(consumer) == []
            assert consumer.stopped
        with pytest.raises(msglog.ClosedError):
            consumer.poll(0)

    def test_seeking_by_time(self, view):
        view.append_many([0, 1, 2], timestamps_ms=[10, 20, 30])
        with view.consumer() as consumer:
            consumer.seek_to_time(20)
            assert values(consumer.iter(0)) == [1, 2]


class TestTheView:
    def test_it_says_what_it_is(self, view):
        assert repr(view) == "<msglog.TypedTopic 't' key=TEXT value=JSON>"
        assert view.name == "t"
        view.append({"secret": 1}, key="hidden")
        record = next(view.read())
        assert "secret" not in repr(record)
        assert repr(record).startswith("TypedRecord(topic='t', partition=0, offset=0, ")
        with view.consumer() as consumer, view.share_consumer(group="s") as shares, view.producer("p") as producer:
            assert repr(consumer).startswith("<msglog.TypedConsumer <msglog.Consumer")
            assert repr(shares).startswith("<msglog.TypedShareConsumer <msglog.ShareConsumer")
            assert repr(shares.poll(0)[0]).startswith("TypedShareRecord(topic='t'")
            assert repr(producer).startswith("<msglog.TypedProducer topic='t' <msglog.Producer 'p'")

    def test_a_record_that_was_read_otherwise_is_decoded(self, log, view):
        view.append(5, key="k")
        assert view.decode(next(log.read("t"))).value == 5

    def test_the_topic_may_come_later(self, log):
        view = log.topic("later", value=JSON)
        with pytest.raises(msglog.TopicNotFoundError):
            view.append(1)
        log.create_topic("later")
        assert view.append(1).offset == 0

    def test_wrong_arguments_are_refused(self, log, view):
        with pytest.raises(msglog.InvalidTypeError, match="name must be the name of a topic"):
            log.topic(5)
        with pytest.raises(msglog.InvalidTypeError, match="key must be a codec"):
            log.topic("t", key=str)
        with pytest.raises(msglog.InvalidTypeError, match="key must be an object"):
            view.read_key(None)

    def test_a_closed_log_makes_no_views(self):
        log = msglog.Log(":memory:")
        view = log.topic("t")
        log.close()
        with pytest.raises(msglog.ClosedError):
            log.topic("t")
        with pytest.raises(msglog.ClosedError):
            view.append(b"x")

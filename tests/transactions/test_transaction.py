"""The life of a transaction: what is where after it, whose it is, and how it ends."""

# It is leaving the block that must raise, with all that is in it.
# ruff: noqa: PT012

import gc
import os
import threading

import pytest

import msglog
from msglog import TopicPartition, TransactionError, TransactionTooLargeError
from msglog.transactions import collecting
from support.brokers import Call, ready, take
from support.dumps import check_counts, difference, dump


@pytest.fixture
def t(any_store):
    any_store.log.create_topic("t", partitions=2)
    return "t"


@pytest.fixture
def q(any_store):
    return any_store.broker.declare_queue("q").name


def _values(log, topic="t", partition=0):
    return [record.value for record in log.read(topic, partition)]


def test_everything_is_there_after_the_block(any_store, t, q):
    log, broker = any_store.log, any_store.broker
    broker.send(q, b"work")
    log.append(t, b"input", partition=0)
    delivery = broker.get(q)
    with any_store.transaction() as tx:
        tx.append(t, b"a", partition=0)
        tx.publish("", q, b"b")
        tx.send(q, b"c")
        tx.publish_many("", [(q, b"d"), (q, b"e")])
        tx.ack(delivery)
        tx.commit_offsets("g", {TopicPartition(t, 0): 1})
    assert _values(log) == [b"input", b"a"]
    assert take(broker, q) == [b"b", b"c", b"d", b"e"]
    assert delivery.settled
    assert log.describe_group("g").offsets == {TopicPartition(t, 0): 1}
    check_counts(any_store)


def test_all_of_it_is_one_commit(any_store, t, q):
    any_store.broker.send(q, b"1")
    any_store.broker.send(q, b"2", delay_ms=10)
    delivery = any_store.broker.get(q)
    before = any_store.core.engine.commit_number
    with any_store.transaction() as tx:
        tx.append(t, b"a", partition=0)
        tx.append_many(t, [b"b", b"c"], partition=1)
        tx.send(q, b"d")
        tx.send(q, b"e", delay_ms=20)
        tx.ack(delivery)
        tx.commit_offsets("g", {TopicPartition(t, 0): 0})
    assert any_store.core.engine.commit_number == before + 1


def test_nothing_to_do_is_no_commit(any_store, t):
    before = any_store.core.engine.commit_number
    with any_store.transaction() as tx:
        pass
    assert tx.metadata == []
    with any_store.transaction() as tx:
        tx.append_many(t, [])
        tx.publish_many("", [])
        tx.commit_offsets("g", {})
        tx.publish("amq.direct", "nowhere", b"")
    assert tx.metadata == []
    assert any_store.core.engine.commit_number == before


def test_metadata_is_in_the_order_of_the_calls(any_store, clock):
    log = any_store.log
    log.create_topic("t", partitions=3)
    log.create_topic("stamped", timestamp_type="append")
    log.append("t", b"before", partition=1)
    now_ms = clock.now_ms()
    with any_store.transaction() as tx:
        tx.append("t", b"1", partition=1)
        tx.append("stamped", b"2", timestamp_ms=5)
        tx.append_many("t", [b"3", b"4", b"5"], keys=[b"a", b"b", b"a"], timestamps_ms=[7, 8, 9])
        tx.append("t", None, partition=1, key=b"k", headers=[("h", b"v")])
        clock.advance(ms=100)
    metadata = tx.metadata
    found = {(one.topic, one.partition, one.offset): one for one in metadata}
    values = []
    for one in metadata:
        (record,) = [record for record in log.read(one.topic, one.partition) if record.offset == one.offset]
        assert record.timestamp_ms == one.timestamp_ms
        assert not one.duplicate
        values.append(record.value)
    assert values == [b"1", b"2", b"3", b"4", b"5", None]
    assert len(found) == 6
    assert [one.timestamp_ms for one in metadata] == [now_ms, now_ms + 100, 7, 8, 9, now_ms]
    assert metadata[0].offset == 1


def test_metadata_is_a_list_of_its_own(any_store, t):
    with any_store.transaction() as tx:
        tx.append(t, b"1", partition=0)
    tx.metadata.clear()
    assert len(tx.metadata) == 1


def test_there_is_no_metadata_before_the_commit_nor_after_a_rollback(any_store, t):
    tx = any_store.transaction()
    with pytest.raises(TransactionError):
        tx.metadata  # noqa: B018 it raises
    with tx:
        tx.append(t, b"1", partition=0)
        with pytest.raises(TransactionError):
            tx.metadata  # noqa: B018 it raises
        tx.rollback()
    with pytest.raises(TransactionError, match="rolled back"):
        tx.metadata  # noqa: B018 it raises


def test_expected_offsets_count_what_the_transaction_appends(any_store, t):
    log = any_store.log
    with any_store.transaction() as tx:
        tx.append(t, b"1", partition=0, expected_offset=0)
        tx.append_many(t, [b"2", b"3"], partition=0, expected_offset=1)
        tx.append(t, b"4", partition=0, expected_offset=3)
    assert _values(log) == [b"1", b"2", b"3", b"4"]


def test_expected_key_offsets_are_about_what_was_there_before(any_store, t):
    log = any_store.log
    first = log.append(t, b"1", key=b"k")
    with any_store.transaction() as tx:
        tx.append(t, b"2", key=b"k", expected_key_offset=first.offset)
        tx.append(t, b"3", key=b"k", expected_key_offset=first.offset)
        tx.append(t, b"new", key=b"other", expected_key_offset=-1)
    assert [record.value for record in log.read_key(t, b"k")] == [b"1", b"2", b"3"]
    last = tx.metadata[1].offset
    with any_store.transaction() as tx:
        tx.append(t, b"4", key=b"k", expected_key_offset=last)
    assert [record.value for record in log.read_key(t, b"k")] == [b"1", b"2", b"3", b"4"]


class TestProducer:
    def test_records_get_its_sequence_numbers(self, any_store, t):
        producer = any_store.log.producer("p")
        producer.append(t, b"0", partition=0)
        with any_store.transaction(producer=producer) as tx:
            tx.append(t, b"1", partition=0)
            tx.append_many(t, [b"2", b"3"], partition=1)
            tx.append(t, b"4", partition=0, sequence=4)
        assert producer.last_sequence == 4
        producer.close()

    def test_what_was_written_before_is_a_duplicate_and_the_rest_is_done(self, any_store, t, q):
        producer = any_store.log.producer("p")

        def transact():
            with any_store.transaction(producer=producer) as tx:
                tx.append(t, b"0", partition=0, sequence=0)
                tx.append_many(t, [b"1", b"2"], partition=1, first_sequence=1)
                tx.send(q, b"m")
            return tx.metadata

        first = transact()
        again = transact()
        assert [one._replace(duplicate=False) for one in again] == first
        assert [one.duplicate for one in first] == [False] * 3
        assert [one.duplicate for one in again] == [True] * 3
        assert ready(any_store.broker, q) == 2
        with any_store.transaction(producer=producer) as tx:
            tx.append_many(t, [b"1", b"2"], partition=1, first_sequence=1)
            tx.append(t, b"3", partition=0)
        assert [(one.offset, one.duplicate) for one in tx.metadata] == [(0, True), (1, True), (1, False)]
        assert _values(any_store.log) == [b"0", b"3"]
        assert producer.last_sequence == 3
        producer.close()

    def test_a_number_twice_in_one_transaction(self, any_store, t):
        producer = any_store.log.producer("p")
        before = dump(any_store)
        with pytest.raises(msglog.GroupError), any_store.transaction(producer=producer) as tx:
            tx.append(t, b"0", partition=0, sequence=0)
            tx.append(t, b"0", partition=0, sequence=0)
        assert not difference(before, dump(any_store))
        assert producer.last_sequence == -1
        producer.close()

    def test_it_is_closed_meanwhile(self, any_store, t, q):
        producer = any_store.log.producer("p")
        before = dump(any_store)
        with pytest.raises(msglog.ClosedError), any_store.transaction(producer=producer) as tx:
            tx.append(t, b"0", partition=0)
            tx.send(q, b"1")
            producer.close()
        assert not difference(before, dump(any_store))

    def test_its_numbers_survive_a_rollback_unused(self, any_store, t):
        producer = any_store.log.producer("p")
        with any_store.transaction(producer=producer) as tx:
            tx.append(t, b"0", partition=0)
            tx.rollback()
        assert producer.append(t, b"0", partition=0, sequence=0).offset == 0
        producer.close()


class TestTheEnd:
    def test_an_exception_undoes_all_and_goes_on(self, any_store, t, q):
        any_store.broker.send(q, b"work")
        delivery = any_store.broker.get(q)
        before = dump(any_store)
        with pytest.raises(ZeroDivisionError), any_store.transaction() as tx:
            tx.append(t, b"1", partition=0)
            tx.send(q, b"2")
            tx.ack(delivery)
            tx.commit_offsets("g", {TopicPartition(t, 0): 0})
            raise ZeroDivisionError
        assert not difference(before, dump(any_store))
        assert not delivery.settled
        delivery.ack()

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_so_does_one_that_is_no_error(self, any_store, t, error):
        with pytest.raises(error), any_store.transaction() as tx:
            tx.append(t, b"1", partition=0)
            raise error
        assert _values(any_store.log) == []

    def test_rollback_ends_it(self, any_store, t, q):
        any_store.broker.send(q, b"work")
        delivery = any_store.broker.get(q)
        before = dump(any_store)
        with any_store.transaction() as tx:
            tx.append(t, b"1", partition=0)
            tx.ack(delivery)
            tx.rollback()
            for call in (lambda: tx.append(t, b"2"), tx.rollback, lambda: tx.ack(delivery)):
                with pytest.raises(TransactionError, match="was rolled back"):
                    call()
            delivery.ack()
        assert delivery.settled
        assert len(difference(before, dump(any_store))) == 2  # the queue and its cursor: the ack alone

    def test_after_a_rollback_another_one_begins_at_once(self, any_store, q):
        any_store.broker.send(q, b"work")
        delivery = any_store.broker.get(q)
        with any_store.transaction() as first:
            first.ack(delivery)
            first.rollback()
            second = any_store.transaction().__enter__()
            second.ack(delivery)
        # Leaving the first once more does not take from the second what is its own.
        with pytest.raises(msglog.SettlementError):
            delivery.ack()
        second.__exit__(None, None, None)
        assert delivery.settled

    def test_use_before_the_block_and_after_it(self, any_store, t):
        tx = any_store.transaction()
        with pytest.raises(TransactionError, match="has not begun"):
            tx.append(t, b"1")
        with tx:
            tx.append(t, b"1", partition=0)
        with pytest.raises(TransactionError, match="was committed"):
            tx.append(t, b"2")
        with pytest.raises(TransactionError, match="was committed"):
            tx.rollback()
        assert _values(any_store.log) == [b"1"]

    def test_use_after_it_failed(self, any_store, t):
        tx = any_store.transaction()
        with pytest.raises(msglog.OffsetConflictError), tx:
            tx.append(t, b"1", partition=0, expected_offset=9)
        with pytest.raises(TransactionError, match="has failed"):
            tx.append(t, b"2")

    def test_entering_twice(self, any_store, t):
        with any_store.transaction() as tx:
            tx.append(t, b"1", partition=0)
            with pytest.raises(TransactionError, match="cannot be entered again"):
                tx.__enter__()
        with pytest.raises(TransactionError, match="cannot be entered again"):
            tx.__enter__()
        assert _values(any_store.log) == [b"1"]

    def test_leaving_twice_does_nothing_more(self, any_store, t):
        with any_store.transaction() as tx:
            tx.append(t, b"1", partition=0)
        tx.__exit__(None, None, None)
        assert _values(any_store.log) == [b"1"]
        assert len(tx.metadata) == 1

    def test_one_that_became_too_large_cannot_be_left_in_silence(self, any_store, t, monkeypatch):
        monkeypatch.setattr(collecting, "MAX_COMMIT_BYTES", 1000)
        before = dump(any_store)
        with pytest.raises(TransactionError, match="has failed"), any_store.transaction() as tx:
            tx.append(t, b"1", partition=0)
            with pytest.raises(TransactionTooLargeError) as caught:
                tx.append(t, b"v" * 1000)
            assert caught.value.limit == 1000 < caught.value.size
            assert caught.value.outcome == "not_applied"
        assert not difference(before, dump(any_store))

    def test_repr_tells_how_it_stands(self, store):
        tx = store.transaction()
        assert "new" in repr(tx)
        with tx:
            assert "open" in repr(tx)
        assert "committed" in repr(tx)


class TestWhoseItIs:
    def test_transactions_do_not_nest(self, any_store, t):
        with any_store.transaction() as tx:
            tx.append(t, b"1", partition=0)
            with pytest.raises(TransactionError, match="do not nest"), any_store.transaction() as inner:
                inner.append(t, b"2", partition=0)
            tx.append(t, b"3", partition=0)
        assert _values(any_store.log) == [b"1", b"3"]

    def test_nor_by_another_handle_on_the_same_store(self, tmp_path):
        with msglog.Store(tmp_path / "s") as one, msglog.Store(tmp_path / "s") as other:
            with one.transaction(), pytest.raises(TransactionError, match="do not nest"):
                other.transaction().__enter__()
            with other.transaction():
                pass

    def test_two_stores_at_once(self, any_store, t):
        with msglog.Store(":memory:") as other:
            other.log.create_topic("u")
            with any_store.transaction() as tx, other.transaction() as second:
                tx.append(t, b"1", partition=0)
                second.append("u", b"2")
            assert _values(other.log, "u") == [b"2"]
        assert _values(any_store.log) == [b"1"]

    def test_each_thread_has_its_own(self, any_store, t):
        both_are_in = threading.Barrier(2)

        def work(value):
            with any_store.transaction() as tx:
                both_are_in.wait(10)
                tx.append(t, value, partition=0)

        calls = [Call(lambda value=value: work(value)) for value in (b"1", b"2")]
        for call in calls:
            call.result()
        assert sorted(_values(any_store.log)) == [b"1", b"2"]

    def test_another_thread_cannot_use_it(self, any_store, t, q):
        any_store.broker.send(q, b"work")
        delivery = any_store.broker.get(q)
        with any_store.transaction() as tx:
            for call in (
                lambda: tx.append(t, b"2", partition=0),
                lambda: tx.append_many(t, [b"2"]),
                lambda: tx.send(q, b"2"),
                lambda: tx.publish("", q, b"2"),
                lambda: tx.publish_many("", [(q, b"2")]),
                lambda: tx.ack(delivery),
                lambda: tx.nack(delivery),
                lambda: tx.reject(delivery),
                lambda: tx.commit_offsets("g", {TopicPartition(t, 0): 0}),
                tx.rollback,
            ):
                with pytest.raises(TransactionError, match="another thread or task"):
                    Call(call).result()
            tx.append(t, b"1", partition=0)
        assert _values(any_store.log) == [b"1"]
        assert ready(any_store.broker, q) == 0
        delivery.ack()

    def test_leaving_it_in_another_thread_ends_it(self, any_store, t, q):
        any_store.broker.send(q, b"work")
        delivery = any_store.broker.get(q)
        before = dump(any_store)
        tx = any_store.transaction().__enter__()
        tx.append(t, b"1", partition=0)
        tx.ack(delivery)
        with pytest.raises(TransactionError, match="another thread or task"):
            Call(lambda: tx.__exit__(None, None, None)).result()
        assert not difference(before, dump(any_store))
        delivery.ack()
        with any_store.transaction():
            pass

    def test_one_that_is_dropped_leaves_nothing_behind(self, any_store, t, q):
        log = any_store.log
        any_store.broker.send(q, b"work")
        log.append(t, b"shared", partition=0)
        consumer = log.share_consumer(t, group="share")
        (record,) = consumer.poll(0)
        delivery = any_store.broker.get(q)
        before = dump(any_store)
        tx = any_store.transaction().__enter__()
        tx.append(t, b"1", partition=0)
        tx.ack(delivery)
        tx.ack(record)
        del tx
        gc.collect()
        assert not difference(before, dump(any_store))
        delivery.ack()
        record.ack()
        with any_store.transaction() as tx:
            tx.append(t, b"2", partition=0)
        consumer.close()

    def test_a_generator_that_is_closed_inside_of_it(self, any_store, t):
        def work():
            with any_store.transaction() as tx:
                tx.append(t, b"1", partition=0)
                yield
                tx.append(t, b"2", partition=0)

        given_up = work()
        next(given_up)
        given_up.close()
        assert _values(any_store.log) == []
        for _ in work():
            with pytest.raises(TransactionError, match="do not nest"):
                any_store.transaction().__enter__()
        assert _values(any_store.log) == [b"1", b"2"]


class TestTheStore:
    def test_it_was_closed_in_the_block(self, tmp_path, clock):
        store = msglog.Store(tmp_path / "s", clock=clock)
        store.log.create_topic("t")
        tx = store.transaction()
        with pytest.raises(msglog.ClosedError), tx:
            tx.append("t", b"1")
            store.close()
        assert "failed" in repr(tx)
        with msglog.Store(tmp_path / "s", clock=clock) as store:
            assert _values(store.log) == []
            with store.transaction() as tx:
                tx.append("t", b"2")
            assert _values(store.log) == [b"2"]

    def test_a_method_after_it_was_closed(self, tmp_path):
        store = msglog.Store(tmp_path / "s")
        store.log.create_topic("t")
        with pytest.raises(msglog.ClosedError), store.transaction() as tx:
            store.close()
            tx.append("t", b"1")
        with pytest.raises(msglog.ClosedError):
            store.transaction()

    def test_it_reads_only(self, tmp_path):
        msglog.Store(tmp_path / "s").close()
        with msglog.Store(tmp_path / "s", readonly=True) as store, pytest.raises(msglog.ReadOnlyError):
            store.transaction()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_a_forked_child_can_do_nothing_with_it(self, tmp_path):
        with msglog.Store(tmp_path / "s") as store:
            store.log.create_topic("t")
            with store.transaction() as tx:
                tx.append("t", b"1")
                pid = os.fork()
                if pid == 0:
                    refused = 0
                    for call in (lambda: tx.append("t", b"2"), lambda: tx.__exit__(None, None, None)):
                        try:
                            call()
                        except msglog.ClosedError:
                            refused += 1
                        except BaseException:  # noqa: BLE001 nothing may leave the forked process
                            os._exit(99)
                    os._exit(refused)
                _, status = os.waitpid(pid, 0)
                assert os.waitstatus_to_exitcode(status) == 2
            assert _values(store.log) == [b"1"]

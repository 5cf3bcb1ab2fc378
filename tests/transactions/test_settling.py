"""A delivery between its transaction and `with delivery:`, its own methods, and its consumer's end."""

import gc
import threading

import pytest

import msglog
from msglog import SettlementError
from msglog.storage import Engine
from support.brokers import DEAD_LETTERED, Call, ready, take, take_one
from support.dumps import check_counts, unsettled

# It is leaving the block that must raise, with all that is in it.
# ruff: noqa: PT012, PT031


@pytest.fixture
def b(any_store):
    """A broker with a message in `q`, whose dead letters go to `dlq`."""
    broker = any_store.broker
    broker.declare_queue("dlq")
    broker.declare_queue("q", **DEAD_LETTERED)
    broker.declare_queue("out")
    broker.send("q", b"1")
    yield broker
    check_counts(any_store)


class TestWithDelivery:
    def test_around_a_transaction_that_settles_it(self, any_store, b):
        with b.get("q") as delivery, any_store.transaction() as tx:
            tx.send("out", b"2")
            tx.ack(delivery)
        assert delivery.settled
        assert [take(b, name) for name in ("q", "dlq", "out")] == [[], [], [b"2"]]

    def test_around_one_that_does_not(self, any_store, b):
        with b.get("q") as delivery, any_store.transaction() as tx:
            tx.send("out", b"2")
        assert delivery.settled
        assert ready(b, "q") == 0

    @pytest.mark.parametrize("on_error", ["requeue", "reject"])
    def test_around_one_that_an_exception_ends(self, any_store, b, on_error):
        with b.consume("q", on_error=on_error) as consumer:
            delivery = consumer.get(0)
            with pytest.raises(ZeroDivisionError), delivery, any_store.transaction() as tx:
                tx.ack(delivery)
                tx.send("out", b"2")
                raise ZeroDivisionError
            assert delivery.settled
        assert ready(b, "out") == 0
        assert take(b, "q" if on_error == "requeue" else "dlq") == [b"1"]

    def test_around_one_that_is_refused(self, any_store, b):
        any_store.log.create_topic("t")
        with b.consume("q", on_error="reject") as consumer:
            delivery = consumer.get(0)
            with pytest.raises(msglog.OffsetConflictError), delivery, any_store.transaction() as tx:
                tx.nack(delivery)
                tx.append("t", b"2", expected_offset=5)
        assert take_one(b, "dlq").body == b"1"

    def test_around_one_that_backs_off_by_default(self, any_store, b, clock):
        delivery = b.get("q")
        with pytest.raises(ZeroDivisionError), delivery, any_store.transaction() as tx:
            tx.ack(delivery)
            raise ZeroDivisionError
        assert b.get("q") is None
        clock.advance(ms=1000)
        assert take(b, "q") == [b"1"]

    def test_around_one_that_an_interrupt_ends(self, any_store, b):
        delivery = b.get("q")
        with pytest.raises(KeyboardInterrupt), delivery, any_store.transaction() as tx:
            tx.ack(delivery)
            raise KeyboardInterrupt
        assert take(b, "q") == [b"1"]

    def test_around_one_that_is_rolled_back(self, any_store, b):
        with b.get("q") as delivery, any_store.transaction() as tx:
            tx.reject(delivery)
            tx.rollback()
        assert delivery.settled
        assert [take(b, name) for name in ("q", "dlq")] == [[], []]

    def test_inside_of_a_transaction_that_settles_it(self, any_store, b):
        with any_store.transaction() as tx:
            with b.get("q") as delivery:
                tx.ack(delivery)
            assert not delivery.settled
            assert unsettled(any_store) == 1
        assert delivery.settled
        assert unsettled(any_store) == 0

    def test_inside_of_one_that_fails_later(self, any_store, b):
        with pytest.raises(ZeroDivisionError), any_store.transaction() as tx:
            with b.get("q") as delivery:
                tx.ack(delivery)
            raise ZeroDivisionError
        assert not delivery.settled
        delivery.ack()
        assert ready(b, "q") == 0

    def test_an_exception_in_it_leaves_it_to_the_transaction(self, any_store, b):
        with any_store.transaction() as tx:
            with pytest.raises(ZeroDivisionError), b.get("q") as delivery:
                tx.reject(delivery)
                raise ZeroDivisionError
            tx.send("out", b"2")
        assert delivery.settled
        assert (take(b, "dlq"), take(b, "out")) == ([b"1"], [b"2"])

    def test_inside_of_one_that_does_not_settle_it(self, any_store, b):
        with any_store.transaction() as tx:
            with b.get("q") as delivery:
                tx.send("out", delivery.body)
            assert delivery.settled  # at once: the transaction has no part in it
            tx.rollback()
        assert (ready(b, "q"), ready(b, "out")) == (0, 0)


@pytest.mark.parametrize("settle", ["ack", "nack", "reject"])
class TestTwice:
    def test_what_a_transaction_settles_nobody_else_does(self, any_store, b, settle):
        delivery = b.get("q")
        with any_store.transaction() as tx:
            tx.ack(delivery)
            with pytest.raises(SettlementError, match="part of a transaction"):
                getattr(delivery, settle)()
            with pytest.raises(SettlementError, match="part of a transaction"):
                getattr(tx, settle)(delivery)
        with pytest.raises(SettlementError, match="settled already"):
            getattr(delivery, settle)()
        assert (ready(b, "q"), ready(b, "dlq")) == (0, 0)

    def test_nor_another_transaction(self, any_store, b, settle):
        delivery = b.get("q")

        def other():
            with any_store.transaction() as second:
                getattr(second, settle)(delivery)

        with any_store.transaction() as tx:
            tx.ack(delivery)
            with pytest.raises(SettlementError, match="part of a transaction"):
                Call(other).result()
        assert delivery.settled

    def test_what_is_settled_a_transaction_does_not(self, any_store, b, settle):
        delivery = b.get("q")
        getattr(delivery, settle)()
        with any_store.transaction() as tx:
            with pytest.raises(SettlementError, match="settled already"):
                getattr(tx, settle)(delivery)
            tx.send("out", b"2")
        assert take(b, "out") == [b"2"]

    def test_share_records_alike(self, any_store, settle):
        any_store.log.create_topic("t")
        any_store.log.append("t", b"1")
        with any_store.log.share_consumer("t", group="g") as consumer:
            (record,) = consumer.poll(0)
            outside = "release" if settle == "nack" else settle
            with any_store.transaction() as tx:
                tx.reject(record)
                with pytest.raises(SettlementError, match="part of a transaction"):
                    getattr(record, outside)()
                with pytest.raises(SettlementError, match="part of a transaction"):
                    getattr(tx, settle)(record)
            with pytest.raises(SettlementError, match="already"):
                getattr(record, outside)()
            assert record.settled
            assert consumer.poll(0) == []


def test_auto_acknowledged_deliveries_are_settled(any_store, b):
    delivery = b.get("q", no_ack=True)
    with any_store.transaction() as tx, pytest.raises(SettlementError):
        tx.ack(delivery)


def test_threads_that_settle_the_same_delivery_in_transactions_of_their_own(any_store, b):
    """One of them has it, whichever way they meet."""
    b.publish_many("", [("q", b"%d" % number) for number in range(2, 41)])
    both = threading.Barrier(2)
    settled = []

    def work(deliveries):
        for delivery in deliveries:
            both.wait(10)
            try:
                with any_store.transaction() as tx:
                    tx.ack(delivery)
                    tx.send("out", delivery.body)
                settled.append(delivery.body)
            except SettlementError:
                pass

    deliveries = [b.get("q") for _ in range(40)]
    calls = [Call(lambda: work(deliveries)) for _ in range(2)]
    for call in calls:
        call.result()
    assert sorted(settled, key=int) == [b"%d" % number for number in range(1, 41)]
    assert sorted(take(b, "out"), key=int) == sorted(settled, key=int)
    assert unsettled(any_store) == 0


def test_a_consumer_that_was_closed_after_the_commit_gives_nothing_back(any_store, b):
    b.send("q", b"2")
    with b.consume("q") as consumer:
        first, second = consumer.get(0), consumer.get(0)
        with any_store.transaction() as tx:
            tx.ack(first)
    assert not second.settled
    assert take(b, "q") == [b"2"]


def test_a_consumer_that_is_dropped_lives_as_long_as_the_transaction_needs_its_deliveries(any_store, b):
    consumer = b.consume("q")
    with pytest.warns(ResourceWarning):
        with any_store.transaction() as tx:
            tx.ack(consumer.get(0))
            consumer.stop()
            del consumer
            gc.collect()
            assert unsettled(any_store) == 1
        gc.collect()
    assert unsettled(any_store) == 0
    assert ready(b, "q") == 0


def test_an_interrupt_in_the_wait_for_the_sync_wakes_who_waits_for_what_went_back(tmp_path, monkeypatch):
    with msglog.Store(tmp_path / "durable") as store:
        broker = store.broker
        broker.declare_queue("q")
        broker.send("q", b"1")
        delivery = broker.get("q")
        consumer = broker.consume("q")
        call = Call(consumer.get).until_asleep()
        wait = Engine.wait

        def interrupted(engine, number):
            monkeypatch.undo()
            wait(engine, number)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), store.transaction() as tx:
            tx.nack(delivery)
            monkeypatch.setattr(Engine, "wait", interrupted)
        assert call.result().body == b"1"
        consumer.close()
        check_counts(store)

"""Threads that move money by transactions: sums stay what they are, for everybody who looks, at any time."""

import random
import sys
import threading
import time
import types

import pytest

import msglog
from msglog import OffsetConflictError, SettlementError, TopicPartition
from support.brokers import Call
from support.children import child, line_from
from support.dumps import check_counts, unsettled
from support.scale import scaled
from support.telling import tell

THREADS = 8
MOVES = 25
ACCOUNTS = 4
COINS = 20


def _prepare(store):
    """A coin is a message in a queue; an account is a partition whose last record is its balance."""
    store.log.create_topic("accounts", partitions=ACCOUNTS)
    for account in range(ACCOUNTS):
        store.log.append("accounts", b"100", partition=account)
    for name in ("here", "there"):
        store.broker.declare_queue(name)
    store.broker.publish_many("", [("here", b"%d" % coin) for coin in range(COINS)])


def _balance(log, account):
    end = log.end_offset("accounts", account)
    (record,) = log.read("accounts", account, start=end - 1, stop=end)
    return end, int(record.value)


class Mover:
    """One thread's work, and how often it had to give way."""

    def __init__(self, store, seed):
        self.store = store
        self.chance = random.Random(seed)
        self.done = self.conflicts = 0

    def run(self):
        for _ in range(scaled(MOVES)):
            self.chance.choice((self.transfer, self.transfer, self.carry, self.pay_in, self.pay_out))()
            self.done += 1

    def transfer(self):
        """From one account to another, expecting that nobody else was there."""
        one, other = self.chance.sample(range(ACCOUNTS), 2)
        while True:
            (one_end, one_balance), (other_end, other_balance) = _balance(self.log, one), _balance(self.log, other)
            amount = self.chance.randint(0, max(0, one_balance))
            time.sleep(0)  # somebody else may be faster
            try:
                with self.store.transaction() as tx:
                    self.write(tx, one, one_end, one_balance - amount)
                    self.write(tx, other, other_end, other_balance + amount)
            except OffsetConflictError:
                self.conflicts += 1
            else:
                return

    def carry(self):
        """A coin from one queue to the other."""
        source, target = self.chance.sample(("here", "there"), 2)
        delivery = self.store.broker.get(source)
        if delivery is None:
            return
        with self.store.transaction() as tx:
            tx.send(target, delivery.body)
            tx.ack(delivery)
            if self.chance.random() < 0.3:
                tx.rollback()
        if not delivery.settled:
            delivery.nack()

    def pay_in(self):
        """A coin becomes one more in an account, or goes back if somebody else was there."""
        delivery = self.store.broker.get("here")
        if delivery is None:
            return
        account = self.chance.randrange(ACCOUNTS)
        end, balance = _balance(self.log, account)
        try:
            with delivery, self.store.transaction() as tx:
                tx.ack(delivery)
                self.write(tx, account, end, balance + 1)
        except OffsetConflictError:
            self.conflicts += 1

    def pay_out(self):
        """One less in an account becomes a coin."""
        account = self.chance.randrange(ACCOUNTS)
        end, balance = _balance(self.log, account)
        try:
            with self.store.transaction() as tx:
                tx.send("there", b"%d" % self.chance.randrange(1 << 30))
                self.write(tx, account, end, balance - 1)
        except OffsetConflictError:
            self.conflicts += 1

    @property
    def log(self):
        return self.store.log

    @staticmethod
    def write(tx, account, end, balance):
        tx.append("accounts", b"%d" % balance, partition=account, expected_offset=end)


@pytest.mark.parametrize("sync", ["none", "commit"])
def test_the_sum_of_all_money_stays(sync, tmp_path, record_property):
    total = 100 * ACCOUNTS + COINS
    with msglog.Store(tmp_path / "s", sync=sync) as store:
        _prepare(store)
        with child("auditor", str(tmp_path / "s"), str(total)) as auditor:
            assert line_from(auditor) == "looking"
            movers = [Mover(store, seed) for seed in range(THREADS)]
            for call in [Call(mover.run) for mover in movers]:
                call.result()
            auditor.stdin.write("end\n")
            auditor.stdin.flush()
            looked = int(line_from(auditor))
        assert looked > 0
        check_counts(store)
        money = sum(_balance(store.log, account)[1] for account in range(ACCOUNTS))
        waiting = {one.name: one.message_count for one in store.broker.queues()}
        held = unsettled(store)  # backing off
        assert money + sum(waiting.values()) + held == total
    with msglog.Store(tmp_path / "s", sync=sync) as store:
        money = sum(_balance(store.log, account)[1] for account in range(ACCOUNTS))
        assert money + sum(one.message_count for one in store.broker.queues()) == total
    done, conflicts = sum(mover.done for mover in movers), sum(mover.conflicts for mover in movers)
    tell(record_property, moves=done, conflicts=conflicts, looks=looked)


def test_a_group_moves_on_with_what_it_made(tmp_path, record_property):
    """Workers consume, transform and produce: each input once in the output, in order."""
    records = scaled(60)
    with msglog.Store(tmp_path / "s", sync="none") as store:
        store.log.create_topic("in", partitions=2)
        store.log.create_topic("out", partitions=2)

        def work():
            with store.log.consumer("in", group="g") as consumer:
                while done() < records:
                    batch = consumer.poll(0.05, max_records=5)
                    if not batch:
                        continue
                    try:
                        with store.transaction() as tx:
                            for record in batch:
                                tx.append("out", record.value, partition=record.partition)
                            tx.commit_offsets(consumer)
                    except msglog.GroupError:
                        consumer.seek_to_committed()

        def done():
            return sum(store.log.end_offset("out", partition) for partition in (0, 1))

        calls = [Call(work) for _ in range(3)]
        for number in range(records):
            store.log.append("in", b"%d" % number, partition=number % 2)
        for call in calls:
            call.result()
        for partition in (0, 1):
            expected = [b"%d" % number for number in range(partition, records, 2)]
            assert [record.value for record in store.log.read("out", partition)] == expected
            assert store.log.describe_group("g").offsets[TopicPartition("in", partition)] == len(expected)
    tell(record_property, records=records)


def test_consumers_that_close_while_transactions_settle_what_they_had(tmp_path, record_property):
    """A delivery is settled by its transaction, with what belongs to it, or is back in its queue without."""
    rounds = scaled(40)
    with msglog.Store(tmp_path / "s", sync="none") as store:
        broker = store.broker
        broker.declare_queue("in")
        broker.declare_queue("out")
        refused = 0
        for number in range(rounds):
            broker.send("in", b"%d" % number)
            consumer = broker.consume("in")
            delivery = consumer.get(0)
            go = threading.Event()
            closing = Call(lambda go=go, consumer=consumer: (go.wait(10), consumer.close()))
            try:
                with store.transaction() as tx:
                    tx.ack(delivery)
                    if number % 2:
                        go.set()
                        time.sleep(number % 4 / 10_000)  # which of the two is first is left to chance
                    tx.send("out", delivery.body)
                    go.set()
            except SettlementError:
                refused += 1
                assert not delivery.settled
            closing.result()
            again, out = broker.get("in", no_ack=True), broker.get("out", no_ack=True)
            assert (again is None) != (out is None)
            assert (again is None) == delivery.settled
        check_counts(store)
    tell(record_property, rounds=rounds, refused=refused)


@pytest.mark.parametrize("half", [types.ModuleType("asyncio"), None], ids=["being imported", "forbidden"])
def test_a_thread_commits_while_another_one_has_asyncio_only_half_imported(store, monkeypatch, half):
    store.log.create_topic("t")
    store.broker.declare_queue("q")
    monkeypatch.setitem(sys.modules, "asyncio", half)
    with store.transaction() as tx:
        tx.append("t", b"1")
        tx.publish("", "q", b"2")
    assert [record.value for record in store.log.read("t")] == [b"1"]
    assert [message.body for message in store.broker.peek("q")] == [b"2"]

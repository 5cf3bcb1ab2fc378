"""Transactions against a plain model, between direct calls, over reopening and killing the store."""

import shutil
import tempfile

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from msglog import OffsetConflictError, PublishRejectedError, Store, TopicPartition, UnroutableError
from msglog.testing import ManualClock
from support.dumps import check_counts

PARTITIONS = (TopicPartition("t", 0), TopicPartition("t", 1))
QUEUES = ("q", "r", "dlq")
LIMIT = 4
PARTS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from(PARTITIONS), st.booleans()),
        st.tuples(st.just("append_many"), st.sampled_from(PARTITIONS), st.integers(0, 3)),
        st.tuples(st.just("send"), st.sampled_from(QUEUES)),
        st.tuples(st.just("fanout")),
        st.tuples(st.just("full")),
        st.tuples(st.just("unroutable"), st.booleans()),
        st.tuples(st.sampled_from(("ack", "nack", "reject")), st.integers(0, 20)),
        st.tuples(st.just("commit"), st.sampled_from(PARTITIONS), st.integers(0, 3)),
        st.tuples(st.just("wrong"), st.sampled_from(PARTITIONS)),
    ),
    max_size=6,
)


class Model:
    """What there is: values, waiting bodies in order, offsets. What is in hand belongs to its queue's `held`."""

    def __init__(self):
        self.topics = {tp: [] for tp in PARTITIONS}
        self.queues = {name: [] for name in (*QUEUES, "full")}
        self.offsets = {}

    def copy(self):
        other = Model()
        other.topics = {tp: list(values) for tp, values in self.topics.items()}
        other.queues = {name: list(bodies) for name, bodies in self.queues.items()}
        other.offsets = dict(self.offsets)
        return other


class TransactionMachine(RuleBasedStateMachine):
    """Every body is unlike all others."""

    @initialize(sync=st.sampled_from(["none", "commit"]))
    def open(self, sync):
        self.root = tempfile.mkdtemp(prefix="msglog-machine-")
        self.copies = 0
        self.sync = sync
        self.clock = ManualClock()
        self.model = Model()
        self.held = []  # delivery and queue, unsettled
        self.number = 0
        self.store = self.opened()
        log, broker = self.store.log, self.store.broker
        log.create_topic("t", partitions=2)
        broker.declare_queue("dlq")
        broker.declare_queue("full", max_length=LIMIT, overflow="reject-publish")
        broker.declare_exchange("e", "fanout")
        for name in ("q", "r"):
            broker.declare_queue(name, dead_letter_exchange="", dead_letter_routing_key="dlq")
            broker.bind(name, "e")

    def opened(self):
        return Store(f"{self.root}/{self.copies}", sync=self.sync, clock=self.clock)

    def teardown(self):
        if hasattr(self, "store"):
            self.held.clear()
            self.store.close()
            shutil.rmtree(self.root)

    def body(self):
        self.number += 1
        return b"%06d" % self.number

    # Transactions

    @rule(parts=PARTS, end=st.sampled_from(["leave", "leave", "leave", "leave", "rollback", "raise"]))
    def transact(self, parts, end):
        after, gone = self.model.copy(), []
        expected = None
        metadata = []
        before = self.store.core.engine.commit_number
        try:
            with self.store.transaction() as tx:
                for part in parts:
                    expected = self.put(tx, after, gone, metadata, *part) or expected
                if end == "rollback":
                    tx.rollback()
                else:
                    1 // (end != "raise")
        except (OffsetConflictError, PublishRejectedError, UnroutableError):
            assert end == "leave"
            assert expected is not None
        except ZeroDivisionError:
            assert end == "raise"
        else:
            if end == "leave":
                assert expected is None
                assert [(one.topic, one.partition, one.offset) for one in tx.metadata] == metadata
                assert self.store.core.engine.commit_number <= before + 1
                self.model = after
                self.held = [one for one in self.held if one not in gone]
                assert all(delivery.settled for delivery, _ in gone)
                return
        assert self.store.core.engine.commit_number == before
        assert not any(delivery.settled for delivery, _ in self.held)

    def put(self, tx, after, gone, metadata, kind, *arguments):
        """Put a part into the transaction and into the model; return why it must be refused, if so."""
        if kind in ("append", "append_many"):
            tp, extra = arguments
            values = [self.body() for _ in range(extra if kind == "append_many" else 1)]
            end = len(after.topics[tp])
            if kind == "append":
                tx.append(tp.topic, values[0], partition=tp.partition, expected_offset=end if extra else None)
            else:
                tx.append_many(tp.topic, values, partition=tp.partition)
            metadata += [(*tp, end + place) for place in range(len(values))]
            after.topics[tp] += values
        elif kind == "send":
            after.queues[arguments[0]].append(self.body())
            tx.send(arguments[0], after.queues[arguments[0]][-1])
        elif kind == "fanout":
            body = self.body()
            tx.publish_many("e", [("", body)])
            after.queues["q"].append(body)
            after.queues["r"].append(body)
        elif kind == "full":
            body = self.body()
            tx.send("full", body)
            if len(after.queues["full"]) >= LIMIT:
                return "full"
            after.queues["full"].append(body)
        elif kind == "unroutable":
            tx.publish("amq.direct", "nowhere", self.body(), mandatory=arguments[0])
            return "unroutable" if arguments[0] else None
        elif kind == "commit":
            tp, back = arguments
            offset = max(0, len(self.model.topics[tp]) - back)
            tx.commit_offsets("g", {tp: offset})
            after.offsets[tp] = offset
        elif kind == "wrong":
            (tp,) = arguments
            tx.append(tp.topic, b"wrong", partition=tp.partition, expected_offset=len(after.topics[tp]) + 1)
            return "wrong"
        else:
            self.put_settlement(tx, after, gone, kind, *arguments)
        return None

    def put_settlement(self, tx, after, gone, kind, which):
        """Settle one of those in hand that the transaction does not settle yet."""
        left = [one for one in self.held if one not in gone]
        if left:
            one = left[which % len(left)]
            gone.append(one)
            getattr(tx, kind)(one[0])
            self.settled(after, kind, *one)

    @staticmethod
    def settled(model, kind, delivery, queue):
        if kind == "nack":
            model.queues[queue] = sorted([*model.queues[queue], delivery.body])
        elif kind == "reject" and queue != "dlq":
            model.queues["dlq"].append(delivery.body)

    # Direct calls

    @rule(tp=st.sampled_from(PARTITIONS))
    def append(self, tp):
        value = self.body()
        metadata = self.store.log.append(tp.topic, value, partition=tp.partition)
        assert metadata.offset == len(self.model.topics[tp])
        self.model.topics[tp].append(value)

    @rule(queue=st.sampled_from(QUEUES))
    def send(self, queue):
        self.model.queues[queue].append(self.body())
        self.store.broker.send(queue, self.model.queues[queue][-1])

    @rule(queue=st.sampled_from(QUEUES))
    def get(self, queue):
        delivery = self.store.broker.get(queue)
        waiting = self.model.queues[queue]
        assert (delivery is None) == (not waiting)
        if delivery is not None:
            assert delivery.body in waiting
            waiting.remove(delivery.body)
            self.held.append((delivery, queue))

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 20), kind=st.sampled_from(["ack", "nack", "reject"]))
    def settle(self, which, kind):
        one = self.held.pop(which % len(self.held))
        getattr(one[0], kind)()
        self.settled(self.model, kind, *one)

    @precondition(lambda self: self.model.queues["full"])
    @rule()
    def make_room(self):
        assert self.store.broker.get("full", no_ack=True).body == self.model.queues["full"].pop(0)

    # The end of a process

    def all_goes_back(self):
        for delivery, queue in self.held:
            self.settled(self.model, "nack", delivery, queue)
        self.held.clear()

    @rule()
    def reopen(self):
        self.all_goes_back()
        self.store.close()
        self.store = self.opened()

    @rule()
    def kill(self):
        killed, before = self.store, f"{self.root}/{self.copies}"
        killed.core.engine._syncer.stop()  # so that no file goes while the others are copied
        self.copies += 1
        shutil.copytree(before, f"{self.root}/{self.copies}")
        self.all_goes_back()
        killed.close()
        self.store = self.opened()

    @invariant()
    def all_is_as_the_model_has_it(self):
        if not hasattr(self, "store"):
            return
        log, broker = self.store.log, self.store.broker
        for tp, values in self.model.topics.items():
            assert [record.value for record in log.read(*tp)] == values
        for name, bodies in self.model.queues.items():
            found = [message.body for message in broker.peek(name, 1 << 20)]
            assert sorted(found) == sorted(bodies), name
        if self.model.offsets:
            assert log.describe_group("g").offsets == self.model.offsets
        check_counts(self.store)


TestTransactions = TransactionMachine.TestCase
TestTransactions.settings = settings(max_examples=12, stateful_step_count=30)

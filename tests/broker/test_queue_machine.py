"""A queue against a model that is a sorted list, in random steps: in memory and on disk, with ends of all kinds."""

import itertools
import tempfile
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from msglog.testing import ManualClock
from support.brokers import DEAD_LETTERED, Disk, ready, take

LEVELS = 3


class QueueMachine(RuleBasedStateMachine):
    """Messages are numbers; their places in the queue are (minus the priority, number of arrival)."""

    @initialize(sync=st.sampled_from(["none", "commit"]), levels=st.sampled_from([None, LEVELS]))
    def open(self, sync, levels):
        self.folder = tempfile.TemporaryDirectory()
        self.clock = ManualClock()
        self.disk = Disk(Path(self.folder.name), sync=sync, clock=self.clock)
        self.levels = levels
        self.broker.declare_queue("dlq")
        self.broker.declare_queue("q", max_priority=levels, history_ms=1 << 40, **DEAD_LETTERED)
        self.numbers = itertools.count()
        self.arrivals = itertools.count()
        self.ready = {}  # place: number
        self.held = {}  # place: (delivery, number)
        self.delayed = []  # (due, order of publishing, number, priority)
        self.away = []  # returned with delay: (due, place, number)
        self.delivered = set()  # since the opening
        self.ever_delivered = set()
        self.dead = []
        self.acknowledged = {}  # arrival: number
        self.otherwise_settled = {}

    @property
    def broker(self):
        return self.disk.broker

    def arrive(self, number, priority):
        level = min(priority, self.levels) if self.levels else 0
        self.ready[-level, next(self.arrivals)] = number

    @rule(priority=st.integers(0, LEVELS + 2))
    def send(self, priority):
        number = next(self.numbers)
        self.broker.send("q", b"%d" % number, priority=priority)
        self.arrive(number, priority)

    @rule(count=st.integers(0, 20))
    def send_many(self, count):
        numbers = [next(self.numbers) for _ in range(count)]
        assert self.broker.publish_many("", [("q", b"%d" % number) for number in numbers]) == count
        for number in numbers:
            self.arrive(number, 0)

    @rule(delay_ms=st.integers(1, 100), priority=st.integers(0, LEVELS))
    def send_later(self, delay_ms, priority):
        number = next(self.numbers)
        self.broker.send("q", b"%d" % number, delay_ms=delay_ms, priority=priority)
        self.delayed.append((self.clock.now_ms() + delay_ms, number, number, priority))

    @rule(count=st.integers(1, 5))
    def get(self, count):
        for _ in range(count):
            delivery = self.broker.get("q")
            if not self.ready:
                assert delivery is None
                return
            place = min(self.ready)
            number = self.ready.pop(place)
            assert int(delivery.body) == number
            if number in self.delivered:
                assert delivery.redelivered
            if number not in self.ever_delivered:
                assert (delivery.redelivered, delivery.delivery_count) == (False, 0)
            self.delivered.add(number)
            self.ever_delivered.add(number)
            self.held[place] = (delivery, number)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), how=st.sampled_from(["ack", "nack", "reject", "later"]))
    def settle(self, data, how):
        place = data.draw(st.sampled_from(sorted(self.held)))
        delivery, number = self.held.pop(place)
        if how == "ack":
            delivery.ack()
            self.acknowledged[place[1]] = number
        elif how == "nack":
            delivery.nack()
            self.ready[place] = number
        elif how == "reject":
            delivery.reject()
            self.dead.append(number)
            self.otherwise_settled[place[1]] = number
        else:
            delivery.nack(delay_ms=50)
            self.away.append((self.clock.now_ms() + 50, place, number))

    @precondition(lambda self: self.ready)
    @rule()
    def take_one(self):
        place = min(self.ready)
        number = self.ready.pop(place)
        assert int(self.broker.get("q", no_ack=True).body) == number
        self.acknowledged[place[1]] = number

    @rule()
    def purge(self):
        assert self.broker.purge_queue("q") == len(self.ready)
        self.otherwise_settled |= {place[1]: number for place, number in self.ready.items()}
        self.ready.clear()

    @rule(ms=st.integers(0, 60))
    def advance(self, ms):
        self.clock.advance(ms=ms)
        now_ms = self.clock.now_ms()
        for entry in sorted(self.delayed):
            if entry[0] <= now_ms:
                self.delayed.remove(entry)
                self.arrive(entry[2], entry[3])
        for entry in list(self.away):
            if entry[0] <= now_ms:
                self.away.remove(entry)
                self.ready[entry[1]] = entry[2]

    @rule(killed=st.booleans())
    def come_again(self, killed):
        (self.disk.crash if killed else self.disk.reopen)()
        for place, (_, number) in self.held.items():
            self.ready[place] = number
        for _, place, number in self.away:
            self.ready[place] = number
        self.held.clear()
        self.away.clear()
        self.delivered.clear()

    @rule()
    def read_dead_letters(self):
        assert [int(body) for body in take(self.broker, "dlq")] == self.dead
        self.dead.clear()

    @invariant()
    def what_is_ready_can_be_seen(self):
        if not hasattr(self, "disk"):
            return
        assert ready(self.broker, "q") == len(self.ready)
        peeked = [int(message.body) for message in self.broker.peek("q", 1000)]
        assert peeked == [self.ready[place] for place in sorted(self.ready)]

    @rule()
    def remember(self):
        remembered = [int(message.body) for message in self.broker.history("q")]
        # What was settled in other ways may be remembered, too.
        settled = self.acknowledged | self.otherwise_settled
        assert set(self.acknowledged.values()) <= set(remembered) <= set(settled.values())
        assert len(set(remembered)) == len(remembered)
        if self.levels is None:
            assert remembered == [number for _, number in sorted(settled.items()) if number in set(remembered)]

    def teardown(self):
        if hasattr(self, "disk"):
            self.broker.close()
            self.folder.cleanup()


TestQueueMachine = QueueMachine.TestCase

"""No message is lost and none is doubled, whatever limits a queue has and however its broker ends."""

import itertools
import tempfile
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from msglog import PublishRejectedError
from msglog.testing import ManualClock
from support.brokers import DEAD_LETTERED, Disk

LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "max_length": st.integers(0, 6),
        "max_length_bytes": st.integers(0, 12),
        "message_ttl_ms": st.integers(0, 100),
        "delivery_limit": st.integers(0, 2),
        "max_priority": st.just(3),
        "overflow": st.sampled_from(["drop-head", "reject-publish", "reject-publish-dlx"]),
        "history_ms": st.just(1000),
    },
)


class ConservationMachine(RuleBasedStateMachine):
    """Every message that was taken in is in one place: `q`, `dlq`, a hand, on its way, or done with."""

    @initialize(sync=st.sampled_from(["none", "interval", "commit"]), limits=LIMITS)
    def open(self, sync, limits):
        self.folder = tempfile.TemporaryDirectory()
        self.clock = ManualClock()
        self.disk = Disk(Path(self.folder.name), sync=sync, clock=self.clock)
        self.limits = limits
        self.broker.declare_queue("dlq")
        self.broker.declare_queue("q", **DEAD_LETTERED, **limits)
        self.numbers = itertools.count()
        self.taken_in = set()
        self.held = {}
        self.on_the_way = set()
        self.done = set()

    @property
    def broker(self):
        return self.disk.broker

    def seen(self, queue):
        return [int(message.body) for message in self.broker.peek(queue, 10_000)]

    @rule(
        priority=st.none() | st.integers(0, 3),
        expiration_ms=st.none() | st.integers(0, 50),
        delay_ms=st.none() | st.integers(1, 50),
    )
    def send(self, priority, expiration_ms, delay_ms):
        if delay_ms is not None and self.limits.get("overflow", "drop-head") != "drop-head":
            return  # a full queue could refuse it when it is due, and nobody would know
        number = next(self.numbers)
        options = {"priority": priority, "expiration_ms": expiration_ms, "delay_ms": delay_ms}
        try:
            self.broker.send("q", b"%d" % number, **options)
        except PublishRejectedError:
            if self.limits["overflow"] == "reject-publish":
                return
        self.taken_in.add(number)
        if delay_ms is not None:
            self.on_the_way.add(number)

    @rule(count=st.integers(1, 3))
    def get(self, count):
        for _ in range(count):
            delivery = self.broker.get("q")
            if delivery is None:
                return
            assert int(delivery.body) not in self.held
            self.held[int(delivery.body)] = delivery

    @precondition(lambda self: self.held)
    @rule(data=st.data(), how=st.sampled_from(["ack", "nack", "reject", "later"]))
    def settle(self, data, how):
        number = data.draw(st.sampled_from(sorted(self.held)))
        delivery = self.held.pop(number)
        if how == "later":
            delivery.nack(delay_ms=30)
            self.on_the_way.add(number)
        else:
            getattr(delivery, how)()
        if how == "ack":
            self.done.add(number)

    @rule()
    def purge(self):
        purged = self.seen("q")
        assert self.broker.purge_queue("q") == len(purged)
        self.done.update(purged)

    @rule(ms=st.integers(0, 60))
    def advance(self, ms):
        self.clock.advance(ms=ms)

    @rule(killed=st.booleans())
    def come_again(self, killed):
        (self.disk.crash if killed else self.disk.reopen)()
        self.held.clear()

    @invariant()
    def every_message_is_in_one_place(self):
        if not hasattr(self, "disk"):
            return
        self.broker.store.flush()  # what is not synced yet cannot be seen
        visible = self.seen("q") + self.seen("dlq")
        assert len(visible) == len(set(visible))
        assert not set(visible) & self.held.keys()
        assert not set(visible) & self.done
        self.on_the_way -= set(visible)
        assert self.taken_in == set(visible) | self.held.keys() | self.done | self.on_the_way

    def teardown(self):
        if hasattr(self, "disk"):
            self.clock.advance(seconds=1)
            self.every_message_is_in_one_place()
            assert not self.on_the_way
            self.broker.close()
            self.folder.cleanup()


TestConservationMachine = ConservationMachine.TestCase

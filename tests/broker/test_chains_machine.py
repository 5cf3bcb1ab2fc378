"""Several queues with limits, chained by dead letters, against a broker on paper, with ends of all kinds.

The store lies on a disk that loses, tears and reorders what was not synced: after a loss of power, with any sync mode,
what is there is a state that the paper went through, and none older than was promised.
"""

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from support.broker_session import BrokerSession, check_view, recover_view, small_broker_limits
from support.crash_images import crash_images
from support.faulty_filesystem import FaultyFileSystem

QUEUES = ("first", "second", "third", "end")
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "most": st.integers(0, 4),
        "limit": st.integers(0, 2),
        "ttl_ms": st.sampled_from([10, 30]),
    },
)
NAMES = st.sampled_from(QUEUES)


class ChainsMachine(RuleBasedStateMachine):
    """`first`, `second` and `third` have limits; dead letters go on to the next, to all, or to nobody."""

    @initialize(
        sync=st.sampled_from(["none", "interval", "commit"]),
        options=st.lists(OPTIONS, min_size=3, max_size=3),
        onward=st.lists(st.sampled_from([None, "next", "all"]), min_size=3, max_size=3),
        fanned=st.lists(NAMES, unique=True, min_size=1),
    )
    def open(self, sync, options, onward, fanned):
        self.limits = small_broker_limits()
        self.limits.__enter__()
        self.session = BrokerSession(sync)
        self.session.open()
        self.session.declare("end")
        self.session.declare_exchange("all", "fanout")
        for name, own, way in zip(QUEUES, options, onward, strict=False):
            dead = {None: None, "next": ("", QUEUES[QUEUES.index(name) + 1]), "all": ("all", "")}[way]
            # A message that expires may do so only when the store is opened again, and so live longer in the next
            # queue: only the end of a chain has a time to live. And only its beginning has a length: which messages are
            # dropped from several in a row depends on whose turn it is.
            if dead is not None:
                own.pop("ttl_ms", None)
            if name != QUEUES[0]:
                own.pop("most", None)
            self.session.declare(name, dead=dead, **own)
        for name in fanned:
            self.session.bind(name, "all")
        self.session.flush()  # a loss of power must leave what the other rules speak of

    @rule(name=NAMES, count=st.integers(1, 3), persistent=st.booleans())
    def send(self, name, count, persistent):
        self.session.send(name, count, persistent=persistent)

    @rule(size=st.sampled_from([10, 300, 1500]))
    def publish_to_all(self, size):
        self.session.publish("all", "", size=size)

    @rule(names=st.lists(NAMES, min_size=1, max_size=6))
    def publish_many(self, names):
        self.session.publish_many("", *names)

    @rule(name=NAMES, delay_ms=st.integers(1, 30))
    def send_later(self, name, delay_ms):
        if self.session.paper.queues[name].ttl_ms is not None:
            return  # it expires without a trace: after a loss of power nobody could tell whether it is still to come
        # What is due in the same millisecond is released in one commit, and what is too much goes after it. On paper
        # one follows the other, so dead letters stand elsewhere: only one message is due at a time here.
        paper = self.session.paper
        taken = {due_ms for due_ms, *_ in paper.delayed}
        while paper.now_ms + delay_ms in taken:
            delay_ms += 1
        self.session.send(name, delay_ms=delay_ms)

    @rule(name=NAMES, count=st.integers(1, 3))
    def get(self, name, count):
        self.session.get(name, count)

    @precondition(lambda self: any(self.session.held.values()))
    @rule(data=st.data(), how=st.sampled_from(["ack", "ack", "nack", "reject", "later"]))
    def settle(self, data, how):
        name = data.draw(st.sampled_from(sorted(name for name, held in self.session.held.items() if held)))
        which = data.draw(st.integers(0, len(self.session.held[name]) - 1))
        if how == "later":
            self.session.nack(name, which, delay_ms=20)
        else:
            getattr(self.session, how)(name, which)

    @rule(name=NAMES)
    def purge(self, name):
        self.session.purge(name)

    @rule(ms=st.integers(1, 25))
    def advance(self, ms):
        self.session.advance(ms)

    @rule()
    def flush(self):
        self.session.flush()

    @rule()
    def close_and_open(self):
        self.session.close()
        self.session.open()

    @rule()
    def kill_and_open(self):
        self.session.kill()
        self.session.open()

    @rule(seed=st.integers(0, 1 << 16))
    def lose_power(self, seed):
        """Go on with one of the trees that the disk may hold now."""
        session = self.session
        moment, disk = session.moment, session.filesystem.disk
        images = list(crash_images(disk.start, disk.operations, seed=seed, first=moment, each=1, chances=2))
        image = random.Random(seed).choice(images)
        now_ms = session.now_at(moment)
        tree = image.build()
        index = check_view(session.history, recover_view(tree, now_ms), moment, now_ms, killed=image.killed)
        paper = session.history._steps[index].state.copy()
        session.end()
        paper.crash()
        paper.now_ms = now_ms
        self.session = BrokerSession(
            session.sync, filesystem=FaultyFileSystem(tree), paper=paper, tag=f"{session.tag}{session.made}-"
        )
        self.session.open()

    @invariant()
    def what_waits_can_be_seen(self):
        if hasattr(self, "session"):
            self.session.check_open(self.session.paper)

    def teardown(self):
        if hasattr(self, "session"):
            self.session.end()
            self.limits.__exit__(None, None, None)


TestChainsMachine = ChainsMachine.TestCase
TestChainsMachine.settings = settings(max_examples=max(settings.default.max_examples // 2, 1), stateful_step_count=30)

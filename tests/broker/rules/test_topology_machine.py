"""The topology under any changes, against a plain list of bindings."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from msglog.broker.rules.topology import Topology
from support.routing import NaiveTopology, bound

EXCHANGES = st.sampled_from(["a", "b", "c", "d"])
QUEUES = st.sampled_from(["q", "r", "s"])
KEYS = st.lists(st.sampled_from(["*", "#", "a", "b", ""]), max_size=3).map(".".join) | QUEUES
ARGUMENTS = st.sampled_from(
    [{}, {"h": "1"}, {"h": None}, {"x-match": "any", "h": "1", "i": 2}, {"x-match": "any"}, {"h": 2}],
)
HEADERS = st.dictionaries(st.sampled_from("hi"), st.sampled_from(["1", 1, 2]), max_size=2)


class TopologyMachine(RuleBasedStateMachine):
    """Any changes: the topology routes, lists and lets go like a plain list of bindings does."""

    def __init__(self):
        super().__init__()
        self.topology = Topology()
        self.naive = NaiveTopology()

    @rule(name=EXCHANGES, type_=st.sampled_from(["direct", "fanout", "topic", "headers"]), auto_delete=st.booleans())
    def add_exchange(self, name, type_, auto_delete):
        self.topology.add_exchange(name, type_, auto_delete=auto_delete)
        if name not in self.naive.types:
            self.naive.types[name] = type_
            if auto_delete:
                self.naive.auto_delete.add(name)

    @rule(name=QUEUES)
    def add_queue(self, name):
        self.topology.add_queue(name)
        if name not in self.naive.queues:
            self.naive.queues.append(name)

    @rule(name=EXCHANGES, alternate=EXCHANGES | st.just("") | st.none())
    def set_alternate(self, name, alternate):
        if name in self.naive.types:
            self.topology.set_alternate(name, alternate)
            self.naive.alternates[name] = alternate

    @rule(name=EXCHANGES)
    def remove_exchange(self, name):
        gone = self.topology.remove_exchange(name)
        assert len(set(gone)) == len(gone)
        assert set(gone) == (self.naive.remove_exchange(name) if name in self.naive.types else set())

    @rule(name=QUEUES)
    def remove_queue(self, name):
        gone = self.topology.remove_queue(name)
        assert len(set(gone)) == len(gone)
        assert set(gone) == (self.naive.remove_queue(name) if name in self.naive.queues else set())

    @rule(source=EXCHANGES, key=KEYS, arguments=ARGUMENTS, data=st.data())
    def bind(self, source, key, arguments, data):
        exchanges = sorted(self.naive.types.keys() - {""})
        targets = [("queue", name) for name in self.naive.queues] + [("exchange", name) for name in exchanges]
        if source in exchanges and targets:
            kind, destination = data.draw(st.sampled_from(targets))
            binding = bound(source, destination, key, arguments, kind=kind)
            new = binding not in self.naive.bindings
            assert self.topology.bind(binding) is new
            if new:
                self.naive.bindings.append(binding)

    @rule(data=st.data())
    def unbind(self, data):
        if self.naive.bindings:
            binding = data.draw(st.sampled_from(self.naive.bindings))
            gone = self.topology.unbind(binding)
            assert len(set(gone)) == len(gone)
            assert set(gone) == self.naive.remove_bindings([binding])
            assert self.topology.unbind(binding) is None

    @rule(keys=st.lists(KEYS, min_size=1, max_size=2), headers=HEADERS)
    def route(self, keys, headers):
        for name in self.naive.types:
            routed = self.topology.route(name, keys, headers)
            assert len(set(routed)) == len(routed)
            assert set(routed) == self.naive.route(name, keys, headers)

    @invariant()
    def the_tables_agree(self):
        bindings = self.naive.bindings
        for name in "abcd":
            assert self.topology.has_exchange(name) is (name in self.naive.types)
            assert self.topology.bindings_from(name) == [b for b in bindings if b.source == name]
            into = [b for b in bindings if (b.kind, b.destination) == ("exchange", name)]
            assert self.topology.bindings_to(name, "exchange") == into
        assert sorted(map(repr, self.topology.bindings())) == sorted(map(repr, bindings))

    def teardown(self):
        for binding in self.topology.bindings():
            self.topology.unbind(binding)
        assert self.topology._incoming == {}
        for name in filter(self.topology.has_exchange, "abcd"):
            self.topology.set_alternate(name, None)
            assert self.topology.route(name, ["a", "b", "a.b", ""], {"h": "1"}) == ()


TopologyMachine.TestCase.settings = settings(max_examples=settings.default.max_examples * 3 // 2)  # its steps are quick
TestTopologyMachine = TopologyMachine.TestCase

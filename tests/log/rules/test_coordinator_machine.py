"""The group coordinator against a model: consumers poll, stall, leave, return and time out in any order."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from msglog.errors import FencedError, RebalanceError
from msglog.log.rules.assignors import ASSIGNORS
from msglog.log.rules.coordinator import Group, GroupState
from msglog.log.rules.membership import JoinRequest
from msglog.types import TopicPartition

topics = st.sampled_from(["a", "a", "ab", "ab", "abc", "bc", ""]).map(frozenset)
SESSION_MS = 100


class Client:
    """What a consumer knows: what it owns, under which generation, and what it was told to give up."""

    def __init__(self, member_id, wanted, instance_id):
        self.member_id = member_id
        self.topics = wanted
        self.instance_id = instance_id
        self.generation = -1
        self.owned = set()
        self.revoking = frozenset()
        self.fenced = False


class Machine(RuleBasedStateMachine):
    """Any number of clients of one group; `away` are the static members that have closed."""

    def __init__(self):
        super().__init__()
        self.now_ms = 0
        self.count = 0
        self.clients = []
        self.away = {}
        self.counts = {"a": 3, "b": 2}
        self.group = Group("g", self.counts)
        self.latest = 0

    @initialize(assignor=st.sampled_from(["cooperative-sticky", *ASSIGNORS]))
    def choose(self, assignor):
        self.assignor = assignor
        self.cooperative = ASSIGNORS[assignor].cooperative

    def teardown(self):
        self.settle()

    def live(self):
        known = {m.member_id for m in self.group.members()}
        return [c for c in self.clients if c.member_id in known]

    # What consumers do

    @precondition(lambda self: len(self.clients) < 5)
    @rule(wanted=topics, instance_id=st.none() | st.sampled_from("xy"), patience_ms=st.sampled_from([150, 1000]))
    def join(self, wanted, instance_id, patience_ms):
        self.count += 1
        self.group.expire(self.now_ms)
        members = {m.instance_id: m for m in self.group.members() if m.instance_id}
        former, generation = members.get(instance_id), self.group.generation
        stable = self.group.state is GroupState.STABLE
        member_id = f"m{self.count}"
        self.group.join(
            JoinRequest(
                member_id=member_id,
                topics=wanted,
                assignor=self.assignor,
                instance_id=instance_id,
                session_timeout_ms=SESSION_MS,
                max_poll_interval_ms=patience_ms,
            ),
            self.now_ms,
        )
        if former is None or not stable or former.topics != wanted:
            assert self.group.generation >= generation
        else:
            assert self.group.generation == generation
        if former is not None:
            self.away.pop(former.member_id, None)
            for client in self.clients:
                client.fenced |= client.member_id == former.member_id
        self.clients.append(Client(member_id, wanted, instance_id))

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def poll(self, data):
        self.sync(data.draw(st.sampled_from(self.clients), label="client"))

    def sync(self, client):
        """Let a client take one step, and check that it may."""
        if client.fenced:
            with pytest.raises(FencedError):
                self.group.sync(client.member_id, self.now_ms)
            self.clients.remove(client)
            return
        known = client in self.live()
        step = self.group.sync(client.member_id, self.now_ms)
        if step.lost:
            assert client not in self.live()
            self.clients.remove(client)
            return
        assert known
        assert not (step.revoke and step.assign)
        assert (step.generation != client.generation) or not step.assign
        assert step.revoke <= client.owned
        assert self.cooperative or step.revoke in (frozenset(), client.owned)
        assert not step.assign & client.owned
        client.revoking = step.revoke
        client.generation = step.generation
        client.owned |= step.assign

    @precondition(lambda self: any(c.revoking for c in self.clients))
    @rule(data=st.data())
    def confirm(self, data):
        self.give_up(data.draw(st.sampled_from([c for c in self.clients if c.revoking]), label="client"))

    def give_up(self, client):
        """Let a client commit what it is losing, as its callback would, and confirm."""
        if client in self.live():
            self.group.check_commit(client.member_id, client.generation, client.revoking)
        self.group.revoked(client.member_id, client.revoking)
        client.owned -= client.revoking
        client.revoking = frozenset()

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def close(self, data):
        client = data.draw(st.sampled_from(self.clients), label="client")
        self.group.leave(client.member_id, self.now_ms)
        self.clients.remove(client)
        if client.instance_id and any(m.member_id == client.member_id for m in self.group.members()):
            self.away[client.member_id] = client

    @precondition(lambda self: self.live())
    @rule(data=st.data(), wanted=topics)
    def subscribe(self, data, wanted):
        client = data.draw(st.sampled_from(self.live()), label="client")
        client.topics = wanted
        self.group.subscribe(client.member_id, wanted, self.now_ms)

    @precondition(lambda self: self.live())
    @rule(data=st.data())
    def heartbeat(self, data):
        client = data.draw(st.sampled_from(self.live()), label="client")
        assert self.group.heartbeat(client.member_id, self.now_ms) == (client in self.live())

    # What happens around them

    @rule(topic=st.sampled_from("abc"), count=st.integers(1, 5), delete=st.booleans())
    def change_topic(self, topic, count, delete):
        if delete:
            self.counts.pop(topic, None)
        else:
            self.counts[topic] = max(count, self.counts.get(topic, 0))
        self.group.set_partitions(self.counts)

    @rule(elapsed_ms=st.integers(1, 60), notice=st.booleans())
    def advance(self, elapsed_ms, notice):
        self.now_ms += elapsed_ms
        if notice:
            self.group.expire(self.now_ms)
            assert self.group.next_due() is None or self.group.next_due() > self.now_ms

    @rule()
    def settle(self):
        """Everybody polls and confirms: soon the group is stable and every partition owned."""
        self.group.expire(self.now_ms)
        for _ in range(2 * len(self.clients) + 3):
            for client in list(self.clients):
                self.sync(client)
                if client.revoking:
                    self.give_up(client)
        assert self.group.state is (GroupState.STABLE if self.group.members() else GroupState.EMPTY)
        held = {p for client in self.clients for p in client.owned}
        missing = {p for m in self.group.members() for p in self.wanted(m.topics)} - held
        kept = {m.member_id for m in self.group.members()} & self.away.keys()
        assert not missing or kept
        assert held == {p for client in self.clients for p in client.owned if p in self.wanted(client.topics)}

    def wanted(self, names):
        return {TopicPartition(t, n) for t in names if t in self.counts for n in range(self.counts[t])}

    # What always holds

    @invariant()
    def no_partition_has_two_owners(self):
        owned = [partition for client in self.live() for partition in client.owned]
        assert len(owned) == len(set(owned))

    @invariant()
    def the_group_and_its_members_agree_on_who_owns_what(self):
        described = {m.member_id: set(m.assignment) for m in self.group.members()}
        assert all(described[client.member_id] == client.owned for client in self.live())
        assert all(not described[member_id] for member_id in described.keys() & self.away.keys())

    @invariant()
    def owners_can_commit_and_others_cannot(self):
        live = self.live()
        for client in self.clients:
            if client not in live:
                with pytest.raises(FencedError):
                    self.group.check_commit(client.member_id, client.generation, client.owned)
                continue
            self.group.check_commit(client.member_id, client.generation, client.owned)
            for other in {TopicPartition("a", 0), TopicPartition("b", 1)} - client.owned:
                with pytest.raises((FencedError, RebalanceError)):
                    self.group.check_commit(client.member_id, client.generation, {other})

    @invariant()
    def generations_only_grow(self):
        assert self.group.generation >= self.latest
        assert all(client.generation <= self.group.generation for client in self.clients)
        self.latest = self.group.generation


Machine.TestCase.settings = settings(max_examples=settings.default.max_examples * 3 // 2)  # its steps are quick
TestMachine = Machine.TestCase

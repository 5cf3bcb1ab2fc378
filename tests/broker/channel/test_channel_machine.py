"""Two channels of one queue against a model of sets, in random steps: tags, order, limits, transactions."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import msglog
from msglog.testing import ManualClock

CHANNELS = st.integers(0, 1)


class Model:
    """One channel as it should be: messages in hand by tag, those a transaction settles, those it publishes."""

    def __init__(self):
        self.tag = 0
        self.held = {}
        self.seen = {}
        self.transactional = False
        self.settling = []
        self.publishing = []


class ChannelMachine(RuleBasedStateMachine):
    @initialize(quorum=st.booleans())
    def open(self, quorum):
        self.broker = msglog.Broker(":memory:", clock=ManualClock())
        arguments = {"x-queue-type": "quorum", "x-delivery-limit": -1} if quorum else None
        self.broker.declare_queue("q", arguments=arguments)
        self.channels = [self.broker.channel() for _ in range(2)]
        self.models = [Model() for _ in range(2)]
        self.ready = set()
        self.places = {}  # in the order of arrival
        self.returned = set()
        self.published = 0
        self.gone = set()
        self.quorum = quorum

    def teardown(self):
        if hasattr(self, "broker"):
            self.broker.close()

    @rule(which=CHANNELS)
    def publish(self, which):
        self.channels[which].basic_publish("", "q", b"%d" % self.published)
        model = self.models[which]
        if model.transactional:
            model.publishing.append(self.published)
        else:
            self.arrive(self.published)
        self.published += 1

    def arrive(self, number):
        self.places[number] = len(self.places)
        self.ready.add(number)

    @rule(which=CHANNELS)
    def get(self, which):
        got = self.channels[which].basic_get("q")
        if not self.ready:
            assert got is None
            return
        model, number = self.models[which], int(got.body)
        if not self.quorum:
            assert number == min(self.ready, key=self.places.get)
        assert got.redelivered == (number in self.returned)
        model.tag += 1
        assert got.delivery_tag == model.tag
        assert got.message_count == len(self.ready) - 1
        self.ready.remove(number)
        model.held[model.tag] = number

    @rule(which=CHANNELS, data=st.data(), multiple=st.booleans(), outcome=st.sampled_from(["ack", "nack", "reject"]))
    def settle(self, which, data, multiple, outcome):
        channel, model = self.channels[which], self.models[which]
        if not model.held:
            return
        tag = data.draw(st.sampled_from(sorted(model.held)))
        tags = [known for known in sorted(model.held) if known <= tag] if multiple else [tag]
        if outcome == "ack":
            channel.basic_ack(tag, multiple=multiple)
        else:
            channel.basic_nack(tag, multiple=multiple, requeue=outcome == "nack")
        settled = [(known, model.held.pop(known), outcome == "nack") for known in tags]
        if model.transactional:
            model.settling += settled
        else:
            self.apply(settled)

    def apply(self, settled):
        for _, number, requeue in settled:
            if requeue:
                self.ready.add(number)
                self.returned.add(number)
            else:
                self.gone.add(number)

    @rule(which=CHANNELS)
    def recover(self, which):
        self.channels[which].basic_recover()
        model = self.models[which]
        self.apply([(tag, number, True) for tag, number in model.held.items()])
        model.held.clear()

    @rule(which=CHANNELS)
    def select(self, which):
        self.channels[which].tx_select()
        self.models[which].transactional = True

    @precondition(lambda self: any(model.transactional for model in self.models))
    @rule(which=CHANNELS, commit=st.booleans())
    def end(self, which, commit):
        model = self.models[which]
        if not model.transactional:
            return
        if commit:
            self.channels[which].tx_commit()
            self.apply(model.settling)
            for number in model.publishing:
                self.arrive(number)
        else:
            self.channels[which].tx_rollback()
            model.held.update({tag: number for tag, number, _ in model.settling})
        model.settling, model.publishing = [], []

    @rule(which=CHANNELS)
    def close(self, which):
        self.channels[which].close()
        model = self.models[which]
        back = [*model.held.items(), *((tag, number) for tag, number, _ in model.settling)]
        self.apply([(tag, number, True) for tag, number in back])
        self.channels[which], self.models[which] = self.broker.channel(), Model()

    @invariant()
    def nothing_is_lost(self):
        if not hasattr(self, "broker"):
            return
        (info,) = self.broker.queues()
        assert info.message_count == len(self.ready)
        for channel, model in zip(self.channels, self.models, strict=True):
            assert sorted(channel._session.unsettled) == sorted(model.held)
            held = {id(holder): holder for holder, _ in channel._session.unsettled.values()}
            buffered = len(model.settling)
            assert sum(holder.unsettled for holder in held.values()) in range(
                len(model.held), len(model.held) + buffered + 1
            )


TestChannelMachine = ChannelMachine.TestCase

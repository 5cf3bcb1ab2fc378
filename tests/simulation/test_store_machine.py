"""Log, broker and transactions on one store against a plain model, with faults, crashes and reopening as rules.

The acts are those of the simulation; here Hypothesis chooses them and all that they draw, and so finds a short history
for whatever it breaks.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from support.simulated_life import Life

ENDS = {"kill", "lose power", "close"}


class StoreMachine(RuleBasedStateMachine):
    """Each rule is an act of one kind; the model checks what it returns, and all that is there after each end."""

    life: Life | None = None

    @initialize(chance=st.randoms(use_true_random=False))
    def begin(self, chance):
        self.life = Life(0, chance)
        self.life.begin()

    def act(self, data, *, among):
        acts = sorted(name for name in self.life.possible_acts() if among(name))
        self.life.step(data.draw(st.sampled_from(acts)))

    @precondition(lambda self: self.life)
    @rule(data=st.data())
    def do_something(self, data):
        self.act(data, among=lambda name: name not in ENDS)

    @precondition(lambda self: self.life and self.life.steps % 7 == 6)
    @rule(data=st.data())
    def end_and_begin_again(self, data):
        self.act(data, among=lambda name: name in ENDS)

    def teardown(self):
        if self.life is not None:
            try:
                self.life.see_it_through()
            finally:
                self.life.end()


StoreMachine.TestCase.settings = settings(max_examples=max(1, settings.default.max_examples * 4 // 5))
TestStoreMachine = StoreMachine.TestCase

"""Counts the steps that state machines really execute: Hypothesis decides how long each run is."""

from functools import wraps
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine


class _Count:
    executed = 0


def executed() -> int:
    """Return how many rules of state machines ran so far in this process."""
    return _Count.executed


def install() -> None:
    """Begin to count. Invariants are checked once before the first rule and once after each."""
    begin, check = RuleBasedStateMachine.__init__, RuleBasedStateMachine.check_invariants

    @wraps(begin)
    def counting_begin(self: Any, *arguments: Any, **options: Any) -> None:
        _Count.executed -= 1
        begin(self, *arguments, **options)

    @wraps(check)
    def counting_check(self: Any, *arguments: Any, **options: Any) -> None:
        _Count.executed += 1
        check(self, *arguments, **options)

    RuleBasedStateMachine.__init__ = counting_begin  # type: ignore[method-assign]
    RuleBasedStateMachine.check_invariants = counting_check  # type: ignore[method-assign]

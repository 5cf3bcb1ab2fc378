"""The line of those who would take a queue's next message: the order in which consumers are served.

Highest priority first, and within one priority in turn: who was served goes to the back. Pure: no clock, no threads;
used under the broker's lock, but for `wake`. Imported by `queue` and `dispatching`.
"""

from collections import deque
from collections.abc import Iterator
from typing import Protocol

from sortedcontainers import SortedDict

from msglog.broker.subscriber import Subscriber, Taken


class Taker(Protocol):
    """Somebody in line: a call of `get` that waits, or a channel's consumer with room for more.

    `in_line` is the line's: whether the taker is in it.
    """

    in_line: bool

    @property
    def priority(self) -> int:
        """The priority of its consumer."""

    @property
    def subscriber(self) -> Subscriber:
        """The consumer that it takes messages for."""

    def may_take(self) -> bool:
        """Whether it would take a message now."""

    def receive(self, taken: Taken) -> None:
        """Take a message; under the broker's lock."""

    def wake(self) -> None:
        """Make its thread look; takes no lock."""


class Line:
    """Takers in the order in which they are served.

    `front` is who may take the next message: what a publisher wakes without a lock. It is looked for anew whenever
    somebody joins, leaves, or may have become able to take more.
    """

    __slots__ = ("_alone", "_levels", "front")

    def __init__(self) -> None:
        # By falling priority; levels without takers are removed.
        self._levels: SortedDict[int, deque[Taker]] = SortedDict()
        # Who stands in line without others: most lines are no longer.
        self._alone: Taker | None = None
        self.front: Taker | None = None

    def join(self, taker: Taker) -> None:
        """Go to the end of one's level."""
        level = self._levels.get(-taker.priority)
        if level is None:
            level = self._levels[-taker.priority] = deque()
        level.append(taker)
        taker.in_line = True
        self._alone = taker if len(self) == 1 else None
        self.look()

    def pass_on(self, taker: Taker) -> None:
        """Go to the end of one's level, having been served."""
        if self._alone is None:
            level = self._levels[-taker.priority]
            level.remove(taker)
            level.append(taker)

    def leave(self, taker: Taker) -> bool:
        """Leave the line; return whether one was in it."""
        if not taker.in_line:
            return False
        taker.in_line = False
        level = self._levels[-taker.priority]
        level.remove(taker)
        if not level:
            del self._levels[-taker.priority]
        self._alone = next(iter(self)) if len(self) == 1 else None
        self.look()
        return True

    def look(self) -> Taker | None:
        """Find out who is served next, None when nobody may take a message."""
        alone = self._alone
        if alone is None:
            self.front = next((taker for taker in self if taker.may_take()), None)
        else:
            self.front = alone if alone.may_take() else None
        return self.front

    def wake(self) -> None:
        """Wake who is served next. Takes no lock: this is what a stream calls when it has grown."""
        front = self.front
        if front is not None:
            front.wake()

    def __iter__(self) -> Iterator[Taker]:
        for level in self._levels.values():
            yield from level

    def __bool__(self) -> bool:
        return bool(self._levels)

    def __len__(self) -> int:
        return sum(len(level) for level in self._levels.values())

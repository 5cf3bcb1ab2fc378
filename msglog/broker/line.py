"""The line of those who would take a queue's next message: the order in which consumers are served.

Highest priority first, and within one priority in turn: who was served goes to the back. Pure: no clock, no threads;
used under the broker's lock, but for `wake`. Imported by `queue` and `handing`.
"""

from collections.abc import Iterator
from typing import Protocol

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

    def kept(self, taken: Taken) -> bool:
        """After an interrupt of `receive`: whether the message was taken; if not, there is no trace of it."""

    def wake(self) -> None:
        """Make its thread look; takes no lock."""


class Line:
    """Takers in the order in which they are served.

    `front` is who may take the next message: what a publisher wakes without a lock. It is looked for anew whenever
    somebody joins, leaves, or may have become able to take more. The tuple of takers is replaced, never changed: so an
    interrupt leaves the line before a change or after it.
    """

    __slots__ = ("front", "takers")

    def __init__(self) -> None:
        self.takers: tuple[Taker, ...] = ()
        self.front: Taker | None = None

    def join(self, taker: Taker) -> None:
        """Go behind those of one's priority and of higher ones."""
        others = tuple(other for other in self.takers if other is not taker)
        place = len(others)
        while place and others[place - 1].priority < taker.priority:
            place -= 1
        self.takers = (*others[:place], taker, *others[place:])
        taker.in_line = True
        self.look()

    def pass_on(self, taker: Taker) -> None:
        """Go to the end of one's level, having been served."""
        if len(self.takers) > 1:
            self.join(taker)

    def leave(self, taker: Taker) -> bool:
        """Leave the line; return whether one was in it."""
        if self.takers == (taker,):  # nearly always, and it stands between a wake and its message
            self.takers, self.front = (), None
            taker.in_line = False
            return True
        was_there = taker in self.takers
        self.takers = tuple(other for other in self.takers if other is not taker)
        taker.in_line = False
        self.look()
        return was_there

    def look(self) -> Taker | None:
        """Find out who is served next, None when nobody may take a message."""
        for taker in self.takers:
            if taker.may_take():
                self.front = taker
                return taker
        self.front = None
        return None

    def wake(self) -> None:
        """Wake who is served next. Takes no lock: this is what a stream calls when it has grown."""
        front = self.front
        if front is not None:
            front.wake()

    def wake_all(self) -> None:
        """Have everybody in line look: after an exception, which may have come before they were served. Takes no lock.

        Not the front alone: it is found out under the lock, and so by those whom the exception kept from it.
        """
        for taker in self.takers:
            taker.wake()

    def __iter__(self) -> Iterator[Taker]:
        return iter(self.takers)

    def __bool__(self) -> bool:
        return bool(self.takers)

    def __len__(self) -> int:
        return len(self.takers)

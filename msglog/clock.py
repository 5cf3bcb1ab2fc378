"""The clock of a store: the only place time comes from, so that a test can move it by hand.

Wall time stamps records and decides retention; monotonic time drives timeouts. `ManualClock` is both at once.
Imports `checks` and `errors` only. Timers that hang on a clock are in `waiting`.
"""

import time
from threading import Lock
from typing import Final, Protocol

from msglog.checks import check_integer, refused, wrong_type
from msglog.errors import InvalidOptionError

_MOST_MS: Final = 100 * 366 * 86_400_000  # a century: what is due later still fits into 64 bits

__all__ = ["Clock", "DueWork", "ManualClock", "SystemClock"]


class DueWork(Protocol):
    """What a manual clock drives: work that becomes due at times of the clock."""

    def next_due_ms(self) -> int | None:
        """Return when the earliest work is due, None without any."""

    def run_due(self, now_ms: int) -> None:
        """Run all that is due at `now_ms`."""


class Clock(Protocol):
    """A source of time in integer milliseconds."""

    @property
    def manual(self) -> bool:
        """Whether time moves only when a test says so."""

    def now_ms(self) -> int:
        """Return the wall time since 1970."""

    def monotonic_ms(self) -> int:
        """Return a time that never goes back."""


class SystemClock:
    """The machine's clocks: wall time for timestamps, monotonic time for timeouts."""

    manual = False

    def __repr__(self) -> str:
        return "SystemClock()"

    @staticmethod
    def now_ms() -> int:
        """Return the wall time since 1970, in milliseconds."""
        return time.time_ns() // 1_000_000

    @staticmethod
    def monotonic_ms() -> int:
        """Return a time that never goes back, in milliseconds from an arbitrary start."""
        return time.monotonic_ns() // 1_000_000


class ManualClock:
    """A clock that stands still until `advance` is called.

    `start_ms`: the first time, in milliseconds since 1970. Safe from any thread; work that comes due runs in the
    thread that advances.
    """

    manual = True

    def __init__(self, start_ms: int = 1_700_000_000_000) -> None:
        if type(start_ms) is not int or start_ms < 0:
            raise InvalidOptionError(
                f"start_ms must be an integer of at least 0, not {start_ms!r}",
                option="start_ms",
                given=start_ms,
                allowed="an integer of at least 0",
            )
        self._now_ms = start_ms
        self._advancing = Lock()
        self._work: list[DueWork] = []

    def now_ms(self) -> int:
        """Return the clock's time in milliseconds."""
        return self._now_ms

    def monotonic_ms(self) -> int:
        """Return the clock's time in milliseconds: it never goes back."""
        return self._now_ms

    def attach(self, work: DueWork) -> None:
        """Let `advance` drive this work."""
        self._work.append(work)

    def detach(self, work: DueWork) -> None:
        """Stop driving this work; unknown work is ignored."""
        if work in self._work:
            self._work.remove(work)

    def advance(self, *, seconds: float = 0, ms: int = 0) -> None:
        """Move the clock forward by `seconds`, to the millisecond, plus `ms`; each from 0 to a century.

        On return everything that was due on the way has happened, in the order in which it was due. Raises
        `InvalidTypeError`, `InvalidOptionError`: a clock does not go back.
        """
        allowed = f"seconds from 0 to {_MOST_MS // 1000}"
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise wrong_type("seconds", seconds, allowed)
        if not 0 <= seconds <= _MOST_MS // 1000:
            raise refused("seconds", seconds, allowed)
        step = round(seconds * 1000) + check_integer("ms", ms, 0, _MOST_MS)
        with self._advancing:
            target = self._now_ms + step
            while (due := self._earliest()) is not None and due[0] <= target:
                self._now_ms = max(self._now_ms, due[0])
                due[1].run_due(self._now_ms)
            self._now_ms = target

    def _earliest(self) -> tuple[int, DueWork] | None:
        waiting = [(due, work) for work in self._work if (due := work.next_due_ms()) is not None]
        return min(waiting, key=lambda pair: pair[0], default=None)

    def __repr__(self) -> str:
        return f"ManualClock(now_ms={self._now_ms})"

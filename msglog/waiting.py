"""The one place where threads wait: for commits, and for times of the store's clock.

`Waiter` is what a blocked call sleeps on; the engine wakes it when a stream it watches has grown. `Timers` holds the
work that becomes due on the store's clock: driven by a manual clock's `advance`, otherwise by one daemon thread that
starts with the first timer. Imports `clock` and `errors`; knows nothing of streams, topics or queues.
"""

import heapq
import itertools
import logging
import weakref
from collections.abc import Callable
from threading import TIMEOUT_MAX, Condition, Lock, Thread, current_thread
from time import monotonic
from typing import Protocol

from msglog.clock import Clock, ManualClock

__all__ = ["CallbackThread", "Timer", "Timers", "Waiter", "Wakeable", "deadline_after", "in_callback"]

logger = logging.getLogger("msglog.timers")

_FEWEST_TO_PRUNE = 64


class Wakeable(Protocol):
    """What is told of a change."""

    def wake(self) -> None:
        """Look again, or make somebody look; takes no lock, for it is called under the store lock."""


class Waiter:
    """A binary semaphore: any number of `wake` calls let one `wait` pass.

    `wake` may be called from any thread and from a signal handler: it takes no lock that its own thread could hold.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()

    def wake(self) -> None:
        """Let the present or the next `wait` return at once."""
        try:
            self._lock.release()
        except RuntimeError:
            pass  # already awake: wakes do not add up

    def wait(self, timeout: float | None) -> bool:
        """Sleep until woken, at most `timeout` seconds (None: for ever). Return whether it was woken."""
        return self._lock.acquire(timeout=-1 if timeout is None else min(max(0.0, timeout), TIMEOUT_MAX))


def deadline_after(timeout: float | None) -> float | None:
    """Return the time on `time.monotonic` at which a wait of `timeout` seconds ends, None for never."""
    return None if timeout is None else monotonic() + timeout


class CallbackThread(Thread):
    """A daemon thread that runs callbacks of a subscription, whatever it subscribes to."""

    def __init__(self, target: Callable[[], None]) -> None:
        super().__init__(target=target, name="msglog-subscription", daemon=True)


def in_callback() -> bool:
    """Whether this is such a thread: it does not wait for the end of others, which may wait for its own."""
    return isinstance(current_thread(), CallbackThread)


class Timer:
    """One piece of work waiting for its time."""

    __slots__ = ("callback", "due_ms")

    def __init__(self, due_ms: int, callback: Callable[[], None]) -> None:
        self.due_ms = due_ms
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Make sure the work does not start any more."""
        self.callback = None


class Timers:
    """Work due at times of one clock (its monotonic time), run in due order.

    Callbacks run one at a time, without any lock held; one that raises is logged and does not stop the others.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[int, int, Timer]] = []
        self._order = itertools.count()
        # Entered as a plain lock: a condition's own entering is Python, in which an interrupt can leak it.
        self._lock = Lock()
        self._changed = Condition(self._lock)
        self._thread: Thread | None = None
        self._closed = False
        self._prune_at = _FEWEST_TO_PRUNE
        # What is called after each piece of work, by whoever runs it.
        self.followers: set[Callable[[], None]] = set()
        # The work that is being done, with its time.
        self._taken: tuple[int, Callable[[], None]] | None = None
        if isinstance(clock, ManualClock):
            clock.attach(self)

    def schedule(self, due_ms: int, callback: Callable[[], None]) -> Timer:
        """Run `callback` when the clock's monotonic time reaches `due_ms`."""
        timer = Timer(due_ms, callback)
        with self._lock:
            if self._closed:
                timer.cancel()
                return timer
            if len(self._heap) >= self._prune_at:
                self._prune()
            heapq.heappush(self._heap, (due_ms, next(self._order), timer))
            if not self._clock.manual:
                self._start_thread()
                if self._heap[0][2] is timer:
                    self._changed.notify()
        return timer

    def next_due_ms(self) -> int | None:
        """Return when the earliest live timer is due, None without any."""
        self._put_back()
        with self._lock:
            self._drop_cancelled()
            return self._heap[0][0] if self._heap else None

    def run_due(self, now_ms: int | None = None) -> None:
        """Run what is due at `now_ms` (None: now), earliest first."""
        if now_ms is None:
            now_ms = self._clock.monotonic_ms()
        self._put_back()
        while (callback := self._take_due(now_ms)) is not None:
            try:
                callback()
            except Exception:
                logger.exception("a timer's work failed", extra={"event": "work_failed"})
            self._taken = None
            for follow in tuple(self.followers):
                follow()

    def _put_back(self) -> None:
        """Have done what an interrupt left undone, in a thread of the user's that drives a manual clock."""
        taken = self._taken
        if taken is not None:
            self.schedule(*taken)
            self._taken = None

    def close(self) -> None:
        """Forget all timers and end the thread."""
        with self._lock:
            self._closed = True
            self._heap.clear()
            self._changed.notify_all()
        if isinstance(self._clock, ManualClock):
            self._clock.detach(self)

    def _take_due(self, now_ms: int) -> Callable[[], None] | None:
        with self._lock:
            self._drop_cancelled()
            if not self._heap or self._heap[0][0] > now_ms:
                return None
            due_ms, _, timer = self._heap[0]
            callback = timer.callback
            if callback is not None:
                self._taken = (due_ms, callback)
            timer.callback = None
            heapq.heappop(self._heap)
            return callback

    def _prune(self) -> None:
        """Drop what was cancelled, wherever it is, so that it does not pile up until it would have been due."""
        self._heap = [entry for entry in self._heap if entry[2].callback is not None]
        heapq.heapify(self._heap)
        self._prune_at = max(_FEWEST_TO_PRUNE, 2 * len(self._heap))

    def _drop_cancelled(self) -> None:
        while self._heap and self._heap[0][2].callback is None:
            heapq.heappop(self._heap)

    def _start_thread(self) -> None:
        if self._thread is None:
            self._thread = Thread(target=_run_timers, args=(weakref.ref(self),), name="msglog-timers", daemon=True)
            self._thread.start()

    def wait_for_work(self) -> bool:
        """Sleep until a timer may be due; return whether to go on."""
        with self._lock:
            self._drop_cancelled()
            if self._closed:
                return False
            seconds = 60.0
            if self._heap:
                seconds = min(seconds, (self._heap[0][0] - self._clock.monotonic_ms()) / 1000)
            if seconds > 0:
                self._changed.wait(seconds)
            return not self._closed


def _run_timers(reference: "weakref.ref[Timers]") -> None:
    # Only a weak reference is kept between waits, so that timers nobody else holds can be collected.
    while (timers := reference()) is not None and timers.wait_for_work():
        timers.run_due()
        del timers

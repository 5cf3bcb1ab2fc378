"""Predicates of faults are asked under locks of the store: one that calls the store would wait for itself, for ever.

While a predicate runs, stand-ins take the place of the locks that calls begin with. They are the same locks to every
other thread; in the predicate's they raise. Nothing of it is there while no predicate runs. Imported by `faults`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, get_ident
from typing import Any

from msglog.checks import refused
from msglog.testing.tapping import Tap


class _StandIn:
    """A lock as it is, but for the threads in `asking`, by what each of them asks: those raise."""

    def __init__(self, lock: Lock, asking: dict[int, object]) -> None:
        self._asking = asking
        self.real = lock
        self.release = lock.release
        self.locked = lock.locked

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:  # noqa: FBT001, FBT002 as of a lock
        """Acquire the lock. Raises `InvalidOptionError` in a predicate."""
        predicate = self._asking.get(get_ident())
        if predicate is not None:
            raise refused("when", predicate, "a predicate that does not call the store: it is asked under its locks")
        return self.real.acquire(blocking, timeout)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Asking:
    """Asks the predicates of one store's faults. Safe for any thread: several may ask at once."""

    def __init__(self, tap: Tap) -> None:
        self._tap = tap
        self._lock = Lock()
        self._asking: dict[int, object] = {}

    def ask(self, predicate: object, question: Callable[[], Any]) -> Any:
        """Return the answer to a question that calls a predicate."""
        with self._without_the_store(predicate):
            return question()

    @contextmanager
    def _without_the_store(self, predicate: object) -> Iterator[None]:
        with self._lock:
            if not self._asking:
                for holder in self._tap.lockers:
                    holder.lock = _StandIn(holder.lock, self._asking)
            self._asking[get_ident()] = predicate
        try:
            yield
        finally:
            with self._lock:
                del self._asking[get_ident()]
                if not self._asking:
                    for holder in self._tap.lockers:
                        holder.lock = holder.lock.real

"""One thread at a time: the guard of objects that are not made to be shared.

Imported by the classes of both models that are for one thread at a time. Invariant: the holder is set and cleared by
single operations of a dict, which are atomic, so two threads never both get in.
"""

from threading import Thread, current_thread
from time import monotonic
from types import TracebackType
from typing import Final

from msglog.waiting import Waiter

_HOLDER: Final = "holder"


class OneThread:
    """`with guard:` around each call of an object; a second thread inside raises `RuntimeError`.

    The thread inside may enter again: its callbacks use the object they are called for. An interrupt
    (Ctrl-C) may leave the guard held after the call: the same thread still gets in, its next call sets it
    right, and the guard of a thread that has ended is free. `last` is the thread that used the object last.
    """

    __slots__ = ("_depth", "_holders", "_left", "_what", "last")

    def __init__(self, what: str) -> None:
        self._what = what
        self._holders: dict[str, Thread] = {}
        self._depth = 0
        self._left: Waiter | None = None
        self.last = current_thread()

    def is_held_elsewhere(self) -> bool:
        """Return whether another living thread is inside."""
        holder = self._holders.get(_HOLDER)
        return holder is not None and holder is not current_thread() and holder.is_alive()

    def wait_until_free(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for another thread to come out."""
        deadline = monotonic() + timeout
        left = self._left = Waiter()
        while self.is_held_elsewhere() and (seconds := deadline - monotonic()) > 0:
            left.wait(seconds)
        self._left = None

    def reset(self) -> None:
        """Note that this thread is inside, but in no inner call: repairs the count after an interrupt."""
        self._depth = 1

    def __enter__(self) -> None:
        me = current_thread()
        holder = self._holders.setdefault(_HOLDER, me)
        if holder is not me:
            if holder.is_alive():
                raise RuntimeError(f"{self._what} is used by thread {holder.name!r}; it is for one thread at a time")
            self._holders[_HOLDER] = me
            self._depth = 0
        self._depth += 1
        self.last = me

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth <= 0:
            self._holders.pop(_HOLDER, None)
            if self._left is not None:
                self._left.wake()
        if error is not None:
            self.failed(error)

    def failed(self, error: BaseException) -> None:
        """Hear of the error that a call ended with; for subclasses."""

"""A consumer of one queue: messages are taken when they are asked for, each by one caller.

    get() ──> a message waits: taken ──────────────────────────> Delivery
          └─> none waits: a place in the queue's line ──woken──> Delivery, or None at the timeout

Exported by `msglog`. The line serves consumers by priority and in turn; a call that leaves it for whatever reason makes
sure that nobody else misses the message that it was woken for.
"""

import warnings
from collections.abc import Iterator
from time import monotonic
from types import TracebackType
from typing import Self

from msglog.broker.delivery import Delivery, OnError, Terms
from msglog.broker.queue import Queue
from msglog.broker.subscriber import Subscriber, Taken, Wait
from msglog.broker.vhost import VirtualHost
from msglog.checks import check_timeout
from msglog.errors import ClosedError, ConsumerCancelledError
from msglog.showing import one_line
from msglog.storage import Engine
from msglog.waiting import Waiter, deadline_after

_new_tuple = tuple.__new__  # half of what the constructor costs


class Taking:
    """Taking messages for one subscriber, with waiting. `stopped` makes every call return empty; it takes no lock."""

    __slots__ = ("interrupts", "stopped", "subscriber", "vhost")

    def __init__(self, vhost: VirtualHost, subscriber: Subscriber) -> None:
        self.vhost = vhost
        self.subscriber = subscriber
        self.stopped = False
        # How often calls that wait were asked to return, those on the way among them.
        self.interrupts = 0

    def take(self, timeout: float | None, seen: int | None = None) -> Taken | None:
        """Take the next message; wait for one up to `timeout` seconds, None for ever.

        `seen`: how many interrupts the caller knows of; another one ends its wait, too.

        Raises `ConsumerCancelledError` when the queue was deleted, `ClosedError` when the store was closed.
        """
        taken, unseen = self.take_now()
        if taken is not None:
            return taken
        if unseen:
            self.vhost.engine.wait(unseen)
        return self._wait(timeout, seen)

    def take_now(self) -> tuple[Taken | None, int]:
        """Take the next message if nobody waits for it; else return the commit whose sync may show one, 0 for none."""
        vhost, subscriber = self.vhost, self.subscriber
        queue, taken = subscriber.queue, None
        try:
            with vhost.lock:
                self._check(queue)
                if queue.line.front is None and not vhost.has_abandoned:
                    taken = vhost.take(queue, subscriber) if subscriber.has_room() else None
                    if vhost.news:
                        vhost.attend()
                    if taken is not None:
                        return taken, 0
                return None, vhost.engine.commit_number if vhost.journaled and queue.has_unseen() else 0
        except BaseException:
            self.put_back(taken)
            raise

    def put_back(self, taken: Taken | None) -> None:
        """After an exception: what was taken does not reach whoever called, and comes back."""
        if taken is not None and not self.subscriber.no_ack:
            self.vhost.put_back(self.subscriber, taken.lane, taken.stored)

    def _check(self, queue: Queue) -> None:
        """Raise when nothing more will come; under the lock."""
        if self.vhost.closed:
            raise ClosedError(self.vhost.why_closed())
        if queue.deleted:
            raise ConsumerCancelledError(f"the queue {queue.name!r} was deleted", queue=queue.name)
        if self.subscriber.cancelled:
            raise ClosedError("the consumer was closed")

    def _wait(self, timeout: float | None, seen: int | None) -> Taken | None:
        deadline = deadline_after(timeout)
        waiter = Waiter()
        wait = Wait(self.subscriber, waiter)
        try:
            self.join(wait)
            while wait.taken is None and not self.stopped and timeout != 0 and seen in (None, self.interrupts):
                seconds = None if deadline is None else deadline - monotonic()
                if seconds is not None and seconds <= 0:
                    break
                waiter.wait(seconds)
                if wait.taken is None and self.look(wait):
                    return wait.taken
            self.leave(wait, keep=True)
        except BaseException:
            self.leave(wait, keep=False)
            raise
        return wait.taken

    # The steps of a call that waits: `join`, `look` whenever it is woken, and `leave` in any case but after a `look`
    # that says so. They never wait themselves.

    def join(self, wait: Wait) -> None:
        """Go to the end of the queue's line; a message that is there already comes at once. Raises as `take`."""
        vhost, queue = self.vhost, self.subscriber.queue
        with vhost.lock:
            self._check(queue)
            self.subscriber.waits.append(wait)
            queue.join_line(wait)
            vhost.news[queue] = None
            vhost.attend()

    def look(self, wait: Wait) -> bool:
        """Woken: hand out what there is, to oneself and to others in line. Return whether the call has left it."""
        vhost, subscriber = self.vhost, self.subscriber
        queue = subscriber.queue
        with vhost.lock:
            if vhost.closed or queue.deleted or subscriber.cancelled:
                self._check(queue)
            if self._take_in_turn(queue, wait):
                return True
            vhost.news[queue] = None
            vhost.attend()
            if wait.taken is None and queue.line.front is wait:
                queue.head()  # raises what kept the message from being handed out
        return False

    def _take_in_turn(self, queue: Queue, wait: Wait) -> bool:
        """Take the message that the call was woken for and leave the line, where nothing else is to be thought of.

        What it does a wake from its message: no second turn of the lock, and nobody is looked after but those in line.
        """
        vhost, subscriber = self.vhost, self.subscriber
        if queue.line.front is not wait or vhost.has_abandoned or subscriber.no_ack or not subscriber.has_room():
            return False
        found = vhost.take_next(queue, subscriber)
        if found is None:
            return False
        try:
            wait.taken = _new_tuple(Taken, (found[0], found[1], False, 0))
        except BaseException:
            vhost.undo_take(found[0], subscriber, found[1][0])
            raise
        wait.over = True
        subscriber.waits.remove(wait)
        queue.leave_line(wait)
        if queue.line.takers:
            vhost.news[queue] = None
        if vhost.news:
            vhost.attend()
        return True

    def leave(self, wait: Wait, *, keep: bool) -> None:
        """Leave the line; a message that was put into the hand of a call that failed goes back."""
        vhost, queue = self.vhost, self.subscriber.queue
        wait.over = True
        with vhost.lock:
            if wait in self.subscriber.waits:
                self.subscriber.waits.remove(wait)
            queue.leave_line(wait)
            if not keep and wait.taken is not None and not self.subscriber.no_ack:
                vhost.return_unseen(self.subscriber, wait.taken.lane, wait.taken.stored)
            if not vhost.closed and not queue.deleted:
                vhost.news[queue] = None  # whoever is in line now may have missed a wake
                vhost.attend()

    def stop(self) -> None:
        """Make the calls that wait return empty, and those that come. Takes no lock."""
        self.stopped = True
        for wait in tuple(self.subscriber.waits):
            wait.wake()

    def interrupt(self) -> None:
        """Make the calls that wait and know of no interrupt so far return empty. Takes no lock."""
        self.interrupts += 1
        for wait in tuple(self.subscriber.waits):
            wait.wake()


class QueueConsumer:
    """Takes messages from one queue; made by `Broker.consume`.

    Iterating ends with `stop()`, `close()`, or when the queue is deleted (`ConsumerCancelledError`). At most
    `prefetch_count` deliveries are unsettled at a time. Closing it gives back what is unsettled. Safe for any number of
    threads: each message goes to one caller. A context manager; one that is collected unclosed warns
    (`ResourceWarning`) and its messages go back. A delivery keeps its consumer alive.
    """

    def __init__(self, vhost: VirtualHost, subscriber: Subscriber, on_error: OnError) -> None:
        self._vhost = vhost
        self._subscriber = subscriber
        self._terms = Terms(vhost, subscriber, on_error)
        self._taking = Taking(vhost, subscriber)
        self._closed = False

    @property
    def queue(self) -> str:
        """The name of the queue."""
        return self._subscriber.queue.name

    @property
    def engine(self) -> Engine:
        """The engine of the store that it takes from; not public."""
        return self._vhost.engine

    @property
    def no_ack(self) -> bool:
        """Whether its messages are settled as they are taken."""
        return self._terms.no_ack

    @property
    def terms(self) -> Terms:
        """What its deliveries have in common; not public."""
        return self._terms

    @property
    def taking(self) -> Taking:
        """How it takes messages; not public."""
        return self._taking

    @property
    def subscriber(self) -> Subscriber:
        """The inside of the consumer; not public."""
        return self._subscriber

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._taking.stopped

    @property
    def closed(self) -> bool:
        """Whether the consumer was closed."""
        return self._closed

    def get(self, timeout: float | None = None) -> Delivery | None:
        """Return the next message; None after `timeout` seconds of real time without one, or after `stop()`.

        `timeout` None waits for ever, 0 never waits. Raises `ClosedError`, `ConsumerCancelledError`, and
        `CorruptionError` when the message cannot be read.
        """
        if timeout is not None:
            timeout = check_timeout(timeout)
        vhost, subscriber = self._vhost, self._subscriber
        if not (subscriber.no_ack or self._taking.stopped):
            found = None
            try:
                with vhost.lock:
                    found = vhost.take_plain(subscriber.queue, subscriber) if subscriber.has_room() else None
                if found is not None:
                    return Delivery(self._terms, self, found[0], found[1], False, 0)  # noqa: FBT003
            except BaseException:
                if found is not None:
                    vhost.put_back(subscriber, *found)
                raise
        if self._closed:
            raise ClosedError("the consumer was closed")
        if self._taking.stopped:
            return None
        return self._deliver(timeout, None)

    def _deliver(self, timeout: float | None, seen: int | None) -> Delivery | None:
        taken = None
        try:
            taken = self._taking.take(timeout, seen)
            return None if taken is None else Delivery(self._terms, self, *taken)
        except BaseException:
            self._taking.put_back(taken)
            raise

    # For subscriptions on a manual clock; not public

    @property
    def interrupts(self) -> int:
        """How often `interrupt` was called."""
        return self._taking.interrupts

    def interrupt(self) -> None:
        """End the waits of `get_unless_interrupted`."""
        self._taking.interrupt()

    def get_unless_interrupted(self, seen: int) -> Delivery | None:
        """Return the next message; None after `stop()`, or once there were more interrupts than `seen`."""
        if self._closed:
            raise ClosedError("the consumer was closed")
        return self._deliver(None, seen)

    def idle_calls(self) -> int:
        """Return how many calls wait and have no message in hand yet. Under the broker's lock."""
        return sum(wait.taken is None for wait in self._subscriber.waits)

    # Iterating

    def iter(self, timeout: float | None = None) -> Iterator[Delivery]:
        """Yield messages until none has come for `timeout` seconds; 0 takes what is there, None goes on for ever."""
        check_timeout(timeout)
        if self._closed:
            raise ClosedError("the consumer was closed")
        return iter(lambda: self.get(timeout), None)

    def __iter__(self) -> Iterator[Delivery]:
        return self.iter(None)

    def stop(self) -> None:
        """End iterations after the message in hand and make waiting calls return None.

        From any thread and from a signal handler: it takes no lock.
        """
        self._taking.stop()

    def close(self) -> None:
        """End the consumer; what it has unsettled goes back to the queue. Calling again does nothing."""
        if self._closed:
            return
        self._closed = True
        self.stop()
        vhost, subscriber = self._vhost, self._subscriber
        try:
            with vhost.lock:
                if not vhost.closed and not subscriber.queue.deleted:
                    vhost.release(subscriber)
                    vhost.attend()
                subscriber.cancelled = True
        except BaseException:  # an interrupt, or a full disk: whoever comes next gives back what is left
            vhost.abandon(lambda: vhost.release(subscriber), subscriber.queue.line)
            raise

    def __enter__(self) -> Self:
        if self._closed:
            raise ClosedError("the consumer was closed")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_closed", True) or self._vhost.closed or self._vhost.core.is_foreign():
            return
        warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
        subscriber = self._subscriber
        vhost = self._vhost
        vhost.abandon(lambda: vhost.release(subscriber), subscriber.queue.line)

    @one_line
    def __repr__(self) -> str:
        return f"<msglog.QueueConsumer queue={self.queue!r} {self._tell()}>"

    def _tell(self) -> str:
        subscriber = self._subscriber
        if self._closed or self._vhost.closed:
            return "closed"
        if subscriber.queue.deleted:
            return "deleted"
        stopped = " stopped" if self._taking.stopped else ""
        return f"ready={subscriber.queue.ready()} unsettled={subscriber.unsettled}{stopped}"

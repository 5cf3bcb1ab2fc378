"""Taking messages of a queue, for tasks. `QueueConsumer` is exported by `msglog.aio`."""

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import msglog
from msglog.aio.calls import now, write
from msglog.aio.delivery import Delivery
from msglog.aio.iterating import Stepping
from msglog.aio.waiting import TaskWaiter, left_until
from msglog.broker.consumer import Taking
from msglog.broker.subscriber import Taken, Wait
from msglog.checks import check_timeout
from msglog.showing import one_line
from msglog.storage import Deferral, in_force
from msglog.transactions.looping import wait_off_the_loop
from msglog.waiting import deadline_after


async def take(taking: Taking, timeout: float | None) -> Taken | None:
    """Take the next message; wait for one up to `timeout` seconds, None for ever. What `Taking.take` is to threads.

    A message that was in the hand of a task that is cancelled goes back to its place in the queue.
    """
    # Not by `now`: what a call returns through it is lost to an exception of a signal handler.
    outer = in_force.deferral
    try:
        in_force.deferral = Deferral()
        taken, unseen = taking.take_now()
    finally:
        in_force.deferral = outer
    if taken is not None:
        return taken
    if unseen:
        await wait_off_the_loop(taking.vhost.engine, unseen)
    deadline = deadline_after(timeout)
    waiter = TaskWaiter()
    wait = Wait(taking.subscriber, waiter)
    try:
        now(taking.join, wait)
        while wait.taken is None and not taking.stopped and timeout != 0:
            seconds = left_until(deadline)
            if seconds is not None and seconds <= 0:
                break
            await waiter.wait(seconds)
            if wait.taken is None and now(taking.look, wait):
                return wait.taken
        now(taking.leave, wait, keep=True)
    except BaseException:
        now(taking.leave, wait, keep=False)
        raise
    return wait.taken


class QueueConsumer:
    """Takes messages from one queue as a `msglog.QueueConsumer`; made by `Broker.consume`.

    At most `prefetch_count` deliveries are unsettled at a time, which is what holds back a fast publisher's tasks. Any
    number of tasks of the loop may use it: each message goes to one of them. Closing it gives back what is unsettled. A
    context manager; one that is collected unclosed warns (`ResourceWarning`) and its messages go back.
    """

    def __init__(self, consumer: msglog.QueueConsumer) -> None:
        self._sync = consumer

    @property
    def sync(self) -> msglog.QueueConsumer:
        """The threaded consumer that this one stands for."""
        return self._sync

    @property
    def queue(self) -> str:
        """The name of the queue."""
        return self._sync.queue

    @property
    def no_ack(self) -> bool:
        """Whether its messages are settled as they are taken."""
        return self._sync.no_ack

    @property
    def closed(self) -> bool:
        """Whether the consumer was closed."""
        return self._sync.closed

    async def get(self, timeout: float | None = None) -> Delivery | None:
        """Return the next message; None after `timeout` seconds of real time without one, or after `stop()`.

        `timeout` None waits for ever, 0 never waits. Raises as `msglog.QueueConsumer.get` does. When it is cancelled no
        message is lost: one that it had in hand goes back to its place.
        """
        seconds = check_timeout(timeout)
        consumer = self._sync
        if consumer.closed:
            raise msglog.ClosedError("the consumer was closed")
        if consumer.taking.stopped:
            return None
        taken = None
        try:
            taken = await take(consumer.taking, seconds)
            return None if taken is None else Delivery(consumer.terms, consumer, *taken)
        except BaseException:
            now(consumer.taking.put_back, taken)
            raise

    def iter(self, timeout: float | None = None) -> AsyncIterator[Delivery]:
        """Return an asynchronous iterator over messages, which ends when none has come for `timeout` seconds.

        0 takes what is there, None goes on until `stop()`, `close()`, or until the queue is deleted
        (`ConsumerCancelledError`).
        """
        if self._sync.closed:
            raise msglog.ClosedError("the consumer was closed")
        return _Deliveries(self, check_timeout(timeout))

    def __aiter__(self) -> AsyncIterator[Delivery]:
        return self.iter()

    def stop(self) -> None:
        """End iterations after the message in hand and make waiting calls return None.

        From any thread and from a signal handler: it takes no lock.
        """
        self._sync.stop()

    async def close(self) -> None:
        """End the consumer; what it has unsettled goes back to the queue. Calling again does nothing."""
        await write(self._sync.engine, self._sync.close)

    async def __aenter__(self) -> Self:
        if self._sync.closed:
            raise msglog.ClosedError("the consumer was closed")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @one_line
    def __repr__(self) -> str:
        return f"<msglog.aio.QueueConsumer of {self._sync!r}>"


class _Deliveries(Stepping):
    """Iterates over what a consumer takes."""

    def __init__(self, consumer: QueueConsumer, timeout: float | None) -> None:
        self._consumer = consumer
        self._timeout = timeout

    async def __anext__(self) -> Delivery:
        await self._breathe()
        delivery = await self._consumer.get(self._timeout)
        if delivery is None:
            raise StopAsyncIteration
        return delivery

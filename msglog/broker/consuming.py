"""The part of `Broker` that takes messages out: one by one, by consumers, by callbacks, and without taking them.

Imported by `broker`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from time import monotonic
from typing import Any

from msglog.broker.consumer import QueueConsumer, Taking
from msglog.broker.delivery import Delivery, OnError, Terms
from msglog.broker.handle import BrokerHandle
from msglog.broker.history import settled_messages
from msglog.broker.message import Message, combined
from msglog.broker.properties import Properties
from msglog.broker.queue import Queue
from msglog.broker.subscriber import Subscriber
from msglog.broker.subscription import DeliveryCallback, QueueSubscription
from msglog.broker.vhost import Publication, VirtualHost
from msglog.broker.vhost.removing import bounded
from msglog.checks import MAX_INT64, check_flag, check_integer, check_timeout, wrong_type
from msglog.errors import InvalidOptionError, RequestTimeoutError
from msglog.retry import Retry
from msglog.waiting import Waiter, Wakeable, deadline_after

_DEFAULT_RETRY = Retry()
_MOST_PREFETCH = (1 << 16) - 1
_MOST_PRIORITY = (1 << 31) - 1


class Asked:
    """A request that is under way. `address`: where its answer is sent to."""

    def __init__(self, vhost: VirtualHost, check_open: Callable[[], None], waiter: Wakeable) -> None:
        self.address = ""
        self._vhost = vhost
        self._check_open = check_open
        self._waiter = waiter
        self._answers: list[Message] = []

    def take(self, publication: Publication) -> None:
        """Get the answer."""
        self._answers.append(Message.published(publication, self._vhost.now_ms()))
        self._waiter.wake()

    def answer(self) -> Message | None:
        """Return the answer, None as long as there is none. Raises `ClosedError`."""
        if not self._answers:
            self._check_open()
            return None
        return self._answers[0]


class Consuming(BrokerHandle):
    """`get`, `peek`, `consume`, `subscribe`, `request`, `history`, `replay`."""

    def get(self, queue: str, *, timeout: float | None = 0, no_ack: bool = False) -> Delivery | None:
        """Take the next message of a queue; None when none comes within `timeout` seconds of real time.

        `timeout` 0 does not wait, None waits for ever. `no_ack`: the message counts as settled at once. What is not
        settled goes back when this handle is closed. An exclusive consumer does not keep others from `get`. Raises
        `QueueNotFoundError`, `ResourceLockedError`, `CorruptionError`, `ReadOnlyError`, `ClosedError`.
        Safe for any number of threads.
        """
        getter = self._connection.getters.get(queue) if queue.__class__ is str else None
        if getter is not None and timeout == 0 and no_ack is False:
            vhost, found = self._vhost, None
            try:
                with vhost.lock:
                    if not getter.subscriber.cancelled:  # else this broker was closed just now: the long way tells
                        found = vhost.take_plain(getter.queue, getter.subscriber)
                if found is not None:
                    return Delivery(getter, None, found[0], found[1], False, 0)  # noqa: FBT003 as in `Taken`
            except BaseException:  # of a signal handler: nobody gets what was taken
                if found is not None:
                    vhost.put_back(getter.subscriber, *found)
                raise
        return self._get(queue, check_timeout(timeout), no_ack=check_flag("no_ack", no_ack))

    def _get(self, name: str, timeout: float | None, *, no_ack: bool) -> Delivery | None:
        """Take a message the long way: every check, and waiting."""
        taking = taken = None
        try:
            with self.getting(name, no_ack=no_ack) as getter:
                taking = Taking(self._vhost, getter.subscriber)
                taken = taking.take(timeout)
            return None if taken is None else Delivery(getter, None, *taken)
        except BaseException:
            if taking is not None:
                taking.put_back(taken)
            raise

    @contextmanager
    def getting(self, name: str, *, no_ack: bool) -> Iterator[Terms]:
        """Give the terms of a `get`, which closing the broker ends; not public. Raises as `get` does."""
        vhost = self._vhost_to_write()
        with vhost.lock:
            queue = vhost.queue(name, self._connection)
            vhost.touch(queue)
            getter = self._getter(queue)
        if no_ack:
            getter = Terms(vhost, Subscriber(queue, no_ack=True, registered=False), _DEFAULT_RETRY)
        waiting, call = self._connection.waiting, object()
        waiting[call] = getter.subscriber
        try:
            self._check_open()
            yield getter
        finally:
            waiting.pop(call, None)

    def _getter(self, queue: Queue) -> Terms:
        """Return the terms of a queue's deliveries outside of consumers. Under the lock."""
        getters = self._connection.getters
        getter = getters.get(queue.name)
        if getter is None or getter.queue is not queue:
            if len(getters) & (len(getters) - 1) == 0:  # now and then: those of queues that were deleted
                for name in [name for name, known in getters.items() if known.queue.deleted]:
                    del getters[name]
            subscriber = Subscriber(queue, registered=False)
            getter = getters[queue.name] = Terms(self._vhost, subscriber, _DEFAULT_RETRY)
        return getter

    def peek(self, queue: str, limit: int = 10) -> list[Message]:
        """Return up to `limit` messages that wait, in the order of delivery, without taking them.

        Raises `QueueNotFoundError`, `ResourceLockedError`, `ClosedError`.
        """
        check_integer("limit", limit, 0)
        found = self._queue_to_look_at(queue)
        with self._vhost.lock:
            messages: list[Message] = []
            for lane in found.lanes:
                room = limit - len(messages)
                messages += [Message.stored(stored) for stored in islice(lane.waiting(), room)]
            return messages

    def consume(
        self,
        queue: str,
        *,
        prefetch_count: int = 100,
        no_ack: bool = False,
        exclusive: bool = False,
        priority: int = 0,
        on_error: OnError = _DEFAULT_RETRY,
    ) -> QueueConsumer:
        """Return a consumer of a queue.

        Arguments:
            queue: its name.
            prefetch_count: the most deliveries it may have unsettled, 0 to 65535; 0 is no limit.
            no_ack: messages count as settled when they are handed out.
            exclusive: there may be no other consumer of the queue meanwhile; `get` takes from it all the same.
            priority: of several consumers that wait, the highest is served first.
            on_error: what `with delivery:` does after an `Exception`: try again after a back-off (`Retry`), "requeue",
                or "reject".

        Raises `QueueNotFoundError`, `ResourceLockedError`, `AccessRefusedError` when an exclusive consumer is there,
        `InvalidOptionError`, `InvalidTypeError`, `ReadOnlyError`, `ClosedError`.
        """
        check_integer("prefetch_count", prefetch_count, 0, _MOST_PREFETCH)
        check_flag("no_ack", no_ack)
        check_flag("exclusive", exclusive)
        check_integer("priority", priority, -_MOST_PRIORITY, _MOST_PRIORITY)
        _check_on_error(on_error)
        vhost = self._vhost_to_write()
        with vhost.lock:
            found = vhost.queue(queue, self._connection)
            vhost.check_may_consume(found, exclusive=exclusive)
            subscriber = Subscriber(
                found, prefetch=prefetch_count, no_ack=no_ack, exclusive=exclusive, priority=priority
            )
            vhost.add_subscriber(subscriber)
            vhost.touch(found)
        consumer = QueueConsumer(vhost, subscriber, on_error)
        self._store.attach_consumer(consumer)
        self._children.add(consumer)
        return consumer

    def subscribe(
        self, queue: str, callback: DeliveryCallback, *, workers: int = 1, on_error: OnError = _DEFAULT_RETRY
    ) -> QueueSubscription:
        """Call `callback` for each message of a queue, on `workers` daemon threads.

        See `QueueSubscription`. Raises as `consume` does.
        """
        consumer = self.consume(queue, prefetch_count=0, on_error=on_error)
        try:
            subscription = QueueSubscription(self._vhost, consumer, callback, workers)
        except BaseException:
            consumer.close()
            raise
        self._store.attach_subscription(subscription)
        self._children.add(subscription)
        return subscription

    def request(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        timeout: float | None,
        headers: Mapping[str, Any] | None = None,
        properties: Properties | None = None,
    ) -> Message:
        """Publish a message and wait for the answer to it (`Delivery.reply`).

        `timeout`: seconds of real time, None for ever. The answer comes directly, through no queue; nobody waits for it
        any more after a timeout. Raises `UnroutableError` when no queue gets the request, `RequestTimeoutError`, and
        what `publish` raises.
        """
        seconds = check_timeout(timeout)
        waiter = Waiter()
        with self.asking(waiter) as asked:
            own = combined(properties, headers, None, None).replace(reply_to=asked.address)
            self.publish(exchange, routing_key, body, properties=own, mandatory=True)  # type: ignore[attr-defined]  # the other part's
            deadline = deadline_after(seconds)
            while (answer := asked.answer()) is None:
                left = None if deadline is None else deadline - monotonic()
                if left is not None and left <= 0:
                    raise RequestTimeoutError(f"no answer within {timeout} s", timeout=timeout)
                waiter.wait(left)
        return answer

    @contextmanager
    def asking(self, waiter: Wakeable) -> Iterator["Asked"]:
        """Give an address for an answer, and wake `waiter` when that comes or the broker is closed; not public."""
        vhost = self._vhost_to_write()
        asked = Asked(vhost, self._check_open, waiter)
        with vhost.lock:
            asked.address = vhost.replies.open(asked.take)
            vhost.waiters.add(waiter)
        self._connection.waiters.add(waiter)
        try:
            yield asked
        finally:
            self._connection.waiters.discard(waiter)
            with vhost.lock:
                vhost.waiters.discard(waiter)
                vhost.replies.close(asked.address)

    # History

    def history(self, queue: str, *, since_ms: int | None = None, limit: int | None = None) -> Iterator[Message]:
        """Yield settled messages of a queue that are still there, oldest first.

        They are kept for `history_ms` after they were settled, or longer: by whole files. `since_ms`: only those that
        were enqueued at or after that time; `limit`: at most so many. Raises `QueueNotFoundError`,
        `ResourceLockedError`,
        `InvalidOptionError` when the queue keeps no history.
        """
        since = 0 if since_ms is None else check_integer("since_ms", since_ms, 0)
        most = MAX_INT64 if limit is None else check_integer("limit", limit, 0)
        vhost = self._vhost_to_read()
        with vhost.lock:
            found = self._queue_with_history(queue)
        return (Message.stored(stored) for stored in islice(settled_messages(vhost, found, since, MAX_INT64), most))

    def replay(
        self, queue: str, *, since_ms: int | None = None, until_ms: int | None = None, to: str | None = None
    ) -> int:
        """Put copies of settled messages back at the end of the queue, or of the queue `to`; return how many.

        `since_ms`, `until_ms`: only those enqueued in that time, half-open. In commits of bounded size. Raises as
        `history` and `publish` do.
        """
        since = 0 if since_ms is None else check_integer("since_ms", since_ms, 0)
        until = MAX_INT64 if until_ms is None else check_integer("until_ms", until_ms, 0)
        vhost = self._vhost_to_write()
        with vhost.lock:
            source = self._queue_with_history(queue)
            target = source if to is None else vhost.queue(to, self._connection)
        count = number = 0
        settled = settled_messages(vhost, source, since, until)
        while chunk := list(bounded(settled)):
            with vhost.lock:
                batch = vhost.batch()
                for stored in chunk:
                    properties = vhost.meta_of(stored).properties
                    count += vhost.enqueue(batch, target, stored.meta, stored.body, properties)
                number = vhost.commit(batch)
        vhost.wait_and_attend(number)
        return count

    def _queue_with_history(self, name: str) -> Queue:
        queue = self._vhost.queue(name, self._connection)
        if queue.effective.history_ms is None:
            allowed = "a queue declared with history_ms"
            raise InvalidOptionError(
                f"queue {name!r} keeps no history; allowed: {allowed}", option="queue", given=name, allowed=allowed
            )
        return queue


def _check_on_error(on_error: object) -> None:
    if not isinstance(on_error, Retry) and on_error not in ("requeue", "reject"):
        raise wrong_type("on_error", on_error, "a Retry, 'requeue' or 'reject'")

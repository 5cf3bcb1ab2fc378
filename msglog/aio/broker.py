"""The broker for tasks. Exported by `msglog.aio`."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, overload

import msglog
from msglog.aio.calls import now, run
from msglog.aio.delivery import Delivery
from msglog.aio.ending import Closing
from msglog.aio.face import Face
from msglog.aio.forwarding import in_thread, iterated, plain
from msglog.aio.publishing import publish, published
from msglog.aio.queue_consumer import QueueConsumer, take
from msglog.aio.queue_subscription import QueueSubscription
from msglog.aio.typed import TypedExchange, TypedQueue
from msglog.aio.waiting import TaskWaiter, left_until
from msglog.broker.consumer import Taking
from msglog.broker.delivery import OnError
from msglog.broker.message import combined
from msglog.broker.typed import MessageCodec, OnBadBody
from msglog.broker.vhost import VirtualHost
from msglog.checks import check_flag, check_timeout
from msglog.codecs import BYTES, Codec
from msglog.errors import RequestTimeoutError
from msglog.waiting import deadline_after

T = TypeVar("T")

_DEFAULT_RETRY = msglog.Retry()


class Broker(Face[msglog.Broker]):
    """Exchanges and queues as those of `msglog.Broker`, for tasks: the same names, arguments and errors.

    Made from a path or from a store, see `Face`. What publishes, makes, changes, deletes and waits is awaited;
    publications that are awaited together share syncs. Settling returns at once, as it does for threads.
    """

    def _make(self, store: msglog.Store) -> msglog.Broker:
        self._host = VirtualHost.of(store.core)
        return msglog.Broker(store)

    def _attach(self, child: Closing) -> None:
        """As with threads, the end of this handle ends it, too."""
        self._children.add(child)
        super()._attach(child)

    @property
    def _vhost(self) -> VirtualHost:
        return VirtualHost.of(self._store.sync.core)

    publish = published(msglog.Broker.publish)
    send = published(msglog.Broker.send)
    publish_many = published(msglog.Broker.publish_many)
    declare_exchange = in_thread(msglog.Broker.declare_exchange)
    declare_queue = in_thread(msglog.Broker.declare_queue)
    delete_exchange = in_thread(msglog.Broker.delete_exchange)
    delete_queue = in_thread(msglog.Broker.delete_queue)
    purge_queue = in_thread(msglog.Broker.purge_queue)
    bind = in_thread(msglog.Broker.bind)
    bind_exchange = in_thread(msglog.Broker.bind_exchange)
    unbind = in_thread(msglog.Broker.unbind)
    unbind_exchange = in_thread(msglog.Broker.unbind_exchange)
    set_policy = in_thread(msglog.Broker.set_policy)
    delete_policy = in_thread(msglog.Broker.delete_policy)
    peek = in_thread(msglog.Broker.peek)
    replay = in_thread(msglog.Broker.replay)
    export_messages = in_thread(msglog.Broker.export_messages)
    import_messages = in_thread(msglog.Broker.import_messages)
    exchanges = plain(msglog.Broker.exchanges)
    queues = plain(msglog.Broker.queues)
    bindings = plain(msglog.Broker.bindings)
    history = iterated(msglog.Broker.history)

    @overload
    def queue(self, name: str, *, on_decode_error: OnBadBody = "raise") -> TypedQueue[bytes]: ...
    @overload
    def queue(self, name: str, *, body: Codec[T], on_decode_error: OnBadBody = "raise") -> TypedQueue[T]: ...
    def queue(self, name: str, *, body: Codec[Any] = BYTES, on_decode_error: OnBadBody = "raise") -> TypedQueue[Any]:
        """Return a view of a queue with objects as bodies. The queue need not exist yet.

        Arguments and errors as for `msglog.Broker.queue`. A callable as `on_decode_error` may be a coroutine function:
        what it returns is awaited inside `with error.delivery:`.
        """
        return TypedQueue(self, self.sync.queue_view(name, MessageCodec(body, on_decode_error, awaited=True)))

    @overload
    def exchange(self, name: str) -> TypedExchange[bytes]: ...
    @overload
    def exchange(self, name: str, *, body: Codec[T]) -> TypedExchange[T]: ...
    def exchange(self, name: str, *, body: Codec[Any] = BYTES) -> TypedExchange[Any]:
        """Return a view of an exchange with objects as bodies, to publish them. The exchange need not exist yet.

        Arguments and errors as for `msglog.Broker.exchange`.
        """
        return TypedExchange(self, self.sync.exchange(name, body=body))

    async def get(self, queue: str, *, timeout: float | None = 0, no_ack: bool = False) -> Delivery | None:
        """Take the next message of a queue; None when none comes within `timeout` seconds of real time.

        `timeout` 0 does not wait, None waits for ever. Arguments and errors as for `msglog.Broker.get`. When it is
        cancelled no message is lost.
        """
        seconds = check_timeout(timeout)
        taking = taken = None
        try:
            with self.sync.getting(queue, no_ack=check_flag("no_ack", no_ack)) as getter:
                taking = Taking(getter.vhost, getter.subscriber)
                taken = await take(taking, seconds)
            return None if taken is None else Delivery(getter, None, *taken)
        except BaseException:
            if taking is not None:
                now(taking.put_back, taken)
            raise

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
        """Return a consumer of a queue, for tasks. Arguments and errors as for `msglog.Broker.consume`."""
        consumer = QueueConsumer(
            now(
                self.sync.consume,
                queue,
                prefetch_count=prefetch_count,
                no_ack=no_ack,
                exclusive=exclusive,
                priority=priority,
                on_error=on_error,
            )
        )
        self._attach(consumer)
        return consumer

    def subscribe(
        self,
        queue: str,
        callback: Callable[[Delivery], Awaitable[object]],
        *,
        concurrency: int = 1,
        on_error: OnError = _DEFAULT_RETRY,
    ) -> QueueSubscription:
        """Await `callback(delivery)` for each message of a queue, for up to `concurrency` messages at the same time.

        See `QueueSubscription`. Raises as `consume` does.
        """
        consumer = self.consume(queue, prefetch_count=0, on_error=on_error)
        try:
            subscription = QueueSubscription(consumer, callback, concurrency)
        except BaseException:
            consumer.sync.close()
            raise
        self._attach(subscription)
        return subscription

    async def request(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        timeout: float | None,
        headers: Mapping[str, Any] | None = None,
        properties: msglog.Properties | None = None,
    ) -> msglog.Message:
        """Publish a message and wait for the answer to it (`Delivery.reply`).

        `timeout`: seconds of real time, None for ever. Raises as `msglog.Broker.request` does. When it is cancelled
        nobody waits for the answer any more.
        """
        seconds = check_timeout(timeout)
        waiter = TaskWaiter()
        broker = self.sync
        with broker.asking(waiter) as asked:
            own = combined(properties, headers, None, None).replace(reply_to=asked.address)
            await publish(self._vhost, broker.publish, exchange, routing_key, body, properties=own, mandatory=True)
            deadline = deadline_after(seconds)
            while (answer := asked.answer()) is None:
                left = left_until(deadline)
                if left is not None and left <= 0:
                    raise RequestTimeoutError(f"no answer within {timeout} s", timeout=timeout)
                await waiter.wait(left)
        return answer

    async def channel(self, *, user: str = "guest") -> msglog.Channel:
        """Return a new AMQP channel, for threads: its calls may wait for syncs. See `msglog.Broker.channel`."""
        return await run(self.sync.channel, user=user)

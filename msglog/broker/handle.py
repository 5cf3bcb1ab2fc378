"""What every part of `Broker` shares: the virtual host it works on, and what it is as an AMQP connection.

A handle is one connection: exclusive queues are its own and go with it, and so do the messages that its calls of `get`
have not settled. Imported by the parts of `Broker`.
"""

import os
import warnings
from typing import Any, Unpack
from weakref import WeakSet

from msglog.broker.delivery import Terms
from msglog.broker.queue import Queue
from msglog.broker.subscriber import Subscriber
from msglog.broker.tables import broker_tables
from msglog.broker.vhost import VirtualHost
from msglog.broker.vhost.publishing import Route
from msglog.clock import SystemClock
from msglog.errors import ClosedError, MsglogError
from msglog.showing import one_line
from msglog.store import Closeable, Store, StoreFace, StoreOptions
from msglog.waiting import Wakeable


class Connection:
    """What belongs to one handle: its calls of `get`, and its channels. Exclusive queues have it as their owner.

    A getter, by the name of its queue, holds what was got and not settled; it is no consumer of its queue.
    """

    __slots__ = ("channels", "getters", "waiters", "waiting")

    def __init__(self) -> None:
        self.getters: dict[str, Terms] = {}
        # Whose calls of `get` wait now, and calls that wait for something else: they end with the connection.
        self.waiting: dict[object, Subscriber] = {}
        self.waiters: set[Wakeable] = set()
        # The insides of its open channels, by number: an error that ends the connection ends them all.
        self.channels: dict[int, Any] = {}


class BrokerHandle(StoreFace):
    """The base of `Broker`."""

    # What the short ways look at; the rest has no fixed place.
    __slots__ = ("_append", "_connection", "_model", "_now_ms", "_routes", "_system_time", "_vhost")

    _what = "broker"

    def __init__(self, path_or_store: str | os.PathLike[str] | Store, **store_options: Unpack[StoreOptions]) -> None:
        given: dict[str, Any] = {**store_options}
        super().__init__(path_or_store, given)
        self._vhost = VirtualHost.of(self._core)
        self._connection = Connection()
        # Bound once: looking them up at each publication would cost a tenth of it.
        self._routes = self._vhost.routes
        # The same for messages of views, which have a content type: the third part of the key.
        self._typed_routes: dict[tuple[str, str, str | None], Route] = {}
        self._model = self._vhost.model
        self._append = self._engine.append
        self._now_ms = self._core.clock.now_ms
        self._system_time = isinstance(self._core.clock, SystemClock)
        self._store.attach_consumer(self)
        # Consumers and subscriptions made through this handle: they end with it.
        self._children: WeakSet[Closeable] = WeakSet()

    def close(self) -> None:
        """End this handle: its consumers, subscriptions, exclusive queues and unsettled `get`s; they go back.

        A broker that opened its store closes the store, too. Calling again does nothing. Raises what closing the store
        raises; the handle is closed even then.
        """
        if not self._closed:
            self._closed = True
            try:
                self._end()
            finally:
                super().close()

    def _end(self) -> None:
        vhost = self._vhost
        # From now on the short ways find nothing, and ask why.
        getters, self._connection.getters = self._connection.getters, {}
        self._routes = {}
        self._typed_routes = {}
        # Subscriptions first: a consumer closed under one would make its callbacks fail.
        for child in sorted(self._children, key=lambda one: not hasattr(one, "join")):
            child.close()
        for waiter in tuple(self._connection.waiters):
            waiter.wake()
        failure: MsglogError | None = None
        with vhost.lock:
            for subscriber in tuple(self._connection.waiting.values()):
                subscriber.cancelled_by_queue()
            if vhost.closed or self._engine.readonly or self._engine.closed:
                return
            try:
                _release(vhost, self._connection, getters)
                vhost.attend()
            except MsglogError as error:
                failure = error
        if failure is not None:
            # The store takes no more: what is in hand comes back with the next opening.
            warnings.warn(f"closing {self!r}: {failure}", RuntimeWarning, stacklevel=3)

    def __del__(self) -> None:
        # One that owns its store is closed with it. What a borrower has left goes back.
        if getattr(self, "_closed", True) or self._owns_store or self._vhost.closed or self._core.is_foreign():
            return
        vhost, connection = self._vhost, self._connection
        in_hand = any(getter.subscriber.unsettled for getter in tuple(connection.getters.values()))
        if in_hand or any(queue.owner is connection for queue in tuple(vhost.queues.values())):
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
            vhost.abandon(lambda: _release(vhost, connection, connection.getters))

    def _check_open(self) -> None:
        # The most frequent check of all, so without the properties.
        if self._closed or self._vhost.closed:
            what = f"the broker of {self._store.path} was closed" if self._closed else self._vhost.why_closed()
            raise ClosedError(what)
        self._engine.check_open()

    def _vhost_to_write(self) -> VirtualHost:
        """Return the virtual host to change it. Raises `ClosedError`, `ReadOnlyError`."""
        self._check_writable()
        return self._vhost

    def _vhost_to_read(self) -> VirtualHost:
        """Return the virtual host as it is now. Raises `ClosedError`."""
        self._check_open()
        self._engine.refresh()
        vhost = self._vhost
        if vhost.has_abandoned:
            with vhost.lock:
                vhost.attend()
        return vhost

    def _queue_to_look_at(self, name: str) -> Queue:
        """Return a queue once what was published can be seen in it, and what is to go has gone.

        Raises `QueueNotFoundError`, `ResourceLockedError`, `ClosedError`.
        """
        vhost = self._vhost_to_read()
        with vhost.lock:
            found = vhost.queue(name, self._connection)
        if vhost.journaled and found.has_unseen():
            self._engine.wait(self._engine.commit_number)
        if not self._engine.readonly:
            with vhost.lock:
                vhost.news[found] = None
                vhost.attend()
        return found

    @one_line
    def __repr__(self) -> str:
        return f"<msglog.{type(self).__name__} {self._store.path!r} {self._state(self._tell)}>"

    def _tables(self) -> list[str]:
        return broker_tables(self._core)

    def _tell(self) -> str:
        queues = list(self._vhost.queues.values())
        ready, unsettled = sum(queue.ready() for queue in queues), sum(queue.unsettled() for queue in queues)
        return f"queues={len(queues)} ready={ready} unsettled={unsettled}"


def _release(vhost: VirtualHost, connection: Connection, getters: dict[str, Terms]) -> None:
    """Give back what a connection got and did not settle, and delete its exclusive queues. Under the lock."""
    for getter in getters.values():
        if not getter.queue.deleted:
            vhost.release(getter.subscriber)
    vhost.remove_transient(connection)

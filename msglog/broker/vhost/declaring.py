"""The part of the virtual host that changes what there is: exchanges, queues, bindings, policies.

Everything is checked before anything is changed, and each change is one commit: nothing is ever half declared. Returns
the number of the commit that the caller waits for, without the lock. Imported by `virtual_host`.
"""

import os
from collections.abc import Mapping
from typing import Any

from msglog.broker.model import BrokerModel, pack_binding
from msglog.broker.queue import Queue
from msglog.broker.rules import exchange_options as exchanges
from msglog.broker.rules import queue_options as queues
from msglog.broker.rules.bindings import Binding, Kind
from msglog.broker.rules.exchange_types import check_binding
from msglog.broker.rules.field_table import check_headers
from msglog.broker.rules.names import (
    GENERATED_BYTES,
    RESERVED_PREFIX,
    check_exchange_name,
    check_not_reserved,
    check_queue_name,
    default_exchange_refused,
    described,
    exchange_not_found,
    generated_queue_name,
    queue_locked,
    queue_not_found,
)
from msglog.broker.rules.option_checks import check_routing_key
from msglog.broker.rules.policies import Policy, pack_policy
from msglog.broker.subscriber import Subscriber
from msglog.broker.vhost.housekeeping import Housekeeping
from msglog.checks import check_flag, wrong_type
from msglog.cursors import CursorModel
from msglog.errors import AccessRefusedError, PreconditionFailedError
from msglog.waiting import Timer


class Declaring(Housekeeping):
    """`declare_queue`, `delete_queue`, `declare_exchange`, `delete_exchange`, `bind`, `unbind`, policies."""

    # Queues

    def queue(self, name: object, owner: object | None = None) -> Queue:
        """Return a queue. Under the lock.

        `owner` is the connection that asks: an exclusive queue is only its own one's. Raises `QueueNotFoundError`,
        `ResourceLockedError`, and `InvalidTypeError` for anything but a str.
        """
        if not isinstance(name, str):
            raise wrong_type("queue", name, "the name of a queue")
        if self.has_abandoned:
            self.attend()  # who was collected unclosed is gone for whoever asks
        queue = self.queues.get(name)
        if queue is None:
            raise queue_not_found(name)
        if queue.owner is not None and queue.owner is not owner:
            raise queue_locked(name)
        return queue

    def declare_queue(
        self, name: str, options: queues.QueueOptions, owner: object, *, passive: bool = False
    ) -> tuple[Queue, int]:
        """Make a queue, or make sure that the one that is there is as described. Under the lock."""
        if name:
            existing = self.queues.get(check_queue_name(name))
            if existing is not None or passive:
                return self._redeclare(name, options, owner, passive=passive), 0
            check_not_reserved("queue", name)
        else:
            name = generated_queue_name(os.urandom(GENERATED_BYTES))
        queue_id = self.model.next_queue_id
        number = self.make_lane(queue_id, name, 0, ["queue", queue_id, name, queues.pack_queue_options(options)])
        queue = self.model.queue_ids[queue_id]
        if options.exclusive:
            queue.owner = owner
        self.touch(queue)
        self.watch_history(queue)
        return queue, number if options.durable and not options.exclusive else 0

    def _redeclare(self, name: str, options: queues.QueueOptions, owner: object, *, passive: bool) -> Queue:
        queue = self.queue(name, owner)
        if not passive:
            if options.exclusive != queue.options.exclusive:
                raise queue_locked(name)
            difference = queues.inequivalence(name, queue.options, options)
            if difference is not None:
                raise PreconditionFailedError(difference)
        self.touch(queue)
        return queue

    def delete_queue(self, queue: Queue, *, if_unused: bool = False, if_empty: bool = False) -> tuple[int, int]:
        """Delete a queue with its messages, without dead letters; return (messages that waited, commit). Locked.

        Raises `PreconditionFailedError` when it has consumers, or messages, and that was to be left alone.
        """
        if if_unused and queue.consumers:
            raise PreconditionFailedError(f"{described('queue', queue.name)} in use")
        count = queue.ready()
        if if_empty and count:
            raise PreconditionFailedError(f"{described('queue', queue.name)} not empty")
        number = self._remove_queues([queue])
        return count, number

    def _remove_queues(self, removed: list[Queue]) -> int:
        batch = self.batch()
        for queue in removed:
            batch.record(BrokerModel.section, ["delete-queue", queue.id])
            for lane in queue.lanes:
                batch.record(CursorModel.section, ["close", lane.cursor.id])
                batch.removed.append(lane.stream)
        number = batch.write()
        for queue in removed:
            self._retire_queue(queue)
        return max(number, self._delete_orphans())

    def _retire_queue(self, queue: Queue) -> None:
        for timer in (queue.expiry_timer, queue.expires_timer, queue.history_timer):
            if timer is not None:
                timer.cancel()
        for subscriber in tuple(queue.consumers):
            subscriber.cancelled_by_queue()
        for taker in tuple(queue.line):
            taker.subscriber.cancelled = True
            taker.wake()
        queue.consumers.clear()
        for lane in queue.lanes:
            lane.cursor.unsettled.clear()  # what is in hand can no longer be settled
        self.news.pop(queue, None)
        for waiter in tuple(queue.watchers):
            waiter.wake()

    def purge_queue(self, queue: Queue) -> tuple[int, int]:
        """Settle what waits, without dead letters; return (messages, commit). Under the lock."""
        return self.purge(queue), self.engine.commit_number

    # Use

    def touch(self, queue: Queue) -> None:
        """Note that a queue was used, so that it does not expire. Under the lock."""
        expires_ms = queue.effective.expires_ms
        if expires_ms is None:
            return
        queue.last_used_ms = self.core.clock.monotonic_ms()
        due_ms = queue.last_used_ms + expires_ms
        before = queue.expires_timer
        if before is None or before.callback is None or before.due_ms > due_ms:  # later: a policy made it shorter
            queue.expires_timer = self._watch_unused(queue, due_ms)
            if before is not None:
                before.cancel()

    def _watch_unused(self, queue: Queue, due_ms: int) -> Timer:
        return self.core.timers.schedule(due_ms, lambda: self._expire_unused(queue))

    def _expire_unused(self, queue: Queue) -> None:
        with self.lock:
            expires_ms = queue.effective.expires_ms
            if self.closed or queue.deleted or expires_ms is None:
                return
            now_ms = self.core.clock.monotonic_ms()
            if queue.consumers:
                queue.last_used_ms = now_ms
            due_ms = queue.last_used_ms + expires_ms
            if due_ms > now_ms:
                queue.expires_timer = self._watch_unused(queue, due_ms)
                return
            self._remove_queues([queue])

    def check_may_consume(self, queue: Queue, *, exclusive: bool) -> None:
        """Raise `AccessRefusedError` when an exclusive consumer, or the wish for one, is in the way. Under the lock.

        For consumers: as in RabbitMQ, an exclusive one does not keep others from `get`.
        """
        in_the_way = queue.exclusive_consumer is not None
        if exclusive:
            in_the_way = in_the_way or bool(queue.consumers) or queue.options.single_active_consumer
        if in_the_way:
            raise AccessRefusedError(f"{described('queue', queue.name)} in exclusive use")

    def release(self, subscriber: Subscriber) -> None:
        """End a consumer: what it has in hand goes back to its queue. Under the lock."""
        queue = subscriber.queue
        self.give_back_all(subscriber)
        if self.remove_subscriber(subscriber):
            self._remove_queues([queue])
        else:
            self.touch(queue)

    def cancel(self, subscriber: Subscriber) -> None:
        """End a consumer; what it has in hand stays there. Under the lock."""
        queue = subscriber.queue
        if self.remove_subscriber(subscriber):
            self._remove_queues([queue])
        else:
            self.touch(queue)

    def remove_transient(self, owner: object | None = None) -> int:
        """Delete the exclusive queues of a connection; None: after opening, all that did not survive. Locked."""
        gone = [
            queue
            for queue in self.queues.values()
            if (queue.owner is owner and owner is not None)
            or (owner is None and (queue.options.exclusive or not queue.options.durable))
        ]
        number = self._remove_queues(gone) if gone else 0
        if owner is None:
            for name, options in tuple(self.model.exchanges.items()):
                if not options.durable:
                    number = max(number, self._remove_exchange(name))
            number = max(number, self._delete_orphans())
        return number

    # Exchanges

    def declare_exchange(self, name: str, options: exchanges.ExchangeOptions, *, passive: bool = False) -> int:
        """Make an exchange, or make sure that the one that is there is as described. Under the lock."""
        if not check_exchange_name(name):
            raise default_exchange_refused()
        existing = self.model.exchanges.get(name)
        if passive:
            if existing is None:
                raise exchange_not_found(name)
            return 0
        if existing is not None:
            difference = exchanges.inequivalence(name, existing, options)
            if difference is not None:
                raise PreconditionFailedError(difference)
            return 0
        check_not_reserved("exchange", name)
        number = self.record(["exchange", name, exchanges.pack_exchange_options(options)])
        return number if options.durable else 0

    def delete_exchange(self, name: str, *, if_unused: bool = False) -> int:
        """Delete an exchange with its bindings; a missing one is no error. Under the lock."""
        if not check_exchange_name(name):
            raise default_exchange_refused()
        if name.startswith(RESERVED_PREFIX):
            raise AccessRefusedError(f"deletion of system {described('exchange', name)} not allowed")
        if name not in self.model.exchanges:
            return 0
        if if_unused and self.model.topology.bindings_from(name):
            raise PreconditionFailedError(f"{described('exchange', name)} in use")
        return max(self._remove_exchange(name), self._delete_orphans())

    def _remove_exchange(self, name: str) -> int:
        return self.record(["delete-exchange", name])

    def _delete_orphans(self) -> int:
        """Delete the auto-delete exchanges that lost their last binding."""
        number = 0
        while self.model.orphans:
            name = self.model.orphans[-1]
            if name in self.model.exchanges:
                number = self._remove_exchange(name)
            else:
                self.model.orphans.pop()
        return number

    # Bindings

    def binding(
        self,
        source: str,
        destination: str,
        kind: Kind,
        routing_key: object,
        arguments: Mapping[str, Any] | None,
        owner: object,
    ) -> Binding:
        """Return a binding whose two ends exist. Under the lock. Raises as the two ends' lookups do."""
        binding = self._binding(source, destination, kind, routing_key, arguments)
        if source not in self.model.exchanges:
            raise exchange_not_found(source)
        if kind == "queue":
            self.queue(destination, owner)
        elif destination not in self.model.exchanges:
            raise exchange_not_found(destination)
        return binding

    @staticmethod
    def _binding(
        source: str, destination: str, kind: Kind, routing_key: object, arguments: Mapping[str, Any] | None
    ) -> Binding:
        key = check_routing_key("routing_key", routing_key)
        if not check_exchange_name(source) or (kind == "exchange" and not check_exchange_name(destination)):
            raise default_exchange_refused()
        if not isinstance(destination, str):
            raise wrong_type("queue", destination, "the name of a queue")
        return Binding(
            source, destination, kind, key, {} if arguments is None else check_headers(arguments, "arguments")
        )

    def bind(self, binding: Binding) -> int:
        """Add a binding; one that is there stays. Under the lock."""
        check_binding(self.model.exchanges[binding.source].type, binding.routing_key, binding.arguments)
        if self.model.topology.has_binding(binding):
            return 0
        number = self.record(["bind", *pack_binding(binding)])
        return number if self._is_durable(binding) else 0

    def unbind(self, binding: Binding) -> int:
        """Remove a binding; a missing one is no error. Under the lock."""
        if not self.model.topology.has_binding(binding):
            return 0
        durable = self._is_durable(binding)
        number = max(self.record(["unbind", *pack_binding(binding)]), self._delete_orphans())
        return number if durable else 0

    def unbind_if_there(
        self,
        source: str,
        destination: str,
        kind: Kind,
        routing_key: object,
        arguments: Mapping[str, Any] | None,
        owner: object,
    ) -> int:
        """Remove a binding; neither it nor its two ends need be there. Under the lock.

        Raises `ResourceLockedError` for one that is there and leads to another connection's exclusive queue.
        """
        binding = self._binding(source, destination, kind, routing_key, arguments)
        if not self.model.topology.has_binding(binding):
            return 0
        if kind == "queue":
            self.queue(destination, owner)
        return self.unbind(binding)

    def _is_durable(self, binding: Binding) -> bool:
        if binding.kind == "queue":
            options = self.queues[binding.destination].options
            durable = options.durable and not options.exclusive
        else:
            durable = self.model.exchanges[binding.destination].durable
        return durable and self.model.exchanges[binding.source].durable

    # Policies

    def set_policy(self, policy: Policy) -> int:
        """Put a policy in force, for what is there already, too. Under the lock."""
        # First of all: if an interrupt strikes once it is in force, whoever comes next looks after the queues.
        self.news.update((queue, None) for queue in self.queues.values())
        return self._policies_changed(self.record(["policy", pack_policy(policy)]))

    def delete_policy(self, name: str) -> int:
        """Remove a policy; a missing one is no error. Under the lock."""
        if name not in self.model.policies:
            return 0
        return self._policies_changed(self.record(["delete-policy", name]))

    def _policies_changed(self, number: int) -> int:
        for queue in self.queues.values():
            self.touch(queue)
            self.watch_history(queue)
        self.news.update((queue, None) for queue in self.queues.values())
        return number


def check_flags(**flags: object) -> None:
    """Make sure that all of these are True or False. Raises `InvalidTypeError`."""
    for name, value in flags.items():
        check_flag(name, value)

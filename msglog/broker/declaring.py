"""The part of `Broker` that declares, deletes and lists.

Imported by `broker`.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from msglog.broker.handle import BrokerHandle
from msglog.broker.rules.bindings import Binding, Kind
from msglog.broker.rules.exchange_options import exchange_options
from msglog.broker.rules.policies import check_policy
from msglog.broker.rules.queue_options import queue_options
from msglog.broker.vhost.declaring import check_flags
from msglog.checks import wrong_type
from msglog.showing import as_html, page, table


class QueueInfo(NamedTuple):
    """A queue: how many messages wait in it, and how many consumers it has."""

    name: str
    message_count: int
    consumer_count: int

    @as_html
    def _repr_html_(self) -> str:
        return page("Queue", self.name, {"messages": self.message_count, "consumers": self.consumer_count})


class ExchangeInfo(NamedTuple):
    """An exchange and how it was declared."""

    name: str
    type: str
    durable: bool
    auto_delete: bool
    internal: bool
    arguments: Mapping[str, Any]

    @as_html
    def _repr_html_(self) -> str:
        flags = [name.replace("_", "-") for name in ("durable", "auto_delete", "internal") if getattr(self, name)]
        arguments = table("Arguments", ("argument", "value"), list(self.arguments.items()))
        return page("Exchange", self.name, {"": self.type, "is": ", ".join(flags) or None}, [arguments])


class Declaring(BrokerHandle):
    """`declare_*`, `delete_*`, `bind*`, `unbind*`, `purge_queue`, `exchanges`, `queues`, `bindings`, policies."""

    def declare_exchange(
        self,
        name: str,
        type: str = "direct",
        *,
        durable: bool = True,
        auto_delete: bool = False,
        internal: bool = False,
        alternate_exchange: str | None = None,
        passive: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Make an exchange, or make sure that the one of this name is the same.

        Arguments:
            name: 1 to 255 bytes; not `amq.*`.
            type: "direct", "fanout", "topic", "headers", "x-consistent-hash" or "x-random".
            durable: it survives closing the store; bindings do when both their ends do.
            auto_delete: it goes when the last binding from it does.
            internal: nothing can be published to it but through bindings from other exchanges.
            alternate_exchange: where messages go that it routes nowhere.
            passive: only make sure that it exists; everything else is ignored.
            arguments: `alternate-exchange`, and what the type takes (`hash-header`, `hash-property`).

        Raises `PreconditionFailedError` when it exists and is different, or for a wrong type or argument,
        `ExchangeNotFoundError` with `passive`, `AccessRefusedError` for reserved names, `InvalidNameError`,
        `InvalidOptionError`, `InvalidTypeError`, `ReadOnlyError`, `ClosedError`. Durable as `sync` says on return.
        """
        vhost = self._vhost_to_write()
        check_flags(passive=passive)
        options = exchange_options(
            name,
            type=type,
            durable=durable,
            auto_delete=auto_delete,
            internal=internal,
            alternate_exchange=alternate_exchange,
            arguments=arguments,
        )
        with vhost.lock:
            number = vhost.declare_exchange(name, options, passive=passive)
        vhost.wait_and_attend(number)

    def declare_queue(
        self,
        name: str = "",
        *,
        durable: bool = True,
        exclusive: bool = False,
        auto_delete: bool = False,
        passive: bool = False,
        message_ttl_ms: int | None = None,
        expires_ms: int | None = None,
        max_length: int | None = None,
        max_length_bytes: int | None = None,
        overflow: Literal["drop-head", "reject-publish", "reject-publish-dlx"] = "drop-head",
        dead_letter_exchange: str | None = None,
        dead_letter_routing_key: str | None = None,
        max_priority: int | None = None,
        delivery_limit: int | None = None,
        single_active_consumer: bool = False,
        history_ms: int | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> QueueInfo:
        """Make a queue, or make sure that the one of this name is the same; return what is known of it.

        Arguments:
            name: 1 to 255 bytes, not `amq.*`; "" has a name made up.
            durable: it survives closing the store, with its messages.
            exclusive: only this broker handle may use it, and it goes when the handle is closed.
            auto_delete: it goes when its last consumer does.
            passive: only make sure that it exists; everything else is ignored.
            message_ttl_ms: a message that waited so long expires, at the head of the queue; 0: unless somebody waits.
                At the most ten years, as for `expires_ms`.
            expires_ms: it goes when nobody consumed from it, got from it or declared it for so long; at least 1.
            max_length: how many messages may wait.
            max_length_bytes: how many bytes the bodies of those that wait may have.
            overflow: what becomes of a message too many: the oldest is dropped, or the new one refused.
            dead_letter_exchange: where rejected, expired and dropped messages go.
            dead_letter_routing_key: with which routing key; None is their own.
            max_priority: priorities 0 to this one are told apart, at most 255.
            delivery_limit: a message that came back more often is dead-lettered.
            single_active_consumer: one consumer gets everything, until it leaves.
            history_ms: settled messages stay readable for at least so long, see `history` and `replay`.
            arguments: the same as RabbitMQ's `x-` arguments; `x-queue-type` may be "classic" or "quorum".

        Raises `PreconditionFailedError` when it exists and is different, or for wrong arguments, `QueueNotFoundError`
        with `passive`, `ResourceLockedError` when it is another handle's, `AccessRefusedError` for reserved names,
        `InvalidNameError`, `InvalidOptionError`, `InvalidTypeError`, `ReadOnlyError`, `ClosedError`. Nothing is left
        half declared. A durable queue is durable as `sync` says on return.
        """
        vhost = self._vhost_to_write()
        check_flags(passive=passive)
        if not isinstance(name, str):
            raise wrong_type("name", name, "a str")
        options = queue_options(
            name,
            durable=durable,
            exclusive=exclusive,
            auto_delete=auto_delete,
            message_ttl_ms=message_ttl_ms,
            expires_ms=expires_ms,
            max_length=max_length,
            max_length_bytes=max_length_bytes,
            overflow=overflow,
            dead_letter_exchange=dead_letter_exchange,
            dead_letter_routing_key=dead_letter_routing_key,
            max_priority=max_priority,
            delivery_limit=delivery_limit,
            single_active_consumer=single_active_consumer,
            history_ms=history_ms,
            arguments=arguments,
        )
        with vhost.lock:
            queue, number = vhost.declare_queue(name, options, self._connection, passive=passive)
            info = QueueInfo(queue.name, queue.ready(), len(queue.consumers))
        vhost.wait_and_attend(number)
        return info

    def delete_exchange(self, name: str, *, if_unused: bool = False) -> None:
        """Delete an exchange with its bindings; a missing one is no error.

        `if_unused`: not while bindings lead from it. Raises `PreconditionFailedError`, `AccessRefusedError`.
        """
        vhost = self._vhost_to_write()
        check_flags(if_unused=if_unused)
        with vhost.lock:
            number = vhost.delete_exchange(name, if_unused=if_unused)
        vhost.wait_and_attend(number)

    def delete_queue(self, name: str, *, if_unused: bool = False, if_empty: bool = False) -> int:
        """Delete a queue with its messages, which are not dead-lettered; return how many waited. 0: there was none.

        `if_unused`: not while it has consumers; `if_empty`: not while messages wait. Its consumers get
        `ConsumerCancelledError`. Raises `PreconditionFailedError`, `ResourceLockedError`.
        """
        vhost = self._vhost_to_write()
        check_flags(if_unused=if_unused, if_empty=if_empty)
        with vhost.lock:
            if isinstance(name, str) and name not in vhost.queues:
                return 0
            queue = vhost.queue(name, self._connection)
            count, number = vhost.delete_queue(queue, if_unused=if_unused, if_empty=if_empty)
        vhost.wait_and_attend(number)
        return count

    def purge_queue(self, name: str) -> int:
        """Remove all messages that wait, without dead letters; return how many that were.

        What is in somebody's hand stays there. Raises `QueueNotFoundError`, `ResourceLockedError`.
        """
        vhost = self._vhost_to_write()
        with vhost.lock:
            count, number = vhost.purge_queue(vhost.queue(name, self._connection))
        vhost.wait_and_attend(number)
        return count

    def bind(
        self, queue: str, exchange: str, routing_key: str = "", *, arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Have an exchange route messages to a queue; binding again changes nothing.

        `routing_key`: the key of a direct exchange, the pattern of a topic exchange (`*` is one word, `#` any number),
        the weight of a consistent-hash exchange. `arguments`: what a headers exchange compares, with `x-match`. Raises
        `QueueNotFoundError`, `ExchangeNotFoundError`, `PreconditionFailedError`, `AccessRefusedError` for the default
        exchange, which routes by queue names and nothing else.
        """
        self._bind(exchange, queue, "queue", routing_key, arguments)

    def bind_exchange(
        self, destination: str, source: str, routing_key: str = "", *, arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Have the exchange `source` route messages on to `destination`; circles are allowed. Raises as `bind` does."""
        self._bind(source, destination, "exchange", routing_key, arguments)

    def unbind(
        self, queue: str, exchange: str, routing_key: str = "", *, arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Remove a binding of a queue; a missing one, or a missing exchange, is no error."""
        self._unbind(exchange, queue, "queue", routing_key, arguments)

    def unbind_exchange(
        self, destination: str, source: str, routing_key: str = "", *, arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Remove a binding between exchanges; a missing one is no error."""
        self._unbind(source, destination, "exchange", routing_key, arguments)

    def _bind(self, source: str, destination: str, kind: Kind, key: str, arguments: Mapping[str, Any] | None) -> None:
        vhost = self._vhost_to_write()
        with vhost.lock:
            number = vhost.bind(vhost.binding(source, destination, kind, key, arguments, self._connection))
        vhost.wait_and_attend(number)

    def _unbind(self, source: str, destination: str, kind: Kind, key: str, arguments: Mapping[str, Any] | None) -> None:
        vhost = self._vhost_to_write()
        with vhost.lock:
            number = vhost.unbind_if_there(source, destination, kind, key, arguments, self._connection)
        vhost.wait_and_attend(number)

    # Looking

    def exchanges(self) -> list[ExchangeInfo]:
        """Return all exchanges but the default one, sorted by name. Raises `ClosedError`."""
        vhost = self._vhost_to_read()
        with vhost.lock:
            return [
                ExchangeInfo(
                    name,
                    options.type,
                    options.durable,
                    options.auto_delete,
                    options.internal,
                    dict(options.arguments),
                )
                for name, options in sorted(vhost.model.exchanges.items())
            ]

    def queues(self) -> list[QueueInfo]:
        """Return all queues, sorted by name. Raises `ClosedError`."""
        vhost = self._vhost_to_read()
        with vhost.lock:
            return [
                QueueInfo(name, queue.ready(), len(queue.consumers)) for name, queue in sorted(vhost.queues.items())
            ]

    def bindings(self) -> list[Binding]:
        """Return all bindings that were made; those of the default exchange go without saying. Raises `ClosedError`."""
        vhost = self._vhost_to_read()
        with vhost.lock:
            return vhost.model.topology.bindings()

    # Policies

    def set_policy(
        self,
        name: str,
        pattern: str,
        definition: Mapping[str, Any],
        *,
        priority: int = 0,
        apply_to: Literal["all", "queues", "exchanges", "classic_queues", "quorum_queues"] = "all",
    ) -> None:
        """Give options to all queues and exchanges whose names a regular expression is found in, present and to come.

        `definition`: RabbitMQ's keys (`message-ttl`) or the keywords of declarations (`message_ttl_ms`). Of several
        matching policies only the one of highest `priority` applies. Of two limits the smaller counts; for dead letters
        and overflow the declaration goes first. What is too much already is removed at once. Raises `InvalidNameError`,
        `InvalidOptionError`, `InvalidTypeError`.
        """
        vhost = self._vhost_to_write()
        policy = check_policy(name, pattern, definition, priority=priority, apply_to=apply_to)
        with vhost.lock:
            number = vhost.set_policy(policy)
        vhost.wait_and_attend(number)

    def delete_policy(self, name: str) -> None:
        """Remove a policy; a missing one is no error."""
        vhost = self._vhost_to_write()
        if not isinstance(name, str):
            raise wrong_type("name", name, "the name of a policy")
        with vhost.lock:
            number = vhost.delete_policy(name)
        vhost.wait_and_attend(number)

"""The part of `Channel` that declares, binds and deletes.

AMQP's methods with AMQP's defaults; what they do is the broker's. Imported by `channel`.
"""

from collections.abc import Mapping
from typing import Any

from msglog.broker.channel.base import ChannelBase
from msglog.broker.declaring import QueueInfo
from msglog.broker.replies import REPLY_PREFIX, REPLY_TO
from msglog.broker.rules.names import queue_not_found
from msglog.checks import check_flag, wrong_type


class Definitions(ChannelBase):
    """`exchange_*` and `queue_*`."""

    def exchange_declare(
        self,
        exchange: str,
        type: str = "direct",
        *,
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Make an exchange, or make sure that the one of this name is the same. See `Broker.declare_exchange`.

        `arguments`: `alternate-exchange`, and what the type takes. Raises what `Broker.declare_exchange` raises.
        """
        with self._use:
            self._broker.declare_exchange(
                exchange,
                type,
                durable=durable,
                auto_delete=auto_delete,
                internal=internal,
                passive=passive,
                arguments=arguments,
            )

    def exchange_delete(self, exchange: str, *, if_unused: bool = False) -> None:
        """Delete an exchange; a missing one is no error. Raises what `Broker.delete_exchange` raises."""
        with self._use:
            self._broker.delete_exchange(exchange, if_unused=if_unused)

    def exchange_bind(
        self, destination: str, source: str, routing_key: str = "", *, arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Have `source` route messages on to `destination`. Raises what `Broker.bind_exchange` raises."""
        with self._use:
            self._broker.bind_exchange(destination, source, routing_key, arguments=arguments)

    def exchange_unbind(
        self, destination: str, source: str, routing_key: str = "", *, arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Remove a binding between exchanges; a missing one is no error."""
        with self._use:
            self._broker.unbind_exchange(destination, source, routing_key, arguments=arguments)

    def queue_declare(
        self,
        queue: str = "",
        *,
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> QueueInfo:
        """Make a queue, or make sure that the one of this name is the same; return what is known of it.

        `queue`: "" has a name made up. From now on "" in other calls of this channel stands for this queue.
        `passive`: only make sure that it exists. `arguments`: RabbitMQ's, `x-message-ttl` and the like. Raises what
        `Broker.declare_queue` raises.
        """
        with self._use:
            info = self._reply_queue(queue)
            if info is None:
                if check_flag("passive", passive) and queue == "":
                    raise queue_not_found(queue)
                info = self._broker.declare_queue(
                    queue,
                    durable=durable,
                    exclusive=exclusive,
                    auto_delete=auto_delete,
                    passive=passive,
                    arguments=arguments,
                )
            self._session.last_queue = info.name
            return info

    def _reply_queue(self, queue: object) -> QueueInfo | None:
        """Return what is told of an address of direct reply-to: it looks like a queue while somebody listens there."""
        if not isinstance(queue, str) or not queue.startswith(REPLY_TO):
            return None
        if queue != REPLY_TO:
            if not queue.startswith(REPLY_PREFIX):
                return None
            with self._vhost.lock:
                if not self._vhost.replies.knows(queue):
                    raise queue_not_found(queue)
        return QueueInfo(queue, 0, 1)

    def queue_bind(
        self, queue: str, exchange: str, routing_key: str = "", *, arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Have an exchange route messages to a queue. Raises what `Broker.bind` raises.

        `queue`: "" is the one declared last on this channel; with an empty `routing_key` its name is that, too.
        """
        with self._use:
            name, key = self._names(queue, routing_key)
            self._broker.bind(name, exchange, key, arguments=arguments)

    def queue_unbind(
        self, queue: str, exchange: str, routing_key: str = "", *, arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Remove a binding of a queue; a missing one is no error. Names as in `queue_bind`."""
        with self._use:
            name, key = self._names(queue, routing_key)
            self._broker.unbind(name, exchange, key, arguments=arguments)

    def _names(self, queue: object, routing_key: str) -> tuple[str, str]:
        if not isinstance(queue, str):
            raise wrong_type("queue", queue, "the name of a queue")
        name = self._session.queue_name(queue)
        return name, name if queue == "" and routing_key == "" else routing_key

    def queue_purge(self, queue: str) -> int:
        """Remove all messages that wait, without dead letters; return how many that were.

        Raises `QueueNotFoundError`, `ResourceLockedError`.
        """
        with self._use:
            return self._broker.purge_queue(self._session.queue_name(queue))

    def queue_delete(self, queue: str, *, if_unused: bool = False, if_empty: bool = False) -> int:
        """Delete a queue and return how many messages waited; a missing one is no error (0).

        Consumers of it hear `Cancelled`. Raises `PreconditionFailedError`, `ResourceLockedError`.
        """
        with self._use:
            name = self._session.queue_name(queue)
            return self._broker.delete_queue(name, if_unused=if_unused, if_empty=if_empty)

"""Rows of queues, exchanges, bindings and policies. Imported by the commands."""

from collections.abc import Iterator
from typing import Any

from msglog.broker.queue import Queue
from msglog.broker.vhost import VirtualHost
from msglog.cli.rows.lines import argument_line
from msglog.store import Store


def virtual_host(store: Store) -> VirtualHost:
    """Return the inside of a store's broker as it is now."""
    store.core.engine.refresh()
    return VirtualHost.of(store.core)


def queue_rows(store: Store) -> Iterator[dict[str, Any]]:
    """Yield a row for each queue.

    `messages` are all that are not settled. `unsettled` of them were handed out, as far as the writer has noted: it
    does so with the next settlement.
    """
    vhost = virtual_host(store)
    for name, queue in sorted(vhost.queues.items()):
        options = queue.options
        yield {
            "queue": name,
            "type": options.queue_type,
            "durable": options.durable,
            "messages": depth(queue),
            "unsettled": sum(lane.cursor.returned.count + len(lane.cursor.unsettled) for lane in queue.lanes),
            "bytes": queue.ready_bytes(),
            "policy": None if queue.policy is None else queue.policy.name,
            "arguments": argument_line(options.arguments),
        }


def depth(queue: Queue) -> int:
    """Return how many messages of a queue are not settled."""
    return queue.ready() + queue.unsettled()


def exchange_rows(store: Store) -> Iterator[dict[str, Any]]:
    """Yield a row for each exchange but the default one."""
    for one in store.broker.exchanges():
        yield {
            "exchange": one.name,
            "type": one.type,
            "durable": one.durable,
            "auto_delete": one.auto_delete,
            "internal": one.internal,
            "arguments": argument_line(one.arguments),
        }


def binding_rows(store: Store) -> Iterator[dict[str, Any]]:
    """Yield a row for each binding that was made."""
    for one in store.broker.bindings():
        yield {
            "source": one.source,
            "destination": one.destination,
            "destination_type": one.kind,
            "routing_key": one.routing_key,
            "arguments": argument_line(one.arguments),
        }


def policy_rows(store: Store) -> Iterator[dict[str, Any]]:
    """Yield a row for each policy."""
    for _, one in sorted(virtual_host(store).model.policies.items()):
        yield {
            "policy": one.name,
            "pattern": one.pattern,
            "apply_to": one.apply_to,
            "priority": one.priority,
            "definition": dict(one.definition),
        }

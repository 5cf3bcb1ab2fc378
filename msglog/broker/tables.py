"""What a notebook shows of a broker: queues, exchanges and bindings. Imported by the broker's face and the package."""

from collections import Counter

from msglog.broker.measuring import measure_queue
from msglog.broker.model import PREDECLARED
from msglog.broker.vhost import VirtualHost
from msglog.showing import Size, table
from msglog.store import StoreCore


def broker_tables(core: StoreCore) -> list[str]:
    """Return tables of queues, exchanges that were declared or are used, and bindings, as they are now."""
    vhost = VirtualHost.of(core)
    with vhost.lock:
        queues = sorted(vhost.queues.items())
        exchanges = sorted(vhost.model.exchanges.items())
        bindings = vhost.model.topology.bindings()
    measures = [(name, measure_queue(vhost, queue)) for name, queue in queues if not queue.deleted]
    used = Counter(binding.source for binding in bindings)
    return [
        table(
            "Queues",
            ("queue", "ready", "unsettled", "consumers", "published", "size"),
            [
                (name, one["ready"], one["unsettled"], one["consumers"], one["published"], Size(one["bytes_stored"]))
                for name, one in measures
            ],
            rank=1,
            empty="No queues.",
        ),
        table(
            "Exchanges",
            ("exchange", "type", "durable", "bindings"),
            [
                (name, options.type, options.durable, used[name])
                for name, options in exchanges
                if name not in PREDECLARED or used[name]
            ],
            rank=3,
        ),
        table(
            "Bindings",
            ("from", "routing key", "to", "kind", "arguments"),
            [
                (
                    binding.source,
                    binding.routing_key,
                    binding.destination,
                    binding.kind,
                    ", ".join(map(str, binding.arguments)),
                )
                for binding in bindings
            ],
        ),
    ]

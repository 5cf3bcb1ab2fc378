"""The topology of a store as nodes and edges: exchanges, queues, topics, groups. Imported by the drawings.

Pure but for `topology_of`, which looks. A node's name is what the store calls it, its id a number: names of different
kinds may be equal. Between two nodes there is one edge of each sort, whose labels are those of all bindings.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from msglog.broker.rules.policies import best_policy, effective_alternate
from msglog.cli.output.text import safe, show_mapping
from msglog.cli.output.units import counted, show_count
from msglog.cli.rows.brokers import depth, virtual_host
from msglog.cli.rows.topics import total_lag
from msglog.store import Store

NodeKind = Literal["exchange", "queue", "topic", "group"]
_PREDECLARED = "amq."


class Node(NamedTuple):
    """Something that holds or routes messages; `note` is a second line about it."""

    id: int
    kind: NodeKind
    name: str
    note: str


class Edge(NamedTuple):
    """A way of messages. `dashed`: taken only by messages that cannot go the ordinary one."""

    source: int
    target: int
    label: str
    dashed: bool = False


class Topology(NamedTuple):
    """Nodes in the order of their ids, from 0, and edges between them."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


class _Builder:
    def __init__(self) -> None:
        self._ids: dict[tuple[NodeKind, str], int] = {}
        self._nodes: list[Node] = []
        self._labels: dict[tuple[int, int, bool], list[str]] = {}

    def node(self, kind: NodeKind, name: str, note: str) -> None:
        self._ids[kind, name] = len(self._nodes)
        self._nodes.append(Node(len(self._nodes), kind, safe(name), note))

    def edge(self, source: tuple[NodeKind, str], target: tuple[NodeKind, str], label: str, *, dashed: bool) -> None:
        """Add a label to an edge; a way that leads to nothing that is there is left out."""
        if source in self._ids and target in self._ids:
            labels = self._labels.setdefault((self._ids[source], self._ids[target], dashed), [])
            if label and label not in labels:
                labels.append(label)

    def built(self) -> Topology:
        edges = (
            Edge(source, target, ", ".join(labels), dashed) for (source, target, dashed), labels in self._labels.items()
        )
        return Topology(tuple(self._nodes), tuple(edges))


def topology_of(store: Store) -> Topology:
    """Return what there is. Predeclared exchanges are left out where no way leads over them."""
    builder = _Builder()
    _add_broker(builder, store)
    _add_log(builder, store)
    return builder.built()


def _add_broker(builder: _Builder, store: Store) -> None:
    vhost = virtual_host(store)
    model = vhost.model
    bindings = store.broker.bindings()
    alternates: dict[str, str | None] = {}
    for name, options in model.exchanges.items():
        alternates[name] = effective_alternate(options, best_policy(model.policies.values(), name, "exchange"))
    dead_letters = {name: queue.effective.dead_letter_exchange for name, queue in vhost.queues.items()}
    used = {binding.source for binding in bindings}
    used |= {binding.destination for binding in bindings if binding.kind == "exchange"}
    used |= set(_present((*alternates.values(), *dead_letters.values())))
    used |= {name for name, alternate in alternates.items() if alternate is not None}
    for name, options in sorted(model.exchanges.items()):
        if name in used or not name.startswith(_PREDECLARED):
            builder.node("exchange", name, options.type)
    for name, queue in sorted(vhost.queues.items()):
        builder.node("queue", name, counted(depth(queue), "message"))
    for binding in bindings:
        label = " ".join(part for part in (safe(binding.routing_key), show_mapping(binding.arguments.items())) if part)
        builder.edge(("exchange", binding.source), (binding.kind, binding.destination), label, dashed=False)
    for name, target in alternates.items():
        builder.edge(("exchange", name), ("exchange", target or ""), "alternate", dashed=True)
    for name, queue in vhost.queues.items():
        _add_dead_letters(builder, name, dead_letters[name], queue.effective.dead_letter_routing_key)


def _add_dead_letters(builder: _Builder, name: str, exchange: str | None, routing_key: str | None) -> None:
    if exchange == "" and routing_key is not None:  # the default exchange: straight to a queue
        builder.edge(("queue", name), ("queue", routing_key), "dead letters", dashed=True)
    elif exchange:
        builder.edge(("queue", name), ("exchange", exchange), "dead letters", dashed=True)


def _add_log(builder: _Builder, store: Store) -> None:
    log = store.log
    for name in log.topics():
        partitions = log.describe_topic(name).partitions
        records = sum(one.end_offset - one.start_offset for one in partitions)
        many = f"{len(partitions)} partitions, " if len(partitions) > 1 else ""
        builder.node("topic", name, f"{many}{counted(records, 'record')}")
    for name in log.groups():
        found = log.describe_group(name)
        builder.node("group", name, f"lag {show_count(total_lag(found))}")
        for topic in sorted({tp.topic for tp in found.lag}):
            lag = sum(one or 0 for tp, one in found.lag.items() if tp.topic == topic)
            builder.edge(("topic", topic), ("group", name), f"lag {show_count(lag)}", dashed=False)


def _present(names: Iterable[str | None]) -> Iterable[str]:
    return (name for name in names if name)

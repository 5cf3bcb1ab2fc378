"""The graph of exchanges, bindings and queues, and the way of a message through it.

A plain structure in memory: no I/O, no locks; the caller serializes changes, and reads against changes. Invariants:
both ends of every binding exist; a binding stands in the tables of its source and of its destination or in neither;
the default exchange "" is always there and routes to every queue by its name. Imported by the Broker.

A change that an exception interrupts anywhere is completed by making it again next: the table it begins from, mostly
that of the bindings by destination, is the last it touches. The answer is the same, unless the change was complete.

What the Broker refuses is not refused here: changes of the default exchange, names, rights.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from msglog.broker.rules.bindings import Binding, Destination, Kind, Targets
from msglog.broker.rules.exchange_types import EXCHANGE_TYPES, Choose, Router, check_binding, check_exchange, new_router
from msglog.errors import ExchangeNotFoundError, QueueNotFoundError

__all__ = ["DEFAULT_EXCHANGE", "EXCHANGE_TYPES", "Binding", "Kind", "Topology", "check_binding", "check_exchange"]

DEFAULT_EXCHANGE: Final = ""
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class _Exchange:
    """One exchange: its router, and the bindings where it is the source, in the order they were made."""

    __slots__ = ("alternate", "auto_delete", "bindings", "name", "router")

    def __init__(self, name: str, router: Router, *, auto_delete: bool) -> None:
        self.name: Final = name
        self.router: Final = router
        self.auto_delete: Final = auto_delete
        self.alternate: str | None = None
        self.bindings: dict[Binding, None] = {}


class Topology:
    """Exchanges, bindings and the names of queues.

    Adding what is there and removing what is not changes nothing, so that events can be applied twice. Changes cost
    little but for those by which an auto-delete exchange goes: such a cascade costs as much as there are destinations.
    """

    def __init__(self, choose: Choose = random.randrange) -> None:
        """Start with the default exchange only.

        `choose(n)` returns a random number from 0 to n - 1; x-random exchanges draw by it.
        """
        self._choose = choose
        self._exchanges: dict[str, _Exchange] = {}
        self._queues: set[str] = set()
        self._incoming: dict[Destination, dict[Binding, None]] = {}
        self._key_only: dict[str, bool] = {}
        self.add_exchange(DEFAULT_EXCHANGE, "direct")

    # Exchanges and queues

    def has_exchange(self, name: str) -> bool:
        """Tell whether there is an exchange called `name`."""
        return name in self._exchanges

    def add_exchange(
        self, name: str, type: str, *, auto_delete: bool = False, arguments: Mapping[str, Any] = _NOTHING
    ) -> None:
        """Add an exchange of one of `EXCHANGE_TYPES`; nothing happens when one of this name is there.

        With `auto_delete` it goes with the last binding where it is the source. Of the arguments only those
        count that say what an x-consistent-hash exchange hashes. Raises `PreconditionFailedError` for an unknown
        type or such arguments that are not allowed.
        """
        if name not in self._exchanges:
            router = new_router(type, arguments, self._choose)
            self._key_only.clear()
            self._exchanges[name] = _Exchange(name, router, auto_delete=auto_delete)

    def remove_exchange(self, name: str) -> list[str]:
        """Remove an exchange and the bindings on both sides of it.

        Returns the auto-delete exchanges that lost their last binding by this, directly or one by the other; they
        are removed as well. Exchanges that name it as their alternate keep doing so.
        """
        target = Destination("exchange", name)
        exchange = self._exchanges.get(name)
        if exchange is not None:
            self._key_only.clear()
            for binding in exchange.bindings:
                self._forget_incoming(binding)
            del self._exchanges[name]
        return self._cut_off(target)

    def set_alternate(self, name: str, alternate: str | None) -> None:
        """Let the exchange `name` hand on what none of its bindings takes to `alternate`; None ends that.

        The alternate need not exist: as long as it does not, it takes nothing. Nor does the default exchange, as in
        RabbitMQ. Raises `ExchangeNotFoundError` when `name` does not exist.
        """
        self._exchange(name).alternate = alternate or None
        self._key_only.clear()

    def add_queue(self, name: str) -> None:
        """Add a queue: the default exchange routes to it by its name from now on."""
        if name not in self._queues:
            self._exchanges[DEFAULT_EXCHANGE].router.add(_implicit(name))
            self._queues.add(name)

    def remove_queue(self, name: str) -> list[str]:
        """Remove a queue and its bindings. Returns the auto-delete exchanges that went by this, each once."""
        if name in self._queues:
            self._exchanges[DEFAULT_EXCHANGE].router.remove(_implicit(name))
            self._queues.discard(name)
        return self._cut_off(Destination("queue", name))

    # Bindings

    def bind(self, binding: Binding) -> bool:
        """Add a binding that `check_binding` accepts; tell whether it is new.

        Raises `ExchangeNotFoundError` or `QueueNotFoundError` when one of its ends does not exist.
        """
        source = self._exchange(binding.source)
        self._check_destination(binding.target)
        if binding in self._incoming.get(binding.target, ()):
            return False
        self._key_only.clear()
        source.router.add(binding)
        source.bindings[binding] = None
        self._incoming.setdefault(binding.target, {})[binding] = None
        return True

    def unbind(self, binding: Binding) -> list[str] | None:
        """Remove a binding. Returns None when it was not there, else the auto-delete exchanges that went by this."""
        target = binding.target
        incoming = self._incoming.get(target, {})
        if binding not in incoming:
            return None
        gone = self._cut([binding])
        if gone:
            self._replace_incoming(target, {other: None for other in incoming if other != binding}, gone)
        else:
            self._forget_incoming(binding)
        return gone

    def has_binding(self, binding: Binding) -> bool:
        """Tell whether there is this binding."""
        source = self._exchanges.get(binding.source)
        return source is not None and binding in source.bindings

    def bindings(self) -> list[Binding]:
        """Return all bindings but the implicit ones, by their source exchange, each in the order they were made."""
        return [binding for exchange in self._exchanges.values() for binding in exchange.bindings]

    def bindings_from(self, source: str) -> list[Binding]:
        """Return the bindings where the exchange `source` is the source, in the order they were made."""
        exchange = self._exchanges.get(source)
        return [] if exchange is None else list(exchange.bindings)

    def bindings_to(self, destination: str, kind: Kind) -> list[Binding]:
        """Return the bindings that lead to a queue or an exchange, in the order they were made."""
        return list(self._incoming.get(Destination(kind, destination), ()))

    # Routing

    def route(
        self,
        exchange: str,
        routing_keys: Sequence[str],
        headers: Mapping[str, Any] | None = None,
        properties: object | None = None,
    ) -> tuple[str, ...]:
        """Return the names of the queues that a message published to `exchange` goes to, each once.

        `routing_keys` are the message's own and after it those of CC and BCC. Each exchange on the way whose
        bindings take nothing hands the message to its alternate, as in RabbitMQ: also one that is reached through
        a binding, and not one whose bindings lead to exchanges where the message ends. No exchange is visited
        twice. Raises `ExchangeNotFoundError`.

        The order is stable: the queues bound to an exchange come before those behind the exchanges bound to it;
        for one exchange it is the order of binding, but for topic exchanges, which take patterns without "#" at
        their end first, and direct exchanges with several keys, which go by the keys.
        """
        node = self._exchange(exchange)
        given = _NOTHING if headers is None else headers
        matched = node.router.match(routing_keys, given, properties)
        if len(matched) == 1:
            queues, exchanges = matched[0].split()
            if not exchanges:
                return queues
        found: list[str] = []
        seen = {exchange}
        visits = [(node, matched)]
        for node, matched in visits:
            for name in self._onward(node, matched, found):
                if name not in seen:
                    seen.add(name)
                    reached = self._exchanges[name]
                    visits.append((reached, reached.router.match(routing_keys, given, properties)))
        return tuple(dict.fromkeys(found))

    def depends_on_key_only(self, exchange: str) -> bool:
        """Tell whether the same routing keys always lead from `exchange` to the same queues, until a change.

        False when a headers, an x-random or an x-consistent-hash exchange that hashes a header or property can be
        reached, through bindings or as an alternate. Remembered until the next change. Raises
        `ExchangeNotFoundError`.
        """
        answer = self._key_only.get(exchange)
        if answer is None:
            answer = all(node.router.key_only for node in self._reachable(self._exchange(exchange)))
            self._key_only[exchange] = answer
        return answer

    # Within

    def _exchange(self, name: str) -> _Exchange:
        exchange = self._exchanges.get(name)
        if exchange is None:
            raise ExchangeNotFoundError(f"no exchange '{name}' in vhost '/'", exchange=name)
        return exchange

    def _check_destination(self, target: Destination) -> None:
        if target.kind == "exchange":
            self._exchange(target.name)
        elif target.name not in self._queues:
            raise QueueNotFoundError(f"no queue '{target.name}' in vhost '/'", queue=target.name)

    def _onward(self, node: _Exchange, matched: Sequence[Targets], found: list[str]) -> Iterable[str]:
        """Add the queues among what `node` has matched to `found`; return the exchanges to visit next."""
        if not matched:
            return (node.alternate,) if node.alternate in self._exchanges else ()
        onward: list[str] = []
        for targets in matched:
            queues, exchanges = targets.split()
            found += queues
            onward += exchanges
        return onward

    def _reachable(self, start: _Exchange) -> Iterable[_Exchange]:
        seen = {start.name}
        nodes = [start]
        for node in nodes:
            names = [binding.destination for binding in node.bindings if binding.kind == "exchange"]
            if node.alternate in self._exchanges:
                names.append(node.alternate)
            for name in names:
                if name not in seen:
                    seen.add(name)
                    nodes.append(self._exchanges[name])
        return nodes

    def _cut_off(self, target: Destination) -> list[str]:
        """Remove the bindings that lead to what is gone, and the exchanges that go by this; return those."""
        gone = self._cut(self._incoming.get(target, ()))
        if gone:
            self._replace_incoming(target, {}, gone)
        else:
            self._incoming.pop(target, None)
        return gone

    def _cut(self, bindings: Iterable[Binding]) -> list[str]:
        """Remove bindings at their sources, and the exchanges that go by this; return those.

        The tables of incoming bindings stay as they are. So an interrupted change begins again with the same
        bindings; where one of their sources is missing, it had gone already.
        """
        gone: dict[str, None] = {}
        left: dict[str, int] = {}
        doomed = list(bindings)
        for binding in doomed:
            source = self._exchanges.get(binding.source)
            if source is not None:
                if binding in source.bindings:
                    left[source.name] = left.get(source.name, len(source.bindings)) - 1
                if left.get(source.name) != 0 or not source.auto_delete:
                    continue
            if binding.source not in gone:
                gone[binding.source] = None
                doomed += self._incoming.get(Destination("exchange", binding.source), ())
        self._key_only.clear()
        for name in gone:
            self._exchanges.pop(name, None)
        for binding in doomed:
            source = self._exchanges.get(binding.source)
            if source is not None:
                source.router.remove(binding)
                source.bindings.pop(binding, None)
        return list(gone)

    def _forget_incoming(self, binding: Binding) -> None:
        incoming = self._incoming.get(binding.target, {})
        if len(incoming) == 1 and binding in incoming:
            self._incoming.pop(binding.target, None)
        else:
            incoming.pop(binding, None)

    def _replace_incoming(self, target: Destination, kept: dict[Binding, None], gone: Iterable[str]) -> None:
        """Keep these bindings to `target` and none to the exchanges that are gone, all in one step."""
        replaced = self._incoming | {target: kept}
        for cut_off in [Destination("exchange", name) for name in gone]:
            replaced.pop(cut_off, None)
        if not kept:
            replaced.pop(target, None)
        self._incoming = replaced


def _implicit(queue: str) -> Binding:
    """Return the binding by which the default exchange reaches a queue."""
    return Binding(DEFAULT_EXCHANGE, queue, "queue", queue, _NOTHING)

"""What a binding is, and the sets of destinations that bindings lead to.

Imported by the routing rules, and by the Broker for `Binding`.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from msglog.broker.rules.field_values import comparable
from msglog.showing import as_html, page, table

Kind = Literal["queue", "exchange"]


class Destination(NamedTuple):
    """What a binding leads to: a queue or an exchange, by name. The two kinds have names of their own."""

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class Binding:
    """A binding from the exchange `source` to a queue or, when `kind` says so, to another exchange.

    Two bindings are the same when all five fields are; `arguments` are compared as AMQP field values, so that
    True is not 1 but b"a" is "a". A binding keeps a copy of the arguments it is given; do not change it.
    """

    source: str
    destination: str
    kind: Kind
    routing_key: str
    arguments: Mapping[str, Any] = field(compare=False)
    arguments_key: Hashable = field(init=False, repr=False)
    """What stands for the arguments in comparisons: equal when they are."""

    def __post_init__(self) -> None:
        arguments = dict(self.arguments)
        object.__setattr__(self, "arguments", arguments)
        object.__setattr__(self, "arguments_key", comparable(arguments))

    @as_html
    def _repr_html_(self) -> str:
        name = f"{self.source} → {self.destination}"
        facts = {"to": self.kind, "routing key": self.routing_key or None}
        arguments = table("Arguments", ("argument", "value"), list(self.arguments.items()))
        return page("Binding", name, facts, [arguments])

    @property
    def target(self) -> Destination:
        """The destination with its kind."""
        return Destination(self.kind, self.destination)


class Targets:
    """The destinations of some bindings: each once, in the order in which they were first bound.

    A destination stays as long as one of its bindings does. False when empty. What was done may be done again.
    """

    __slots__ = ("_bindings", "_prepared")

    def __init__(self) -> None:
        self._bindings: dict[Destination, set[Binding]] = {}
        self._prepared: tuple[tuple[str, ...], tuple[str, ...]] | None = None

    def __bool__(self) -> bool:
        return bool(self._bindings)

    def add(self, binding: Binding) -> None:
        """Add a binding."""
        self._bindings.setdefault(binding.target, set()).add(binding)
        self._prepared = None

    def remove(self, binding: Binding) -> None:
        """Remove a binding."""
        target = binding.target
        bindings = self._bindings.get(target, set())
        bindings.discard(binding)
        if not bindings:
            self._bindings.pop(target, None)
        self._prepared = None

    def split(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the names of the queues and the names of the exchanges, prepared once for each change."""
        prepared = self._prepared
        if prepared is None:
            queues = tuple(target.name for target in self._bindings if target.kind == "queue")
            exchanges = tuple(target.name for target in self._bindings if target.kind == "exchange")
            prepared = self._prepared = (queues, exchanges)
        return prepared

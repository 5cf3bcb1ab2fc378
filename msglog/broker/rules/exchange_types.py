"""How each type of exchange chooses among its bindings.

One small class for each type, all behind `Router`. A router knows the bindings of one exchange and nothing of the
exchanges behind it; following those is the topology's business. Imported by the topology and by the Broker, for
the names of the types and the checks.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from msglog.broker.rules.bindings import Binding, Destination, Targets
from msglog.broker.rules.consistent_hash import (
    HASH_HEADER,
    HASH_PROPERTY,
    ConsistentHash,
    check_hash_arguments,
    hash_input,
    weight_of,
)
from msglog.broker.rules.header_matching import HeaderMatcher, check_x_match, comparable_headers
from msglog.broker.rules.topic_trie import TopicTrie
from msglog.errors import PreconditionFailedError

Choose = Callable[[int], int]
"""Returns a random number from 0 to below its argument, each equally likely."""


class Router(Protocol):
    """The bindings of one exchange, and which of them a message goes through.

    A change that was interrupted is completed by making it again; one that was made may be made again.
    """

    @property
    def key_only(self) -> bool:
        """Whether `match` depends on the routing keys alone."""

    def add(self, binding: Binding, /) -> None:
        """Add a binding that `check_binding` has accepted."""

    def remove(self, binding: Binding, /) -> None:
        """Remove a binding."""

    def match(
        self, routing_keys: Sequence[str], headers: Mapping[str, Any], properties: object, /
    ) -> Sequence[Targets]:
        """Return where a message goes, in a stable order: sets of destinations, none of them empty.

        Destinations may repeat. `routing_keys` are the message's own and those of CC and BCC, at least one.
        """


class DirectRouter:
    """The bindings whose key is a routing key of the message."""

    __slots__ = ("_by_key",)

    key_only: Final = True

    def __init__(self) -> None:
        self._by_key: dict[str, Targets] = {}

    def add(self, binding: Binding, /) -> None:
        """See `Router`."""
        _add(self._by_key, binding.routing_key, binding)

    def remove(self, binding: Binding, /) -> None:
        """See `Router`."""
        _remove(self._by_key, binding.routing_key, binding)

    def match(
        self, routing_keys: Sequence[str], _headers: Mapping[str, Any], _properties: object, /
    ) -> Sequence[Targets]:
        """See `Router`."""
        by_key = self._by_key
        return [by_key[key] for key in routing_keys if key in by_key]


class FanoutRouter:
    """All bindings."""

    __slots__ = ("_matched", "_targets")

    key_only: Final = True

    def __init__(self) -> None:
        self._targets = Targets()
        self._matched: tuple[Targets, ...] = ()

    def add(self, binding: Binding, /) -> None:
        """See `Router`."""
        self._targets.add(binding)
        self._matched = (self._targets,)

    def remove(self, binding: Binding, /) -> None:
        """See `Router`."""
        self._targets.remove(binding)
        self._matched = (self._targets,) if self._targets else ()

    def match(
        self, _routing_keys: Sequence[str], _headers: Mapping[str, Any], _properties: object, /
    ) -> Sequence[Targets]:
        """See `Router`."""
        return self._matched


class TopicRouter:
    """The bindings whose key, taken as a pattern, matches a routing key of the message."""

    __slots__ = ("_trie",)

    key_only: Final = True

    def __init__(self) -> None:
        self._trie = TopicTrie()

    def add(self, binding: Binding, /) -> None:
        """See `Router`."""
        self._trie.add(binding)

    def remove(self, binding: Binding, /) -> None:
        """See `Router`."""
        self._trie.remove(binding)

    def match(
        self, routing_keys: Sequence[str], _headers: Mapping[str, Any], _properties: object, /
    ) -> Sequence[Targets]:
        """See `Router`."""
        if len(routing_keys) == 1:
            return self._trie.match(routing_keys[0])
        return [targets for key in routing_keys for targets in self._trie.match(key)]


class HeadersRouter:
    """The bindings whose arguments the headers satisfy. The cost grows with the number of different arguments."""

    __slots__ = ("_by_arguments", "_matchers")

    key_only: Final = False

    def __init__(self) -> None:
        self._by_arguments: dict[Any, Targets] = {}
        self._matchers: dict[Any, HeaderMatcher] = {}

    def add(self, binding: Binding, /) -> None:
        """See `Router`."""
        _add(self._by_arguments, binding.arguments_key, binding)
        self._matchers.setdefault(binding.arguments_key, HeaderMatcher(binding.arguments))

    def remove(self, binding: Binding, /) -> None:
        """See `Router`."""
        _remove(self._by_arguments, binding.arguments_key, binding)
        if binding.arguments_key not in self._by_arguments:
            self._matchers.pop(binding.arguments_key, None)

    def match(
        self, _routing_keys: Sequence[str], headers: Mapping[str, Any], _properties: object, /
    ) -> Sequence[Targets]:
        """See `Router`."""
        given = comparable_headers(headers)
        by_arguments = self._by_arguments
        return [by_arguments[key] for key, matcher in self._matchers.items() if matcher.matches(given)]


class ConsistentHashRouter:
    """One binding by the hash of the routing key, or of the header or property that the exchange names.

    A binding key is the weight of its destination; of several bindings to one destination the heaviest counts.
    What lacks the header or property goes where the empty text goes.
    """

    __slots__ = ("_by_binding", "_hash", "_header", "_property", "key_only")

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        """Take the arguments of the exchange, which `check_exchange` has accepted."""
        self._header: str | None = arguments.get(HASH_HEADER)
        self._property: str | None = arguments.get(HASH_PROPERTY)
        self.key_only: Final = self._header is None and self._property is None
        self._by_binding: dict[Binding, Targets] = {}
        self._hash: ConsistentHash[Binding] = ConsistentHash()

    def add(self, binding: Binding, /) -> None:
        """See `Router`."""
        self._hash.add(binding, f"{binding.kind} {binding.destination}", weight_of(binding.routing_key))
        _add(self._by_binding, binding, binding)

    def remove(self, binding: Binding, /) -> None:
        """See `Router`."""
        self._hash.remove(binding)
        _remove(self._by_binding, binding, binding)

    def match(
        self, routing_keys: Sequence[str], headers: Mapping[str, Any], properties: object, /
    ) -> Sequence[Targets]:
        """See `Router`."""
        value: Any = routing_keys[0]
        if self._header is not None:
            value = headers.get(self._header)
        elif self._property is not None:
            value = getattr(properties, self._property, None)
        chosen = self._hash.choose(hash_input(value))
        return () if chosen is None else (self._by_binding[chosen],)


class RandomRouter:
    """One bound destination, each equally likely however many bindings it has."""

    __slots__ = ("_by_target", "_choices", "_choose")

    key_only: Final = False

    def __init__(self, choose: Choose) -> None:
        """Draw by `choose`."""
        self._choose = choose
        self._by_target: dict[Destination, Targets] = {}
        self._choices: tuple[Targets, ...] = ()

    def add(self, binding: Binding, /) -> None:
        """See `Router`."""
        _add(self._by_target, binding.target, binding)
        self._choices = tuple(self._by_target.values())

    def remove(self, binding: Binding, /) -> None:
        """See `Router`."""
        _remove(self._by_target, binding.target, binding)
        self._choices = tuple(self._by_target.values())

    def match(
        self, _routing_keys: Sequence[str], _headers: Mapping[str, Any], _properties: object, /
    ) -> Sequence[Targets]:
        """See `Router`."""
        choices = self._choices
        return (choices[self._choose(len(choices))],) if choices else ()


def _add(table: dict[Any, Targets], key: Any, binding: Binding) -> None:
    targets = table.get(key)
    if targets is None:
        targets = table[key] = Targets()
    targets.add(binding)


def _remove(table: dict[Any, Targets], key: Any, binding: Binding) -> None:
    targets = table.get(key)
    if targets is not None:
        targets.remove(binding)
        if not targets:
            table.pop(key, None)


_ROUTERS: Final[dict[str, Callable[[Mapping[str, Any], Choose], Router]]] = {
    "direct": lambda _arguments, _choose: DirectRouter(),
    "fanout": lambda _arguments, _choose: FanoutRouter(),
    "topic": lambda _arguments, _choose: TopicRouter(),
    "headers": lambda _arguments, _choose: HeadersRouter(),
    "x-consistent-hash": lambda arguments, _choose: ConsistentHashRouter(arguments),
    "x-random": lambda _arguments, choose: RandomRouter(choose),
}
EXCHANGE_TYPES: Final = frozenset(_ROUTERS)
"""The types an exchange can have."""


def check_exchange(type: str, arguments: Mapping[str, Any]) -> None:
    """Make sure that an exchange can be of `type` with these arguments. Raises `PreconditionFailedError`."""
    if type not in EXCHANGE_TYPES:
        raise PreconditionFailedError(f"{'unknown' if type else 'invalid'} exchange type '{type}'")
    if type == "x-consistent-hash":
        check_hash_arguments(arguments)


def check_binding(type: str, routing_key: str, arguments: Mapping[str, Any]) -> None:
    """Make sure that an exchange of `type` can have a binding of this key and these arguments.

    Raises `PreconditionFailedError` for a headers exchange when `x-match` is not one of its four modes, and for an
    x-consistent-hash exchange when the routing key is not an integer above 0.
    """
    if type == "headers":
        check_x_match(arguments)
    elif type == "x-consistent-hash":
        weight_of(routing_key)


def new_router(type: str, arguments: Mapping[str, Any], choose: Choose) -> Router:
    """Return an empty router for an exchange of `type`. Raises `PreconditionFailedError` like `check_exchange`."""
    check_exchange(type, arguments)
    return _ROUTERS[type](arguments, choose)

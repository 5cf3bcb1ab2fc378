"""Routing spelled out: bindings in short, and what they match by the plainest rules there are."""

from msglog.broker.rules.bindings import Binding


def bound(source, destination, routing_key="", arguments=None, *, kind="queue"):
    return Binding(source, destination, kind, routing_key, arguments or {})


def words_of(text):
    return tuple(text.split(".")) if text else ()


def topic_matches(pattern, key):
    """Tell whether a topic pattern matches a routing key; both are sequences of words."""
    if not pattern:
        return not key
    first, rest = pattern[0], pattern[1:]
    if first == "#":
        return topic_matches(rest, key) or (bool(key) and topic_matches(pattern, key[1:]))
    return bool(key) and first in ("*", key[0]) and topic_matches(rest, key[1:])


def headers_match(arguments, headers):
    """Tell whether headers satisfy arguments of plain text, None or int, without a bool among them."""
    mode = arguments.get("x-match", "all")
    found = [
        name in headers and (value is None or headers[name] == value)
        for name, value in arguments.items()
        if name != "x-match" and (mode.endswith("-with-x") or not name.startswith("x-"))
    ]
    return any(found) if mode.startswith("any") else all(found)


class NaiveTopology:
    """A list of bindings and the rules of routing, looked through from the beginning each time."""

    def __init__(self):
        self.types = {"": "direct"}
        self.auto_delete = set()
        self.alternates = {}
        self.queues = []
        self.bindings = []

    def matches(self, binding, keys, headers):
        return {
            "direct": lambda: binding.routing_key in keys,
            "fanout": lambda: True,
            "topic": lambda: any(topic_matches(words_of(binding.routing_key), words_of(key)) for key in keys),
            "headers": lambda: headers_match(binding.arguments, headers),
        }[self.types[binding.source]]()

    def route(self, exchange, keys, headers, seen=None):
        seen = set() if seen is None else seen
        if exchange in seen or exchange not in self.types:
            return set()
        seen.add(exchange)
        implicit = [bound("", queue, queue) for queue in self.queues]
        matched = [
            binding
            for binding in (*self.bindings, *implicit)
            if binding.source == exchange and self.matches(binding, keys, headers)
        ]
        if not matched:
            return self.route(self.alternates.get(exchange) or None, keys, headers, seen)
        found = {binding.destination for binding in matched if binding.kind == "queue"}
        for binding in matched:
            if binding.kind == "exchange":
                found |= self.route(binding.destination, keys, headers, seen)
        return found

    def remove_bindings(self, doomed):
        """Remove the bindings and what goes by that; return the exchanges gone, as a set."""
        sources = {binding.source for binding in doomed}
        self.bindings = [binding for binding in self.bindings if binding not in doomed]
        gone = set()
        for source in sorted(sources & self.auto_delete):
            if source in self.types and not any(binding.source == source for binding in self.bindings):
                gone |= {source} | self.remove_exchange(source)
        return gone

    def remove_exchange(self, name):
        self.types.pop(name)
        self.auto_delete.discard(name)
        self.alternates.pop(name, None)
        self.bindings = [binding for binding in self.bindings if binding.source != name]
        into = [binding for binding in self.bindings if (binding.kind, binding.destination) == ("exchange", name)]
        return self.remove_bindings(into)

    def remove_queue(self, name):
        self.queues.remove(name)
        into = [binding for binding in self.bindings if (binding.kind, binding.destination) == ("queue", name)]
        return self.remove_bindings(into)

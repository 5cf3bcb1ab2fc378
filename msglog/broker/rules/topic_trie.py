"""Matching routing keys against the patterns of a topic exchange. Imported by the exchange types.

A key is words between dots, and an empty word is a word; only the empty key has none. In a pattern "*" stands
for exactly one word, "#" for any number of them; in a key both are ordinary words.

Patterns are kept as a tree of words. All nodes that fit the words so far are followed at once, so that the cost
of a key grows with the nodes that fit and never with the ways in which "#" can be stretched. A pattern's run of
wildcards is stored with its stars first and one "#" after them, which means the same: below a "#" there are
only words. No node is empty: removing the last binding of a pattern takes its branch away. Changes that were
interrupted are completed by making them again.
"""

from collections.abc import Sequence
from typing import Final

from msglog.broker.rules.bindings import Binding, Targets

ONE_WORD: Final = "*"
ANY_WORDS: Final = "#"


class _Node:
    """Where patterns that begin alike stand: `words`, `star` and `rest` continue them, `targets` ends some."""

    __slots__ = ("rest", "star", "targets", "words")

    def __init__(self) -> None:
        self.words: dict[str, _Node] = {}
        self.star: _Node | None = None
        self.rest: _Node | None = None
        self.targets: Targets | None = None

    @property
    def empty(self) -> bool:
        return not (self.targets or self.words or self.star or self.rest)

    def child(self, step: str) -> "_Node | None":
        if step == ONE_WORD:
            return self.star
        if step == ANY_WORDS:
            return self.rest
        return self.words.get(step)

    def put(self, step: str, child: "_Node") -> None:
        if step == ONE_WORD:
            self.star = child
        elif step == ANY_WORDS:
            self.rest = child
        else:
            self.words[step] = child

    def cut(self, step: str) -> None:
        if step == ONE_WORD:
            self.star = None
        elif step == ANY_WORDS:
            self.rest = None
        else:
            self.words.pop(step, None)


class TopicTrie:
    """The bindings of one topic exchange, by their routing keys as patterns."""

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root = _Node()

    def add(self, binding: Binding) -> None:
        """Add a binding."""
        node = self._root
        for step in _steps(binding.routing_key):
            child = node.child(step)
            if child is None:
                child = _Node()
                node.put(step, child)
            node = child
        if node.targets is None:
            node.targets = Targets()
        node.targets.add(binding)

    def remove(self, binding: Binding) -> None:
        """Remove a binding, and the nodes that nothing needs any more."""
        node: _Node | None = self._root
        path: list[tuple[_Node, str]] = []
        for step in _steps(binding.routing_key):
            if node is None:
                break
            path.append((node, step))
            node = node.child(step)
        if node is not None and node.targets is not None:
            node.targets.remove(binding)
            if not node.targets:
                node.targets = None
        for parent, step in reversed(path):
            child = parent.child(step)
            if child is not None and child.empty:
                parent.cut(step)

    def match(self, routing_key: str) -> list[Targets]:
        """Return what the matching patterns lead to, none of it empty.

        The order depends on the patterns and the key alone: patterns without "#" at their end come first.
        """
        fitting = [self._root]
        # Nodes of a "#" fit whatever follows, so once reached they stay. A dict, because a "#" below another one
        # is reached once for each way of stretching that; and for its order.
        stretching: dict[_Node, None] = {}
        if self._root.rest is not None:
            stretching[self._root.rest] = None
        for word in _words(routing_key):
            following: list[_Node] = []
            for node in fitting:
                child = node.words.get(word)
                if child is not None:
                    following.append(child)
                if node.star is not None:
                    following.append(node.star)
            for node in stretching:
                child = node.words.get(word)
                if child is not None:
                    following.append(child)
            for node in following:
                if node.rest is not None:
                    stretching[node.rest] = None
            fitting = following
        return [node.targets for nodes in (fitting, stretching) for node in nodes if node.targets is not None]


def _words(text: str) -> Sequence[str]:
    return text.split(".") if text else ()


def _steps(pattern: str) -> list[str]:
    """Return the pattern's words with every run of wildcards in its normal form."""
    steps: list[str] = []
    stretching = False
    for word in _words(pattern):
        if word == ANY_WORDS:
            stretching = True
            continue
        if stretching and word != ONE_WORD:
            steps.append(ANY_WORDS)
            stretching = False
        steps.append(word)
    return [*steps, ANY_WORDS] if stretching else steps

"""Forked children: a handle that was opened before the fork refuses to work there, and never unlocks.

The child has the parent's memory, but not its threads, and its stores would reach the parent's files. Imported by
`engine`.
"""

import os
import weakref
from typing import Protocol


class Refusing(Protocol):
    """Something that must not be used after a fork."""

    def refuse_in_child(self) -> None:
        """Refuse all calls from now on."""


_open: "weakref.WeakSet[Refusing]" = weakref.WeakSet()


def register(item: Refusing) -> None:
    """Have `item` refuse to work in children forked from now on."""
    _open.add(item)


def unregister(item: Refusing) -> None:
    """Forget an item that was closed."""
    _open.discard(item)


def _after_fork_in_child() -> None:
    for item in list(_open):
        item.refuse_in_child()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

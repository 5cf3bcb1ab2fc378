"""Forked children: a handle that was opened before the fork refuses to work there, and never unlocks.

The child has the parent's memory, but not its threads, and its stores would reach the parent's files. Imported by
`engine`.
"""

import os
import weakref
from typing import Any, Protocol

from msglog.errors import ClosedError


class Refusing(Protocol):
    """Something that must not be used after a fork."""

    def refuse_in_child(self) -> None:
        """Refuse all calls from now on."""


class Closing(Protocol):
    """An engine, as far as its end is concerned."""

    directory: str
    obstacle: Any


_open: "weakref.WeakSet[Refusing]" = weakref.WeakSet()


def register(item: Refusing) -> None:
    """Have `item` refuse to work in children forked from now on."""
    _open.add(item)


def unregister(item: Refusing) -> None:
    """Forget an item that was closed."""
    _open.discard(item)


def why_closed(engine: Closing) -> str:
    """Return what to tell whoever finds a store closed, or closing: a forked child has closed nothing itself."""
    obstacle = engine.obstacle
    return str(obstacle) if isinstance(obstacle, ClosedError) else f"the store {engine.directory} was closed"


def _after_fork_in_child() -> None:
    for item in list(_open):
        item.refuse_in_child()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

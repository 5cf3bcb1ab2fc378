"""What a handle ends before itself: the consumers and subscriptions that were made through it. Imported by handles.

As with threads, all subscriptions stop first, then each finishes what it has in hand, then consumers are closed.
"""

import asyncio
from typing import Any, Protocol
from weakref import WeakSet


class Closing(Protocol):
    """A consumer or a subscription of tasks."""

    def stop(self) -> None:
        """Have it hand out nothing more."""

    async def close(self) -> None:
        """End it; calling again does nothing."""


class Children:
    """Consumers and subscriptions, as long as anybody holds them."""

    def __init__(self) -> None:
        self._children: WeakSet[Any] = WeakSet()

    def add(self, child: Closing) -> None:
        """Have `close` end it."""
        self._children.add(child)

    async def close(self) -> None:
        """End them all, also when one raises; the first error is raised at the end. Cancelled, it leaves the rest."""
        subscriptions = [child for child in self._children if hasattr(child, "wait_idle")]
        consumers = [child for child in self._children if not hasattr(child, "wait_idle")]
        for subscription in subscriptions:
            subscription.stop()
        errors: list[Exception] = []
        for child in (*subscriptions, *consumers):
            try:
                await child.close()
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 raised below
                errors.append(error)
        if errors:
            raise errors[0]

"""Whose transaction it is: it belongs to one thread, or to one task of asyncio, and none is inside another.

Invariants: an owner has at most one transaction open on a store; what was dropped without its end does not count.
Imported by `transaction`.
"""

import sys
from collections.abc import Hashable
from threading import current_thread
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from msglog.errors import TransactionError
from msglog.store import StoreCore

if TYPE_CHECKING:
    from msglog.transactions.transaction import Transaction

Owner = tuple[Hashable, Hashable]

_open: Final[WeakValueDictionary[tuple[int, Owner], "Transaction"]] = WeakValueDictionary()


def current_owner() -> Owner:
    """Return the thread that is running, with its task if it runs an event loop."""
    asyncio = sys.modules.get("asyncio")
    task = None
    if asyncio is not None:
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no loop runs in this thread
            task = None
    return current_thread(), task


def enter(core: StoreCore, owner: Owner, transaction: "Transaction") -> None:
    """Note that an owner's transaction is open. Raises `TransactionError` inside of another one on the same store."""
    if _open.setdefault((id(core), owner), transaction) is not transaction:
        raise TransactionError("transactions do not nest: this thread or task is in one on this store already")


def leave(core: StoreCore, owner: Owner) -> None:
    """Note that an owner's transaction has ended."""
    _open.pop((id(core), owner), None)

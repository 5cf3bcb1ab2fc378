"""Whose transaction it is: it belongs to one thread, or to one task of asyncio, and none is inside another.

Invariants: an owner has at most one transaction open on a store; what was dropped without its end does not count.
Imported by `transaction`.
"""

import sys
from collections.abc import Hashable
from threading import Thread, current_thread, local
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from msglog.errors import TransactionError
from msglog.store import StoreCore

if TYPE_CHECKING:
    from msglog.transactions.transaction import Transaction

Owner = tuple[Thread, Hashable]

_NESTED: Final = "transactions do not nest: this thread or task is in one on this store already"


class _Here(local):
    """The running thread: asking for it here takes a third of `current_thread`."""

    def __init__(self) -> None:
        self.thread: Thread = current_thread()


here: Final = _Here()


class _Reference(ref["Transaction"]):
    """A transaction that is open, as long as somebody else holds it; `key`: where it is noted."""

    __slots__ = ("key",)

    key: tuple[int, Owner]


# A WeakValueDictionary by hand: that class takes four times as long for an entry.
_open: Final[dict[tuple[int, Owner], _Reference]] = {}


def _forget(reference: _Reference) -> None:
    """Forget a transaction that was dropped without its end."""
    if _open.get(reference.key) is reference:
        _open.pop(reference.key, None)


def no_loop() -> None:
    """Answer for an asyncio that cannot be asked: nobody has imported it, or another thread is just doing so."""


def current_owner() -> Owner:
    """Return the thread that is running, with its task if it runs an event loop."""
    asyncio: Any = sys.modules.get("asyncio")
    # Asked like this nothing is raised where no loop runs: that costs more than all the rest.
    if getattr(asyncio, "_get_running_loop", no_loop)() is None:
        return here.thread, None
    task = asyncio.current_task()
    # Not the task itself: it holds the transaction, and nobody could collect either when its loop is gone.
    return here.thread, None if task is None else ref(task)


def check_outside(core: StoreCore) -> None:
    """Raise `TransactionError` while the running thread or task is in a transaction on a store."""
    known = _open.get((id(core), current_owner()))
    if known is not None and known() is not None:
        raise TransactionError(_NESTED)


def enter(core: StoreCore, transaction: "Transaction") -> Owner:
    """Note that a transaction is open; return its owner, who is running.

    Raises `TransactionError` inside of another one on the same store.
    """
    owner = current_owner()
    reference = _Reference(transaction, _forget)
    reference.key = key = (id(core), owner)
    known = _open.setdefault(key, reference)
    if known is not reference:
        if known() is not None:
            raise TransactionError(_NESTED)
        _open[key] = reference  # only the owner itself comes here with its key
    return owner


def leave(core: StoreCore, owner: Owner) -> None:
    """Note that an owner's transaction has ended."""
    _open.pop((id(core), owner), None)

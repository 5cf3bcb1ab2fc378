"""Waiting for syncs, put off: a thread that must not sleep writes, and leaves the waiting to somebody else.

    with Deferral() as deferral:
        log.append(...)             # written, not waited for
    # deferral.commit: what is to be waited for, 0 for nothing

An event loop does so: `aio` then awaits the commit without blocking. Invariant: while a deferral is in force in
a thread, no `Engine.wait` of that thread sleeps or syncs; each only notes its commit. They nest; an inner
one hides the outer one. Imported by the writers and by `aio`.
"""

from threading import local
from types import TracebackType
from typing import Self


class _InForce(local):
    """The deferral of the running thread."""

    deferral: "Deferral | None" = None


_in_force = _InForce()


class Deferral:
    """A block in which waiting for a commit only notes its number."""

    __slots__ = ("_outer", "commit")

    def __init__(self) -> None:
        self.commit = 0
        self._outer: Deferral | None = None

    def __enter__(self) -> Self:
        self._outer = _in_force.deferral
        _in_force.deferral = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _in_force.deferral = self._outer


def put_off(commit: int) -> bool:
    """Note a commit that a deferral is in force for; return whether there is one, so that nobody is to wait now."""
    deferral = _in_force.deferral
    if deferral is None:
        return False
    deferral.commit = max(deferral.commit, commit)
    return True

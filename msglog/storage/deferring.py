"""Waiting for syncs, put off: a thread that must not sleep writes, and leaves the waiting to somebody else.

    deferral, outer = Deferral(), in_force.deferral
    try:
        in_force.deferral = deferral
        log.append(...)             # written, not waited for
    finally:
        in_force.deferral = outer
    # deferral.commit: what is to be waited for, 0 for nothing

An event loop does so: `aio` then awaits the commit without blocking. It is spelled out like that, not a context
manager: a signal handler may raise in the call of an `__exit__`, and a deferral that stayed in force would leave all
that the thread writes from then on without its sync. Invariant: while a deferral is in force in a thread, no
`Engine.wait` of that thread sleeps or syncs; each only notes its commit. They nest; an inner one hides the outer one.
Imported by the writers and by `aio`.
"""

from threading import local


class Deferral:
    """Notes which commit is to be waited for."""

    __slots__ = ("commit",)

    def __init__(self) -> None:
        self.commit = 0


class _InForce(local):
    """The deferral of the running thread."""

    deferral: Deferral | None = None


in_force = _InForce()


def put_off(commit: int) -> bool:
    """Note a commit that a deferral is in force for; return whether there is one, so that nobody is to wait now."""
    deferral = in_force.deferral
    if deferral is None:
        return False
    deferral.commit = max(deferral.commit, commit)
    return True

"""When a call to the file system fails, and how."""

import enum
import errno


class Fault(enum.Enum):
    """What goes wrong. The names are the operating system's, but for a write that stops half-way."""

    EIO = errno.EIO
    ENOSPC = errno.ENOSPC
    EDQUOT = errno.EDQUOT
    EMFILE = errno.EMFILE
    EINTR = errno.EINTR
    SHORT_WRITE = "short write"


FULL = frozenset({Fault.ENOSPC, Fault.EDQUOT, Fault.SHORT_WRITE})

_EVERY_CALL = frozenset(
    {"open", "create", "read", "map", "allocate", "write", "sync"}
    | {"list", "rename", "unlink", "make_directory", "sync_directory", "lock"}
)
_GROWING_CALLS = frozenset({"create", "allocate", "write", "make_directory", "rename", "sync", "sync_directory"})
_CALLS_THAT_CAN_FAIL: dict[Fault, frozenset[str]] = {
    Fault.EIO: _EVERY_CALL,
    Fault.ENOSPC: _GROWING_CALLS,
    Fault.EDQUOT: _GROWING_CALLS,
    Fault.EMFILE: frozenset({"open", "create", "map", "list", "sync_directory", "lock"}),
    # Python itself goes on with an interrupted call, but where a signal's handler raises: then it looks like this.
    Fault.EINTR: _EVERY_CALL,
    Fault.SHORT_WRITE: frozenset({"write"}),
}


class FaultPlan:
    """Fails the call number `at` (from 0) among those that `fault` can hit, and with `forever` all after it.

    `calls` narrows that down to some kinds of calls. `seen` counts the calls that could have been hit,
    `fired` those that were: a plan that never fires (`at=NEVER`) counts how many there are.
    """

    NEVER = 1 << 62

    def __init__(
        self, fault: Fault, at: int = NEVER, *, forever: bool = False, calls: frozenset[str] | None = None
    ) -> None:
        self.fault = fault
        self.at = at
        self.forever = forever
        self.seen = 0
        self.fired = 0
        self._calls = _CALLS_THAT_CAN_FAIL[fault] & (calls or _EVERY_CALL)

    def strikes(self, call: str) -> bool:
        """Count a call and return whether it fails."""
        if call not in self._calls:
            return False
        number = self.seen
        self.seen += 1
        if number == self.at or (self.forever and number > self.at):
            self.fired += 1
            return True
        return False

"""How a simulated process ends in the middle of a call: by itself (a kill) or with the machine (a loss of power)."""

from support.faults import Fault, FaultPlan
from support.faulty_filesystem import FaultyFileSystem


class Ended(BaseException):
    """The process is dead: no code of it runs any more, and what of it does reaches no file."""


class Unnoticed(Exception):  # noqa: N818 nothing is wrong with the store
    """A fault struck in a call that did not tell: it put off a part of what was to be done."""


class CutPlan(FaultPlan):
    """Ends the process at the call number `at` to its file system. `heir` is what the next process finds.

    With `behind`, calls count from the one after the first of that kind.
    """

    def __init__(self, filesystem: FaultyFileSystem, at: int, *, behind: str = "") -> None:
        super().__init__(Fault.EIO, at)
        self.heir: FaultyFileSystem | None = None
        self._filesystem = filesystem
        self._behind = behind

    def strikes(self, call: str) -> bool:
        """Count a call; the one that is reached does not happen, nor anything after it."""
        if self._behind:
            self._behind = "" if call == self._behind else self._behind
            return False
        if super().strikes(call):
            self.heir = self._filesystem.kill()
            raise Ended(call)
        return False

"""When a consumer with records in its hand looks up, to tell its group that it lives and commit what is finished.

Doing so for every record, or every poll for one, would cost more than the record; doing it once per batch would be too
late for slow work. So it is done for each of the first records, and from then on about once a millisecond. With a
manual clock, which only tests have, it is done for every record: there everything must be exact. Imported by the
consumer.
"""

from time import monotonic
from typing import Final

NEVER: Final = float("inf")
"""The due time of a consumer that has nobody to tell: only its bell makes it look up."""

_INTERVAL_SECONDS: Final = 0.001
_BURST: Final = 100


class Pace:
    """`due` is the time on `time.monotonic` from which the next look is due. Not for several threads."""

    __slots__ = ("_credit", "_every_record", "_last", "due")

    def __init__(self, *, needed: bool, every_record: bool) -> None:
        self._every_record = every_record
        self._credit = float(_BURST)
        self._last = 0.0
        self.due = 0.0 if needed else NEVER

    def looked(self) -> None:
        """Note that a look was taken now."""
        if self._every_record or self.due == NEVER:
            return
        now = monotonic()
        self._credit = min(float(_BURST), self._credit + (now - self._last) / _INTERVAL_SECONDS) - 1
        self._last = now
        self.due = now if self._credit >= 1 else now + _INTERVAL_SECONDS

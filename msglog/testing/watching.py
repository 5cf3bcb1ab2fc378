"""Whoever wants to see, or to refuse, what is written to a store. See `tapping` for when it is called and where.

Imported by the tap and by those who watch: recorders and faults.
"""

from collections.abc import Callable, Iterable

from msglog.testing.events import Committed, Published, Settled, ShareSettled
from msglog.types import Record


class Watcher:
    """The base of recorders and faults: every method may be left as it is, and does nothing then."""

    def writing(self) -> None:
        """Hear that a commit, of whatever kind, is to be written."""

    def appending(self, records: list[Record]) -> None:
        """Hear of records that are to be appended in one commit."""

    def appended(self, records: list[Record]) -> None:
        """Hear that records were appended in one commit."""

    def committing(self, offsets: list[Committed]) -> None:
        """Hear of offsets that are to be committed together."""

    def committed(self, offsets: list[Committed]) -> None:
        """Hear that offsets were committed together."""

    def share_settling(self, records: list[ShareSettled]) -> None:
        """Hear of records that a share group is about to be done with."""

    def share_settled(self, records: list[ShareSettled]) -> None:
        """Hear that a share group is done with records."""

    def publishing(self, published: Published) -> None:
        """Hear of a message that is routed and not written yet."""

    def published(self, published: Published) -> None:
        """Hear that a message was written to its queues, or dropped since there is none."""

    def settling(self, settled: Settled) -> None:
        """Hear of a message that is to be settled; one that goes back to its queue is not asked for."""

    def settled(self, settled: Settled) -> None:
        """Hear that a message was settled, or went back to its queue."""


def tell_all(calls: Iterable[Callable[[], None]]) -> None:
    """Do all calls that tell of what was written; then raise what one of them raised, the first that did."""
    failure: Exception | None = None
    for call in calls:
        try:
            call()
        except Exception as error:  # noqa: BLE001 a predicate of a test may raise anything
            failure = failure or error
    if failure is not None:
        raise failure

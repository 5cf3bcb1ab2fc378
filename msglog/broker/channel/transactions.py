"""What a channel in transaction mode puts off until `tx_commit`: publications and settlements.

Imported by the session.
"""

from msglog.broker.settling import Settlement
from msglog.broker.vhost import Publication


class ChannelTransaction:
    """The publications, each with its `mandatory`, and the settlements with their tags, in the order of the calls."""

    __slots__ = ("publications", "settlements")

    def __init__(self) -> None:
        self.publications: list[tuple[Publication, bool]] = []
        self.settlements: list[tuple[int, Settlement]] = []

    def clear(self) -> list[tuple[int, Settlement]]:
        """Forget everything; return the settlements that were put off."""
        settlements = self.settlements
        self.publications, self.settlements = [], []
        return settlements

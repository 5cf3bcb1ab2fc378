"""The share groups of a store that is watched: they say why a record is settled, which no event on disk does.

The service of an open store becomes one of these as long as somebody watches, see `tapping`. Everything here runs under
the lock of the share groups. Imported by `tapping`.
"""

from typing import Any

from msglog.log.share.partition import Haul, SharePartition
from msglog.log.share.sharing import Outcome, Sharing


class TappedSharing(Sharing):
    """See the module. `outcomes`: of what is about to be settled, by cursor and offset, until it is told."""

    outcomes: dict[tuple[int, int], Outcome]

    def settlement(self, partition: SharePartition, offset: int, outcome: Outcome) -> list[Any]:
        """Return the event that settles a record, and note why."""
        self.outcomes[partition.cursor.id, offset] = outcome
        return super().settlement(partition, offset, outcome)

    def _write_haul(self, haul: Haul) -> None:
        self.outcomes.update({(partition.cursor.id, offset): "delivery_limit" for partition, offset in haul.given_up})
        super()._write_haul(haul)

"""The pool's result: flights per carrier, kept together with the offset up to which they are counted.

Partition p of the topic `totals` belongs to partition p of the topic `flights`. Its last record is the state:
the totals and the next offset to count, in one record, so both are there or neither is.
"""

import json
from collections import Counter
from dataclasses import dataclass, field

from msglog import Log

TOPIC = "totals"


@dataclass(slots=True)
class Totals:
    """Counts of every flight of a partition below `next_offset`, and of no other."""

    partition: int
    next_offset: int = 0
    carriers: Counter[str] = field(default_factory=Counter)
    saved: int = 0  # how often: the offset that the next save must get

    @staticmethod
    def create_topic(log: Log, partitions: int) -> None:
        """Create the topic: only the last totals of each partition need to be kept."""
        log.create_topic(TOPIC, partitions=partitions, cleanup_policy="compact")

    @classmethod
    def load(cls, log: Log, partition: int) -> "Totals":
        """Return what was saved last, or totals of nothing."""
        saved = log.end_offset(TOPIC, partition)
        totals = cls(partition, saved=saved)
        for record in log.read(TOPIC, partition, start=max(0, saved - 1)):
            state = json.loads(record.value or b"")
            totals.next_offset, totals.carriers = state["next_offset"], Counter(state["carriers"])
        return totals

    def save(self, log: Log) -> None:
        """Append the totals as they are now; OffsetConflictError when someone else has saved in between."""
        state = {"next_offset": self.next_offset, "carriers": self.carriers}
        log.append(
            TOPIC,
            json.dumps(state).encode(),
            key=b"totals",
            partition=self.partition,
            expected_offset=self.saved,
        )
        self.saved += 1

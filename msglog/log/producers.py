"""What the log remembers of each named producer: its holder's epoch and its last batches.

    sequence given      last batches        answer
    last + 1            -                   appended
    at or below last    among them          the original place, as a duplicate
    at or below last    forgotten           refused: it was written, but nobody knows where any more
    above last + 1      -                   refused: a gap

Kafka remembers the last five batches of a producer on a partition; here they are the last 64 over all topics,
since a name's sequence numbers run over all of them. Plain state and decisions, no I/O. Imported by `model`
and `producer`.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from msglog.errors import GroupError

REMEMBERED_BATCHES: Final = 64


@dataclass(frozen=True, slots=True)
class SequencedBatch:
    """One batch: `places` are (partition, base offset, count), `timestamp_ms` is the first record's."""

    first_sequence: int
    count: int
    timestamp_ms: int
    topic_id: int
    places: list[list[int]]

    def packed(self) -> list[Any]:
        """Return the fields in order, for a snapshot."""
        return [self.first_sequence, self.count, self.timestamp_ms, self.topic_id, self.places]


class ProducerState:
    """One name. `epoch` rises with each new holder; `last_sequence` is -1 before the first record."""

    __slots__ = ("batches", "epoch", "last_sequence", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.epoch = 0
        self.last_sequence = -1
        self.batches: deque[SequencedBatch] = deque(maxlen=REMEMBERED_BATCHES)

    def remember(self, batch: SequencedBatch) -> None:
        """Take over a batch that was appended. Doing it twice changes nothing."""
        if batch.first_sequence > self.last_sequence:
            self.last_sequence = batch.first_sequence + batch.count - 1
            self.batches.append(batch)

    def duplicate_of(self, first_sequence: int, count: int, topic_id: int) -> SequencedBatch | None:
        """Return the remembered batch that this one repeats, None when it is the next one.

        Raises `GroupError` when it is neither: a gap, a part of a batch, one for another topic or one
        forgotten.
        """
        if first_sequence == self.last_sequence + 1:
            return None
        if first_sequence > self.last_sequence:
            raise self.refusal(first_sequence, f"leaves a gap: the next one is {self.last_sequence + 1}")
        for batch in self.batches:
            if batch.first_sequence == first_sequence:
                if (batch.count, batch.topic_id) == (count, topic_id):
                    return batch
                raise self.refusal(first_sequence, f"was sent otherwise before, with {batch.count} records")
        raise self.refusal(first_sequence, "does not begin a batch that is still remembered")

    def refusal(self, sequence: int, why: str) -> GroupError:
        """Return the error for a sequence number that is not the next one."""
        return GroupError(
            f"sequence {sequence} of producer {self.name!r} {why}; the last written is {self.last_sequence}",
            producer=self.name,
            sequence=sequence,
            last_sequence=self.last_sequence,
        )

    def packed(self) -> list[Any]:
        """Return what `unpacked` needs, for a snapshot."""
        return [self.name, self.epoch, self.last_sequence, [batch.packed() for batch in self.batches]]

    @classmethod
    def unpacked(cls, packed: list[Any]) -> "ProducerState":
        """Return the state that was packed."""
        state = cls(packed[0])
        _, state.epoch, state.last_sequence, batches = packed
        state.batches.extend(SequencedBatch(*batch) for batch in batches)
        return state

"""How a store was opened, and the limits of the format. Values are checked by the store layer."""

from dataclasses import dataclass
from typing import Literal

SyncMode = Literal["commit", "interval", "none"]

# One commit in one piece: what a journal entry, and memory, may be asked to hold.
MAX_COMMIT_BYTES = 256 << 20
# A draft after so many commits bounds what recovery walks over, frame by frame, after a kill.
DRAFT_COMMITS = 4096
# A checkpoint after so many journaled commits, or so many bytes without a journal, bounds what recovery works through.
CHECKPOINT_COMMITS = 2048
CHECKPOINT_BYTES = 64 << 20
# A state snapshot is due when replaying the events behind the last one costs as much as so many of the shortest.
SNAPSHOT_COST = 16384
# Events before the last snapshot go with their segment: small ones give their space back soon.
STATE_SEGMENT_BYTES = 8 << 20
JOURNAL_FIRST_BYTES = 1 << 20
JOURNAL_LARGEST_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Options:
    """How a store was opened. Durations in milliseconds, sizes in bytes."""

    sync: SyncMode = "commit"
    sync_interval_ms: int = 1000
    segment_bytes: int = 64 << 20
    max_record_bytes: int = 16 << 20
    readonly: bool = False

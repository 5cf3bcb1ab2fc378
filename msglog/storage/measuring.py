"""What the engine tells of itself in numbers.

Counters never fall while the store is open, gauges may. Nothing is counted for it on the way of an append: all of it
follows from what the engine knows anyway. Takes no lock, so numbers of the same call may be a commit apart. Imported by
the engine.
"""

from typing import TYPE_CHECKING

from msglog.storage.journal import Journal
from msglog.storage.segment import FILE_HEADER_SIZE

if TYPE_CHECKING:
    from msglog.storage.engine import Engine


def measure(engine: "Engine", journal: Journal | None) -> dict[str, int]:
    """Return the engine's counters and gauges by name."""
    streams = list(engine.streams.values())
    positions = [segment.position for stream in streams for segment in stream.parts]
    areas = () if journal is None else journal.areas()
    return {
        "commits": engine.published,
        "durable_commits": engine.durable_commit if journal is None else max(engine.durable_commit, engine.published),
        "checkpoints": engine.checkpoint_sequence,
        "journal_syncs": 0 if journal is None else journal.syncs,
        "life": engine.life,
        "streams": len(streams),
        "segments": len(positions),
        "open_segments": len(engine.cache),
        "bytes_stored": sum(positions) - len(positions) * FILE_HEADER_SIZE,
        "journal_bytes": sum(area.size for area in areas),
        "journal_used_bytes": 0 if journal is None else journal.used_bytes,
        "state_cost": engine.state_cost,
        "failed": int(engine.failure is not None),
    }

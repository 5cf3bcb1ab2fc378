"""The facts about a segment on which retention and compaction decide.

Imported by both rules and by the log, which fills them in from its storage.
"""

from typing import NamedTuple


class SegmentFacts(NamedTuple):
    """One segment of a partition: offsets from `base_offset` to before `end_offset`.

    `max_timestamp_ms` is the largest timestamp among its records, which is not always the last one's; it is
    ignored for an empty segment.
    """

    base_offset: int
    end_offset: int
    size_bytes: int
    max_timestamp_ms: int

"""Looking for damage, without recovering or changing anything.

`scan` goes through frames over damage, `segments` checks one file of them, `files` the files beside, `streams` an open
engine, `unopened` a directory that does not open. Imported by the layers above and by what copies stores.
"""

from msglog.storage.checking.files import (
    check_checkpoints,
    check_rest,
    check_snapshot,
    check_unlisted,
    newest_checkpoint,
)
from msglog.storage.checking.scan import Damage, FrameScan, Scanned
from msglog.storage.checking.segments import SegmentCheck, SegmentView
from msglog.storage.checking.streams import StreamsCheck, check_journal, check_names, settle
from msglog.storage.checking.unopened import check_unopened

__all__ = [
    "Damage",
    "FrameScan",
    "Scanned",
    "SegmentCheck",
    "SegmentView",
    "StreamsCheck",
    "check_checkpoints",
    "check_journal",
    "check_names",
    "check_rest",
    "check_snapshot",
    "check_unlisted",
    "check_unopened",
    "newest_checkpoint",
    "settle",
]

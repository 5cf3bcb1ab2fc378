"""The short ways of `Log.append` and of a consumer that was woken in C, in front of the Python methods where compiled.

What is between a wake and its record is most of what a message takes from one thread to another. See
`msglog.compiled`. Imported by the package.
"""

from collections import deque
from collections.abc import Iterator
from inspect import unwrap
from itertools import compress, repeat
from pathlib import Path
from time import monotonic_ns
from typing import Any

from msglog.clock import SystemClock
from msglog.compiled import is_made_of, is_wanted
from msglog.errors import ClosedError
from msglog.log.appending import Appending
from msglog.log.fetcher import Fetcher
from msglog.log.group_member import GroupMember
from msglog.log.handle import LogHandle
from msglog.log.live_group import Seat
from msglog.log.placing import deleted_meanwhile
from msglog.log.positions import PartitionCursor
from msglog.log.rules.membership import Membership
from msglog.log.topic import Topic
from msglog.storage import Reader, Stream
from msglog.storage.frame import CRC, HEADER_SIZE
from msglog.storage.segment import Segment
from msglog.types import Record, RecordMetadata, TopicPartition

try:
    from msglog.log import _compiled
except ImportError:
    _compiled = None  # type: ignore[assignment]

SOURCE = Path(__file__).with_name("_compiled.c")
_CLASSES = (
    LogHandle,
    Topic,
    Stream,
    Segment,
    Reader,
    Fetcher,
    PartitionCursor,
    GroupMember,
    Seat,
    Membership,
    Record,
    RecordMetadata,
    TopicPartition,
    deque,
    repeat,
    compress,
)


def is_compiled() -> bool:
    """Return whether the compiled methods are there, and not left over from another version of their source."""
    return _compiled is not None and is_made_of(_compiled, SOURCE)


def put_in_front() -> None:
    """Let calls of the methods go to the compiled ones first, where those are there and wanted."""
    if is_compiled() and is_wanted():
        for owner, name, method in short_ways(_compiled):
            setattr(owner, name, method)


def short_ways(module: Any) -> Iterator[tuple[type, str, Any]]:
    """Yield the methods of a compiled module, each with the class and the name of the Python method it precedes."""
    clocks = (SystemClock.monotonic_ms, monotonic_ns)
    module.set_up(_CLASSES, ClosedError, deleted_meanwhile, *clocks, HEADER_SIZE, CRC.size)
    yield Appending, "append", module.before_append(unwrap(Appending.append))
    yield Appending, "append_plain", module.before_append_plain(unwrap(Appending.append_plain))
    yield Fetcher, "take_latest", module.before_take_latest(unwrap(Fetcher.take_latest))
    yield Fetcher, "run_latest", module.before_run_latest(unwrap(Fetcher.run_latest))
    yield Fetcher, "unwatch", module.before_unwatch(unwrap(Fetcher.unwatch))
    yield GroupMember, "note_poll", module.before_note_poll(unwrap(GroupMember.note_poll))

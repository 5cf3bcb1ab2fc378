"""The targets: functions of bytes that may raise typed errors only, with the form that inputs of each have."""

import contextlib
import io
import struct
from collections.abc import Callable
from typing import Final, NamedTuple

import msglog
from msglog.broker.rules.field_table import unpack_table
from msglog.broker.rules.message_codec import unpack_meta
from msglog.errors import MsglogError
from msglog.log.keys.run import DamagedRunError, load_run
from msglog.log.rules.key_rows import RunSpan
from msglog.storage.checking import Damage, FrameScan
from msglog.storage.checkpoint import Checkpoint, read_checkpoints
from msglog.storage.draft import read_draft
from msglog.storage.frame import REST, FrameError, decode
from msglog.storage.index import SparseIndex
from msglog.storage.journal import Area
from msglog.storage.runs import decode_run
from msglog.storage.segment import SegmentHeader
from support.disk import Disk, Image
from support.faulty_filesystem import FaultyFileSystem
from support.fuzzing import forms, stores
from support.fuzzing.forms import Form
from support.fuzzing.limits import limits

TYPED: Final[dict[str, tuple[type[Exception], ...]]] = {
    "frame": (MsglogError, FrameError),
    "run": (MsglogError, DamagedRunError),
}
"""What targets may raise besides `MsglogError`. Neither leaves the package: whoever decodes a frame makes a
`CorruptionError` of the one, and the index by key makes a run anew for the other."""

_SPAN: Final = RunSpan(2, 0, 30, 31)
_BASE: Final = Checkpoint(
    sequence=2,
    commit=3,
    clean=False,
    lives=[(1, 1)],
    next_file_id=9,
    next_stream_id=4,
    state=(0, 0),
)


class Target(NamedTuple):
    """What is fuzzed. `weight`: inputs to one of a store, by what they cost."""

    run: Callable[[bytes], None]
    form: Form
    weight: int = 40


def one(name: str, data: bytes) -> str:
    """Run a target on an input; return the name of the typed error it raised, or "". All others pass through."""
    try:
        with limits():
            TARGETS[name].run(data)
    except TYPED.get(name, (MsglogError,)) as error:
        return type(error).__name__
    return ""


def _files(name: str, data: bytes) -> FaultyFileSystem:
    return FaultyFileSystem(Disk(Image(files={f"/store/{name}": data}), recording=False))


def _frame(data: bytes) -> None:
    """One frame behind its checksum, as whoever verified that hands it over: the header is there."""
    if len(data) >= REST.size:
        decode(data, "/store")


def _frames(data: bytes) -> None:
    """Frames as they stand in a file, whole or not: the scan over damage, each of them, runs of single records."""
    file = _files("frames", data).open("/store/frames", writable=False)
    for found in FrameScan(file, 0, len(data)).frames(0):
        if not isinstance(found, Damage):
            with contextlib.suppress(MsglogError, FrameError):
                decode(found.raw[4:], "/store")
            decode_run(data[found.position :], 0, found.base_offset, found.base_offset + 1000)


def _journal(data: bytes) -> None:
    area = Area.open(_files("journal-0", data), "/store/journal-0", writable=False)
    if area is not None:
        list(area.entries_after(0))


def _checkpoint(data: bytes) -> None:
    for checkpoint in read_checkpoints(_files("checkpoint-0", data), "/store"):
        checkpoint.life_of(checkpoint.commit)
        checkpoint.begin_life(checkpoint.lives[-1][0] + 1, checkpoint.commit + 1)


def _draft(data: bytes) -> None:
    read_draft(_files("draft-0", data), "/store", _BASE)


def _segment(data: bytes) -> None:
    SegmentHeader.unpack(data, "/store").pack()


def _index(data: bytes) -> None:
    index = SparseIndex.load(data, 0, 1 << 20)
    index.position_for(100)
    index.position_before_time(100)
    list(index.entries())


def _message(data: bytes) -> None:
    unpack_meta(data)


def _table(data: bytes) -> None:
    unpack_table(data)


def _run(data: bytes) -> None:
    run = load_run(lambda position, size: data[position : position + size], len(data), _SPAN)
    for row in run.all_rows():
        list(run.forwards(row[:16]))
        list(run.backwards(row[:16]))


def _records(data: bytes) -> None:
    with msglog.Log(":memory:") as log:
        log.create_topic("t", partitions=2)
        log.import_records("t", io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="\n"))


def _messages(data: bytes) -> None:
    with msglog.Broker(":memory:") as broker:
        broker.declare_queue("q")
        broker.import_messages("q", io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="\n"))


def _crc_first(data: bytes) -> bytes:
    return struct.pack("<I", 0) + data


TARGETS: Final[dict[str, Target]] = {
    "frame": Target(
        _frame,
        Form(
            lambda data, chance: forms.change_frames(_crc_first(data), chance)[4:],
            lambda data: data,
        ),
    ),
    "frames": Target(_frames, forms.FRAMES),
    "journal": Target(_journal, forms.JOURNAL),
    "checkpoint": Target(_checkpoint, forms.CHECKPOINT),
    "draft": Target(_draft, forms.CHECKPOINT),
    "segment": Target(_segment, forms.SEGMENT),
    "index": Target(_index, forms.PLAIN),
    "message": Target(_message, forms.PACKED),
    "table": Target(_table, forms.PACKED),
    "run": Target(_run, forms.RUN),
    "records": Target(_records, forms.LINES, 8),
    "messages": Target(_messages, forms.LINES, 8),
    "store": Target(stores.use, stores.FORM, 1),
    "state": Target(stores.contradicted, stores.STATE_FORM, 1),
    "verify": Target(stores.verify, stores.FORM, 1),
    "salvage": Target(stores.salvage, stores.FORM, 1),
}
"""All targets by name."""

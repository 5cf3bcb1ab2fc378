"""Replaying the state: the snapshot that the checkpoint names, then the events behind it.

Part of `recovery`, and of following a writer in another process.
"""

import struct
from typing import TYPE_CHECKING, Any

import msgpack

from msglog.checksum import crc32c
from msglog.errors import ClosedError, CorruptionError, MsglogError, UnsupportedFormatError
from msglog.storage.checkpoint import Checkpoint
from msglog.storage.layout import SEGMENTS, state_name
from msglog.storage.state import STATE_STREAM, cost_of, unpack_event, unpack_snapshot

if TYPE_CHECKING:
    from msglog.storage.engine import Engine

_CHECKSUM_SIZE = 4
# What decoding and models raise at data that no version has written, although their checksum fits.
SENSELESS = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, struct.error, msgpack.UnpackException)


def makes_no_sense(error: Exception) -> bool:
    """Whether what was read is to blame for an error: a model refuses what no version has written, or stumbles over it.

    Errors of the machine, and those that tell of damage already, are `OSError`s.
    """
    if isinstance(error, MsglogError):
        return not isinstance(error, OSError | ClosedError)
    return isinstance(error, SENSELESS)


def replay_state(engine: "Engine", checkpoint: Checkpoint | None) -> None:
    """Load all models and apply the events up to the recovered end of the state stream."""
    commit, offset = checkpoint.state if checkpoint is not None else (0, 0)
    if commit:
        _load_snapshot(engine, engine.path(state_name(commit)))
    else:
        _load(engine, {})
    engine.state_at = (commit, offset)
    engine.state_cost = 0
    state = engine.streams[STATE_STREAM]
    state.trim(offset)
    engine.state_cost = apply_events(engine, offset)


def apply_events(engine: "Engine", offset: int) -> int:
    """Apply the events of the state stream from `offset` to its visible end; return what they cost."""
    stream = engine.streams[STATE_STREAM]
    reader = stream.reader(offset)
    applied = 0
    at = offset
    try:
        while (frame := reader.read()) is not None:
            for at, packed in zip(frame.offsets, frame.values, strict=True):
                if at < offset or packed is None:
                    continue
                section, event = unpack_event(packed)
                if section not in engine.models:
                    _check_sections(engine, {section})
                engine.models[section].apply(event)
                applied += cost_of(packed)
    except (MsglogError, *SENSELESS) as error:
        if not makes_no_sense(error):
            raise
        segment = stream.segment_for(at)
        path = engine.path(SEGMENTS) if segment is None else segment.path
        raise CorruptionError(
            f"{path}: the event at offset {at} makes no sense: {_told(error)}",
            path=path,
            position=0,
            first_offset=at,
            next_offset=at + 1,
        ) from error
    return applied


def _load_snapshot(engine: "Engine", path: str) -> None:
    data = _read_snapshot(engine, path)
    engine.snapshot_bytes = len(data)
    try:
        snapshot = unpack_snapshot(data)
        _check_sections(engine, snapshot.keys() - engine.models.keys())
        _load(engine, snapshot)
    except (MsglogError, *SENSELESS) as error:
        if not makes_no_sense(error):
            raise
        raise CorruptionError(f"{path}: the snapshot makes no sense: {_told(error)}", path=path, position=0) from error


def _load(engine: "Engine", snapshot: dict[str, Any]) -> None:
    for section, model in engine.models.items():
        model.load(snapshot.get(section))


def _told(error: Exception) -> str:
    return type(error).__name__  # what it says may quote the data


def _check_sections(engine: "Engine", unknown: set[str]) -> None:
    if unknown:
        raise UnsupportedFormatError(
            f"{engine.directory}: the store holds state of {sorted(unknown)}, unknown to this version of msglog",
            path=engine.directory,
            found=sorted(unknown),
            supported=sorted(engine.models),
        )


def _read_snapshot(engine: "Engine", path: str) -> bytes:
    try:
        file = engine.filesystem.open(path, writable=False)
    except FileNotFoundError as error:
        raise CorruptionError(f"{path}: the snapshot of the state is missing", path=path, position=0) from error
    try:
        data = file.read(0, file.size())
    finally:
        file.close()
    contents = data[_CHECKSUM_SIZE:]
    if crc32c(contents, len(contents)).to_bytes(_CHECKSUM_SIZE, "little") != data[:_CHECKSUM_SIZE]:
        raise CorruptionError(f"{path}: the snapshot of the state is damaged", path=path, position=0)
    return contents

"""Replaying the state: the snapshot that the checkpoint names, then the events behind it.

Part of `recovery`, and of following a writer in another process.
"""

from typing import TYPE_CHECKING, Any

from crc32c import crc32c

from msglog.errors import CorruptionError, UnsupportedFormatError
from msglog.storage.checkpoint import Checkpoint
from msglog.storage.layout import state_name
from msglog.storage.state import STATE_STREAM, cost_of, unpack_event, unpack_snapshot

if TYPE_CHECKING:
    from msglog.storage.engine import Engine

_CHECKSUM_SIZE = 4


def replay_state(engine: "Engine", checkpoint: Checkpoint | None) -> None:
    """Load all models and apply the events up to the recovered end of the state stream."""
    commit, offset = checkpoint.state if checkpoint is not None else (0, 0)
    snapshot: dict[str, Any] = {}
    if commit:
        data = _read_snapshot(engine, engine.path(state_name(commit)))
        engine.snapshot_bytes = len(data)
        snapshot = unpack_snapshot(data)
        _check_sections(engine, snapshot.keys() - engine.models.keys())
    for section, model in engine.models.items():
        model.load(snapshot.get(section))
    engine.state_at = (commit, offset)
    engine.state_cost = 0
    state = engine.streams[STATE_STREAM]
    state.trim(offset)
    engine.state_cost = apply_events(engine, offset)


def apply_events(engine: "Engine", offset: int) -> int:
    """Apply the events of the state stream from `offset` to its visible end; return what they cost."""
    reader = engine.streams[STATE_STREAM].reader(offset)
    applied = 0
    while (frame := reader.read()) is not None:
        for at, packed in zip(frame.offsets, frame.values, strict=True):
            if at < offset or packed is None:
                continue
            section, event = unpack_event(packed)
            if section not in engine.models:
                _check_sections(engine, {section})
            engine.models[section].apply(event)
            applied += cost_of(packed)
    return applied


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

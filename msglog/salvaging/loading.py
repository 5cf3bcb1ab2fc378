"""Finding the streams and the state of a store that may not open.

Everything happens on an overlay: the source is never written. A store that opens is simply opened there. Otherwise
every part is taken as far as it goes: the newest checkpoint that is whole, else the names of the files; all entries of
the journal that are whole; the newest snapshot that is whole; all events that can be read and make sense. A frame
counts when its checksum matches, and when it belongs to the life that owns its commit, as far as lives are known.
Imported by `salvage`.
"""

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgpack

from msglog.checksum import crc32c
from msglog.clock import SystemClock
from msglog.errors import CorruptionError, UnsupportedFormatError
from msglog.salvaging.parts import PartsFinder
from msglog.storage import Engine, Options, Stream
from msglog.storage.checking import Damage, FrameScan, newest_checkpoint
from msglog.storage.checkpoint import Checkpoint
from msglog.storage.filesystem import FileSystem, OverlayFileSystem
from msglog.storage.frame import CRC, FrameError, decode
from msglog.storage.layout import STATE_PREFIX
from msglog.storage.replay import SENSELESS
from msglog.storage.segment import FILE_HEADER_SIZE
from msglog.storage.state import STATE_STREAM, STORAGE, StorageModel, unpack_event, unpack_snapshot
from msglog.store.looking import open_overlay
from msglog.store.registration import model_factories

logger = logging.getLogger("msglog.salvage")


@dataclass(slots=True)
class Loaded:
    """What was found. `starts`: where streams began by their state, None when the store opened as it is.

    `lost`: how many events are missing or made no sense. `life` is later than all that were seen.
    """

    engine: Engine
    commit: int
    life: int
    starts: dict[int, int] | None = None
    lost: int = 0

    def start_of(self, stream: Stream) -> int:
        """Return where a stream began by its state, whatever is left of it."""
        return stream.start if self.starts is None else self.starts.get(stream.id, 0)


def load(filesystem: FileSystem, directory: str, *, with_state: bool = True) -> Loaded:
    """Return what can be found in a directory. `with_state`: without it, streams only, as if the state were lost."""
    if not with_state:
        return _Loader(OverlayFileSystem(filesystem), directory, with_state=False).run()
    try:
        engine = open_overlay(filesystem, directory)
    except Exception as error:  # noqa: BLE001 whatever keeps it from opening: then it goes piece by piece
        logger.info(
            "%s does not open (%s): its pieces are looked for",
            directory,
            type(error).__name__,
            extra={"event": "does_not_open", "path": directory},
        )
        return _Loader(OverlayFileSystem(filesystem), directory).run()
    return Loaded(engine, engine.commit_number, engine.life)


class _Loader:
    """Loads a store piece by piece."""

    def __init__(self, overlay: OverlayFileSystem, directory: str, *, with_state: bool = True) -> None:
        self._overlay = overlay
        self._with_state = with_state
        self._engine = Engine(overlay, directory, Options(sync="none"), SystemClock())
        self._checkpoint: Checkpoint | None = newest_checkpoint(overlay, directory)
        self._starts: dict[int, int] = {}
        self._deleted: set[int] = set()
        self._loaded = Loaded(self._engine, 0, 0, self._starts)
        self._parts = PartsFinder(overlay, directory, self._checkpoint)

    def run(self) -> Loaded:
        """Return all that is found."""
        engine, loaded, found = self._engine, self._loaded, self._parts
        found.find()
        engine.models = {STORAGE: StorageModel(engine.table)}
        engine.models |= {model.section: model for model in (factory(engine) for factory in model_factories())}
        engine.next_file_id = found.next_file_id
        engine.table.begin_recovery({number: tuple(parts) for number, parts in found.parts.items()})
        engine.table.next_stream_id = found.next_stream_id
        if self._with_state:
            self._load_models()
        else:
            for model in engine.models.values():
                model.load(None)
            loaded.lost += 1
        for stream_id, parts in found.parts.items():
            if stream_id not in engine.streams and stream_id not in self._deleted and parts:
                # Nothing tells any more that there is such a stream: somebody will have to look at it.
                engine.table.add_stream(stream_id, found.slugs.get(stream_id, ""))
                self._starts[stream_id] = parts[0].base_offset
        for stream in engine.streams.values():
            stream.parts = found.without_missing(stream.id, stream.parts)
        loaded.commit = engine.commit_number = max(found.commit, 1)
        loaded.life = engine.life = found.life + 1
        return loaded

    # The state

    def _load_models(self) -> None:
        loaded = self._loaded
        commit, snapshot = self._newest_snapshot()
        known = self._checkpoint.state if self._checkpoint is not None else (0, 0)
        if commit < known[0]:
            loaded.lost += 1  # all that the snapshot held but what later events repeat
        with suppress(ValueError, TypeError):  # what makes no sense is counted below
            self._starts |= {stream_id: start for stream_id, _, start in snapshot.get(STORAGE) or ()}
        for section, model in self._engine.models.items():
            try:
                model.load(snapshot.get(section))
            except Exception:  # noqa: BLE001 one section that makes no sense takes no other with it
                loaded.lost += 1
                model.load(None)
        first = known[1] if commit == known[0] else None if commit else 0
        for section, event in self._events(commit, first):
            try:
                if section == STORAGE and event[0] == "trim":
                    self._starts[event[1]] = max(self._starts.get(event[1], 0), event[2])
                elif section == STORAGE and event[0] == "delete":
                    self._deleted.add(event[1])
                self._engine.models[section].apply(event)
            except Exception:  # noqa: BLE001 an event may be about something that was lost
                loaded.lost += 1

    def _newest_snapshot(self) -> tuple[int, dict[str, Any]]:
        engine = self._engine
        names = [name for name in self._overlay.list(engine.directory) if name.startswith(STATE_PREFIX)]
        for name in sorted(names, reverse=True):
            number = name.removeprefix(STATE_PREFIX)
            try:
                file = self._overlay.open(engine.path(name), writable=False)
            except FileNotFoundError:
                continue
            try:
                data = file.read(0, file.size())
            finally:
                file.close()
            contents = data[CRC.size :]
            if number.isdigit() and data[: CRC.size] == crc32c(contents, len(contents)).to_bytes(CRC.size, "little"):
                with suppress(ValueError, TypeError, msgpack.UnpackException):
                    return int(number), unpack_snapshot(contents)
        return 0, {}

    def _events(self, commit: int, first: int | None) -> Iterator[tuple[str, list[Any]]]:
        """Yield the events behind a snapshot; count those that are missing.

        `first`: the offset of the first one, None where nothing tells.
        """
        expected = first
        known = commit if self._checkpoint is None else self._checkpoint.commit
        parts = self._engine.streams[STATE_STREAM].parts
        for part in parts:
            try:
                file = self._overlay.open(part.path, writable=False)
            except FileNotFoundError:
                continue
            try:
                for found in FrameScan(file, part.crc_seed, part.position).frames(FILE_HEADER_SIZE):
                    if isinstance(found, Damage):
                        continue
                    if found.commit <= commit:
                        if found.commit > known:
                            self._switch_over(found.raw, part.path)
                        continue
                    if expected is not None:
                        self._loaded.lost += max(0, found.base_offset - expected)
                    expected = found.next_offset
                    yield from self._events_of(found.raw, part.path)
            finally:
                file.close()
        if expected is not None and parts:
            self._loaded.lost += max(0, parts[-1].end_offset - expected)

    def _switch_over(self, raw: bytes, path: str) -> None:
        """Apply what no snapshot holds, and an older checkpoint does not know yet: which files were rewritten."""
        lost = self._loaded.lost
        for section, event in self._events_of(raw, path):
            if section == STORAGE and event[0] == "replace":
                with suppress(Exception):
                    self._engine.models[STORAGE].apply(event)
        self._loaded.lost = lost

    def _events_of(self, raw: bytes, path: str) -> Iterator[tuple[str, list[Any]]]:
        try:
            events = [unpack_event(value or b"\0") for value in decode(raw[CRC.size :], path).values]
        except (FrameError, CorruptionError, UnsupportedFormatError, *SENSELESS):
            self._loaded.lost += 1
            return
        yield from events

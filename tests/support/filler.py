"""Run in a child: fill a small disk with a store, make space, and see that nothing was lost."""

import os
import shutil
from contextlib import suppress

from msglog.clock import ManualClock
from msglog.errors import DiskFullError
from msglog.storage import Engine, Options, Stream, encode_body
from msglog.storage import engine as engine_module
from msglog.storage import journal as journal_module
from msglog.storage.filesystem import OSFileSystem
from support.history import read_entries
from support.ledger import ledger_factory

VALUE = bytes(range(256)) * 30
RESERVE = 256 << 10
JOURNAL_BYTES = 64 << 10


def _open(directory: str, sync: str) -> Engine:
    options = Options(sync=sync, segment_bytes=128 << 10)  # type: ignore[arg-type]
    return Engine.open(OSFileSystem(), directory, options, ledger_factory(), ManualClock())


def _fill(path: str, free: int) -> None:
    """Leave `free` bytes of the disk."""
    with suppress(OSError), open(path, "wb", buffering=0) as file:
        while (left := shutil.disk_usage(os.path.dirname(path)).free - free) > 0:
            file.write(bytes(min(left, 4096)))


def _append_until_full(engine: Engine, stream: Stream, values: list[bytes]) -> None:
    while True:
        value = b"%d:" % len(values) + VALUE
        try:
            if len(values) % 2:
                engine.append(stream, value, 0)
            else:
                with engine.lock:
                    commit = engine.begin()
                    commit.append(stream, encode_body([value], 0))
                    number = commit.write()
                engine.wait(number)
        except DiskFullError as error:
            if error.outcome != "not_applied":
                raise
            return
        values.append(value)


def _check(stream: Stream, values: list[bytes]) -> None:
    found = [entry.value for entry in read_entries(stream)]
    if found != values:
        raise AssertionError(f"{len(found)} records instead of {len(values)}")


def main(place: str, sync: str, headroom: int) -> None:
    """Fill the disk, check, make some space, fill that, make more, close, and read all of it once more.

    `place`: a directory on the small disk; `headroom`: bytes to leave free before the store is filled.
    """
    directory = os.path.join(place, "store")
    ballast, reserve = os.path.join(place, "ballast"), os.path.join(place, "reserve")
    engine_module.JOURNAL_FIRST_BYTES = journal_module._GROWTH_STEP = JOURNAL_BYTES
    engine = _open(directory, sync)
    with engine.lock:
        commit = engine.begin()
        stream_id = commit.create_stream("a")
        number = commit.write()
    engine.wait(number)
    stream = engine.streams[stream_id]
    values: list[bytes] = []
    with open(reserve, "wb") as file:
        file.write(bytes(RESERVE))
    _fill(ballast, headroom)
    _append_until_full(engine, stream, values)
    _check(stream, values)
    os.unlink(reserve)
    before = len(values)
    _append_until_full(engine, stream, values)
    if len(values) == before:
        raise AssertionError("nothing could be appended once there was space")
    os.unlink(ballast)
    engine.append(stream, b"last", 0)
    values.append(b"last")
    engine.flush()
    _check(stream, values)
    engine.close()
    engine = _open(directory, sync)
    _check(engine.streams[stream_id], values)
    engine.close()

"""`msglog.salvage`: from a damaged store to a new one.

Imported by the package; see it for the parts.
"""

import logging
import os

from msglog.checks import refused
from msglog.errors import MsglogError, StoreFailedError
from msglog.salvaging.copying import StreamCopy
from msglog.salvaging.loading import load
from msglog.salvaging.mending import Mending
from msglog.salvaging.readable import ReadableFileSystem
from msglog.storage.checkpoint import Checkpoint
from msglog.storage.copying import NewStore
from msglog.storage.filesystem import FileSystem
from msglog.storage.layout import LOCK
from msglog.storage.replay import SENSELESS
from msglog.storage.state import STATE_STREAM, pack_snapshot
from msglog.store.backing_up import check_target, missing_parents
from msglog.store.core import filesystem, typed_errors
from msglog.store.options import MEMORY, check_path
from msglog.store.verifying import is_store, verify_directory
from msglog.types import SalvageReport

logger = logging.getLogger("msglog.salvage")


def salvage(path: str | os.PathLike[str], into: str | os.PathLike[str]) -> SalvageReport:
    """Copy all that can be read of a damaged store into a new one, and tell what is missing.

    Arguments:
        path: the directory of the store. It is only read, and kept from being opened for writing meanwhile.
        into: a new or empty directory, not inside of `path`.

    Everything keeps its place: topics with their offsets, where gaps stay gaps, committed offsets, named producers,
    exchanges, bindings, policies, queues with what waits in them, delayed messages. What waited in a queue and cannot
    be read counts as settled. Of a store that opens this is what its readers could get; where it does not, all that is
    whole is saved, perhaps parts of commits that were never finished among it. A stream of which nobody knows any more
    what it belonged to becomes a topic `salvaged.<number of the stream>`.

    The new store is on the disk when this returns. Raises `InvalidOptionError` and `InvalidTypeError` for the paths,
    `StoreLockedError` while somebody has the store open for writing, `DiskFullError`, `StoreFailedError` (outcome
    "not_applied"), never for damage; nothing of the new store is left then. Reads everything twice; memory follows the
    definitions and the largest record.
    """
    source = check_path(path)
    with typed_errors(source):
        there = source != MEMORY and is_store(filesystem(source), source)
    if not there:
        raise refused("path", path, "a directory with a store")
    directory, was_there = check_target(into, source)
    return salvage_to(
        filesystem(source),
        source,
        filesystem(directory),
        directory,
        was_there=was_there,
        parents=missing_parents(directory),
    )


def salvage_to(
    source: FileSystem,
    path: str,
    target: FileSystem,
    directory: str,
    *,
    was_there: bool,
    parents: tuple[str, ...] = (),
) -> SalvageReport:
    """Do it, from one file system to another. `parents`: as of `NewStore`."""
    source = ReadableFileSystem(source)

    def new() -> NewStore:
        return NewStore(target, directory, was_there=was_there, parents=parents)

    lock = source.lock_out_writers(f"{path}/{LOCK}")
    try:
        try:
            return _into_new(source, path, new())
        except MsglogError:
            raise
        except SENSELESS as error:
            # Checksums fit, and yet nobody can make anything of the state: what there are of streams is saved.
            logger.info(
                "the state of %s makes no sense (%s): it is left out",
                path,
                type(error).__name__,
                extra={"event": "state_left_out", "path": path},
            )
            return _into_new(source, path, new(), with_state=False)
    finally:
        lock.release()


def _into_new(source: FileSystem, path: str, copy: NewStore, *, with_state: bool = True) -> SalvageReport:
    """Fill a new store, or leave nothing of it."""
    try:
        copy.begin()
        report = _save(source, path, copy, with_state=with_state)
        copy.release()
    except BaseException as error:
        copy.give_up()
        if isinstance(error, OSError) and not isinstance(error, MsglogError):
            raise StoreFailedError(
                f"nothing was saved in {copy.directory}: {error}", path=copy.directory, outcome="not_applied"
            ) from error
        raise
    return report


def _save(source: FileSystem, path: str, copy: NewStore, *, with_state: bool) -> SalvageReport:
    problems = tuple(verify_directory(source, path, None))
    loaded = load(source, path, with_state=with_state)
    engine = loaded.engine
    try:
        mending = Mending(loaded)
        adopted = mending.adopt()
        ends = mending.ends()
        copied = {
            stream.id: StreamCopy(loaded, copy, stream, ends[stream.id], lambda _count: None).run()
            for stream in engine.streams.values()
            if stream.id != STATE_STREAM
        }
        gaps = mending.close_gaps(copied)
        streams = {stream_id: found.facts for stream_id, found in copied.items()}
        commit = max(loaded.commit, 1)
        checkpoint = Checkpoint(
            sequence=1,
            commit=commit,
            clean=True,
            lives=[(loaded.life, commit + 1)],
            next_file_id=engine.next_file_id,
            next_stream_id=engine.table.next_stream_id,
            # All that the events would say is in the snapshot.
            state=(commit, 0),
            streams={STATE_STREAM: [], **streams},
        )
        copy.finish(checkpoint, pack_snapshot(engine.models.values()))
    finally:
        engine.close()
    return SalvageReport(
        source=path,
        directory=copy.directory,
        records=sum(found.records for found in copied.values()),
        bytes=copy.bytes,
        problems=problems,
        gaps=tuple(gaps),
        lost_definitions=loaded.lost,
        adopted=tuple(adopted),
    )

"""Checks that kill mutants by crashes: what a loss of power or the death of a process may leave must keep all promises.

Small stores, all crash points, few images of each: whatever is drawn is drawn alike in every run.
"""

import errno
import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from msglog.errors import MsglogError, StoreFailedError
from msglog.storage import Options
from msglog.storage.layout import KEYS, in_keys, run_name
from support.crash_images import crash_images
from support.disk import Disk, Image
from support.faults import Fault, FaultPlan
from support.faulty_filesystem import FaultyFileSystem
from support.history import History, read_state
from support.operations import Operation, Store, Sync, SyncDirectory
from support.recovery import CrashCheck, recover
from support.session import DIRECTORY, Script, open_engine, small_limits
from support.workloads import (
    Workload,
    appends,
    lives,
    transactions,
)


def _recorded(workload: Workload, sync: Any, **options: Any) -> Script:
    script = Script(sync, **options)
    workload(script)
    return script


def power_cuts(workload: Workload, sync: Any, *, each: int = 1, chances: int = 1) -> Callable[[], None]:
    """Return a check of images of every crash point of a workload."""

    def check() -> None:
        with small_limits():
            script = _recorded(workload, sync)
            disk = script.filesystem.disk
            CrashCheck(script.history).check_all(
                crash_images(disk.start, disk.operations, seed=1, each=each, chances=chances)
            )

    return check


def _ends_and_power_cuts(workload: Workload, sync: Any) -> Callable[[], None]:
    """A process dies just before a sync, the next one recovers from the page cache, and only then the power goes."""

    def check() -> None:
        with small_limits():
            script = _recorded(workload, sync)
            recorded = script.filesystem.disk
            syncs = [place for place, one in enumerate(recorded.operations) if isinstance(one, Sync)]
            names = [place for place, one in enumerate(recorded.operations) if isinstance(one, SyncDirectory)]
            for point in [*syncs[::3], *names]:
                disk = Disk(recorded.start)
                disk.repeat(recorded.operations[:point])
                history = script.history.until(point)
                second = Script(sync, filesystem=FaultyFileSystem(disk), history=history, tag="second-")
                second.open()
                if second.history.latest.streams and second.stream("a").next_offset:
                    second.commit(("trim", "a", second.stream("a").next_offset))
                    second.flush()
                each = 4 if point in names else 1
                CrashCheck(history).check_all(
                    crash_images(disk.start, disk.operations, seed=point, first=point, each=each, chances=0)
                )

    return check


def _second_lives(sync: Any, step: int) -> Callable[[], None]:
    """The next life writes frames of the same size where the last one lost its own: those must never come back."""

    def work(script: Script, rounds: int) -> None:
        for _ in range(rounds):
            names = [stream.slug for stream in script.history.latest.streams.values()]
            script.commit(*[("append", name, 600) for name in names], ("event",), wait=False)

    def check() -> None:
        with small_limits():
            first = Script(sync)
            first.open()
            first.commit(("create", "a"), ("create", "b"))
            first.close()
            first.open()
            opened = first.moment
            work(first, 3)
            disk = first.filesystem.disk
            images = crash_images(disk.start, disk.operations, seed=2, first=opened, each=2, chances=2)
            for crash in itertools.islice(images, 7, None, step):
                if crash.killed:
                    continue
                tree = crash.build()
                found = recover(tree, sync)
                second = Script(sync, filesystem=FaultyFileSystem(tree), history=History(found), tag="second-")
                second.open()
                work(second, 2)
                again = second.filesystem.disk
                check = CrashCheck(second.history)
                for number, image in enumerate(
                    crash_images(again.start, again.operations, seed=1, first=second.moment - 12, each=1, chances=0)
                ):
                    if number % 3 == 0:
                        check.check(image)

    return check


def _failed_syncs(workload: Workload, sync: Any, step: int) -> Callable[[], None]:
    """Some syncs fail in turn; reopened over the same page cache, all that is there is made durable."""

    def check() -> None:
        with small_limits():
            for number in range(0, 1000, step):
                script = Script(sync)
                script.filesystem.plan = FaultPlan(Fault.EIO, number, calls=frozenset({"sync"}))
                try:
                    workload(script)
                except MsglogError as error:
                    outcome = error.outcome
                except OSError:
                    if not script.opening:
                        raise
                    outcome = "unknown"
                else:
                    return
                if script.is_open and outcome == "unknown":
                    _takes_no_more(script)
                script.kill()
                script.filesystem.plan = None
                _check_from_here_on(script, number)

    return check


def _check_from_here_on(script: Script, seed: int) -> None:
    """Open the store, make all durable, and look at what a loss of power leaves from its opening on."""
    moment = script.moment
    script.open()
    script.flush()
    script.history.promise(script.history.last, script.moment)
    script.commit(("event",))
    disk = script.filesystem.disk
    CrashCheck(script.history).check_all(
        crash_images(disk.start, disk.operations, seed=seed, first=moment, each=1, chances=1)
    )


def _failed_in_interval(calls: frozenset[str]) -> Script:
    """Return a store of which a sync has failed; the process ended."""
    script = Script("interval")
    script.open()
    script.commit(("create", "a"))
    script.append("a", 20)
    script.flush()
    script.append("a", 20)
    script.filesystem.plan = FaultPlan(Fault.EIO, 0, forever=True, calls=calls)
    with suppress(StoreFailedError):
        script.flush()
    script.kill()
    return script


def failed_sync_without_a_mark() -> None:
    """A sync fails, and so does the making of the file that says so: the published page says it, too."""
    with small_limits():
        _check_from_here_on(_failed_in_interval(frozenset({"sync", "create"})), 1)


def failed_sync_and_another_end() -> None:
    """After a failed sync the next process dies while it opens: the one after it must know of the failure, too."""
    with small_limits():
        script = _failed_in_interval(frozenset({"sync"}))
        died = script.moment
        script.open()
        recorded = script.filesystem.disk
        for point in range(died, script.moment):
            disk = Disk(recorded.start)
            disk.repeat(recorded.operations[:point])
            history = script.history.until(point)
            third = Script("interval", filesystem=FaultyFileSystem(disk), history=history, tag="third-")
            _check_from_here_on(third, point)


def _takes_no_more(script: Script) -> None:
    engine = script.engine
    for call in (engine.begin, engine.flush):
        try:
            call()
        except MsglogError:
            continue
        raise AssertionError("a store whose sync failed goes on")


def quarantined_copies() -> None:
    """What recovery cuts is in quarantine, or still where it was, whenever the power goes."""
    with small_limits():
        script = Script("interval", segment_bytes=100_000)
        script.open()
        script.commit(("create", "a"), ("create", "b"))
        script.commit(("append", "a", 20), ("append", "b", 20))
        script.flush()
        script.commit(("append", "a", 20), ("append", "b", 20))
        image = script.filesystem.kill().disk.image()
        files = {path: data for path, data in image.files.items() if "draft" not in path}
        damaged = next(path for path in files if "/2-b." in path and not path.endswith(".index"))
        files[damaged] = files[damaged].rstrip(b"\0v").ljust(len(files[damaged]), b"\0")
        filesystem = FaultyFileSystem(Image(image.directories, files))
        open_engine(filesystem, Options(sync="interval"))
        kept = [data for path, data in filesystem.disk.image().files.items() if "/quarantine/" in path]
        if not kept:
            raise AssertionError("nothing is in quarantine")
        disk = filesystem.disk
        for crash in crash_images(disk.start, disk.operations, seed=1, each=4, chances=2):
            there = crash.build().files.values()
            if not all(any(data in found for found in there) for data in kept):
                raise AssertionError(f"{crash}: what was cut is gone")


def kept_strangers() -> None:
    """A file that nobody knows, and a checkpoint without a store, are moved aside and never deleted."""
    with small_limits():
        script = Script("commit")
        script.open()
        script.commit(("create", "a"))
        script.close()
        image = script.filesystem.disk.image()
        stranger = {"/store/segments/1-a.00000000000000000007.99": b"somebody's data" * 100}
        filesystem = FaultyFileSystem(Image(image.directories, {**image.files, **stranger}))
        open_engine(filesystem)
        if not any("/quarantine/" in path for path in filesystem.disk.names):
            raise AssertionError("a file that nobody knows is gone")
        empty = FaultyFileSystem(Image(image.directories, {"/store/checkpoint-0": b"not whole"}))
        open_engine(empty)
        if not any("/quarantine/" in path for path in empty.disk.names):
            raise AssertionError("what may have been a checkpoint is gone")


# The order of what is written


def _files(operations: list[Operation], disk: Disk, part: str) -> set[int]:
    """Return the inodes whose name has such a part: of all that were ever made."""
    return {
        operation.inode  # type: ignore[union-attr]
        for operation in operations
        if part in getattr(operation, "path", "") and hasattr(operation, "inode")
    } | {inode.number for path, inode in disk.names.items() if part in path}


def _check_order(disk: Disk) -> None:
    """In "commit" a frame is stored in its segment only when no entry in a journal is waiting for its sync."""
    journals = _files(disk.operations, disk, "/journal-")
    segments = _files(disk.operations, disk, "/segments/")
    unsynced: set[int] = set()
    stored = 0
    for operation in disk.operations:
        match operation:
            case Store(inode) if inode in journals:
                unsynced.add(inode)
            case Sync(inode):
                unsynced.discard(inode)
            case Store(inode, position, data) if inode in segments and position >= 64 and data.strip(b"\0"):
                stored += 1
                if unsynced:
                    raise AssertionError("a frame was stored before the entries written by then were synced")
    if not stored:
        raise AssertionError("no frame was stored")


def frames_follow_their_entries() -> None:
    """Frames are stored, and so shown, only after the sync of their entries."""
    with small_limits():
        _check_order(_recorded(transactions, "commit").filesystem.disk)


def _check_from(script: Script, first: int) -> None:
    script.history.promise(script.history.last, script.moment)
    if read_state(script.engine) != script.history.latest:
        raise AssertionError("the open store shows something else than was promised")
    disk = script.filesystem.disk
    CrashCheck(script.history).check_all(
        crash_images(disk.start, disk.operations, seed=1, first=first, each=1, chances=1)
    )


def commits_before_a_checkpoint() -> None:
    """A commit comes between the sync without the lock and the notes of the last checkpoint, which covers it."""
    with small_limits():
        script = Script("commit")
        script.open()
        script.commit(("create", "a"))
        script.append("a", 20)
        engine = script.engine
        drain = engine.writer.drain

        def drain_and_commit() -> None:
            drain()
            script.commit(("append", "a", 20), ("event",), wait=False)

        engine.writer.drain = drain_and_commit  # type: ignore[method-assign]
        engine.close()
        _check_order(script.filesystem.disk)
        script.kill()
        script.open()
        _check_from(script, script.moment)


def segments_dropped_beside_a_checkpoint() -> None:
    """A segment goes after it was noted, in a commit that the power takes: it has what the checkpoint says."""
    with small_limits():
        script = Script("commit")
        script.open()
        script.commit(("create", "a"))
        script.append("a", 600)
        script.commit(("append", "a", 300), wait=False)
        engine = script.engine
        sync_areas = engine.writer._sync_areas

        def sync_and_drop(areas: Any, target: int) -> None:
            sync_areas(areas, target)
            engine.writer._sync_areas = sync_areas
            script.commit(("append", "a", 900), wait=False)
            script.commit(("trim", "a", 2), wait=False)

        engine.writer._sync_areas = sync_and_drop  # type: ignore[union-attr]
        begun = script.moment
        engine.checkpoint()
        script.commit(("event",), wait=False)
        disk = script.filesystem.disk
        CrashCheck(script.history).check_all(
            crash_images(disk.start, disk.operations, seed=1, first=begun, each=2, chances=2)
        )


def segments_begun_beside_a_checkpoint() -> None:
    """A segment that was noted empty gets its first frame, in a commit that the power takes."""
    with small_limits():
        script = Script("commit")
        script.open()
        script.commit(("create", "a"))
        script.append("a", 20)
        script.roll("a")
        engine = script.engine
        drain = engine.writer.drain

        def drain_and_append() -> None:
            drain()
            script.commit(("append", "a", 20), wait=False)

        engine.writer.drain = drain_and_append  # type: ignore[method-assign]
        begun = script.moment
        engine.checkpoint()
        disk = script.filesystem.disk
        CrashCheck(script.history).check_all(
            crash_images(disk.start, disk.operations, seed=1, first=begun, each=1, chances=1)
        )


def commits_during_a_checkpoint() -> None:
    """Commits come while a checkpoint is made: it does not cover them, and the journal keeps them."""
    with small_limits(JOURNAL_FIRST_BYTES=1 << 14):
        script = Script("commit")
        script.open()
        script.commit(("create", "a"))
        engine = script.engine
        checkpointer = engine._checkpointer
        make_durable = checkpointer._make_durable

        def make_durable_and_commit(notes: Any) -> None:
            script.append("a", 20)
            make_durable(notes)
            script.append("a", 600)
            script.append("a", 20)

        checkpointer._make_durable = make_durable_and_commit  # type: ignore[method-assign]
        for _ in range(3):
            script.append("a", 20)
            engine.checkpoint()
        script.append("a", 20)
        _check_from(script, 0)


def areas_half_made_anew() -> None:
    """An area gets a new file, but no descriptor is left to sync the name: nothing is written to the old file then."""
    with small_limits():
        script = Script("commit")
        script.open()
        script.commit(("create", "a"))
        script.engine.checkpoint()
        filesystem = script.filesystem
        sync_directory = filesystem.sync_directory

        def fails(path: str) -> None:
            if path == DIRECTORY:
                raise OSError(errno.EMFILE, "no descriptors")
            sync_directory(path)

        filesystem.sync_directory = fails  # type: ignore[method-assign]
        script.append("a", 9000)
        filesystem.sync_directory = sync_directory  # type: ignore[method-assign]
        begun = script.moment
        for _ in range(3):
            script.append("a", 20)
            script.engine.checkpoint()
        script.append("a", 20)
        _check_from(script, begun)


# Workloads for one piece of code each


def rolled_and_killed(script: Script) -> None:
    """Sealed segments of a process that died, made durable by one that does not look into them."""
    script.open()
    script.commit(("create", "a"))
    script.flush()
    for _ in range(3):
        script.append("a", 600)
    script.kill()
    script.open()
    script.flush()


def two_segments(script: Script) -> None:
    """Enough to give something up later."""
    script.open()
    script.commit(("create", "a"))
    for _ in range(3):
        script.append("a", 600)
    script.close()


def trimmed(script: Script) -> None:
    """Segments are given up, and a checkpoint comes after that."""
    script.open()
    script.commit(("create", "a"))
    for _ in range(3):
        script.append("a", 600)
    script.engine.checkpoint()
    script.commit(("trim", "a", 2))
    script.engine.checkpoint()
    script.append("a", 20)


def rewritten(script: Script) -> None:
    """Segments are compacted, and the commits go on."""
    script.open()
    script.commit(("create", "a"))
    for _ in range(3):
        script.commit(("append", "a", 250, 250))
    script.rewrite("a")
    script.append("a", 20)


def killed_between_modes(script: Script) -> None:
    """What a process left unsynced is served by one that promises more."""
    script.open("interval")
    script.commit(("create", "a"))
    script.append("a", 20)
    script.kill()
    script.open("commit")
    script.append("a", 20)


def large_entries(script: Script) -> None:
    """An entry larger than areas get: the area is made anew, and used."""
    script.open()
    script.commit(("create", "a"))
    script.append("a", 9000)
    for _ in range(3):
        script.engine.checkpoint()
        script.append("a", 20)
    script.append("a", 20)


def runs_of_a_lost_past() -> None:
    """A run of an index by key that saw more commits than are left is gone for good before the next commit."""
    with small_limits():
        script = Script("interval")
        script.open()
        script.commit(("create", "a"))
        script.append("a")
        commit = script.engine.commit_number
        stream = script.stream("a").id
        script.close()
        tree = script.filesystem.disk.image()
        lost = in_keys(DIRECTORY, run_name(stream, 0, 9, commit + 1))
        kept = in_keys(DIRECTORY, run_name(stream, 0, 1, commit))
        tree = Image(tree.directories | {f"{DIRECTORY}/{KEYS}"}, {**tree.files, lost: b"", kept: b""})
        engine = open_engine(FaultyFileSystem(tree), Options(sync="interval"))
        disk = engine.filesystem.disk
        opened = len(disk.operations)
        engine.append(engine.streams[stream], b"new", 0)
        for image in crash_images(disk.start, disk.operations, seed=1, first=opened, each=2, chances=2):
            files = image.build().files
            if lost in files:
                raise AssertionError(f"the run is there again: {image}")
            if kept not in files:
                raise AssertionError(f"a true run is gone: {image}")


def snapshots(script: Script) -> None:
    """Enough events for two snapshots of the state."""
    script.open()
    script.commit(("create", "a"), ("create", "b"))
    for _ in range(2):
        script.commit(*[("event",)] * 4)
        script.flush()


def drafts(script: Script) -> None:
    """Enough commits behind a checkpoint for drafts of two streams."""
    script.open()
    script.commit(("create", "a"), ("create", "b"))
    script.flush()
    for _ in range(4):
        script.commit(("append", "a", 200), ("append", "b", 20), ("event",))
        with script.engine.lock:
            script.engine.write_draft()


def many_streams(script: Script) -> None:
    """More segments than may be open: some are closed before a checkpoint comes to them."""
    script.open()
    script.commit(*[("create", name) for name in "abcdef"])
    for _ in range(2):
        for name in "abcdef":
            script.append(name, 20)
        script.flush()


def _all() -> Iterator[tuple[str, Callable[[], None]]]:
    for workload, sync in (
        (appends, "commit"),
        (appends, "interval"),
        (transactions, "commit"),
        (transactions, "interval"),
        (trimmed, "commit"),
        (rewritten, "commit"),
        (lives, "interval"),
        (snapshots, "interval"),
        (drafts, "interval"),
        (many_streams, "interval"),
        (rolled_and_killed, "interval"),
        (large_entries, "commit"),
        (killed_between_modes, "interval"),
    ):
        yield f"power cuts, {workload.__name__}, {sync}", power_cuts(workload, sync)
    yield "ends and power cuts, commit", _ends_and_power_cuts(lives, "commit")
    yield "ends and power cuts, interval", _ends_and_power_cuts(two_segments, "interval")
    for sync in ("commit", "interval"):
        yield f"second lives, {sync}", _second_lives(sync, 11 if sync == "commit" else 37)
        yield f"failed syncs, {sync}", _failed_syncs(trimmed, sync, 1 if sync == "interval" else 3)
    for check in (
        failed_sync_without_a_mark,
        failed_sync_and_another_end,
        runs_of_a_lost_past,
        quarantined_copies,
        kept_strangers,
        frames_follow_their_entries,
        commits_before_a_checkpoint,
        commits_during_a_checkpoint,
        segments_dropped_beside_a_checkpoint,
        segments_begun_beside_a_checkpoint,
        areas_half_made_anew,
    ):
        yield check.__name__.replace("_", " "), check


KILLERS = dict(_all())

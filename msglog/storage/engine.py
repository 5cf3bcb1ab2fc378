"""The engine: one open directory of streams.

It holds the store lock, the streams, the models and the numbers that rise, and puts the parts together: `recovery`
fills it at opening, a writer brings commits to the disk, the checkpointer makes them durable, the cache keeps
segments open.

Locks, always taken in this order: checkpointer, journal leader, store lock. The store lock (`lock`) is a plain C
lock, held only in `with` statements, and by the hot path in a way as safe (`turns`): so an interrupt cannot leak it.
Under it everything here may be changed; without it only `end` and `parts` of a stream, `published`, and open maps are
read. `obstacle` is what stands in the way of the next commit: an interrupted one that is to be finished first, or the
reason why there will be none any more.
"""

import errno
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from threading import Lock
from typing import Any

from msglog.clock import Clock
from msglog.errors import ClosedError, DiskFullError, MsglogError, ReadOnlyError, StoreFailedError
from msglog.storage import forks
from msglog.storage.cache import SegmentCache, open_segment_limit
from msglog.storage.checkpointer import Checkpointer
from msglog.storage.commit import Commit, Plan
from msglog.storage.compaction import Survivors, rewrite_segments
from msglog.storage.compiled import open_ways
from msglog.storage.draft import write_draft
from msglog.storage.filesystem import FileSystem, ProcessLock
from msglog.storage.following import Follower
from msglog.storage.journal import Area, Journal
from msglog.storage.layout import FAILED, JOURNALS, LOCK, PUBLISHED, SEGMENTS, in_store
from msglog.storage.measuring import measure
from msglog.storage.options import JOURNAL_FIRST_BYTES, JOURNAL_LARGEST_BYTES, SNAPSHOT_COST, Options
from msglog.storage.published import PublishedPage
from msglog.storage.recovery import Recovered, recover, recover_beside
from msglog.storage.segment import FIRST_ALLOCATION, Segment, SegmentFacts
from msglog.storage.several import Several
from msglog.storage.small_commit import SmallCommit
from msglog.storage.state import Model, StorageModel
from msglog.storage.stream import NO_SEGMENT, Stream, new_segment
from msglog.storage.stream_table import StreamTable
from msglog.storage.syncer import Syncer
from msglog.storage.writers import DirectWriter, JournalWriter
from msglog.types import RecoveryReport

logger = logging.getLogger("msglog.storage")

ModelFactory = Callable[["Engine"], Model]
Append = Callable[..., int]
# Loading so many bytes of a snapshot costs about as much as replaying one short event: decides when the next is due.
_SNAPSHOT_BYTES_PER_COST = 16


class Engine:  # with slots the hot path finds attributes a fifth faster than in a dict of this many
    """One open store. Make it with `open`."""

    __slots__ = (
        "__weakref__",
        "_checkpoint_requested",
        "_checkpointer",
        "_follower",
        "_journal",
        "_page",
        "_process_lock",
        "_syncer",
        "append",
        "append_copies",
        "append_settle",
        "append_unwaited",
        "cache",
        "checkpoint_sequence",
        "clock",
        "closed",
        "commit_number",
        "directory",
        "draft_sequence",
        "durable_commit",
        "failure",
        "filesystem",
        "first_commit",
        "life",
        "lock",
        "models",
        "names_synced",
        "names_version",
        "next_file_id",
        "obstacle",
        "options",
        "page_slots",
        "published",
        "readonly",
        "recovery",
        "release",
        "released",
        "snapshot_bytes",
        "snapshot_wanted",
        "state_at",
        "state_cost",
        "streams",
        "table",
        "turns",
        "writer",
    )

    recovery: RecoveryReport
    lock: Lock
    turns: Iterator[bool]
    """Takes the lock when it is asked for the next item; `release` gives it back. For the hot path only.

    Written as `for held in turns`, inside of a `try` whose `finally` releases if `held`, this costs half of `with`, and
    leaks as little: signal handlers run after calls and at jumps back, and a loop that begins is neither. So there is
    no place between taking the lock and noting it in `held` where an interrupt may strike.
    """
    append: Append
    """Append one record in a commit of its own and return its offset; waits as `sync` promises. Takes the lock itself.

    The arguments: stream, value, timestamp in milliseconds and perhaps a key, whose types and sizes the caller has
    checked. It is the writer's own method: a call in between would cost a tenth of the whole.
    """
    append_unwaited: Append  # the same without waiting: that is left to the caller, for `commit_number`
    append_settle: Append
    """Write that some offsets of a cursor are settled; see `Writer.append_settle`. The writer's own method, too."""
    append_copies: Callable[[list[Stream], bytes, bytes, int], list[int]]
    """Append the same record to some streams in one commit; see `SmallCommits.append_copies`."""

    def __init__(self, filesystem: FileSystem, directory: str, options: Options, clock: Clock) -> None:
        self.filesystem = filesystem
        self.directory = directory
        self.options = options
        self.clock = clock
        self.readonly = options.readonly
        self._make_lock()
        self.obstacle: Any = None
        # Why nothing can be written any more. Set once, perhaps without the lock: every commit ends by making it the
        # obstacle.
        self.failure: StoreFailedError | None = None
        self.closed = False
        self.released = False
        self.models: dict[str, Model] = {}
        self.cache = SegmentCache(filesystem, self.lock, open_segment_limit(), writable=not options.readonly)
        self.table = StreamTable(filesystem, directory, options.segment_bytes, self.cache)
        self.streams = self.table.streams
        self.cache.on_sync_error = lambda error: self.stop_writing("a sync failed", error)
        self.commit_number = self.published = self.durable_commit = 0
        self.life = self.first_commit = 0
        self.next_file_id = 1
        self.checkpoint_sequence = self.draft_sequence = 0
        # State snapshot in force (commit, offset from which to replay), events since, and its size.
        self.state_at = (0, 0)
        self.state_cost = 0
        self.snapshot_bytes = 0
        self.snapshot_wanted = False
        # Rises when a segment's file is made; the directory is synced when a checkpoint finds it changed.
        self.names_version = self.names_synced = 0
        self._process_lock: ProcessLock | None = None
        self._page: PublishedPage | None = None
        self.page_slots: Any = [0, 0, 0, 0]
        self._journal: Journal | None = None
        self._checkpointer = Checkpointer(self)
        self._checkpoint_requested = False
        self._syncer: Syncer | None = None
        self._follower = Follower(self)
        self.cache.on_missing = self.refresh
        self.append = self.append_unwaited = self.append_settle = self.append_copies = self._refuse_append
        self.writer: DirectWriter | JournalWriter

    def _make_lock(self) -> None:
        self.lock = Lock()
        self.turns = iter(self.lock.acquire, None)  # without end: it never returns None
        self.release = self.lock.release

    # Opening and closing

    @classmethod
    def open(
        cls,
        filesystem: FileSystem,
        directory: str,
        options: Options,
        models: Sequence[ModelFactory],
        clock: Clock,
        *,
        background: bool = True,
    ) -> "Engine":
        """Open a directory, recovering it if need be.

        `background`: let a thread sync at intervals and make checkpoints; without it they are made by the calls that
        find them due (tests want every operation at a known place). Raises `StoreLockedError`, `CorruptionError`,
        `UnsupportedFormatError`, `ReadOnlyError`.
        """
        engine = cls(filesystem, directory, options, clock)
        try:
            engine._open(models, background=background)
        except BaseException:
            engine._let_go()
            raise
        forks.register(engine)
        return engine

    def _open(self, models: Sequence[ModelFactory], *, background: bool) -> None:
        if not self.readonly:
            self.filesystem.make_directory(self.directory)
            self.filesystem.make_directory(self.path(SEGMENTS))
            self._process_lock = self.filesystem.lock(self.path(LOCK))
        self.models = {"storage": StorageModel(self.table)}
        self.models |= {model.section: model for model in (factory(self) for factory in models)}
        if self.readonly:
            self._follower.open_page()
        recovered = self.load()
        if self.readonly:
            return
        self._begin_life(recovered)
        if background and self.filesystem.durable:
            self._syncer = Syncer(self, self.options)

    def load(self) -> Recovered:
        """Recover streams and models from the directory; a reader does so again when a new writer has begun."""
        recovered = recover_beside(self) if self.readonly else recover(self)
        self.recovery = recovered.report
        self.commit_number = self.published = recovered.commit
        self.durable_commit = recovered.checkpoint.commit
        self.checkpoint_sequence = recovered.checkpoint.sequence
        return recovered

    def _begin_life(self, recovered: Recovered) -> None:
        """Make the new life durable before its first frame."""
        self.life = recovered.life
        self.first_commit = recovered.commit + 1
        if self.filesystem.durable:
            self._page = PublishedPage.open(self.filesystem, self.path(PUBLISHED), writable=True)
            self.page_slots = self._page.slots
        journaled = self.options.sync == "commit" and self.filesystem.durable
        self.writer = DirectWriter(self)
        if not self.filesystem.durable:
            open_ways(self)
            return
        if journaled or recovered.needs_checkpoint:
            # What was recovered is synced before anybody relies on it.
            self._checkpointer.run()
        else:
            recovered.announce_life(self.filesystem, self.directory, self.life, self.first_commit)
            self.checkpoint_sequence += 1
        if journaled:
            self._journal = self._open_journal()
            self.writer = JournalWriter(self, self._journal)
        open_ways(self)
        self.filesystem.unlink(self.path(FAILED))
        if self._page is not None:
            self._page.begin(self.life, self.commit_number)

    def _open_journal(self) -> Journal:
        areas: list[Area] = []
        for name in JOURNALS:
            path = self.path(name)
            area = (
                Area.open(self.filesystem, path, writable=True)
                if name in self.filesystem.list(self.directory)
                else None
            )
            areas.append(area or Area.create(self.filesystem, path, JOURNAL_FIRST_BYTES))
        self.filesystem.sync_directory(self.directory)
        return Journal(self.filesystem, (areas[0], areas[1]), JOURNAL_LARGEST_BYTES)

    def close(self) -> None:
        """Make everything durable and let the directory go; a second call does nothing, or what an interrupt left."""
        if self.released:
            return
        if self._syncer is not None:
            self._syncer.stop()
        try:
            if not (self.closed or self.readonly or self.failure) and self.filesystem.durable:
                self._save_indexes()
                self._checkpointer.run(clean=True)
        finally:
            with self.lock:
                self.refuse_more()
            self._let_go()

    def refuse_more(self) -> None:
        """Under the lock: from now on the store is closed for everybody."""
        self.closed = True
        # Who still waits for a commit when a sync has failed must hear that its outcome is unknown.
        self.obstacle = self.failure or ClosedError(f"the store {self.directory} was closed")

    def _let_go(self) -> None:
        forks.unregister(self)
        self.cache.close()
        if self._journal is not None:
            self._journal.close()
        if self._process_lock is not None:
            self._process_lock.release()
        self.released = True

    def _save_indexes(self) -> None:
        with self.lock:
            for stream in self.streams.values():
                for segment in stream.parts:
                    segment.save_index(self.filesystem)

    def refuse_in_child(self) -> None:
        """In a forked child: the parent's locks and threads are gone here, and its files are not ours."""
        self._make_lock()
        self.cache.refuse(self.lock)
        self.closed = self.released = True
        self.obstacle = ClosedError(f"the store {self.directory} was opened before the fork: open it anew in the child")
        self._syncer = None
        if self._process_lock is not None:
            self._process_lock.abandon()
            self._process_lock = None

    # State

    def writer_is_alive(self) -> bool:
        """Whether a process has the store open for writing."""
        return self.filesystem.is_locked(self.path(LOCK))

    def path(self, name: str) -> str:
        """Return the path of a file of the store."""
        return in_store(self.directory, name)

    def check_open(self) -> None:
        """Raise `ClosedError` once the store is closed, or in a forked child."""
        if self.closed:
            raise ClosedError(forks.why_closed(self))

    def _refuse(self) -> None:
        error = self.obstacle
        raise type(error)(str(error), **error.__dict__)

    def clear_obstacle(self) -> None:
        """Under the lock: finish an interrupted commit, or say why there will be none."""
        obstacle = self.obstacle
        if obstacle is None:
            return
        if isinstance(obstacle, MsglogError):
            self._refuse()
        if isinstance(obstacle, Plan):
            self.writer.redo(obstacle)
        elif isinstance(obstacle, Several):
            self.writer.redo_several(obstacle)
        elif isinstance(obstacle, SmallCommit):
            obstacle.redo(self)
        elif isinstance(self.writer, JournalWriter):
            self.writer.redo_single(obstacle)
        else:
            self.writer.redo_append(obstacle)  # the stream of an interrupted `append`
        self.obstacle = self.failure
        self.wake_all()
        if self.failure is not None:
            self._refuse()

    def wake_all(self) -> None:
        """Have all look who wait for streams: an exception may have come between a commit and their wakes."""
        for stream in list(self.streams.values()):
            for waiter in tuple(stream.waiters):
                waiter.wake()

    def begin(self) -> Commit:
        """Begin a commit, under the lock.

        Raises `ClosedError`, `ReadOnlyError`, `StoreFailedError`.
        """
        if self.closed:
            self.check_open()
        if self.readonly:
            raise ReadOnlyError(f"the store {self.directory} was opened with readonly=True", path=self.directory)
        if self.obstacle is not None:
            self.clear_obstacle()
        return Commit(self)

    def _refuse_append(self, *_arguments: Any) -> Any:
        """Stand in for them where nothing may be written."""
        self.begin()
        raise AssertionError("a readonly engine begins no commit")

    def wait(self, commit: int) -> None:
        """Return when a commit is as durable as `sync` promises, and visible. Call it without the lock."""
        self.writer.wait(commit)

    def flush(self) -> None:
        """Make everything that returned before durable, in every mode."""
        self.check_open()
        if self.readonly or not self.filesystem.durable:
            return
        if isinstance(self.writer, JournalWriter):
            self.writer.drain()
        else:
            self._checkpointer.run()

    def check_place(self) -> None:
        """Raise `StoreFailedError` when the directory was removed or replaced: what is there now is somebody else's.

        Files are found by path, so going on would overwrite a store that was made there since.
        """
        if self._process_lock is not None and not self._process_lock.is_current():
            what = OSError(errno.ENOENT, "the lock file is not the one this process holds")
            raise self.stop_writing("the directory was removed or replaced", what, mark=False)

    def stop_writing(self, what: str, error: OSError, *, mark: bool = True) -> StoreFailedError:
        """Take no more writes until the store is reopened; return the error to raise.

        After a failed sync the kernel may call pages clean that never reached the disk, so nothing is tried again:
        the next opening rewrites all that came after the last checkpoint.
        """
        failure = StoreFailedError(
            f"{what} ({error}): the store {self.directory} takes no more writes until it is reopened",
            path=self.directory,
        )
        self.failure = self.obstacle = failure
        # Of what fails behind a store that is closed, or was killed, whoever waits for it hears.
        level = logging.DEBUG if self.closed else logging.ERROR
        logger.log(level, "%s", failure, extra={"event": "failed", "path": self.directory})
        if self._page is not None:
            self._page.mark_failed()
        if mark:
            try:
                self.filesystem.open(self.path(FAILED), create=True).close()
            except OSError:
                self._warn("not_marked", "could not leave a mark of the failure in %s", self.directory)
        return failure

    def _warn(self, event: str, message: str, *args: object) -> None:
        logger.warning(message, *args, extra={"event": event, "path": self.directory})

    # Space

    def make_segment(self, stream: Stream, base_offset: int, value_total: int, needed: int) -> Segment:
        """Make the file of a new segment that has room up to position `needed`; it is not part of the stream yet."""
        self.check_place()
        segment = new_segment(self.directory, stream, self.next_file_id, base_offset, self.life, value_total)
        self.next_file_id += 1
        try:
            self.cache.adopt(segment)
            file = self.cache.with_descriptors(lambda: self.filesystem.open(segment.path, create=True))
            segment.file = file
            self._grow(segment, max(needed, FIRST_ALLOCATION), stream)
            file.write(0, segment.header.pack())
            segment.load_index(self.filesystem)
        except BaseException:
            self.discard_segment(segment)
            raise
        self.names_version += 1
        return segment

    def discard_segment(self, segment: Segment) -> None:
        """Remove a segment that never became part of its stream."""
        self.cache.forget(segment)
        with suppress(OSError):  # the file is in no list: the next opening removes it
            self.filesystem.unlink(segment.path)

    def make_room(self, stream: Stream, segment: Segment, end: int) -> None:
        """Open the active segment and give it room up to position `end`."""
        self.cache.open_for_append(segment)
        if end > segment.capacity:
            self._grow(segment, end, stream)

    def _grow(self, segment: Segment, needed: int, stream: Stream) -> None:
        largest = max(stream.segment_bytes, needed)
        self.cache.with_descriptors(lambda: segment.grow(needed, largest), keep=segment)

    def roll(self, stream: Stream) -> None:
        """Under the lock: begin a new segment, so that the one before can be dropped or rewritten."""
        self.clear_obstacle()
        if stream.active is NO_SEGMENT or stream.active.empty:
            return
        try:
            segment = self.make_segment(stream, stream.next_offset, stream.value_bytes, 0)
        except OSError as error:
            if isinstance(error, MsglogError):
                raise
            raise StoreFailedError(
                f"could not begin a segment of {stream.slug!r}: {error}", path=self.directory, outcome="not_applied"
            ) from error
        stream.install(segment)

    def rewrite(self, stream: Stream, segments: Sequence[SegmentFacts], survivors: Survivors) -> tuple[int, int]:
        """Compaction: copy what survives of consecutive sealed segments into a new one and switch over in a commit.

        `survivors` gives the indexes of the records of a frame that stay. Offsets are kept. Call it without the lock.
        Returns (records removed, bytes freed).
        """
        try:
            return rewrite_segments(self, stream, segments, survivors)
        except OSError as error:
            if isinstance(error, MsglogError):
                raise
            raise StoreFailedError(
                f"could not rewrite segments of {stream.slug!r}: {error}", path=self.directory, outcome="not_applied"
            ) from error

    # Durability

    def snapshot_due(self) -> bool:
        """Whether replaying the tail of events costs more than a snapshot."""
        if self.snapshot_wanted:
            return True
        return self.state_cost >= max(SNAPSHOT_COST, self.snapshot_bytes // _SNAPSHOT_BYTES_PER_COST)

    def request_checkpoint(self, *, wake: bool = True) -> None:
        """Have a checkpoint made soon: by the syncer's thread, or by the next call that may wait."""
        self._checkpoint_requested = True
        if wake and self._syncer is not None:
            self._syncer.wake()

    def run_requested(self) -> None:
        """Without the lock: make a checkpoint that nobody else will make, or that is overdue."""
        if not self._checkpoint_requested:
            return
        overdue = self._journal is not None and self._journal.used_bytes > 2 * JOURNAL_LARGEST_BYTES
        if self._syncer is None or overdue:
            try:
                self.checkpoint()
            except (DiskFullError, StoreFailedError) as error:
                # Whoever called has a commit that is done: the next one will be told.
                self._warn("checkpoint_failed", "a checkpoint of %s failed: %s", self.directory, error)
                self._checkpoint_requested = True

    def checkpoint(self) -> None:
        """Make a checkpoint now. Without the lock."""
        self._checkpoint_requested = False
        self.writer.note_checkpoint()
        self._checkpointer.run()

    def checkpoint_begins(self) -> None:
        """Under the lock: what comes now is not covered by the checkpoint that is being made."""
        if self._journal is not None:
            self._journal.switch()

    def free_journal(self, commit: int) -> None:
        """Without the lock: a checkpoint that is durable covers `commit`, so journal space is free again."""
        if self._journal is None:
            return
        try:
            self._journal.prepare(commit)
        except OSError as error:
            raise self.stop_writing("the journal could not grow", error) from error
        with self.lock:
            self._journal.release(commit)

    def hold_files(self, holder: object) -> None:
        """Have no file unlinked that is in use now, until `release_files`. A crash forgets it."""
        with self.lock:
            self.check_open()
            self.table.holders.add(holder)

    def release_files(self, holder: object) -> None:
        """End what `hold_files` began; nothing happens when it did not."""
        with self.lock:
            self.table.holders.discard(holder)
            if not (self.filesystem.durable or self.table.holders):
                for path in self.table.garbage:
                    self.filesystem.unlink(path)
                self.table.garbage.clear()

    @property
    def checkpoints(self) -> Lock:
        """What is held while a checkpoint is made, and files are removed after it. Before the store lock."""
        return self._checkpointer.running

    def journal_areas(self) -> tuple[Area, ...]:
        """Return the journal's files, none without a journal; only to be looked at."""
        return () if self._journal is None else self._journal.areas()

    @property
    def checkpoint_requested(self) -> bool:
        """Whether a checkpoint was asked for and not made yet."""
        return self._checkpoint_requested

    def write_draft(self) -> None:
        """Under the lock: note where every stream ends, without a sync."""
        self.draft_sequence += 1
        try:
            write_draft(
                self.filesystem,
                self.directory,
                self.draft_sequence,
                commit=self.commit_number,
                base=self.durable_commit,
                life=self.life,
                next_file_id=self.next_file_id,
                streams=self.streams.values(),
            )
        except OSError as error:
            self._warn("no_draft", "no draft checkpoint: %s; reopening after a kill will take longer", error)

    def refresh(self) -> None:
        """On a readonly engine: see what a writer in another process has published since."""
        if self.readonly:
            self._follower.refresh()

    def metrics(self) -> dict[str, int]:
        """Return counters and sizes as plain numbers; see `measuring`."""
        return measure(self, self._journal)

    def __repr__(self) -> str:
        return f"<Engine {self.directory} commit={self.published} streams={len(self.streams)}>"

"""Bugs that a search has to find: each puts one safety measure out of action for as long as the block lasts."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import count
from typing import Any
from unittest import mock

from msglog.cursors import CursorModel
from msglog.log.groups import GroupsModel
from msglog.log.producers import ProducerState
from msglog.storage.checkpointer import Checkpointer
from msglog.storage.commit import Commit
from msglog.storage.journal import Area
from msglog.storage.writers import DirectWriter, JournalWriter
from support.faulty_filesystem import FaultyFile

Bug = Callable[[], AbstractContextManager[object]]


@contextmanager
def _unsynced(name: str) -> Iterator[None]:
    """Files whose path holds a name are never synced."""
    whole = FaultyFile.sync

    def sync(self: FaultyFile) -> None:
        if name not in self.path:
            whole(self)

    with mock.patch.object(FaultyFile, "sync", sync):
        yield


@contextmanager
def journal_is_not_synced() -> Iterator[None]:
    """Commits return, and are seen, before they are on the disk."""
    with _unsynced("journal"):
        yield


@contextmanager
def segments_are_not_synced() -> Iterator[None]:
    """Checkpoints call durable what is not."""
    with _unsynced("segments"):
        yield


@contextmanager
def published_before_it_is_synced() -> Iterator[None]:
    """What was written can be seen at once."""
    whole = JournalWriter.write_entries

    def write_entries(self: JournalWriter) -> None:
        whole(self)
        self._publish_up_to(self._engine.commit_number)

    with mock.patch.object(JournalWriter, "write_entries", write_entries):
        yield


@contextmanager
def an_event_is_dropped() -> Iterator[None]:
    """One event in seven of those that tell of cursors and groups never reaches its commit."""
    numbers = count(1)
    whole = Commit.record

    def record(self: Commit, section: str, event: list[Any]) -> None:
        if section not in {"cursors", "groups"} or next(numbers) % 7:
            whole(self, section, event)

    with mock.patch.object(Commit, "record", record):
        yield


@contextmanager
def acknowledged_in_memory_only() -> Iterator[None]:
    """An acknowledgement changes the cursor, and nothing is written."""

    def append_settle(self: Any, cursor: Any, first: int, end: int, _timestamp_ms: int) -> int:
        cursor.settle(first, end, cursor.next)
        number: int = self._engine.commit_number
        return number

    writers = {*DirectWriter.__mro__, *JournalWriter.__mro__}
    with ExitStack() as patches:
        for one in [one for one in writers if "append_settle" in vars(one)]:
            patches.enter_context(mock.patch.object(one, "append_settle", append_settle))
        yield


@contextmanager
def a_settlement_is_forgotten() -> Iterator[None]:
    """One settlement in five has no effect where it is replayed or decided in a larger commit."""
    numbers = count(1)
    whole = CursorModel._settle

    def settle(self: CursorModel, *arguments: int) -> None:
        if next(numbers) % 5:
            whole(self, *arguments)

    with mock.patch.object(CursorModel, "_settle", settle):
        yield


@contextmanager
def the_last_journal_entry_is_overlooked() -> Iterator[None]:
    """Recovery leaves out the last entry of each journal file."""
    whole = Area.entries_after

    def entries_after(self: Area, commit: int) -> Iterator[Any]:
        yield from list(whole(self, commit))[:-1]

    with mock.patch.object(Area, "entries_after", entries_after):
        yield


@contextmanager
def files_go_before_the_checkpoint() -> Iterator[None]:
    """What a commit has dropped is unlinked before the checkpoint that covers it is durable."""
    whole = Checkpointer._make_durable

    def make_durable(self: Checkpointer, notes: Any) -> None:
        self._unlink(notes.garbage)
        whole(self, notes)

    with mock.patch.object(Checkpointer, "_make_durable", make_durable):
        yield


@contextmanager
def a_commit_is_torn_in_two() -> Iterator[None]:
    """What is to be one commit becomes two: data, then the events that belong to them."""
    whole = Commit.write

    def write(self: Commit) -> int:
        if self.bodies and self.events and all(section != "storage" for section, _ in self.events):
            events, self.events = self.events, []
            whole(self)
            second = self.engine.begin()
            second.events = events
            return whole(second)
        return whole(self)

    with mock.patch.object(Commit, "write", write):
        yield


@contextmanager
def offsets_are_committed_beyond_what_was_read() -> Iterator[None]:
    """A group's committed offset is one too high."""
    whole = GroupsModel.apply

    def apply(self: GroupsModel, event: list[Any]) -> None:
        if event[0] == "commit":
            event = [*event[:2], [[topic, number, offset + 1] for topic, number, offset in event[2]]]
        whole(self, event)

    with mock.patch.object(GroupsModel, "apply", apply):
        yield


@contextmanager
def producers_are_not_remembered() -> Iterator[None]:
    """A retry is not known for one."""
    with mock.patch.object(ProducerState, "remember", return_value=None):
        yield


BUGS: tuple[Bug, ...] = (
    journal_is_not_synced,
    segments_are_not_synced,
    published_before_it_is_synced,
    an_event_is_dropped,
    acknowledged_in_memory_only,
    a_settlement_is_forgotten,
    the_last_journal_entry_is_overlooked,
    files_go_before_the_checkpoint,
    a_commit_is_torn_in_two,
    offsets_are_committed_beyond_what_was_read,
    producers_are_not_remembered,
)

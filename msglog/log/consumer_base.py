"""What every part of `Consumer` shares: partitions, place in the group, and the look around before a poll.

Invariants: no lock is held while a callback runs or the thread waits; a callback sees the assignment as it
is before a revocation or after an assignment, and leaves a consistent consumer behind when it raises. The
parts of a consumer do not refer back to it, so that one that is dropped is collected at once and its member
leaves. Imported by the parts of `Consumer`.
"""

import re
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, Final, cast

from msglog.errors import ClosedError, FencedError
from msglog.log.assignment import Change, ManualSource, Source, TopicSelection, WholeTopicsSource
from msglog.log.bell import Bell
from msglog.log.coordination import Coordination
from msglog.log.fetcher import Fetcher
from msglog.log.group_member import GroupMember
from msglog.log.group_offsets import GroupOffsets
from msglog.log.live_group import Seat
from msglog.log.model import LogModel
from msglog.log.pace import Pace
from msglog.log.positions import Positions, Start
from msglog.log.rules.membership import JoinRequest
from msglog.ownership import OneThread
from msglog.store import StoreCore
from msglog.types import TopicPartition
from msglog.waiting import Waiter, Wakeable

Callback = Callable[[Any, frozenset[TopicPartition]], object]

READONLY_STEP_SECONDS: Final = 0.01
"""How often a waiting consumer looks into a store another process writes: no commit there can wake it."""

_NO_CALLBACKS: Final[dict[str, Callback | None]] = {}


class ConsumerBase:
    """The inside of a consumer."""

    _closed = True  # until it is complete: what fails on the way needs no closing
    _source: Source
    _member: GroupMember | None = None

    def __init__(
        self,
        core: StoreCore,
        topics: Iterable[str | re.Pattern[str]],
        *,
        group: str | None,
        start: Start,
        auto_commit: bool,
        request: JoinRequest,
        callbacks: dict[str, Callback | None],
    ) -> None:
        self._engine = core.engine
        self._coordination = Coordination.of(core)
        self._coordination.check_open()
        self._engine.refresh()
        log = cast(LogModel, core.engine.models[LogModel.section])
        self._selection = TopicSelection(log, topics)
        self._start = start
        self._waiter = Waiter()
        self._bell = Bell(self._waiter)
        self._owner = OneThread("this consumer")
        self._positions = Positions(log, start)
        self._fetcher = Fetcher()
        self._offsets = GroupOffsets(self._coordination, group, auto_commit=auto_commit)
        self._callbacks = callbacks if self._selection else _NO_CALLBACKS
        self._calling_back = False
        self._watcher: Wakeable | None = None
        self._unannounced: list[frozenset[TopicPartition]] = []
        self._announced: set[TopicPartition] = set()
        self._polled = self._stopped = self._interrupted = False
        self._topics_version = -1
        self._coordination.watch(self._bell)
        self._source = self._make_source(group, request)
        if isinstance(self._source, GroupMember):
            self._member = self._source
        self._pace = Pace(needed=self._member is not None or auto_commit, every_record=core.clock.manual)
        self._closed = False
        self._take_assignment()
        self._bell.ring()  # callbacks are due

    def _make_source(self, group: str | None, request: JoinRequest) -> Source:
        if not self._selection:
            return ManualSource(self._coordination, self._positions)
        if group is None:
            return WholeTopicsSource(self._coordination, self._selection)
        return GroupMember(self._coordination, self._selection, group, request, self._bell)

    def leave_out(self, suffix: str) -> None:
        """Let patterns match no topics with this ending, from the next poll on; not public."""
        self._selection.leave_out(suffix)
        if isinstance(self._source, GroupMember):
            self._source.look_again()

    @property
    def _seat(self) -> Seat | None:
        member = self._member
        return None if member is None else member.seat

    # Who may call, and when

    def _check_usable(self) -> None:
        """Under the guard, at the start of each call."""
        if not self._calling_back:
            self._owner.reset()
        if self._closed:
            raise ClosedError("this consumer was closed")
        self._coordination.check_open()

    def _refuse_in_callback(self, call: str) -> None:
        if self._calling_back:
            raise RuntimeError(f"{call} was called by a rebalance callback, which itself runs inside a poll or close")

    # The look around

    def _look_around(self) -> None:
        """Commit what is finished, then do whatever the group or the topics ask for.

        To the group this begins a poll, which goes on until `_note_polling(polls=False)`.
        """
        self._bell.rung = False  # first of all: what rings from now on is seen by the next look
        try:
            self._look()
        except BaseException:
            self._bell.rung = True  # something may be left to do
            raise
        self._pace.looked()

    def _look(self) -> None:
        self._coordination.check_open()
        self._engine.refresh()
        seat = self._seat
        if seat is not None:
            seat.thread = self._owner.last
        self._follow_topics()
        self._offsets.commit_finished(seat, self._positions.known())
        self._polled = True
        change = self._source.next_change()
        if change is not None and change.kind == "lost":
            self._unannounced.clear()
        news = change is not None or bool(self._unannounced)
        while self._unannounced:
            self._announce(self._unannounced.pop(0))
        while change is not None:
            self._apply(change)
            change = self._source.next_change()
        if news:  # where reading begins may have to be committed, and the wait that follows may be a long one
            self._offsets.commit_finished(self._seat, self._positions.known())
        self._note_polling(polls=True)

    def _take_assignment(self) -> None:
        """Before the first poll: begin with what is assigned at once. All callbacks are left to that poll.

        Where others own all there is, the group is not asked: so members that join together share one rebalance.
        """
        if self._member is not None and not self._member.may_receive():
            return
        try:
            while not self._polled and (change := self._source.next_change()) is not None:
                if change.kind != "assign":
                    return
                self._begin(change)
                self._unannounced.append(change.partitions)
        except FencedError:
            pass  # the poll says so, and a commit

    def _follow_topics(self) -> None:
        """Begin anew with topics that were deleted and made again under their names."""
        version = self._coordination.topics_version
        if version == self._topics_version:
            return
        self._topics_version = version
        positions = self._positions
        stale = [tp for tp, c in positions.cursors.items() if positions.exists(tp) and not positions.is_current(c)]
        if stale:
            self._drop(stale)
            self._add(stale)

    def _apply(self, change: Change) -> None:
        if change.kind == "assign":
            self._begin(change)
            self._announce(change.partitions)
            return
        try:
            told = change.partitions & self._announced
            self._announced -= told
            if told:
                self._call_back("on_revoke" if change.kind == "revoke" else "on_lost", told)
        finally:
            self._drop(change.partitions)
            self._source.done(change)

    def _begin(self, change: Change) -> None:
        self._add(change.partitions)
        self._source.done(change)

    def _announce(self, partitions: frozenset[TopicPartition]) -> None:
        self._announced |= partitions
        self._call_back("on_assign", partitions)

    def _add(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in sorted(partitions):
            if self._positions.exists(partition):  # else it was deleted a moment ago, and goes with the next look
                cursor = self._positions.add(partition, self._offsets.committed(partition))
                self._offsets.begin(partition, cursor.position, self._start)
        self._fetcher.set_cursors(self._positions.cursors.values())

    def _drop(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            self._positions.remove(partition)
            self._offsets.end(partition)
        self._fetcher.set_cursors(self._positions.cursors.values())

    def _call_back(self, name: str, partitions: frozenset[TopicPartition]) -> None:
        callback = self._callbacks.get(name)
        if callback is None:
            return
        self._note_polling(polls=False)  # the user's code is at work now, and held to the poll interval
        self._calling_back = True
        try:
            callback(self, partitions)
        finally:
            self._calling_back = False

    def _note_polling(self, *, polls: bool) -> None:
        member = self._member
        if member is not None and member.seat is not None:
            member.seat.polls = polls

    # Waiting

    def _wait(self, deadline: float | None) -> bool:
        """Sleep until there may be something to do; return False when the deadline is over, or on an interrupt."""
        if self._interrupted:
            self._interrupted = False
            return False
        seconds = None if deadline is None else deadline - monotonic()
        if seconds is not None and seconds <= 0:
            return False
        if self._engine.readonly:
            seconds = READONLY_STEP_SECONDS if seconds is None else min(seconds, READONLY_STEP_SECONDS)
        waiter = self._waiter
        self._fetcher.watch(waiter)
        try:
            if not (self._bell.rung or self._fetcher.has_more()):
                waiter.wait(seconds)
        finally:
            self._fetcher.unwatch(waiter)
        return True

    def watch(self, waiter: Wakeable) -> bool:
        """Have a waiter woken, from any thread, when there may be something to poll for; not public.

        Until `unwatch` waiting counts as polling. Returns whether there is nothing yet, so that it is to be waited.
        """
        self._watcher = waiter
        self._bell.waiter = waiter
        self._fetcher.watch(waiter)
        self._note_polling(polls=True)
        return not (self._bell.rung or self._fetcher.has_more())

    def unwatch(self) -> None:
        """Undo `watch`; not public."""
        if self._watcher is not None:
            self._fetcher.unwatch(self._watcher)
            self._watcher = None
        self._note_polling(polls=False)

    def _must_look(self) -> bool:
        """After a wait: whether to look around again, or whether only records can have ended it.

        Between the wake and the record it costs as much as all the rest, and would find nothing: the look before the
        wait did all there was to do, and what comes after it rings.
        """
        return self._bell.rung or self._engine.readonly or not self._source.note_poll()

"""The public class that reads topics in order, alone or as a member of a group. Exported by `msglog`."""

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from threading import current_thread
from time import monotonic
from types import TracebackType
from typing import Final, Literal, Self

from msglog.checks import check_choice, check_flag, check_integer, check_timeout, refused
from msglog.errors import GroupError, MsglogError, ReadOnlyError
from msglog.log.assignment import ManualSource
from msglog.log.consumer_arguments import check_callback, check_offsets, check_partition
from msglog.log.consumer_base import Callback
from msglog.log.consumer_positions import Positioning
from msglog.log.group_offsets import StagedOffsets
from msglog.log.pace import NEVER
from msglog.log.rules.membership import DEFAULT_MAX_POLL_INTERVAL_MS, DEFAULT_SESSION_TIMEOUT_MS, JoinRequest
from msglog.log.rules.names import check_group_name
from msglog.showing import one_line
from msglog.storage import Engine
from msglog.store import StoreCore
from msglog.types import Record, TopicPartition
from msglog.waiting import deadline_after

MAX_RECORDS: Final = 500
"""The most records a poll returns unless told otherwise, as in Kafka (`max.poll.records`)."""

_CLOSE_SECONDS: Final = 10.0


class Consumer(Positioning):
    """Reads the records of topics, partition by partition in offset order; made by `Log.consumer`.

    Arguments:
        topics: names, and compiled patterns that a whole name must match; topics made later that match join
            by themselves. None at all: partitions come from `assign`.
        group: the group to share the topics with and to commit for. None reads all partitions and commits
            nothing.
        start: where to begin without a committed offset, or when it is out of range: "earliest", "latest"
            (the end as of the assignment), or "error" (`OffsetOutOfRangeError`).
        auto_commit: commit what is finished: what was handed out before, whenever more is asked for;
            everything handed out on closing and when partitions are revoked; with `start="latest"` also where
            reading began, so that whoever comes next skips nothing. When a `with` block ends by an exception,
            or the store is closed by another thread, the batch in hand is not finished. Such commits do not
            wait for the disk.
        assignor: "range", "roundrobin", "sticky" or "cooperative-sticky"; all members of a group use the
            same.
        instance_id: makes a static member: one that returns within its session timeout gets its partitions
            back without a rebalance, closing does not leave the group, and a second holder of the id fences
            the first.
        session_timeout_ms: 1 to 2**31 - 1, default 45,000. When a member is given up whose thread has ended.
        max_poll_interval_ms: 1 to 2**31 - 1, default 300,000. The longest time between two polls (each step
            of an iteration is one, waiting in one counts as polling); then the member is evicted.
        on_assign: called as f(consumer, partitions) after partitions came, for every assignment, an empty one
            included.
        on_revoke: called likewise before partitions go.
        on_lost: called likewise after an eviction, when somebody else may have the partitions.

    Callbacks are called inside `poll`, iteration and `close`, never elsewhere. They may commit and seek, not poll.

    A position is one past the last record handed out; what was read ahead does not count. Without commits a
    group begins where `start` says. After an eviction the next poll calls `on_lost` and joins anew.

    Raises `InvalidNameError`, `InvalidOptionError`, `InvalidTypeError`, `TopicNotFoundError` for a name,
    `GroupError` when the group uses another assignor, `ReadOnlyError` for a group in a readonly store,
    `ClosedError`.

    For one thread at a time: a second one inside any call raises `RuntimeError`, but for `stop` and `close`.
    A context manager; one that is collected unclosed warns (`ResourceWarning`), commits nothing, and leaves
    its group.
    """

    def __init__(
        self,
        core: StoreCore,
        topics: Iterable[str | re.Pattern[str]],
        *,
        group: str | None = None,
        start: Literal["earliest", "latest", "error"] = "earliest",
        auto_commit: bool = False,
        assignor: str = "range",
        instance_id: str | None = None,
        session_timeout_ms: int = DEFAULT_SESSION_TIMEOUT_MS,
        max_poll_interval_ms: int = DEFAULT_MAX_POLL_INTERVAL_MS,
        on_assign: Callback | None = None,
        on_revoke: Callback | None = None,
        on_lost: Callback | None = None,
    ) -> None:
        check_choice("start", start, ("earliest", "latest", "error"))
        if instance_id is not None:
            instance_id = check_group_name(instance_id)
        if group is None and (auto_commit or instance_id is not None):
            raise refused("group", None, "the name of a group: auto_commit and instance_id mean nothing without one")
        request = JoinRequest(
            member_id="",
            topics=frozenset(),
            assignor=assignor,
            instance_id=instance_id,
            session_timeout_ms=session_timeout_ms,
            max_poll_interval_ms=max_poll_interval_ms,
        )
        if group is not None:
            group = check_group_name(group)
            if core.engine.readonly:
                raise ReadOnlyError(f"a group needs a store that is open for writing: {core.path}", path=core.path)
        callbacks = {"on_assign": on_assign, "on_revoke": on_revoke, "on_lost": on_lost}
        super().__init__(
            core,
            topics,
            group=group,
            start=start,
            auto_commit=check_flag("auto_commit", auto_commit),
            request=request,
            callbacks={name: check_callback(name, callback) for name, callback in callbacks.items()},
        )

    @property
    def group(self) -> str | None:
        """The name of its group, None without one."""
        return self._offsets.name

    @property
    def is_member(self) -> bool:
        """Whether its partitions come from its group, not from `assign`; not public."""
        return self._seat is not None

    def evict(self) -> None:
        """Have its group evict it, as its timeouts would; not public. Raises `InvalidOptionError` without a group."""
        seat = self._seat
        if seat is None:
            raise refused("consumer", self, "a consumer that is a member of a group")
        self._coordination.evict(seat)

    @property
    def auto_commit(self) -> bool:
        """Whether it commits by itself what was finished."""
        return self._offsets.auto_commit

    # Reading

    def poll(self, timeout: float | None = None, max_records: int = MAX_RECORDS) -> list[Record]:
        """Return the next records, waiting up to `timeout` seconds for the first; an empty list after that.

        `timeout`: real time, None waits for ever, 0 never. `max_records`: 1 or more. Rebalances and their
        callbacks happen here, whatever the timeout. After `stop` it returns an empty list at once.

        Raises `CorruptionError` and `OffsetOutOfRangeError` for a partition that cannot go on, when no
        record came before; the others go on with the next call. `FencedError` when another consumer took the
        instance id; `ClosedError`; what a callback raised; with auto-commit what writing raises.
        """
        seconds = check_timeout(timeout)
        check_integer("max_records", max_records, 1)
        entered = False
        try:
            with self._owner:
                self._begin_poll("poll()")
                entered = True
                try:
                    return self._poll(deadline_after(seconds), max_records)
                finally:
                    self._note_polling(polls=False)
        except BaseException:
            if entered:  # an interrupt must not cost the records that it kept from being returned
                self._fetcher.take_back()
            raise

    def _poll(self, deadline: float | None, max_records: int) -> list[Record]:
        # Whoever polls for few records at a time would mostly look around. Auto-commit promises to commit at each poll.
        if not (self._is_to_look() or self._offsets.auto_commit) and (records := self._fetcher.take(max_records)):
            return records
        look = True
        while not self._stopped:
            if look:
                self._look_around()
            records = self._fetcher.take(max_records)
            if records or not self._wait(deadline):
                return records
            look = self._must_look()
            if not look and (latest := self._fetcher.take_latest()) is not None:
                return latest
        return []

    def iter(self, timeout: float | None = None) -> Iterator[Record]:
        """Return an iterator over the records from the position on.

        It ends after `timeout` seconds of real time without a record (0: at the end; None: never), and after
        `stop`. Each step is a poll. Several iterators and `poll` share the positions. Raises what `poll`
        raises.
        """
        seconds = check_timeout(timeout)
        with self._owner:
            self._check_usable()
        return self._iterate(seconds)

    def __iter__(self) -> Iterator[Record]:
        return self.iter()

    def _iterate(self, timeout: float | None) -> Iterator[Record]:
        # All that is done for each record is in these loops: the position is told by what is left in `run`.
        bell, pace = self._bell, self._pace
        while (run := self._next_run(timeout)) is not None:
            due = pace.due
            if due == NEVER:
                for record in run:
                    yield record
                    if bell.rung:
                        break
            else:
                for record in run:
                    yield record
                    if bell.rung or monotonic() >= due:
                        break

    def _next_run(self, timeout: float | None) -> Iterator[Record] | None:
        """Return the records to go on with, None when the iteration is over."""
        with self._owner:
            self._begin_poll("the next step of an iteration")
            if not self._is_to_look():
                run = self._fetcher.run()
                if run is not None:
                    return run
            deadline = deadline_after(timeout)
            try:
                look = True
                while not self._stopped:
                    if look:
                        self._look_around()
                    run = self._fetcher.run()
                    if run is not None or not self._wait(deadline):
                        return run
                    look = self._must_look()
                    if not look and (run := self._fetcher.run_latest()) is not None:
                        return run
            finally:
                self._note_polling(polls=False)
        return None

    def _is_to_look(self) -> bool:
        """Whether to look around before anything is handed out."""
        return self._stopped or self._bell.rung or monotonic() >= self._pace.due

    def _begin_poll(self, call: str) -> None:
        self._check_usable()
        self._refuse_in_callback(call)
        self._fetcher.finish_hand()
        if isinstance(self._source, ManualSource) and not self._source.used:
            raise GroupError("this consumer has no topics: name some when making it, or call assign()")

    def stop(self) -> None:
        """Hand out nothing more: iteration ends after the record in hand, and polls return empty from now on.

        From any thread, and from a signal handler: it takes no lock. Committing and closing work as before.
        """
        self._stopped = True
        self._bell.ring()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    # Committing

    def commit(self, upto: Record | Mapping[TopicPartition, int] | None = None) -> None:
        """Commit the group's offsets and return when that is as durable as the store's `sync` promises.

        `upto`: None for the positions in all assigned partitions, which covers the record in hand; a record,
        up to and with it; or for each partition the next offset to read, 0 to its end offset. Going back is
        allowed.

        Raises `GroupError` without a group; `FencedError` when the partitions are no longer this member's
        and, for partitions assigned by hand, while the group has members; `RebalanceError` when they come
        back with the next assignment; `TopicNotFoundError`, `PartitionNotFoundError`,
        `OffsetOutOfRangeError`, `InvalidTypeError`; `ClosedError`, `DiskFullError`, `StoreFailedError`.
        Nothing is committed then, but see `error.outcome`.
        """
        with self._owner:
            offsets = self._offsets_up_to(upto)
            if not offsets:
                return
            number = self._offsets.commit(self._seat, offsets)
        self._engine.wait(number)

    def _offsets_up_to(self, upto: Record | Mapping[TopicPartition, int] | None) -> Mapping[TopicPartition, int]:
        self._check_usable()
        self._offsets.group  # noqa: B018 - raises without one
        self._take_assignment()
        return self._positions.known() if upto is None else check_offsets("upto", upto)

    def stage_commit(self, upto: Record | Mapping[TopicPartition, int] | None) -> StagedOffsets:
        """Return what a transaction is to commit for this consumer; not public. Raises as `commit` does."""
        with self._owner:
            offsets = self._offsets_up_to(upto)
            return self._offsets.staged(self._seat, offsets)

    @property
    def engine(self) -> Engine:
        """The engine of the store that it reads from; not public."""
        return self._engine

    def committed(self, tp: TopicPartition) -> int | None:
        """Return the group's committed offset in a partition, assigned or not; None without a commit.

        Raises `GroupError` without a group, `TopicNotFoundError`, `PartitionNotFoundError`,
        `InvalidTypeError`.
        """
        with self._owner:
            self._check_usable()
            self._offsets.group  # noqa: B018 - raises without one
            partition = check_partition("tp", tp)
            self._positions.stream_of(partition)
            return self._offsets.committed(partition)

    # Ending

    def close(self) -> None:
        """Commit what is finished (with `auto_commit`), call `on_revoke`, leave the group. Idempotent.

        A thread that is inside another call is stopped first and given some seconds to come out:
        `RuntimeError` when it does not. Raises what the callback or the commit raises; the consumer is
        closed even then.
        """
        self.end(finished=self._owner.last is current_thread())

    def abandon(self) -> None:
        """Leave the group now, from any thread, whatever the consumer's own thread is doing; not public.

        What it has in hand goes to others, and what it commits from now on is refused.
        """
        self.stop()
        seat = self._seat
        if seat is not None:
            self._coordination.leave(seat)

    def interrupt_wait(self) -> None:
        """Have the present wait for records, or else the next one, end as if its timeout were over; not public.

        From any thread: it takes no lock.
        """
        self._interrupted = True
        self._bell.ring()

    def end(self, *, finished: bool) -> None:
        """Close; not public. `finished`: whether what was handed out last was handled, for `auto_commit`."""
        if self._closed:
            return
        if self._owner.is_held_elsewhere():
            self.stop()
            self._owner.wait_until_free(_CLOSE_SECONDS)
        with self._owner:
            self._refuse_in_callback("close()")
            if self._closed:
                return
            try:
                self._finish(finished=finished)
            finally:
                self._closed = True
                self._source.leave()
                self._drop(tuple(self._positions.cursors))

    def _finish(self, *, finished: bool) -> None:
        """Say good-bye to the group and to the callbacks."""
        try:
            self._coordination.check_open()
        except MsglogError:
            return  # the store is gone already, or was left behind by a fork
        told = frozenset(self._announced)
        if not self._source.still_owns():
            self._call_back_unless_empty("on_lost", told)
            return
        positions = self._positions.known()
        if not finished:
            before = self._fetcher.before_hand()
            positions = {tp: before.get(tp, position) for tp, position in positions.items()}
        try:
            self._offsets.commit_finished(self._seat, positions)
        finally:
            self._call_back_unless_empty("on_revoke", told)

    def _call_back_unless_empty(self, name: str, partitions: frozenset[TopicPartition]) -> None:
        if partitions:
            self._call_back(name, partitions)

    def __enter__(self) -> Self:
        with self._owner:
            self._check_usable()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(finished=kind is None)

    def __del__(self) -> None:
        if self._closed or self._engine.closed:  # a forked child finds its parent's engine closed
            return
        # A finalizer may run anywhere, even inside the store lock: it only leaves a note.
        seat = self._seat
        if seat is not None:
            self._coordination.abandon(seat)
        warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)

    @one_line
    def __repr__(self) -> str:
        group = f" group={self.group!r}" if self.group is not None else ""
        return f"<msglog.Consumer{group} {self._tell()}>"

    def _tell(self) -> str:
        """Return the state as it can be seen from any thread; without the lag where another one just moves on."""
        if self._closed or self._engine.closed:
            return "closed"
        told = [f"partitions={len(self._positions.cursors)}"]
        with suppress(IndexError):
            told.append(f"lag={sum(cursor.lag() for cursor in tuple(self._positions.cursors.values()))}")
        return " ".join([*told, *(["stopped"] if self._stopped else [])])

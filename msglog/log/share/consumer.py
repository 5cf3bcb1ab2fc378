"""The public class that works through topics together with others, record by record. Exported by `msglog`."""

import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import TracebackType
from typing import Final, Literal, Self, cast

from msglog.checks import check_choice, check_integer, check_timeout, wrong_type
from msglog.errors import ClosedError, ReadOnlyError
from msglog.log.assignment import TopicSelection
from msglog.log.consumer import MAX_RECORDS
from msglog.log.model import LogModel
from msglog.log.rules.names import check_group_name
from msglog.log.share.group import Batch, ShareMember
from msglog.log.share.record import ShareRecord
from msglog.log.share.sharing import Sharing
from msglog.showing import one_line
from msglog.storage import Engine
from msglog.store import StoreCore
from msglog.waiting import Waiter, Wakeable, deadline_after

DEFAULT_LOCK_MS: Final = 30_000
"""Kafka's `group.share.record.lock.duration.ms`."""

DEFAULT_DELIVERY_LIMIT: Final = 5
"""Kafka's `group.share.delivery.count.limit`."""

_MOST: Final = (1 << 31) - 1


class ShareConsumer:
    """One of several workers on the same topics that acknowledge records one by one; made by `Log.share_consumer`.

    Arguments:
        topics: names, and compiled patterns that a whole name must match, at least one; topics made later that match
            join by themselves.
        group: the share group to work for. All its members get records of all partitions. Its name cannot be a
            consumer group's.
        start: where the group begins in a topic that it did not have before: "earliest" (Kafka's default is "latest"),
            or "latest", the end now. Partitions and topics that are made while a member is there are read from their
            beginning.
        lock_ms: 1 to 2**31 - 1, default 30,000, on the store's clock: how long a record is in this consumer's hand.
            When the lock expires it is available again.
        delivery_limit: 1 to 2**31 - 1, default 5: a record that was handed out so often and comes back is settled, as
            by `reject`. Deliveries are written down before the record is handed out, so one that kills the process is
            counted.

    A record is in one member's hand at a time. The lowest offsets of a partition are handed out first; there is no
    order beyond that. At most what was handed out and is not settled is kept in memory. After a crash all of that is
    available again.

    Raises `InvalidNameError`, `InvalidOptionError`, `InvalidTypeError`, `TopicNotFoundError` for a name, `GroupError`
    when the name is a consumer group's, `ReadOnlyError`, `ClosedError`.

    Safe for any number of threads: each record goes to one caller. A context manager; one that is collected unclosed
    warns (`ResourceWarning`), and what it had in hand is available again.
    """

    _closed = True  # until it is complete: what fails on the way needs no closing

    def __init__(
        self,
        core: StoreCore,
        topics: Iterable[str | re.Pattern[str]],
        *,
        group: str,
        start: Literal["earliest", "latest"] = "earliest",
        lock_ms: int = DEFAULT_LOCK_MS,
        delivery_limit: int = DEFAULT_DELIVERY_LIMIT,
    ) -> None:
        group = check_group_name(group)
        check_choice("start", start, ("earliest", "latest"))
        check_integer("lock_ms", lock_ms, 1, _MOST)
        check_integer("delivery_limit", delivery_limit, 1, _MOST)
        self._engine = core.engine
        if core.engine.readonly:
            raise ReadOnlyError(f"a share group needs a store that is open for writing: {core.path}", path=core.path)
        self._sharing = Sharing.of(core)
        selection = TopicSelection(cast(LogModel, core.engine.models[LogModel.section]), topics)
        if not selection:
            raise wrong_type("topics", topics, "at least one name or pattern")
        self._stopped = False
        self._waiters: set[Wakeable] = set()
        self._member = ShareMember(
            self._sharing.new_member_id(), selection, start=start, lock_ms=lock_ms, delivery_limit=delivery_limit
        )
        self._group, number = self._sharing.join(group, self._member)
        self._closed = False
        if number:
            try:
                self._engine.wait(number)
            except BaseException:
                self.close()  # nobody gets this consumer: it must not stay a member
                raise

    @property
    def engine(self) -> Engine:
        """The engine of the store that it reads from; not public."""
        return self._engine

    @property
    def delivery_limit(self) -> int:
        """How often a record is handed out before it is given up."""
        return self._member.delivery_limit

    @contextmanager
    def giving_up(self) -> Iterator[None]:
        """In the block, hand out what was handed out too often as well, instead of settling it; not public.

        Whoever polls gives such records up: their `delivery_count` is above `delivery_limit`.
        """
        who = object()  # several may poll at once
        self._member.givers_up[who] = None
        try:
            yield
        finally:
            self._member.givers_up.pop(who, None)

    def leave_out(self, suffix: str) -> None:
        """Let patterns match no topics with this ending, from the next poll on; not public."""
        self._member.selection.leave_out(suffix)
        self._member.topics_version = -1

    def poll(self, timeout: float | None = None, max_records: int = MAX_RECORDS) -> list[ShareRecord]:
        """Return the next records, waiting up to `timeout` seconds for the first; an empty list after that.

        `timeout`: real time, None waits for ever, 0 never. `max_records`: 1 or more. What was handed out before and is
        not settled stays in hand. After `stop` it returns an empty list at once.

        Raises `CorruptionError` for a partition that cannot be read, when no record came before; the others go on with
        the next call. `DiskFullError`, `StoreFailedError`, `ClosedError`.
        """
        deadline = deadline_after(check_timeout(timeout))
        check_integer("max_records", max_records, 1)
        self._check_usable()
        batch = Batch(self._member)
        try:
            if self._stopped:
                return []
            records = self._take(batch, max_records)
            return records if records or timeout == 0 else self._wait(batch, deadline, max_records)
        except BaseException:
            # An interrupt, too, must not cost the records that it kept from being returned.
            self._sharing.take_back(self._group, batch)
            raise

    def take_back(self, record: ShareRecord) -> None:
        """Make available what was polled together with a record and never reached whoever polled; not public."""
        self._sharing.take_back(self._group, record.batch)

    def iter(self, timeout: float | None = None) -> Iterator[ShareRecord]:
        """Return an iterator over records; each is handed out, and its lock begins, when the loop comes to it.

        It ends after `timeout` seconds of real time without a record (0: when none is available; None: never), and
        after `stop`. Raises what `poll` raises.
        """
        check_timeout(timeout)
        self._check_usable()
        return self._iterate(timeout)

    def __iter__(self) -> Iterator[ShareRecord]:
        return self.iter()

    def _iterate(self, timeout: float | None) -> Iterator[ShareRecord]:
        while records := self.poll(timeout, 1):
            yield records[0]

    def stop(self) -> None:
        """Hand out nothing more: iteration ends after the record in hand, and polls return empty from now on.

        From any thread, and from a signal handler: it takes no lock. Settling and closing work as before.
        """
        self._stopped = True
        for waiter in tuple(self._waiters):
            waiter.wake()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def close(self) -> None:
        """Leave the group; what is in hand is available again. Calling again does nothing."""
        if self._closed:
            return
        self.stop()
        self._sharing.leave(self._member)
        self._closed = True

    def _check_usable(self) -> None:
        if self._closed:
            raise ClosedError("this share consumer was closed")
        self._sharing.check_open()

    def _take(self, batch: Batch, limit: int) -> list[ShareRecord]:
        taken = self._sharing.take(self._group, batch, limit)
        return [ShareRecord.handed_out(one, self._sharing, batch, self) for one in taken]

    def _wait(self, batch: Batch, deadline: float | None, limit: int) -> list[ShareRecord]:
        waiter = Waiter()
        try:
            self.watch(waiter)
            while not self._stopped:
                if records := self._take(batch, limit):
                    return records
                seconds = None if deadline is None else deadline - monotonic()
                if seconds is not None and seconds <= 0:
                    break
                waiter.wait(seconds)
        finally:
            self.unwatch(waiter)
        return []

    def watch(self, waiter: Wakeable) -> bool:
        """Have a waiter woken, from any thread, when there may be something to poll for; not public.

        Returns whether there is nothing yet, so that it is to be waited.
        """
        self._waiters.add(waiter)
        self._group.waiters.add(waiter)
        return not any(partition in self._member.partitions for partition in tuple(self._group.news))

    def unwatch(self, waiter: Wakeable) -> None:
        """Undo `watch`; not public."""
        self._waiters.discard(waiter)
        self._group.waiters.discard(waiter)

    def __enter__(self) -> Self:
        self._check_usable()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._closed or self._engine.closed:  # a forked child finds its parent's engine closed
            return
        # A finalizer may run anywhere, even under a lock: it only leaves a note.
        self._sharing.abandon(self._member)
        warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)

    @one_line
    def __repr__(self) -> str:
        return f"<msglog.ShareConsumer group={self._group.name!r} {self._tell()}>"

    def _tell(self) -> str:
        if self._closed or self._engine.closed:
            return "closed"
        held = [offsets for batch in tuple(self._member.batches) for offsets in tuple(batch.held.values())]
        in_hand = sum(map(len, held))
        return f"partitions={len(self._member.partitions)} in_hand={in_hand}{' stopped' if self._stopped else ''}"

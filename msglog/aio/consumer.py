"""The consumers of topics, for tasks: alone or in a group, and in a share group. Exported by `msglog.aio`."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Self

import msglog
from msglog.aio.calls import Written, begin, now
from msglog.aio.forwarding import plain
from msglog.aio.polling import Polling
from msglog.aio.waiting import TaskWaiter
from msglog.errors import MsglogError
from msglog.log.consumer_arguments import check_callback
from msglog.log.consumer_base import READONLY_STEP_SECONDS
from msglog.showing import one_line
from msglog.storage import in_force
from msglog.transactions.looping import running_loop
from msglog.types import Record, TopicPartition


class Consumer(Polling[Record]):
    """Reads the records of topics as a `msglog.Consumer`, for one task at a time; made by `Log.consumer`.

    `poll`, iteration and `close` are awaited; everything else returns at once. Rebalance callbacks are plain functions,
    called in the loop's thread, and get this consumer. For tasks of the loop in which it was made. A context manager;
    one that is collected unclosed warns (`ResourceWarning`) and leaves its group.
    """

    def __init__(self, log: msglog.Log, *topics: Any, **options: Any) -> None:
        running_loop()  # raises without one, before there is a member to leave behind
        for name in ("on_assign", "on_revoke", "on_lost"):
            if callable(options.get(name)):
                options[name] = self._with_self(check_callback(name, options[name]))
        self._sync = log.consumer(*topics, **options)
        super().__init__(self._sync.engine, "this consumer")

    def _with_self(self, callback: Any) -> Any:
        def call(_: msglog.Consumer, partitions: frozenset[TopicPartition]) -> None:
            outer = in_force.deferral
            try:
                in_force.deferral = None  # what the callback writes with the threaded classes waits as always
                callback(self, partitions)
            finally:
                in_force.deferral = outer

        return call

    @property
    def sync(self) -> msglog.Consumer:
        """The threaded consumer that this one stands for; what a transaction takes as well as this one."""
        return self._sync

    @property
    def group(self) -> str | None:
        """The name of its group, None without one."""
        return self._sync.group

    @property
    def auto_commit(self) -> bool:
        """Whether it commits by itself what was finished."""
        return self._sync.auto_commit

    def commit(self, upto: Record | Mapping[TopicPartition, int] | None = None) -> Written[None]:
        """Commit the group's offsets: written when this returns, and durable once what it returns was awaited.

        Arguments and errors as for `msglog.Consumer.commit`. It need not be awaited.
        """
        return begin(self._engine, self._sync.commit, upto)

    committed = plain(msglog.Consumer.committed)
    assignment = plain(msglog.Consumer.assignment)
    assign = plain(msglog.Consumer.assign)
    position = plain(msglog.Consumer.position)
    lag = plain(msglog.Consumer.lag)
    seek = plain(msglog.Consumer.seek)
    seek_to_time = plain(msglog.Consumer.seek_to_time)
    seek_to_beginning = plain(msglog.Consumer.seek_to_beginning)
    seek_to_end = plain(msglog.Consumer.seek_to_end)
    seek_to_committed = plain(msglog.Consumer.seek_to_committed)
    pause = plain(msglog.Consumer.pause)
    resume = plain(msglog.Consumer.resume)

    def stop(self) -> None:
        """Hand out nothing more: iteration ends after the record in hand, and polls return empty from now on.

        From any thread, and from a signal handler: it takes no lock. Committing and closing work as before.
        """
        self._sync.stop()

    def poll_now(self, max_records: int) -> list[Record]:
        """Return what there is; not public."""
        return self._sync.poll(0, max_records)

    def _take_back(self, records: list[Record]) -> None:
        firsts = {TopicPartition(record.topic, record.partition): record.offset for record in reversed(records)}
        for partition, offset in firsts.items():
            with suppress(MsglogError):  # somebody else's by now
                self._sync.seek(partition, offset)

    def steps_now(self) -> Iterator[Record]:
        """Return an iterator over what there is; not public."""
        return self._sync.iter(0)

    def has_stopped(self) -> bool:
        """Whether `stop` was called; not public."""
        return self._sync.stopped

    def _watch(self, waiter: TaskWaiter) -> bool:
        return self._sync.watch(waiter)

    def _unwatch(self, waiter: TaskWaiter) -> None:  # noqa: ARG002 the threaded consumer knows it
        self._sync.unwatch()

    def _longest_wait(self, seconds: float | None) -> float | None:
        """Return how long to sleep: in a store that another process writes no commit wakes anybody."""
        if not self._engine.readonly:
            return seconds
        return READONLY_STEP_SECONDS if seconds is None else min(seconds, READONLY_STEP_SECONDS)

    def _close(self, *, finished: bool) -> None:
        self._sync.end(finished=finished)

    @one_line
    def __repr__(self) -> str:
        return f"<msglog.aio.Consumer of {self._sync!r}>"


class ShareConsumer(Polling[msglog.ShareRecord]):
    """A worker of a share group as a `msglog.ShareConsumer`, for tasks; made by `Log.share_consumer`.

    `poll`, iteration and `close` are awaited. Its records are settled as those of the threaded class: `ack`, `release`
    and `reject` return at once. For tasks of the loop in which it was made. A context manager.
    """

    def __init__(self, log: msglog.Log, *topics: Any, **options: Any) -> None:
        running_loop()  # as above
        self._written = begin(log.store.core.engine, log.share_consumer, *topics, **options)
        self._sync = self._written.result
        super().__init__(self._sync.engine, "this share consumer")

    @property
    def sync(self) -> msglog.ShareConsumer:
        """The threaded consumer that this one stands for."""
        return self._sync

    @property
    def delivery_limit(self) -> int:
        """How often a record is handed out before it is given up."""
        return self._sync.delivery_limit

    def stop(self) -> None:
        """Hand out nothing more: iteration ends after the record in hand, and polls return empty from now on.

        From any thread, and from a signal handler: it takes no lock. Settling and closing work as before.
        """
        self._sync.stop()

    async def __aenter__(self) -> Self:
        try:
            await self._written
        except BaseException:  # nobody leaves what was not entered
            now(self._sync.close)
            raise
        return self

    def poll_now(self, max_records: int) -> list[msglog.ShareRecord]:
        """Return what there is; not public."""
        return self._sync.poll(0, max_records)

    def _take_back(self, records: list[msglog.ShareRecord]) -> None:
        self._sync.take_back(records[0])

    def steps_now(self) -> Iterator[msglog.ShareRecord]:
        """Return an iterator over what there is; not public."""
        return self._sync.iter(0)

    def has_stopped(self) -> bool:
        """Whether `stop` was called; not public."""
        return self._sync.stopped

    def _watch(self, waiter: TaskWaiter) -> bool:
        return self._sync.watch(waiter)

    def _unwatch(self, waiter: TaskWaiter) -> None:
        self._sync.unwatch(waiter)

    def _close(self, *, finished: bool) -> None:  # noqa: ARG002 each record is settled on its own
        self._sync.close()

    @one_line
    def __repr__(self) -> str:
        return f"<msglog.aio.ShareConsumer of {self._sync!r}>"

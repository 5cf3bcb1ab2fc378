"""Recording what passes through a store, and assertions about it. Exported by `msglog.testing`.

A recorder keeps values that the tap tells it, in the order in which they were written. Invariant: what is listed became
part of the store, whoever did it and by whatever way; what was refused or rolled back is not there. Nothing is kept of
a store that nobody records.
"""

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeVar

from msglog.checks import check_integer, check_timeout
from msglog.store import Store, StoreFace
from msglog.testing.events import Committed, Outcome, Published, Settled, ShareSettled, describe_record
from msglog.testing.idling import what_is_left
from msglog.testing.matching import ANYTHING, asked_for, check_payload, matches, report, wording
from msglog.testing.tapping import Tap, core_of
from msglog.testing.watching import Watcher
from msglog.types import Record
from msglog.waiting import Waiter

if TYPE_CHECKING:  # no test without tasks imports asyncio for it
    from msglog import aio

T = TypeVar("T")

__tracebackhide__ = True  # pytest shows the line of the test at which an assertion failed, and not the inside of it

# What nobody tells the recorder of, such as a message that is handed out, is looked for so often.
_LOOK_SECONDS: Final = 0.02


class _Keeper(Watcher):
    """Keeps what it is told, and wakes who waits for it."""

    def __init__(self) -> None:
        self.publications: list[Published] = []
        self.records: list[Record] = []
        self.offsets: list[Committed] = []
        self.settlements: list[Settled] = []
        self.shared: list[ShareSettled] = []
        self.waiters: set[Waiter] = set()

    def appended(self, records: list[Record]) -> None:
        self.records += records
        self._wake()

    def committed(self, offsets: list[Committed]) -> None:
        self.offsets += offsets
        self._wake()

    def published(self, published: Published) -> None:
        self.publications.append(published)
        self._wake()

    def settled(self, settled: Settled) -> None:
        self.settlements.append(settled)
        self._wake()

    def share_settled(self, records: list[ShareSettled]) -> None:
        self.shared += records
        self._wake()

    def _wake(self) -> None:
        for waiter in tuple(self.waiters):
            waiter.wake()


class _Kind(NamedTuple):
    """What an assertion is about: the words for it, and how one is shown."""

    noun: str
    verb: str
    describe: Callable[[Any], str] = repr


_MESSAGE: Final = _Kind("message", "was published")
_RECORD: Final = _Kind("record", "was appended", describe_record)
_SHARED: Final = _Kind("record", "was settled")
_VERBS: Final[dict[Outcome, str]] = {
    "acked": "was acknowledged",
    "rejected": "was rejected",
    "requeued": "was requeued",
}


class Recorder:
    """What was written to a store since this was made, and assertions about it; `record` makes one.

    `store`: a `Store`, `Log` or `Broker`, or one of `msglog.aio`, open for writing. Everything is recorded, by whatever
    handle, transaction, channel or thread. Of what is expected, a callable is a predicate on the value, anything else
    is compared by `==`, and what is left out does not matter. Bodies, keys and values are bytes. A failed assertion is
    an `AssertionError` that lists what there was, payloads cut to 60 bytes, and says how the nearest differs.
    `timeout`: so many seconds of real time an assertion waits to become true, for what background threads do; 0 does
    not wait.

    It is recorded when it is written; with `sync="commit"` that is before it is synced. What is recorded stays in
    memory until `clear`, and the store takes longer ways, until `stop`. Raises `InvalidTypeError`, `ReadOnlyError`,
    `ClosedError`. Safe for any thread. A context manager that stops at its end.
    """

    def __init__(self, store: "Store | StoreFace | aio.Store | aio.Log | aio.Broker") -> None:
        self._core = core_of(store)
        self._tap = Tap.of(self._core)
        self._kept = _Keeper()
        self._tap.add(self._kept)

    def stop(self) -> None:
        """Record nothing more; what was recorded stays. Calling again does nothing."""
        self._tap.remove(self._kept)

    def clear(self) -> None:
        """Forget what was recorded so far."""
        kept = self._kept
        for entries in (kept.publications, kept.records, kept.offsets, kept.settlements, kept.shared):
            entries.clear()

    # What there is

    @property
    def published(self) -> list[Published]:
        """The messages that were published, in order, those that no queue got among them."""
        return self._kept.publications[:]

    @property
    def appended(self) -> list[Record]:
        """The records that were appended to topics, in order."""
        return self._kept.records[:]

    @property
    def committed(self) -> list[Committed]:
        """The offsets that consumer groups committed, in order, also when they did not change."""
        return self._kept.offsets[:]

    @property
    def settled(self) -> list[Settled]:
        """What became of messages in queues, in order: acknowledged, rejected, requeued, expired or dropped."""
        return self._kept.settlements[:]

    @property
    def share_settled(self) -> list[ShareSettled]:
        """The records that share groups are done with, in order: acknowledged, rejected, or handed out too often."""
        return self._kept.shared[:]

    # Assertions

    def assert_published(
        self,
        exchange: Any = ANYTHING,
        routing_key: Any = ANYTHING,
        body: Any = ANYTHING,
        *,
        headers: Any = ANYTHING,
        queues: Any = ANYTHING,
        delay_ms: Any = ANYTHING,
        count: int | None = None,
        timeout: float = 0,
    ) -> list[Published]:
        """Assert that such a message was published, or `count` of them; return all such.

        `headers`: a dict. `queues`: the tuple of names of the queues that have it, () for none. Raises
        `AssertionError`, and `InvalidTypeError` for a body that is text.
        """
        check_payload("body", body)
        expected = asked_for(
            exchange=exchange, routing_key=routing_key, body=body, headers=headers, queues=queues, delay_ms=delay_ms
        )
        return self._expect(_MESSAGE, lambda: self.published, expected, count, timeout)

    def assert_nothing_published(
        self,
        exchange: Any = ANYTHING,
        routing_key: Any = ANYTHING,
        body: Any = ANYTHING,
        *,
        headers: Any = ANYTHING,
        queues: Any = ANYTHING,
    ) -> None:
        """Assert that no such message was published; without arguments none at all. Raises `AssertionError`."""
        self.assert_published(exchange, routing_key, body, headers=headers, queues=queues, count=0)

    def assert_appended(
        self,
        topic: Any = ANYTHING,
        value: Any = ANYTHING,
        *,
        key: Any = ANYTHING,
        headers: Any = ANYTHING,
        partition: Any = ANYTHING,
        timestamp_ms: Any = ANYTHING,
        count: int | None = None,
        timeout: float = 0,
    ) -> list[Record]:
        """Assert that such a record was appended, or `count` of them; return all such.

        `headers`: a tuple of pairs. Raises `AssertionError`, and `InvalidTypeError` for a key or value that is text.
        """
        check_payload("key", key)
        check_payload("value", value)
        expected = asked_for(
            topic=topic, key=key, value=value, headers=headers, partition=partition, timestamp_ms=timestamp_ms
        )
        return self._expect(_RECORD, lambda: self.appended, expected, count, timeout)

    def assert_nothing_appended(
        self, topic: Any = ANYTHING, value: Any = ANYTHING, *, key: Any = ANYTHING, partition: Any = ANYTHING
    ) -> None:
        """Assert that no such record was appended; without arguments none at all. Raises `AssertionError`."""
        self.assert_appended(topic, value, key=key, partition=partition, count=0)

    def assert_committed(
        self, group: str, topic: str, partition: int = 0, *, offset: Any = ANYTHING, timeout: float = 0
    ) -> Committed:
        """Assert that the offset that a group committed last in a partition is this one; return it.

        `offset`: the next offset to read; left out, any will do. Raises `AssertionError`.
        """
        where = {"group": group, "topic": topic, "partition": partition}

        def history() -> list[Committed]:
            return [entry for entry in self.committed if matches(entry, where)]

        wanted = asked_for(offset=offset)
        self._wait(lambda: any(matches(entry, wanted) for entry in history()[-1:]), timeout)
        found = history()
        if found and matches(found[-1], wanted):
            return found[-1]
        if not found:
            raise self._failure(f"no offset was committed{wording({**where, **wanted})}", self.committed, where)
        sentence = f"the offset that was committed last{wording(where)} is {found[-1].offset}, expected one"
        raise AssertionError(report(f"{sentence}{wording(wanted)}; it committed:", found, {}))

    def assert_acked(
        self,
        queue: Any = ANYTHING,
        body: Any = ANYTHING,
        *,
        by: Any = ANYTHING,
        count: int | None = None,
        timeout: float = 0,
    ) -> list[Settled]:
        """Assert that such a message was acknowledged, or `count` of them; return all such. Raises `AssertionError`."""
        return self._expect_settled("acked", queue, body, by, count, timeout)

    def assert_rejected(
        self,
        queue: Any = ANYTHING,
        body: Any = ANYTHING,
        *,
        by: Any = ANYTHING,
        count: int | None = None,
        timeout: float = 0,
    ) -> list[Settled]:
        """Assert that such a message was rejected, or `count` of them; return all such. Raises `AssertionError`."""
        return self._expect_settled("rejected", queue, body, by, count, timeout)

    def assert_requeued(
        self,
        queue: Any = ANYTHING,
        body: Any = ANYTHING,
        *,
        by: Any = ANYTHING,
        count: int | None = None,
        timeout: float = 0,
    ) -> list[Settled]:
        """Assert that such a message went back to its queue, or `count` times one did; return all such.

        By `nack`, after an exception in a callback, or with the end of whoever had it in hand. Raises `AssertionError`.
        """
        return self._expect_settled("requeued", queue, body, by, count, timeout)

    def assert_share_settled(
        self,
        group: Any = ANYTHING,
        topic: Any = ANYTHING,
        partition: Any = ANYTHING,
        *,
        offset: Any = ANYTHING,
        outcome: Any = ANYTHING,
        count: int | None = None,
        timeout: float = 0,
    ) -> list[ShareSettled]:
        """Assert that a share group is done with such a record, or with `count` of them; return all such.

        `outcome`: "acked", "rejected", or "delivery_limit" for what was handed out too often. Raises `AssertionError`.
        """
        expected = asked_for(group=group, topic=topic, partition=partition, offset=offset, outcome=outcome)
        return self._expect(_SHARED, lambda: self.share_settled, expected, count, timeout)

    def assert_idle(self, *, timeout: float = 0) -> None:
        """Assert that no message waits or is delayed or in hand, and that no group lags.

        Groups that never committed offsets do not count; share groups do. Raises `AssertionError`, which lists what is
        left.
        """
        self._wait(lambda: not what_is_left(self._core), timeout)
        left = what_is_left(self._core)
        if left:
            raise AssertionError("\n".join(["the store is not idle:", *(f"  {line}" for line in left)]))

    # Inside

    def _expect_settled(
        self, outcome: Outcome, queue: Any, body: Any, by: Any, count: int | None, timeout: float
    ) -> list[Settled]:
        check_payload("body", body)
        kind = _Kind("message", _VERBS[outcome])
        expected = asked_for(queue=queue, body=body, by=by)
        return self._expect(kind, lambda: self.settled, expected, count, timeout, outcome=outcome)

    def _expect(
        self,
        kind: _Kind,
        entries: Callable[[], Sequence[T]],
        expected: Mapping[str, object],
        count: int | None,
        timeout: float,
        **fixed: object,
    ) -> list[T]:
        """Return the entries that are as expected. `fixed`: what they must be that the words say anyway."""
        if count is not None:
            check_integer("count", count, 0)
        whole = {**fixed, **expected}

        def found() -> list[T]:
            return [entry for entry in entries() if matches(entry, whole)]

        def holds(there: Sequence[T]) -> bool:
            return bool(there) if count is None else len(there) == count

        self._wait(lambda: holds(found()), timeout)
        there = found()
        if holds(there):
            return there
        words = f"{kind.verb}{wording(expected)}"
        if count is None:
            raise self._failure(f"no {kind.noun} {words}", entries(), whole, kind.describe)
        noun = f"{count} {kind.noun}{'s' * (count != 1)}" if count else f"no {kind.noun}"
        sentence = f"expected {noun} that {words.replace('was', 'were', 1) if count and count > 1 else words}"
        raise self._failure(
            f"{sentence}, found {len(there)}", there or entries(), {} if there else whole, kind.describe
        )

    @staticmethod
    def _failure(
        sentence: str, entries: Sequence[object], expected: Mapping[str, object], describe: Callable[[Any], str] = repr
    ) -> AssertionError:
        if not entries:
            return AssertionError(f"{sentence}; there is nothing at all")
        return AssertionError(report(f"{sentence}; there is:", entries, expected, describe))

    def _wait(self, holds: Callable[[], bool], timeout: float) -> None:
        """Wait up to `timeout` seconds until something holds; 0 does not even look."""
        check_timeout(timeout)
        if not timeout:
            return
        deadline = monotonic() + timeout
        waiter = Waiter()
        self._kept.waiters.add(waiter)
        try:
            while not holds() and (seconds := deadline - monotonic()) > 0:
                waiter.wait(min(seconds, _LOOK_SECONDS))
        finally:
            self._kept.waiters.discard(waiter)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        kept = self._kept
        return (
            f"<msglog.testing.Recorder {len(kept.publications)} published, {len(kept.records)} appended, "
            f"{len(kept.offsets)} committed, {len(kept.settlements)} settled>"
        )


def record(store: "Store | StoreFace | aio.Store | aio.Log | aio.Broker") -> Recorder:
    """Record what is written to a store from now on. See `Recorder`, also for what is raised."""
    return Recorder(store)

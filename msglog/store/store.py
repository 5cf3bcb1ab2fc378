"""The public handle on one open directory.

Imported by the faces and exported by `msglog`. A handle owns one share of a `StoreCore` and everything that
was made through it: closing it ends its subscriptions, then its consumers, then gives the share back.
"""

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar, overload
from weakref import WeakSet

from msglog.checks import check_callable
from msglog.clock import Clock
from msglog.errors import ClosedError
from msglog.retry import Retry
from msglog.showing import Size, as_html, one_line, page
from msglog.store import core as cores
from msglog.store.core import StoreCore
from msglog.store.options import Progress, check_clock, check_options, check_path, noting_given
from msglog.store.registration import Face, call_of, make_face, make_tables, take_measures
from msglog.types import BackupReport, Problem, Record, RecoveryReport

if TYPE_CHECKING:  # only names for type checkers: at run time the log registers itself
    from msglog.broker.broker import Broker
    from msglog.broker.consumer import QueueConsumer
    from msglog.broker.delivery import Delivery
    from msglog.broker.typed import TypedDelivery, TypedQueueConsumer
    from msglog.log.consumer import Consumer
    from msglog.log.log import Log
    from msglog.log.producer import Producer
    from msglog.log.share.consumer import ShareConsumer
    from msglog.log.share.record import ShareRecord
    from msglog.log.typed import TypedConsumer, TypedRecord, TypedShareConsumer, TypedShareRecord
    from msglog.transactions import Transaction

K = TypeVar("K")
V = TypeVar("V")

_DEFAULT_RETRY = Retry()


class Closeable(Protocol):
    """A consumer or a subscription."""

    def close(self) -> None:
        """End it; calling again does nothing."""


class Subscribed(Protocol):
    """A subscription: callbacks on threads."""

    def close(self, timeout: float | None = None) -> None:
        """End it, waiting up to `timeout` seconds for callbacks that run; calling again does nothing."""

    def join(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds for the end of the threads; return whether they have ended."""

    def measure(self) -> dict[str, Any] | None:
        """Return what it is and how many of its workers are alive; None once it was stopped and none is."""


class Store:
    """An open store: a directory on disk, or `":memory:"` for a private one that vanishes when it is closed.

    Arguments:
        path: the directory, made if it is missing (mode 0700). A path that is open in this process already is
            shared; options given here must then agree with those it was opened with.
        sync: "commit": a call returns when its effect survives a power cut. "interval": synced every
            `sync_interval_ms`. "none": synced by `flush()` and `close()`. A killed process loses nothing in
            any mode.
        sync_interval_ms: 1 to 3,600,000 milliseconds of real time.
        readonly: read a store that another process may be writing. Every write raises `ReadOnlyError`.
        clock: where timestamps, retention and timeouts take their time from; None is the machine's.
        segment_bytes: size of a segment file, 1024 to 2**31 - 1. Retention removes whole segments.
        max_record_bytes: limit of a record's key, value and headers together, 1 to 268,435,456.

    Raises `InvalidOptionError`, `InvalidTypeError`, `StoreLockedError` when another process writes to it,
    `CorruptionError`, `UnsupportedFormatError`, `DiskFullError`, and `StoreFailedError` (outcome "not_applied") where
    the operating system refuses the path.

    Safe for any number of threads. A context manager; a store that is collected unclosed warns
    (`ResourceWarning`).
    """

    _core: StoreCore | None = None
    _given: frozenset[str]

    @noting_given
    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sync: Literal["commit", "interval", "none"] = "commit",
        sync_interval_ms: int = 1000,
        readonly: bool = False,
        clock: Clock | None = None,
        segment_bytes: int = 64 << 20,
        max_record_bytes: int = 16 << 20,
    ) -> None:
        self._path = check_path(path)
        options = check_options(
            sync=sync,
            sync_interval_ms=sync_interval_ms,
            readonly=readonly,
            segment_bytes=segment_bytes,
            max_record_bytes=max_record_bytes,
        )
        if clock is not None:
            check_clock(clock)
        self._lock = RLock()  # a face that is made under it attaches itself
        self._closed = False
        self._faces: dict[str, Face] = {}
        self._subscriptions: WeakSet[Subscribed] = WeakSet()
        self._consumers: WeakSet[Closeable] = WeakSet()
        self._core = cores.acquire(self._path, options, clock, self._given)

    @property
    def path(self) -> str:
        """The absolute path of the directory, or `":memory:"`."""
        return self._path

    @property
    def closed(self) -> bool:
        """Whether this handle was closed."""
        return self._closed

    @property
    def core(self) -> StoreCore:
        """The shared inside of the store; not public. Raises `ClosedError` after `close`."""
        if self._closed or self._core is None:
            raise ClosedError(f"the store {self._path} was closed")
        return self._core

    @property
    def log(self) -> "Log":
        """The store's topics. Raises `ClosedError` after `close`."""
        log: Log = self._face("log")
        return log

    @property
    def broker(self) -> "Broker":
        """The store's exchanges and queues. Raises `ClosedError` after `close`."""
        broker: Broker = self._face("broker")
        return broker

    def transaction(self, *, producer: "Producer | None" = None) -> "Transaction":
        """Return a transaction: appends, publications, settlements and offsets in one commit, all or nothing.

        `producer`: whose sequence numbers its records get, and whose holder is checked at the commit, so that a process
        believed dead cannot commit any more. See `Transaction`. Raises `InvalidOptionError`, `FencedError`,
        `ReadOnlyError`, `ClosedError`.
        """
        transaction: Transaction = call_of("transaction")(self, producer=producer)
        return transaction

    @overload
    def process(
        self,
        source: "Consumer",
        handler: "Callable[[Transaction, Record], object]",
        *,
        retry: Retry | None = _DEFAULT_RETRY,
        timeout: float | None = None,
        dead_letter: str | None = None,
    ) -> int: ...
    @overload
    def process(
        self,
        source: "QueueConsumer",
        handler: "Callable[[Transaction, Delivery], object]",
        *,
        retry: Retry | None = _DEFAULT_RETRY,
        timeout: float | None = None,
        dead_letter: str | None = None,
    ) -> int: ...
    @overload
    def process(
        self,
        source: "ShareConsumer",
        handler: "Callable[[Transaction, ShareRecord], object]",
        *,
        retry: Retry | None = _DEFAULT_RETRY,
        timeout: float | None = None,
        dead_letter: str | None = None,
    ) -> int: ...
    @overload
    def process(
        self,
        source: "TypedConsumer[K, V]",
        handler: "Callable[[Transaction, TypedRecord[K, V]], object]",
        *,
        retry: Retry | None = _DEFAULT_RETRY,
        timeout: float | None = None,
        dead_letter: str | None = None,
    ) -> int: ...
    @overload
    def process(
        self,
        source: "TypedQueueConsumer[V]",
        handler: "Callable[[Transaction, TypedDelivery[V]], object]",
        *,
        retry: Retry | None = _DEFAULT_RETRY,
        timeout: float | None = None,
        dead_letter: str | None = None,
    ) -> int: ...
    @overload
    def process(
        self,
        source: "TypedShareConsumer[K, V]",
        handler: "Callable[[Transaction, TypedShareRecord[K, V]], object]",
        *,
        retry: Retry | None = _DEFAULT_RETRY,
        timeout: float | None = None,
        dead_letter: str | None = None,
    ) -> int: ...
    def process(
        self,
        source: Any,
        handler: "Callable[[Transaction, Any], object]",
        *,
        retry: Retry | None = _DEFAULT_RETRY,
        timeout: float | None = None,
        dead_letter: str | None = None,
    ) -> int:
        """Process each message of a source exactly once, in the thread that calls; return how many are done with.

        Arguments:
            source: a `Consumer` with a group and without `auto_commit`, a `QueueConsumer`, a `ShareConsumer`, or one of
                these of a view: what does not decode is then as if the handler had failed.
            handler: called as `handler(tx, message)` with a `Transaction` and a record or delivery. What it does by
                `tx`, and that the message is done with, becomes one commit when it returns. It may settle the message
                by `tx` itself. An `Exception` rolls everything back.
            retry: the back-off after that, on the store's clock; `Retry()`, as None is, never gives up. A partition
                waits for its record that failed; a queue or a share group goes on with other messages. When the retries
                are used up, a delivery is rejected, to its queue's dead-letter exchange if it has one, and a record is
                written to a topic of dead letters, in the same commit that settles it.
            timeout: end after so many seconds of real time without a message; 0 takes what is there, None goes on until
                `source.stop()`, from any thread or a signal handler. A `Consumer`'s records that are backed off are
                waited for; messages of a queue or a share group that are backed off come with a later call.
            dead_letter: the topic of dead letters, None for the record's topic with ".dead-letters" at the end; made
                when it is first needed. Not for queues. With None the source's patterns match no topic with that
                ending any more; to process dead letters give its name.

        A kill at any point leaves the message processed with all its effects in the store, or not at all. Whatever
        `retry` says, a share group and a queue with a `delivery_limit` give up what was handed out so often: where the
        last time ended in a kill or an expired lock, a share record leaves no dead letter. Each message costs one sync
        with `sync="commit"`. Raises `InvalidOptionError`, `InvalidTypeError`, `TransactionError` inside of a
        transaction, what the source raises, and `StoreFailedError`; the message in hand is then the next one, or back
        in its queue.
        """
        done: int = call_of("process")(self, source, handler, retry=retry, timeout=timeout, dead_letter=dead_letter)
        return done

    @property
    def recovery(self) -> RecoveryReport:
        """How the store was found when it was opened. Raises `ClosedError` after `close`."""
        return self.core.engine.recovery

    def flush(self) -> None:
        """Return once everything that was written before is on the disk.

        Raises `ClosedError`, and `StoreFailedError` when the disk refuses: the store then takes no more
        writes.
        """
        self.core.engine.flush()

    def verify(self, *, progress: Progress | None = None) -> Iterator[Problem]:
        """Check everything there is, while the store is in use, and yield what is wrong; a sound store yields nothing.

        Arguments:
            progress: called with the bytes that were checked and those that there are, now and then.

        Checked are every checksum of what was written before the call, every saved index, the files beside the data,
        and what must hold in and between topics, groups, producers, queues, cursors and delayed messages. Nothing is
        changed or repaired: whoever reads what is damaged gets a `CorruptionError`, and `msglog.salvage` saves the
        rest. Never raises for damage; raises `ClosedError` when the store is closed meanwhile. Reads all data once;
        memory follows the definitions and one record, not the data. Safe for any number of threads; the locks of the
        store are held for moments only.
        """
        check_callable("progress", progress)
        from msglog.store.verifying import verify_core  # noqa: PLC0415 most stores are never verified

        return self._checked(verify_core(self.core, progress))

    def _checked(self, problems: Iterator[Problem]) -> Iterator[Problem]:
        for problem in problems:
            yield problem
            self.core  # noqa: B018 - raises when closed

    def backup(self, directory: str | os.PathLike[str], *, progress: Progress | None = None) -> BackupReport:
        """Copy the store into a new or empty directory while it is in use, and return what the copy holds.

        Arguments:
            directory: where the copy is made, with mode 0700 if it is missing; not inside of this store.
            progress: called with the bytes that were copied and those that there are, now and then.

        The copy is the store at one commit: everything committed before the call, whole transactions, perhaps more. It
        opens as a store that was closed; when this returns it is on the disk. Works in every mode, on a readonly store,
        and for one in memory, whose copy is on disk. Writers go on meanwhile; what they drop takes up its space until
        the end. Every frame is checked.

        Raises `InvalidOptionError`, `InvalidTypeError`, `StoreLockedError` when somebody else makes a store there,
        `CorruptionError` when something of this store is damaged (`msglog.salvage` copies the rest), `DiskFullError`,
        `StoreFailedError` (outcome "not_applied"), `ClosedError`. After an error or an interrupt nothing of the copy is
        left; a killed process may leave a directory that does not open. This store is not changed by any of it.
        """
        check_callable("progress", progress)
        from msglog.store.backing_up import backup  # noqa: PLC0415 most processes make no backup

        return backup(self.core, directory, progress)

    def metrics(self) -> dict[str, Any]:
        """Return what there is to measure, as plain values that JSON can hold.

        Numbers of the storage engine stand by their names; "topics", "groups", "share_groups" and "queues" have a dict
        for each by its name, "subscriptions" a list of those made through this handle that are at work, "recovery" how
        the store was found. [Metrics](../how-to/metrics.md) lists all of it. Nothing is counted for it anywhere: it
        follows from offsets and sizes, and reads no data. It costs a few microseconds for each partition, group and
        queue, and takes the locks for one of them at a time, so it may be called every second. Safe for any number of
        threads. A readonly store looks at what the writer has done since, and raises what reading that does. Raises
        `ClosedError`.
        """
        core = self.core
        core.engine.check_open()
        core.engine.refresh()
        with self._lock:
            subscriptions = list(self._subscriptions)
        report = core.engine.recovery
        return {
            **core.engine.metrics(),
            "recovery": {
                "clean": int(report.clean),
                "replayed_commits": report.replayed_commits,
                "cut_bytes": report.cut_bytes,
                "quarantined": len(report.quarantined),
                "removed": len(report.removed),
                "duration_ms": report.duration_ms,
            },
            **take_measures(core),
            "subscriptions": [measure for one in subscriptions if (measure := one.measure()) is not None],
        }

    def attach_subscription(self, subscription: Subscribed) -> None:
        """Have `close` end this subscription first; not public."""
        with self._lock:
            self._subscriptions.add(subscription)

    def attach_consumer(self, consumer: Closeable) -> None:
        """Have `close` end this consumer after the subscriptions; not public."""
        with self._lock:
            self._consumers.add(consumer)

    def close(self) -> None:
        """End the subscriptions and consumers made through this handle, then sync and close the store.

        With other handles of this process on the same path the store itself stays open. Calling again does
        nothing. Raises what syncing raises; the handle is closed even then.
        """
        with self._lock:
            if self._closed or self._core is None:
                return
            subscriptions: list[Closeable] = list(self._subscriptions)
            consumers = list(self._consumers)
            core = self._core
        with contextlib.ExitStack() as closing:  # runs all, last one first, whatever fails
            closing.callback(self._release, core)
            for child in [*consumers, *subscriptions]:
                closing.callback(child.close)

    def end_subscriptions(self, timeout: float) -> list[Subscribed]:
        """End the subscriptions made through this handle; not public.

        Waits up to `timeout` seconds for the callbacks of each, and returns those that still run: `close` would wait
        for them, `kill` does not.
        """
        with self._lock:
            subscriptions = list(self._subscriptions)
        for subscription in subscriptions:
            subscription.close(timeout)
        return [subscription for subscription in subscriptions if not subscription.join(0)]

    def kill(self) -> None:
        """End the store, for all handles on it, as a kill of the process would; not public."""
        core = self.core
        cores.kill(core)
        self._closed = True
        cores.bury(core)

    def _release(self, core: StoreCore) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        cores.release(core)

    def _face(self, name: str) -> Any:
        self.core  # noqa: B018 - raises when closed
        with self._lock:
            face = self._faces.get(name)
            if face is None or face.closed:
                face = self._faces[name] = make_face(name, self)
            return face

    def __enter__(self) -> Self:
        self.core  # noqa: B018 - raises when closed
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        core = self._core
        if core is None or self._closed or core.pid != os.getpid() or core.engine.closed:
            return  # closed, or there is nothing left to close
        warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
        cores.abandon(core)

    @one_line
    def __repr__(self) -> str:
        return f"<msglog.Store {self._path!r} {' '.join(self._facts().values())}>"

    def _facts(self) -> dict[str, str]:
        """Return what is to be told of the store: its mode, and how much there is, or what is the matter."""
        if self._closed or self._core is None:
            return {"state": "closed"}
        engine = self._core.engine
        if engine.closed:
            return {"state": "closed, or opened before a fork" if self._core.is_foreign() else "closed"}
        facts = {"mode": "readonly" if engine.readonly else f"sync={engine.options.sync!r}"}
        facts["commits"] = f"commits={engine.published}"
        if engine.failure is not None:
            facts["state"] = "failed"
        return facts

    @as_html
    def _repr_html_(self) -> str:
        facts = {"": " ".join(self._facts().values())}
        core = self._core
        if self._closed or core is None or core.engine.closed:
            return page("msglog.Store", self._path, facts)
        core.engine.refresh()
        size = sum(stream.size_bytes for stream in list(core.engine.streams.values()))
        return page("msglog.Store", self._path, {**facts, "on disk": Size(size)}, make_tables(core))

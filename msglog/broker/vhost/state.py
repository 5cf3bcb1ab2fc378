"""What all parts of the virtual host share: the lock, the model, the engine, and the list of queues with news.

Lock order: the broker's lock (`lock`), then the store lock. Everything about queues, consumers and deliveries is
decided and done under the broker's lock; no callback of a user runs under it and nobody sleeps under it. Whoever
changes a queue puts it on `news`; before the lock is let go `attend` (in `handing`) looks after those: hands messages
out, removes what expired or is too much. Imported by the other parts.
"""

import logging
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Lock
from typing import Any, cast

from msglog.broker.batch import Batch
from msglog.broker.lane import Holder, Lane, Stored
from msglog.broker.line import Line
from msglog.broker.model import BrokerModel
from msglog.broker.queue import Queue
from msglog.broker.rules.message_codec import Meta, unpack_meta
from msglog.clock import SystemClock
from msglog.cursors import CursorModel
from msglog.errors import MsglogError, ReadOnlyError, RecordTooLargeError
from msglog.storage import Engine
from msglog.storage.layout import slug_of
from msglog.store import StoreCore
from msglog.waiting import Wakeable

logger = logging.getLogger("msglog.broker")


class VhostState:
    """The base of `VirtualHost`."""

    # What the short ways look at; the rest has no fixed place.
    __slots__ = (
        "__dict__",
        "append_copies",
        "append_settle",
        "closed",
        "has_abandoned",
        "journaled",
        "lock",
        "news",
        "now_ms",
        "system_time",
    )

    def __init__(self, core: StoreCore) -> None:
        self.core = core
        self.engine: Engine = core.engine
        self.clock = core.clock
        self.now_ms: Callable[[], int] = core.clock.now_ms
        # The machine's clock is read in place where a call in between would be felt.
        self.system_time = isinstance(core.clock, SystemClock)
        self.append_copies = core.engine.append_copies
        self.append_settle = core.engine.append_settle
        self.lock = Lock()
        self.model = cast(BrokerModel, core.engine.models[BrokerModel.section])
        self.cursors = cast(CursorModel, core.engine.models[CursorModel.section])
        self.queues = self.model.queues
        # With a journal what was published can be seen only after its sync.
        self.journaled = core.engine.options.sync == "commit" and core.engine.filesystem.durable
        self.closed = False
        # Queues that somebody must look after before the lock is let go.
        self.news: dict[Queue, None] = {}
        # Calls that wait for something else than messages, and are to hear of the end.
        self.waiters: set[Wakeable] = set()
        # What is to be done for consumers and connections that were collected unclosed. A finalizer may run anywhere:
        # it only leaves a note.
        self.abandoned: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self.has_abandoned = False

    def abandon(self, release: Callable[[], object], line: Line | None = None) -> None:
        """Note what is to be done, under the lock, for something that was collected unclosed. Takes no lock."""
        self.abandoned.put(release)
        self.has_abandoned = True
        if line is not None:
            line.wake_all()  # so that somebody acts on it

    def tell(self, level: int, message: str, *args: object, extra: dict[str, object]) -> None:
        """Log something under the lock: by the timers, since a handler may be a user's, and use the broker."""
        if logger.isEnabledFor(level):
            self.core.timers.schedule(
                self.core.clock.monotonic_ms(), partial(logger.log, level, message, *args, extra=extra)
            )

    def put_off(self, message: str, queue: Queue, error: MsglogError) -> None:
        """Warn that something about a queue will be done later: by the timers, so under the lock, too."""
        extra: dict[str, object] = {"event": "put_off", "path": self.core.path, "queue": queue.name}
        self.tell(logging.WARNING, message, queue.name, error, extra=extra)

    def check_writable(self) -> None:
        """Raise `ClosedError` or `ReadOnlyError` where nothing may be changed."""
        self.engine.check_open()
        if self.engine.readonly:
            path = self.core.path
            raise ReadOnlyError(f"the store {path} was opened with readonly=True", path=path)

    def batch(self) -> Batch:
        """Return a commit to put together now."""
        return Batch(self.engine, self.now_ms())

    def record(self, *events: list[Any]) -> int:
        """Write events of the broker's own section in one commit; return its number."""
        batch = self.batch()
        for event in events:
            batch.record(BrokerModel.section, event)
        return batch.write()

    def check_size(self, size: int) -> None:
        """Raise `RecordTooLargeError` when body and metadata together are more than the store takes."""
        limit = self.engine.options.max_record_bytes
        if size > limit:
            raise RecordTooLargeError(f"the message has {size} bytes, at most {limit} fit", size=size, limit=limit)

    def lane_for(self, queue: Queue, priority: int | None) -> Lane:
        """Return the lane for messages of a priority, making it if this is the first."""
        level, lane = queue.lane_for(priority)
        if lane is None:
            self.make_lane(queue.id, queue.name, level)
            _, lane = queue.lane_for(priority)
        if lane is None:
            raise AssertionError(f"{queue!r} has the lane that was just made")
        return lane

    def make_lane(self, queue_id: int, name: str, priority: int, *before: list[Any]) -> int:
        """Make a stream and a cursor for messages of a queue, after other events in the same commit."""
        engine = self.engine
        with engine.lock:
            commit = engine.begin()
            for event in before:
                commit.record(BrokerModel.section, event)
            stream_id = commit.create_stream(slug_of(f"queue-{name}"))
            cursor_id = self.cursors.next_id
            commit.record(CursorModel.section, ["open", cursor_id, 0])
            commit.record(BrokerModel.section, ["lane", queue_id, priority, stream_id, cursor_id])
            return commit.write()

    @staticmethod
    def meta_of(stored: Stored) -> Meta:
        """Return a stored message's metadata."""
        return unpack_meta(stored.meta)

    def lane_of(self, queue: Queue, holder: Holder, offset: int) -> Lane | None:
        """Return the lane where a holder has an offset in hand, None if it has not."""
        return next((lane for lane in queue.lanes if lane.cursor.unsettled.get(offset) is holder), None)

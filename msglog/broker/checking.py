"""What must hold for queues with their lanes and cursors, for bindings, and for delayed messages.

Looked at piece by piece while the broker is in use, see `msglog.store.registration.Check`. Imported by the broker's
package.
"""

from collections.abc import Iterable, Iterator, Mapping
from threading import Lock
from typing import Any, Final, cast

from msglog.broker.lane import Lane
from msglog.broker.model import BrokerModel, Bucket
from msglog.broker.queue import Queue
from msglog.broker.vhost import VirtualHost
from msglog.cursors import CursorModel, wrong_cursor
from msglog.storage import CURSORS, Engine
from msglog.storage.layout import SEGMENTS
from msglog.store import Claim, Service
from msglog.types import Problem

_BINDINGS: Final = "bindings"


class BrokerCheck:
    """The broker's part of a verification."""

    def __init__(self, engine: Engine, services: Mapping[str, Service]) -> None:
        self._engine = engine
        self._model = cast(BrokerModel, engine.models[BrokerModel.section])
        self._cursors = cast(CursorModel, engine.models[CURSORS])
        self._path = engine.path(SEGMENTS)
        vhost = services.get(VirtualHost.name)
        self.lock: Lock | None = vhost.lock if isinstance(vhost, VirtualHost) else None

    def claims(self) -> Iterator[Claim]:
        """Claim the streams and cursors of all lanes, and the streams of delayed messages."""
        for queue in list(self._model.queues.values()):
            for lane in queue.lanes:
                yield Claim("stream", lane.stream.id, lane_labels(queue, lane))
                yield Claim("cursor", lane.cursor.id, lane_labels(queue, lane))
        for stream_id in list(self._model.buckets):
            yield Claim("stream", stream_id, {})

    def wards(self) -> Iterable[tuple[str, int]]:
        """Return nothing: what belongs to this model is known elsewhere."""
        return ()

    def pieces(self) -> Iterable[Any]:
        """Return the queues, the buckets of delayed messages, and the bindings as one."""
        return [*self._model.queues.values(), *self._model.buckets.values(), _BINDINGS]

    def look(self, piece: Any) -> Iterator[Problem]:
        """Look at one of them."""
        if isinstance(piece, Queue):
            yield from self._look_at_queue(piece)
        elif isinstance(piece, Bucket):
            yield from self._look_at_bucket(piece)
        else:
            yield from self._look_at_bindings()

    def _look_at_queue(self, queue: Queue) -> Iterator[Problem]:
        model = self._model
        if queue.deleted:
            return
        if model.queues.get(queue.name) is not queue or model.queue_ids.get(queue.id) is not queue:
            yield self._queue_problem(queue, f"queue {queue.id} is not the one of its name and id")
        if queue.id >= model.next_queue_id:
            yield self._queue_problem(queue, f"queue {queue.id}; the next one will be {model.next_queue_id}")
        priorities = [lane.priority for lane in queue.lanes]
        if priorities != sorted(set(priorities), reverse=True):
            yield self._queue_problem(queue, f"its lanes are of priorities {priorities}")
        for lane in queue.lanes:
            yield from self._look_at_lane(queue, lane)

    def _look_at_lane(self, queue: Queue, lane: Lane) -> Iterator[Problem]:
        stream, cursor = lane.stream, lane.cursor
        if self._engine.streams.get(stream.id) is not stream:
            yield self._queue_problem(queue, f"stream {stream.id} is missing")
            return
        if self._cursors.cursors.get(cursor.id) is not cursor:
            yield self._queue_problem(queue, f"cursor {cursor.id} is missing")
        for what in wrong_cursor(cursor, stream.next_offset):
            yield Problem("cursor", self._path, 0, what, **lane_labels(queue, lane))
        if stream.start > cursor.settled:
            what = f"messages from {cursor.settled} on are not settled, but the stream begins at {stream.start}"
            yield Problem(
                "queue",
                self._path,
                0,
                what,
                **lane_labels(queue, lane),
                first_offset=cursor.settled,
                next_offset=stream.start,
            )
        ends = [end for end, _ in lane.retired_at]
        if ends != sorted(set(ends)) or (ends and ends[-1] > cursor.settled):
            yield self._queue_problem(queue, "its history is not in order, or not settled")

    def _look_at_bucket(self, bucket: Bucket) -> Iterator[Problem]:
        if self._model.buckets.get(bucket.stream_id) is not bucket:
            return
        stream = self._engine.streams.get(bucket.stream_id)
        if stream is None:
            yield Problem("delay", self._path, 0, f"stream {bucket.stream_id} of delayed messages is missing")
        elif bucket.width_ms < 1 or bucket.released[1] >= max(stream.next_offset, 0):
            what = f"offset {bucket.released[1]} of delayed messages was released, they end at {stream.next_offset}"
            yield Problem("delay", self._path, 0, what)

    def _look_at_bindings(self) -> Iterator[Problem]:
        model = self._model
        for binding in model.topology.bindings():
            known = model.queues if binding.kind == "queue" else model.exchanges
            if binding.source not in model.exchanges or binding.destination not in known:
                what = f"a binding leads from {binding.source!r} to {binding.destination!r}, which is not there"
                yield Problem("queue", self._path, 0, what)

    def _queue_problem(self, queue: Queue, what: str) -> Problem:
        return Problem("queue", self._path, 0, what, queue=queue.name)


def lane_labels(queue: Queue, lane: Lane) -> dict[str, Any]:
    """Return the fields of a `Problem` that say whose a lane is."""
    return {"queue": queue.name, "partition": None if lane is queue.only else lane.priority}

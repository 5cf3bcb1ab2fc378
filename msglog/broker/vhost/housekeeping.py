"""The part of the virtual host that gives disk space back: trimming, rewriting, history.

What is settled goes with its segment. A segment that one unsettled message pins is rewritten without the settled ones,
on the timers' thread, once three quarters of it are settled. With `history_ms` a segment stays until that long after
its last message was settled. None of it is ever needed for correctness: a crash in between leaves a segment too many.
Imported by `virtual_host`.
"""

import logging
from collections.abc import Sequence
from typing import Final

from msglog.broker.lane import Lane
from msglog.broker.queue import Queue
from msglog.broker.vhost.delaying import Delaying
from msglog.errors import ClosedError, MsglogError
from msglog.storage import Frame, SegmentFacts

logger = logging.getLogger("msglog.broker")

# How many messages pass between two looks at a lane's segments.
_MESSAGES_PER_LOOK: Final = 1024
# An emptied queue's file is given back when it is larger than this: making a new one is not for nothing.
_WORTH_GIVING_BACK: Final = 4 << 20
_SETTLED_SHARE: Final = 0.75
_SHORTEST_LOOK_MS: Final = 100


class Housekeeping(Delaying):
    """`tidy` and what follows from it."""

    _rewriting = False

    def tidy(self, lane: Lane) -> None:
        """Give up what a lane no longer needs. Under the lock, now and then."""
        lane.trim_check = lane.cursor.next + _MESSAGES_PER_LOOK
        queue = self._queue_of(lane)
        if queue is None or self.engine.readonly:
            return
        try:
            if queue.effective.history_ms:
                self._retire(lane)
            else:
                self._trim(lane)
                self._plan_rewrite(lane)
        except MsglogError as error:
            self.put_off("space of queue %r was not given back: %s", queue, error)

    def _queue_of(self, lane: Lane) -> Queue | None:
        for queue in self.queues.values():
            if lane in queue.lanes:
                return queue
        return None

    def _trim(self, lane: Lane) -> None:
        """Drop the segments below the first unsettled message, and a large one that is done with."""
        stream, settled = lane.stream, lane.cursor.settled
        emptied = settled == stream.next_offset and stream.end == settled and stream.size_bytes > _WORTH_GIVING_BACK
        if not emptied and not stream.parts_below(settled):
            return
        with self.engine.lock:
            if emptied:
                self.engine.roll(stream)
            commit = self.engine.begin()
            commit.trim(stream, settled)
            commit.write()

    # Rewriting

    def _plan_rewrite(self, lane: Lane) -> None:
        if self._rewriting or not self._mostly_settled(lane):
            return
        self._rewriting = True
        self.core.timers.schedule(self.core.clock.monotonic_ms(), lambda: self._rewrite(lane))

    def _mostly_settled(self, lane: Lane) -> list[SegmentFacts]:
        """Return the sealed segments of which little is left."""
        cursor = lane.cursor
        found: list[SegmentFacts] = []
        for part, facts in zip(lane.stream.parts, lane.stream.segments(), strict=True):
            span = facts.end_offset - facts.base_offset
            if not facts.sealed or facts.end_offset > cursor.next or part.stored_position < part.position:
                continue
            gone = sum(end - first for first, end in cursor.done.within(facts.base_offset, facts.end_offset))
            left = span - gone
            # Rewritten segments are small for their span: only what is still large is worth another round.
            if gone >= span * _SETTLED_SHARE and facts.size_bytes > self._size_of(lane, left):
                found.append(facts)
        return found

    @staticmethod
    def _size_of(lane: Lane, messages: int) -> int:
        """Return how large a segment with so many messages may be before it is worth rewriting."""
        stream = lane.stream
        count = max(1, stream.next_offset - stream.parts[0].base_offset)
        average = max(1, stream.size_bytes // count)
        return max(64 << 10, 4 * messages * max(average, 100))

    def _rewrite(self, lane: Lane) -> None:
        """Copy what is unsettled of mostly settled segments; without the lock."""

        def survivors(frame: Frame) -> Sequence[int]:
            with self.lock:
                done, settled = lane.cursor.done, lane.cursor.settled
                return [place for place, offset in enumerate(frame.offsets) if offset >= settled and offset not in done]

        try:
            with self.lock:
                chosen = [] if self.closed else self._mostly_settled(lane)
            for facts in chosen:
                self.engine.rewrite(lane.stream, [facts], survivors)
        except ClosedError:
            return
        except MsglogError as error:
            logger.warning("%r was not rewritten: %s", lane, error, extra={"event": "put_off", "path": self.core.path})
        finally:
            self._rewriting = False

    # History

    def _retire(self, lane: Lane) -> None:
        """Note which segments are settled as a whole; their time as history begins."""
        below = lane.stream.parts_below(lane.cursor.settled)
        end = below[-1].end_offset if below else 0
        if end > (lane.retired_at[-1][0] if lane.retired_at else lane.stream.start):
            self.record(["retired", lane.cursor.id, end, self.now_ms()])

    def watch_history(self, queue: Queue) -> None:
        """Have the timers look at a queue's history from time to time: half as long as it is kept. Under the lock."""
        history_ms = queue.effective.history_ms
        if history_ms is None or queue.deleted or self.closed or queue.history_timer is not None:
            return
        due_ms = self.core.clock.monotonic_ms() + max(_SHORTEST_LOOK_MS, history_ms // 2)
        queue.history_timer = self.core.timers.schedule(due_ms, lambda: self._look_at_history(queue))

    def _look_at_history(self, queue: Queue) -> None:
        try:
            with self.lock:
                queue.history_timer = None
                if self.closed or queue.deleted:
                    return
                for lane in queue.lanes:
                    self._end_segment(lane)
                    self._retire(lane)
                    self._drop_history(queue, lane)
                self.watch_history(queue)
        except MsglogError as error:
            self.put_off("history of queue %r was not looked at: %s", queue, error)

    def _end_segment(self, lane: Lane) -> None:
        """Begin a new segment when all of the last one is settled: or a queue that rests would never forget."""
        stream = lane.stream
        if lane.cursor.settled == stream.next_offset == stream.end and stream.size_bytes:
            with self.engine.lock:
                self.engine.roll(stream)

    def _drop_history(self, queue: Queue, lane: Lane) -> None:
        horizon_ms = self.now_ms() - (queue.effective.history_ms or 0)
        over = [end for end, at in lane.retired_at if at <= horizon_ms]
        if over:
            with self.engine.lock:
                commit = self.engine.begin()
                commit.trim(lane.stream, over[-1])
                commit.write()
            lane.retired_at = [one for one in lane.retired_at if one[1] > horizon_ms]

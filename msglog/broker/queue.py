"""A queue in memory: what was declared, its lanes of messages, and who consumes from it.

Definitions change only when the model applies events; consumers, timers and what is in somebody's hand change under the
broker's lock. Nothing is kept for a message that waits. Imported by the rest of the broker.
"""

from collections import deque
from typing import Final

from msglog.broker.lane import Holder, Lane, Stored
from msglog.broker.line import Line, Taker
from msglog.broker.rules.policies import Policy, effective_queue_options
from msglog.broker.rules.queue_options import QueueOptions
from msglog.broker.subscriber import Subscriber
from msglog.cursors import Cursor
from msglog.storage import Stream
from msglog.waiting import Timer, Wakeable

QUEUE_SEGMENT_BYTES: Final = 16 << 20


class Queue:
    """One queue. `deleted` turns True for ever when it is removed, so that who still holds it can tell."""

    __slots__ = (
        "active",
        "consumers",
        "deleted",
        "effective",
        "exclusive_consumer",
        "expires_timer",
        "expiry_timer",
        "history_timer",
        "id",
        "lanes",
        "last_used_ms",
        "line",
        "may_expire",
        "name",
        "only",
        "options",
        "owner",
        "plain",
        "policy",
        "pushed_to",
        "returned",
        "simple",
        "watchers",
    )

    only: Lane | None
    """The lane of a queue that has one."""

    def __init__(self, queue_id: int, name: str, options: QueueOptions) -> None:
        self.id = queue_id
        self.name = name
        self.options = options
        self.policy: Policy | None = None
        self.effective = options
        self.deleted = False
        # Highest priority first.
        self.lanes: list[Lane] = []
        self.only = None
        # Some message in it has an expiration of its own.
        self.may_expire = False
        # The connection that an exclusive queue belongs to.
        self.owner: object | None = None
        self.consumers: list[Subscriber] = []
        self.active: Subscriber | None = None
        self.exclusive_consumer: Subscriber | None = None
        # Consumers that get messages without asking for each.
        self.pushed_to = 0
        self.line = Line()
        # Who waits for it to be idle.
        self.watchers: set[Wakeable] = set()
        self.expiry_timer: Timer | None = None
        self.expires_timer: Timer | None = None
        self.history_timer: Timer | None = None
        self.last_used_ms = 0
        self.plain = False
        # Messages came back since it was last looked after.
        self.returned = False
        # The only lane, if taking a message from it needs no thought.
        self.simple: Lane | None = None
        self.apply_policy(None)

    # Definition

    def apply_policy(self, policy: Policy | None) -> None:
        """Take over the one policy that applies, None for none."""
        self.policy = policy
        self.effective = effective_queue_options(self.options, policy)
        for lane in self.lanes:
            lane.forget_bytes()
        self.look_plain()

    def look_plain(self) -> None:
        """Find out whether publishing is nothing but appending to `only`, and taking nothing but reading from it."""
        options = self.effective
        self.plain = (
            options.max_length is None
            and options.max_length_bytes is None
            and options.max_priority is None
            and options.message_ttl_ms is None
            and self.only is not None
        )
        self.simple = None
        if (
            options.message_ttl_ms is None
            and options.delivery_limit is None
            and options.max_length_bytes is None
            and options.expires_ms is None
            and not self.may_expire
            and not self.deleted
        ):
            self.simple = self.only

    def add_lane(self, stream: Stream, cursor: Cursor[Holder], priority: int, segment_bytes: int) -> None:
        """Add the lane of a priority; one that is there stays."""
        history_ms = self.effective.history_ms
        # History is given up by whole segments, so they must end by age, too.
        stream.configure(min(segment_bytes, QUEUE_SEGMENT_BYTES), history_ms or None)
        if all(lane.priority != priority for lane in self.lanes):
            lane = Lane(stream, cursor, priority)
            if self.options.queue_type == "quorum":
                lane.return_order = deque()  # RabbitMQ 4: what comes back is served first, in the order of return
            self.lanes = sorted([*self.lanes, lane], key=lambda one: -one.priority)
        self.only = self.lanes[0] if self.options.max_priority is None else None
        if self.line:
            stream.waiters.add(self.line)
        self.look_plain()

    def lane_for(self, priority: int | None) -> tuple[int, Lane | None]:
        """Return the priority that counts for a message, and its lane if there is one already."""
        if self.only is not None:
            return 0, self.only
        level = min(priority or 0, self.options.max_priority or 0)
        return level, next((lane for lane in self.lanes if lane.priority == level), None)

    # Messages

    def ready(self) -> int:
        """Return how many messages wait to be delivered."""
        return sum(lane.ready() for lane in self.lanes)

    def ready_bytes(self) -> int:
        """Return the bytes of their bodies."""
        return sum(lane.ready_bytes() for lane in self.lanes)

    def unsettled(self) -> int:
        """Return how many messages were delivered and not settled."""
        return sum(len(lane.cursor.unsettled) for lane in self.lanes)

    def is_idle(self) -> bool:
        """Whether nothing waits in it and nothing of it is in anybody's hand or backing off, or it is deleted."""
        return self.deleted or not (self.ready() or self.unsettled())

    def tell_watchers(self) -> None:
        """Wake those who wait for it to be idle, if it is."""
        if self.is_idle():
            for waiter in tuple(self.watchers):
                waiter.wake()

    def head(self) -> tuple[Lane, Stored] | None:
        """Return the message that is delivered next with its lane, None when none that can be seen waits."""
        for lane in self.lanes:
            stored = lane.head()
            if stored is not None:
                return lane, stored
        return None

    def has_unseen(self) -> bool:
        """Whether messages were published that wait for a sync before they can be seen."""
        return any(lane.stream.end < lane.stream.next_offset for lane in self.lanes)

    # Consumers

    def join_line(self, taker: Taker) -> None:
        """Let a taker be served in turn, and woken when messages come."""
        if not self.line:
            for lane in self.lanes:
                lane.stream.waiters.add(self.line)
        self.line.join(taker)

    def leave_line(self, taker: Taker) -> None:
        """Take somebody out of the line."""
        line = self.line
        line.leave(taker)
        if not line.takers:
            for lane in self.lanes:
                lane.stream.waiters.discard(line)

    def __repr__(self) -> str:
        return f"<Queue {self.name!r} ready={self.ready()} unsettled={self.unsettled()}>"

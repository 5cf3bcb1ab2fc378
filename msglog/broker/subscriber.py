"""Who takes messages from a queue: the inside of a consumer, and its calls that wait.

Used under the broker's lock only, but for `wake`. Invariant: `unsettled` counts the deliveries that have the
subscriber as their holder. Imported by the rest of the broker.
"""

from typing import TYPE_CHECKING, NamedTuple

from msglog.broker.lane import Holder, Lane, Stored
from msglog.waiting import Wakeable

if TYPE_CHECKING:
    from msglog.broker.queue import Queue


class Taken(NamedTuple):
    """A message that was handed out. `deliveries`: how often it was before."""

    lane: Lane
    stored: Stored
    redelivered: bool
    deliveries: int


class Subscriber(Holder):
    """A consumer of a queue, or a connection's calls of `get`.

    `prefetch`: the most unsettled deliveries, 0 for no limit. `no_ack`: what it takes is settled at once. `registered`:
    it counts as one of the queue's consumers.
    """

    __slots__ = ("cancelled", "exclusive", "no_ack", "prefetch", "priority", "queue", "registered", "waits")

    def __init__(
        self,
        queue: "Queue",
        *,
        prefetch: int = 0,
        no_ack: bool = False,
        exclusive: bool = False,
        priority: int = 0,
        registered: bool = True,
    ) -> None:
        super().__init__()
        self.queue = queue
        self.prefetch = prefetch
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.priority = priority
        self.registered = registered
        self.cancelled = False
        self.waits: list[Wait] = []

    @property
    def pushed_to(self) -> bool:
        """Whether it gets messages without asking for each."""
        return False

    def has_room(self) -> bool:
        """Whether it may have one more message now."""
        queue = self.queue
        if self.miscounted:
            self.recount()
        return (
            not self.cancelled
            and (self.unsettled < self.prefetch or not self.prefetch)
            and (queue.active is None or queue.active is self or not self.registered)
        )

    def recount(self) -> None:
        """Find out anew how many deliveries it has in hand."""
        lanes = self.queue.lanes
        self.unsettled = sum(holder is self for lane in lanes for holder in lane.cursor.unsettled.values())
        self.miscounted = False  # last: an interrupt before leaves it to be counted

    def note_unseen(self) -> None:
        """Hear that a message waits for a sync before it can be handed out; a channel may lead that sync itself."""

    def cancelled_by_queue(self) -> None:
        """Hear that the queue was deleted: nothing more will come. Under the lock."""
        self.cancelled = True
        for wait in self.waits:
            wait.wake()


class Wait:
    """A call that waits for a message: a place in the queue's line, and a hand held out."""

    __slots__ = ("in_line", "over", "subscriber", "taken", "wake")

    def __init__(self, subscriber: Subscriber, waiter: Wakeable) -> None:
        self.in_line = False
        self.subscriber = subscriber
        # Makes the call look. Whoever publishes does this: a method of its own would only stand in the way.
        self.wake = waiter.wake
        self.taken: Taken | None = None
        # The call has ended: whatever an interrupt leaves of it in line takes nothing.
        self.over = False

    @property
    def priority(self) -> int:
        """The priority of the consumer."""
        return self.subscriber.priority

    def may_take(self) -> bool:
        """Whether a message may be put into the hand."""
        return self.taken is None and not self.over and self.subscriber.has_room()

    def receive(self, taken: Taken) -> None:
        """Take a message in hand and wake the call."""
        self.taken = taken
        self.wake()

    def kept(self, taken: Taken) -> bool:
        """Whether the message is in the hand."""
        return self.taken is taken

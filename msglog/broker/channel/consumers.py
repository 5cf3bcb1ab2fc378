"""A channel's consumer: a place in the line of its queue that takes messages as soon as they are there.

Used under the broker's lock, but for `wake` and `note_unseen`. Imported by the channel.
"""

from typing import TYPE_CHECKING

from msglog.broker.channel.events import Cancelled, Deliver
from msglog.broker.queue import Queue
from msglog.broker.rules.dead_letters import without_bcc
from msglog.broker.subscriber import Subscriber, Taken
from msglog.broker.vhost import Publication

if TYPE_CHECKING:
    from msglog.broker.channel.session import Session


class ChannelConsumer(Subscriber):
    """A consumer that is its own taker. `look`: its thread must attend to the queue itself.

    `last_tag`: the delivery tag of the last message it got.
    """

    __slots__ = ("_unbounded", "in_line", "last_tag", "look", "session", "tag", "tells_count")

    def __init__(
        self,
        session: "Session",
        queue: Queue,
        tag: str,
        *,
        prefetch: int,
        no_ack: bool,
        exclusive: bool,
        priority: int,
    ) -> None:
        super().__init__(queue, prefetch=prefetch, no_ack=no_ack, exclusive=exclusive, priority=priority)
        self.session = session
        self.tag = tag
        self.tells_count = queue.options.queue_type == "quorum"
        self.in_line = False
        self.last_tag = 0
        self.look = False
        # It would take all there is at once.
        self._unbounded = no_ack or not prefetch

    @property
    def pushed_to(self) -> bool:
        """Whether it gets messages without asking for each: it does."""
        return True

    @property
    def subscriber(self) -> Subscriber:
        """Itself."""
        return self

    def may_take(self) -> bool:
        """Whether its own limit, its channel's, and the queue allow one more message."""
        queue, session = self.queue, self.session
        limit = session.limit
        if self.miscounted:
            self.recount()
        if self._unbounded and session.inbox.is_far_ahead():
            session.inbox.held_up = True
            return False
        return (
            not self.cancelled
            and (self.unsettled < self.prefetch or not self.prefetch)
            and (not limit or self.no_ack or session.pushed < limit)
            and (queue.active is None or queue.active is self)
        )

    def receive(self, taken: Taken) -> None:
        """Take a message: it gets its tag, and goes to the channel's inbox."""
        session, size = self.session, len(taken[1][3])
        self.look = False
        tag = self.last_tag = session.last_tag = session.last_tag + 1
        if not self.no_ack:
            session.unsettled[tag] = (self, taken)
            session.pushed += 1
        inbox = session.inbox
        inbox.bytes_in += size
        inbox.put((self, tag, taken))

    def kept(self, taken: Taken) -> bool:
        """After an interrupt: whether the message came into the inbox. If not, its tag is nobody's."""
        session = self.session
        entries = session.inbox.entries.copy()  # in one step: the channel's thread may be taking out
        if any(type(entry) is tuple and entry[2] is taken for entry in entries):
            return True
        holder, told = session.unsettled.get(self.last_tag, (None, None))
        if holder is self and told is taken:
            del session.unsettled[self.last_tag]
            session.pushed -= 1
            session.inbox.bytes_in -= len(taken[1][3])
        return False

    def wake(self) -> None:
        """Hear that the queue's stream has grown, or that the message at its head cannot be read."""
        self.look = True
        self.session.inbox.announce()

    def note_unseen(self) -> None:
        """Hear that a message waits for a sync."""
        self.wake()

    def cancelled_by_queue(self) -> None:
        """Hear that the queue was deleted."""
        super().cancelled_by_queue()
        if self.session.consumers.pop(self.tag, None) is not None:
            self.session.inbox.put(Cancelled(self.tag))


class ReplyConsumer:
    """The consumer of direct reply-to: it takes answers at an address of its own, through no queue."""

    __slots__ = ("address", "tag")

    def __init__(self, tag: str, address: str) -> None:
        self.tag = tag
        self.address = address

    def deliver(self, delivery_tag: int, answer: Publication) -> Deliver:
        """Return an answer as it is told."""
        exchange, routing_key, body, properties = answer
        return Deliver(
            self.tag,
            delivery_tag,
            redelivered=False,
            exchange=exchange,
            routing_key=routing_key,
            properties=without_bcc(properties),
            body=body,
        )

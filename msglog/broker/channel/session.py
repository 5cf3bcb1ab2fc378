"""The inside of a channel: its consumers, its unsettled deliveries by tag, its limits, and its end.

Changed under the broker's lock; only the inbox is read without it. Consumers in the lines of queues hold the session,
never the public `Channel`, so that one that nobody holds any more is collected. Invariants: `unsettled` is in order of
the tags; `pushed` counts those of its deliveries, and of a transaction's, that consumers got. Imported by the channel.
"""

import logging
import os
from base64 import urlsafe_b64encode
from collections.abc import Container, Iterable
from functools import partial
from itertools import takewhile
from types import TracebackType
from typing import NoReturn

from msglog.broker.channel.confirms import Confirms
from msglog.broker.channel.consumers import ChannelConsumer, ReplyConsumer
from msglog.broker.channel.events import Closed
from msglog.broker.channel.inbox import Inbox
from msglog.broker.channel.transactions import ChannelTransaction
from msglog.broker.handle import Connection
from msglog.broker.lane import Lane
from msglog.broker.queue import Queue
from msglog.broker.settling import Settlement, Unsettled, add_settlements, is_in_hand, write
from msglog.broker.subscriber import Subscriber, Taken
from msglog.broker.vhost import Publication, VirtualHost
from msglog.checks import check_integer
from msglog.errors import ClosedError, MsglogError, QueueNotFoundError, UnknownDeliveryTagError
from msglog.ownership import OneThread

logger = logging.getLogger("msglog.channel")

_TAG_BYTES = 16


class Session:
    """What `Channel` works on."""

    def __init__(self, vhost: VirtualHost, connection: Connection, number: int, user: str) -> None:
        self.vhost = vhost
        self.connection = connection
        self.number = number
        self.user = user
        self.inbox = Inbox()
        self.consumers: dict[str, ChannelConsumer] = {}
        self.reply_consumer: ReplyConsumer | None = None
        self.unsettled: dict[int, Unsettled] = {}
        self.last_tag = 0
        # No lower tag is unsettled. A dict that lost its first items looks for the rest behind all of their places.
        self._lowest_tag = 0
        # Limits of unsettled deliveries, 0 for none: of the channel, and of each consumer that starts from now on.
        self.limit = 0
        self.prefetch = 0
        self.pushed = 0
        self.last_queue = ""
        self.confirms: Confirms | None = None
        self.transaction: ChannelTransaction | None = None
        self.closed = False
        self.error: MsglogError | None = None
        self._getters: dict[Queue, Subscriber] = {}

    # Names

    def refuse(self) -> NoReturn:
        """Raise `ClosedError`: the channel is closed."""
        why = "" if self.error is None else f": {self.error.reply_text}"
        raise ClosedError(f"channel {self.number} was closed{why}")

    def check_open(self) -> None:
        """Raise `ClosedError` when the channel was closed meanwhile."""
        if self.closed:
            self.refuse()

    def queue_name(self, name: str) -> str:
        """Return a name; "" stands for the queue that was declared last on this channel."""
        if name != "":
            return name
        if not self.last_queue:
            raise QueueNotFoundError("no previously declared queue", queue="")
        return self.last_queue

    @staticmethod
    def new_consumer_tag() -> str:
        """Return a name for a consumer that has none."""
        return "amq.ctag-" + urlsafe_b64encode(os.urandom(_TAG_BYTES)).rstrip(b"=").decode()

    # Taking

    def getter(self, queue: Queue) -> Subscriber:
        """Return who holds what `basic_get` takes from a queue."""
        getter = self._getters.get(queue)
        if getter is None:
            self._getters = {known: one for known, one in self._getters.items() if not known.deleted}
            getter = self._getters[queue] = Subscriber(queue, registered=False)
        return getter

    def take_reply(self, publication: Publication) -> None:
        """Hand an answer to the consumer of direct reply-to."""
        consumer = self.reply_consumer
        if consumer is not None:
            self.last_tag += 1
            self.inbox.put(consumer.deliver(self.last_tag, publication))

    def rejoin(self, consumers: Iterable[ChannelConsumer]) -> None:
        """Let consumers that may take more again stand in line, those first that waited longest for a message."""
        # What is news last is attended to first.
        for consumer in sorted(consumers, key=lambda one: -one.last_tag):
            queue = consumer.queue
            if not consumer.in_line and consumer.may_take():
                queue.join_line(consumer)
            self.vhost.news[queue] = None

    # Settling

    def find(self, tag: int, *, multiple: bool) -> list[int]:
        """Return the tags that a settlement means. Raises `UnknownDeliveryTagError`, `InvalidTypeError`."""
        check_integer("delivery_tag", tag, 0)
        if multiple and tag == 0:
            return list(self.unsettled)
        if tag not in self.unsettled:
            raise UnknownDeliveryTagError(f"unknown delivery tag {tag}", delivery_tag=tag)
        if not multiple:
            return [tag]
        unsettled, lowest = self.unsettled, self._lowest_tag
        if tag - lowest < len(unsettled):
            tags = [known for known in range(lowest, tag + 1) if known in unsettled]
        else:
            tags = list(takewhile(tag.__ge__, unsettled))
        self._lowest_tag = tags[0]
        return tags

    def settle(self, settlements: list[Settlement], unseen: Iterable[int]) -> None:
        """Settle deliveries that were taken out of `unsettled`, in one commit, and attend to what follows.

        `unseen`: the tags of those that are not polled any more.
        """
        vhost = self.vhost
        batch = vhost.batch()
        write(vhost, batch, add_settlements(vhost, batch, settlements))
        self.forget_unseen(unseen)
        self.forget(settlements)
        vhost.attend()

    def forget(self, settlements: Iterable[Settlement]) -> None:
        """Make room for more deliveries after some were settled."""
        found = {one.subscriber for one in settlements if isinstance(one.subscriber, ChannelConsumer)}
        self.pushed -= sum(1 for one in settlements if isinstance(one.subscriber, ChannelConsumer))
        self.rejoin(self.consumers.values() if self.limit else [one for one in found if not one.cancelled])

    def forget_unseen(self, tags: Iterable[int]) -> None:
        """Drop deliveries from the inbox that nobody has seen, of those tags that are unsettled no more."""
        if self.inbox.entries and (gone := frozenset(tags).difference(self.unsettled)):
            self.inbox.drop(lambda entry: type(entry) is tuple and entry[1] in gone)

    # After an interrupt

    def interrupted(self) -> None:
        """Have whoever looks after queues next look after this channel, too, and wake who may. Takes no lock."""
        self.vhost.abandon(self._mend)
        for holder in (*self._holders(), *tuple(self._getters.values())):
            holder.queue.line.wake_all()

    def return_got(self, before: int) -> None:
        """Have what `basic_get` took after the tag `before` go back: its tag never reached whoever called."""
        with self.vhost.lock:
            got = [tag for tag, (holder, _) in self.unsettled.items() if tag > before and not holder.pushed_to]
            for tag in got:
                del self.unsettled[tag]
        if got:
            self.interrupted()

    def _mend(self) -> None:
        """Make the tags and counts agree with what is in hand, wherever an interrupt struck. Under the lock.

        A tag whose delivery was settled goes; a delivery that has no tag goes back, for nobody has seen it.
        """
        if self.closed:
            return
        put_off: list[tuple[int, Settlement]] = []
        if self.transaction is not None:  # its commit may have been written
            put_off = [(tag, one) for tag, one in self.transaction.settlements if _has_tag(one.subscriber, one.taken)]
            self.transaction.settlements = put_off
        tags = frozenset(tag for tag, _ in put_off)
        unsettled = {tag: one for tag, one in self.unsettled.items() if tag not in tags and _has_tag(*one)}
        holders = self._holders()
        known = [*unsettled.values(), *((one.subscriber, one.taken) for _, one in put_off)]
        self.unsettled = unsettled
        self.pushed = sum(isinstance(holder, ChannelConsumer) for holder, _ in known)
        tagged = {(taken.lane, taken.stored.offset) for _, taken in known}
        for holder in holders:
            self._return_untagged(holder, tagged)
            holder.recount()
        self.inbox.recount()
        self.rejoin(self.consumers.values())

    def _return_untagged(self, holder: Subscriber, tagged: Container[tuple[Lane, int]]) -> None:
        if holder.queue.deleted:
            return
        for lane in holder.queue.lanes:
            held = [offset for offset, one in lane.cursor.unsettled.items() if one is holder]
            for offset in held:
                if (lane, offset) not in tagged:
                    self.vhost.return_unseen(holder, lane, lane.read(offset))

    # The end

    def fail(self, error: MsglogError) -> None:
        """Do what an error does that the channel's own thread met: it ends the channel, or all of the connection."""
        if error.closes is None:
            return
        sessions = [self] if error.closes == "channel" else list(self.connection.channels.values())
        with self.vhost.lock:
            for session in sessions:
                session.leave_lines()  # what one gives back is not for the others
        self.close(error)
        for session in sessions:
            session.close(error, tell=True)

    def close(self, error: MsglogError | None = None, *, tell: bool = False) -> None:
        """End it: consumers go, the transaction is undone, what is unsettled goes back. From any thread.

        After an error what came before it can still be polled, except for deliveries that went back. `tell`: the error
        was another channel's, so the thread that polls this one hears of it.
        """
        vhost = self.vhost
        if vhost.core.is_foreign():
            self.closed = True  # the locks of this process's parent are not ours to take
            return
        with vhost.lock:
            if self.closed:
                return
            holders = self._holders()
            try:
                self.closed = True
                self.error = error
                self.connection.channels.pop(self.number, None)
                self.close_replies()
                if not (vhost.closed or vhost.engine.closed):
                    self._release(holders)
            except MsglogError as refusal:
                # The store takes no more: what is in hand comes back with the next opening.
                logger.warning(
                    "closing channel %d of %s: %s",
                    self.number,
                    vhost.core.path,
                    refusal,
                    extra={"event": "close_failed", "path": vhost.core.path, "channel": self.number},
                )
            except BaseException:
                self._leave_to_others(holders)  # an interrupt: closing again would find it closed
                raise
            self._drop_untold()
            if tell and error is not None:
                self.inbox.put(Closed(error))
        self.inbox.announce()
        self.inbox.waiter.wake()

    def fall_silent(self) -> None:
        """Drop what a closed channel does not tell, wherever an interrupt struck its closing."""
        with self.vhost.lock:
            self._drop_untold()

    def _drop_untold(self) -> None:
        error = self.error
        self.inbox.drop(lambda entry: error is None or (type(entry) is tuple and not entry[0].no_ack))

    def leave_lines(self) -> None:
        """Have the consumers take nothing more. Under the lock."""
        for consumer in self.consumers.values():
            consumer.cancelled = True
            consumer.queue.leave_line(consumer)

    def close_replies(self) -> None:
        """Stop taking answers."""
        if self.reply_consumer is not None:
            self.vhost.replies.close(self.reply_consumer.address)
            self.reply_consumer = None

    def _holders(self) -> list[Subscriber]:
        """Return whoever may have something of this channel in hand, or a place at a queue."""
        found: dict[Subscriber, None] = dict.fromkeys(tuple(self.consumers.values()))
        found.update(dict.fromkeys(subscriber for subscriber, _ in tuple(self.unsettled.values())))
        if self.transaction is not None:
            found.update(dict.fromkeys(one.subscriber for _, one in tuple(self.transaction.settlements)))
        # What an interrupt kept from getting its tag.
        found.update(dict.fromkeys(one for one in tuple(self._getters.values()) if one.unsettled or one.miscounted))
        return list(found)

    def _release(self, holders: Iterable[Subscriber]) -> None:
        vhost = self.vhost
        self.leave_lines()
        self.consumers.clear()
        if self.transaction is not None:
            self.restore(self.transaction.clear())
        unsettled = tuple(self.unsettled.values())
        self.unsettled.clear()
        self.pushed = 0
        for subscriber, taken in unsettled:
            if not subscriber.queue.deleted:
                vhost.give_back(subscriber.queue, taken.lane, subscriber, taken.stored)
        for holder in holders:
            self._let_go(holder)
        vhost.attend()

    def _let_go(self, holder: Subscriber) -> None:
        """Give back what a holder still has, and its place at the queue. Under the lock."""
        queue = holder.queue
        if queue.deleted:
            return
        if holder.miscounted:
            holder.recount()
        if holder in queue.consumers:
            self.vhost.release(holder)
        else:
            self.vhost.give_back_all(holder)

    def _leave_to_others(self, holders: Iterable[Subscriber]) -> None:
        """Have whoever looks after the queues next let go of them. Takes no lock."""
        for holder in holders:
            self.vhost.abandon(partial(self._let_go, holder), holder.queue.line)

    def restore(self, settlements: Iterable[tuple[int, Settlement]]) -> None:
        """Put deliveries back among the unsettled, each in its place."""
        self._lowest_tag = 0
        for tag, settlement in settlements:
            self.unsettled[tag] = (settlement.subscriber, settlement.taken)
        self.unsettled = dict(sorted(self.unsettled.items()))

    def restore_unsettled(self, settlements: Iterable[tuple[int, Settlement]]) -> None:
        """Put back those deliveries that were not settled; not what returned, and came again under another tag."""
        again = {(taken.lane, taken.stored.offset) for _, taken in self.unsettled.values()}
        self.restore(
            (tag, one)
            for tag, one in settlements
            if one.is_in_hand() and (one.taken.lane, one.taken.stored.offset) not in again
        )

    def abandon(self) -> None:
        """Note that nobody holds the channel any more. Takes no lock: a finalizer may run anywhere."""
        self.closed = True
        self.connection.channels.pop(self.number, None)
        self.close_replies()
        self._leave_to_others(self._holders())


def _has_tag(holder: Subscriber, taken: Taken) -> bool:
    """Whether a delivery is not settled yet, or went with its queue: then its tag can be settled all the same."""
    return holder.queue.deleted or is_in_hand(holder, taken)


class Guard(OneThread):
    """`with guard:` around each call: one thread at a time, and an error has its consequences."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        super().__init__(f"channel {session.number}")
        self._session = session

    def failed(self, error: BaseException) -> None:
        """Close what an error closes; whatever else was raised came from a signal handler, or as badly timed."""
        if isinstance(error, MsglogError):
            self._session.fail(error)
        else:
            self._session.interrupted()


class Use:
    """`with use:` is `with guard:` on a channel that is open."""

    __slots__ = ("_engine", "_enter", "_exit", "_session")

    def __init__(self, session: Session, guard: Guard) -> None:
        self._session = session
        self._engine = session.vhost.engine
        self._enter = guard.__enter__
        self._exit = guard.__exit__

    def __enter__(self) -> None:
        if self._session.closed:
            self._session.refuse()
        self._engine.check_open()
        self._enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit(kind, error, trace)

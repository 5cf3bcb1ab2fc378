"""Events on their way from whoever brings them about to the thread that polls the channel.

Appending is done under the broker's lock or by the channel's own thread, taking out by the channel's thread alone; both
are single operations of a deque. `announce` wakes once until the next look: between `looks` and the end of taking out
nothing can be missed, for `looks` comes first. Imported by the channel.
"""

import logging
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from msglog.broker.channel.events import ChannelEvent, Deliver
from msglog.broker.properties import Properties
from msglog.broker.rules.message_codec import unpack_meta
from msglog.broker.subscriber import Taken
from msglog.waiting import Waiter

if TYPE_CHECKING:
    from msglog.broker.channel.consumers import ChannelConsumer

logger = logging.getLogger("msglog.channel")

DELIVERY_COUNT: Final = "x-delivery-count"
# How far a consumer without a limit of its own is served ahead of `poll`, as a connection's buffers would allow.
MOST_AHEAD: Final = 1000
MOST_AHEAD_BYTES: Final = 8 << 20


# A message that was handed out to a consumer and not polled yet: consumer, delivery tag, what was taken.
Pushed = tuple["ChannelConsumer", int, Taken]


def deliver(pushed: Pushed) -> Deliver:
    """Return a delivery as it is told."""
    consumer, tag, (_, stored, redelivered, count) = pushed
    exchange, routing_key, properties, _, _ = unpack_meta(stored[2])
    if consumer.tells_count and count:
        properties = with_delivery_count(properties, count)
    return tuple.__new__(Deliver, (consumer.tag, tag, redelivered, exchange, routing_key, properties, stored[3], count))


def with_delivery_count(properties: Properties, count: int) -> Properties:
    """Return properties as a quorum queue hands them out again: with the number of earlier deliveries as a header."""
    return properties._replace(headers={**(properties.headers or {}), DELIVERY_COUNT: count})


class Inbox:
    """Entries in order: deliveries not yet made events (plain tuples), lists of confirms, and events."""

    __slots__ = (
        "_announced",
        "bytes_in",
        "bytes_out",
        "entries",
        "held_up",
        "interrupted",
        "on_event",
        "waiter",
        "waiting",
    )

    def __init__(self) -> None:
        self.entries: deque[Any] = deque()
        self.waiter = Waiter()
        # Set before the channel's thread looks for the last time and sleeps: only then it needs to be woken.
        self.waiting = False
        self.on_event: Callable[[], object] | None = None
        self.interrupted = False
        # Bodies of deliveries that came in and were taken out, in bytes: each counted by one side only.
        self.bytes_in = 0
        self.bytes_out = 0
        # A consumer without a limit got no more for what lies here: it joins its line again when there is room.
        self.held_up = False
        self._announced = False

    def put(self, entry: Any) -> None:
        """Add an event, a delivery or a list of confirms, and tell who waits."""
        self.entries.append(entry)
        if not self._announced:
            self.announce()

    def announce(self) -> None:
        """Wake the thread that waits and call the listener. Takes no lock."""
        if self._announced:
            return
        self._announced = True
        if self.waiting:
            self.waiter.wake()
        listener = self.on_event
        if listener is not None:
            try:
                listener()
            except Exception:
                logger.exception("the listener of a channel failed", extra={"event": "listener_failed"})

    def interrupt(self) -> None:
        """Make the wait of now, or the next one, end. From any thread and from a signal handler: it takes no lock."""
        self.interrupted = True
        self.waiter.wake()

    def looks(self) -> None:
        """Note that the channel's thread looks at what there is: what comes from now on is announced again."""
        self._announced = False

    def is_far_ahead(self) -> bool:
        """Whether so much lies here that consumers without a limit get no more."""
        return len(self.entries) >= MOST_AHEAD or self.bytes_in - self.bytes_out >= MOST_AHEAD_BYTES

    def take(self, most: int | None, handed: list[Any]) -> list[ChannelEvent]:
        """Take out up to `most` events, in order. `handed`: empty; it gets what they were, for `put_back`."""
        self._move(handed, len(self.entries) if most is None else most)
        events: list[ChannelEvent] = []
        for place, entry in enumerate(handed):
            kind = type(entry)
            if kind is tuple:
                self.bytes_out += len(entry[2][1][3])
                events.append(deliver(entry))
            elif kind is list:  # confirms that came together: others join those that are not told yet
                handed[place] = entry[:]
                del entry[:]
                events += handed[place]
            else:
                events.append(entry)
            if most is not None and len(events) >= most:
                over = len(events) - most
                if over or place + 1 < len(handed):
                    self._leave(handed, place, over, entry)
                    del events[most:]
                break
        return events

    def _move(self, into: list[Any], most: int) -> None:
        """Take out up to `most` entries in one step, in which no signal is handled: none is in neither place."""
        try:
            into.extend(islice(iter(self.entries.popleft, None), most))
        except IndexError:
            pass  # there are no more, or another thread has closed the channel

    def _leave(self, handed: list[Any], place: int, over: int, confirms: list[Any]) -> None:
        """Put back in front what has no room: the last `over` of an entry's confirms, and all entries behind it."""
        entry, left = handed[place], handed[place + 1 :]
        told, rest = (entry[:-over], entry[-over:]) if over else (entry, [])
        kept = [*handed[:place], told]
        if over:
            left.insert(0, confirms)
        first = reversed(left)
        # No signal is handled between stores.
        if over:
            confirms[:] = rest
        handed[:] = kept
        self.entries.extendleft(first)

    def put_back(self, handed: list[Any]) -> None:
        """Have what was taken out come again: it never reached whoever polls. In the channel's thread."""
        self.entries.extendleft(reversed(handed))

    def recount(self) -> None:
        """Find out anew how much lies here. Under the broker's lock."""
        entries = self.entries.copy()  # in one step: the channel's thread may be taking out
        self.bytes_out = self.bytes_in - sum(len(entry[2][1][3]) for entry in entries if type(entry) is tuple)

    def drop(self, unwanted: Callable[[Any], bool]) -> None:
        """Take out all entries that are `unwanted`. Under the broker's lock.

        After an interrupt either all of them are gone or none is, and the others stand as they did.
        """
        entries: list[Any] = []
        try:
            self._move(entries, len(self.entries))
            dropped = [entry for entry in entries if unwanted(entry)]
            gone = frozenset(map(id, dropped))
            kept = reversed([entry for entry in entries if id(entry) not in gone])
        except BaseException:
            self.entries.extendleft(reversed(entries))
            raise
        self.entries.extendleft(kept)
        self.bytes_out += sum(len(entry[2][1][3]) for entry in dropped if type(entry) is tuple)

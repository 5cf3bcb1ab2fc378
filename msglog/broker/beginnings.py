"""What a subscription to a queue does on a manual clock: whoever advances it goes on when what came due has begun.

After each piece of work that came due, `follow` looks whether a worker was handed a message, or may be about to take
one, and waits until all that are not in a callback have begun with one or found none. Imported by `subscription`.

Invariant: whoever is in a place's `starts` while its worker is attentive is woken when the worker begins with a
message, when a look that began after it came found none, or when the worker ends.
"""

from collections.abc import Iterator
from threading import Thread, current_thread

from msglog.broker.consumer import QueueConsumer
from msglog.broker.delivery import Delivery
from msglog.broker.vhost import VirtualHost
from msglog.waiting import Waiter


class _Place:
    """A worker. `attentive`: it is not in a callback, nor about to settle what was in its hand."""

    def __init__(self, thread: Thread) -> None:
        self.thread = thread
        self.attentive = True
        self.starts: set[Waiter] = set()

    def tell(self, starts: set[Waiter]) -> None:
        """Wake who waits for this worker."""
        for start in tuple(starts):
            self.starts.discard(start)
            start.wake()

    def may_begin(self) -> bool:
        """Whether it will tell who waits for it; after a fork the thread is gone without having said so."""
        return self.attentive and self.thread.is_alive()


class Beginnings:
    """The workers of one subscription, as the clock sees them."""

    def __init__(self, vhost: VirtualHost, consumer: QueueConsumer) -> None:
        self._vhost = vhost
        self._consumer = consumer
        self._places: list[_Place] = []
        vhost.core.timers.followers.add(self.follow)

    def end(self) -> None:
        """Follow the clock no more: no worker is left."""
        self._vhost.core.timers.followers.discard(self.follow)

    def deliveries(self) -> Iterator[Delivery]:
        """Yield the messages for one worker, the thread that calls, until the consumer is stopped."""
        consumer = self._consumer
        place = _Place(current_thread())
        self._places.append(place)
        try:
            while not consumer.stopped:
                seen = consumer.interrupts  # first of all: an interrupt from now on ends the wait below
                starts = set(place.starts)
                delivery = consumer.get(0) if starts else consumer.get_unless_interrupted(seen)
                if delivery is not None:
                    self.begin(place)
                    yield delivery
                    place.attentive = True
                else:
                    place.tell(starts)
        finally:
            self.begin(place)

    def begin(self, place: _Place) -> None:
        """Have a worker go to its callback, or to its end."""
        place.attentive = False
        place.tell(place.starts)

    def follow(self) -> None:
        """Return when the workers have begun with what they were handed; in the thread that advances the clock."""
        waiting: list[tuple[_Place, Waiter]] = []
        with self._vhost.lock:
            if self._vhost.closed:
                return
            places = [place for place in self._places if place.may_begin()]
            if self._consumer.idle_calls() >= len(places):
                return
        for place in places:
            start = Waiter()
            place.starts.add(start)
            waiting.append((place, start))
        self._consumer.interrupt()
        for place, start in waiting:
            if place.may_begin():  # asked once the start is there: who turns away later tells it
                start.wait(None)

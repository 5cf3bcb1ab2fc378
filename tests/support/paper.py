"""A broker on paper: what queues hold after each call, and what a crash leaves of it.

Plain dictionaries, no files, no offsets but the number of arrival. It knows direct and fanout exchanges, dead letters,
times to live, lengths, priorities, delivery limits, delays, and transient queues. Bodies are unlike all others.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

FAR_MS = 1 << 32
"""Longer than any delay or time to live of a test."""

Place = tuple[int, int]
"""Where a message is in its queue: minus the priority that counts, number of arrival there."""
Death = tuple[str, str, int]
"""Queue, reason, how often: what `x-death` tells, the last one first."""
Seen = tuple[bytes, bool, int, tuple[Death, ...]]
"""What a consumer sees of a message: body, redelivered, earlier deliveries (0 where nobody counts), deaths."""


@dataclass(slots=True)
class Letter:
    """One message in one queue. Papers share them: who changes one makes another one."""

    body: bytes
    stamp_ms: int
    expiration_ms: int | None = None
    deaths: tuple[Death, ...] = ()
    deliveries: int = 0
    priority: int = 0


@dataclass
class PaperQueue:
    """One queue. `dead`: exchange and routing key of its dead letters."""

    name: str
    durable: bool = True
    ttl_ms: int | None = None
    most: int | None = None
    most_by_policy: int | None = None
    levels: int | None = None
    limit: int | None = None
    dead: tuple[str, str] | None = None
    letters: dict[Place, Letter] = field(default_factory=dict)
    hands: set[Place] = field(default_factory=set)
    away: dict[Place, int] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    # How far delivery came on each level, and how far the store knows.
    next: dict[int, int] = field(default_factory=dict)
    noted: dict[int, int] = field(default_factory=dict)

    def copy(self) -> "PaperQueue":
        """Return another one that is the same."""
        # Word by word: a paper is copied before each call, with all of its queues.
        other = PaperQueue.__new__(PaperQueue)
        values = other.__dict__
        values.update(self.__dict__)
        values["letters"] = self.letters.copy()
        values["hands"] = self.hands.copy()
        values["away"] = self.away.copy()
        values["ends"] = self.ends.copy()
        values["next"] = self.next.copy()
        values["noted"] = self.noted.copy()
        return other

    @property
    def ready(self) -> list[Place]:
        """The places of what waits, in the order of delivery."""
        return sorted(self.letters.keys() - self.hands - self.away.keys())

    @property
    def length_limit(self) -> int | None:
        """The most messages that may wait."""
        return min((most for most in (self.most, self.most_by_policy) if most is not None), default=None)

    def expiry_ms(self, place: Place) -> int | None:
        """Return when a message expires."""
        letter = self.letters[place]
        times = [one for one in (self.ttl_ms, letter.expiration_ms) if one is not None]
        return letter.stamp_ms + min(times) if times else None

    def was_delivered(self, place: Place) -> bool:
        """Whether it was in somebody's hand, as far as the store knows."""
        return place[1] < self.next.get(-place[0], 0)

    def note(self, place: Place) -> None:
        """Write down how far delivery came on the level of a message."""
        level = -place[0]
        self.noted[level] = max(self.noted.get(level, 0), self.next.get(level, 0))

    def settle(self, place: Place) -> Letter:
        """Take a message out for good."""
        self.hands.discard(place)
        self.away.pop(place, None)
        self.note(place)
        level = -place[0]
        self.next[level] = max(self.next.get(level, 0), place[1] + 1)
        self.noted[level] = max(self.noted.get(level, 0), place[1] + 1)
        return self.letters.pop(place)

    def seen(self, place: Place) -> Seen:
        """Return what a consumer sees of a message."""
        letter = self.letters[place]
        counted = letter.deliveries if self.limit is not None else 0
        return letter.body, self.was_delivered(place), counted, letter.deaths


@dataclass
class View:
    """What an open store shows to one who looks at everything in it."""

    queues: dict[str, list[Seen]]
    later: dict[str, list[Seen]]
    exchanges: set[tuple[str, str]]
    bindings: set[tuple[str, str, str]]
    policies: set[str]

    def difference(self, found: "View") -> str:
        """Say how another one differs."""
        parts = []
        for name in ("exchanges", "bindings", "policies"):
            want, have = getattr(self, name), getattr(found, name)
            if want != have:
                parts.append(f"{name}: missing {want - have}, too many {have - want}")
        for what, mine, others in (("", self.queues, found.queues), ("later ", self.later, found.later)):
            if mine.keys() != others.keys():
                parts.append(f"{what}queues {sorted(others)} instead of {sorted(mine)}")
            parts += [
                f"{what}{name}: {others[name]} instead of {seen}"
                for name, seen in mine.items()
                if name in others and others[name] != seen
            ]
        return "; ".join(parts) or "equal"


class Paper:
    """A whole broker. `now_ms` is its clock."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.queues: dict[str, PaperQueue] = {}
        self.exchanges: dict[str, tuple[str, bool]] = {}
        self.bindings: set[tuple[str, str, str]] = set()
        self.policies: dict[str, tuple[str, int]] = {}
        # Due time, number, names of queues, message.
        self.delayed: list[tuple[int, int, tuple[str, ...], Letter]] = []
        self._numbers = 0
        self._views: dict[int, View] = {}

    def copy(self) -> "Paper":
        """Return another one that is the same, to be changed. The one that was copied must not change any more."""
        other = copy.copy(self)
        other.queues = {name: queue.copy() for name, queue in self.queues.items()}
        other.exchanges = dict(self.exchanges)
        other.bindings = set(self.bindings)
        other.policies = dict(self.policies)
        other.delayed = list(self.delayed)
        other._views = {}
        return other

    # Definitions

    def declare(self, name: str, **options: Any) -> None:
        """Make a queue."""
        self.queues[name] = PaperQueue(name, **options)
        self._apply_policies()

    def declare_exchange(self, name: str, kind: str, *, durable: bool = True) -> None:
        """Make an exchange."""
        self.exchanges[name] = (kind, durable)

    def bind(self, queue: str, exchange: str, key: str = "") -> None:
        """Bind a queue."""
        self.bindings.add((exchange, queue, key))

    def unbind(self, queue: str, exchange: str, key: str = "") -> None:
        """Take a binding back."""
        self.bindings.discard((exchange, queue, key))

    def delete(self, name: str) -> None:
        """Delete a queue."""
        del self.queues[name]
        self.bindings = {one for one in self.bindings if one[1] != name}
        self._forget_ways()

    def _forget_ways(self) -> None:
        """Where a delayed message goes is decided when it is published: a queue of that name made later is another."""
        self.delayed = [
            (due_ms, number, tuple(name for name in names if name in self.queues), letter)
            for due_ms, number, names, letter in self.delayed
        ]

    def delete_exchange(self, name: str) -> None:
        """Delete an exchange."""
        del self.exchanges[name]
        self.bindings = {one for one in self.bindings if one[0] != name}

    def set_policy(self, name: str, queue: str, most: int) -> None:
        """Limit the length of one queue by a policy."""
        self.policies[name] = (queue, most)
        self._apply_policies()
        self.settle_down()

    def delete_policy(self, name: str) -> None:
        """Remove a policy."""
        del self.policies[name]
        self._apply_policies()

    def _apply_policies(self) -> None:
        for queue in self.queues.values():
            queue.most_by_policy = min(
                (most for name, most in self.policies.values() if name == queue.name), default=None
            )

    def route(self, exchange: str, key: str) -> tuple[str, ...]:
        """Return the names of the queues that a message goes to."""
        if not exchange:
            return (key,) if key in self.queues else ()
        if exchange not in self.exchanges:
            return ()
        kind, _ = self.exchanges[exchange]
        bound = {queue for name, queue, own in self.bindings if name == exchange and (kind == "fanout" or own == key)}
        return tuple(sorted(bound))

    # Messages

    def publish(
        self,
        exchange: str,
        key: str,
        body: bytes,
        *,
        priority: int = 0,
        expiration_ms: int | None = None,
        delay_ms: int | None = None,
    ) -> int:
        """Publish one message; return how many queues get it. `settle_down` is the caller's."""
        names = self.route(exchange, key)
        letter = Letter(body, self.now_ms, expiration_ms, priority=priority)
        if delay_ms and names:
            self._numbers += 1
            self.delayed.append((self.now_ms + delay_ms, self._numbers, names, letter))
        elif not delay_ms:
            for name in names:
                self._arrive(self.queues[name], letter)
        return len(names)

    def _arrive(self, queue: PaperQueue, letter: Letter) -> None:
        level = min(letter.priority, queue.levels or 0)
        number = queue.ends.get(level, 0)
        queue.ends[level] = number + 1
        queue.letters[-level, number] = copy.copy(letter)
        queue.letters[-level, number].stamp_ms = self.now_ms

    def take(self, name: str) -> Place | None:
        """Hand out the next message of a queue."""
        queue = self.queues[name]
        while queue.ready:
            place = queue.ready[0]
            letter = queue.letters[place]
            if queue.limit is not None and letter.deliveries > queue.limit:
                self._die(queue, place, "delivery_limit")
                self.settle_down()
                continue
            self._hand_out(queue, place)
            self.settle_down()  # the next one may have expired behind it
            return place
        return None

    @staticmethod
    def _hand_out(queue: PaperQueue, place: Place) -> None:
        level = -place[0]
        queue.hands.add(place)
        queue.next[level] = max(queue.next.get(level, 0), place[1] + 1)
        if queue.limit is not None:
            letter = queue.letters[place] = copy.copy(queue.letters[place])
            letter.deliveries += 1
            queue.note(place)

    def ack(self, name: str, place: Place) -> None:
        """Settle a message in hand."""
        self.queues[name].settle(place)

    def reject(self, name: str, place: Place) -> None:
        """Settle a message in hand with a dead letter."""
        self._die(self.queues[name], place, "rejected")
        self.settle_down()

    def nack(self, name: str, place: Place, delay_ms: int = 0) -> None:
        """Give a message in hand back, at once or later."""
        self._return(self.queues[name], place, delay_ms)
        self.settle_down()

    def _return(self, queue: PaperQueue, place: Place, delay_ms: int = 0) -> None:
        if queue.limit is not None and queue.letters[place].deliveries > queue.limit:
            self._die(queue, place, "delivery_limit")
            return
        queue.hands.discard(place)
        if delay_ms:
            queue.away[place] = self.now_ms + delay_ms

    def purge(self, name: str) -> int:
        """Settle everything that waits."""
        queue = self.queues[name]
        waiting = queue.ready
        for place in waiting:
            queue.settle(place)
        return len(waiting)

    def _die(self, queue: PaperQueue, place: Place, reason: str) -> None:
        letter = queue.settle(place)
        if queue.dead is None:
            return
        count = next((count for name, why, count in letter.deaths if (name, why) == (queue.name, reason)), 0)
        others = [death for death in letter.deaths if death[:2] != (queue.name, reason)]
        deaths = ((queue.name, reason, count + 1), *others)
        dead = Letter(letter.body, self.now_ms, deaths=deaths, priority=letter.priority)
        for target in self.route(*queue.dead):
            if not _goes_round(deaths, target, reason):
                self._arrive(self.queues[target], dead)

    def settle_down(self) -> None:
        """Remove what expired and what is too much, until nothing is."""
        changed = True
        while changed:
            changed = False
            for queue in self.queues.values():
                while (head := _head(queue)) is not None and self._is_expired(queue, head):
                    self._die(queue, head, "expired")
                    changed = True
                most = queue.length_limit
                while most is not None and len(queue.ready) > most:
                    self._die(queue, queue.ready[0], "maxlen")
                    changed = True

    def _is_expired(self, queue: PaperQueue, place: Place) -> bool:
        expiry_ms = queue.expiry_ms(place)
        return expiry_ms is not None and expiry_ms <= self.now_ms

    # Time

    def advance(self, ms: int) -> None:
        """Let time pass: whatever is due happens in order."""
        end_ms = self.now_ms + ms
        while (due_ms := min(self.due_times(), default=end_ms + 1)) <= end_ms:
            self.now_ms = max(self.now_ms, due_ms)
            self._release()
            for queue in self.queues.values():
                for place, at_ms in list(queue.away.items()):
                    if at_ms <= self.now_ms:
                        del queue.away[place]
            self.settle_down()
        self.now_ms = end_ms
        self.settle_down()

    def due_times(self) -> Iterator[int]:
        """Yield the times at which something happens by itself."""
        yield from (due_ms for due_ms, *_ in self.delayed)
        for queue in self.queues.values():
            yield from queue.away.values()
            head = _head(queue)
            if head is not None and (expiry_ms := queue.expiry_ms(head)) is not None:
                yield expiry_ms

    def _release(self) -> None:
        for entry in sorted(self.delayed, key=lambda one: one[:2]):
            due_ms, _, names, letter = entry
            if due_ms <= self.now_ms:
                self.delayed.remove(entry)
                for name in names:
                    if name in self.queues:
                        self._arrive(self.queues[name], letter)

    # Ends

    def give_all_back(self) -> None:
        """A connection ends: what was in its hand goes back."""
        for queue in self.queues.values():
            for place in sorted(queue.hands):
                self._return(queue, place)
        self.settle_down()

    def crash(self) -> None:
        """The process ends, and the store is opened again."""
        self.queues = {name: queue for name, queue in self.queues.items() if queue.durable}
        self._forget_ways()
        self.exchanges = {name: one for name, one in self.exchanges.items() if one[1]}
        self.bindings = {one for one in self.bindings if one[0] in self.exchanges and one[1] in self.queues}
        for queue in self.queues.values():
            queue.hands.clear()
            queue.away.clear()
            queue.next = dict(queue.noted)

    def note_all(self) -> None:
        """The store is closed: it knows how far delivery came."""
        for queue in self.queues.values():
            queue.noted = dict(queue.next)

    def view(self, now_ms: int) -> View:
        """Return what is seen in a store that is opened at `now_ms` after a crash."""
        view = self._views.get(now_ms)
        if view is None:
            paper = self.copy()
            paper.crash()
            paper.now_ms = max(paper.now_ms, now_ms)
            paper.advance(0)
            now = paper.take_all()
            paper.advance(FAR_MS)
            view = self._views[now_ms] = View(
                now,
                paper.take_all(),
                {(name, kind) for name, (kind, _) in paper.exchanges.items()},
                set(paper.bindings),
                set(paper.policies),
            )
        return view

    def take_all(self) -> dict[str, list[Seen]]:
        """Take everything that waits in each queue, again until nothing comes."""
        return drain(list(self.queues), self._take_seen)

    def _take_seen(self, name: str) -> Seen | None:
        queue = self.queues[name]
        before = {place: queue.seen(place) for place in queue.ready}
        place = self.take(name)
        if place is None:
            return None
        if place in before:
            return before[place]
        raise AssertionError("taking does not make messages")


def drain(names: list[str], take: Callable[[str], Seen | None]) -> dict[str, list[Seen]]:
    """Take from each queue in turn until all are empty: taking may bring dead letters.

    Dead letters of different origins are put apart: whose come first where several queues are looked after at a time is
    nobody's promise.
    """
    found: dict[str, list[Seen]] = {name: [] for name in names}
    going = True
    while going:
        going = False
        for name in names:
            while (seen := take(name)) is not None:
                found[name].append(seen)
                going = True
    return {name: sorted(seen, key=lambda one: one[3][:1]) for name, seen in found.items()}


def _head(queue: PaperQueue) -> Place | None:
    waiting = queue.ready
    return waiting[0] if waiting else None


def _goes_round(deaths: tuple[Death, ...], target: str, reason: str) -> bool:
    if reason == "rejected":
        return False
    for name, why, _ in deaths:
        if why == "rejected":
            return False
        if name == target:
            return True
    return False

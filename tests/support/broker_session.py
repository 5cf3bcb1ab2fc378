"""Drives a broker in a faulty file system, with a model on paper beside it and a history of what a crash may leave.

One `BrokerSession` is the life of one store over several openings. Each public call is a step of the history, even
where it makes several commits: what lies in between looks like before or like after to whoever opens the store, since
opening removes what expired or is too much.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock
from weakref import WeakSet

import msglog
from msglog.broker.vhost import housekeeping
from msglog.clock import ManualClock
from msglog.errors import MsglogError
from msglog.storage import Engine, Options
from msglog.store import Store, StoreCore
from msglog.store import core as cores
from support.crash_images import CrashImage
from support.disk import Disk, Image
from support.faulty_filesystem import FaultyFileSystem
from support.history import History
from support.paper import FAR_MS, Paper, Place, Seen, View, drain
from support.session import DIRECTORY, small_limits

SEGMENT_BYTES = 2000
DEAD = ("", "dlq")
"""Exchange and routing key of most dead letters."""

Held = tuple[Any, str, Place]
"""A delivery, its queue, its place on paper."""


@contextmanager
def small_broker_limits(**others: int) -> Iterator[None]:
    """Let small queues do what large ones do: trim, rewrite, roll, checkpoint. `others`: as for `small_limits`."""
    with (
        small_limits(**others),
        mock.patch.object(housekeeping, "_MESSAGES_PER_LOOK", 3),
        mock.patch.object(housekeeping.Housekeeping, "_size_of", staticmethod(lambda _lane, _messages: 0)),
    ):
        yield


def open_store(filesystem: Any, clock: ManualClock, *, engine: type[Engine] = Engine, **options: Any) -> Store:
    """Open a store in a file system of a test.

    It belongs to no registry and has no threads: all operations happen at a known place.
    """
    chosen = Options(**{"segment_bytes": SEGMENT_BYTES, **options})
    foreground = SimpleNamespace(open=partial(engine.open, background=False))
    with mock.patch.object(cores, "Engine", foreground):
        core = StoreCore(filesystem, DIRECTORY, chosen, clock)
    # A plain function: making a mock takes a tenth of an opening, and there are tens of thousands.
    with mock.patch.object(cores, "acquire", lambda *_: core):  # noqa: PT008 see above
        return Store(DIRECTORY)


def bury(broker: msglog.Broker, *consumers: Any) -> None:
    """Make the objects of a process that was killed harmless: they must not close anything when they are collected."""
    for consumer in consumers:
        consumer._closed = True
    vhost = broker._vhost
    vhost.closed = vhost.core.engine.closed = True
    vhost.core.timers.close()
    broker._closed = broker.store._closed = True


def see(broker: msglog.Broker, clock: ManualClock, keep: list[Any]) -> View:
    """Look at everything in a broker: take all there is, then all that comes later. `keep` gets the deliveries."""

    def take(name: str) -> Seen | None:
        delivery = broker.get(name)
        if delivery is None:
            return None
        keep.append(delivery)
        return _seen(broker, delivery)

    names = [queue.name for queue in broker.queues()]
    model = broker._vhost.model
    counts = {queue.name: queue.message_count for queue in broker.queues()}
    peeked = {name: sorted(message.body for message in broker.peek(name, 1 << 20)) for name in names}
    now = drain(names, take)
    if not any(model.queues[name].effective.delivery_limit is not None for name in names):
        # Such a limit may move a message while it is taken; all others are found as they were announced.
        assert {name: len(seen) for name, seen in now.items()} == counts
        assert {name: sorted(one[0] for one in seen) for name, seen in now.items()} == peeked
    clock.advance(ms=FAR_MS)
    later = drain(names, take)
    return View(
        now,
        later,
        {(one.name, one.type) for one in broker.exchanges() if one.name and not one.name.startswith("amq.")},
        {(one.source, one.destination, one.routing_key) for one in broker.bindings()},
        set(model.policies),
    )


def _seen(broker: msglog.Broker, delivery: Any) -> Seen:
    counted = broker._vhost.queues[delivery.queue].effective.delivery_limit is not None
    if not counted and delivery.redelivered != (delivery.delivery_count > 0):
        raise AssertionError(f"redelivered={delivery.redelivered}, yet delivery_count={delivery.delivery_count}")
    deaths = tuple((one["queue"], one["reason"], one["count"]) for one in delivery.headers.get("x-death", ()))
    return delivery.body, delivery.redelivered, delivery.delivery_count if counted else 0, deaths


_sessions: "WeakSet[BrokerSession]" = WeakSet()


def end_all_sessions() -> None:
    """Be done with all sessions, also those that a failing test has left open."""
    for session in tuple(_sessions):
        session.end()


class BrokerSession:
    """A broker in a faulty file system, its history, and what is in hand while it is open."""

    def __init__(
        self,
        sync: Any = "commit",
        *,
        filesystem: FaultyFileSystem | None = None,
        paper: Paper | None = None,
        tag: str = "",
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        _sessions.add(self)
        self.segment_bytes = segment_bytes
        self.filesystem = filesystem or FaultyFileSystem()
        self.sync = sync
        self.clock = ManualClock(paper.now_ms) if paper else ManualClock()
        self.paper = paper or Paper(self.clock.now_ms())
        self.history = History(self.paper.copy())  # type: ignore[arg-type]  # its states are papers here
        self.held: dict[str, list[Held]] = {}
        self.opening = False
        # Whether each step asks the engine what of it is durable.
        self.claiming = True
        self.made = 0
        self._broker: msglog.Broker | None = None
        self.tag = tag
        # When each call began, and the clock at its end.
        self.times: list[tuple[int, int]] = [(0, self.clock.now_ms())]

    # Lives

    @property
    def broker(self) -> msglog.Broker:
        """The open broker."""
        if self._broker is None:
            raise AssertionError("the broker is not open")
        return self._broker

    @property
    def engine(self) -> Engine:
        """The engine below."""
        return self.broker._vhost.engine

    @property
    def is_open(self) -> bool:
        """Whether an opening has not ended."""
        return self._broker is not None and not self._broker._vhost.engine.closed

    @property
    def moment(self) -> int:
        """How many operations were recorded so far."""
        self.filesystem.disk.notice()
        return len(self.filesystem.disk.operations)

    def open(self, sync: Any = None) -> None:
        """Open the store, whichever way the last life ended."""
        self.sync = sync or self.sync
        after = self.paper.copy()
        after.crash()
        after.advance(0)
        self.opening = True
        with self._step(after, durable=self.sync == "commit"):
            self._broker = self._open_broker()
        self.opening = False

    def _open_broker(self) -> msglog.Broker:
        return open_store(self.filesystem, self.clock, sync=self.sync, segment_bytes=self.segment_bytes).broker

    def close(self) -> None:
        """Close broker and store: all is durable then, and it is known what was delivered."""
        returned = self.paper.copy()
        returned.give_all_back()
        noted = returned.copy()
        noted.note_all()
        self.times.append((self.moment, noted.now_ms))
        first, last = [self.history.begin(paper, self.moment) for paper in (returned, noted)]  # type: ignore[arg-type]
        broker, engine, self.held = self.broker, self.engine, {}
        broker.close()
        broker.store.close()
        if engine.failure is None:
            # On a disk that refuses it, a store is closed without a note of what was delivered.
            index = last if self.filesystem.plan is None else first
            self.history.wrote(index, self.moment)
            self.history.promise(index, self.moment)
        self.paper, self._broker = noted, None

    def kill(self) -> None:
        """End the process; the next opening finds its page cache."""
        bury(self.broker)
        self.filesystem = self.filesystem.kill()
        self._broker, self.held = None, {}
        self.paper = self.paper.copy()
        self.paper.crash()

    def end(self) -> None:
        """Be done with the session, whatever state it is in."""
        if self._broker is not None:
            bury(self._broker)
            self._broker = None

    # Definitions

    def declare(self, name: str, **options: Any) -> None:
        """Declare a queue; the options are those of `PaperQueue`."""
        after = self.paper.copy()
        after.declare(name, **options)
        durable = options.get("durable", True)
        dead = options.get("dead")
        with self._step(after, durable=durable):
            self.broker.declare_queue(
                name,
                durable=durable,
                message_ttl_ms=options.get("ttl_ms"),
                max_length=options.get("most"),
                max_priority=options.get("levels"),
                delivery_limit=options.get("limit"),
                dead_letter_exchange=dead and dead[0],
                dead_letter_routing_key=dead and dead[1],
            )

    def declare_exchange(self, name: str, kind: str, *, durable: bool = True) -> None:
        """Declare an exchange."""
        self._change(
            lambda paper: paper.declare_exchange(name, kind, durable=durable),
            lambda: self.broker.declare_exchange(name, kind, durable=durable),
            durable=durable,
        )

    def bind(self, queue: str, exchange: str, key: str = "") -> None:
        """Bind a queue."""
        durable = self.paper.queues[queue].durable and self.paper.exchanges[exchange][1]
        self._change(
            lambda paper: paper.bind(queue, exchange, key),
            lambda: self.broker.bind(queue, exchange, key),
            durable=durable,
        )

    def unbind(self, queue: str, exchange: str, key: str = "") -> None:
        """Take a binding back."""
        durable = self.paper.queues[queue].durable and self.paper.exchanges[exchange][1]
        self._change(
            lambda paper: paper.unbind(queue, exchange, key),
            lambda: self.broker.unbind(queue, exchange, key),
            durable=durable,
        )

    def delete(self, name: str) -> None:
        """Delete a queue."""
        self.held.pop(name, None)
        self._change(lambda paper: paper.delete(name), lambda: self.broker.delete_queue(name))

    def delete_exchange(self, name: str) -> None:
        """Delete an exchange."""
        self._change(lambda paper: paper.delete_exchange(name), lambda: self.broker.delete_exchange(name))

    def set_policy(self, name: str, queue: str, most: int) -> None:
        """Limit the length of one queue by a policy."""
        self._change(
            lambda paper: paper.set_policy(name, queue, most),
            lambda: self.broker.set_policy(name, f"^{queue}$", {"max-length": most}, apply_to="queues"),
        )

    def delete_policy(self, name: str) -> None:
        """Remove a policy."""
        self._change(lambda paper: paper.delete_policy(name), lambda: self.broker.delete_policy(name))

    # Messages

    def body(self, size: int = 12) -> bytes:
        """Return a body unlike all others."""
        self.made += 1
        return f"{self.tag}{self.made}:".encode().ljust(size, b"v")

    def publish(self, exchange: str, key: str, *, size: int = 12, persistent: bool = True, **options: Any) -> None:
        """Publish one message; the options are those of `Paper.publish`."""
        body = self.body(size)
        after = self.paper.copy()
        copies = after.publish(exchange, key, body, **options)
        after.settle_down()
        with self._step(after, durable=persistent):
            told = self.broker.publish(exchange, key, body, persistent=persistent, **options)
        assert told == copies

    def send(self, queue: str, count: int = 1, **options: Any) -> None:
        """Publish to one queue."""
        for _ in range(count):
            self.publish("", queue, **options)

    def publish_many(self, exchange: str, *keys: str, size: int = 12) -> None:
        """Publish a message for each key in one commit."""
        messages = [(key, self.body(size)) for key in keys]
        after = self.paper.copy()
        copies = sum(after.publish(exchange, key, body) for key, body in messages)
        after.settle_down()
        with self._step(after):
            told = self.broker.publish_many(exchange, messages)
        assert told == copies

    def get(self, queue: str, count: int = 1) -> None:
        """Get messages and keep them in hand; they must be the ones that are on paper."""
        for _ in range(count):
            after = self.paper.copy()
            expected = after.queues[queue]
            before = {place: expected.seen(place) for place in expected.ready}
            place = after.take(queue)
            with self._step(after, durable=False):
                delivery = self.broker.get(queue)
            if place is None:
                assert delivery is None
                return
            assert delivery is not None
            body, redelivered, deliveries, deaths = _seen(self.broker, delivery)
            assert (body, deliveries, deaths) == (before[place][0], *before[place][2:])
            assert redelivered == before[place][1]
            self.held.setdefault(queue, []).append((delivery, queue, place))

    def ack(self, queue: str, which: int = 0) -> None:
        """Acknowledge one of the messages in hand, by its number in the order in which they came."""
        delivery, _, place = self._pick(queue, which)
        self._settle(queue, which, lambda paper: paper.ack(queue, place), delivery.ack)

    def reject(self, queue: str, which: int = 0) -> None:
        """Reject one of the messages in hand."""
        delivery, _, place = self._pick(queue, which)
        self._settle(queue, which, lambda paper: paper.reject(queue, place), delivery.reject)

    def nack(self, queue: str, which: int = 0, delay_ms: int = 0) -> None:
        """Give one of the messages in hand back."""
        delivery, _, place = self._pick(queue, which)
        self._settle(
            queue, which, lambda paper: paper.nack(queue, place, delay_ms), lambda: delivery.nack(delay_ms=delay_ms)
        )

    def purge(self, queue: str) -> None:
        """Purge a queue."""
        self._change(lambda paper: paper.purge(queue), lambda: self.broker.purge_queue(queue), durable=False)

    def advance(self, ms: int) -> None:
        """Let time pass."""
        self._change(lambda paper: paper.advance(ms), lambda: self.clock.advance(ms=ms), durable=False)

    def flush(self) -> None:
        """Flush: all that returned before is durable."""
        index = self.history.last
        self.broker.store.flush()
        self.history.promise(index, self.moment)

    def check(self) -> None:
        """The open broker shows what is on paper."""
        self.broker.store.flush()
        self.history.promise(self.history.last, self.moment)
        self.check_open(self.paper)

    def check_open(self, paper: Paper) -> None:
        """Raise `AssertionError` where the open broker differs from a paper, in what can be seen without taking it.

        What an error has put off is done when somebody looks at the queue: so all are looked at twice.
        """
        for name in paper.queues:
            self.broker.peek(name)
        for name, queue in paper.queues.items():
            found_bodies = [message.body for message in self.broker.peek(name, 1 << 20)]
            letters = [queue.letters[place] for place in queue.ready]
            bodies = [letter.body for letter in letters]
            if len({letter.deaths[:1] for letter in letters}) > 1:
                # Whose dead letters come first where several queues are looked after at a time is nobody's promise.
                found_bodies.sort()
                bodies.sort()
            assert found_bodies == bodies, name
        found = {one.name: one.message_count for one in self.broker.queues()}
        wanted = {name: len(queue.ready) for name, queue in paper.queues.items()}
        assert found == wanted, f"{found} wait instead of {wanted}"

    # Parts

    def _pick(self, queue: str, which: int) -> Held:
        return self.held[queue][which]

    def _settle(self, queue: str, which: int, change: Callable[[Paper], object], call: Callable[[], object]) -> None:
        self._change(change, call, durable=False)
        del self.held[queue][which]

    def _change(self, change: Callable[[Paper], object], call: Callable[[], object], *, durable: bool = True) -> None:
        after = self.paper.copy()
        change(after)
        with self._step(after, durable=durable):
            call()

    @contextmanager
    def _step(self, after: Paper, *, durable: bool = True) -> Iterator[None]:
        self.times.append((self.moment, after.now_ms))
        index = self.history.begin(after, self.moment)  # type: ignore[arg-type]
        try:
            yield
        except MsglogError as error:
            if error.outcome == "not_applied":
                self.history.abandon(index)
            raise
        self.paper = after
        self.history.wrote(index, self.moment, self.engine.commit_number)
        if durable and self.sync == "commit":
            self.history.promise(index, self.moment)
        if self.claiming:
            self.history.promise_up_to(int(self.engine.metrics()["durable_commits"]), self.moment)

    def now_at(self, moment: int) -> int:
        """Return a time of the clock at which a store may be opened after a crash at `moment`."""
        return max(now_ms for began, now_ms in self.times if began <= moment)


def recover_view(image: Image, now_ms: int, sync: Any = "commit", *, close: bool = False) -> View:
    """Open a broker on an image and look at everything in it."""
    filesystem = FaultyFileSystem(Disk(image, recording=False))
    return view_of(filesystem, now_ms, sync, close=close)


def view_of(filesystem: FaultyFileSystem, now_ms: int, sync: Any, *, close: bool = False) -> View:
    """Open a broker in a file system and look at everything in it; it is left as if it was killed."""
    clock = ManualClock(now_ms)
    broker = open_store(filesystem, clock, sync=sync).broker
    keep: list[Any] = []
    try:
        view = see(broker, clock, keep)
        if close:
            broker.close()
            broker.store.close()
    finally:
        bury(broker)
    return view


def check_view(history: History, found: View, moment: int, now_ms: int, *, killed: bool = False) -> int:
    """Return the index of the state found. Raises AssertionError if no crash at `moment` may lead to it."""
    least, most = history.least(moment, killed=killed), history.most(moment)
    steps: list[Any] = [step.state for step in history._steps]
    for index in range(most, least - 1, -1):
        if steps[index].view(now_ms) == found:
            return index
    elsewhere = [index for index, paper in enumerate(steps) if paper.view(now_ms) == found]
    if elsewhere:
        raise AssertionError(f"found state {elsewhere}, allowed are {least} to {most} of {history.last}")
    raise AssertionError(
        f"found a state that never was; allowed are {least} to {most} of {history.last}. To state {least}: "
        f"{steps[least].view(now_ms).difference(found)}. To state {most}: {steps[most].view(now_ms).difference(found)}"
    )


class BrokerCrashCheck:
    """Recovers images one by one, and remembers what equal trees led to at equal times."""

    MODES = ("commit", "interval", "none")

    def __init__(self, session: BrokerSession) -> None:
        self.tried = 0
        self._session = session
        self._known: dict[object, View] = {}

    @property
    def distinct(self) -> int:
        """How many different trees were recovered."""
        return len(self._known)

    def check(self, image: CrashImage) -> View:
        """Recover one image, in one mode or another, and check what it shows."""
        self.tried += 1
        now_ms = self._session.now_at(image.point)
        key = (image.key, now_ms)
        try:
            found = self._known.get(key)
            if found is None:
                number = self.distinct
                found = recover_view(image.build(), now_ms, self.MODES[number % 3], close=number % 8 == 0)
                self._known[key] = found
            check_view(self._session.history, found, image.point, now_ms, killed=image.killed)
        except Exception as error:
            raise AssertionError(f"{image}: {type(error).__name__}: {error}") from error
        return found

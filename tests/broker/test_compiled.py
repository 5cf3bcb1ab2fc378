"""The compiled short ways of the broker: what they leave in files and in memory is what the Python methods leave."""

import gc
import inspect
import pydoc
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

import msglog
from msglog import Broker, Store
from msglog.broker import compiled
from msglog.broker.delivery import Delivery
from msglog.broker.subscriber import Subscriber, Wait
from msglog.clock import ManualClock
from msglog.cursors import Cursor
from msglog.cursors import compiled as compiled_cursors
from msglog.errors import ConsumerCancelledError, MsglogError, SettlementError
from msglog.storage import Engine
from msglog.waiting import Waiter
from support.brokers import Call
from support.building import compile_quickly
from support.opcodes import Struck, is_finalizing
from support.scale import scaled
from support.session import small_limits
from support.telling import tell

try:
    from _testcapi import remove_mem_hooks, set_nomemory
except ImportError:
    remove_mem_hooks = set_nomemory = None

pytestmark = pytest.mark.skipif(
    not (compiled.is_compiled() and compiled_cursors.is_compiled()),
    reason="installed without the compiled short ways: no compiler, or no headers of Python",
)

STEPS = 300
SEEDS = 2
QUEUES: dict[str, dict[str, Any]] = {
    "plain": {},
    "other": {},
    "quorum": {"arguments": {"x-queue-type": "quorum"}, "delivery_limit": 2},
    "timed": {"message_ttl_ms": 40},
    "levels": {"max_priority": 3},
    "short": {"max_length": 3},
}
ROUTES = [
    *(("", name) for name in QUEUES),
    ("", "plain"),
    ("", "plain"),
    *[("amq.fanout", "")] * 3,
    ("", "nobody"),
    ("no", "x"),
]
LIMIT = 10_000
SIZES = [0, 1, 100, 1023, 1024, 1025, 9000]


@pytest.fixture(scope="module", autouse=True)
def _in_front():
    """The compiled methods, whatever the environment says."""
    with pytest.MonkeyPatch.context() as patch:
        _put_in_front(patch)
        yield


def _put_in_front(patch: pytest.MonkeyPatch, broker_module: Any = None, cursor_module: Any = None) -> None:
    for owner, name, method in compiled.short_ways(broker_module or compiled._compiled):
        patch.setattr(owner, name, method)
    patch.setattr(Cursor, "settle", compiled_cursors.short_way(cursor_module or compiled_cursors._compiled))


def _take_away(patch: pytest.MonkeyPatch) -> None:
    for owner, name, method in compiled.short_ways(compiled._compiled):
        patch.setattr(owner, name, method.__wrapped__)
    patch.setattr(Cursor, "settle", inspect.unwrap(Cursor.settle))


class Life:
    """A broker of its own that goes through steps, the same for the same seed."""

    def __init__(self, folder: Path, seed: int, way: str, patch: pytest.MonkeyPatch) -> None:
        self._dice = random.Random(seed)
        seeds = random.Random(seed)
        for module in [module for name, module in sys.modules.items() if name.startswith("msglog.storage")]:
            if getattr(module, "random_seed", None) is not None:
                patch.setattr(module, "random_seed", lambda: seeds.getrandbits(64))
        opens = Engine._open
        patch.setattr(Engine, "_open", lambda engine, models, **_: opens(engine, models, background=False))
        self.clock = ManualClock()
        self.store = (
            Store(":memory:", clock=self.clock, max_record_bytes=LIMIT)
            if way == "memory"
            else Store(folder, sync=way, clock=self.clock, max_record_bytes=LIMIT)
        )
        self.broker = Broker(self.store)
        for name in QUEUES:
            self._declare(name)
        self.held: list[Delivery] = []
        self.consumers: list[msglog.QueueConsumer] = []
        self.channel: msglog.Channel | None = None
        self.steps = [
            *[self._publish] * 8, *[self._get] * 8, *[self._ack] * 8, self._settle, self._advance, self._consume,
            self._take, self._take, self._take, self._close_consumer, self._push, self._declare_again,
            self._transaction, self._disturb, self._watch, self._policy,
        ]  # fmt: skip

    def moments(self) -> Iterator[object]:
        """Go through what seldom comes up at random, and yield what came of it."""
        broker, queue = self.broker, self.broker._vhost.queues["plain"]
        lane = queue.lanes[0]
        for size in (1, 2000, 1, 1):  # what is not kept leaves a gap behind it
            broker.publish("", "plain", bytes(size))
            yield self.state()
        yield _told(lambda: broker.publish("", "plain", bytes(LIMIT)))
        first, second, third = (broker.get("plain") for _ in range(3))
        broker.publish("", "plain", b"next")
        second.ack()  # out of order: it is done, and the first still in hand
        broker.get("plain").ack()
        yield self.state()
        first.nack()
        broker.publish("", "plain", b"behind")
        again = broker.get("plain")  # what came back goes first
        yield _seen(again), self.state()
        for delivery in (again, third, again):
            yield _told(delivery.ack), self.state()
        broker.get("plain").ack()
        with broker.consume("plain", prefetch_count=1) as consumer, broker.consume("plain", no_ack=True) as eager:
            for body in (b"one", b"two", b"three", b"four", b"five"):
                broker.publish("", "plain", body)
            one = consumer.get(0)
            yield _seen(consumer.get(0)), self.state()
            one.ack()
            late = consumer.get(0)
            yield _seen(late), _seen(eager.get(0)), self.state()
        yield _told(late.ack), self.state()
        lost, kept = broker.get("plain"), broker.get("plain")
        broker._vhost.give_back(queue, lane, lost._terms.subscriber, lost._stored)
        yield _told(lost.ack), _told(kept.ack), self.state()
        self._drain(queue)
        broker.publish("", "plain", b"settled as it is taken")
        yield _seen(broker.get("plain", no_ack=True)), self.state()
        yield self._in_line(queue), self._watched(queue)
        yield from self._copies(queue)
        lane.cursor.unsettled.clear()
        yield self.state()

    def _copies(self, queue: Any) -> Iterator[object]:
        """Publish to several queues that are read ahead, then to one, to none, and to one that hands out at once."""
        broker, other = self.broker, self.broker._vhost.queues["other"]
        broker.declare_exchange("several", "fanout")
        for one in (queue, other):
            self._drain(one)
            broker.bind(one.name, "several")
        for size in (1, 1024, 3, 4):
            yield broker.publish("several", "k", bytes(size)), self.state()
        yield [_seen(broker.get(one.name)) for one in (queue, other)], self.state()
        broker.unbind("plain", "several")
        yield broker.publish("several", "k", b"to one"), self.state()
        broker.unbind("other", "several")
        yield broker.publish("several", "k", b"to none"), self.state()
        for name in ("plain", "other"):
            broker.bind(name, "several")
        with broker.channel() as channel:
            channel.basic_consume("other", "pushed")
            for body in (b"the way is looked for", b"the way is known"):
                yield broker.publish("several", "k", body), self.state()
        yield self.state()

    def _in_line(self, queue: Any) -> object:
        """Somebody waits in line while a message comes that was acknowledged by another, and who is first is served."""
        broker, subscriber = self.broker, Subscriber(queue)
        self._drain(queue)
        for body in (b"one", b"two", b"three"):
            broker.publish("", queue.name, body)
        held = broker.get(queue.name)
        wait = Wait(subscriber, Waiter())
        subscriber.waits.append(wait)
        queue.join_line(wait)  # nobody was told yet
        told = [_seen(held), held.ack(), wait.taken is not None]
        wait.taken = None
        queue.join_line(wait)
        told += [queue.line.front is wait, _seen(broker.get(queue.name)), wait.taken is not None, self.state()]
        queue.leave_line(wait)
        subscriber.waits.remove(wait)
        broker._vhost.give_back_all(subscriber)
        return told

    def _drain(self, queue: Any) -> None:
        for delivery in iter(lambda: self.broker.get(queue.name), None):
            delivery.ack()

    def _watched(self, queue: Any) -> object:
        """Somebody waits for the queue to be idle, which the last acknowledgement makes it."""
        broker, waiter = self.broker, Waiter()
        self._drain(queue)
        broker.publish("", queue.name, b"last")
        delivery = broker.get(queue.name)
        queue.watchers.add(waiter)
        delivery.ack()
        queue.watchers.discard(waiter)
        return waiter.wait(0)

    def end(self) -> Iterator[object]:
        """Close the store under the broker, and yield what came of it."""
        self.broker.publish("", "plain", b"last")
        self.broker.publish("", "plain", b"last")
        delivery = self.broker.get("plain")
        self.store.close()
        for call in (lambda: self.broker.get("plain"), lambda: self.broker.publish("", "plain", b""), delivery.ack):
            yield _told(call), self.state()
        self.broker.close()

    def step(self) -> object:
        """Do something at random; return what came of it."""
        step = self._dice.choice(self.steps)
        try:
            return step.__name__, step()
        except MsglogError as error:
            return step.__name__, type(error), str(error)

    def _declare(self, name: str) -> None:
        self.broker.declare_queue(name, **QUEUES[name])
        if name in ("plain", "other"):
            self.broker.bind(name, "amq.fanout")

    def _publish(self) -> object:
        dice = self._dice
        exchange, key = dice.choice(ROUTES)
        body = bytes([dice.randrange(256)]) * dice.choice(SIZES)
        more: dict[str, Any] = dice.choice(
            [{}] * 8
            + [{"priority": 2}, {"expiration_ms": 5}, {"persistent": False}, {"mandatory": True}, {"delay_ms": 3}]
        )
        return self.broker.publish(exchange, key, body, **more)

    def _get(self) -> object:
        dice = self._dice
        return self._got(self.broker.get(dice.choice([*QUEUES, "plain", "plain"]), no_ack=dice.random() < 0.1))

    def _got(self, delivery: Delivery | None) -> object:
        if delivery is None:
            return None
        if not delivery.settled:
            self.held.append(delivery)
        return _seen(delivery)

    def _some(self) -> Delivery | None:
        if not self.held:
            return None
        place = self._dice.choice([0, 0, 0, -1, self._dice.randrange(len(self.held))])
        delivery = self.held[place]
        if self._dice.random() < 0.9:  # else it is tried again
            del self.held[place]
        return delivery

    def _ack(self) -> object:
        delivery = self._some()
        return None if delivery is None else (delivery.ack(), _seen(delivery))

    def _settle(self) -> object:
        delivery = self._some()
        if delivery is None:
            return None
        how = self._dice.choice(["nack", "reject", "later", "lose", "with"])
        if how == "with":
            with delivery:
                pass
        elif how == "later":
            delivery.nack(delay_ms=20)
        else:
            getattr(delivery, how)()
        return _seen(delivery)

    def _advance(self) -> None:
        self.clock.advance(ms=self._dice.choice([1, 10, 30]))

    def _consume(self) -> object:
        dice = self._dice
        name = dice.choice([*QUEUES, "plain"])
        self.consumers.append(
            self.broker.consume(name, prefetch_count=dice.choice([0, 1, 2]), no_ack=dice.random() < 0.1)
        )
        return name

    def _take(self) -> object:
        return self._got(self._dice.choice(self.consumers).get(0)) if self.consumers else None

    def _close_consumer(self) -> None:
        if self.consumers:
            self.consumers.pop(self._dice.randrange(len(self.consumers))).close()

    def _push(self) -> object:
        if self.channel is None:
            self.channel = self.broker.channel()
            self.channel.basic_qos(prefetch_count=1)
            self.channel.basic_consume("plain")
            return "pushed to"
        events = self.channel.poll()
        for event in events:
            if isinstance(event, msglog.broker.Deliver):
                self.channel.basic_ack(event.delivery_tag)
        if not events:
            self.channel.close()
            self.channel = None
        return len(events)

    def _declare_again(self) -> None:
        name = self._dice.choice(list(QUEUES))
        self.broker.delete_queue(name)
        self._declare(name)

    def _transaction(self) -> object:
        delivery = self._some()
        if delivery is None:
            return None
        commits = self._dice.random() < 0.5
        try:
            with self.store.transaction() as transaction:
                transaction.ack(delivery)
                with pytest.raises(SettlementError, match="part of a transaction"):
                    delivery.ack()
                if not commits:
                    raise Struck  # noqa: TRY301 what ends a transaction
        except Struck:
            pass
        return _seen(delivery)

    def _disturb(self) -> None:
        """What races leave: a buffer with messages twice, out of order, or without some."""
        dice = self._dice
        lane = self.broker._vhost.queues[dice.choice(["plain", "other"])].lanes[0]
        buffer = lane.buffer
        how = dice.randrange(4)
        if how == 0 and buffer:
            buffer.appendleft(buffer[0])
        elif how == 1 and len(buffer) > 1:
            buffer.rotate(1)
        elif how == 2 and buffer:
            buffer.popleft()
        else:
            lane.forget_buffer()

    def _watch(self) -> object:
        """Somebody waits for the queue to be idle."""
        waiter = Waiter()
        watchers = self.broker._vhost.queues["plain"].watchers
        watchers.add(waiter)
        try:
            return self._get(), self._ack(), self._ack(), waiter.wait(0)
        finally:
            watchers.discard(waiter)

    def _policy(self) -> None:
        """Routes that are remembered hold no longer."""
        if self._dice.random() < 0.5:
            self.broker.set_policy("p", "^other$", {"max_length": 2}, apply_to="queues")
        else:
            self.broker.delete_policy("p")

    def state(self) -> object:
        """Return all that the steps change in memory."""
        vhost = self.broker._vhost
        engine = vhost.engine
        getters = self.broker._connection.getters
        subscribers = [
            *((name, getter.subscriber) for name, getter in sorted(getters.items())),
            *((consumer.queue, consumer.subscriber) for consumer in self.consumers),
        ]
        names = {id(subscriber): place for place, (_, subscriber) in enumerate(subscribers)}
        return (
            engine.commit_number,
            engine.state_cost,
            vhost.lock.locked(),
            [queue.name for queue in vhost.news],
            [(name, one.unsettled, one.miscounted) for name, one in subscribers],
            [
                (queue.name, lane.cursor.pack(), lane.cursor.next, lane.buffered,
                 [(*one[:3], len(one[3])) for one in lane.buffer], lane.trim_check,
                 [(offset, names.get(id(holder))) for offset, holder in lane.cursor.unsettled.items()])
                for queue in vhost.queues.values()
                for lane in queue.lanes
            ],
        )  # fmt: skip


def _told(call: Callable[[], object]) -> object:
    try:
        return call()
    except MsglogError as error:
        return type(error)


def _seen(delivery: Delivery | None) -> object:
    if delivery is None:
        return None
    return (
        delivery.queue, delivery.body[:1], len(delivery.body), delivery.timestamp_ms,
        delivery.redelivered, delivery.delivery_count,
        delivery.exchange, delivery.routing_key, delivery.settled, delivery.pending, delivery._keeper is None,
        repr(delivery),
    )  # fmt: skip


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _live(
    folder: Path, seed: int, way: str, *, pure: bool, steps: int = STEPS
) -> tuple[list[object], dict[str, bytes]]:
    """Return what a life was like after each step, and its files in the end."""
    with pytest.MonkeyPatch.context() as patch, small_limits(_FEWEST_OPEN=64, _MOST_OPEN=64):
        if pure:
            _take_away(patch)
        life = Life(folder, seed, way, patch)
        try:
            story: list[object] = [*life.moments(), *((life.step(), life.state()) for _ in range(steps)), *life.end()]
        finally:
            life.broker.close()
            life.store.close()
    return story, _files(folder)


@pytest.mark.parametrize(("way", "seeds"), [("none", 4), ("memory", 4), ("interval", 2), ("commit", 1)])
def test_files_and_memory_are_those_that_python_makes(tmp_path, way, seeds, record_property):
    steps = 0
    for seed in range(scaled(seeds)):
        (told, files), (expected, expected_files) = (
            _live(tmp_path / f"{seed}-{pure}", seed, way, pure=pure) for pure in (False, True)
        )
        for step, (one, other) in enumerate(zip(told, expected, strict=True)):
            assert one == other, f"step {step} of seed {seed}"
        assert files == expected_files
        steps += len(told)
    tell(record_property, model_steps=steps)


def _left(patch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the name of each call that is left to Python."""
    left: list[str] = []

    def counted(name: str, slow: Callable[..., object]) -> Callable[..., object]:
        return lambda *given, **named: (left.append(name), slow(*given, **named))[1]

    for owner, name, method in compiled.short_ways(compiled._compiled):
        patch.setattr(owner, name, counted(f"{owner.__name__}.{name}", method.__wrapped__))
    settle = inspect.unwrap(Cursor.settle)
    patch.setattr(Cursor, "settle", counted("settle", settle))
    _put_in_front(patch)
    return left


@pytest.mark.parametrize("way", ["none", "memory", "commit"])
def test_nearly_every_call_goes_the_compiled_way(tmp_path, way, monkeypatch):
    left = _left(monkeypatch)
    options = {} if way == "memory" else {"sync": way}
    with Broker(":memory:" if way == "memory" else tmp_path / "s", **options) as broker:
        broker.declare_queue("q")
        with broker.consume("q") as consumer:
            for _ in range(200):
                broker.publish("", "q", b"body")
                broker.publish("", "q", b"body")
                broker.get("q").ack()
                consumer.get().ack()
    known = {"Publishing.publish": 1, "Consuming.get": 1}  # then the route and the terms are
    # With a journal the event itself is applied, as at replay.
    assert Counter(left) == known | ({"settle": 400} if way == "commit" else {})


@pytest.mark.parametrize("name", ["publish", "get", "ack", "get of a consumer"])
def test_a_compiled_method_shows_what_the_one_of_python_shows(name):
    owner, method, python = next(
        (owner, getattr(owner, attribute), method.__wrapped__)
        for owner, attribute, method in compiled.short_ways(compiled._compiled)
        if name in (attribute, f"{attribute} of a consumer" if owner is msglog.QueueConsumer else "")
    )
    assert method is not python
    assert inspect.signature(method) == inspect.signature(python)
    assert inspect.getdoc(method) == inspect.getdoc(python) != ""
    assert (method.__name__, method.__qualname__) == (python.__name__, python.__qualname__)
    assert method.__module__ == python.__module__
    assert method.__annotations__ == python.__annotations__
    assert inspect.isroutine(method)
    assert python.__doc__.strip().splitlines()[0] in pydoc.render_doc(owner)
    assert python.__qualname__ in repr(method)
    with pytest.raises(AttributeError, match="nothing"):
        method.nothing  # noqa: B018 the subject


def test_a_class_derived_from_broker_may_have_its_own_methods():
    class Counting(Broker):
        published = 0

        def publish(self, *given, **named):
            self.published += 1
            return super().publish(*given, **named)

        def get(self, *given, **named):
            return super().get(*given, **named)

    with Counting(":memory:") as broker:
        broker.declare_queue("q")
        for _ in range(3):
            assert broker.publish("", "q", b"body") == 1
            assert broker.publish(exchange="", routing_key="q", body=b"more", mandatory=True) == 1
            assert broker.get("q").body == b"body"
            assert broker.get(queue="q").body == b"more"
        assert broker.published == 6


WRONG_CALLS = {
    "publish": [
        lambda broker, _: broker.publish(), lambda broker, _: broker.publish("", "q"),
        lambda broker, _: broker.publish("", "q", b"", b""), lambda broker, _: broker.publish("", "q", "text"),
        lambda broker, _: broker.publish("", "q", None), lambda broker, _: broker.publish(None, "q", b""),
        lambda broker, _: broker.publish("", [], b""), lambda broker, _: broker.publish("", 5, b""),
        lambda broker, _: broker.publish("no", "q", b""), lambda broker, _: broker.publish("", "q" * 300, b""),
        lambda broker, _: broker.publish("", "q", b"", nothing=1), lambda _, __: Broker.publish(None, "", "q", b""),
        lambda _, __: Broker.publish(object(), "", "q", b""), lambda _, __: Broker.publish(),
        lambda broker, _: broker.publish("", "q", bytes(2 << 20)),
    ],
    "get": [
        lambda broker, _: broker.get(), lambda broker, _: broker.get("no"), lambda broker, _: broker.get(None),
        lambda broker, _: broker.get("q", 0), lambda broker, _: broker.get("q", timeout=-1),
        lambda broker, _: broker.get("q", timeout="0"),
        lambda broker, _: broker.get("q", no_ack=0), lambda broker, _: broker.get([]),
        lambda _, __: Broker.get(object(), "q"), lambda _, __: Broker.get(),
    ],
    "ack": [
        lambda _, delivery: delivery.ack(1), lambda _, delivery: delivery.ack(requeue=True),
        lambda _, __: Delivery.ack(), lambda _, __: Delivery.ack(None),
        lambda _, __: Delivery.ack(object()), lambda _, __: Delivery.ack(Delivery.__new__(Delivery)),
        lambda _, __: Delivery.ack(msglog.Message(b"")),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_CALLS)
def test_what_is_refused_is_refused_alike(name, monkeypatch):
    with Broker(":memory:", max_record_bytes=1 << 20) as broker:
        broker.declare_queue("q")
        for _ in range(3):
            broker.publish("", "q", b"body")
        delivery = broker.get("q")
        for call in WRONG_CALLS[name]:
            told = []
            for pure in (False, True):
                with monkeypatch.context() as patch:
                    if pure:
                        _take_away(patch)
                    with pytest.raises(Exception) as caught:  # noqa: PT011 whatever it is
                        call(broker, delivery)
                told.append((caught.type, str(caught.value)))
            assert told[0] == told[1]
        assert (broker._vhost.queues["q"].ready(), broker._vhost.queues["q"].unsettled()) == (2, 1)
        assert not delivery.settled


def test_a_closed_broker_and_a_deleted_queue_refuse():
    with Store(":memory:") as store:
        broker, other = Broker(store), Broker(store)
        for queue in ("q", "gone"):
            broker.declare_queue(queue)
            for _ in range(3):
                broker.publish("", queue, b"body")
        delivery, orphan = broker.get("q"), broker.get("gone")
        consumer = broker.consume("gone")
        consumer.get()
        broker.delete_queue("gone")
        for call in (orphan.ack, lambda: broker.get("gone"), consumer.get):
            with pytest.raises((SettlementError, msglog.QueueNotFoundError, ConsumerCancelledError)):
                call()
        assert broker.publish("", "gone", b"body") == 0
        broker.close()
        for call in (delivery.ack, lambda: broker.get("q"), lambda: broker.publish("", "q", b"body")):
            with pytest.raises((SettlementError, msglog.ClosedError)):
                call()
        assert [other.get("q").redelivered for _ in range(3)] == [True, False, False]


def test_an_acknowledgement_that_waits_for_the_lock_sees_what_became_of_its_delivery_meanwhile():
    def give_back(vhost: Any, delivery: Delivery) -> None:
        terms = delivery._terms
        vhost.give_back(terms.queue, delivery._lane, terms.subscriber, delivery._stored)

    def settled(_: Any, delivery: Delivery) -> None:
        delivery._settled = True

    def deleted(vhost: Any, delivery: Delivery) -> None:
        vhost.delete_queue(delivery._terms.queue)

    for meanwhile, told in ((give_back, "went back"), (settled, "settled already"), (deleted, "gone with its queue")):
        with Broker(":memory:") as broker:
            broker.declare_queue("q")
            broker.publish("", "q", b"body")
            delivery = broker.get("q")
            with broker._vhost.lock:
                call = Call(delivery.ack)
                time.sleep(0.02)
                meanwhile(broker._vhost, delivery)
            with pytest.raises(SettlementError, match=told):
                call.result()


def test_nothing_is_taken_while_somebody_has_the_lock():
    with Broker(":memory:") as broker:
        broker.declare_queue("q")
        for _ in range(2):
            broker.publish("", "q", b"body")
        broker.get("q").ack()
        with broker._vhost.lock:
            call = Call(lambda: broker.get("q"))
            time.sleep(0.02)
            assert broker._vhost.queues["q"].ready() == 1
        assert call.result().body == b"body"


@pytest.mark.parametrize("event", ["c_call", "c_return"])
@pytest.mark.parametrize("name", ["fill", "delivery_for_get", "delivery_for"])
@pytest.mark.parametrize("taker", ["broker", "consumer"])
def test_a_message_that_was_taken_when_a_handler_raises_comes_back(event, name, taker):
    """As a signal handler may, between a compiled call and what is done with what it returns."""

    def strike(_frame: Any, what: str, argument: Any) -> None:
        if what == event and getattr(argument, "__name__", "") == name:
            raise Struck

    with Broker(":memory:") as broker, broker.consume(broker.declare_queue("q").name) as consumer:
        queue = broker._vhost.queues["q"]
        get: Callable[[], Any] = consumer.get if taker == "consumer" else lambda: broker.get("q")
        for body in (b"first", b"body"):
            broker.publish("", "q", body)
        get().ack()
        before, struck = sys.getprofile(), False
        sys.setprofile(strike)
        try:
            delivery = get()
        except Struck:
            struck = True
        finally:
            sys.setprofile(before)
        assert struck is (name in ("fill", "delivery_for" if taker == "consumer" else "delivery_for_get"))
        if struck:
            assert (queue.ready(), queue.unsettled()) == (1, 0)
            assert not broker._vhost.lock.locked()
            delivery = get()
        was_taken = struck and name == "fill" and event == "c_return"
        assert (delivery.body, delivery.redelivered) == (b"body", was_taken)
        delivery.ack()
        assert queue.is_idle()


def _is_sound(broker: Broker, held: set[int]) -> bool:
    """Whether each offset is in exactly one place, those of `held` in hand, and all counts are right."""
    with broker._vhost.lock:
        for queue in broker._vhost.queues.values():
            for lane in queue.lanes:
                cursor = lane.cursor
                places = [*range(cursor.settled), *cursor.unsettled]
                places += [
                    offset for ranges in (cursor.done, cursor.returned) for one in ranges for offset in range(*one)
                ]
                if sorted(places) != list(range(cursor.next)) or (queue.name == "q" and set(cursor.unsettled) != held):
                    return False
        subscribers = [getter.subscriber for getter in broker._connection.getters.values()]
        return all(one.miscounted or one.unsettled == one.queue.unsettled() for one in subscribers)


def _fails(broker: Broker, number: int, call: Callable[[], object]) -> bool:
    """Make a call whose allocation `number` fails; return whether it had so many."""
    set_nomemory(number, number + 1)
    try:
        call()
    except MemoryError:
        remove_mem_hooks()
    else:
        remove_mem_hooks()
        return False
    engine = broker._vhost.engine
    with engine.lock:
        engine.clear_obstacle()
    return True


def _failures(broker: Broker) -> int:
    """Let each of the first allocations of each call fail, and return how many did."""
    failures = 0
    publish: Callable[[], object] = lambda: broker.publish("", "q", b"body")  # noqa: E731 one allocation less
    for number in range(30):
        failures += _fails(broker, number, publish)
        publish()
    taken: list[Any] = [None]

    def take() -> None:
        taken[0] = None
        taken[0] = broker.get("q")

    for number in range(30):
        failures += _fails(broker, number, take)
        held = set() if taken[0] is None else {taken[0]._stored.offset}
        assert _is_sound(broker, held), number
        if taken[0] is not None:
            failures += _fails(broker, number, taken[0].ack)
            _settle_again(taken[0])
    while (delivery := broker.get("q")) is not None:
        _settle_again(delivery)
    assert _is_sound(broker, set())
    return failures


def _settle_again(delivery: Delivery) -> None:
    """Settle what may be settled already: the failure came after its commit."""
    try:
        delivery.ack()
    except SettlementError:
        pass


@pytest.mark.skipif(set_nomemory is None, reason="this Python has no `_testcapi`")
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="3.12 and 3.13 crash by themselves when they have no memory")
def test_each_allocation_may_fail_and_nothing_is_half_done_or_leaked(tmp_path, record_property):
    with Broker(tmp_path / "s", sync="none") as broker:
        broker.declare_queue("q")
        broker.publish("", "q", b"body")
        broker.get("q").ack()
        failed = sum(_failures(broker) for _ in range(4))
        gc.collect()
        before = sys.getallocatedblocks()
        failed += sum(_failures(broker) for _ in range(6))
        gc.collect()
        assert sys.getallocatedblocks() - before < 200
        assert failed > 10 * 20
        assert not list(broker.store.verify())
    tell(record_property, failed_allocations=failed)


def test_signal_handlers_that_raise_leave_nothing_in_hand_that_nobody_has(tmp_path, record_property):
    def strike(_number: int, frame: Any) -> None:
        nonlocal active
        if active and not is_finalizing(frame):
            active = False
            raise Struck

    active = False
    interrupts, held, wanted = 0, [], scaled(400)
    with Store(tmp_path / "s", sync="none") as store:
        broker = store.broker
        broker.declare_queue("q")
        before = signal.signal(signal.SIGALRM, strike)
        signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.00013)
        try:
            while interrupts < wanted:
                delivery = None
                try:
                    active = True
                    broker.publish("", "q", b"body")
                    delivery = broker.get("q")
                    delivery.ack()
                    active = False
                except Struck:
                    active = False
                    interrupts += 1
                if delivery is not None and delivery.pending:
                    held.append(delivery)
        finally:
            active = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        cursor = broker._vhost.queues["q"].lanes[0].cursor
        offsets = {delivery._stored.offset for delivery in held if delivery._stored.offset in cursor.unsettled}
        assert _is_sound(broker, offsets)
        assert not broker._vhost.lock.locked()
        for delivery in held:
            _settle_again(delivery)
        while (delivery := broker.get("q")) is not None:
            delivery.ack()
        assert broker._vhost.queues["q"].is_idle()
        assert {problem.message for problem in store.verify()} <= {"nothing knows this file"}
    tell(record_property, interrupts=interrupts)


def test_threads_share_messages_and_none_gets_one_twice(tmp_path):
    with Store(tmp_path / "s", sync="none") as store:
        broker = store.broker
        broker.declare_queue("q")
        taken: list[bytes] = []

        def publish(number: int) -> None:
            for count in range(500):
                broker.publish("", "q", b"%d %d" % (number, count))

        def take() -> None:
            while len(taken) < 1000:
                delivery = broker.get("q")
                if delivery is not None:
                    delivery.ack()
                    taken.append(delivery.body)

        works = [*(threading.Thread(target=publish, args=(number,)) for number in range(2)),
                 *(threading.Thread(target=take) for _ in range(2))]  # fmt: skip
        for thread in works:
            thread.start()
        for thread in works:
            thread.join()
        assert sorted(taken) == sorted(b"%d %d" % (number, count) for number in range(2) for count in range(500))
        assert broker._vhost.queues["q"].is_idle()
        assert _is_sound(broker, set())


def test_nothing_is_leaked(tmp_path):
    with Store(tmp_path / "s", sync="none") as store:
        broker = store.broker
        broker.declare_queue("q")
        consumer = broker.consume("q")

        def work(times: int) -> None:
            for _ in range(times):
                for get in (lambda: broker.get("q"), lambda: consumer.get(0)):
                    broker.publish("", "q", b"body")
                    get().ack()
                    assert get() is None

        work(1000)
        before = sys.getallocatedblocks()
        work(1000)
        assert sys.getallocatedblocks() - before < 500
        consumer.close()


def test_what_a_deliverys_parts_live_for_is_the_delivery():
    """No reference is kept or lost: what a delivery refers to is counted as in Python."""
    counts = []
    for pure in (False, True):
        with pytest.MonkeyPatch.context() as patch, Broker(":memory:") as broker:
            if pure:
                _take_away(patch)
            broker.declare_queue("q")
            for _ in range(4):
                broker.publish("", "q", bytes(40))
            broker.get("q").ack()
            delivery = broker.get("q")
            parts = [delivery._terms, delivery._lane, delivery._stored, delivery._terms.subscriber, delivery.body]
            counts.append([sys.getrefcount(part) for part in parts] + [sys.getrefcount(delivery)])
            delivery.ack()
            counts[-1] += [sys.getrefcount(part) for part in parts]
    assert counts[0] == counts[1]


def test_the_machines_clock_is_read_as_python_reads_it():
    with Broker(":memory:") as broker:
        broker.declare_queue("q")
        before = time.time_ns() // 1_000_000
        for _ in range(3):
            broker.publish("", "q", b"body")
        after = time.time_ns() // 1_000_000
        for _ in range(3):
            assert before <= broker.get("q").timestamp_ms <= after


def test_a_module_that_was_made_of_another_source_is_not_used(monkeypatch, tmp_path):
    for module in (compiled, compiled_cursors):
        assert module.is_compiled()
        monkeypatch.setattr(module, "SOURCE", tmp_path / "none.c")
        assert module.is_compiled(), "as in a wheel, which has no source"
        (tmp_path / "none.c").write_text("something else")
        assert not module.is_compiled()
        (tmp_path / "none.c").unlink()


def test_what_is_not_wanted_is_not_put_in_front(monkeypatch):
    _take_away(monkeypatch)
    monkeypatch.setenv("MSGLOG_PURE_PYTHON", "1")
    pure = [Broker.publish, Broker.get, Delivery.ack, msglog.QueueConsumer.get, Cursor.settle]
    compiled.put_in_front()
    compiled_cursors.put_in_front()
    assert [Broker.publish, Broker.get, Delivery.ack, msglog.QueueConsumer.get, Cursor.settle] == pure


MUTATIONS = [
    ("PyBytes_GET_SIZE(body) > number_in(route, Route.limit)", "0"),
    ("|| number_in(route, Route.version) != number_in(AT(Handle, handle, _model), Model.version)\n        ||", "||"),
    ("|| number != number_in(lane, Lane.buffered)", ""),
    ("|| PyBytes_GET_SIZE(body) > kept_bytes", ""),
    ("if (none != NULL) set_slot(lane, Lane.buffered, next);", ""),
    ("PyTuple_GET_SIZE(AT(Route, route, pushed)) > 0", "0"),
    ("PyList_GET_ITEM(offsets, place), now_ms", "PyList_GET_ITEM(offsets, 0), now_ms"),
    ("PyTuple_GET_SIZE(AT(Route, route, lanes)) : 1", "1 : 1"),
    ("if (AT(Terms, terms, no_ack) != Py_False) Py_RETURN_NONE;", ""),
    ("args[3] != Py_False || ", ""),
    ("AT(Line, AT(Queue, queue, line), front) != Py_None", "0"),
    ("(prefetch == 0 || number_in(subscriber, Subscriber.unsettled) < prefetch)", "1"),
    ("if (settled == next) return 1;", "return 1;"),
    ("if (found == offset) return stored;", "return stored;"),
    ("set_slot(cursor, Cursor.next, next);", ""),
    ("set_slot(subscriber, Subscriber.unsettled, more);", ""),
    ("if (AT(Delivery, hand->delivery, _settled) != Py_False) return FOR_PYTHON;", ""),
    ("if (holder != hand->subscriber)", "if (0)"),
    ("set_slot(hand->subscriber, Subscriber.unsettled, fewer);", ""),
    ("set_slot(hand->delivery, Delivery._settled, Py_True);", ""),
    ("if (number_of(hand->offset) >= number_in(hand->lane, Lane.trim_check))", "if (0)"),
    ("PySet_GET_SIZE(AT(Queue, hand->queue, watchers)) == 0", "1"),
    ("&& AT(Line, AT(Queue, hand->queue, line), front) == Py_None", ""),
]
"""Steps of the source that something depends on, and what stands there when they are forgotten or wrong."""

CURSOR_MUTATIONS = [
    ("first != number_in(cursor, cursor_slot.settled) || ", ""),
    ("|| !nothing_done(cursor)", ""),
    ("set_slot(cursor, cursor_slot.settled, args[2]);", ""),
    ("set_slot(cursor, cursor_slot.noted_next, SLOT(cursor, cursor_slot.next));", ""),
    ("|| PyDict_GET_SIZE(SLOT(cursor, cursor_slot.deliveries)) != 0", ""),
    ("if (PyDict_DelItem(unsettled, args[1]) < 0)", "if (0)"),
]


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return [_live(tmp_path_factory.mktemp("expected") / "s", seed, "memory", pure=True) for seed in range(SEEDS)]


def _lives(broker_module: Any, cursor_module: Any, folder: Path) -> Iterator[object]:
    with pytest.MonkeyPatch.context() as patch:
        _put_in_front(patch, broker_module, cursor_module)
        for seed in range(SEEDS):
            yield _live(folder / f"{seed}", seed, "memory", pure=False)


def _loaded(folder: Path, source: str, package: str) -> Any:
    (folder / "_compiled.c").write_text(source)
    spec = spec_from_file_location(f"msglog.{package}._compiled", compile_quickly(folder / "_compiled.c"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("package", "old", "new"),
    [*(("broker", *one) for one in MUTATIONS), *(("cursors", *one) for one in CURSOR_MUTATIONS)],
)
def test_each_step_of_the_source_is_missed_when_it_is_wrong(package, old, new, expected, tmp_path, record_property):
    source = (compiled if package == "broker" else compiled_cursors).SOURCE.read_text()
    assert source.count(old) == 1
    mutant = _loaded(tmp_path, source.replace(old, new), package)
    mutants = (mutant, None) if package == "broker" else (None, mutant)
    try:
        found_out = any(one != other for one, other in zip(_lives(*mutants, tmp_path), expected, strict=True))
    except BaseException:  # noqa: BLE001 an error that no life has, or an expected one that did not come
        found_out = True
    assert found_out
    tell(record_property, mutants_killed=1)


def test_the_source_as_it_is_passes_the_same_check(expected, tmp_path):
    assert list(_lives(None, None, tmp_path)) == expected

"""What a call that waits takes when it is woken, compiled: it leaves what the Python methods leave."""

import gc
import inspect
import random
import sys
import threading
from collections import Counter

import pytest

from msglog import Broker
from msglog.broker import compiled
from msglog.broker.consumer import Taking
from msglog.broker.subscriber import Subscriber, Wait
from msglog.clock import ManualClock
from msglog.errors import MsglogError
from msglog.waiting import Waiter
from support.brokers import wait_until
from support.mutants_of_c import compile_mutants, load_mutant
from support.opcodes import TELLS_RETURNS, Striker, Struck
from support.scale import scaled
from support.telling import tell

try:
    from _testcapi import remove_mem_hooks, set_nomemory
except ImportError:
    remove_mem_hooks = set_nomemory = None

pytestmark = pytest.mark.skipif(
    not compiled.is_compiled(), reason="installed without the compiled short ways: no compiler, or no headers of Python"
)

METHODS = ("_take_in_turn", "wake")
QUEUES = {"plain": {}, "quorum": {"delivery_limit": 2}, "timed": {"message_ttl_ms": 40}, "levels": {"max_priority": 2}}
TERMS = [{}, {}, {"prefetch": 1}, {"no_ack": True}, {"registered": False}]


def _ways(module=None):
    return [one for one in compiled.short_ways(module or compiled._compiled) if one[1] in METHODS]


@pytest.fixture(scope="module", autouse=True)
def _in_front():
    """The compiled methods, whatever the environment says."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name, method in compiled.short_ways(compiled._compiled):
            patch.setattr(owner, name, method)
        yield


def _take_away(patch):
    for owner, name, method in _ways():
        patch.setattr(owner, name, method.__wrapped__)


def _left(patch, module=None):
    """Put the methods of a module in front; return a list that gets the name of each call that is left to Python."""
    left = []

    def counted(name, slow):
        return lambda *given: (left.append(name), slow(*given))[1]

    for owner, name, method in _ways():
        patch.setattr(owner, name, counted(name, method.__wrapped__))
    for owner, name, method in _ways(module):
        patch.setattr(owner, name, method)
    return left


class Life:
    """A broker with calls that wait, which go through steps, the same for the same seed."""

    def __init__(self, seed=0):
        self._dice = random.Random(seed)
        self.clock = ManualClock()
        self.broker = Broker(":memory:", clock=self.clock)
        self.vhost = self.broker._vhost
        self.takings, self.waits, self.held = [], [], []
        for name, options in QUEUES.items():
            self.broker.declare_queue(name, **options)
        self.queue = self.vhost.queues["plain"]
        for terms in TERMS:
            self.taking(**terms)
        for name in ("quorum", "timed", "levels"):
            self.takings.append(Taking(self.vhost, Subscriber(self.vhost.queues[name])))
        self.steps = [
            *[self._publish] * 8, *[self._join] * 6, *[self._look] * 8, self._leave, *[self._ack] * 3, self._nack,
            self._get, self._advance, self._disturb, self._abandon, self._stop,
        ]  # fmt: skip

    def taking(self, **terms):
        made = Taking(self.vhost, Subscriber(self.queue, **terms))
        self.takings.append(made)
        return made

    def join(self, taking):
        wait = Wait(taking.subscriber, Waiter())
        taking.join(wait)
        self.waits.append((taking, wait))
        return wait

    def moments(self):
        """Go through what seldom comes up at random, and yield what came of it."""
        publish = self.broker.publish
        for terms in TERMS:
            taking = self.taking(**terms)
            yield self._served(taking), self._served(taking)
            self._give_up()
        taking = self.taking()
        one, other = self.join(taking), self.join(taking)
        publish("", "plain", b"two wait")
        yield self.state(), taking.look(other), taking.look(one), self.state()
        self._give_up()
        one, other = self.join(taking), self.join(self.takings[0])
        publish("", "plain", b"two consumers wait")
        yield taking.look(one), self.state()
        self._give_up()
        wait = self.join(taking)
        yield taking.look(wait), self.state()  # nothing has come
        publish("", "plain", bytes(3000))  # not kept in memory
        yield taking.look(wait), self.state()
        self._give_up()
        wait = self.join(taking)
        publish("", "plain", b"others have news")
        self.vhost.news[self.vhost.queues["quorum"]] = None
        yield taking.look(wait), self.state()
        self._give_up()
        yield from self._others(taking)

    def _others(self, taking):
        publish = self.broker.publish
        for one in (taking, self.taking(registered=False)):
            wait = self.join(one)
            publish("", "plain", b"miscounted")
            one.subscriber.unsettled, one.subscriber.miscounted = 5, True
            yield one.look(wait), self.state()
            self._give_up()
        wait = self.join(taking)
        publish("", "plain", b"others left something behind")
        self.vhost.has_abandoned = True
        yield taking.look(wait), self.state()
        self._give_up()
        first, wait = self._published(), self.join(taking)
        publish("", "plain", b"behind what comes back")
        with self.vhost.lock:
            first._lane.give_back(first._stored[0], len(first.body))
        yield taking.look(wait), self.state()
        self._give_up()
        wait = self.join(taking)
        publish("", "plain", b"another is active")
        self.queue.active = self.takings[0].subscriber
        yield taking.look(wait), self.state()
        self.queue.active = None
        yield taking.look(wait), self.state()
        self._give_up()
        wait = self.join(taking)
        publish("", "plain", b"returned meanwhile")
        publish("", "plain", b"behind it")
        returned = self.broker.get("plain")
        yield taking.look(wait) if wait.taken is None else None, self.state()
        if returned is not None:
            returned.nack()
        self._give_up()
        first = self.broker.get("plain") or self._published()
        wait = self.join(taking)
        first.nack()
        yield self.state(), _told(lambda: taking.look(wait)) if wait.taken is None else None, self.state()

    def _published(self):
        self.broker.publish("", "plain", b"published")
        return self.broker.get("plain")

    def _served(self, taking):
        """Wait, and take what comes."""
        wait = self.join(taking)
        self.broker.publish("", "plain", b"for who waits")
        before = self.state()
        return before, _told(lambda: taking.look(wait)), self.state()

    def _give_up(self):
        """Have nobody wait, and nobody hold anything."""
        for taking, wait in self.waits:
            taking.leave(wait, keep=True)
        self.waits.clear()
        with self.vhost.lock:
            for taking in self.takings:
                self.vhost.give_back_all(taking.subscriber)
            self.vhost.attend()
        while (delivery := self.broker.get("plain")) is not None:
            delivery.ack()

    def step(self):
        """Do something at random; return what came of it."""
        step = self._dice.choice(self.steps)
        return step.__name__, _told(step)

    def _publish(self):
        dice = self._dice
        more = dice.choice([{}, {}, {}, {"priority": 1}, {"expiration_ms": 5}, {"delay_ms": 3}])
        body = bytes(dice.choice([0, 10, 1024, 1025]))
        return self.broker.publish("", dice.choice(["plain"] * 6 + list(QUEUES)), body, **more)

    def _join(self):
        if len(self.waits) < 3:
            self.join(self._dice.choice([*self.takings[:2] * 3, *self.takings]))

    def _pick(self):
        return self.waits[self._dice.randrange(len(self.waits))] if self.waits else None

    def _look(self):
        picked = self._pick()
        if picked is None:
            return None
        taking, wait = picked
        done = wait.taken is not None or taking.look(wait)
        if done:
            if wait.taken is not None and wait in taking.subscriber.waits:
                taking.leave(wait, keep=True)
            self.waits.remove(picked)
            if not taking.subscriber.no_ack:
                self.held.append((taking, wait.taken))
        return done, None if wait.taken is None else (wait.taken[1][0], *wait.taken[2:])

    def _leave(self):
        picked = self._pick()
        if picked is not None:
            picked[0].leave(picked[1], keep=False)
            self.waits.remove(picked)

    def _ack(self):
        if self.held:
            taking, (lane, stored, *_) = self.held.pop(0)
            queue = taking.subscriber.queue
            with self.vhost.lock:
                self.vhost.give_back(queue, lane, taking.subscriber, stored)
                self.vhost.attend()

    def _nack(self):
        delivery = self.broker.get("plain")
        if delivery is not None:
            delivery.nack()

    def _get(self):
        delivery = self.broker.get("plain")
        if delivery is None:
            return None
        delivery.ack()
        return len(delivery.body)

    def _advance(self):
        self.clock.advance(ms=self._dice.choice([1, 10, 30]))

    def _disturb(self):
        lane = self.queue.lanes[0]
        if self._dice.random() < 0.5:
            lane.forget_buffer()
        elif lane.buffer:
            lane.buffer.appendleft(lane.buffer[0])

    def _abandon(self):
        self.vhost.abandon(lambda: None, self.queue.line)

    def _stop(self):
        self.queue.line.wake()

    def state(self):
        """Return all that the steps change in memory."""
        names = {id(wait): place for place, (_, wait) in enumerate(self.waits)}
        holders = {id(taking.subscriber): place for place, taking in enumerate(self.takings)}
        return (
            self.vhost.lock.locked(), self.vhost.has_abandoned, [queue.name for queue in self.vhost.news],
            [(one.subscriber.unsettled, one.subscriber.miscounted, [names.get(id(it)) for it in one.subscriber.waits])
             for one in self.takings],
            [(None if wait.taken is None else (type(wait.taken), wait.taken[0] is self.queue.simple, wait.taken[1][:2],
              wait.taken[2:]), wait.over, wait.in_line, wait.wake.__self__.wait(0)) for _, wait in self.waits],
            [([names.get(id(one)) for one in queue.line.takers], names.get(id(queue.line.front)),
              [(lane.cursor.pack(), lane.cursor.next, len(lane.buffer), lane.buffered, len(lane.stream.waiters),
                [(offset, holders.get(id(holder))) for offset, holder in lane.cursor.unsettled.items()])
               for lane in queue.lanes])
             for queue in self.vhost.queues.values()],
        )  # fmt: skip


def _told(call):
    try:
        return call()
    except MsglogError as error:
        return type(error), str(error)


def _live(seed, *, pure, steps, module=None):
    """Return what a life was like after each step, and how often something was left to Python."""
    with pytest.MonkeyPatch.context() as patch:
        left = _left(patch, module)
        if pure:
            _take_away(patch)
        life = Life(seed)
        with life.broker:
            story = [*life.moments(), *((life.step(), life.state()) for _ in range(steps))]
    return story, left


def test_what_is_returned_and_left_is_what_python_makes(record_property):
    steps = 0
    for seed in range(scaled(6)):
        (told, _), (expected, _) = (_live(seed, pure=pure, steps=200) for pure in (False, True))
        for step, (one, other) in enumerate(zip(told, expected, strict=True)):
            assert one == other, f"step {step} of seed {seed}"
        steps += len(told)
    tell(record_property, model_steps=steps)


@pytest.mark.parametrize("way", ["get", "callback"])
@pytest.mark.parametrize("sync", ["memory", "none"])
def test_nearly_every_wake_goes_the_compiled_way(tmp_path, way, sync, monkeypatch):
    left, here = _left(monkeypatch), threading.Semaphore(0)
    options = {} if sync == "memory" else {"sync": sync}
    with Broker(":memory:" if sync == "memory" else tmp_path / "s", **options) as broker:
        broker.declare_queue("q")
        queue = broker._vhost.queues["q"]

        def send():
            for _ in range(50):
                wait_until(lambda: queue.line.front is not None)
                broker.publish("", "q", b"body")
                assert here.acquire(timeout=10)

        if way == "callback":
            with broker.subscribe("q", lambda _: here.release()):
                send()
        else:
            with broker.consume("q") as consumer:

                def receive():
                    for delivery in consumer:
                        delivery.ack()
                        here.release()

                thread = threading.Thread(target=receive)
                thread.start()
                send()
                consumer.stop()
                thread.join()
    assert Counter(left).keys() <= {"_take_in_turn"}
    assert len(left) <= 3


def test_a_compiled_method_shows_what_the_one_of_python_shows():
    for owner, name, method in _ways():
        python = method.__wrapped__
        assert method is not python
        assert inspect.isfunction(method)
        assert inspect.signature(method) == inspect.signature(python)
        assert inspect.getdoc(method) == inspect.getdoc(python)
        assert (method.__name__, method.__qualname__) == (name, python.__qualname__)
        assert owner.__dict__[name].__wrapped__ is python
        for given in ((), (object(),), (None, 1, 2)):
            with pytest.raises((TypeError, AttributeError)):
                method(*given)


@pytest.mark.skipif(set_nomemory is None, reason="this Python has no `_testcapi`")
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="3.12 and 3.13 crash by themselves when they have no memory")
def test_each_allocation_may_fail_and_nothing_is_half_done_or_leaked(record_property):
    def fail(number):
        consumer.taking.join(wait := Wait(consumer.subscriber, Waiter()))
        broker.publish("", "q", b"body")
        set_nomemory(number, number + 1)
        try:
            with broker._vhost.lock:
                taken = consumer.taking._take_in_turn(queue, wait)
        except MemoryError:
            remove_mem_hooks()
            consumer.taking.leave(wait, keep=False)  # as the call does that waits
            taken = None
        remove_mem_hooks()
        assert (consumer.subscriber.waits, queue.line.takers, queue.lanes[0].stream.waiters) == ([], (), set())
        assert consumer.subscriber.unsettled == queue.unsettled() == (taken is not None)
        if taken is not None:
            with broker._vhost.lock:
                broker._vhost.give_back(queue, wait.taken[0], consumer.subscriber, wait.taken[1])
        broker.get("q").ack()
        assert queue.is_idle()
        return taken is None

    with Broker(":memory:") as broker, broker.consume(broker.declare_queue("q").name) as consumer:
        queue = broker._vhost.queues["q"]
        failed = sum(fail(number) for _ in range(3) for number in range(12))
        gc.collect()
        before = sys.getallocatedblocks()
        failed += sum(fail(number) for _ in range(6) for number in range(12))
        gc.collect()
        assert sys.getallocatedblocks() - before < 200
        assert failed > 9 * 2
    tell(record_property, failed_allocations=failed)


def test_nothing_is_leaked_or_kept():
    counts = []
    for pure in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if pure:
                _take_away(patch)
            with Broker(":memory:") as broker, broker.consume(broker.declare_queue("q").name) as consumer:
                taking, queue = consumer.taking, broker._vhost.queues["q"]

                def serve(body, broker=broker, taking=taking):
                    taking.join(wait := Wait(taking.subscriber, Waiter()))
                    broker.publish("", "q", body)
                    assert taking.look(wait)
                    return wait

                def work(times, serve=serve, broker=broker, taking=taking, queue=queue):
                    for _ in range(times):
                        wait = serve(b"body")
                        broker._vhost.give_back(queue, wait.taken[0], taking.subscriber, wait.taken[1])
                        broker.get("q").ack()

                work(300)
                before = sys.getallocatedblocks()
                work(300)
                assert sys.getallocatedblocks() - before < 100
                body = bytes(50)
                wait = serve(body)
                parts = (*wait.taken[:2], wait, wait.taken, body, taking.subscriber, queue.line, queue)
                counts.append([sys.getrefcount(part) for part in parts])
                del parts
    assert counts[0] == counts[1]


class _Publishing(Waiter):
    """Who waits here publishes the next message, and has waited."""

    __slots__ = ()
    publish = None

    def wait(self, timeout):  # noqa: ARG002
        type(self).publish()
        return True


def _interrupted(broker, strike_at):
    """Interrupt calls that wait for their messages, and see that none is lost or handed out twice."""
    striker, got = Striker("msglog/broker/", strike_at), []
    queue = broker._vhost.queues["q"]
    with broker.consume("q") as consumer:
        try:
            with striker.striking():
                for _ in range(2):
                    delivery = consumer.get()
                    got.append(delivery)
                    delivery.ack()
        except Struck:
            assert not broker._vhost.lock.locked(), striker.place
        assert not queue.line.takers, striker.place
        assert not consumer.subscriber.waits, striker.place
        in_hand = sum(delivery.pending for delivery in got)
        assert queue.unsettled() == in_hand, striker.place
        for delivery in got:
            if delivery.pending:
                delivery.ack()
        while (delivery := consumer.get(0)) is not None:
            got.append(delivery)
            delivery.ack()
        assert queue.is_idle(), striker.place
    offsets = [delivery._stored.offset for delivery in got]
    assert offsets == sorted(set(offsets)), striker.place
    assert offsets[-1:] == [queue.lanes[0].stream.end - 1][: len(offsets)], striker.place
    return striker


@pytest.mark.skipif(not TELLS_RETURNS, reason="where handlers run is known of these versions")
@pytest.mark.parametrize("pure", [False, True])
def test_an_interrupt_anywhere_around_a_wake_costs_no_message(pure, monkeypatch, record_property):
    monkeypatch.setattr("msglog.broker.consumer.Waiter", _Publishing)
    if pure:
        _take_away(monkeypatch)
    with Broker(":memory:") as broker:
        broker.declare_queue("q")
        monkeypatch.setattr(_Publishing, "publish", lambda: broker.publish("", "q", b"body"))
        places = _interrupted(broker, Striker.NEVER).seen
        for at in range(places):
            _interrupted(broker, at)
    assert places > 60
    tell(record_property, interrupts=places)


MUTATIONS = [
    ("AT(Line, line, front) == wait", "1"),
    ("PyTuple_GET_SIZE(takers) == 1", "1"),
    ("AT(Vhost, vhost, has_abandoned) == Py_False", "1"),
    ("AT(Subscriber, subscriber, no_ack) == Py_False", "1"),
    ("AT(Subscriber, subscriber, miscounted) != Py_True", "1"),
    ("has_room(subscriber, queue)", "1"),
    ("!is_next(cursor, AT(Lane, lane, stream), next)", "0"),
    ("set_slot(wait, Wait.taken, taken);", ""),
    ("set_slot(wait, Wait.over, Py_True);", ""),
    ("set_slot(wait, Wait.in_line, Py_False);", ""),
    ("set_slot(line, Line.takers, nobody);", ""),
    ("set_slot(line, Line.front, Py_None);", ""),
    ("PyList_SetSlice(AT(Subscriber, subscriber, waits), 0, 1, NULL) < 0", "0"),
    ("forget_line(queue) < 0", "0"),
    ("PyDict_GET_SIZE(AT(Vhost, AT(Taking, args[0], vhost), news)) == 0", "1"),
    ("PyObject_CallNoArgs(call)", "Py_NewRef(call)"),
]
"""Steps of the source that something depends on, and what stands there when they are forgotten or wrong."""


@pytest.fixture(scope="module")
def mutants(tmp_path_factory):
    return compile_mutants(compiled.SOURCE, MUTATIONS, tmp_path_factory.mktemp("mutants"))


@pytest.fixture(scope="module")
def expected():
    return _live(1, pure=False, steps=100)


@pytest.mark.parametrize("number", range(-1, len(MUTATIONS)))
def test_each_step_of_the_source_is_missed_when_it_is_wrong(number, mutants, expected, tmp_path, record_property):
    """But for the first one, which is the source as it is."""
    mutant = load_mutant(mutants, number, "broker", tmp_path)
    try:
        found_out = _live(1, pure=False, steps=100, module=mutant) != expected
    except Exception:  # noqa: BLE001 as good as another story
        found_out = True
    assert found_out is (number >= 0), MUTATIONS[number]
    if number >= 0:
        tell(record_property, mutants_killed=1)

"""Collecting and deciding in C: what is left in files and in memory is what the Python methods leave, step by step."""

import asyncio
import gc
import inspect
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

import msglog
from msglog import Store, TopicPartition
from msglog.broker.staging import BrokerStage
from msglog.broker.vhost import PERSISTENT
from msglog.clock import ManualClock
from msglog.errors import MsglogError
from msglog.storage import Engine
from msglog.storage.filesystem.posix import OSFile
from msglog.transactions import compiled
from msglog.transactions.collecting import State
from msglog.types import Record
from support.mutants_of_c import compile_mutants, load_mutant
from support.opcodes import Struck, is_finalizing
from support.scale import scaled
from support.session import small_limits
from support.telling import tell

try:
    from _testcapi import remove_mem_hooks, set_nomemory
except ImportError:
    remove_mem_hooks = set_nomemory = None

pytestmark = pytest.mark.skipif(
    not compiled.is_compiled(), reason="installed without the compiled methods: no compiler, or no headers of Python"
)

FOLDER = str(Path(msglog.__file__).parent)
COMMITTED = State.COMMITTED
STEPS = 120
SEEDS = 2
LIMIT = 5000
MOST_BYTES = 20_000
TOPICS: dict[str, dict[str, Any]] = {
    "plain": {},
    "two": {"partitions": 2},
    "compact": {"cleanup_policy": "compact"},
    "small": {"max_message_bytes": 60},
    "stamped": {"timestamp_type": "append"},
    "packed": {"compression": "zlib"},
}
QUEUES: dict[str, dict[str, Any]] = {
    "q": {},
    "r": {},
    "short": {"max_length": 3},
    "refusing": {"max_length": 3, "overflow": "reject-publish"},
    "levels": {"max_priority": 3},
}
ROUTES = [("f", ""), ("f", "k"), ("f", ""), ("", "q"), ("", "r"), ("", "short"), ("", "refusing"), ("", "levels"),
          ("", "nobody"), ("no", "x"), ("inside", "x")]  # fmt: skip


class Text(str):
    """No plain text."""

    __slots__ = ()


class Bytes(bytes):
    """No plain bytes."""


class Number(int):
    """No plain number."""


def _ways(collecting: Any = None, deciding: Any = None) -> Iterator[tuple[type, str, Any]]:
    yield from compiled.ways_of_collecting(collecting or compiled._compiled_collecting)
    yield from compiled.ways_of_deciding(deciding or compiled._compiled_deciding)


def _put_in_front(patch: pytest.MonkeyPatch, collecting: Any = None, deciding: Any = None) -> None:
    for owner, name, method in _ways(collecting, deciding):
        patch.setattr(owner, name, method)


def _take_away(patch: pytest.MonkeyPatch) -> None:
    for owner, name, method in _ways():
        patch.setattr(owner, name, method.__wrapped__)


@pytest.fixture(scope="module", autouse=True)
def _in_front():
    """The compiled methods, whatever the environment says."""
    with pytest.MonkeyPatch.context() as patch:
        _put_in_front(patch)
        yield


class Life:
    """A store of its own that goes through transactions, the same for the same seed."""

    def __init__(self, folder: Path, seed: int, way: str, patch: pytest.MonkeyPatch) -> None:
        self._dice = random.Random(seed)
        seeds = random.Random(seed)
        for module in [module for name, module in sys.modules.items() if name.startswith("msglog.storage")]:
            if getattr(module, "random_seed", None) is not None:
                patch.setattr(module, "random_seed", lambda: seeds.getrandbits(64))
        opens = Engine._open
        patch.setattr(Engine, "_open", lambda engine, models, **_: opens(engine, models, background=False))
        patch.setattr("msglog.transactions.collecting.MAX_COMMIT_BYTES", MOST_BYTES)
        patch.setattr("msglog.transactions.compiled.MAX_COMMIT_BYTES", MOST_BYTES)
        self.clock = ManualClock()
        options = {"clock": self.clock, "max_record_bytes": LIMIT}
        self.store = Store(":memory:", **options) if way == "memory" else Store(folder, sync=way, **options)
        self.log, self.broker = self.store.log, self.store.broker
        for name, given in TOPICS.items():
            self.log.create_topic(name, **given)
        self.log.append_many("plain", [b"%d" % number for number in range(20)])
        self.broker.declare_exchange("f", "fanout")
        self.broker.declare_exchange("inside", "direct", internal=True)
        for name, given in QUEUES.items():
            self.broker.declare_queue(name, **given)
        for name in ("q", "r"):
            self.broker.bind(name, "f")
        self.producer = self.log.producer("p")
        self.consumer = self.log.consumer("plain", group="members")
        self.consumer.poll(0)
        self.sharing = self.log.share_consumer("plain", group="shared")
        self.shared = self.sharing.poll(0)
        self.other = Store(":memory:", clock=self.clock)
        self.other.broker.declare_queue("q")
        self.other.broker.publish("", "q", b"x")
        self.foreign = self.other.broker.get("q")
        self.pushed: msglog.Channel | None = None
        self.held: list[msglog.Delivery] = []
        self.told: list[object] = []
        self.calls: list[Callable[[msglog.Transaction], object]] = [
            *[self._append] * 5, *[self._publish] * 5, *[self._ack] * 5, *[self._commit_offsets] * 3, self._nack,
            self._send, self._append_many, self._publish_many, self._strange, self._strange, self._share,
        ]  # fmt: skip

    def moments(self, patch: pytest.MonkeyPatch) -> Iterator[object]:
        """Go through what seldom comes up at random, and yield what came of it."""
        broker, log, place = self.broker, self.log, TopicPartition("plain", 0)
        made: list[str] = []
        make_room = BrokerStage._make_room
        patch.setattr(BrokerStage, "_make_room", lambda stage, batch: (made.append("room"), make_room(stage, batch))[1])
        with broker.channel() as channel:
            channel.basic_consume("r", "pushed")
            yield self._moment(lambda tx: [tx.publish("", "r", b"x") for _ in range(2)]), list(made)
        yield self._moment(lambda tx: [tx.append("plain", b"v", key=b"key"), tx.append("plain", b"w")])
        yield self._moment(lambda tx: [tx.append("two", b"v", key=b"%d" % number) for number in range(6)])
        yield self._moment(lambda tx: [_told(lambda: tx.append("plain", b"v", nothing=None)), _elsewhere(tx)])  # type: ignore[call-overload]
        yield self._moment(lambda tx: [_in_a_loop(tx)])
        yield self._moment(lambda tx: [_told(lambda: tx.append("plain", bytes(4500))) for _ in range(6)])
        yield self._moment(lambda tx: [_told(lambda: tx.publish("", "q", bytes(4900))) for _ in range(6)])
        yield self._moment(lambda tx: [tx.publish("f", "k", b"1"), broker.unbind("r", "f"), _inside(tx)])
        yield self._moment(lambda tx: [tx.publish("f", "k", b"2"), broker.bind("r", "f"), tx.publish("f", "k", b"3")])
        yield self._moment(lambda tx: [tx.append("small", b"x"), log.delete_topic("small")])
        log.create_topic("small", max_message_bytes=60)
        for group, offset in (("shared", 1), ("members", 1), ("g", 1 << 40), ("g", 1)):
            yield self._moment(lambda tx, at=(group, offset): tx.commit_offsets(at[0], {place: at[1]}))  # type: ignore[misc]
        for name in ("levels", "q"):
            broker.publish_many("", [(name, b"%d" % number) for number in range(4)])
            got = [broker.get(name) for _ in range(4)]
            assert None not in got
            yield self._moment(lambda tx, got=got: [tx.ack(one) for one in (got[0], got[2], got[1])])  # type: ignore[misc]
            yield self._moment(lambda tx, one=got[3]: [tx.ack(one), self._do_without(one.queue)])  # type: ignore[misc]
            broker.declare_queue(name, **QUEUES[name])
        broker.bind("q", "f")

    def _do_without(self, queue: str) -> None:
        self.broker.delete_queue(queue)

    def _moment(self, work: Callable[[msglog.Transaction], object]) -> object:
        tx = self.store.transaction()
        try:
            with tx:
                told = work(tx), _inside(tx)
        except MsglogError as error:
            return type(error), str(error), _inside(tx), self.state()
        return told, tx.metadata, _inside(tx), self.state()

    def step(self) -> object:
        """Do something at random; return what came of it."""
        dice = self._dice
        self.clock.advance(ms=dice.choice([0, 1, 7]))
        self.told.clear()
        if dice.randrange(6) == 0:
            self._disturb()
        for _ in range(dice.choice([0, 1, 2])):
            delivery = self.broker.get(dice.choice(["q", "r", "q", "levels"]))
            if delivery is not None:
                self.held.append(delivery)
        producer = self.producer if dice.randrange(12) == 0 else None
        tx = self.store.transaction(producer=producer)
        try:
            with tx:
                self._disturb_inside(tx)
                for _ in range(dice.choice([0, 1, 2, 3, 4, 4, 5, 9])):
                    self._collect(tx)
                if dice.randrange(8) == 0:
                    self._disturb()
                if dice.randrange(10) == 0:
                    raise Struck  # noqa: TRY301 what ends a transaction
        except (MsglogError, Struck) as error:
            self.told.append((type(error), str(error)))
        else:
            self.told.append(tx.metadata if tx._state is COMMITTED else None)
        self.held = [delivery for delivery in self.held if delivery.pending]
        return list(self.told), _inside(tx)

    def _collect(self, tx: msglog.Transaction) -> None:
        call = self._dice.choice(self.calls)
        try:
            told: object = call(tx)
        except (MsglogError, TypeError) as error:
            told = type(error), str(error)
        self.told.append((call.__name__, told, _inside(tx)))

    def _append(self, tx: msglog.Transaction) -> object:
        dice = self._dice
        topic = dice.choice([*TOPICS, "plain", "plain", "plain", "compact", "none"])
        value = dice.choice([bytes(dice.choice([0, 1, 60, 61, 100, LIMIT, LIMIT + 1]))] * 8 + [None, "text", 5])
        more = dice.choice(
            [{}] * 6
            + [{"key": b"key"}, {"key": b""}, {"key": bytes(50)}, {"key": None}, {"key": "text"}]
            + [{"headers": [("a", b"1")]}, {"partition": 0}, {"partition": 9}, {"timestamp_ms": 5}]
            + [{"expected_offset": 0}, {"key": b"key", "expected_key_offset": -1}, {"key": b"k", "partition": 0}]
        )
        return tx.append(topic, value, **more)

    def _append_many(self, tx: msglog.Transaction) -> object:
        return tx.append_many(self._dice.choice(["plain", "two"]), [b"one", b"two"])

    def _publish(self, tx: msglog.Transaction) -> object:
        dice = self._dice
        exchange, key = dice.choice(ROUTES)
        body = dice.choice([bytes([dice.randrange(256)]) * dice.choice([0, 1, 100, 1100, 4990, LIMIT])] * 9 + ["text"])
        more: dict[str, Any] = dice.choice(
            [{}] * 9
            + [{"priority": 2}, {"expiration_ms": 5}, {"persistent": False}, {"mandatory": True}, {"delay_ms": 3}]
        )
        return tx.publish(exchange, key, body, **more)

    def _publish_many(self, tx: msglog.Transaction) -> object:
        return tx.publish_many("f", [("", b"one"), ("", b"two")])

    def _send(self, tx: msglog.Transaction) -> object:
        return tx.send(self._dice.choice(["q", "nobody"]), b"sent")

    def _some(self) -> msglog.Delivery | None:
        return self._dice.choice(self.held) if self.held else None

    def _ack(self, tx: msglog.Transaction) -> object:
        delivery = self._some()
        return None if delivery is None else tx.ack(delivery)

    def _nack(self, tx: msglog.Transaction) -> object:
        delivery = self._some()
        return None if delivery is None else tx.nack(delivery, requeue=self._dice.random() < 0.5)

    def _share(self, tx: msglog.Transaction) -> object:
        return tx.ack(self.shared.pop()) if self.shared else None

    def _commit_offsets(self, tx: msglog.Transaction) -> object:
        dice = self._dice
        if dice.randrange(10) == 0:
            return tx.commit_offsets(self.consumer)
        group = dice.choice(["g", "g", "h", "g" * 255, "ä", "g\x7f", "", "g" * 256, "members", "shared", Text("g")])
        number = dice.choice([0, 0, 0, 1, 9, Number(0)])
        partition = dice.choice([TopicPartition("plain", number)] * 6 + [("plain", 0), TopicPartition("none", 0)])
        offset = dice.choice([0, 1, 5, 19, 20, 21, -1, Number(3), True, 1 << 70, "1"])
        upto: Any = dice.choice([{partition: offset}] * 6 + [{}, {partition: 1, TopicPartition("two", 1): 0}, None, 5])
        try:
            return tx.commit_offsets(group, upto)
        finally:
            if type(upto) is dict:
                upto.clear()  # the transaction has its own

    def _strange(self, tx: msglog.Transaction) -> object:
        dice = self._dice
        calls: list[Callable[[], object]] = [
            lambda: tx.append(Text("plain"), b"x"), lambda: tx.append("plain", Bytes(b"x")), lambda: tx.append("plain"),
            lambda: tx.append("plain", bytearray(b"x")), lambda: tx.append("plain", b"x", b"key"),
            lambda: tx.append(topic="plain", value=b"x"), lambda: tx.append("plain", b"x", key=Bytes(b"k")),
            lambda: tx.append(self.store, b"x"), lambda: tx.append("plain", b"x", nothing=1),
            lambda: tx.publish("", "q"), lambda: tx.publish("", "q", b"x", b""),
            lambda: tx.publish(Text(""), "q", b"x"),
            lambda: tx.publish("", Text("q"), b"x"), lambda: tx.publish("", "q", Bytes(b"x")),
            lambda: tx.publish(None, "q", b"x"), lambda: tx.publish("", 5, b"x"),
            lambda: tx.publish("", "q", body=b"x"),
            lambda: tx.ack(None), lambda: tx.ack(*()), lambda: tx.ack(self), lambda: tx.ack(delivery=self._some()),
            lambda: tx.commit_offsets("g"), lambda: tx.commit_offsets("g", [("plain", 1)]),
            lambda: tx.commit_offsets(None, {}), lambda: tx.commit_offsets(group="g"),
            lambda: tx.commit_offsets("g", {(): 1}), lambda: tx.commit_offsets("g", {TopicPartition(None, 0): 1}),
            lambda: tx.commit_offsets("g", {TopicPartition("plain", True): 1}),
            lambda: tx.commit_offsets("g", Record("plain", 0, 3, 1, None, b"", ())),
            lambda: tx.__init__(self.store.core), lambda: tx.ack(self.foreign), lambda: _elsewhere(tx),
        ]  # fmt: skip
        return dice.choice(calls)()

    def _disturb(self) -> None:
        """What others do meanwhile."""
        try:
            self._do_otherwise()
        except MsglogError as error:
            self.told.append(("meanwhile", type(error), str(error)))

    def _do_otherwise(self) -> None:
        dice, broker = self._dice, self.broker
        what = dice.randrange(7)
        if what == 0:
            self.log.delete_topic("small")
            self.log.create_topic("small", max_message_bytes=60)
        elif what == 1:
            broker.unbind("r", "f")
            broker.bind("r", "f")  # routes that are remembered hold no longer
        elif what == 2:
            broker.delete_queue("levels")
            broker.declare_queue("levels", max_priority=3)
        elif what == 3 and self.held:
            self._some().lose()
        elif what == 4 and self.held:
            self._some().ack()
        elif what == 5:
            if self.pushed is None:
                self.pushed = broker.channel()
                self.pushed.basic_consume("r", "pushed")
            else:
                self.pushed.close()
                self.pushed = None
        else:
            self.broker.set_policy("p", "^q$", {"max_length": 6}, apply_to="queues")
            self.broker.delete_policy("p")

    def _disturb_inside(self, tx: msglog.Transaction) -> None:
        """Ended, or of another thread, it takes nothing any more."""
        what = self._dice.randrange(30)
        if what == 0:
            tx.rollback()
        elif what == 1:
            tx._thread = None

    def state(self) -> object:
        """Return all that the steps change in memory."""
        core = self.store.core
        vhost, engine = self.broker._vhost, core.engine
        return (
            engine.commit_number,
            engine.published,
            engine.state_cost,
            engine.obstacle,
            engine.lock.locked(),
            vhost.lock.locked(),
            [queue.name for queue in vhost.news],
            [
                (queue.name, lane.cursor.pack(), lane.cursor.next, lane.buffered, len(lane.cursor.unsettled),
                 [(*one[:3], len(one[3])) for one in lane.buffer], lane.trim_check)
                for queue in vhost.queues.values()
                for lane in queue.lanes
            ],
            [(delivery._settled, delivery._terms.subscriber.unsettled) for delivery in self.held],
            [(stream.slug, stream.next_offset, stream.end, stream.value_bytes) for stream in engine.streams.values()],
            {group: deepcopy(offsets) for group, offsets in engine.models["groups"].offsets.items()},  # type: ignore[attr-defined]
            self.producer.last_sequence,
        )  # fmt: skip

    def last(self) -> Iterator[object]:
        """Close the store inside of a transaction; yield what came of it."""
        delivery = self.broker.get("q")
        try:
            with self.store.transaction() as tx:
                tx.publish("", "q", b"last")
                if delivery is not None:
                    tx.ack(delivery)
                self.store.close()
                yield [_told(call)[0] for call in (
                    lambda: tx.append("plain", b"x"), lambda: tx.publish("", "q", b"x"), lambda: tx.ack(delivery),
                    lambda: tx.commit_offsets("g", {TopicPartition("plain", 0): 1}),
                )]  # fmt: skip
        except MsglogError as error:
            yield type(error), _inside(tx)

    def end(self) -> None:
        """Close everything."""
        self.sharing.close()
        self.other.close()
        if self.pushed is not None:
            self.pushed.close()
        self.consumer.close()
        self.producer.close()
        self.store.close()


def _told(call: Callable[[], object]) -> object:
    try:
        return call()
    except (MsglogError, TypeError) as error:
        return type(error), str(error)


def _elsewhere(tx: msglog.Transaction) -> object:
    """Append in another thread."""
    told: list[object] = []
    thread = threading.Thread(target=lambda: told.append(_told(lambda: tx.append("plain", b"x"))))
    thread.start()
    thread.join()
    return told


def _in_a_loop(tx: msglog.Transaction) -> object:
    """Append from a task."""

    async def append() -> object:
        return _told(lambda: tx.append("plain", b"x"))

    return asyncio.run(append())


def _body(body: Any) -> object:
    return tuple(getattr(body, name) for name in type(body).__slots__)


def _inside(tx: msglog.Transaction) -> object:
    """Return all that a transaction has collected."""
    log, broker = tx._log, tx._broker
    return (
        repr(tx).replace(tx._core.path, ""), tx._state, tx._size, tx._waits, tx._over,
        [
            (batch.topic.name, batch.topic.deleted, batch.count,
             [(number, _body(body)) for number, body in batch.pieces], list(batch.keys), list(batch.places),
             batch.expected_offset, batch.expected_key_offset, batch.timestamps, batch.digest,
             batch.sight, batch.plain, sequence, type(entry).__name__)
            for entry in log._appends
            for batch, sequence in [entry]
        ],
        [(one.group, type(one.group), one.seat is None, dict(one.offsets), [*map(type, one.offsets)],
          one.group_offsets is None, type(one).__name__) for one in log._offsets],
        len(log._claimed), len(log._settlements), len(log._placed), len(log._outcomes), log._events,
        log._producer is None,
        broker and [
            (tuple(wish.publication), type(wish.publication).__name__, wish.publication.properties is PERSISTENT,
             wish.delay_ms, wish.mandatory, wish.send, wish.route and (wish.route.meta, wish.route.version),
             type(wish).__name__)
            for wish in broker._wishes
        ],
        broker and ([delivery._stored.offset for delivery in broker._claimed], len(broker._cut), broker._replies),
        broker and [
            (delivery._stored.offset, delivery._settled is broker, settlement.outcome, settlement.delay_ms,
             settlement.subscriber is delivery._terms.subscriber, settlement.taken.lane is delivery._lane,
             settlement.taken[1:], type(settlement).__name__, type(settlement.taken).__name__)
            for delivery, settlement in broker._settlements
        ],
    )  # fmt: skip


def _live(
    folder: Path, seed: int, way: str, *, pure: bool, steps: int = STEPS, modules: tuple[Any, Any] = (None, None)
) -> Iterator[object]:
    """Yield what a life was like after each step, and its files in the end."""
    with pytest.MonkeyPatch.context() as patch, small_limits(_FEWEST_OPEN=64, _MOST_OPEN=64):
        patch.setattr(OSFile, "sync", lambda _: None)  # no power is cut here
        life = Life(folder, seed, way, patch)
        if pure:
            _take_away(patch)
        else:
            _put_in_front(patch, *modules)
        try:
            yield from life.moments(patch)
            for _ in range(steps):
                yield life.step(), life.state()
            yield from life.last()
        finally:
            life.end()
    _put_in_front_again()
    yield {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _put_in_front_again() -> None:
    """Lend the compiled methods what they know without what a life changes."""
    for _ in _ways():
        pass


@pytest.mark.parametrize(("way", "seeds"), [("none", 2), ("memory", 4), ("commit", 1)])
def test_files_and_memory_are_those_that_python_makes(tmp_path, way, seeds, record_property):
    steps = 0
    for seed in range(scaled(seeds)):
        expected = list(_live(tmp_path / f"{seed}-pure", seed, way, pure=True))
        told = _live(tmp_path / f"{seed}", seed, way, pure=False)
        for step, (one, other) in enumerate(zip(told, expected, strict=True)):
            assert one == other, f"step {step} of seed {seed}"
            steps += 1
    assert steps > seeds * STEPS
    tell(record_property, model_steps=steps)


def _world(store: Store) -> list[msglog.Delivery]:
    """Make what the usual transaction needs; return deliveries in hand."""
    log, broker = store.log, store.broker
    for topic in ("source", "target"):
        log.create_topic(topic)
    log.append_many("source", [b"%d" % number for number in range(2000)])
    broker.declare_exchange("events", "fanout")
    for queue in ("first", "second"):
        broker.declare_queue(queue)
        broker.bind(queue, "events")
    broker.declare_queue("work")
    broker.publish_many("", [("work", b"%d" % number) for number in range(2000)])
    with store.transaction() as tx:  # then routes and groups are known
        tx.publish("events", "key", b"body")
        tx.commit_offsets("group", {TopicPartition("source", 0): 0})
    return [broker.get("work") for _ in range(2000)]  # type: ignore[misc]


def _usual(store: Store, delivery: msglog.Delivery, **more: Any) -> msglog.Transaction:
    with store.transaction() as tx:
        tx.append("target", delivery.body, **more)
        tx.publish("events", "key", delivery.body)
        tx.ack(delivery)
        tx.commit_offsets("group", {TopicPartition("source", 0): 1})
    return tx


@pytest.mark.parametrize("way", ["none", "commit"])
def test_nearly_every_transaction_goes_the_compiled_way(tmp_path, way, monkeypatch):
    left: list[str] = []

    def counted(name: str, slow: Callable[..., object]) -> Callable[..., object]:
        return lambda *given, **named: (left.append(name), slow(*given, **named))[1]

    for owner, name, method in _ways():
        monkeypatch.setattr(owner, name, counted(f"{owner.__name__}.{name}", method.__wrapped__))
    with Store(tmp_path / "s", sync=way) as store:
        deliveries = _world(store)
        left.clear()
        _put_in_front(monkeypatch)
        for delivery in deliveries[:100]:
            _usual(store, delivery)
            store.broker.get("first").ack()
        for delivery in deliveries[100:120]:
            _usual(store, delivery, key=b"key")
    assert Counter(left) == {}


@pytest.mark.parametrize(
    ("owner", "name"), [(owner, name) for owner, name, _ in _ways()] if compiled.is_compiled() else []
)
def test_a_compiled_method_shows_what_the_one_of_python_shows(owner, name):
    method = getattr(owner, name)
    python = inspect.unwrap(method)
    assert method is not python
    assert inspect.signature(method) == inspect.signature(python)
    assert inspect.getdoc(method) == inspect.getdoc(python) or name == "__init__"
    assert (method.__name__, method.__qualname__) == (python.__name__, python.__qualname__)
    assert inspect.isfunction(method)


def test_an_end_in_another_thread_or_inside_of_a_loop_is_told_as_python_tells_it():
    async def inside() -> list[object]:
        calls = [lambda: tx.append("t", b"x"), lambda: tx.publish("", "q", b"x"),
                 lambda: tx.commit_offsets("g", {TopicPartition("t", 0): 0}), lambda: tx.ack(delivery)]  # fmt: skip
        return [_told(call) for call in calls]

    told = []
    for pure in (False, True):
        with pytest.MonkeyPatch.context() as patch, Store(":memory:") as store:
            if pure:
                _take_away(patch)
            store.log.create_topic("t")
            store.broker.declare_queue("q")
            store.broker.publish("", "q", b"x")
            delivery = store.broker.get("q")
            with store.transaction() as tx:
                told.append(asyncio.run(inside()))
            assert delivery is not None
            assert delivery.settled is False
    assert told[0] == told[1]
    assert "another thread or task" in str(told[0])


def _fails(store: Store, number: int, delivery: msglog.Delivery) -> bool:
    """Make a transaction whose allocation `number` fails; return whether it had so many."""
    set_nomemory(number, number + 1)
    try:
        _usual(store, delivery)
    except (MemoryError, RuntimeError):  # as a lock is, that there is no memory for
        remove_mem_hooks()
        return True
    remove_mem_hooks()
    return False


@pytest.mark.skipif(set_nomemory is None, reason="this Python has no `_testcapi`")
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="3.12 and 3.13 crash by themselves when they have no memory")
def test_each_allocation_may_fail_and_nothing_is_half_done_or_leaked(tmp_path, record_property):
    failed = 0
    with Store(tmp_path / "s", sync="none") as store:
        deliveries = _world(store)
        before = 0
        for turn in range(4):
            if turn == 2:
                gc.collect()
                before = sys.getallocatedblocks()
            for number in range(120):
                delivery = deliveries.pop()
                failed += _fails(store, number, delivery)
                if delivery.pending:  # nobody claims it any more; it may be settled if it failed behind the commit
                    _told(lambda one=delivery: _usual(store, one))  # type: ignore[misc]
                ends = store.log.end_offset("target", 0), store.broker._vhost.queues["first"].ready()
                assert ends[0] == ends[1] - 1, number
        gc.collect()
        assert sys.getallocatedblocks() - before < 3000  # the index, and what is read ahead
        assert failed > 4 * 60
        assert not store.broker._vhost.lock.locked()
        assert not list(store.verify())
    tell(record_property, failed_allocations=failed)


def test_signal_handlers_that_raise_leave_all_of_a_transaction_or_nothing(tmp_path, record_property):
    def strike(_number: int, frame: Any) -> None:
        if frame.f_code.co_filename.startswith(FOLDER) and not is_finalizing(frame):
            raise Struck

    interrupts = done = 0
    with Store(tmp_path / "s", sync="none") as store:
        deliveries = _world(store)
        before = signal.signal(signal.SIGALRM, strike)
        signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.00011)
        try:
            while interrupts < scaled(150) and deliveries:
                try:
                    _usual(store, deliveries.pop())
                    done += 1
                except Struck:
                    interrupts += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        end = store.log.end_offset("target", 0)
        assert [store.broker._vhost.queues[queue].ready() for queue in ("first", "second")] == [end + 1] * 2
        assert done <= end <= done + interrupts
        assert 2000 - store.broker._vhost.queues["work"].unsettled() == end
        assert not store.broker._vhost.lock.locked()
        assert {problem.message for problem in store.verify()} <= {"nothing knows this file"}
    tell(record_property, interrupts=interrupts)


def test_no_reference_is_kept_or_lost():
    counts = []
    for pure in (False, True):
        with pytest.MonkeyPatch.context() as patch, Store(":memory:") as store:
            if pure:
                _take_away(patch)
            deliveries = _world(store)
            topic = store.core.engine.models["log"].topics["target"]  # type: ignore[attr-defined]
            lane = store.broker._vhost.queues["first"].lanes[0]
            route = store.broker._vhost.routes["events", "key"]
            parts = [
                topic,
                lane,
                lane.stream,
                route,
                store.core,
                store.core.engine,
                compiled.PERSISTENT,
                *deliveries[:9],
            ]
            gc.collect()
            before = [sys.getrefcount(part) for part in parts]
            made = [_usual(store, delivery, key=b"key") for delivery in deliveries[:9]]
            del made
            gc.collect()
            counts.append([sys.getrefcount(part) - one for part, one in zip(parts, before, strict=True)])
    assert counts[0] == counts[1]


def test_what_sets_it_up_is_looked_at():
    for module in (compiled._compiled_collecting, compiled._compiled_deciding):
        with pytest.raises(TypeError):
            module.set_up()
        rest = (0,) * (4 if module is compiled._compiled_deciding else 7)
        given = (*rest[:3], {}, *rest[3:], 0, 0) if len(rest) == 7 else rest
        with pytest.raises((TypeError, ValueError)):
            module.set_up((int,), *given)
    _put_in_front_again()


def test_a_module_that_was_made_of_another_source_is_not_used(monkeypatch, tmp_path):
    for name in ("COLLECTING", "DECIDING"):
        with monkeypatch.context() as patch:
            patch.setattr(compiled, name, tmp_path / "none.c")
            assert compiled.is_compiled(), "as in a wheel, which has no source"
            (tmp_path / "none.c").write_text("something else")
            assert not compiled.is_compiled()
            (tmp_path / "none.c").unlink()


def test_what_is_not_wanted_is_not_put_in_front(monkeypatch):
    _take_away(monkeypatch)
    monkeypatch.setenv("MSGLOG_PURE_PYTHON", "1")
    pure = [getattr(owner, name) for owner, name, _ in _ways()]
    compiled.put_in_front()
    assert [getattr(owner, name) for owner, name, _ in _ways()] == pure


MUTATIONS = [
    ("key == Py_None ? kind_plain : kind_keyed", "kind_plain"),
    ("AT(Body, body, max_timestamp_ms) = Py_NewRef(now_ms);", "AT(Body, body, max_timestamp_ms) = Py_NewRef(one);"),
    ("memcpy(at + KEY_SIZE, PyBytes_AS_STRING(key), size);", "memset(at + KEY_SIZE, 0, size);"),
]
"""Steps of what both share that something depends on, and what stands there when they are forgotten or wrong."""

COLLECTING = [
    ("AT(Transaction, transaction, _state) != state_open", "0"),
    ("AT(Engine, AT(Transaction, transaction, _engine), closed) != Py_False", "0"),
    ("thread == AT(Transaction, transaction, _thread)", "1"),
    ("loop == Py_None", "1"),
    ("size + more > most_commit_bytes", "0"),
    ("set_slot(transaction, Transaction._size, size);", ""),
    ("AT(Topic, topic, sticky) == Py_None", "1"),
    ("size + key_size > number_in(topic, key == Py_None ? Topic.plain_limit : Topic.keyed_limit)", "0"),
    ("key == Py_None ? Topic.plain_limit : Topic.keyed_limit", "Topic.keyed_limit"),
    ("(key == Py_None ? 0 : KEY_SIZE + key_size)", "0"),
    ("PyTuple_GET_ITEM(names, 0) == text_key", "1"),
    ("PyBytes_GET_SIZE(body) > number_in(route, Route.limit)", "0"),
    ("version >= 0 && version == number_in(route, Route.version)", "1"),
    ("PyBytes_GET_SIZE(AT(Route, route, meta)) + PyBytes_GET_SIZE(body)", "PyBytes_GET_SIZE(body)"),
    ("AT(Delivery, delivery, _settled) != Py_False", "0"),
    ("AT(Queue, AT(Terms, terms, queue), deleted) == Py_False", "1"),
    ("AT(Terms, terms, vhost) == AT(BrokerStage, stage, _vhost)", "1"),
    ("set_slot(delivery, Delivery._settled, stage);", ""),
    ("PyList_Append(AT(BrokerStage, stage, _claimed), delivery) < 0", "0"),
    ("text[place] < ' ' || text[place] > '~'", "0"),
    ("size > 0 && size <= longest_group_name", "1"),
    ("number_of(offset) < 0", "0"),
    ("!PyLong_CheckExact(PyTuple_GET_ITEM(partition, 1))", "0"),
    ("PyDict_GET_SIZE(offsets) > 0", "1"),
    ("PyDict_Copy(upto)", "Py_NewRef(upto)"),
]
DECIDING = [
    ("PART(settlement, SETTLEMENT_OUTCOME) != text_ack", "0"),
    ("holder == NULL && PyErr_Occurred() ? -1 : holder == subscriber", "1"),
    ("number_in(route, Route.version) != version", "0"),
    ("PyList_GET_SIZE(offsets) != 1", "0"),
    ("PyDict_SetItem(news, PART(pushed, queue), Py_None) < 0", "0"),
    ("PyDict_GET_SIZE(news) == 0", "1"),
    ("PyDict_SetItem(ends, id, end)", "0"),
    ("AT(Records, records, plain) != Py_True", "0"),
    ("AT(Topic, topic, deleted) != Py_False", "0"),
    ("PyDict_Contains(live, group)", "0"),
    ("PyDict_Contains(shared, group)", "0"),
    ("given > number_in(PyList_GET_ITEM(partitions, number), Stream.end)", "0"),
    ("PyList_GET_SIZE(AT(LogStage, stage, _settlements)) > 0", "0"),
    ("AT(LogStage, stage, _producer) != Py_None", "0"),
    ("PyList_GET_SIZE(AT(Batch, batch, _delayed)) > 0", "0"),
    ("PyList_GET_SIZE(added) == 1", "1"),
    ("PART(known[number].entry, 0) == PART(entry, 0)", "0"),
    ("Py_XSETREF(AT(Batch, batch, _bases), Py_NewRef(bases));", ""),
    ("PyList_SetSlice(events, end, end, AT(Batch, batch, _events)) < 0", "0"),
]


@pytest.fixture(scope="module")
def mutants(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mutants")
    return [
        compile_mutants(path, MUTATIONS + mutations, folder)
        for path, mutations in ((compiled.COLLECTING, COLLECTING), (compiled.DECIDING, DECIDING))
    ]


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return [list(_live(tmp_path_factory.mktemp("pure") / "s", seed, "commit", pure=True)) for seed in range(SEEDS)]


def _differs(folder: Path, expected: list[list[object]], *modules: Any) -> bool:
    for seed, story in enumerate(expected):
        life = _live(folder / f"{seed}", seed, "commit", pure=False, modules=modules)  # type: ignore[arg-type]
        try:
            if any(one != other for one, other in zip(life, story, strict=True)):
                return True
        except Exception:  # noqa: BLE001 as good as another story
            return True
        finally:
            life.close()  # type: ignore[attr-defined]
    return False


@pytest.mark.parametrize(
    ("which", "number"),
    [
        *((0, number) for number in range(-1, len(MUTATIONS + COLLECTING))),
        *((1, number) for number in range(-1, len(MUTATIONS + DECIDING))),
    ],
)
def test_each_step_of_the_sources_is_missed_when_it_is_wrong(
    which, number, mutants, expected, tmp_path, record_property
):
    """But for the first ones, which are the sources as they are."""
    modules = [None, None]
    modules[which] = load_mutant(mutants[which], number, "transactions", tmp_path)
    assert _differs(tmp_path, expected, *modules) is (number >= 0), (MUTATIONS + (COLLECTING, DECIDING)[which])[number]
    if number >= 0:
        tell(record_property, mutants_killed=1)

"""Drives transactions in a faulty file system, with books on paper beside them and a history of what may be left.

A `World` is one life of a store on a disk that begins with `prepared`. Each change is a step of the history; a
transaction is one step, so a crash that leaves part of one leaves a state that never was.
"""

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msglog
from msglog import TopicPartition
from msglog.clock import ManualClock
from msglog.errors import MsglogError
from msglog.storage import Engine
from support.broker_session import bury, open_store
from support.crash_images import CrashImage
from support.disk import Disk, Image
from support.faulty_filesystem import FaultyFileSystem
from support.history import History

SEGMENT_BYTES = 2000
QUEUES = ("a", "b", "dlq", "work")
DELAY_MS = 1000
FAR_MS = 10 * DELAY_MS
SHARED = 12
"""Records that are in the topic of the share group from the beginning."""


@dataclass
class Books:
    """What a store shows: values by partition, bodies by queue, offsets of a group, and of what is not settled."""

    topics: dict[tuple[str, int], list[bytes]] = field(default_factory=dict)
    queues: dict[str, list[bytes]] = field(default_factory=dict)
    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    shared: list[int] = field(default_factory=list)
    sequence: int = -1

    def copy(self) -> "Books":
        """Return another one that is the same."""
        return Books(
            {key: list(values) for key, values in self.topics.items()},
            {name: list(bodies) for name, bodies in self.queues.items()},
            dict(self.offsets),
            list(self.shared),
            self.sequence,
        )

    def difference(self, found: "Books") -> str:
        """Say how another one differs."""
        mine, others = dataclasses.asdict(self), dataclasses.asdict(found)
        return "; ".join(
            f"{name} {others[name]} instead of {mine[name]}" for name in mine if mine[name] != others[name]
        )


def look(store: msglog.Store, clock: ManualClock, broker: msglog.Broker | None = None) -> Books:
    """Look at everything in an open store. It is good for nothing afterwards: all is in somebody's hand."""
    log, broker = store.log, broker or store.broker
    topics = {
        (topic, partition): [record.value for record in log.read(topic, partition)]
        for topic in ("t", "u")
        for partition in range(len(log.describe_topic(topic).partitions))
    }
    clock.advance(ms=FAR_MS)
    deliveries = {name: list(iter(lambda name=name: broker.get(name), None)) for name in QUEUES}
    queues = {name: sorted(delivery.body for delivery in found) for name, found in deliveries.items()}
    offsets = dict(log.describe_group("g").offsets) if "g" in log.groups() else {}
    sharing = log.share_consumer("s", group="share")
    shared = [record.offset for record in sharing.poll(0, max_records=1 << 10)]
    sharing._closed = True  # whoever looks leaves no trace, and kills the process
    producer = store.core.engine.models["log"].producers.get("p")  # type: ignore[attr-defined]
    return Books(topics, queues, offsets, sorted(shared), -1 if producer is None else producer.last_sequence)


def recover(image: Image, now_ms: int, sync: Any) -> Books:
    """Open a store on an image and look at everything in it; it is left as if it was killed."""
    clock = ManualClock(now_ms)
    store = open_store(FaultyFileSystem(Disk(image, recording=False)), clock, sync=sync, segment_bytes=SEGMENT_BYTES)
    try:
        return look(store, clock)
    finally:
        bury(store.broker)


def prepared(sync: Any) -> tuple[Image, Books]:
    """Return the disk of a closed store with something to begin with, and its books."""
    filesystem, clock = FaultyFileSystem(), ManualClock()
    with open_store(filesystem, clock, sync=sync, segment_bytes=SEGMENT_BYTES) as store:
        log, broker = store.log, store.broker
        log.create_topic("t", partitions=2)
        log.create_topic("u")
        log.create_topic("s")
        log.append_many("s", [b"%d" % number for number in range(SHARED)])
        log.share_consumer("s", group="share").close()
        for name in ("a", "b", "dlq"):
            broker.declare_queue(name)
        broker.declare_queue("work", dead_letter_exchange="", dead_letter_routing_key="dlq")
        broker.declare_exchange("e", "fanout")
        broker.bind("a", "e")
        broker.bind("b", "e")
        broker.publish_many("", [("work", b"work%02d" % number) for number in range(12)])
        broker.send("dlq", b"first later", delay_ms=DELAY_MS)
    books = Books(
        {("t", 0): [], ("t", 1): [], ("u", 0): []},
        {"a": [], "b": [], "dlq": [b"first later"], "work": [b"work%02d" % number for number in range(12)]},
        {},
        list(range(SHARED)),
    )
    return filesystem.disk.image(), books


_worlds: "set[World]" = set()


def end_all_worlds() -> None:
    """Be done with all worlds, also those that a failing test has left open."""
    for world in tuple(_worlds):
        world.end()


class World:
    """An open store in a faulty file system, its books, its history, and what is in hand."""

    def __init__(self, sync: Any, tree: Image, books: Books, filesystem: FaultyFileSystem | None = None) -> None:
        _worlds.add(self)
        self.sync = sync
        self.filesystem = filesystem or FaultyFileSystem(tree)
        self.clock = ManualClock()
        self.books = books.copy()
        self.history = History(self.books, 0)  # type: ignore[arg-type]  # its states are books here
        self.held: list[Any] = []
        self.records: list[Any] = []
        self.made = 0
        # Taking reads segments, and may pass on the operating system's error, as opening does.
        self.reading = False
        self.claiming = True
        self._store: msglog.Store | None = None
        self._sharing: Any = None
        self.producer: Any = None

    @property
    def store(self) -> msglog.Store:
        """The open store."""
        if self._store is None:
            raise AssertionError("the store is not open")
        return self._store

    @property
    def engine(self) -> Engine:
        """The engine below."""
        return self.store.core.engine

    @property
    def broker(self) -> msglog.Broker:
        """Its broker."""
        return self.store.broker

    @property
    def is_open(self) -> bool:
        """Whether an opening has ended well."""
        return self._store is not None

    @property
    def moment(self) -> int:
        """How many operations were recorded so far."""
        self.filesystem.disk.notice()
        return len(self.filesystem.disk.operations)

    def open(self) -> None:
        """Open the store, and take something in hand."""
        self._store = open_store(self.filesystem, self.clock, sync=self.sync, segment_bytes=SEGMENT_BYTES)
        self.producer = self.store.log.producer("p")
        self._sharing = self.store.log.share_consumer("s", group="share")
        self.take()

    def take(self) -> None:
        """Have four deliveries and four share records in hand."""
        self.reading = True
        while len(self.held) < 4 and (delivery := self.store.broker.get("work")) is not None:
            self.held.append(delivery)
        self.records += self._sharing.poll(0, max_records=4 - len(self.records)) if len(self.records) < 4 else []
        self.reading = False

    def look_alive(self) -> Books:
        """Have all hands give back what they had, and look at everything in the store that lives on."""
        self._sharing.close()
        self.broker.close()
        with msglog.Broker(self.store) as other:
            return look(self.store, self.clock, other)

    def end(self) -> None:
        """End the process."""
        _worlds.discard(self)
        if self._store is not None:
            bury(self._store.broker, *(one for one in (self.producer, self._sharing) if one is not None))
            self._store = None

    def name(self, size: int = 14) -> bytes:
        """Return a payload unlike all others."""
        self.made += 1
        return b"%d:".__mod__(self.made).ljust(size, b"v")

    # Changes

    def transact(self, *parts: "Part", spoil: Callable[[Any], None] | None = None, sequenced: bool = False) -> None:
        """Do these parts in one transaction; `spoil` does something to it at the end that keeps it from happening."""
        after = self.books.copy()
        done: list[Callable[[], None]] = []
        transaction = self.store.transaction(producer=self.producer if sequenced else None)
        with self._step(None if spoil else after), transaction as tx:
            done += [part(self, tx, after) for part in parts]
            if sequenced:
                after.sequence += sum(len(after.topics[key]) - len(self.books.topics[key]) for key in after.topics)
            if spoil is not None:
                spoil(tx)
        for forget in done if spoil is None else ():
            forget()

    def send(self, queue: str) -> None:
        """Publish outside of any transaction."""
        body, after = self.name(), self.books.copy()
        after.queues[queue] = sorted([*after.queues[queue], body])
        with self._step(after):
            self.store.broker.send(queue, body)

    def ack(self) -> None:
        """Acknowledge outside of any transaction: nothing is promised."""
        delivery, after = self.held[0], self.books.copy()
        after.queues["work"].remove(delivery.body)
        with self._step(after, durable=False):
            delivery.ack()
        self.held.remove(delivery)

    @contextmanager
    def _step(self, after: Books | None, *, durable: bool = True) -> Iterator[None]:
        """`after`: the books once it is done, None when it must come to nothing."""
        if after is None:
            yield
            return
        index = self.history.begin(after, self.moment)  # type: ignore[arg-type]
        try:
            yield
        except MsglogError as error:
            if error.outcome == "not_applied":
                self.history.abandon(index)
            raise
        self.books = after
        self.history.wrote(index, self.moment, self.engine.commit_number)
        if durable and self.sync == "commit":
            self.history.promise(index, self.moment)
        if self.claiming:
            self.history.promise_up_to(int(self.engine.metrics()["durable_commits"]), self.moment)


Part = Callable[[World, Any, Books], Callable[[], None]]
"""Part of a transaction: puts it in, and into the books; returns what is to be forgotten once it is committed."""


def _nothing() -> None:
    pass


def append(topic: str, partition: int, count: int = 1, size: int = 14) -> Part:
    """Append some records."""

    def part(world: World, tx: Any, after: Books) -> Callable[[], None]:
        values = [world.name(size) for _ in range(count)]
        end = len(after.topics[topic, partition])
        if count == 1:
            tx.append(topic, values[0], partition=partition, expected_offset=end)
        else:
            tx.append_many(topic, values, partition=partition)
        after.topics[topic, partition] += values
        return _nothing

    return part


def publish(exchange: str, key: str, *queues: str, **options: Any) -> Part:
    """Publish to these queues."""

    def part(world: World, tx: Any, after: Books) -> Callable[[], None]:
        body = world.name()
        tx.publish(exchange, key, body, **options)
        for name in queues:
            after.queues[name] = sorted([*after.queues[name], body])
        return _nothing

    return part


def _settle(outcome: str) -> Part:
    def part(world: World, tx: Any, after: Books) -> Callable[[], None]:
        delivery = next(one for one in world.held if not one._settled)
        getattr(tx, outcome)(delivery)
        if outcome != "nack":
            after.queues["work"].remove(delivery.body)
        if outcome == "reject":
            after.queues["dlq"] = sorted([*after.queues["dlq"], delivery.body])
        return lambda: world.held.remove(delivery)

    return part


def _share(outcome: str) -> Part:
    def part(world: World, tx: Any, after: Books) -> Callable[[], None]:
        record = next(one for one in world.records if one._settled is False)
        getattr(tx, outcome)(record)
        if outcome != "nack":
            after.shared.remove(record.offset)
        return lambda: world.records.remove(record)

    return part


ack, nack, reject = _settle("ack"), _settle("nack"), _settle("reject")
share_ack, share_release = _share("ack"), _share("nack")


def commit(world: World, tx: Any, after: Books) -> Callable[[], None]:
    """Commit the group's offsets up to the ends before the transaction."""
    offsets = {TopicPartition(*key): len(values) for key, values in world.books.topics.items()}
    tx.commit_offsets("g", offsets)
    after.offsets.update(offsets)
    return _nothing


EVERYTHING: tuple[Part, ...] = (
    append("t", 0),
    append("t", 1, 3),
    append("u", 0),
    publish("e", "", "a", "b"),
    publish("", "dlq", "dlq", delay_ms=DELAY_MS),
    publish("", "work", "work", persistent=False),
    ack,
    nack,
    reject,
    share_ack,
    share_release,
    commit,
)


def work(world: World) -> None:
    """Transactions of all kinds, with direct calls in between and some that come to nothing."""
    world.transact(*EVERYTHING)
    world.take()
    world.send("work")
    world.transact(append("t", 0, 2), append("t", 1), sequenced=True)
    world.transact(*EVERYTHING, spoil=lambda tx: tx.rollback())
    world.transact(ack, publish("", "a", "a"))
    world.ack()
    world.take()
    try:
        world.transact(*EVERYTHING, spoil=lambda tx: tx.append("u", b"x", expected_offset=99))
    except msglog.OffsetConflictError:
        pass
    world.transact(*EVERYTHING, append("u", 0, size=700), sequenced=True)
    world.take()
    world.transact(reject, share_ack)
    world.transact(append("u", 0, size=1200), append("t", 1, size=1200), commit)
    world.transact(publish("e", "", "a", "b"), nack)


def attempt(world: World, workload: Callable[[World], None]) -> Exception | None:
    """Open a world and do something in it; return what it ended with."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # what cannot be given back on a failed store
            world.open()
            workload(world)
    except AssertionError:
        raise
    except Exception as error:  # noqa: BLE001 the tests are about which ones come
        return error
    return None


class WorldCheck:
    """Recovers images one by one, and remembers what equal trees led to."""

    MODES = ("commit", "interval", "none")

    def __init__(self, world: World) -> None:
        self.tried = 0
        self._world = world
        self._known: dict[object, Books] = {}

    def check(self, image: CrashImage) -> None:
        """Recover one image, in one mode or another, and check what it shows."""
        self.tried += 1
        try:
            found = self._known.get(image.key)
            if found is None:
                mode = self.MODES[len(self._known) % 3]
                found = self._known[image.key] = recover(image.build(), self._world.clock.now_ms(), mode)
            check_books(self._world.history, found, image.point, killed=image.killed)
        except Exception as error:
            raise AssertionError(f"{image}: {type(error).__name__}: {error}") from error


def check_books(history: History, found: Books, moment: int, *, killed: bool = False) -> int:
    """Return the index of the state found. Raises AssertionError if no crash at `moment` may lead to it."""
    least, most = history.least(moment, killed=killed), history.most(moment)
    states: list[Any] = [step.state for step in history._steps]
    for index in range(most, least - 1, -1):
        if states[index] == found:
            return index
    elsewhere = [index for index, books in enumerate(states) if books == found]
    raise AssertionError(
        f"found state {elsewhere or 'that never was'}, allowed are {least} to {most} of {history.last}. "
        f"To state {least}: {states[least].difference(found)}. To state {most}: {states[most].difference(found)}"
    )

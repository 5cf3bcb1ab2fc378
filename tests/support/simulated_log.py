"""The calls of the log in a simulated store: each does something, and checks what it returns against the world."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from msglog import FencedError, GroupError, OffsetConflictError, RebalanceError, SettlementError, TopicPartition
from support.simulated_store import SimulatedStore
from support.simulated_world import SHARE_LIMIT, Part, Shares, Topic, World

Row = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...], int | None]
"""Key, value, headers, timestamp or None for the clock's."""

LOCK_MS = 5_000


@dataclass(eq=False)
class Reader:
    """A member of a group and where it is, as far as it was told."""

    group: str
    consumer: Any = None
    positions: dict[TopicPartition, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.group}:{sorted(self.positions.items())}"


@dataclass(eq=False)
class Sharer:
    """A member of a share group and what it has in hand."""

    group: str
    consumer: Any
    hand: dict[tuple[int, int], tuple[int, Any]] = field(default_factory=dict)
    """By (partition, offset): when the lock ends, the record."""

    def __str__(self) -> str:
        return f"{self.group}:{sorted(self.hand)}"


class SimulatedLog(SimulatedStore):
    """The log's calls."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.readers: list[Reader] = []
        self.sharers: list[Sharer] = []
        self.producers: dict[str, Any] = {}

    # Ends

    def bury_consumers(self) -> None:
        """Let nothing of a dead process do anything when it is collected."""
        for one in [*self.readers, *self.sharers]:
            one.consumer._closed = True
        for producer in self.producers.values():
            producer._closed = True
        self.forget_consumers()

    def let_go_of_records(self) -> None:
        """The store is about to be closed: members leave, and what they have in hand comes back."""
        for sharer in self.sharers:
            for place in list(sharer.hand):
                self.world = self._come_back(self.world, sharer, place)
        for producer in self.producers.values():
            producer.close()

    def forget_consumers(self) -> None:
        """They are closed."""
        self.readers, self.sharers, self.producers = [], [], {}

    def advance(self, ms: int) -> None:
        """Let time pass, from one time at which something is due to the next: an end may come between them."""
        end_ms = self.clock.now_ms() + ms
        while (now_ms := self.clock.now_ms()) < end_ms:
            dues = [due_ms for due_ms in self.paper.due_times() if now_ms < due_ms <= end_ms]
            self._advance(min(dues, default=end_ms) - now_ms)
        self.accept_cleaning()

    def _advance(self, ms: int) -> None:
        """Locks expire, and members that have not polled are given up."""
        paper = self.paper.copy()
        paper.advance(ms)
        world = replace(self.world, paper=paper)
        for sharer in self.sharers:
            for place in [place for place, (due_ms, _) in sharer.hand.items() if due_ms <= paper.now_ms]:
                world = self._come_back(world, sharer, place)
        with self._step(world, durable=False, loose=True):
            self.clock.advance(ms=ms)

    def get(self, queue: str, count: int = 1) -> None:
        """Get messages. What is not synced cannot be seen, so now and then somebody has to sync first."""
        for _ in range(count):
            if self.engine.published < self.engine.commit_number:
                ranked = self.paper.queues[queue].levels is not None
                if ranked or self.chance.random() < 0.5 or not self.broker.peek(queue, 1):
                    self.flush()
            wanted = [
                (letter.body, letter.deaths)
                for letter in map(self.paper.queues[queue].letters.get, self.paper.queues[queue].ready)
            ]
            try:
                super().get(queue)
            except AssertionError as error:
                rest = [message.body for message in self.broker.peek(queue, 9)]
                raise AssertionError(f"queue {queue} should give {wanted}; there is still {rest}: {error}") from error

    # Topics

    def create_topic(self, name: str, partitions: int, **options: Any) -> None:
        """Create a topic."""
        topic = Topic(self.world.generations + 1, options, (Part(),) * partitions)
        world = replace(self.world.with_topic(name, topic), generations=self.world.generations + 1)
        with self._step(world):
            self.log.create_topic(name, partitions=partitions, **options)

    def delete_topic(self, name: str) -> None:
        """Delete a topic that nobody reads."""
        with self._step(self.world.with_topic(name, None)):
            self.log.delete_topic(name)

    def add_partition(self, name: str) -> None:
        """Let a topic have one partition more."""
        topic = self.world.topics[name]
        with self._step(self.world.with_topic(name, replace(topic, parts=(*topic.parts, Part())))):
            self.log.add_partitions(name, len(topic.parts) + 1)

    def alter_topic(self, name: str, **options: Any) -> None:
        """Change options of a topic."""
        topic = self.world.topics[name]
        with self._step(self.world.with_topic(name, replace(topic, options={**topic.options, **options}))):
            self.log.alter_topic(name, **options)

    def delete_records(self, name: str, number: int, before: int) -> None:
        """Remove the records of a partition below an offset."""
        topic = self.world.topics[name]
        part = topic.parts[number].trimmed(before)
        with self._step(self.world.with_topic(name, topic.with_part(number, part))):
            start = self.log.delete_records(name, number, before)
        assert start == part.start

    def clean(self) -> None:
        """Apply retention and compaction now."""
        with self._step(self.world, durable=False, loose=True):
            self.log.clean()
        self.accept_cleaning()

    def accept_cleaning(self) -> None:
        """Take over what cleaning has left, once it is known to be legal."""
        world = self.world
        for name, topic in world.topics.items():
            if topic.compacts or topic.options.get("retention_ms") is not None:
                for number in range(len(topic.parts)):
                    world = self.cleaned(world, world, name, number)
        self.world = self.chronicle.last.world = world

    # Appending

    def appended(self, world: World, name: str, number: int, rows: list[Row]) -> World:
        """Return the world after rows were appended to a partition."""
        return world.with_topic(name, world.topics[name].appended(name, number, list(rows), self.clock.now_ms()))

    def append(self, name: str, number: int, row: Row, *, expected: int | None = None) -> None:
        """Append one record to a partition; with an expected offset that does not hold nothing happens."""
        key, value, headers, stamp = row
        part = self.world.topics[name].parts[number]
        options: dict[str, Any] = {"key": key, "headers": headers, "timestamp_ms": stamp, "partition": number}
        if expected not in (None, part.end):
            try:
                self.log.append(name, value, expected_offset=expected, **options)
            except OffsetConflictError:
                return
            raise AssertionError("an offset that does not hold was accepted")
        with self._step(self.appended(self.world, name, number, [row])):
            told = self.log.append(name, value, expected_offset=expected, **options)
        assert (told.partition, told.offset, told.duplicate) == (number, part.end, False)

    def append_plainly(self, name: str, value: bytes, key: bytes | None) -> None:
        """Append the short way: a key or nothing says where."""
        topic = self.world.topics[name]
        number = 0 if len(topic.parts) == 1 else self.log.partition_for(name, key or b"")
        with self._step(self.appended(self.world, name, number, [(key, value, (), None)])):
            told = self.log.append(name, value, key=key)
        assert (told.partition, told.offset) == (number, topic.parts[number].end)

    def append_many(self, name: str, rows: list[tuple[bytes, bytes | None]]) -> None:
        """Append records with keys over all partitions in one commit."""
        world = self.world
        for number, some in self._by_partition(name, rows).items():
            world = self.appended(world, name, number, some)
        with self._step(world):
            self.log.append_many(name, [value for _, value in rows], keys=[key for key, _ in rows])

    def _by_partition(self, name: str, rows: Iterable[tuple[bytes, bytes | None]]) -> dict[int, list[Row]]:
        found: dict[int, list[Row]] = {}
        for key, value in rows:
            number = self.log.partition_for(name, key)
            found.setdefault(number, []).append((key, value, (), None))
        return found

    # Producers

    def hold(self, producer: str) -> None:
        """Become the holder of a producer's name; the one before is fenced."""
        last = self.world.sequences.get(producer, -1)
        before = self.producers.get(producer)
        with self._step(self.world.with_sequence(producer, last)):
            self.producers[producer] = self.log.producer(producer)
        assert self.producers[producer].last_sequence == last
        if before is not None:
            try:
                before.append("a", b"from one who is fenced", partition=0)
            except FencedError:
                before.close()
            else:
                raise AssertionError("two hold one name")

    def produce(self, producer: str, name: str, row: Row, back: int) -> None:
        """Send a record with the next sequence number, again with one that was written, or after a gap."""
        last = self.world.sequences[producer]
        sequence = last + 1 - back
        key, value, headers, stamp = row
        options: dict[str, Any] = {"key": key, "headers": headers, "timestamp_ms": stamp, "sequence": sequence}
        if sequence != last + 1:
            try:
                told = self.producers[producer].append(name, value, partition=0, **options)
            except GroupError:
                return
            assert told.duplicate
            return
        world = self.appended(self.world, name, 0, [row]).with_sequence(producer, sequence)
        with self._step(world):
            told = self.producers[producer].append(name, value, partition=0, **options)
        assert (told.offset, told.duplicate) == (world.topics[name].parts[0].end - 1, False)

    # Groups

    def join(self, group: str, *topics: str, assignor: str = "range") -> None:
        """Let one more consumer join a group."""
        reader = Reader(group)
        reader.consumer = self.log.consumer(
            *topics,
            group=group,
            assignor=assignor,
            on_assign=lambda _, partitions: self._assigned(reader, partitions),
            on_revoke=lambda _, partitions: self._revoked(reader, partitions),
            on_lost=lambda _, partitions: self._revoked(reader, partitions),
        )
        self.readers.append(reader)

    def _assigned(self, reader: Reader, partitions: Iterable[TopicPartition]) -> None:
        for tp in partitions:
            committed = self.world.committed.get(reader.group, {}).get(tp)
            start = self.world.topics[tp.topic].parts[tp.partition].start
            reader.positions[tp] = start if committed is None else committed

    @staticmethod
    def _revoked(reader: Reader, partitions: Iterable[TopicPartition]) -> None:
        for tp in partitions:
            reader.positions.pop(tp, None)

    def poll(self, reader: Reader, most: int) -> int:
        """Poll: records come in order and without a gap, from where the group left off."""
        records = reader.consumer.poll(0, max_records=most)
        for tp in {(one.topic, one.partition) for one in records}:
            mine = [one for one in records if (one.topic, one.partition) == tp]
            position = reader.positions[TopicPartition(*tp)]
            wanted = [one for one in self.world.topics[tp[0]].parts[tp[1]].records if one.offset >= position]
            assert mine == wanted[: len(mine)], f"{tp} from {position}"
            reader.positions[TopicPartition(*tp)] = mine[-1].offset + 1
        if not records:
            for tp, position in reader.positions.items():
                left = [
                    one for one in self.world.topics[tp.topic].parts[tp.partition].records if one.offset >= position
                ]
                assert not left, f"{tp} has {len(left)} records from {position}, and they do not come"
        return len(records)

    def commit(self, reader: Reader) -> bool:
        """Commit the positions of a member; who is a member no more is refused."""
        consumer = reader.consumer
        positions = {tp: consumer.position(tp) for tp in consumer.assignment()}
        for tp, position in positions.items():
            assert position <= self.world.topics[tp.topic].parts[tp.partition].end
        world = self.world.with_committed(reader.group, positions) if positions else self.world
        try:
            with self._step(world):
                consumer.commit()
        except (FencedError, RebalanceError):
            self.chronicle.forget_interrupted()
            return False
        return True

    def leave(self, reader: Reader) -> None:
        """Let a consumer leave."""
        reader.consumer.close()
        self.readers.remove(reader)

    # Share groups

    def join_shares(self, group: str, topic: str) -> None:
        """Let one more member join a share group."""
        shares = self.world.shares.get(group) or Shares(topic)
        with self._step(self.world.with_shares(group, shares)):
            consumer = self.log.share_consumer(topic, group=group, lock_ms=LOCK_MS, delivery_limit=SHARE_LIMIT)
        self.sharers.append(Sharer(group, consumer))

    def _come_back(self, world: World, sharer: Sharer, place: tuple[int, int]) -> World:
        del sharer.hand[place]
        shares = world.shares[sharer.group]
        if shares.times[place] >= SHARE_LIMIT:
            return world.with_shares(sharer.group, shares.with_settled(place))
        return world

    def _in_hands(self, group: str) -> set[tuple[int, int]]:
        return {place for sharer in self.sharers if sharer.group == group for place in sharer.hand}

    def share(self, sharer: Sharer, most: int) -> int:
        """Poll a share group: the lowest offsets that nobody has in hand, but those handed out often enough."""
        held = self._in_hands(sharer.group)
        waiting = [place for place in self.world.unsettled(sharer.group) if place not in held]
        step = self.chronicle.begin(self.world, self.what, loose=True)
        records = sharer.consumer.poll(0, max_records=most)
        taken = [(one.partition, one.offset) for one in records]
        shares = self.world.shares[sharer.group]
        times, settled = dict(shares.times), set(shares.settled)
        for number in range(len(self.world.topics[shares.topic].parts)):
            here = [place for place in waiting if place[0] == number]
            mine = [place for place in taken if place[0] == number]
            whole = len(taken) < most or not mine
            reached = (
                here
                if whole and (mine or len(taken) < most)
                else [place for place in here if mine and place <= mine[-1]]
            )
            over = [place for place in reached if times.get(place, 0) >= SHARE_LIMIT]
            assert mine == [place for place in here if place not in over][: len(mine)]
            settled.update(over)
            if len(taken) < most:
                assert len(mine) == len(here) - len(over), f"partition {number} has more to share"
        for place, record in zip(taken, records, strict=True):
            times[place] = times.get(place, 0) + 1
            assert record.delivery_count == times[place]
            assert record.value == self._value_at(shares.topic, place)
            sharer.hand[place] = (self.clock.monotonic_ms() + LOCK_MS, record)
        self.world = step.world = self.world.with_shares(sharer.group, Shares(shares.topic, frozenset(settled), times))
        self.wrote(durable=False)
        return len(taken)

    def _value_at(self, topic: str, place: tuple[int, int]) -> bytes | None:
        (value,) = [one.value for one in self.world.topics[topic].parts[place[0]].records if one.offset == place[1]]
        return value

    def settle_share(self, sharer: Sharer, place: tuple[int, int], how: str) -> None:
        """Acknowledge, reject or release a record in hand."""
        record = sharer.hand[place][1]
        world = self.world
        if how == "release":
            del (hand := dict(sharer.hand))[place]
            if world.shares[sharer.group].times[place] >= SHARE_LIMIT:
                world = world.with_shares(sharer.group, world.shares[sharer.group].with_settled(place))
            call, sharer_hand = record.release, hand
        else:
            world = world.with_shares(sharer.group, world.shares[sharer.group].with_settled(place))
            sharer_hand = {one: held for one, held in sharer.hand.items() if one != place}
            call = record.ack if how == "ack" else record.reject
        with self._step(world, durable=False):
            call()
        sharer.hand = sharer_hand
        try:
            record.ack()
        except SettlementError:
            return
        raise AssertionError("a record was settled twice")

    def leave_shares(self, sharer: Sharer) -> None:
        """Let a member leave: what it has in hand comes back."""
        world = self.world
        for place in list(sharer.hand):
            world = self._come_back(world, sharer, place)
        with self._step(world, durable=False, loose=True):
            sharer.consumer.close()
        self.sharers.remove(sharer)

    def drain_shares(self, group: str) -> None:
        """Take all that is left of a share group, again until nothing comes."""
        for sharer in list(self.sharers):
            self.leave_shares(sharer)
        if group in self.world.shares:
            self.join_shares(group, self.world.shares[group].topic)
            (sharer,) = self.sharers
            while self.share(sharer, 1000):
                for place in list(sharer.hand):
                    self.settle_share(sharer, place, "ack")
            assert not list(self.world.unsettled(group))
            self.leave_shares(sharer)

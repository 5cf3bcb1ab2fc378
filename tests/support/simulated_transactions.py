"""Transactions in a simulated store: some of everything, in one commit, or nothing of it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from msglog import FencedError, OffsetConflictError, RebalanceError
from support.simulated_log import Reader, Row, Sharer, SimulatedLog
from support.simulated_world import World


class Part(NamedTuple):
    """One call of a transaction: what it does to the world, the call, and what is to be done once it is committed."""

    change: Callable[[World], World]
    call: Callable[[Any], object]
    afterwards: Callable[[], object] = lambda: None
    refusals: tuple[type[Exception], ...] = ()
    words: str = ""

    def __str__(self) -> str:
        return self.words


class SimulatedTransactions(SimulatedLog):
    """`transact`, and what a transaction may be made of."""

    def transact(self, *parts: Part, producer: str | None = None, rolled_back: bool = False) -> bool:
        """Do all parts in one commit, or nothing where one is refused or it is rolled back."""
        world = self.world
        for part in parts:
            world = part.change(world)
        paper = world.paper.copy()
        paper.settle_down()
        world = replace(world, paper=paper)
        refusals = {refusal for part in parts for refusal in part.refusals}
        holder = None if producer is None else self.producers[producer]
        number = self.engine.commit_number
        if rolled_back:
            with self.store.transaction(producer=holder) as tx:
                for part in parts:
                    part.call(tx)
                tx.rollback()
            assert self.engine.commit_number == number
            return False
        try:
            with self._step(world), self.store.transaction(producer=holder) as tx:
                for part in parts:
                    part.call(tx)
        except (FencedError, OffsetConflictError, RebalanceError) as error:
            if type(error) not in refusals:
                raise
            self.chronicle.forget_interrupted()
            with self._step(self.world, durable=False):
                pass  # at most room for what is delayed was made, and nobody can see that
            assert self.engine.commit_number <= number + len(parts)
            return False
        assert OffsetConflictError not in refusals
        for part in parts:
            part.afterwards()
        return True

    def appending(self, name: str, number: int, row: Row, producer: str | None, *, conflict: bool) -> Part:
        """One record for a partition; with `conflict` it expects an offset that it will not get."""
        key, value, headers, stamp = row

        def change(world: World) -> World:
            world = self.appended(world, name, number, [row])
            return world if producer is None else world.with_sequence(producer, world.sequences[producer] + 1)

        expected = self.world.topics[name].parts[number].end + 99 if conflict else None
        return Part(
            change,
            lambda tx: tx.append(
                name, value, key=key, headers=headers, timestamp_ms=stamp, partition=number, expected_offset=expected
            ),
            refusals=(OffsetConflictError,) if conflict else (),
            words=f"append {name} {number} {row}{' in conflict' if conflict else ''}",
        )

    def publishing(self, exchange: str, key: str, **options: Any) -> Part:
        """One message."""
        body = self.body()

        def change(world: World) -> World:
            paper = world.paper.copy()
            paper.publish(exchange, key, body, **options)
            return replace(world, paper=paper)

        return Part(
            change,
            lambda tx: tx.publish(exchange, key, body, **options),
            words=f"publish {exchange} {key} {body!r} {options}",
        )

    def settling(self, queue: str, which: int, how: str) -> Part:
        """One delivery in hand, acknowledged, rejected or given back."""
        held = self.held[queue][which]
        delivery, _, place = held

        def change(world: World) -> World:
            paper = world.paper.copy()
            getattr(paper, how)(queue, place)
            return replace(world, paper=paper)

        return Part(
            change,
            lambda tx: getattr(tx, how)(delivery),
            lambda: self.held[queue].remove(held),
            words=f"{how} {queue} {place}",
        )

    def settling_share(self, sharer: Sharer, place: tuple[int, int]) -> Part:
        """One record of a share group."""
        record = sharer.hand[place][1]
        return Part(
            lambda world: world.with_shares(sharer.group, world.shares[sharer.group].with_settled(place)),
            lambda tx: tx.ack(record),
            lambda: sharer.hand.pop(place),
            words=f"ack of {sharer} {place}",
        )

    def committing(self, reader: Reader) -> Part:
        """The positions of a member of a group; who is a member no more is refused."""
        consumer = reader.consumer
        positions = {tp: consumer.position(tp) for tp in consumer.assignment()}
        return Part(
            lambda world: world.with_committed(reader.group, positions) if positions else world,
            lambda tx: tx.commit_offsets(consumer),
            refusals=(FencedError, RebalanceError),
            words=f"commit of {reader}",
        )

"""The scheduler of a simulation: a seed decides who does what next, what fails, how lives end and how they begin again.

Everything is done call by call in one thread, on a clock that stands still, with file ids from the seed too: so a seed
is one history, and the same one wherever it is run again.
"""

import random
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple
from unittest import mock

from msglog import MsglogError
from support.broker_session import DEAD, small_broker_limits
from support.faults import Fault, FaultPlan
from support.simulated_ends import CutPlan
from support.simulated_transactions import SimulatedTransactions

MODES = ("commit", "commit", "interval", "none")
STEPS = 25
TRACED = 25
KEYS = (b"k1", b"k2", b"k3", b"k4")
QUEUES = ("q", "short", "brief", "poison", "ranked")
DEAD_ENDS = ("dlq", "cut", "late", "toxic")
PLANS_LAST = 6
"""So many calls an armed fault waits for the one it is meant for."""
LONG_MS = 10_000_000
"""Longer than all delays."""


class Act(NamedTuple):
    """Something that can be done: how often it is chosen, whether it can be now, whether life may go on if it fails."""

    weight: int
    run: Callable[[], object]
    possible: bool = True
    simple: bool = False


class Telling:
    """A store whose calls are told before they are made."""

    def __init__(self, store: SimulatedTransactions, note: Callable[[str], None]) -> None:
        self._store = store
        self._note = note

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not callable(found):
            return found

        def told(*arguments: Any, **options: Any) -> Any:
            words = [str(one).replace("vvv", "") for one in (*arguments, *options.items())]
            self._note(f"  {name} {', '.join(words)}")
            return found(*arguments, **options)

        return told


class Life:
    """One simulated history."""

    def __init__(self, seed: int, chance: random.Random | None = None) -> None:
        self.seed = seed
        self.chance = chance or random.Random(seed)
        self.store = SimulatedTransactions(self.chance.choice(MODES), self.chance)
        self.digest = 0
        self.steps = 0
        self.trace: list[str] = []
        self.telling: Any = Telling(self.store, self._note)
        self._values = 0
        self._plan_until = 0
        self._possible: dict[str, Act] = {}
        self._compression: str | None = None
        self._partitions = 1
        self._patches = ExitStack()

    # The whole

    def run(self, steps: int = STEPS) -> "Life":
        """Live through it. Raises `AssertionError` with the seed and the last steps when something does not hold."""
        try:
            self.begin()
            while self.steps < steps:
                acts = self.possible_acts()
                self.step(self.chance.choices(list(acts), [act.weight for act in acts.values()])[0])
            self.see_it_through()
        except Exception as error:
            last = "\n  ".join(self.trace[-TRACED:])
            raise AssertionError(
                f"seed {self.seed} fails at step {self.steps}: {type(error).__name__}: {error}\n"
                f"Replay: MSGLOG_SEED={self.seed} python -m pytest tests/simulation -k one_seed\n  {last}"
            ) from error
        finally:
            self.end()
        return self

    def begin(self) -> None:
        """Open the store and make what every history begins with."""
        self._patches.enter_context(small_broker_limits())
        self._patches.enter_context(mock.patch("os.urandom", random.Random(self.seed).randbytes))
        self.store.open()
        self._furnish()

    def possible_acts(self) -> dict[str, Act]:
        """Return what can be done now; `step` takes one of these."""
        self._draw_topic()
        self._possible = {name: act for name, act in self._acts().items() if act.possible}
        return self._possible

    def step(self, name: str) -> None:
        """Do one of the things that `possible_acts` has just told."""
        self.steps += 1
        self.store.what = name
        self._note(name)
        self._draw_topic()
        self._do(self._possible[name])
        plan = self.store.filesystem.plan
        if plan is not None and self.steps >= self._plan_until and not plan.fired:
            self.store.filesystem.plan = None

    def end(self) -> None:
        """Be done with it, whatever state it is in."""
        self.store.end()
        self._patches.close()

    def _furnish(self) -> None:
        store, chance = self.telling, self.chance
        store.what = "furnishing"
        store.create_topic("a", 2)
        store.create_topic("c", 1, cleanup_policy=chance.choice(("compact", "compact,delete")), retention_ms=3_600_000)
        store.create_topic("s", 2, timestamp_type="append")
        # Each has a queue of its own for its dead letters: whose come first is nobody's promise.
        for name in ("dlq", "cut", "late", "toxic"):
            store.declare(name)
        store.declare("q", dead=DEAD)
        store.declare("short", most=3, dead=("", "cut"))
        store.declare("brief", ttl_ms=60, dead=("", "late"))
        store.declare("poison", limit=1, dead=("", "toxic"))
        store.declare("ranked", levels=2)
        store.declare_exchange("all", "fanout")
        store.declare_exchange("some", "direct")
        for name in ("q", "short"):
            store.bind(name, "all")
        store.bind("q", "some", "one")
        store.flush()

    def _do(self, act: Act) -> None:
        store = self.store
        error = store.attempt(act.run)
        plan = store.filesystem.plan
        if plan is None or not plan.fired:
            return
        store.failures += 1
        if isinstance(plan, CutPlan):
            self._note("  the process ends")
            self._come_again(self.chance.choice((store.kill, store.cut_power)))
        elif (
            isinstance(error, MsglogError)
            and act.simple
            and store.engine.failure is None
            and self.chance.random() < 0.6
        ):
            self._note(f"  {type(error).__name__}, and life goes on")
            store.go_on(error)
        else:
            self._note(f"  {type(error).__name__}, and life ends")
            if store._broker is not None and not store.broker.closed and store.engine.failure is not None:
                store.filesystem.plan = None
                store.refuses()
            self._come_again(self.chance.choice((store.kill, store.cut_power)))

    def _note(self, line: str) -> None:
        self.digest = zlib.crc32(f"{line} {self.store.moment}".encode(), self.digest)
        self.trace.append(f"{self.steps}: {line}")

    def _value(self, size: int | None = None) -> bytes:
        self._values += 1
        if size is None:
            size = self.chance.choice((0, 8, 8, 20, 20, 200, 900))
        return f"{self._values}:".encode().ljust(size, b"v")

    # Ends and beginnings

    def _come_again(self, end: Callable[[], None]) -> None:
        chance, store = self.chance, self.store
        end()
        jump_ms = chance.choice((0, 0, 0, 1, 50, 100_000, 4_000_000, -1, -30, -5_000_000))
        cuts = tuple((chance.randrange(30), chance.random() < 0.5) for _ in range(chance.choice((0, 0, 0, 1, 2))))
        sync = chance.choice(MODES)
        self._note(f"  {end.__name__}, then {len(cuts)} openings cut off, the clock {jump_ms} ms on, {sync}")
        store.come_again(sync, jump_ms=jump_ms, cuts=cuts)

    def _close(self) -> None:
        self.store.close()
        if self.store.filesystem.plan is None or not self.store.filesystem.plan.fired:
            self._come_again(lambda: None)

    def _arm(self) -> None:
        """Let a call to the file system that comes soon fail, or be the process's last one."""
        chance, store = self.chance, self.store
        self._plan_until = self.steps + PLANS_LAST
        kind = chance.random()
        if kind < 0.15:
            # Files that go, go in a checkpoint: whatever it rests on must be durable by then.
            store.filesystem.plan = CutPlan(store.filesystem, chance.randrange(3), behind="unlink")
            self._plan_until += PLANS_LAST
        elif kind < 0.6:
            store.filesystem.plan = CutPlan(store.filesystem, chance.randrange(12))
        else:
            fault = chance.choice(list(Fault))
            store.filesystem.plan = FaultPlan(fault, chance.randrange(6), forever=chance.random() < 0.3)

    def see_it_through(self) -> None:
        """At the end everything that is left comes out, once, and in order."""
        store = self.store
        store.filesystem.plan = None
        store.what = "the end"
        self._come_again(self.chance.choice((store.kill, store.cut_power)))
        store.advance(LONG_MS)
        for name in list(store.paper.queues):
            while store.paper.queues[name].ready:
                store.get(name)
                if store.held.get(name):
                    store.ack(name)
        store.drain_shares("shared")
        store.join("g1", "a")
        (reader,) = store.readers
        while store.poll(reader, 500):
            pass
        store.commit(reader)
        store.what = "the last close"
        store.close()
        store.come_again("commit")

    # What can be done

    def _acts(self) -> dict[str, Act]:
        store = self.telling
        acts = {
            "arm": Act(4, self._arm, store.filesystem.plan is None),
            "kill": Act(1, lambda: self._come_again(store.kill)),
            "lose power": Act(1, lambda: self._come_again(store.cut_power)),
            "close": Act(1, self._close),
            "flush": Act(2, store.flush),
            "advance": Act(5, lambda: store.advance(self.chance.choice((1, 20, 50, 100, 6_000, 400_000)))),
        }
        return acts | self._log_acts() | self._group_acts() | self._broker_acts() | self._definition_acts()

    def _draw_topic(self) -> None:
        """Draw what the topic that comes and goes is like, if it comes now. Twice a step: seeds are known by that."""
        self._compression = self.chance.choice((None, "zlib"))
        self._partitions = self.chance.randrange(1, 4)

    def _row(self) -> Any:
        chance = self.chance
        headers = chance.choice(((), (), (("h", b"1"), ("h", None))))
        stamp = chance.choice((None, None, chance.randrange(1, 1_700_000_000_000)))
        return chance.choice(KEYS), chance.choice((self._value(), self._value(), None)), headers, stamp

    def _append(self) -> None:
        store, chance = self.telling, self.chance
        name = chance.choice(sorted(store.world.topics))
        number = chance.randrange(len(store.world.topics[name].parts))
        end = store.world.topics[name].parts[number].end
        store.append(name, number, self._row(), expected=chance.choice((None, end, end, end + 1)))

    def _append_many(self) -> None:
        name = self.chance.choice(sorted(self.store.world.topics))
        rows = [(self.chance.choice(KEYS), self._value()) for _ in range(self.chance.randrange(1, 12))]
        self.telling.append_many(name, rows)

    def _produce(self) -> None:
        store = self.telling
        name = self.chance.choice(("a", "c", "s"))
        producer = self.chance.choice(sorted(store.producers))
        back = min(self.chance.choice((0, 0, 0, 1, 2, -1)), store.world.sequences[producer] + 1)
        store.produce(producer, name, self._row(), back)

    def _trim(self) -> None:
        store = self.telling
        # A partition that is empty may forget the time of its last record: not one whose times must not go back.
        name = self.chance.choice(sorted(store.world.topics.keys() - {"s"}))
        number = self.chance.randrange(len(store.world.topics[name].parts))
        part = store.world.topics[name].parts[number]
        store.delete_records(name, number, self.chance.randint(part.start, part.end))

    def _log_acts(self) -> dict[str, Act]:
        store, chance = self.telling, self.chance
        made = "x" in store.world.topics
        return {
            "append": Act(6, self._append, simple=True),
            "append plainly": Act(
                6,
                lambda: store.append_plainly(chance.choice(("a", "c", "s")), self._value(), chance.choice(KEYS)),
                simple=True,
            ),
            "append many": Act(5, self._append_many, simple=True),
            "hold": Act(1, lambda: store.hold(chance.choice(("p", "r"))), simple=False),
            "produce": Act(5, self._produce, bool(store.producers), simple=True),
            "create": Act(
                2,
                lambda: store.create_topic("x", self._partitions, compression=self._compression),
                not made,
                simple=True,
            ),
            "delete": Act(1, lambda: store.delete_topic("x"), made, simple=True),
            "add partition": Act(1, lambda: store.add_partition("x"), made, simple=True),
            "alter": Act(1, lambda: store.alter_topic("x", compression=self._compression), made, simple=True),
            "trim": Act(2, self._trim, simple=True),
            "clean": Act(2, store.clean),
        }

    def _group_acts(self) -> dict[str, Act]:
        store, chance = self.telling, self.chance
        readers, sharers = store.readers, store.sharers
        holding = [sharer for sharer in sharers if sharer.hand]
        return {
            "join": Act(2, lambda: store.join("g1", "a"), len(readers) < 3),
            "join another": Act(1, lambda: store.join("g2", "a", "s", assignor="sticky"), len(readers) < 3),
            "poll": Act(6, lambda: store.poll(chance.choice(readers), chance.choice((1, 3, 500))), bool(readers)),
            "commit": Act(5, lambda: store.commit(chance.choice(readers)), bool(readers), simple=True),
            "leave": Act(1, lambda: store.leave(chance.choice(readers)), bool(readers)),
            "join shares": Act(2, lambda: store.join_shares("shared", "s"), len(sharers) < 2),
            "share": Act(5, lambda: store.share(chance.choice(sharers), chance.choice((1, 3, 9))), bool(sharers)),
            "settle share": Act(6, lambda: self._settle_share(chance.choice(holding)), bool(holding)),
            "leave shares": Act(1, lambda: store.leave_shares(chance.choice(sharers)), bool(sharers)),
        }

    def _settle_share(self, sharer: Any) -> None:
        place = self.chance.choice(sorted(sharer.hand))
        self.telling.settle_share(sharer, place, self.chance.choice(("ack", "ack", "reject", "release")))

    def _publish(self) -> None:
        chance = self.chance
        exchange, key = chance.choice((("", chance.choice(QUEUES)), ("all", ""), ("some", "one"), ("some", "none")))
        options: dict[str, Any] = {}
        if chance.random() < 0.15:
            options["delay_ms"] = chance.choice((1, 40, 3_000, 500_000))
        elif key in ("brief", "ranked") and chance.random() < 0.4:
            # Only where messages die for one reason: an end in between may decide which comes first.
            options["expiration_ms"] = chance.choice((1, 40, 3_000))
        if key == "ranked":
            options["priority"] = chance.randrange(4)
        self.telling.publish(
            exchange, key, size=chance.choice((12, 12, 60, 400)), persistent=chance.random() < 0.8, **options
        )

    def _broker_acts(self) -> dict[str, Act]:
        store, chance = self.telling, self.chance
        # Nobody gets from a queue with a limit: what comes back to it decides in which order the others are dropped.
        names = [name for name in (*QUEUES, *QUEUES, *DEAD_ENDS, "t") if name != "short"]
        queues = [name for name in names if name in store.paper.queues]
        held = [name for name, hands in store.held.items() if hands]

        def settle(call: Callable[..., None], **options: Any) -> None:
            name = chance.choice(held)
            call(name, chance.randrange(len(store.held[name])), **options)

        return {
            "publish": Act(12, self._publish, simple=True),
            "publish many": Act(4, lambda: store.publish_many("some", *chance.choices(("one", "x"), k=4)), simple=True),
            "get": Act(10, lambda: store.get(chance.choice(queues), chance.choice((1, 1, 3)))),
            "ack": Act(7, lambda: settle(store.ack), bool(held)),
            "nack": Act(3, lambda: settle(store.nack, delay_ms=chance.choice((0, 0, 30))), bool(held)),
            "reject": Act(3, lambda: settle(store.reject), bool(held)),
            "transact": Act(8, self._transact, simple=False),
            "purge": Act(1, lambda: store.purge(chance.choice(queues))),
        }

    def _transact(self) -> None:
        store, chance = self.store, self.chance
        producer = chance.choice((None, *sorted(store.producers)))
        parts = []
        for _ in range(chance.choice((0, 1, 2, 3))):
            name = chance.choice(("a", "a", "c", "s"))
            number = chance.randrange(len(store.world.topics[name].parts))
            parts.append(store.appending(name, number, self._row(), producer, conflict=chance.random() < 0.1))
        for _ in range(chance.choice((0, 1, 2, 3))):
            exchange, key = chance.choice(
                (("", "short"), ("", "ranked"), ("all", ""), ("some", "one"), ("some", "none"))
            )
            expiring = {"expiration_ms": 40} if key == "ranked" else {}
            parts.append(store.publishing(exchange, key, **chance.choice(({}, expiring, {"delay_ms": 40}))))
        for queue, hands in store.held.items():
            parts += [
                store.settling(queue, which, chance.choice(("ack", "ack", "reject", "nack")))
                for which in range(len(hands))
                if chance.random() < 0.4
            ]
        for sharer in store.sharers:
            parts += [store.settling_share(sharer, place) for place in sharer.hand if chance.random() < 0.5]
        readers = [reader for reader in store.readers if reader.positions]
        if readers and chance.random() < 0.5:
            parts.append(store.committing(chance.choice(readers)))
        self.telling.transact(*parts, producer=producer, rolled_back=chance.random() < 0.1)

    def _definition_acts(self) -> dict[str, Act]:
        store, paper = self.telling, self.store.paper
        temporary = "t" in paper.queues
        policy = "few" in paper.policies
        bound = ("some", "short", "one") in paper.bindings
        return {
            "declare": Act(
                1, lambda: store.declare("t", durable=self.chance.random() < 0.5), not temporary, simple=True
            ),
            "bind t": Act(1, lambda: store.bind("t", "all"), temporary and ("all", "t", "") not in paper.bindings),
            "delete queue": Act(1, lambda: store.delete("t"), temporary, simple=True),
            "bind": Act(1, lambda: store.bind("short", "some", "one"), not bound, simple=True),
            "unbind": Act(1, lambda: store.unbind("short", "some", "one"), bound, simple=True),
            "set policy": Act(1, lambda: store.set_policy("few", "late", self.chance.randrange(1, 6)), not policy),
            "delete policy": Act(1, lambda: store.delete_policy("few"), policy, simple=True),
        }

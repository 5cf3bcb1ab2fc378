"""A whole store in a faulty file system with its world on paper beside it, over many lives.

The broker's calls are those of `BrokerSession`; here are the ends and beginnings of lives, what may be found after
them, and failing calls. The log's calls are in `simulated_log`.
"""

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast
from unittest import mock

import msglog
from msglog import MsglogError, StoreFailedError
from msglog.clock import ManualClock
from msglog.cursors import CursorModel
from msglog.log.share.model import ShareModel
from msglog.storage import Engine
from msglog.storage.recovery import Recovered
from msglog.store import Store
from support.broker_session import BrokerSession, bury, open_store
from support.chronicle import Candidate, Chronicle
from support.crash_images import any_crash_image
from support.disk import Disk
from support.faulty_filesystem import FaultyFileSystem
from support.history import read_entries
from support.paper import Paper
from support.simulated_ends import CutPlan, Ended, Unnoticed
from support.simulated_world import SHARE_LIMIT, Shares, Topic, World, differences


class _WatchedEngine(Engine):
    """Tells the number of the last commit that it has recovered, whatever comes of the opening."""

    note: Callable[[int], None] | None = None

    def load(self) -> Recovered:
        """Recover streams and models."""
        recovered = super().load()
        if self.note is not None:
            self.note(self.recovery.commit)
        return recovered


class SimulatedStore(BrokerSession):
    """One store. `chance` decides what a power cut leaves."""

    def __init__(self, sync: Any, chance: random.Random) -> None:
        self.world = World(Paper(0))
        super().__init__(sync)
        self.chance = chance
        self.chronicle = Chronicle(self.world)
        self.recovered_commit: int | None = None
        self._from_image = False
        self.openings = self.kills = self.power_cuts = self.failures = 0

    # The paper is part of the world; `BrokerSession` changes it by itself.

    @property
    def paper(self) -> Paper:
        """The broker's part of the world."""
        return self.world.paper

    @paper.setter
    def paper(self, paper: Paper) -> None:
        self.world = replace(self.world, paper=paper)

    @property
    def log(self) -> msglog.Log:
        """The open log."""
        return self.broker.store.log

    @property
    def store(self) -> Store:
        """The open store."""
        return self.broker.store

    @contextmanager
    def _step(self, after: Paper | World, *, durable: bool = True, loose: bool = False) -> Iterator[None]:
        world = after if isinstance(after, World) else replace(self.world, paper=after)
        step = self.chronicle.begin(world, self.what, loose=loose)
        yield
        plan = self.filesystem.plan
        if plan is not None and plan.fired and (loose or self.engine.failure is not None):
            raise Unnoticed  # the call returned, but what was to be done beside it may have failed
        self.world = step.world
        self.wrote(durable=durable)

    what = ""
    """What is being called: for those who read what failed."""

    def wrote(self, *, durable: bool) -> None:
        """The last call returned."""
        chronicle, engine = self.chronicle, self.engine
        chronicle.wrote(engine.commit_number)
        if self.sync == "commit":
            if durable:
                chronicle.keep()
            chronicle.promise(engine.published)  # nothing that could vanish may be seen
        chronicle.promise(int(engine.metrics()["durable_commits"]))

    def flush(self) -> None:
        """Flush: all that returned before is durable."""
        self.store.flush()
        self.chronicle.promise(self.chronicle.written)

    # Lives

    def open(self, sync: Any = None) -> None:
        """Open the store and check what is there against what may be there."""
        self.sync = sync or self.sync
        self.opening = True
        self.recovered_commit = None
        self._broker = self._open_broker()
        self.opening = False
        self.openings += 1
        self.clock.advance(ms=0)
        self._check_what_came_back()

    def _open_broker(self) -> msglog.Broker:
        with mock.patch.object(_WatchedEngine, "note", self._note_recovered):
            store = open_store(
                self.filesystem,
                self.clock,
                engine=_WatchedEngine,
                sync=self.sync,
                segment_bytes=self.segment_bytes,
            )
        return store.broker

    def _note_recovered(self, commit: int) -> None:
        self.recovered_commit = commit

    def _check_what_came_back(self) -> None:
        assert self.recovered_commit is not None
        candidates = self.chronicle.came_back(self.recovered_commit)
        if self.sync == "commit":
            self.store.flush()  # what is not synced cannot be seen
        seen = self.observe()
        told = []
        for candidate in candidates:
            kept = candidate.world if candidate.before is None else self._mixed(candidate, seen)
            world = kept.reopened(self.clock.now_ms())
            told.append(differences(world.to_compare(), seen))
            if not told[-1]:
                self.chronicle.settle(candidate, kept)
                if self._from_image:
                    self.chronicle.promise(self.chronicle.written)  # it was on the disk after the loss of power
                    self._from_image = False
                self.world = world
                self.chronicle.begin(world, "opening", loose=True)
                self.wrote(durable=True)
                return
        raise AssertionError(f"recovered commit {self.recovered_commit}, and this is no world that ever was: {told}")

    def _mixed(self, candidate: Candidate, seen: dict[str, Any]) -> World:
        """Return the world between two, with those parts from before that were seen to be as before."""
        mixed, before = candidate.world, candidate.before
        assert before is not None
        first = before.reopened(self.clock.now_ms()).to_compare()
        for what, found in seen.items():
            kind, _, name = what.partition(" ")
            if kind == "topic":
                name, _, number = name.rpartition(" ")
                mixed = self.cleaned(mixed, before, name, int(number))
            elif kind == "queue" and found == first.get(what):
                paper = mixed.paper.copy()
                paper.queues[name] = before.paper.queues[name]
                mixed = replace(mixed, paper=paper)
            elif kind == "delayed" and found == first.get(what):
                paper = mixed.paper.copy()
                paper.delayed = before.paper.delayed
                mixed = replace(mixed, paper=paper)
            elif kind == "shares" and name in before.shares:
                mixed = mixed.with_shares(name, self._shares_between(before, mixed, name, found))
        return mixed

    @staticmethod
    def _shares_between(before: World, after: World, name: str, found: list[tuple[int, int, int]]) -> Shares:
        """Return what a share group knows after a part of a call: some handed out once more, some settled."""
        shares = before.shares[name]
        times, settled = dict(shares.times), set(shares.settled)
        seen = {(number, offset): count for number, offset, count in found}
        for place in before.unsettled(name):
            had = times.get(place, 0)
            if place not in seen:
                assert place in after.shares[name].settled or had >= SHARE_LIMIT, f"{place} of {name} was settled"
                settled.add(place)
                continue
            assert seen[place] in {had, had + 1}, f"{place} of {name} was handed out {seen[place]} times, after {had}"
            times[place] = seen[place]
        return Shares(shares.topic, frozenset(settled), times)

    def close(self) -> None:
        """Close the store: all is durable then."""
        returned = self.paper.copy()
        returned.give_all_back()
        noted = returned.copy()
        noted.note_all()
        self.let_go_of_records()
        self.held = {}
        self.chronicle.begin(replace(self.world, paper=noted), self.what, loose=True)
        engine = self.engine
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # closing a broker whose store has failed
            self.broker.close()
            self.store.close()
        self.forget_consumers()
        self._broker = None
        if engine.failure is not None or (self.filesystem.plan is not None and self.filesystem.plan.fired):
            self._is_over(power_lost=False)
            return
        self.world = self.chronicle.last.world
        self.chronicle.wrote(engine.commit_number)
        self.chronicle.promise(engine.commit_number)
        self.chronicle.end(power_lost=False)

    def let_go_of_records(self) -> None:
        """What the log's consumers have in hand goes back. To be overridden."""

    def forget_consumers(self) -> None:
        """The log's consumers are closed. To be overridden."""

    def kill(self) -> None:
        """End the process; the next opening finds its page cache."""
        plan = self.filesystem.plan
        self._bury()
        if isinstance(plan, CutPlan) and plan.heir is not None:
            self.filesystem = plan.heir
        else:
            self.filesystem = self.filesystem.kill()
        self._is_over(power_lost=False)
        self.kills += 1

    def cut_power(self) -> None:
        """End the machine: what was not synced is there or not."""
        self.kill()
        self.kills -= 1
        disk = self.filesystem.disk
        disk.notice()
        image = any_crash_image(disk.start, disk.operations, self.chance)
        self.filesystem = FaultyFileSystem(Disk(image))
        self.chronicle.end(power_lost=True)
        self._from_image = True
        self.power_cuts += 1

    def _bury(self) -> None:
        if self._broker is not None:
            self.bury_consumers()
            bury(self._broker)
            self._broker = None

    def bury_consumers(self) -> None:
        """Make the log's consumers harmless. To be overridden."""

    def end(self) -> None:
        """Be done with the store."""
        self._bury()

    def _is_over(self, *, power_lost: bool) -> None:
        self.filesystem.plan = None
        self.held = {}
        self.chronicle.end(power_lost=power_lost)

    def come_again(self, sync: Any, *, jump_ms: int = 0, cuts: tuple[tuple[int, bool], ...] = ()) -> None:
        """Open the store again, with a clock that may have jumped.

        `cuts`: openings before that are cut off at a call to the file system, by a kill or by a loss of power.
        """
        self.clock = ManualClock(max(1, self.clock.now_ms() + jump_ms))
        for at, power_lost in cuts:
            plan = self.filesystem.plan = CutPlan(self.filesystem, at)
            try:
                self.open(sync)
            except Ended:
                pass
            except Exception:
                if plan.heir is None:
                    raise
            if plan.heir is not None and self.recovered_commit is not None:
                self.chronicle.came_back(self.recovered_commit)
            if power_lost:
                self.cut_power()
            else:
                self.kill()
        self.filesystem.plan = None
        self.open(sync)

    # Calls that fail

    def attempt(self, call: Callable[[], object]) -> BaseException | None:
        """Make a call that may meet a fault or its own end; return what it raised for that."""
        plan = self.filesystem.plan
        try:
            call()
        except AssertionError:
            raise
        except (Exception, Ended) as error:
            if plan is None or not plan.fired:
                raise
            # What reading meets is passed on as the operating system tells it.
            typed = isinstance(error, MsglogError) or (isinstance(error, OSError) and error.errno)
            if not (typed or isinstance(error, Unnoticed) or isinstance(plan, CutPlan)):
                raise AssertionError(f"not typed: {error!r}") from error
            return error
        return None

    def go_on(self, error: MsglogError) -> None:
        """Live on after a call that failed in a store that did not: it was done as a whole, or not at all."""
        self.filesystem.plan = None
        step = self.chronicle.last
        worlds = [self.world] if error.outcome == "not_applied" else [step.world, self.world]
        if step.number is None:
            self.chronicle.forget_interrupted()
        self.store.flush()
        seen = self.observe()
        told = []
        for world in worlds:
            told.append(differences(world.to_compare(), seen))
            if not told[-1]:
                with self._step(world):
                    pass
                return
        raise AssertionError(f"after {error!r}: {told}")

    def refuses(self) -> None:
        """A store that failed takes no more."""
        try:
            self.broker.declare_queue("other")
        except StoreFailedError:
            return
        raise AssertionError("a store that failed took something")

    # What an open store shows

    def observe(self) -> dict[str, Any]:
        """Return all that an open store shows, as `World.to_compare` does, without changing anything."""
        log, broker, models = self.log, self.broker, self.engine.models
        seen: dict[str, Any] = {"topics": log.topics()}
        for name in seen["topics"]:
            for part in log.describe_topic(name).partitions:
                bounds = (part.start_offset, part.end_offset)
                seen[f"topic {name} {part.partition}"] = (*bounds, tuple(log.read(name, part.partition)))
        groups: Any = models["groups"]
        committed = {group: groups.committed_by(group) for group in sorted(groups.offsets)}
        seen["committed"] = {group: offsets for group, offsets in committed.items() if offsets}
        producers: Any = cast(Any, models["log"]).producers
        seen["sequences"] = {name: producer.last_sequence for name, producer in producers.items()}
        self._observe_shares(seen)
        for queue in broker.queues():
            broker.peek(queue.name, 1)  # what opening or an error has put off is done when somebody looks
        for queue in broker.queues():
            messages = broker.peek(queue.name, 1 << 20)
            lanes = broker._vhost.queues[queue.name].lanes
            delivered = {lane.priority: lane.cursor.next for lane in lanes if lane.cursor.next}
            seen[f"queue {queue.name}"] = ([(message.body, _deaths(message)) for message in messages], delivered)
            assert len(messages) == queue.message_count, queue
        seen["delayed"] = sorted(self._delayed())
        own = [one for one in broker.exchanges() if one.name and not one.name.startswith("amq.")]
        seen["exchanges"] = {(one.name, one.type) for one in own}
        seen["bindings"] = {(one.source, one.destination, one.routing_key) for one in broker.bindings() if one.source}
        seen["policies"] = set(self.broker._vhost.model.policies)
        return seen

    def _delayed(self) -> Iterator[bytes | None]:
        """Yield the bodies of what is not due yet."""
        for bucket in self.broker._vhost.model.buckets.values():
            for entry in read_entries(self.engine.streams[bucket.stream_id]):
                if (entry.timestamp_ms, entry.offset) > bucket.released:
                    yield entry.value

    def _observe_shares(self, seen: dict[str, Any]) -> None:
        models: Any = self.engine.models
        for group, cursors in ShareModel.of(self.engine).groups.items():
            rows = []
            for (topic_id, number), cursor_id in sorted(cursors.items()):
                stream = models["log"].topic_ids[topic_id].partitions[number]
                cursor = models[CursorModel.section].cursors[cursor_id]
                for first, end in cursor.unsettled_ranges(stream.end):
                    rows += [
                        (number, offset, cursor.deliveries.get(offset, int(offset < cursor.next)))
                        for offset in range(max(first, stream.start), end)
                    ]
            seen[f"shares {group}"] = rows

    def cleaned(self, after: World, before: World, name: str, number: int) -> World:
        """Take over what a clean has left of a partition, once it is known to be a legal outcome."""
        if name not in after.topics or number >= len(after.topics[name].parts):
            return after
        topic: Topic = before.topics[name]
        part = topic.parts[number]
        left = tuple(self.log.read(name, number))
        start = self.log.start_offset(name, number)
        offsets = {record.offset for record in left}
        last = {record.key: record.offset for record in part.records}
        retention_ms = topic.options.get("retention_ms")
        for record in part.records:
            if record.offset in offsets:
                continue
            if record.offset < start:
                assert retention_ms is not None
                assert topic.options.get("cleanup_policy") != "compact"
                aged = record.timestamp_ms < self.clock.now_ms() - retention_ms
                # Or compaction took it, and then what was left of its segment was old enough.
                assert aged or (topic.compacts and (record.value is None or record.offset < last[record.key]))
            else:
                assert topic.compacts
                assert record.value is None or record.offset < last[record.key]
        assert tuple(record for record in part.records if record.offset in offsets) == left
        assert start == part.start or start <= part.end
        return after.with_topic(name, after.topics[name].with_part(number, replace(part, start=start, records=left)))


def _deaths(message: msglog.Message) -> tuple[tuple[str, str, int], ...]:
    headers: Any = message.headers or {}
    return tuple((one["queue"], one["reason"], one["count"]) for one in headers.get("x-death", ()))

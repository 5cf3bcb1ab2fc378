"""A real process with a broker is killed at random moments: nothing that it told is undone, nothing is there twice."""

import random
import shutil
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import msglog
from msglog.testing import ManualClock
from support.broker_session import see
from support.broker_worker import FANOUT, QUEUES, run
from support.children import HAS_FORK_SERVER, fork_server
from support.paper import View
from support.recovery import MODES
from support.scale import scaled
from support.telling import tell

KILLS = 20
LONGEST_SECONDS = 0.06
PATIENCE_SECONDS = 30


class _Ledger:
    """What the worker told, and what must be in its store because of that."""

    def __init__(self) -> None:
        self.next = 1
        self.published: dict[str, set[int]] = {"work": set(), "spread": set(), "counted": set()}
        self.uncertain: list[tuple[str, tuple[int, ...]]] = []
        self.settled: dict[tuple[str, int, str], bool] = {}
        self.deliveries: dict[int, int] = {}

    def take(self, lines: Iterable[str]) -> None:
        """Take in what one life told."""
        open_calls: dict[str, tuple[str, ...]] = {}
        for line in lines:
            stage, word, *rest = line.split()
            if word in self.published:
                numbers = tuple(map(int, rest))
                self.next = max(self.next, numbers[-1] + 1)
                if stage == "done":
                    self.published[word].update(numbers)
                    open_calls.pop("publish")
                else:
                    open_calls["publish"] = (word, *rest)
            elif word == "counted-delivery":
                self.deliveries[int(rest[0])] = int(rest[1]) + 1
            else:
                number, where = int(rest[0]), rest[1] if len(rest) > 1 else ""
                self.settled[word, number, where] = stage == "done"
        for word, *numbers in open_calls.values():
            self.uncertain.append((word, tuple(map(int, numbers))))

    def resolve(self, found: Counter[int]) -> None:
        """Decide about calls that were killed: all of a publication is there, or nothing."""
        for word, numbers in self.uncertain:
            there = [number for number in numbers if found[number]]
            assert len(there) in (0, len(numbers)), f"{there} of {numbers} are there"
            if there:
                self.published[word].update(numbers)
        self.uncertain.clear()

    def may_be_gone(self, number: int, where: str = "") -> bool:
        """Whether an acknowledgement of the message was begun."""
        return ("ack", number, where) in self.settled

    def must_be_gone(self, number: int, where: str = "") -> bool:
        """Whether an acknowledgement of the message returned."""
        return self.settled.get(("ack", number, where), False)


def _look(directory: Path, scratch: Path, sync) -> View:
    """Look at all messages without leaving a trace: in a copy of the store."""
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(directory, scratch)
    clock = ManualClock(time.time_ns() // 1_000_000)
    with msglog.Broker(scratch, sync=sync, clock=clock) as broker:
        keep: list[Any] = []
        return see(broker, clock, keep)


def _check(ledger: _Ledger, view: View) -> None:
    where: dict[str, Counter[int]] = {}
    for name in view.queues:
        where[name] = Counter(int(one[0]) for one in [*view.queues[name], *view.later[name]])
    assert where.keys() <= set(QUEUES), "a transient queue came back"
    total = sum(where.values(), Counter())
    ledger.resolve(total)
    in_work, in_dead = where.get("work", Counter()), where.get("dead", Counter())
    for number in ledger.published["work"]:
        copies = in_work[number] + in_dead[number]
        assert copies <= 1, f"{number} is there {copies} times"
        assert copies or ledger.may_be_gone(number), f"{number} is lost"
        assert not (copies and ledger.must_be_gone(number)), f"{number} was acknowledged and came back"
        if ledger.settled.get(("reject", number, "")):
            assert not in_work[number], f"{number} was rejected and is back in its queue"
        if in_dead[number]:
            assert ("reject", number, "") in ledger.settled, f"{number} is dead, and nobody rejected it"
    for number in ledger.published["spread"]:
        for name in FANOUT:
            copies = where[name][number]
            assert copies <= 1
            assert copies or ledger.may_be_gone(number, name), f"{number} is lost in {name}"
            assert not (copies and ledger.must_be_gone(number, name)), f"{number} came back in {name}"
    counts = {int(one[0]): one for one in view.queues.get("counted", ())}
    for number in ledger.published["counted"]:
        assert where["counted"][number] <= 1
        assert number in counts or ledger.may_be_gone(number), f"{number} is lost"
        if number in counts:
            assert not ledger.must_be_gone(number), f"{number} came back"
            # One delivery more may have been counted than the worker could tell of.
            told = ledger.deliveries.get(number, 0)
            assert counts[number][2] in (told, told + 1), f"{number}: {counts[number][2]} deliveries, told of {told}"
            assert counts[number][1] or not told, f"{number} was delivered before"
            ledger.deliveries[number] = counts[number][2]
    known = set().union(*ledger.published.values())
    assert set(total) <= known, f"{set(total) - known} were never published"


@pytest.mark.skipif(not HAS_FORK_SERVER, reason="needs a fork server")
@pytest.mark.parametrize("sync", MODES)
def test_all_that_was_told_survives_the_process(sync, tmp_path: Path, record_property):
    context = fork_server()
    chance = random.Random(31)
    directory = tmp_path / "store"
    ledger = _Ledger()
    told = 0
    for life in range(scaled(KILLS)):
        mine, its = context.Pipe(duplex=False)
        process = context.Process(target=run, args=(str(directory), sync, ledger.next, life, its), daemon=True)
        process.start()
        its.close()
        assert mine.poll(PATIENCE_SECONDS)
        assert mine.recv_bytes() == b"ready"
        lines: list[str] = []
        end = time.monotonic() + chance.random() * LONGEST_SECONDS
        while (left := end - time.monotonic()) > 0:
            if mine.poll(left):
                lines.append(mine.recv_bytes().decode())
        process.kill()
        process.join()
        while True:
            try:
                lines.append(mine.recv_bytes().decode())
            except (EOFError, OSError):
                break
        mine.close()
        told += len(lines)
        ledger.take(lines)
        _check(ledger, _look(directory, tmp_path / "copy", sync))
    tell(record_property, kills=scaled(KILLS), calls=told // 2, messages=ledger.next - 1)

"""Real power cuts: a file system is shut down under a log, a broker and transactions at work, and mounted again.

The writing process is stopped first, so that nothing is told that was not. All that a call promised is there
afterwards, what is there is a prefix of what was done, over all of them together, and no message is lost, in
two places, or there although a flush came after its acknowledgement.
"""

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

import msglog
from support.children import HAS_FORK_SERVER, fork_server
from support.loop_disk import LoopDisk
from support.power_worker import number_of, open_store, prepare, run
from support.recovery import MODES
from support.scale import scaled
from support.telling import tell

CUTS = 4
CUTS_OF_A_STORE = 10
LONGEST_SECONDS = 0.06
PATIENCE_SECONDS = 30

pytestmark = pytest.mark.skipif(not HAS_FORK_SERVER, reason="needs a fork server")


@pytest.fixture(params=["ext4", "xfs"])
def disk(request) -> Iterator[LoopDisk]:
    made = LoopDisk(request.param)
    yield made
    made.close()


class _Ledger:
    """What the workers of one store told, and so what must be in it."""

    def __init__(self) -> None:
        self.first = 1
        self.last = 0
        self.promised = 0
        self._begun: dict[int, str] = {}
        self._settled: set[int] = set()
        self._gone: set[int] = set()
        # Rounds that a cut ended half-way, behind their first or their second call.
        self._alone: set[int] = set()
        self._unpublished: set[int] = set()

    def take(self, lines: Iterable[str], sync: str) -> None:
        """Take in what one life told."""
        for line in lines:
            word, *rest = line.split()
            number = int(rest[0]) if rest else 0
            match word:
                case "done":
                    self.last = number
                    if sync == "commit":
                        self.promised = number
                case "acking" | "rejecting":
                    self._begun[number] = word
                case "settled":
                    self._settled.add(number)
                case "flushed":
                    self.promised = self.last
                    self._gone |= self._settled

    def check(self, store: msglog.Store) -> int:
        """Check a store after a cut; return the number of the last round that is there."""
        appended = [_numbers(store.log, "numbers", partition) for partition in (0, 1)]
        end = max([0, *appended[0], *appended[1]])
        assert self.promised <= end <= self.last + 1
        for partition in (0, 1):
            assert appended[partition] == [n for n in range(1, end + 1) if n % 2 == partition]
        pairs = [_numbers(store.log, "pairs", partition) for partition in (0, 1)]
        assert pairs[0] == pairs[1], "half a commit is there"
        both = _numbers(store.log, "both", 0)
        assert both == [number_of(message.body) for message in store.broker.peek("both", 10**6)], "half a transaction"
        queues = {name: [number_of(message.body) for message in store.broker.peek(name, 10**6)] for name in _QUEUES}
        assert not both or both[-1] <= max(queues["kept"]), "not a prefix"
        assert self.promised in both or self.promised < self.first
        self._check_rounds(end, pairs[0], queues["kept"])
        self._check_settled(Counter(queues["work"]), Counter(queues["dead"]), queues["kept"])
        return end

    def _check_rounds(self, end: int, pairs: list[int], published: list[int]) -> None:
        """A round's second call is there only with its first, the third only with both, and a later round with all."""
        last_pair, last_published = max([0, *pairs]), max([0, *published])
        assert end >= last_pair >= last_published, "not a prefix"
        assert last_published >= self.promised or self.promised in self._alone | self._unpublished
        new = set(range(self.first, end + 1))
        self._alone |= {number for number in new if number > last_pair}
        self._unpublished |= {number for number in new if number > last_published}
        assert len(self._unpublished & new) <= 1, "not a prefix"
        assert pairs == [number for number in range(1, end + 1) if number not in self._alone]
        assert published == [number for number in range(1, end + 1) if number not in self._unpublished]

    def _check_settled(self, work: Counter[int], dead: Counter[int], published: list[int]) -> None:
        assert work.keys() | dead.keys() <= set(published)
        for number in published:
            copies = work[number] + dead[number]
            begun = self._begun.get(number)
            assert copies <= 1, f"{number} is there {copies} times"
            assert copies or begun == "acking", f"{number} is lost"
            assert begun == "rejecting" or not dead[number], f"{number} is dead, and nobody rejected it"
            if number in self._gone:
                assert not work[number], f"{number} was settled, and flushed, and came back"

    def restart(self, end: int) -> None:
        """What was cut off never was: the next life begins behind the end, with what is durable now."""
        self.last = self.promised = end
        self.first = end + 1
        self._begun = {number: word for number, word in self._begun.items() if number <= end}
        self._settled.clear()  # what was not flushed by now came back, or is settled for good


_QUEUES = ("work", "kept", "dead")


def _numbers(log: msglog.Log, topic: str, partition: int) -> list[int]:
    return [number_of(record.value or b"") for record in log.read(topic, partition)]


def _is_stopped(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat").read_text()
    return status.rpartition(")")[2].split()[0] in "Tt"


def _live_until_cut(disk: LoopDisk, directory: Path, sync: str, first: int, seconds: float) -> list[str]:
    """Let a worker work for a while, cut the power under it, and return what it told."""
    context = fork_server()
    mine, its = context.Pipe(duplex=False)
    process = context.Process(target=run, args=(str(directory), sync, first, its), daemon=True)
    process.start()
    its.close()
    try:
        assert mine.poll(PATIENCE_SECONDS)
        assert mine.recv_bytes() == b"ready"
        lines = list(_lines_for(mine, seconds))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)
        end = time.monotonic() + PATIENCE_SECONDS
        while not _is_stopped(process.pid):
            lines += _lines_for(mine, 0.001)
            assert time.monotonic() < end, "the worker does not stop"
        disk.cut()
    finally:
        process.kill()
        process.join()
    while True:
        try:
            lines.append(mine.recv_bytes().decode())
        except (EOFError, OSError):
            break
    mine.close()
    return lines


def _lines_for(pipe: Connection, seconds: float) -> Iterator[str]:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if pipe.poll(left):
            yield pipe.recv_bytes().decode()


def _check(ledger: _Ledger, directory: Path, sync: str) -> int:
    """Open the store and check it. No reference to it is left: its maps would keep the disk busy."""
    with open_store(str(directory), sync) as store:
        return ledger.check(store)


@pytest.mark.parametrize("sync", MODES)
def test_what_was_promised_survives_the_power(disk, sync, record_property):
    chance = random.Random(41)
    directory = disk.place / "store"
    ledger = _Ledger()
    told = 0
    for life in range(scaled(CUTS)):
        if life % CUTS_OF_A_STORE == 0:
            shutil.rmtree(directory, ignore_errors=True)
            prepare(str(directory), sync)
            ledger = _Ledger()
        lines = _live_until_cut(disk, directory, sync, ledger.last + 1, chance.random() * LONGEST_SECONDS)
        ledger.take(lines, sync)
        disk.boot()
        ledger.restart(_check(ledger, directory, MODES[life % 3]))
        told += len(lines)
    tell(record_property, power_cuts=scaled(CUTS), lines_told=told)

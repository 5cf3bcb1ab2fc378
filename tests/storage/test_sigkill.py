"""A real process is killed at random moments: all that it acknowledged is there, and nothing else."""

import random
import time
from pathlib import Path

import pytest

from support import appender, crowd
from support.children import HAS_FORK_SERVER, ForkedChild, forked_child
from support.history import read_entries
from support.numbered import A, check_store, commits_of, open_store
from support.recovery import MODES
from support.scale import scaled
from support.telling import tell

KILLS = 60
LIVES_OF_ONE_STORE = 12  # all of a store is looked at after each kill, so one that grew for ever would take ever longer
LONGEST_SECONDS = 0.15
THREADS = 4

pytestmark = pytest.mark.skipif(not HAS_FORK_SERVER, reason="needs a fork server")


def _kill_after(process: ForkedChild, seconds: float) -> list[str]:
    """Let the child run for a while, kill it, and return the lines it wrote."""
    assert process.stdout.readline() == "ready\n"
    time.sleep(seconds)
    process.kill()
    return process.stdout.read().split("\n")[:-1]  # the last one may have been cut


@pytest.mark.parametrize("sync", MODES)
def test_all_that_was_acknowledged_survives_the_process(sync, tmp_path: Path, record_property):
    chance = random.Random(11)
    commits = done = 0
    for kill in range(scaled(KILLS)):
        if kill % LIVES_OF_ONE_STORE == 0:
            commits, done = commits + done, 0
        directory = str(tmp_path / f"store-{kill // LIVES_OF_ONE_STORE}")
        with forked_child(appender.main, directory, sync) as process:
            # Most lives are short: what a moment is like does not depend on how many came before it.
            acknowledged = [int(line) for line in _kill_after(process, chance.random() ** 2 * LONGEST_SECONDS)]
        last = acknowledged[-1] if acknowledged else done
        assert acknowledged == list(range(done + 1, last + 1))
        done = check_store(directory, sync, least=last, most=last + 1)
    tell(record_property, kills=scaled(KILLS), commits=commits + done)


@pytest.mark.parametrize("sync", MODES)
def test_a_process_killed_while_it_opens(sync, tmp_path: Path, record_property):
    """Recovery by a process that is killed itself, again and again, before it says that it is ready."""
    chance = random.Random(12)
    directory = str(tmp_path / "store")
    with forked_child(appender.main, directory, sync) as process:
        last = int([*_kill_after(process, 0.2), "0"][-2])
    for _ in range(scaled(3)):
        with forked_child(appender.main, directory, sync) as process:
            time.sleep(chance.random() * 0.05)
            process.kill()
            lines = process.stdout.read().split("\n")[:-1]
            last = max([last, *(int(line) for line in lines if line.isdigit())])
    engine = open_store(directory, sync)
    found = commits_of(engine) if A in engine.streams else 0
    engine.close()
    assert found >= last
    check_store(directory, sync, least=last, most=found)
    tell(record_property, kills=scaled(3) + 1)


@pytest.mark.parametrize("sync", MODES)
def test_threads_of_a_killed_process_lose_nothing(sync, tmp_path: Path, record_property):
    """Group commit: many threads wait for one sync, and the process dies among them."""
    chance = random.Random(13)
    directory = str(tmp_path / "store")
    acknowledged = dict.fromkeys(range(1, THREADS + 1), -1)
    for _ in range(scaled(2)):
        with forked_child(crowd.main, directory, sync, THREADS) as process:
            for line in _kill_after(process, chance.random() * LONGEST_SECONDS):
                stream_id, offset = map(int, line.split())
                acknowledged[stream_id] = max(acknowledged[stream_id], offset)
        engine = open_store(directory, sync)
        for stream_id, offset in acknowledged.items():
            stream = engine.streams[stream_id]
            assert stream.end > offset
            values = [entry.value for entry in read_entries(stream)]
            assert values == [b"%d:%d" % (stream_id, place) for place in range(stream.end)]
        engine.close()
    tell(record_property, kills=scaled(2))

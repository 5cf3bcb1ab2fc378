"""A process that consumes, transforms and produces by transactions is killed at random moments: all is done once.

Every message is in the queue that it came from, or in all the places where its transaction put it, and in none of them
twice; offsets and what was made of the records below them agree; and nothing that was told is undone.
"""

import random
import time
from pathlib import Path

import pytest

import msglog
from msglog import TopicPartition
from support.children import HAS_FORK_SERVER, fork_server
from support.recovery import MODES
from support.scale import scaled
from support.telling import tell
from support.transactor import INPUTS, fill, run

KILLS = 8
LONGEST_SECONDS = 0.08
PATIENCE_SECONDS = 30


def _bodies(broker, name):
    return [int(message.body) for message in broker.peek(name, 1 << 20)]


def _check(directory, sync, told) -> int:
    """Return how many transactions there are traces of."""
    with msglog.Store(directory, sync=sync) as store:
        left, done, dead = [_bodies(store.broker, name) for name in ("in", "done", "dead")]
        out = [int(record.value) for record in store.log.read("out")]
        copy = [int(record.value) for record in store.log.read("copy")]
        offset = store.log.describe_group("g").offsets.get(TopicPartition("in", 0), 0)
    assert out == done, "each transaction put the same into both"
    assert sorted([*left, *out, *dead]) == list(range(INPUTS)), "each message is in one place"
    assert copy == list(range(offset)), "the offset says what was copied"
    assert told["worked"] <= set(out)
    assert told["rejected"] <= set(dead)
    assert max(told["copied"], default=-1) < offset
    return len(out) + len(dead) + offset


@pytest.mark.skipif(not HAS_FORK_SERVER, reason="needs a fork server")
@pytest.mark.parametrize("sync", MODES)
def test_each_message_is_processed_once_however_often_the_process_dies(sync, tmp_path: Path, record_property):
    context = fork_server()
    chance = random.Random(17)
    directory = str(tmp_path / "store")
    fill(directory, sync)
    told: dict[str, set[int]] = {"worked": set(), "rejected": set(), "copied": set()}
    processed = calls = 0
    for life in range(scaled(KILLS)):
        mine, its = context.Pipe(duplex=False)
        process = context.Process(target=run, args=(directory, sync, life, its), daemon=True)
        process.start()
        its.close()
        assert mine.poll(PATIENCE_SECONDS)
        assert mine.recv_bytes() == b"ready"
        end = time.monotonic() + chance.random() * LONGEST_SECONDS
        lines = []
        while (left := end - time.monotonic()) > 0:
            if mine.poll(left):
                lines.append(mine.recv_bytes())
        process.kill()
        process.join()
        while True:
            try:
                lines.append(mine.recv_bytes())
            except (EOFError, OSError):
                break
        mine.close()
        calls += len(lines)
        for line in lines:
            word, *numbers = line.decode().split()
            told[word].update(map(int, numbers))
        found = _check(directory, sync, told)
        assert found >= processed
        processed = found
        if processed > INPUTS // 2:
            break
    tell(record_property, kills=life + 1, transactions=calls, messages=processed)

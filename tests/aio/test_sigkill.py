"""A process whose tasks append is killed at random moments: what was acknowledged is there, each task's in order."""

import random
import time
from pathlib import Path

import pytest

import msglog
from support import loop_appender
from support.children import HAS_FORK_SERVER, forked_child
from support.scale import scaled
from support.telling import tell

KILLS = 5
LONGEST_SECONDS = 0.12


@pytest.mark.skipif(not HAS_FORK_SERVER, reason="needs a fork server")
def test_what_tasks_were_told_survives_the_process(tmp_path: Path, record_property):
    chance = random.Random(19)
    directory = str(tmp_path / "store")
    with msglog.Log(directory) as log:
        log.create_topic("t")
    acknowledged: dict[int, bytes] = {}
    for life in range(scaled(KILLS)):
        with forked_child(loop_appender.main, directory, life) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(chance.random() * LONGEST_SECONDS)
            process.kill()
            for line in process.stdout.read().split("\n")[:-1]:  # the last one may have been cut
                offset, value = line.split()
                acknowledged[int(offset)] = value.encode()
        with msglog.Store(directory) as store:
            assert list(store.verify()) == []
            values = [record.value for record in store.log.read("t")]
    assert acknowledged
    assert {offset: values[offset] for offset in acknowledged} == acknowledged
    assert len(set(values)) == len(values)
    numbers = [tuple(map(int, value.split(b":"))) for value in values]
    for task in range(loop_appender.TASKS):
        mine = [number for number in numbers if number[1] == task]
        assert mine == sorted(mine)
    tell(record_property, kills=scaled(KILLS), acknowledged=len(acknowledged))

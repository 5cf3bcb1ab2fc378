"""A deterministic simulation of a whole store: many seeds, each a history of calls, faults, ends and beginnings.

Invariants, after every beginning and at the end: nothing promised is lost, nothing appears that was not written, twice
or out of order, transactions are whole or absent, committed offsets do not lie beyond the end, what is not acknowledged
comes again, and what is does not.
"""

import os
import subprocess
import sys
from collections import Counter

import pytest

from support.scale import scaled
from support.simulated_life import Life
from support.telling import tell

SEEDS = 1000
CHUNKS = 20
ONE_SEED = int(os.environ.get("MSGLOG_SEED", "0"))
PROGRAM = "from support.simulated_life import Life; print(Life({seed}).run().digest)"


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_seed_breaks_a_promise(chunk, record_property):
    each = -(-scaled(SEEDS) // CHUNKS)
    counts: Counter[str] = Counter()
    for seed in range(chunk * each, (chunk + 1) * each):
        life = Life(seed).run()
        counts += Counter(
            seeds=1,
            steps=life.steps,
            openings=life.store.openings,
            kills=life.store.kills,
            power_cuts=life.store.power_cuts,
            faults=life.store.failures,
        )
    assert counts["kills"]
    assert counts["power_cuts"]
    tell(record_property, **counts)


def test_one_seed():
    """Run the seed that MSGLOG_SEED names: what a failing one tells to replay it with."""
    assert Life(ONE_SEED).run().steps


def test_a_seed_is_one_history(record_property):
    seeds = range(7000, 7000 + scaled(10))
    first = [Life(seed).run().digest for seed in seeds]
    assert [Life(seed).run().digest for seed in seeds] == first
    assert len(set(first)) == len(seeds)
    tell(record_property, seeds_run_twice=len(seeds))


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_seed_is_the_same_history_in_another_process(hash_seed):
    folder = os.path.dirname(os.path.dirname(__file__))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(seed=7003)],
        env={**os.environ, "PYTHONPATH": folder, "PYTHONHASHSEED": hash_seed},
        check=True,
        capture_output=True,
        text=True,
    )
    assert int(done.stdout) == Life(7003).run().digest

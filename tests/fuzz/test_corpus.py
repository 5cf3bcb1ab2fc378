"""Everything that reads bytes takes any bytes: what was found once, and mutations of it with checksums repaired.

A target may raise typed errors only, takes seconds of the processor at most, and no memory to speak of.
`python -m support.fuzzing` searches for more.
"""

import importlib

import pytest

from support.fuzzing.corpus import CORPUS, inputs_of
from support.fuzzing.limits import HangError, limits
from support.fuzzing.search import look, mutations
from support.fuzzing.targets import TARGETS
from support.scale import scaled
from support.telling import tell

MUTATIONS = 15
"""For a target that is a whole store; the others are cheaper, and get more."""


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_is_taken(target, record_property):
    inputs = inputs_of(target)
    assert inputs
    found = {name: finding.text for name, data in inputs.items() if (finding := look(target, data))}
    assert found == {}
    tell(record_property, inputs=len(inputs))


@pytest.mark.parametrize("target", TARGETS)
def test_mutations_of_the_corpus_are_taken(target, record_property):
    count = scaled(MUTATIONS * TARGETS[target].weight)
    for data in mutations(target, "the suite's", count):
        finding = look(target, data)
        assert finding is None, f"{finding.place}: {finding.text}"
    tell(record_property, inputs=count)


def test_mutations_reach_what_is_behind_checksums():
    """Most of what is tried is not thrown away at the first look."""
    outcomes = {}
    for target in ("journal", "checkpoint", "frames", "run"):
        found = list(mutations(target, "reach", 200))
        outcomes[target] = sum(TARGETS[target].form.repair(data) == data for data in found) / len(found)
    assert min(outcomes.values()) > 0.5, outcomes


def test_seeds_can_be_made_again(tmp_path):
    seeds = importlib.import_module("support.fuzzing.seeds").make(tmp_path)
    assert {target: sorted(inputs) for target, inputs in seeds.items() if inputs} == {
        folder.name: sorted(path.name for path in folder.iterdir() if not path.name.startswith("found-"))
        for folder in CORPUS.iterdir()
    }


def test_the_corpus_is_small():
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 300_000


def test_what_takes_too_much_is_noticed():
    with pytest.raises(MemoryError), limits():
        bytearray(1 << 33)
    with pytest.raises(HangError), limits(seconds=0.01):
        [None for _ in iter(int, 1)]

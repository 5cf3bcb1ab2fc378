"""The simulation finds bugs: each of some planted ones within a bounded number of seeds."""

import pytest

from support.planted_bugs import BUGS, Bug
from support.simulated_life import Life
from support.telling import tell

MOST_SEEDS = 600


def _fails(seed: int) -> bool:
    try:
        Life(seed).run()
    except AssertionError as error:
        assert f"MSGLOG_SEED={seed} " in str(error)  # noqa: PT017 that is what a failing seed tells
        return True
    return False


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_planted_bug_is_found(bug: Bug, record_property):
    with bug():
        tried = next((seed + 1 for seed in range(MOST_SEEDS) if _fails(seed)), None)
    assert tried is not None, f"{MOST_SEEDS} seeds did not find it"
    tell(record_property, seeds_until_found=tried)

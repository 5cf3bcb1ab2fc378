"""Trying mutations of the corpus, telling findings apart by where they happened, and making them small."""

import random
import traceback
from collections.abc import Iterator
from typing import NamedTuple

from support.fuzzing.corpus import inputs_of
from support.fuzzing.targets import TARGETS, one

_MOST_SMALLER = 300


class Finding(NamedTuple):
    """An input that a target did not take as it should. `place`: what tells it from other findings."""

    target: str
    data: bytes
    place: str
    text: str


def look(target: str, data: bytes) -> Finding | None:
    """Run one input; return what is wrong, None if nothing is."""
    try:
        one(target, data)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/msglog/" in frame.filename]
        place = f"{frames[-1].filename.partition('/msglog/')[2]}:{frames[-1].name}" if frames else "the target"
        return Finding(target, data, f"{type(error).__name__} in {place}", traceback.format_exc())
    return None


def mutations(target: str, seed: str, count: int | None = None) -> Iterator[bytes]:
    """Yield mutations of a target's corpus, the same for the same seed; some are mutated several times."""
    chance = random.Random(f"{target} {seed}")
    pool = list(inputs_of(target).values())
    form = TARGETS[target].form
    made = 0
    while count is None or made < count:
        data = chance.choice(pool)
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            data = form.mutate(data, chance)
        yield data
        made += 1


def smaller(finding: Finding) -> Finding:
    """Return the same finding with fewer bytes: pieces are left out as long as it happens at the same place."""
    best = finding
    tries = 0
    size = max(1, len(best.data) // 2)
    while size and tries < _MOST_SMALLER:
        at = 0
        while at < len(best.data) and tries < _MOST_SMALLER:
            tries += 1
            found = look(best.target, best.data[:at] + best.data[at + size :])
            if found is not None and found.place == finding.place:
                best = found
            else:
                at += size
        size //= 2
    return best

"""How long the searching tests search: MSGLOG_TORTURE multiplies their numbers of cases (1 by default)."""

import os

TORTURE = float(os.environ.get("MSGLOG_TORTURE", "1"))


def scaled(cases: int) -> int:
    """Return how many cases to try where a normal run tries `cases`."""
    return max(1, round(cases * TORTURE))


def stride(every: int) -> int:
    """Return how many cases there are to one that is tried, where a normal run tries one of `every`."""
    return max(1, round(every / TORTURE))

"""A fixture's store, and what recording costs the store that is recorded; see `README.md`."""

from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.harness import Row, Stopwatch, best_rates, ratio_row
from benchmarks.log import VALUES
from msglog import Store
from msglog.testing import ManualClock, record
from msglog.testing.fixtures import StoreOfTest, options_of

TESTS = 500
MOST_MS = 1.0


def testing_rows(folder: Path, rounds: int) -> list[Row]:
    """Opening and closing a fixture's store, and appends in memory with a recorder, without one, and after one."""
    fixture_ms = min(_fixture_ms() for _ in range(rounds))
    candidates = {
        "append in memory": partial(_append, recorded=False, before=False),
        "append, recorded": partial(_append, recorded=True, before=False),
        "append, recorded before": partial(_append, recorded=False, before=True),
    }
    rates = best_rates(candidates, folder, rounds)
    return [
        Row("store of a fixture", f"{fixture_ms:.2f} ms", goal=f"< {MOST_MS:.0f} ms", met=fixture_ms < MOST_MS),
        ratio_row(rates, "append, recorded", "append in memory"),
        ratio_row(rates, "append, recorded before", "append in memory", goal=0.9),
    ]


def _fixture_ms() -> float:
    """Return the median time that a test pays for `msglog_store`, `msglog_log` and `msglog_broker`."""
    options = options_of([], {})
    times: list[float] = []
    for _ in range(TESTS):
        started = perf_counter()
        opened = StoreOfTest(None, ManualClock(), options)
        opened.store.log  # noqa: B018 a fixture each
        opened.store.broker  # noqa: B018
        opened.end()
        times.append((perf_counter() - started) * 1000)
    return median(times)


def _append(_path: Path, *, recorded: bool, before: bool) -> float:
    """Append one by one; return records per second."""
    with Store(":memory:") as store:
        log = store.log
        log.create_topic("t")
        recorder = record(store) if recorded or before else None
        if recorder is not None and before:
            recorder.stop()
        with Stopwatch() as watch:
            for value in VALUES:
                log.append("t", value)
    return len(VALUES) / watch.seconds


MEASURES = {"testing": testing_rows}

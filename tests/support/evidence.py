"""One table at the end of a run: how much was tried, by kind, over all tests.

A plugin of pytest. Tests tell their counts by `telling.tell`; under xdist they come to the controlling process with the
reports, so the table is whole there, too. MSGLOG_EVIDENCE names a file to which the totals and the counts of each test
are written as JSON.
"""

import json
import os
from collections import Counter
from typing import Any

import pytest

KINDS: dict[str, tuple[str, ...]] = {
    "crash images": ("crash_images", "second_crash_images", "crash_images_after_reopening", "torn_stores"),
    "file operations that failed": ("failed_calls", "failed_syncs"),
    "corruptions": (
        "flipped_bits",
        "changed_bytes",
        "sectors",
        "truncations",
        "lost_files",
        "misplaced_files",
        "corruptions",
    ),
    "full disks": ("disk_sizes", "full_disks"),
    "interrupts": ("strikes", "signals"),
    "processes killed": ("kills",),
    "power cuts": ("power_cuts",),
    "model steps": ("steps", "model_steps"),
    "simulation seeds": ("seeds", "simulation_seeds"),
    "fuzz inputs": ("inputs", "fuzz_inputs"),
    "mutants killed": ("mutants_killed",),
}
"""What the table shows, and the names by which tests tell of it."""

_KIND_OF = {name: kind for kind, names in KINDS.items() for name in names}


def totals_of(counts: dict[str, dict[str, int]]) -> dict[str, int]:
    """Return the totals by kind of counts by test and name."""
    totals: Counter[str] = Counter()
    for told in counts.values():
        for name, count in told.items():
            if name in _KIND_OF:
                totals[_KIND_OF[name]] += count
    return {kind: totals[kind] for kind in KINDS if totals[kind]}


class Evidence:
    """Collects what tests told, in the process that reports."""

    def __init__(self) -> None:
        self.counts: dict[str, dict[str, int]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what a test told; only one that passed is evidence."""
        if report.when != "call" or not report.passed:
            return
        told = {name: value for name, value in report.user_properties if isinstance(value, int)}
        if told:
            self.counts[report.nodeid] = told

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the table."""
        totals = totals_of(self.counts)
        if not totals:
            return
        terminalreporter.section("evidence: what was tried")
        width = max(map(len, totals))
        for kind, total in totals.items():
            terminalreporter.write_line(f"{kind:<{width}}  {total:>12,}")
        path = os.environ.get("MSGLOG_EVIDENCE")
        if path:
            with open(path, "w") as file:
                json.dump({"totals": totals, "tests": self.counts}, file, indent=1)


def register(config: pytest.Config) -> None:
    """Have the table printed at the end, by the process that prints the others, too."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Evidence(), "msglog-evidence")

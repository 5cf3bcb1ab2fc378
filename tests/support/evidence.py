"""One table at the end of a run: how much was tried, by kind, over all tests.

A plugin of pytest. Tests tell their counts by `telling.tell`; under xdist they come to the controlling process with the
reports, so the table is whole there, too. MSGLOG_EVIDENCE names a file to which the totals and the counts of each test
are written as JSON.

The page on safety claims numbers of cases: a run of all tests fails when one that it names has told of fewer.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.scale import TORTURE

KINDS: dict[str, tuple[str, ...]] = {
    "crash images": ("crash_images", "second_crash_images", "crash_images_after_reopening", "torn_stores"),
    "file operations that failed": ("failed_calls", "failed_syncs", "failures"),
    "corruptions": (
        "flipped_bits",
        "changed_bytes",
        "sectors",
        "truncations",
        "lost_files",
        "misplaced_files",
        "corruptions",
        "damaged_runs",
        "flips",
    ),
    "full disks": ("disk_sizes", "full_disks"),
    "interrupts": ("strikes", "signals"),
    "processes killed": ("kills", "crashes"),
    "power cuts": ("power_cuts",),
    "model steps": ("model_steps",),
    "simulation seeds": ("seeds", "simulation_seeds"),
    "fuzz inputs": ("inputs", "fuzz_inputs"),
    "mutants killed": ("mutants_killed",),
}
"""What the table shows, and the names by which tests tell of it."""

PAGE = Path(__file__).parents[2] / "docs" / "internals" / "safety.md"
_CLAIM = re.compile(r"`(?P<file>tests/[\w/]+\.py)::(?P<test>\w+)` \| (?:(?P<count>[\d,]+) (?P<kind>[\w ]+) )?\|")
_KIND_OF = {name: kind for kind, names in KINDS.items() for name in names}


class Claim(NamedTuple):
    """What the page says about a test: that it tells of so many cases of a kind; 0 of none."""

    file: str
    test: str
    count: int
    kind: str


def claims() -> list[Claim]:
    """Return what the page on safety claims."""
    return [
        Claim(found["file"], found["test"], int((found["count"] or "0").replace(",", "")), found["kind"] or "")
        for found in _CLAIM.finditer(PAGE.read_text())
    ]


def unmet(claimed: Sequence[Claim], counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return which claims are not met by the tests that told anything."""
    problems = []
    for claim in claimed:
        test = f"{claim.file}::{claim.test}"
        told = [found for name, found in counts.items() if name.partition("[")[0] == test]
        names = {claim.kind.replace(" ", "_"), *KINDS.get(claim.kind, ())}
        count = sum(number for found in told for name, number in found.items() if name in names)
        if told and count < claim.count:
            problems.append(f"{test}: {count} {claim.kind}, {claim.count} are claimed")
    return problems


def totals_of(counts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Return the totals by kind of counts by test and name."""
    totals: Counter[str] = Counter()
    for told in counts.values():
        for name, count in told.items():
            if name in _KIND_OF:
                totals[_KIND_OF[name]] += count
    return {kind: totals[kind] for kind in KINDS if totals[kind]}


class Evidence:
    """Collects what tests told, in the process that reports."""

    def __init__(self, config: pytest.Config) -> None:
        self._is_whole = _is_whole(config)
        self.counts: dict[str, dict[str, int]] = {}
        self._passed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what a test told, at its end or while it was taken down; only one that passed is evidence."""
        if report.when == "call" and report.passed:
            self._passed.add(report.nodeid)
        if report.when == "setup" or report.nodeid not in self._passed:
            return
        told = {name: value for name, value in report.user_properties if isinstance(value, int)}
        if told:
            self.counts[report.nodeid] = told

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Let a whole run fail that tried less than the page claims."""
        if self._is_whole and exitstatus == pytest.ExitCode.OK and unmet(claims(), self.counts):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the table."""
        totals = totals_of(self.counts)
        if not totals:
            return
        terminalreporter.section("evidence: what was tried")
        width = max(map(len, totals))
        for kind, total in totals.items():
            terminalreporter.write_line(f"{kind:<{width}}  {total:>12,}")
        if self._is_whole:
            for problem in unmet(claims(), self.counts):
                terminalreporter.write_line(f"docs/internals/safety.md claims too much: {problem}", red=True)
        path = os.environ.get("MSGLOG_EVIDENCE")
        if path:
            with open(path, "w") as file:
                json.dump({"totals": totals, "tests": self.counts}, file, indent=1)


def _is_whole(config: pytest.Config) -> bool:
    """Whether all tests run, but for folders that were left out, and at least as long as in a normal run."""
    chosen = config.getoption("keyword") or config.getoption("markexpr") or config.getoption("lf", default=False)
    return config.args_source is pytest.Config.ArgsSource.TESTPATHS and not chosen and TORTURE >= 1


def register(config: pytest.Config) -> None:
    """Have the table printed at the end, by the process that prints the others, too."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Evidence(config), "msglog-evidence")

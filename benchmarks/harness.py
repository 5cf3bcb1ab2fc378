"""How the benchmarks measure: the best of several rounds, in which the candidates take turns."""

import gc
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Literal, Self

RECORD_BYTES = 100

Sync = Literal["commit", "interval", "none"]
Candidate = Callable[[Path], float]  # works in an empty directory and returns records per second


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table. `met` is None when there is no goal."""

    what: str
    measured: str
    against: str = ""
    ratio: str = ""
    goal: str = ""
    met: bool | None = None


class Stopwatch:
    """Times a `with` block."""

    def __enter__(self) -> Self:
        gc.collect()
        self.started = perf_counter()
        return self

    def __exit__(self, *_error: object) -> None:
        self.seconds = perf_counter() - self.started


def synced_copy(directory: str, folder: str) -> Path:
    """Copy a store whose process was killed, and sync the copy.

    Such a process had synced all but its last commits; the first sync of a recovery would write out the whole copy.
    """
    copy = shutil.copytree(directory, Path(folder) / "store")
    for path in copy.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    return copy


def best_rates(candidates: dict[str, Candidate], directory: Path, rounds: int) -> dict[str, float]:
    """Let the candidates take turns, each in a directory of its own, and return the best rate of each.

    So whatever slows the machine for a while meets all of them, and the best round is the least disturbed.
    """
    best = dict.fromkeys(candidates, 0.0)
    for _ in range(rounds):
        for name, candidate in candidates.items():
            with TemporaryDirectory(dir=directory) as folder:
                best[name] = max(best[name], candidate(Path(folder)))
    return best


def ratio_row(rates: dict[str, float], what: str, against: str, goal: float | None = None) -> Row:
    """Compare two rates; the goal is a ratio that should be reached."""
    ratio = rates[what] / rates[against]
    return Row(
        what,
        f"{rates[what]:,.0f}/s",
        f"{against} {rates[against]:,.0f}/s",
        f"{ratio:.2f}x",
        "" if goal is None else f">= {goal}x",
        None if goal is None else ratio >= goal,
    )


def print_table(rows: list[Row]) -> None:
    """Print the rows with aligned columns."""
    lines = [("", "msglog", "against", "ratio", "goal", "")]
    verdict = {None: "", True: "met", False: "MISSED"}
    lines += [(row.what, row.measured, row.against, row.ratio, row.goal, verdict[row.met]) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())

"""How long a store takes that a test's fixture opens and closes; see `README.md`."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

from benchmarks.harness import Row
from msglog import Broker, Log, Store

TIMES = 40
GOAL_SECONDS = 0.001
SYNCS = 6
"""How many syncs a new store costs that is opened and closed: they are most of its time, whatever the disk."""


def opening_rows(folder: Path, rounds: int) -> list[Row]:
    """Open and close a new store, in memory and on the disk, and sync a file as often as that does."""
    works: dict[str, Callable[[Path], None]] = {
        "store": in_memory,
        "log, one append": log_in_memory,
        "queue, one message": broker_in_memory,
        "sqlite3": sqlite_in_memory,
        "store on disk": on_disk,
        "syncs alone": syncs_alone,
    }
    best = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, work in works.items():
            with TemporaryDirectory(dir=folder) as directory:
                best[name] = min(best[name], median_seconds(work, Path(directory)))
    against = {"store on disk": "syncs alone"}
    return [
        _row(name, best[name], against.get(name, "sqlite3"), best)
        for name in works
        if name not in ("sqlite3", "syncs alone")
    ]


def _row(name: str, seconds: float, against: str, best: dict[str, float]) -> Row:
    in_memory_too = against == "sqlite3"
    return Row(
        f"fixture: {name}",
        f"{seconds * 1e3:.2f} ms",
        f"{against} {best[against] * 1e3:.2f} ms",
        f"{seconds / best[against]:.2f}x",
        "< 1 ms" if in_memory_too else "",
        seconds < GOAL_SECONDS if in_memory_too else None,
    )


def median_seconds(work: Callable[[Path], None], directory: Path) -> float:
    """Do it many times, each in a place of its own; return the median time."""
    times = []
    for number in range(TIMES):
        began = perf_counter()
        work(directory / str(number))
        times.append(perf_counter() - began)
    return median(times)


def in_memory(_path: Path) -> None:
    """A store in memory."""
    Store(":memory:").close()


def log_in_memory(_path: Path) -> None:
    """A log in memory that is used."""
    with Log(":memory:") as log:
        log.create_topic("t")
        log.append("t", b"x")


def broker_in_memory(_path: Path) -> None:
    """A broker in memory that is used."""
    with Broker(":memory:") as broker:
        broker.declare_queue("q")
        broker.publish("", "q", b"x")


def sqlite_in_memory(_path: Path) -> None:
    """The same with SQLite."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE t (value BLOB NOT NULL)")
        database.execute("INSERT INTO t (value) VALUES (?)", (b"x",))


def on_disk(path: Path) -> None:
    """A new store on the disk."""
    Store(path, sync="none").close()


def syncs_alone(path: Path) -> None:
    """As many syncs of a file that grows as a new store costs."""
    with path.open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            file.write(b"x" * 4096)
            os.fsync(file.fileno())


MEASURES = {"opening": opening_rows}

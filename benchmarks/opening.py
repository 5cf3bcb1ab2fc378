"""How long a store takes that a test's fixture opens and closes, and a process that imports msglog; see `README.md`."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

from benchmarks.harness import Row
from msglog import Broker, Log, Store

TIMES = 40
GOAL_SECONDS = 0.001
SYNCS = 6
"""How many syncs a new store costs that is opened and closed: they are most of its time, whatever the disk."""
PROCESSES = 4
"""How many processes a round starts for each program."""
PROGRAMS = {
    "nothing": "",
    "sqlite3": "import sqlite3",
    "msglog": "import msglog",
    "sqlite3, one row": (
        "import sqlite3\n"
        "database = sqlite3.connect(':memory:')\n"
        "database.execute('CREATE TABLE t (value BLOB NOT NULL)')\n"
        "database.execute('INSERT INTO t (value) VALUES (?)', (b'x',))\n"
        "database.close()\n"
    ),
    "msglog, one append": (
        "import msglog\nwith msglog.Log(':memory:') as log:\n    log.create_topic('t')\n    log.append('t', b'x')\n"
    ),
}


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
    ] + importing_rows(rounds)


def importing_rows(rounds: int) -> list[Row]:
    """Start processes that import something, and one that imports nothing: that is taken off from all the others."""
    best = dict.fromkeys(PROGRAMS, float("inf"))
    for _ in range(rounds * PROCESSES):
        for name, program in PROGRAMS.items():
            best[name] = min(best[name], processor_seconds([sys.executable, "-c", program]))
    bare = best["nothing"]
    rows = []
    for name, against in (("msglog", "sqlite3"), ("msglog, one append", "sqlite3, one row")):
        took, other = best[name] - bare, best[against] - bare
        rows.append(
            Row(f"import {name}", f"{took * 1e3:.1f} ms", f"{against} {other * 1e3:.1f} ms", f"{took / other:.2f}x")
        )
    rows.append(Row("a process without either", f"{bare * 1e3:.1f} ms"))
    return rows


def processor_seconds(command: list[str]) -> float:
    """Run a command and return what it took of the processor, which is the same on a machine that does other things."""
    before = getrusage(RUSAGE_CHILDREN)
    subprocess.run(command, check=True)  # noqa: S603 the interpreter that runs this
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


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

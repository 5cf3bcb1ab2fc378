"""The log against plain files and SQLite, as ratios; `README.md` says what each of them means."""

import random
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from signal import SIGKILL

from benchmarks import baselines, processes
from benchmarks.harness import RECORD_BYTES, Row, Stopwatch, Sync, best_rates, ratio_row, synced_copy
from msglog import Log

VALUES = [random.Random(seed).randbytes(RECORD_BYTES) for seed in range(1000)]
MILLION = 1_000_000
REOPEN_GOAL_MS = 50


def write_rows(folder: Path, rounds: int) -> list[Row]:
    """Appending when nobody waits for the disk."""
    rates = best_rates(
        {
            "write one by one": lambda path: baselines.write_one_by_one(path / "file", VALUES, batches=500),
            "write 1000 joined": lambda path: baselines.write_joined(path / "file", VALUES, batches=500),
            "append_many of 1000": partial(append_many, batches=500),
            "append": partial(append, batches=100),
        },
        folder,
        rounds,
    )
    return [
        ratio_row(rates, "append_many of 1000", "write 1000 joined", goal=1.0),
        ratio_row(rates, "append_many of 1000", "write one by one"),
        ratio_row(rates, "append", "write one by one", goal=0.18),
    ]


def read_rows(folder: Path, rounds: int) -> list[Row]:
    """Reading everything back, each record as an object."""
    batches = 500
    baselines.write_joined(folder / "file", VALUES, batches)
    append_many(folder / "store", batches)
    rates = best_rates(
        {
            "read loop": lambda _: baselines.read_loop(folder / "file"),
            "log.read": lambda _: replay(folder / "store"),
            "consumer": lambda _: consume(folder / "store"),
        },
        folder,
        rounds,
    )
    return [
        ratio_row(rates, "log.read", "read loop", goal=0.6),
        ratio_row(rates, "consumer", "read loop", goal=0.6),
    ]


def durable_rows(folder: Path, rounds: int) -> list[Row]:
    """Appending one by one, each safe on the disk before the next."""
    rates = best_rates(
        {
            "SQLite insert": lambda path: baselines.sqlite_inserts(path / "db", VALUES, batches=2),
            "durable append": partial(append, batches=2, sync="commit"),
            "durable append, 8 threads": partial(append, batches=2, sync="commit", threads=8),
        },
        folder,
        rounds,
    )
    return [
        ratio_row(rates, "durable append", "SQLite insert", goal=1.0),
        ratio_row(rates, "durable append, 8 threads", "durable append", goal=2.0),
    ]


def reopen_rows(folder: Path, rounds: int) -> list[Row]:
    """Opening a store of a million records whose process was killed."""
    rows = []
    for sync in ("none", "commit"):
        for batch in (1000, 1):
            with tempfile.TemporaryDirectory(dir=folder) as killed:
                processes.run("write", killed, sync, batch, MILLION, status=-SIGKILL)
                milliseconds = min(reopen(killed, sync) for _ in range(rounds))
            appended = "one by one" if batch == 1 else f"by {batch}"
            rows.append(
                Row(
                    f"reopen, sync={sync}, {appended}",
                    f"{milliseconds:.1f} ms",
                    goal=f"< {REOPEN_GOAL_MS} ms",
                    met=milliseconds < REOPEN_GOAL_MS,
                )
            )
    return rows


def memory_rows(folder: Path, _rounds: int) -> list[Row]:
    """What a process's own memory grows by while it appends a million records; Linux only."""
    if sys.platform != "linux":
        return []
    rows = []
    for batch in (1000, 1):
        with tempfile.TemporaryDirectory(dir=folder) as store:
            grown_kib = int(processes.run("memory", store, "none", batch, MILLION))
        appended = "one by one" if batch == 1 else f"by {batch}"
        rows.append(Row(f"memory grown, {appended}", f"{grown_kib:,} KiB"))
    return rows


def key_rows(folder: Path, rounds: int) -> list[Row]:
    """Expecting a key's last record, and finding ten records of a key among a million."""
    rates = best_rates(
        {
            "append with a key": partial(append_keyed, batches=20, expecting=False),
            "append, expecting": partial(append_keyed, batches=20, expecting=True),
            "durable append with a key": partial(append_keyed, batches=2, expecting=False, sync="commit"),
            "durable append, expecting": partial(append_keyed, batches=2, expecting=True, sync="commit"),
        },
        folder,
        rounds,
    )
    rows = [
        ratio_row(rates, "append, expecting", "append with a key"),
        ratio_row(rates, "durable append, expecting", "durable append with a key"),
    ]
    for killed in (False, True):
        with tempfile.TemporaryDirectory(dir=folder) as store:
            status = -SIGKILL if killed else 0
            processes.run("write_keyed", store, int(killed), MILLION, status=status)
            milliseconds = float(processes.run("read_key", store))
        ended = "killed" if killed else "closed"
        rows.append(
            Row(
                f"reopen when {ended}, read_key",
                f"{milliseconds:.1f} ms",
                goal=f"< {REOPEN_GOAL_MS} ms",
                met=milliseconds < REOPEN_GOAL_MS,
            )
        )
    return rows


def append_many(path: Path, batches: int) -> float:
    """Append batches, one call each; return records per second."""
    with Log(path, sync="none") as log:
        log.create_topic("bench")
        with Stopwatch() as watch:
            for _ in range(batches):
                log.append_many("bench", VALUES)
    return batches * len(VALUES) / watch.seconds


def append(path: Path, batches: int, sync: Sync = "none", threads: int = 1) -> float:
    """Append the records one by one, shared among the threads; return records per second."""

    def work() -> None:
        for _ in range(batches):
            for value in VALUES[::threads]:
                log.append("bench", value)

    with Log(path, sync=sync) as log:
        log.create_topic("bench")
        with ThreadPoolExecutor(threads) as pool, Stopwatch() as watch:
            for worker in [pool.submit(work) for _ in range(threads)]:
                worker.result()
    return batches * len(VALUES) / watch.seconds


def append_keyed(path: Path, batches: int, *, expecting: bool, sync: Sync = "none") -> float:
    """Append records of a thousand keys in turn, perhaps expecting each key's last one; return records per second."""
    last = dict.fromkeys((b"key-%d" % number for number in range(len(VALUES))), -1)
    with Log(path, sync=sync) as log:
        log.create_topic("bench")
        with Stopwatch() as watch:
            for _ in range(batches):
                for key, value in zip(last, VALUES, strict=True):
                    expected = last[key] if expecting else None
                    last[key] = log.append("bench", value, key=key, expected_key_offset=expected).offset
    return batches * len(VALUES) / watch.seconds


def replay(path: Path) -> float:
    """Read all records with `log.read`; return records per second."""
    count = 0
    with Log(path, sync="none") as log, Stopwatch() as watch:
        for _ in log.read("bench"):
            count += 1
    return count / watch.seconds


def consume(path: Path) -> float:
    """Read all records with a consumer's polls; return records per second."""
    count = 0
    with Log(path, sync="none") as log, log.consumer("bench") as consumer, Stopwatch() as watch:
        while records := consumer.poll(timeout=0):
            count += len(records)
    return count / watch.seconds


def reopen(killed: str, sync: Sync) -> float:
    """Return the milliseconds to open a copy: opening repairs, so that each copy can be opened once."""
    with tempfile.TemporaryDirectory(dir=Path(killed).parent) as parent:
        copy = synced_copy(killed, parent)
        return float(processes.run("open", copy, sync))


MEASURES = {
    "write": write_rows,
    "read": read_rows,
    "durable": durable_rows,
    "keys": key_rows,
    "reopen": reopen_rows,
    "memory": memory_rows,
}

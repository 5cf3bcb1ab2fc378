"""What of the log has to be measured in a process of its own; started by `benchmarks.log`.

    python -m benchmarks.processes write DIRECTORY SYNC BATCH RECORDS     append, then die of SIGKILL
    python -m benchmarks.processes open DIRECTORY SYNC                    print the milliseconds of Log(...)
    python -m benchmarks.processes write_keyed DIRECTORY KILLED RECORDS   append, ten to a key; perhaps die of SIGKILL
    python -m benchmarks.processes read_key DIRECTORY                     print the milliseconds to open and read a key
    python -m benchmarks.processes memory DIRECTORY SYNC BATCH RECORDS    print the growth of RssAnon in KiB

BATCH is the number of records in an append; 1 is `append`, more is `append_many`.
"""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGKILL
from time import perf_counter
from typing import cast

from benchmarks.harness import RECORD_BYTES, Sync
from msglog import Log

# Appends of one record that each wait for the disk would take minutes; from several threads they share syncs.
THREADS = 16


def run(command: str, *arguments: object, status: int = 0, module: str = "benchmarks.processes") -> str:
    """Run a command of a module, of this one if none is named, in a fresh process and return what it printed."""
    argv = [sys.executable, "-m", module, command, *map(str, arguments)]
    finished = subprocess.run(  # noqa: S603 - a module of ours
        argv, check=False, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True
    )
    if finished.returncode != status:
        raise SystemExit(f"{command} ended with status {finished.returncode}, expected was {status}")
    return finished.stdout


def write(directory: str, sync: Sync, batch: int, records: int) -> None:
    """Append, and be killed before anything can be closed."""
    log = Log(directory, sync=sync)
    log.create_topic("bench")
    append_records(log, batch, records, threads=THREADS if (sync, batch) == ("commit", 1) else 1)
    os.kill(os.getpid(), SIGKILL)


def append_records(log: Log, batch: int, records: int, threads: int = 1) -> None:
    """Append records of random bytes, shared among some threads."""

    def work() -> None:
        for _ in range(records // batch // threads):
            if batch == 1:
                log.append("bench", value)
            else:
                log.append_many("bench", [value] * batch)

    value = os.urandom(RECORD_BYTES)
    with ThreadPoolExecutor(threads) as pool:
        for worker in [pool.submit(work) for _ in range(threads)]:
            worker.result()


def measure_open(directory: str, sync: Sync) -> float:
    """Return the milliseconds that opening takes, imports left out."""
    started = perf_counter()
    log = Log(directory, sync=sync)
    milliseconds = (perf_counter() - started) * 1000
    log.close()
    return milliseconds


def write_keyed(directory: str, killed: int, records: int) -> None:
    """Append records of which every tenth of all has the same keys, with an index, and close the log or be killed."""
    log = Log(directory, sync="none")
    log.create_topic("bench")
    log.append("bench", b"", key=b"key-0", expected_key_offset=-1)
    value, keys = os.urandom(RECORD_BYTES), records // 10
    for first in range(0, records, 1000):
        log.append_many("bench", [value] * 1000, keys=[b"key-%d" % (n % keys) for n in range(first, first + 1000)])
    if killed:
        os.kill(os.getpid(), SIGKILL)
    log.close()


def measure_read_key(directory: str) -> float:
    """Return the milliseconds from opening to the last record of a key, imports left out."""
    started = perf_counter()
    log = Log(directory, sync="none")
    count = len(list(log.read_key("bench", b"key-77")))
    milliseconds = (perf_counter() - started) * 1000
    if count != 10:
        raise SystemExit(f"{count} records have the key, not 10")
    log.close()
    return milliseconds


def measure_memory(directory: str, sync: Sync, batch: int, records: int) -> int:
    """Return by how many KiB the process's own memory grows; pages of mapped files do not count."""
    with Log(directory, sync=sync) as log:
        log.create_topic("bench")
        append_records(log, batch, records // 100)
        before = rss_anon_kib()
        append_records(log, batch, records)
        return rss_anon_kib() - before


def rss_anon_kib() -> int:
    """Read the resident anonymous memory of this process; Linux only."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) if found else 0


def main() -> None:
    command, directory, *rest = sys.argv[1:]
    mode, numbers = (rest[0], rest[1:]) if rest else ("", [])
    sync = cast(Sync, mode)  # Log refuses what it does not know
    match command:
        case "write":
            write(directory, sync, *map(int, numbers))
        case "open":
            print(measure_open(directory, sync))
        case "write_keyed":
            write_keyed(directory, *map(int, (mode, *numbers)))
        case "read_key":
            print(measure_read_key(directory))
        case "memory":
            print(measure_memory(directory, sync, *map(int, numbers)))


if __name__ == "__main__":
    main()

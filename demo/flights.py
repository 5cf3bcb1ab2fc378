"""A year of flights through one log: 336,776 records, three groups, one SIGKILL, and every result checked.

    make demo

Every flight that left New York in 2013 is appended to the topic `flights`: keyed by the aircraft's tail
number, so that the flights of one aircraft stay in order, and stamped with the hour of its scheduled
departure. Then three groups read the topic, each for itself:

- `delays` adds up the departure delay per carrier;
- `july` starts at the first hour of July and stops at August, wherever these lie in the log;
- `pool`, three consumers in a process of their own, counts the flights per carrier. Half-way that process
  is killed. The store is opened again, and a new pool goes on where the saved totals end: `pool.py` says
  why nothing is lost and nothing counts twice.

All three must find what a direct pass over the file finds; otherwise the demo exits with status 1.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from signal import SIGKILL
from tempfile import TemporaryDirectory
from time import perf_counter

try:
    from dataset import AUGUST_MS, JULY_MS, Flight, answer, carrier_and_delay, load_airlines, load_flights
    from report import Measured, Results, print_checks, print_measured, print_results
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from totals import Totals

    from msglog import Log, TopicPartition
except ModuleNotFoundError as missing:
    sys.exit(f"the package {missing.name} is missing: `make demo` installs all that the demo needs")

PARTITIONS = 4
BATCH = 1000
POOL = Path(__file__).with_name("pool.py")

Advance = Callable[[int], None]  # moves a progress bar by so many flights


def main() -> None:
    console = Console()
    try:
        flights, airlines = load_flights(), load_airlines()
    except ModuleNotFoundError as missing:
        sys.exit(f"{missing}: `make demo` installs the package {missing.name}, which carries them")
    console.print(f"{len(flights):,} flights left New York in 2013")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with TemporaryDirectory(prefix="msglog-flights-") as directory:
        with Progress(*columns, console=console) as progress:
            results, measured = run(Path(directory), flights, progress)
        with Log(directory) as log:
            answers = answer(flights, partial(log.partition_for, "flights"))
    print_results(console, results, airlines)
    print_measured(console, measured)
    if not print_checks(console, results, answers):
        sys.exit("the log and the file disagree")


def run(directory: Path, flights: list[Flight], progress: Progress) -> tuple[Results, Measured]:
    """Append the flights, let the three groups read them, kill and resume the pool."""

    def bar(what: str, total: int = len(flights)) -> Advance:
        return partial(progress.advance, progress.add_task(what, total=total))

    with Log(directory) as log:
        log.create_topic("flights", partitions=PARTITIONS)
        Totals.create_topic(log, PARTITIONS)
        started = perf_counter()
        append(log, flights, bar("append"))
        appended = perf_counter()
        delays = total_delays(log, bar("group delays"))
        read = perf_counter()
        july_flights = count_july(log, bar("group july", flights_between(log, JULY_MS, AUGUST_MS)))

    half = len(flights) // 2
    run_pool(directory, bar("group pool, killed half-way", half), kill_at=half)
    killed = perf_counter()
    log = Log(directory)
    reopened = perf_counter()
    with log:
        before_kill = saved_totals(log)

    resume_bar = bar("group pool, resumed")
    resume_bar(sum(counts.total() for counts in before_kill.values()))
    run_pool(directory, resume_bar)
    with Log(directory) as log:
        results = Results(delays, july_flights, saved_totals(log), before_kill)
        record_bytes = sum(partition.size_bytes for partition in log.describe_topic("flights").partitions)
    disk_bytes = sum(path.stat().st_blocks * 512 for path in directory.rglob("*"))
    return results, Measured(
        flights=len(flights),
        append_seconds=appended - started,
        read_seconds=read - appended,
        reopen_seconds=reopened - killed,
        record_bytes=record_bytes,
        disk_bytes=disk_bytes,
    )


def append(log: Log, flights: list[Flight], advance: Advance) -> None:
    """Append every flight, a thousand in one commit."""
    for start in range(0, len(flights), BATCH):
        batch = flights[start : start + BATCH]
        log.append_many(
            "flights",
            [flight.line for flight in batch],
            keys=[flight.tail_number for flight in batch],
            headers=[[("carrier", flight.carrier)] for flight in batch],
            timestamps_ms=[flight.scheduled_ms for flight in batch],
        )
        advance(len(batch))


def total_delays(log: Log, advance: Advance) -> Counter[str]:
    """Read everything and add up the minutes of delay per carrier."""
    delays = Counter[str]()
    with log.consumer("flights", group="delays") as consumer:
        while records := consumer.poll(timeout=0, max_records=BATCH):
            for record in records:
                carrier, minutes = carrier_and_delay(record.value or b"")
                delays[carrier] += minutes
            consumer.commit()
            advance(len(records))
    return delays


def flights_between(log: Log, start_ms: int, stop_ms: int) -> int:
    """Return how many offsets lie between two times, without reading any record."""
    between = 0
    for partition in range(PARTITIONS):
        start = log.offset_at("flights", start_ms, partition=partition)
        between += log.offset_at("flights", stop_ms, partition=partition) - start
    return between


def count_july(log: Log, advance: Advance) -> int:
    """Count the flights of July, starting from a time instead of an offset."""
    july_flights = 0
    with log.consumer("flights", group="july") as consumer:
        consumer.seek_to_time(JULY_MS)
        for record in consumer.iter(timeout=0):
            if record.timestamp_ms < AUGUST_MS:
                july_flights += 1
                advance(1)
            else:  # this partition is through; the others go on
                consumer.pause(TopicPartition(record.topic, record.partition))
    return july_flights


def run_pool(directory: Path, advance: Advance, *, kill_at: int | None = None) -> None:
    """Let a pool count in a process of its own, and kill it once it has counted `kill_at` flights."""
    counted = 0
    command = [sys.executable, str(POOL), str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - a script of our own
        for line in process.stdout or ():
            counted += int(line)
            advance(int(line))
            if kill_at is not None and counted >= kill_at:
                process.send_signal(SIGKILL)
    expected = 0 if kill_at is None else -SIGKILL
    if process.returncode != expected:
        sys.exit(f"the pool ended with status {process.returncode}, expected was {expected}")


def saved_totals(log: Log) -> dict[int, Counter[str]]:
    """Return what the pool has saved: flights by partition and carrier."""
    return {partition: Totals.load(log, partition).carriers for partition in range(PARTITIONS)}


if __name__ == "__main__":
    main()

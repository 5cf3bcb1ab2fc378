"""What the demo prints: the results beside each other, what was measured, and whether all of it is right."""

from collections import Counter
from typing import NamedTuple

from dataset import Answers
from rich.console import Console
from rich.table import Table


class Results(NamedTuple):
    """What the three groups found."""

    delay_minutes: Counter[str]
    july_flights: int
    flights: dict[int, Counter[str]]
    flights_before_kill: dict[int, Counter[str]]


class Measured(NamedTuple):
    """How long the steps took, and what is on disk."""

    flights: int
    append_seconds: float
    read_seconds: float
    reopen_seconds: float
    record_bytes: int
    disk_bytes: int


def print_results(console: Console, results: Results, airlines: dict[str, str]) -> None:
    """Print the totals per carrier and the pool's totals per partition."""
    flights = sum(results.flights.values(), Counter())
    carriers = Table("carrier", "airline", title="Group `delays` and group `pool`: totals per carrier")
    carriers.add_column("departure delay, minutes", justify="right")
    carriers.add_column("flights", justify="right")
    for carrier, minutes in results.delay_minutes.most_common():
        carriers.add_row(carrier, airlines[carrier], f"{minutes:,}", f"{flights[carrier]:,}")
    console.print(carriers)

    pool = Table("partition", title="Group `pool`: flights counted")
    for column in ("before SIGKILL", "after reopening", "together"):
        pool.add_column(column, justify="right")
    for partition, counted in sorted(results.flights.items()):
        before, total = results.flights_before_kill[partition].total(), counted.total()
        pool.add_row(str(partition), f"{before:,}", f"{total - before:,}", f"{total:,}")
    console.print(pool)


def print_measured(console: Console, measured: Measured) -> None:
    """Print rates, sizes and the time to reopen."""
    table = Table("measured", title="Speed and size")
    table.add_column("value", justify="right")
    table.add_row("append", f"{measured.flights / measured.append_seconds:,.0f} flights/s")
    table.add_row("read and add up delays", f"{measured.flights / measured.read_seconds:,.0f} flights/s")
    table.add_row("reopen after SIGKILL", f"{measured.reopen_seconds * 1000:,.1f} ms")
    table.add_row("the topic's records", f"{measured.record_bytes / 1e6:,.1f} MB")
    table.add_row("the store on disk", f"{measured.disk_bytes / 1e6:,.1f} MB")
    console.print(table)


def print_checks(console: Console, results: Results, answers: Answers) -> bool:
    """Compare each result with the direct pass over the file; return whether all are equal."""
    checks = {
        "delays: minutes per carrier": results.delay_minutes == answers.delay_minutes,
        f"july: {results.july_flights:,} flights": results.july_flights == answers.july_flights,
        "pool: flights per partition and carrier": results.flights == answers.flights,
    }
    for what, equal in checks.items():
        console.print(f"{'[green]as in the file' if equal else '[red]DIFFERS from the file'}[/]  {what}")
    return all(checks.values())

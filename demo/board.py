"""What the second part of the demo prints: the results, what was measured, and whether all of it is right."""

from collections import Counter
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from timetable import QUEUES, Answers, Departure


class Results(NamedTuple):
    """What went into the queues, and what came out of them."""

    copies: dict[str, int]  # by queue, after publishing
    worst: list[int]  # in the order in which the priority queue gave them
    reported: Counter[int]  # by the crew, before the kill and after
    left_after_kill: int  # messages in the crew's queue
    dead_letters: list[tuple[int, str, str]]  # number, queue, reason


class Measured(NamedTuple):
    """How long the steps took, and what was on disk."""

    publish_seconds: float
    worst_seconds: float
    crew_seconds: float
    reopen_seconds: float
    published_bytes: int
    end_bytes: int


def print_results(console: Console, results: Results, flights: list[Departure], airlines: dict[str, str]) -> None:
    """Print what the crew found per carrier, and the flights at the head of the priority queue."""
    statuses = count_statuses(results, flights)
    table = Table("carrier", "airline", title="The crew: departures per carrier")
    for column in ("ontime", "late", "cancelled"):
        table.add_column(column, justify="right")
    for carrier in sorted({carrier for carrier, _ in statuses}):
        counts = (f"{statuses[carrier, status]:,}" for status in ("ontime", "late", "cancelled"))
        table.add_row(carrier, airlines[carrier], *counts)
    console.print(table)

    worst = Table("flight", title="The priority queue: what comes out first")
    worst.add_column("hours late", justify="right")
    for number in results.worst[:5]:
        worst.add_row(flights[number].name, f"{flights[number].delay_minutes / 60:.1f}")
    console.print(worst)


def print_measured(console: Console, results: Results, measured: Measured) -> None:
    """Print rates, sizes and the time to reopen."""
    flights = len(results.reported)
    table = Table("measured", title="Speed and size")
    table.add_column("value", justify="right")
    table.add_row("publish", f"{flights / measured.publish_seconds:,.0f} flights/s")
    table.add_row(
        f"copies stored, in {len(QUEUES)} queues", f"{sum(results.copies.values()) / measured.publish_seconds:,.0f} /s"
    )
    table.add_row("priority queue, acknowledged one by one", f"{len(results.worst) / measured.worst_seconds:,.0f} /s")
    table.add_row("crew, settled one by one", f"{results.reported.total() / measured.crew_seconds:,.0f} flights/s")
    table.add_row("reopen after SIGKILL", f"{measured.reopen_seconds * 1000:,.1f} ms")
    table.add_row("the store on disk, all published", f"{measured.published_bytes / 1e6:,.1f} MB")
    table.add_row("the store on disk, crew finished", f"{measured.end_bytes / 1e6:,.1f} MB")
    console.print(table)


def print_checks(
    console: Console, results: Results, answers: Answers, flights: list[Departure], in_hand_at_most: int
) -> bool:
    """Compare the results with the direct pass over the flights; return whether all are right."""
    again = results.reported.total() - len(results.reported)
    checks = {
        f"queue {queue}: {copies:,} messages": copies == answers.copies[queue]
        for queue, copies in results.copies.items()
    }
    checks |= {
        "priority queue: every late flight, in order": results.worst == answers.worst,
        "crew: flights per carrier and status": count_statuses(results, flights) == answers.statuses,
        f"crew: {results.left_after_kill:,} left after SIGKILL, {again:,} came again": again <= in_hand_at_most,
        f"dead letters: {len(results.dead_letters):,} cancelled flights, each once, rejected by the crew": sorted(
            results.dead_letters
        )
        == [(number, "crew", "rejected") for number in answers.cancelled],
    }
    for what, right in checks.items():
        console.print(f"{'[green]as in the file' if right else '[red]DIFFERS from the file'}[/]  {what}")
    return all(checks.values())


def count_statuses(results: Results, flights: list[Departure]) -> Counter[tuple[str, str]]:
    """Count what the crew reported, each flight once, by carrier and status."""
    return Counter((flights[number].carrier, flights[number].status) for number in results.reported)

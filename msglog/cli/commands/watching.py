"""`top`: rates, lag and depth as they change. Imported by `main`."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count, islice
from typing import Annotated, Any, Final

import typer

from msglog.cli.application import command
from msglog.cli.commands.looking import PANEL
from msglog.cli.opening import reading
from msglog.cli.options import AsJsonLines, StorePath
from msglog.cli.output import terminal
from msglog.cli.output.table import Column, make_table, show_cell, show_rows
from msglog.cli.output.units import show_time
from msglog.cli.rows.rates import busiest_first, look_at, rate_rows
from msglog.store import Store
from msglog.waiting import Waiter

_COLUMNS: Final = (
    Column("kind", "KIND"),
    Column("name", "NAME"),
    Column("in_per_second", "IN/S", "rate"),
    Column("out_per_second", "OUT/S", "rate"),
    Column("waiting", "LAG/DEPTH", "count"),
)
_OTHER_LINES: Final = 4


@command("top", panel=PANEL, examples=("top ./shop", "top ./shop --once", "top ./shop -i 10 --json >> rates.jsonl"))
def top(
    store: StorePath,
    *,
    interval: Annotated[
        float, typer.Option("--interval", "-i", min=0.1, max=3600.0, help="Seconds between two looks.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Measure over one interval, then end.")] = False,
    iterations: Annotated[int | None, typer.Option("--iterations", "-n", min=1, help="Measure so many times.")] = None,
    as_json: AsJsonLines = False,
) -> None:
    """Watch rates, lag and depth as they change.

    What goes into topics and queues, what groups and consumers are done with, and what waits for them. On a
    terminal a view that is renewed, until Ctrl-C; elsewhere a line for each thing and interval. OUT/S of a group
    follows its commits, of a queue its acknowledgements.
    """
    times = 1 if once else iterations
    with reading(store) as opened, ExitStack() as view:
        samples = islice(_samples(opened, interval), times)
        if as_json or not terminal.can_redraw():
            for rows in samples:
                _write(rows, as_json=as_json)
            return
        if once:
            for rows in samples:
                show_rows(rows, _COLUMNS, as_json=False, empty="nothing to watch")
            return
        from rich.live import Live  # noqa: PLC0415 only terminals need it

        view.enter_context(terminal.ended_in_order())
        live = view.enter_context(Live(console=terminal.console(), screen=True, auto_refresh=False))
        live.update(_page(opened, [], interval), refresh=True)
        rows = []
        for rows in samples:
            live.update(_page(opened, rows, interval), refresh=True)
        view.close()  # the screen is as before, with nothing of what was seen: what was measured last stays
        show_rows(rows, _COLUMNS, as_json=False, empty="nothing to watch")


def _samples(store: Store, interval: float) -> Iterator[list[dict[str, Any]]]:
    before, since = look_at(store), time.monotonic()
    for _ in count():
        Waiter().wait(interval)
        now, until = look_at(store), time.monotonic()
        yield list(rate_rows(before, now, until - since, time.time_ns() // 1_000_000))
        before, since = now, until


def _write(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    for row in rows:
        if as_json:
            terminal.json_line(row)
        else:
            kind, name, came, went, waiting = (show_cell(column.kind, row[column.field]) for column in _COLUMNS)
            parts = [show_time(row["timestamp_ms"]), kind, name]
            parts += [f"in {came}/s"] * (row["in_per_second"] is not None)
            parts += [f"out {went}/s"] * (row["out_per_second"] is not None)
            parts += [f"waiting {waiting}"] * (row["waiting"] is not None)
            terminal.line("  ".join(parts))
    terminal.flush()


def _page(store: Store, rows: list[dict[str, Any]], interval: float) -> Any:
    from rich.console import Group  # noqa: PLC0415 only terminals need it
    from rich.text import Text  # noqa: PLC0415

    now = show_time(time.time_ns() // 1_000_000)
    writer = "written now" if store.core.engine.writer_is_alive() else "nobody writes"
    head = Text(f"{store.path}  {writer}  {now[11:19]} UTC, every {interval:g} s, Ctrl-C ends", style="dim")
    if not rows:
        return Group(head, Text("\nmeasuring"))
    # What does not fit on the screen is said.
    room = max(1, terminal.console().height - _OTHER_LINES)
    rest = len(rows) - room
    foot = Text(f"and {rest} more", style="dim") if rest > 0 else Text("")
    return Group(head, Text(""), make_table(busiest_first(rows)[:room], _COLUMNS), foot)

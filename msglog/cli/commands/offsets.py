"""`reset-offsets`: moving what a group has committed. Imported by `main`."""

import sys
from typing import Annotated, Any, Final

import typer

from msglog.cli.application import command
from msglog.cli.asking import confirm
from msglog.cli.commands.defining import PANEL
from msglog.cli.opening import reading, writing
from msglog.cli.options import TIME_HELP, AsJson, StorePath, TopicName, Yes, time_of, usage
from msglog.cli.output import terminal
from msglog.cli.output.table import Column, show_rows
from msglog.cli.rows.selecting import Selection
from msglog.cli.rows.topics import reset_rows
from msglog.log import Log

_PLAN: Final = (
    Column("group", "GROUP"),
    Column("topic", "TOPIC"),
    Column("partition", "PARTITION", "count"),
    Column("current_offset", "CURRENT OFFSET", "count"),
    Column("new_offset", "NEW OFFSET", "count"),
    Column("new_lag", "NEW LAG", "count"),
)


@command(
    "reset-offsets",
    panel=PANEL,
    examples=(
        "reset-offsets ./shop billing orders --to earliest",
        "reset-offsets ./shop billing orders --to 1200 -p 0 --execute",
        "reset-offsets ./shop billing orders --to-time 2h --execute",
    ),
)
def reset_offsets(
    store: StorePath,
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The group; made if there is none.")],
    topic: TopicName,
    *,
    to: Annotated[
        str | None, typer.Option("--to", help="earliest, latest, an offset, or -N for N before the end.")
    ] = None,
    to_time: Annotated[
        str | None, typer.Option("--to-time", metavar="TIME", help=f"The first record not older: {TIME_HELP}.")
    ] = None,
    partition: Annotated[int | None, typer.Option("--partition", "-p", min=0, help="Only this one.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be.")] = False,
    execute: Annotated[bool, typer.Option("--execute", help="Do it without asking.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Move the offsets of a group, after showing where to.

    Without --execute the question is asked first; where nobody can be asked, or with --dry-run, nothing is moved.
    Groups with members cannot be moved.
    """
    if (to is None) == (to_time is None):
        raise usage("one of --to and --to-time says where to")
    do = (execute or yes) and not dry_run
    with reading(store) as opened:
        targets = _targets(opened.log, topic, partition, to, time_of("--to-time", to_time))
        rows = list(reset_rows(opened.log, group, topic, targets))
    show_rows(rows, _PLAN, as_json=as_json, empty="no partitions")
    if dry_run or (not do and not sys.stdin.isatty()):
        terminal.note("nothing was moved; --execute does it")
        return
    terminal.flush()
    confirm(f"Move the offsets of group {group}?", yes=do)
    with writing(store) as opened:
        opened.log.reset_offsets(group, topic, to=targets)
    if not as_json:
        terminal.line("moved")


def _targets(log: Log, topic: str, partition: int | None, to: str | None, time_ms: int | None) -> dict[int, int]:
    options: dict[str, Any] = {"since_ms": time_ms}
    if to == "latest":
        numbers = Selection(partition=partition).partitions(log, topic)
        return {number: log.end_offset(topic, number) for number in numbers}
    if to not in {None, "earliest"}:
        digits = str(to).removeprefix("-")
        if not (digits.isdecimal() and digits.isascii()):
            raise usage(f"--to takes earliest, latest, an offset, or -N for N before the end; not {to!r}")
        options["start"] = int(str(to))
    selection = Selection(partition=partition, **options)
    return {number: selection.first_offset(log, topic, number) for number in selection.partitions(log, topic)}

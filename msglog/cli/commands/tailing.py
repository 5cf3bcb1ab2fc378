"""`tail`: the last records or messages, and those that come. Imported by `main`."""

from typing import Annotated, Final

import typer

from msglog.cli.application import command
from msglog.cli.commands.dumping import PANEL
from msglog.cli.opening import reading
from msglog.cli.options import AsJsonLines, IsQueue, PartitionNumber, StorePath, usage
from msglog.cli.output.lines import LinePrinter
from msglog.cli.rows.following import QueueFollower, TopicFollower
from msglog.waiting import Waiter

_LOOK_SECONDS: Final = 0.1
_Name = Annotated[str, typer.Argument(metavar="NAME", help="A topic, or with --queue a queue.", show_default=False)]


@command(
    "tail",
    panel=PANEL,
    examples=("tail ./shop orders", "tail -f ./shop orders -n 0 --json | jq .value", "tail -f ./shop mail --queue"),
)
def tail(
    store: StorePath,
    name: _Name,
    *,
    queue: IsQueue = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    count: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many to begin with.")] = 10,
    partition: PartitionNumber = None,
    as_json: AsJsonLines = False,
) -> None:
    """Show the last records or messages, and follow.

    In the form of dump. With --follow also what another process appends or publishes from now on; it is looked for
    ten times a second. A message that was consumed before that is shown as long as it is still there.
    """
    if queue and partition is not None:
        raise usage("--queue goes without --partition")
    with reading(store) as opened:
        printer = LinePrinter(as_json=as_json, live=follow)
        if queue:
            messages = QueueFollower(opened, name)
            for stored in messages.last(count):
                printer.message(name, stored)
            while follow:
                Waiter().wait(_LOOK_SECONDS)
                for stored in messages.news():
                    printer.message(name, stored)
            return
        records = TopicFollower(opened, name, partition)
        for record in records.last(count):
            printer.record(record)
        while follow:
            Waiter().wait(_LOOK_SECONDS)
            for record in records.news():
                printer.record(record)

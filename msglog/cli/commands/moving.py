"""`export` and `import`: JSON Lines out of a store and into one. Imported by `main`."""

import sys
from typing import Annotated, Any, Final, TextIO

import typer

from msglog.cli.application import command
from msglog.cli.commands.keeping import PANEL
from msglog.cli.opening import reading, writing
from msglog.cli.options import AsJson, IsQueue, PartitionNumber, StorePath, usage
from msglog.cli.output import terminal
from msglog.cli.output.text import safe
from msglog.cli.output.units import counted
from msglog.store.lines import Utf8Lines

_Name = Annotated[str, typer.Argument(metavar="NAME", help="A topic, or with --queue a queue.", show_default=False)]
_PIPE: Final = "-"


@command(
    "export",
    panel=PANEL,
    examples=("export ./shop orders > orders.jsonl", "export ./shop mail --queue --output mail.jsonl"),
)
def export(
    store: StorePath,
    name: _Name,
    *,
    queue: IsQueue = False,
    partition: PartitionNumber = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where to; - is standard output.")
    ] = _PIPE,
    as_json: AsJson = False,
) -> None:
    """Write a topic or a queue as JSON Lines.

    All records, or the messages that wait, for import to read. A file appears once all is written, or not at all.
    """
    if queue and partition is not None:
        raise usage("--queue goes without --partition")
    target: str | TextIO = sys.stdout if output == _PIPE else output
    with reading(store) as opened:
        if queue:
            count = opened.broker.export_messages(name, target)
        else:
            count = opened.log.export_records(name, target, partition=partition)
    if output != _PIPE:
        text = f"wrote {counted(count, 'line')} to {safe(output)}"
        terminal.done(text, {"name": name, "lines": count, "file": output}, as_json=as_json)


@command(
    "import",
    panel=PANEL,
    examples=("import ./shop orders orders.jsonl", "export ./old mail -q | msglog import ./shop mail -q"),
)
def import_(
    store: StorePath,
    name: _Name,
    source: Annotated[str, typer.Argument(metavar="[FILE]", help="JSON Lines; - is standard input.")] = _PIPE,
    *,
    queue: IsQueue = False,
    keep_partitions: Annotated[bool, typer.Option(help="Each record to the partition its line names.")] = True,
    as_json: AsJson = False,
) -> None:
    """Append JSON Lines to a topic or a queue.

    As export writes them; the topic or queue has to be there. Up to 10,000 lines or 16 MiB are one commit; after an
    error the message says how many are there.
    """
    lines: Any = Utf8Lines(sys.stdin.buffer) if source == _PIPE else source
    with writing(store) as opened:
        if queue:
            count = opened.broker.import_messages(name, lines)
        else:
            count = opened.log.import_records(name, lines, keep_partitions=keep_partitions)
    text = f"imported {counted(count, 'message' if queue else 'record')} into {safe(name)}"
    terminal.done(text, {"name": name, "lines": count}, as_json=as_json)

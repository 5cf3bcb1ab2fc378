"""`dump` and `peek`: records, frames and messages as they lie there. Imported by `main`."""

from itertools import islice
from typing import Annotated, Final

import typer

from msglog.cli.application import command
from msglog.cli.opening import reading
from msglog.cli.options import (
    TIME_HELP,
    AsJsonLines,
    IsQueue,
    PartitionNumber,
    QueueName,
    StorePath,
    time_of,
    usage,
)
from msglog.cli.output import terminal
from msglog.cli.output.lines import LinePrinter
from msglog.cli.output.units import counted, show_bytes_size, show_time
from msglog.cli.rows.following import waiting
from msglog.cli.rows.frames import frame_rows
from msglog.cli.rows.selecting import Selection, selected
from msglog.store import Store

PANEL: Final = "Reading"
_BEGINNING: Final = "beginning"
_Name = Annotated[str, typer.Argument(metavar="NAME", help="A topic, or with --queue a queue.", show_default=False)]
_Offset = Annotated[
    str | None,
    typer.Option("--offset", "-o", metavar="OFFSET", help="Begin there: a number, -N for the last N, or beginning."),
]
_Until = Annotated[int | None, typer.Option("--until", min=0, help="End before this offset.")]
_Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help=f"Not older: {TIME_HELP}.")]
_Before = Annotated[str | None, typer.Option("--before", metavar="TIME", help="Older than this.")]
_Key = Annotated[str | None, typer.Option("--key", "-k", help="Only records with this key.")]
_Count = Annotated[int | None, typer.Option("--count", "-c", min=0, help="At most so many.")]
_Frames = Annotated[bool, typer.Option("--frames", help="The batches as they lie on disk, without what is in them.")]


@command(
    "dump",
    panel=PANEL,
    examples=(
        "dump ./shop orders -o -10",
        "dump ./shop orders -p 0 --since 2h -k customer-7",
        "dump ./shop orders --frames",
        "dump ./shop mail --queue --json | jq .body",
    ),
)
def dump(
    store: StorePath,
    name: _Name,
    *,
    queue: IsQueue = False,
    partition: PartitionNumber = None,
    offset: _Offset = None,
    until: _Until = None,
    since: _Since = None,
    before: _Before = None,
    key: _Key = None,
    count: _Count = None,
    frames: _Frames = False,
    as_json: AsJsonLines = False,
) -> None:
    """Write the records of a topic, or the messages of a queue.

    One a line. Records: partition:offset, time, key, value, headers. Messages that are not settled: time,
    exchange:routing key, body, properties. Text is shown as text; other bytes, and whatever could disturb a
    terminal, are escaped. A key that is missing is -, a value (null).
    """
    selection = Selection(
        partition=partition,
        start=_offset_of(offset),
        stop=until,
        since_ms=time_of("--since", since),
        before_ms=time_of("--before", before),
        key=None if key is None else key.encode(errors="surrogateescape"),
        count=count,
    )
    if queue and (frames or any(one is not None for one in (partition, offset, until, since, before, key))):
        raise usage("--queue goes with --count only")
    if frames and key is not None:
        raise usage("--frames goes without --key: frames are not looked into")
    with reading(store) as opened:
        if frames:
            _dump_frames(opened, name, selection, as_json=as_json)
            return
        printer = LinePrinter(as_json=as_json)
        if queue:
            for stored in islice(waiting(opened, name), count):
                printer.message(name, stored)
            return
        for record in selected(opened.log, name, selection):
            printer.record(record)


@command("peek", panel=PANEL, examples=("peek ./shop mail", "peek ./shop mail -n 1 --json"))
def peek(
    store: StorePath,
    queue: QueueName,
    *,
    count: Annotated[int, typer.Option("--count", "-n", min=0, help="At most so many.")] = 10,
    as_json: AsJsonLines = False,
) -> None:
    """Show the next messages of a queue, without taking them.

    One a line: time, exchange:routing key, body, properties. What consumers of the writing process have in hand is
    among them.
    """
    with reading(store) as opened:
        printer = LinePrinter(as_json=as_json)
        for stored in islice(waiting(opened, queue), count):
            printer.message(queue, stored)


def _dump_frames(opened: Store, name: str, selection: Selection, *, as_json: bool) -> None:
    for row in islice(frame_rows(opened.log, name, selection), selection.count):
        if as_json:
            terminal.json_line(row)
            continue
        first, last = show_time(row["timestamp_ms"]), show_time(row["max_timestamp_ms"])
        parts = [
            f"{row['partition']}:{row['base_offset']} to before {row['next_offset']}",
            counted(row["records"], "record"),
            show_bytes_size(row["bytes"]) + (f" of {row['compression']}" if row["compression"] else ""),
            f"commit {row['commit']}",
            first if first == last else f"{first} to {last}",
            f"{row['file']} at {row['position']}",
        ]
        terminal.line("  ".join(parts))


def _offset_of(text: str | None) -> int | None:
    if text is None or text == _BEGINNING:
        return None
    number = text.removeprefix("-")
    if not (number.isdecimal() and number.isascii()):
        raise usage(f"--offset takes a number, -N for the last N, or {_BEGINNING}; not {text!r}")
    return int(text)

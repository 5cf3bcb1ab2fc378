"""`append`: records for a topic. Imported by `main`."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from msglog.cli.application import command
from msglog.cli.inputs import batches_of_lines, telling_how_many, whole_input
from msglog.cli.opening import writing
from msglog.cli.options import AsJsonLines, Headers, StorePath, TopicName, pairs, usage
from msglog.cli.output import terminal
from msglog.cli.output.units import counted
from msglog.log import Log

PANEL: Final = "Writing"


@command(
    "append",
    panel=PANEL,
    examples=(
        "append ./shop orders 'order 1' -k customer-7 -H source=shell",
        "append ./shop orders --file order.json",
        "append ./shop prices -K : < prices.txt",
    ),
)
def append(
    store: StorePath,
    topic: TopicName,
    value: Annotated[
        str | None, typer.Argument(metavar="[VALUE]", help="The value; else the lines of standard input.")
    ] = None,
    *,
    key: Annotated[str | None, typer.Option("--key", "-k", help="The key of each record.")] = None,
    delimiter: Annotated[
        str | None, typer.Option("--key-delimiter", "-K", metavar="TEXT", help="Split each line into key and value.")
    ] = None,
    header: Headers = None,
    partition: Annotated[int | None, typer.Option("--partition", "-p", min=0, help="Where to; else by key.")] = None,
    file: Annotated[str | None, typer.Option("--file", "-f", help="A file whose bytes are the value.")] = None,
    tombstone: Annotated[bool, typer.Option("--null", "-Z", help="No value: a tombstone.")] = False,
    as_json: AsJsonLines = False,
) -> None:
    """Append records to a topic.

    A value, a file, or each line of standard input. Lines that are there together become one commit. On return all
    is on the disk.
    """
    if delimiter is not None and (not delimiter or key is not None or value is not None or file is not None):
        raise usage("--key-delimiter takes a text, and goes with the lines of standard input and without --key")
    if tombstone and (value is not None or file is not None):
        raise usage("--null goes without a value")
    headers = [(name, text.encode(errors="surrogateescape")) for name, text in pairs("--header", header)]
    options: dict[str, Any] = {"partition": partition, "headers": headers}
    given_key = None if key is None else key.encode(errors="surrogateescape")
    whole = whole_input("VALUE", value, file)
    with writing(store) as opened:
        log = opened.log
        log.describe_topic(topic)  # a missing one is told before anything is read
        if whole is not None or tombstone:
            _tell(_append(log, topic, [whole], given_key, None, options), as_json=as_json)
            return
        done = 0
        for lines in batches_of_lines("record"):
            values, keys = _split(lines, delimiter)
            with telling_how_many(done, "record"):
                placed = _append(log, topic, values, given_key, keys, options)
            done += len(values)
            if as_json:
                _tell(placed, as_json=True)
        if not as_json:
            terminal.line(f"appended {counted(done, 'record')} to {topic}")


def _append(
    log: Log,
    topic: str,
    values: Sequence[bytes | None],
    key: bytes | None,
    keys: Sequence[bytes | None] | None,
    options: dict[str, Any],
) -> list[dict[str, Any]]:
    headers = options["headers"]
    placed = log.append_many(
        topic,
        values,
        key=key,
        keys=keys,
        headers=[headers] * len(values) if headers else None,
        partition=options["partition"],
    )
    return [
        {"topic": topic, "partition": partition, "base_offset": offsets.start, "records": len(offsets)}
        for partition, offsets in sorted(placed.items())
    ]


def _split(lines: list[bytes], delimiter: str | None) -> tuple[list[bytes | None], list[bytes | None] | None]:
    """Return values and keys; a line without the delimiter has no key."""
    if delimiter is None:
        return list(lines), None
    mark = delimiter.encode(errors="surrogateescape")
    values: list[bytes | None] = []
    keys: list[bytes | None] = []
    for line in lines:
        key, found, value = line.partition(mark)
        keys.append(key if found else None)
        values.append(value if found else line)
    return values, keys


def _tell(placed: list[dict[str, Any]], *, as_json: bool) -> None:
    for row in placed:
        if as_json:
            terminal.json_line(row)
        else:
            terminal.line(f"appended to {row['topic']}, partition {row['partition']}, offset {row['base_offset']}")
    terminal.flush()

"""`verify`, `backup`, `salvage`, `recover`: looking after a store. Imported by `main`."""

from dataclasses import asdict
from typing import Annotated, Final

import typer

from msglog.cli.application import command
from msglog.cli.exits import PROBLEM
from msglog.cli.opening import check_there, reading, writing
from msglog.cli.options import AsJson, AsJsonLines, StorePath
from msglog.cli.output import terminal
from msglog.cli.output.progress import progress_bar
from msglog.cli.output.table import Column, show_item
from msglog.cli.output.text import safe
from msglog.salvaging import salvage as salvage_store
from msglog.store.verifying import verify as verify_store

PANEL: Final = "Looking after"
_Into = Annotated[str, typer.Argument(metavar="DIRECTORY", help="A new or empty directory.", show_default=False)]

_BACKUP: Final = (
    Column("directory", "backup"),
    Column("commit", "last commit", "count"),
    Column("files", "files", "count"),
    Column("bytes", "size", "bytes"),
    Column("duration_ms", "took", "duration"),
)
_SALVAGED: Final = (
    Column("directory", "salvaged into"),
    Column("records", "records", "count"),
    Column("bytes", "size", "bytes"),
    Column("complete", "complete", "flag"),
    Column("lost_definitions", "lost definitions", "count"),
)
_RECOVERED: Final = (
    Column("clean", "was closed cleanly", "flag"),
    Column("commit", "last commit", "count"),
    Column("replayed_commits", "replayed commits", "count"),
    Column("cut_bytes", "cut", "bytes"),
    Column("quarantined", "quarantined", "names"),
    Column("duration_ms", "took", "duration"),
)


@command("verify", panel=PANEL, examples=("verify ./shop", "verify ./shop --json > problems.jsonl"))
def verify(store: StorePath, *, as_json: AsJsonLines = False) -> None:
    """Check every byte of a store.

    And what must hold in it; a line for each problem. Nothing is changed. Works while another process writes, for
    stores that were not closed, and for damaged ones. The exit code is 1 when there is a problem.
    """
    check_there(store)
    count = 0
    with progress_bar("verifying") as progress:
        for problem in verify_store(store, progress=progress):
            count += 1
            if as_json:
                terminal.json_line(asdict(problem))
            else:
                terminal.line(safe(str(problem)))
            terminal.flush()
    if count:
        raise typer.Exit(PROBLEM)
    if not as_json:
        terminal.line("no problems")


@command("backup", panel=PANEL, examples=("backup ./shop ./shop-monday",))
def backup(store: StorePath, directory: _Into, *, as_json: AsJson = False) -> None:
    """Copy a store, while it is in use.

    The copy is the store at one commit, and is a store itself.
    """
    with reading(store) as opened, progress_bar("copying") as progress:
        report = opened.backup(directory, progress=progress)
    show_item(asdict(report), _BACKUP, as_json=as_json)


@command("salvage", panel=PANEL, examples=("salvage ./shop ./shop-saved",))
def salvage(store: StorePath, directory: _Into, *, as_json: AsJson = False) -> None:
    """Save what can be read of a damaged store.

    It goes into a new store. What is missing is told, a line each; the exit code is 1 then. The damaged store stays
    as it is.
    """
    check_there(store)
    report = salvage_store(store, directory)
    row = {**asdict(report), "complete": report.complete}
    show_item(row, _SALVAGED, as_json=as_json)
    if not as_json:
        for gap in report.gaps:
            owner = f"topic {gap.topic}" if gap.topic is not None else f"queue {gap.queue}" if gap.queue else "delayed"
            part = "" if gap.partition is None else f", partition {gap.partition}"
            terminal.line(safe(f"missing: {owner}{part}, offsets {gap.first_offset} to before {gap.next_offset}"))
        for name in report.adopted:
            terminal.line(f"of unknown origin: topic {safe(name)}")
    if not report.complete:
        terminal.flush()
        raise typer.Exit(PROBLEM)


@command("recover", panel=PANEL, examples=("recover ./shop",))
def recover(store: StorePath, *, as_json: AsJson = False) -> None:
    """Open a store once for writing, and tell how it was found.

    Needed before looking at a store whose writer was killed.
    """
    with writing(store) as opened:
        report = opened.recovery
    show_item(asdict(report), _RECOVERED, as_json=as_json)

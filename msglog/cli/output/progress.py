"""A progress bar beside the output, on a terminal only. Imported by the commands that take long."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msglog.cli.output import terminal

Progress = Callable[[int, int], None]


@contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
    """Show how far something has come; yields what is called with the bytes done and the bytes there are."""
    if not sys.stderr.isatty() or terminal.console(errors=True).is_dumb_terminal:
        yield lambda _done, _total: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TimeRemainingColumn(),
    )
    console = terminal.console(errors=True)
    with terminal.ended_in_order(), Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

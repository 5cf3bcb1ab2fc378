"""Rows as a table for people, or as JSON. Imported by the commands.

A column says which field it shows and what kind of thing that is; fields without a column are for JSON only.
"""

from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from msglog.cli.output import terminal
from msglog.cli.output.text import show_mapping, show_value
from msglog.cli.output.units import show_bytes_size, show_count, show_duration, show_rate, show_time

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, Any]
Kind = Literal["text", "names", "plain", "count", "bytes", "duration", "rate", "time", "flag", "mapping"]


class Column(NamedTuple):
    """One column: the field of a row, what stands above it, and the kind of its values."""

    field: str
    header: str
    kind: Kind = "text"


_SHOWN: Final[Mapping[Kind, Callable[[Any], str]]] = {
    "text": show_value,
    "names": lambda value: show_value(", ".join(value)),
    "plain": str,
    "count": show_count,
    "bytes": show_bytes_size,
    "duration": show_duration,
    "rate": show_rate,
    "time": show_time,
    "flag": lambda value: "yes" if value else "no",
    "mapping": lambda value: show_mapping(value.items()),
}
_RIGHT: Final = frozenset({"count", "bytes", "duration", "rate"})
_WHOLE: Final = frozenset({"count", "bytes", "duration", "rate", "flag"})
_NOTHING: Final = "-"
_LEAST_WIDTH: Final = 8
_GAP: Final = 2


def show_cell(kind: Kind, value: Any) -> str:
    """Return a value as it stands in a table; `-` for None."""
    return _NOTHING if value is None else _SHOWN[kind](value)


def show_rows(rows: Sequence[Row], columns: Sequence[Column], *, as_json: bool, empty: str) -> None:
    """Show rows as a table or as a JSON list; `empty` is said, beside the output, where there are none."""
    if as_json:
        terminal.json_document([dict(row) for row in rows])
    elif rows:
        table = make_table(rows, columns)
        if least_width(table) < terminal.console().width:
            show_table(table)
            return
        for number, row in enumerate(rows):  # too narrow for columns: one field a line, as psql does it
            if number:
                terminal.line()
            show_item(row, columns, as_json=False)
    else:
        terminal.note(empty)


def show_item(row: Row, columns: Sequence[Column], *, as_json: bool) -> None:
    """Show one row as a list of names and values, or as a JSON object."""
    if as_json:
        terminal.json_document(dict(row))
        return
    table = _grid()
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for column in columns:
        if row.get(column.field) is not None:
            table.add_row(column.header, show_cell(column.kind, row[column.field]))
    show_table(table)


def make_table(rows: Sequence[Row], columns: Sequence[Column]) -> "Table":
    """Return a table: names and headers are folded where the terminal is narrow, numbers stay whole.

    How wide each column is, is decided here: rich would narrow those with numbers, too, and cut what then is too wide.
    """
    from rich.cells import cell_len  # noqa: PLC0415 as in `_grid`

    table = _grid()
    table.show_header = True
    shown = [[show_cell(column.kind, row[column.field]) for row in rows] for column in columns]
    least, most = [], []
    for column, cells in zip(columns, shown, strict=True):
        widest = max(map(cell_len, cells), default=0)
        word = max(map(cell_len, column.header.split()), default=0)
        least.append(max(word, widest if column.kind in _WHOLE else min(widest, _LEAST_WIDTH)))
        most.append(max(cell_len(column.header), widest))
    room = terminal.console().width - 1 - _GAP * len(columns)
    for column, fewest, width in zip(columns, least, _narrowed(most, least, room), strict=True):
        justify: Literal["left", "right"] = "right" if column.kind in _RIGHT else "left"
        table.add_column(column.header, justify=justify, min_width=fewest, width=width, overflow="fold")
    for line in zip(*shown, strict=True):
        table.add_row(*line)
    return table


def _narrowed(widths: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Return widths that fit into the room, if they can: always the widest that may be narrower gives a character."""
    narrowed = list(widths)
    for _ in range(sum(widths) - room):
        giving = [place for place, width in enumerate(narrowed) if width > least[place]]
        if not giving:
            break
        narrowed[max(giving, key=narrowed.__getitem__)] -= 1
    return narrowed


def least_width(table: "Table") -> int:
    """Return from which width on nothing of a table gets lost: rich wants the last gap and a character more."""
    return sum((column.min_width or 0) + _GAP for column in table.columns)


def show_table(table: "Table") -> None:
    """Print a table; lines of a pipe do not end in spaces."""
    if terminal.on_terminal():
        terminal.console().print(table)
        return
    console = terminal.console()
    console.file = text = StringIO()
    console.print(table)
    for one in text.getvalue().splitlines():
        terminal.line(one.rstrip())


def _grid() -> "Table":
    from rich.table import Table  # noqa: PLC0415 half of a start is spared where nothing is shown

    return Table(box=None, show_header=False, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")

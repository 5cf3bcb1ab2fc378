"""How objects show themselves to people: one line of text, and tables in HTML for notebooks.

Both tell names, sizes and offsets, never payloads, and never raise: whoever looks at a broken object wants to see what
is left of it. The HTML has no script, no class and no colour of its own but a grey that is half transparent, so it
suits light and dark themes; every text in it is escaped. Imported by every layer above; imports nothing of msglog.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, Final, NamedTuple, TypeVar

Self = TypeVar("Self")

MOST_ROWS: Final = 100
"""How many rows a table has at most: the largest, where there are more."""

_MOST_TEXT: Final = 80
_GREY: Final = "rgba(128,128,128,0.35)"
_CELL: Final = f"padding:0.25em 0.9em 0.25em 0;border-bottom:1px solid {_GREY};white-space:nowrap"
_TABLE: Final = "border-collapse:collapse;border:none;margin:0.2em 0 1em 0;font-variant-numeric:tabular-nums"
_FAINT: Final = "opacity:0.65"
_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP: Final = 1024


def _escape(text: str) -> str:
    from html import escape  # noqa: PLC0415 few processes show tables, and all would import it

    return escape(text)


def one_line(tell: Callable[[Self], str]) -> Callable[[Self], str]:
    """Have a `__repr__` stay on one line and never raise."""

    @wraps(tell)
    def safely(self: Self) -> str:
        try:
            return tell(self)
        except Exception as error:  # noqa: BLE001 any: it is for looking at what is broken
            return f"<{type(self).__module__.partition('.')[0]}.{type(self).__name__} ({type(error).__name__})>"

    return safely


def as_html(tell: Callable[[Self], str]) -> Callable[[Self], str]:
    """Have a `_repr_html_` never raise: what cannot be told as tables is told as text."""

    @wraps(tell)
    def safely(self: Self) -> str:
        try:
            return tell(self)
        except Exception:  # noqa: BLE001 as in `one_line`
            return f"<code>{_escape(repr(self))}</code>"

    return safely


class Size(NamedTuple):
    """A number of bytes, shown in the unit that suits it."""

    bytes: int

    def __str__(self) -> str:
        size, unit = float(self.bytes), 0
        while size >= _STEP and unit + 1 < len(_UNITS):
            size, unit = size / _STEP, unit + 1
        return f"{size:,.1f} {_UNITS[unit]}" if unit else f"{self.bytes:,} {_UNITS[0]}"


def page(kind: str, name: str, facts: Mapping[str, object], tables: Iterable[str] = ()) -> str:
    """Return a heading, what it is and its name, with some facts beside it, and tables below."""
    told = [f"{_text(name)}", *(f"{_fact(fact)}{_text(value)}" for fact, value in facts.items() if value is not None)]
    heading = f"<b>{_escape(kind)}</b>&ensp;{' · '.join(told)}"
    return f'<div><div style="margin:0.3em 0">{heading}</div>{"".join(tables)}</div>'


def _fact(name: str) -> str:
    return f'<span style="{_FAINT}">{_escape(name)}</span> ' if name else ""


def table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, rank: int | None = None, empty: str = ""
) -> str:
    """Return a table; of too many rows those are shown whose column number `rank` is largest.

    Numbers and sizes are set right. `empty` is said in place of a table without rows; "" leaves it out.
    """
    shown = list(rows)
    more = len(shown) - MOST_ROWS
    if not shown:
        return f'<div style="{_FAINT};margin:0.2em 0 1em 0">{_escape(empty)}</div>' if empty else ""
    if more > 0:
        chosen = {id(row) for row in heapq.nlargest(MOST_ROWS, shown, key=lambda row: _rank(row, rank))}
        shown = [row for row in shown if id(row) in chosen]
    right = [all(_is_number(row[place]) for row in shown) for place in range(len(columns))]
    note = f" (the {MOST_ROWS} {'first' if rank is None else 'largest'} of {more + MOST_ROWS:,})" if more > 0 else ""
    return (
        f'<table style="{_TABLE}"><caption style="text-align:left;caption-side:top;padding:0.3em 0;{_FAINT}">'
        f"{_escape(caption + note)}</caption><thead><tr>"
        + "".join(_cell("th", _escape(name), right=is_right) for name, is_right in zip(columns, right, strict=True))
        + "</tr></thead><tbody>"
        + "".join(
            "<tr>"
            + "".join(_cell("td", _text(value), right=is_right) for value, is_right in zip(row, right, strict=True))
            + "</tr>"
            for row in shown
        )
        + "</tbody></table>"
    )


def _rank(row: Sequence[Any], rank: int | None) -> Any:
    return 0 if rank is None else row[rank] or 0


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, Size) or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(tag: str, text: str, *, right: bool) -> str:
    weight = "font-weight:600;" if tag == "th" else ""
    return f'<{tag} style="{weight}{_CELL};text-align:{"right" if right else "left"}">{text}</{tag}>'


def _text(value: object) -> str:
    """Return a value as escaped text; what is long is cut, and whole where a mouse points at it."""
    if value is None:
        return f'<span style="{_FAINT}">–</span>'
    if isinstance(value, Size):
        return f'<span title="{value.bytes:,} bytes">{value}</span>'
    text = _plain(value)
    if len(text) <= _MOST_TEXT:
        return _escape(text)
    return f'<span title="{_escape(text)}">{_escape(text[: _MOST_TEXT - 1])}…</span>'


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return value if isinstance(value, str) else repr(value)

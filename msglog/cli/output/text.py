"""Bytes, names and messages as text that is safe for a terminal. Pure. Imported by the commands and the tables.

Invariant: what these functions return has no control characters and no characters that change the direction of text,
so nothing that somebody put into a store can move the cursor, clear the screen or hide something.
"""

from typing import Any, Final

NULL: Final = "(null)"


def safe(text: str) -> str:
    """Return a text in one line, with everything that cannot be printed escaped."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def show_bytes(data: bytes | None) -> str:
    """Return bytes as text, each byte that is no UTF-8 escaped as in Python; `(null)` for None."""
    return NULL if data is None else safe(data.decode(errors="backslashreplace"))


def show_value(value: Any) -> str:
    """Return a value of an option, an argument or a header as text."""
    if isinstance(value, bytes):
        return show_bytes(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return safe(str(value))


def show_mapping(values: Any) -> str:
    """Return `name=value` for each item."""
    return " ".join(f"{safe(name)}={show_value(value)}" for name, value in values)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")

"""JSON Lines for export and import: reading and writing lines, and bytes as text.

One object a line, in UTF-8. Bytes that are UTF-8 are a string; others are an object with the key `base64`; None is
null: so each stands for exactly one thing. A file given by path appears whole or not at all. Imported by the models.
"""

import base64
import binascii
import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO, TypeVar

from msglog.checks import refused, show, wrong_type
from msglog.errors import DecodeError, MsglogError

T = TypeVar("T")

BATCH_LINES: Final = 10_000
BATCH_BYTES: Final = 16 << 20
"""How much one commit of an import carries: what is not more is imported as a whole or not at all."""

_FILES: Final = "a path, or a file opened for text"
_PARTIAL: Final = ".partial"


class Utf8Lines:
    """The lines of a binary file as text, each decoded for itself: so an error is about the line it is raised for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readline(self) -> str:
        """Return the next line, "" at the end. Raises `UnicodeDecodeError`."""
        return self._file.readline().decode()


def export_lines(target: object, lines: Iterable[dict[str, Any]]) -> int:
    """Write objects to a path or a text file; return how many. Raises `InvalidTypeError`, and what writing raises."""
    if hasattr(target, "write"):
        return _write(target, lines)  # type: ignore[arg-type]  # that it takes text it says itself
    if not isinstance(target, str | os.PathLike):
        raise wrong_type("target", target, _FILES)
    if not os.fspath(target):
        raise refused("target", target, _FILES)
    path = Path(os.path.realpath(target))  # a link stays one
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", newline="\n") as file:  # a pipe or a device is no file to be replaced
            return _write(file, lines)
    partial = path.with_name(path.name + _PARTIAL)
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            count = _write(file, lines)
            file.flush()
            os.fsync(file.fileno())  # before it takes the place of a file that may be the only good one
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    return count


def _write(file: TextIO, lines: Iterable[dict[str, Any]]) -> int:
    count = 0
    for line in lines:
        file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n")
        count += 1
    return count


def import_lines(
    source: object, parse: Callable[[dict[str, Any]], tuple[T, int]], take: Callable[[list[tuple[int, T]]], None]
) -> int:
    """Read objects from a path or a text file and have them taken in batches; return how many there were.

    `parse` makes something of an object and tells its size in bytes; `take` gets them with the numbers of their lines.
    Empty lines are skipped. Raises `DecodeError` with the `line` that is no JSON object; what `parse` raises gets the
    line, too. `imported` of an error is how many were taken before.
    """
    if isinstance(source, str | os.PathLike):
        with Path(source).open("rb") as file:
            return _import(iter(Utf8Lines(file).readline, ""), parse, take)
    if not hasattr(source, "readline"):
        raise wrong_type("source", source, _FILES)
    return _import(iter(source.readline, ""), parse, take)


def _import(
    file: Iterable[str], parse: Callable[[dict[str, Any]], tuple[T, int]], take: Callable[[list[tuple[int, T]]], None]
) -> int:
    batch: list[tuple[int, T]] = []
    size = count = number = 0
    try:
        for number, text in _numbered(file):
            if not text.strip():
                continue
            item, item_size = _parsed(text, parse)
            if batch and (len(batch) >= BATCH_LINES or size + item_size > BATCH_BYTES):
                _hand_over(batch, take, count)
                count += len(batch)
                batch, size = [], 0
            batch.append((number, item))
            size += item_size
    except UnicodeDecodeError as error:
        raise DecodeError(f"line {number + 1}: not UTF-8", line=number + 1, imported=count) from error
    except MsglogError as error:
        raise _at(error, number, count) from error
    if batch:
        _hand_over(batch, take, count)
    return count + len(batch)


def _parsed(text: str, parse: Callable[[dict[str, Any]], tuple[T, int]]) -> tuple[T, int]:
    found = _object(text)
    try:
        return parse(found)
    except RecursionError as error:  # what JSON can still hold may be too deep for what comes after
        raise DecodeError("nested too deeply") from error


def _hand_over(batch: list[tuple[int, T]], take: Callable[[list[tuple[int, T]]], None], imported: int) -> None:
    try:
        take(batch)
    except MsglogError as error:  # of one line only if it says so
        raise _at(error, None, imported) from error


def _numbered(file: Iterable[str]) -> Iterator[tuple[int, str]]:
    for number, text in enumerate(file, 1):
        if not isinstance(text, str):
            raise wrong_type("source", text, _FILES)
        yield number, text


def _at(error: MsglogError, line: int | None, imported: int) -> MsglogError:
    """Return an error that says at which line it happened, and how much was taken before."""
    details = {"imported": imported, "line": line, **error.__dict__}
    known = line is None or "line" in error.__dict__
    return type(error)(str(error) if known else f"line {line}: {error}", **details)


def at_line(error: MsglogError, line: int) -> MsglogError:
    """Return the error of one item of a batch with its line."""
    return type(error)(f"line {line}: {error}", **error.__dict__, line=line)


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DecodeError("no JSON") from error
    if not isinstance(found, dict):
        raise DecodeError("no JSON object")
    return found


def field(found: dict[str, Any], name: str, kinds: type | tuple[type, ...], default: Any = ...) -> Any:
    """Return a field of an object. Raises `DecodeError` when it is missing or of another type."""
    value = found.get(name, default)
    wanted = kinds if isinstance(kinds, tuple) else (kinds,)
    if value is ... or (type(value) not in wanted and value is not default):
        names = " or ".join(kind.__name__ for kind in wanted)
        raise DecodeError(f"{name} must be {names}, not {'missing' if value is ... else type(value).__name__}")
    return value


def refuse_others(found: dict[str, Any], known: frozenset[str]) -> None:
    """Raise `DecodeError` for fields that nobody knows: a misspelt one must not be lost silently."""
    unknown = found.keys() - known
    if unknown:
        raise DecodeError(f"unknown field {show(min(unknown))}")


def pack_bytes(data: bytes | None) -> str | dict[str, str] | None:
    """Return bytes as they stand in a line."""
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def unpack_bytes(name: str, value: object) -> bytes | None:
    """Read them back. Raises `DecodeError`."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise DecodeError(f"{name} is text that UTF-8 cannot hold") from error
    if isinstance(value, dict) and value.keys() == {"base64"} and isinstance(value["base64"], str):
        with contextlib.suppress(binascii.Error, ValueError):
            return base64.b64decode(value["base64"], validate=True)
    raise DecodeError(f'{name} must be a string, null, or {{"base64": "..."}}')

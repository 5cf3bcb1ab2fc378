"""Sizes, durations, rates and times for people, and back. Pure. Imported by the tables and the options.

Times are UTC, as ISO 8601 with a Z: the same on every machine, and what `--since` takes back.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_STEP: Final = 1024
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB")
_SPANS_MS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_SPAN: Final = re.compile(r"(\d+)(ms|[smhd])")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FEW: Final = 10
_MANY: Final = 100


def show_bytes_size(size: int) -> str:
    """Return a size: bytes below 1024, else with one decimal."""
    if size < _STEP:
        return f"{size} B"
    scaled = float(size)
    for unit in _UNITS:
        scaled /= _STEP
        if scaled < _STEP or unit == _UNITS[-1]:
            break
    return f"{scaled:.1f} {unit}"


def show_count(number: int) -> str:
    """Return a count, with commas between thousands."""
    return f"{number:,}"


def counted(number: int, noun: str) -> str:
    """Return a count with its noun, which gets an s where there is not just one."""
    return f"{show_count(number)} {noun}{'' if number == 1 else 's'}"


def show_rate(per_second: float) -> str:
    """Return a rate a second, with a decimal where it is small."""
    return f"{per_second:,.1f}" if 0 < per_second < _MANY else f"{per_second:,.0f}"


def show_duration(milliseconds: float) -> str:
    """Return a duration in the largest unit that divides it; parts of a millisecond where it is short."""
    if milliseconds < _FEW and milliseconds != int(milliseconds):
        return f"{milliseconds:.1f} ms"
    whole = round(milliseconds)
    for unit, span in _SPANS_MS.items():
        if whole and whole % span == 0:
            return f"{whole // span} {unit}"
    return f"{whole} ms"


def show_time(timestamp_ms: int) -> str:
    """Return a time as `2026-01-31T12:00:00.000Z`; the number itself where a calendar has no such time."""
    try:
        moment = _EPOCH + timedelta(milliseconds=timestamp_ms)
    except OverflowError:
        return str(timestamp_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str, now_ms: int) -> int:
    """Return a time in milliseconds since 1970.

    Milliseconds, ISO 8601 (UTC where it names no zone), or a span before now such as `90s`, `10m`, `2h` or `7d`.
    Raises `ValueError`.
    """
    if text.isdecimal() and text.isascii():
        return int(text)
    span = _SPAN.fullmatch(text)
    if span is not None:
        return max(0, now_ms - int(span[1]) * _SPANS_MS[span[2]])
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    since = moment - _EPOCH
    if since < timedelta(0):
        raise ValueError("before 1970")
    return since // timedelta(milliseconds=1)

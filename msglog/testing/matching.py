"""Comparing what was expected with what there is, and saying in words how the nearest differs.

Pure: values in, texts out. Imported by `recording` and `faults`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msglog.checks import wrong_type
from msglog.testing.events import SHOWN_BYTES, shown

_MOST_SHOWN: Final = 20

__tracebackhide__ = True  # pytest shows the line of the test, or of its predicate, and not the way there


class _Anything:
    """The default of what is expected: no matter what."""

    def __repr__(self) -> str:
        return "anything"


ANYTHING: Final[Any] = _Anything()


def is_met(expected: object, found: object) -> bool:
    """Return whether a value is as expected: no matter, equal, or what a predicate says yes to."""
    if expected is ANYTHING or expected == found:
        return True
    return callable(expected) and bool(expected(found))


def check_payload(option: str, expected: object) -> None:
    """Raise `InvalidTypeError` for text: payloads are bytes, and a str would never be equal to one."""
    if isinstance(expected, str):
        allowed = "bytes, None, a predicate, or an object that compares equal to bytes"
        raise wrong_type(option, expected, f"{allowed} (payloads are bytes: encode the text)")


def asked_for(**expected: object) -> dict[str, object]:
    """Return what matters of what is expected."""
    return {name: value for name, value in expected.items() if value is not ANYTHING}


def matches(entry: object, expected: Mapping[str, object]) -> bool:
    """Return whether each attribute of an entry that matters is as expected.

    Predicates come last: they are asked about nothing that differs anyway, and may not understand.
    """
    return all(is_met(expected[name], getattr(entry, name)) for name in sorted(expected, key=_is_predicate(expected)))


def _is_predicate(expected: Mapping[str, object]) -> Callable[[str], bool]:
    return lambda name: callable(expected[name])


def wording(expected: Mapping[str, object]) -> str:
    """Return what is expected, in words."""
    parts = [f"{name}{_is(value)}" for name, value in expected.items()]
    return f" with {', '.join(parts)}" if parts else ""


def _is(value: object) -> str:
    if callable(value) and not isinstance(value, type):
        return f" that satisfies {getattr(value, '__name__', repr(value))}"
    return f"={shown(value)}"


def listing(entries: Sequence[object], describe: Callable[[Any], str] = repr) -> str:
    """Return a numbered list of entries, the last ones when there are many."""
    skipped = max(0, len(entries) - _MOST_SHOWN)
    lines = [f"  ... {skipped} before"] if skipped else []
    lines += [f"  {number}. {describe(entry)}" for number, entry in enumerate(entries[skipped:], skipped + 1)]
    return "\n".join(lines)


def nearest(entries: Sequence[object], expected: Mapping[str, object]) -> str:
    """Return a line that says how the entry that meets most of what is expected differs; "" when none meets any."""
    best, most = 0, 0
    for number, entry in enumerate(entries, 1):
        met = sum(_is_close(value, getattr(entry, name)) for name, value in expected.items())
        if met >= most and (met or len(expected) == 1):
            best, most = number, met
    if not best or most == len(expected):
        return ""
    entry = entries[best - 1]
    differing = [
        _difference(name, value, getattr(entry, name))
        for name, value in expected.items()
        if not _is_close(value, getattr(entry, name))
    ]
    return f"nearest: {best}. differs in {'; in '.join(differing)}"


def _is_close(expected: object, found: object) -> bool:
    """Return whether a value is as expected; not so when a predicate fails at what it was not made for."""
    try:
        return is_met(expected, found)
    except Exception:  # noqa: BLE001 whatever a predicate raises
        return False


def _difference(name: str, expected: object, found: object) -> str:
    if isinstance(expected, bytes) and isinstance(found, bytes) and max(len(expected), len(found)) > SHOWN_BYTES:
        at = next((at for at, (one, other) in enumerate(zip(expected, found, strict=False)) if one != other), None)
        at = min(len(expected), len(found)) if at is None else at
        start = max(0, at - SHOWN_BYTES // 4)
        stop = start + SHOWN_BYTES
        return f"{name} from byte {at} on: ...{found[start:stop]!r}..., not ...{expected[start:stop]!r}..."
    if callable(expected) and not isinstance(expected, type):
        return f"{name}: {shown(found)} does not satisfy {getattr(expected, '__name__', repr(expected))}"
    return f"{name}: {shown(found)}, not {shown(expected)}"


def report(
    sentence: str, entries: Sequence[object], expected: Mapping[str, object], describe: Callable[[Any], str] = repr
) -> str:
    """Return the whole message of a failed assertion: what is wrong, what there is, and how the nearest differs."""
    lines = [sentence, listing(entries, describe), nearest(entries, expected)]
    return "\n".join(line for line in lines if line)

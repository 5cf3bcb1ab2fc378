"""Checks of plain arguments: integers, flags, choices and callbacks.

The errors say what was given and what is allowed. A bool is never taken for an int. Imported by every layer
that takes arguments; imports `errors` only. Errors tell types, sizes and numbers, never the contents of
bytes.
"""

import inspect
from collections.abc import Sequence
from types import CoroutineType
from typing import Any, Final

from msglog.errors import InvalidOptionError, InvalidTypeError

MAX_INT64: Final = (1 << 63) - 1

MAX_TIMEOUT_SECONDS: Final = 1e9

MAX_DELAY_MS: Final = 10 * 366 * 86_400_000
"""The longest delay of a message: ten years."""

_SHOWN_LENGTH: Final = 60


def check_integer(option: str, given: object, least: int, most: int = MAX_INT64) -> int:
    """Return `given` when it is an int from `least` to `most`.

    Raises `InvalidTypeError` for anything but an int, `InvalidOptionError` outside of the range.
    """
    if type(given) is int and least <= given <= most:  # nearly always: the text costs more than the check
        return given
    allowed = f"an int from {least} to {most}"
    if isinstance(given, bool) or not isinstance(given, int):
        raise wrong_type(option, given, allowed)
    if not least <= given <= most:
        raise refused(option, given, allowed)
    return given


def check_flag(option: str, given: object) -> bool:
    """Return `given` when it is True or False. Raises `InvalidTypeError`."""
    if not isinstance(given, bool):
        raise wrong_type(option, given, "True or False")
    return given


def check_callable(option: str, given: object) -> None:
    """Make sure that `given` is None or can be called. Raises `InvalidTypeError`."""
    if given is not None and not callable(given):
        raise wrong_type(option, given, "None or a callable")


def check_timeout(given: object) -> float | None:
    """Return a timeout in seconds, None for ever. Raises `InvalidTypeError` or `InvalidOptionError`."""
    allowed = f"None, or seconds from 0 to {MAX_TIMEOUT_SECONDS:.0f}"
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise wrong_type("timeout", given, allowed)
    if not 0 <= given <= MAX_TIMEOUT_SECONDS:
        raise refused("timeout", given, allowed)
    return float(given)


def check_choice(option: str, given: object, choices: Sequence[str]) -> None:
    """Make sure that `given` is one of `choices`. Raises `InvalidTypeError` or `InvalidOptionError`."""
    allowed = "one of " + ", ".join(repr(choice) for choice in choices)
    if not isinstance(given, str):
        raise wrong_type(option, given, allowed)
    if given not in choices:
        raise refused(option, given, allowed)


def check_handler(option: str, given: Any, *takes: str, awaited: bool = False) -> None:
    """Make sure that calling `given` with as many positional arguments as `takes` names begins its work.

    A coroutine or generator function only returns something that nobody runs, and the message would be done with; one
    that takes other arguments would fail for ever. Raises `InvalidTypeError`. Where a callable does not tell what it
    takes (some in C do not), it is taken as it is. `awaited`: what a coroutine function returns is awaited.
    """
    allowed = f"a callable that takes {' and '.join(takes)}"
    if not callable(given):
        raise wrong_type(option, given, allowed)
    functions = (given, type(given).__call__)
    found = None
    if not awaited and any(inspect.iscoroutinefunction(function) for function in functions):
        found = "a coroutine function, which msglog.aio is for"
    elif any(inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one) for one in functions):
        found = "a generator function, which does nothing when it is called"
    else:
        try:
            signature = inspect.signature(given)
        except (TypeError, ValueError):
            return
        try:
            signature.bind(*takes)
        except TypeError as error:
            found = f"one that takes {signature}: {error}"
    if found is not None:
        raise InvalidTypeError(f"{option} must be {allowed}, not {found}", option=option, given=found, allowed=allowed)


def check_ran(option: str, returned: object) -> None:
    """Make sure that a callback did its work when it was called; `check_handler` sees only what it takes.

    A lambda or a decorated function that returns a coroutine has done nothing: nobody awaits it, and the message would
    be done with. Raises `InvalidTypeError`, which is then the callback's failure.
    """
    if isinstance(returned, CoroutineType):
        returned.close()  # the error says it; without this a warning would say it once more
        found = f"one that returns a coroutine ({returned.__qualname__}), which nobody awaits; msglog.aio does"
        allowed = "a callable that does its work when it is called"
        raise InvalidTypeError(f"{option} must be {allowed}, not {found}", option=option, given=found, allowed=allowed)


def refused(option: str, given: object, allowed: str) -> InvalidOptionError:
    """Return the error for a value that is not allowed."""
    shown = show(given)
    return InvalidOptionError(f"{option}={shown}; allowed: {allowed}", option=option, given=shown, allowed=allowed)


def wrong_type(option: str, given: object, allowed: str) -> InvalidTypeError:
    """Return the error for a value of the wrong type."""
    shown = show(given)
    message = f"{option} must be {allowed}, not {shown}"
    return InvalidTypeError(message, option=option, given=shown, allowed=allowed)


def wrong_payload(option: str, given: object, allowed: str) -> InvalidTypeError:
    """Return the error for a key or value of the wrong type, without showing what is in it."""
    shown = f"a {type(given).__name__}"
    if isinstance(given, str | bytes | bytearray | memoryview | list | tuple | dict):
        shown += f" of length {len(given)}"
    message = f"{option} must be {allowed}, not {shown}{_way_to_bytes(given) if allowed.startswith('bytes') else ''}"
    return InvalidTypeError(message, option=option, given=shown, allowed=allowed)


def _way_to_bytes(given: object) -> str:
    if isinstance(given, str):
        return ": encode it"
    if isinstance(given, bytearray | memoryview):
        return ": make bytes of it"
    return ": objects are for views, which have a codec"


def show(given: object) -> str:
    """Return a short text: a number or a name itself, of anything else no more than type and size."""
    if given is None or isinstance(given, bool | int | float):
        text = repr(given)
    elif isinstance(given, str):
        text = repr(given[:_SHOWN_LENGTH]) + ("..." if len(given) > _SHOWN_LENGTH else "")
    elif isinstance(given, bytes | bytearray | memoryview | list | tuple | dict):
        text = f"a {type(given).__name__} of length {len(given)}"
    elif isinstance(given, type):
        text = f"the class {given.__name__}"
    else:
        text = f"a {type(given).__name__}"
    return text if len(text) <= 2 * _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}... ({len(text)} digits)"
